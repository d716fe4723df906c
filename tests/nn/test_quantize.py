"""Codebooks: nearest codes by brute force, moving averages by arithmetic, masks, and gradients straight through."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.nn.quantize import Codebook, disjoint_channels, straight_through

pytestmark = pytest.mark.current


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def masked(**options):
    return Codebook((27, 5), 64, disjoint_channels((27, 5), 64), **options)


def test_masks_hold_from_the_start_and_after_a_hundred_steps():
    book = masked()
    for step in range(101):
        codes = book.codes.numpy()
        assert not codes[:27, 32:].any() and not codes[27:, :32].any()
        assert (np.abs(codes[:27, :32]).max(1) > 0).all() and (np.abs(codes[27:, 32:]).max(1) > 0).all()
        features = tf.constant(numbers(step, 2, 3, 3, 64))
        book.follow(features, book.nearest(features)[-1])
    with pytest.raises(ValueError, match="cannot be shared equally"):
        disjoint_channels((2, 1), 5)


def test_nearest_codes_are_those_of_brute_force():
    book, features = masked(seed=3), numbers(0, 2, 5, 4, 64)
    found = [one.numpy() for one in book.nearest(tf.constant(features))]
    distances = ((features[..., None, :] - book.codes.numpy()) ** 2).sum(-1)
    for numbers_, end in zip(found, (27, 32), strict=True):
        np.testing.assert_array_equal(numbers_, distances[..., :end].argmin(-1))
    assert found[0].max() < 27 <= found[1].max()
    each = [np.take_along_axis(distances, one[..., None], -1) for one in found]
    assert (each[1] <= each[0]).all()
    codes = [book.look_up(one).numpy() for one in found]
    np.testing.assert_array_equal((codes[0] != codes[1]).any(-1), found[1] >= 27)
    np.testing.assert_array_equal(codes[0], book.codes.numpy()[found[0]])


def test_moving_averages_by_arithmetic():
    """Two steps with numpy; a number below 0 takes no part."""
    book = Codebook((2, 2), 3, decay=0.9, epsilon=0.01, seed=1)
    counts, sums = np.ones(4), book.codes.numpy().astype(np.float64)
    for step in range(2):
        features, chosen = numbers(step, 6, 3), np.array([0, 0, 2, -1, 0, 1])
        book.follow(tf.constant(features), tf.constant(chosen))
        hot = (chosen[:, None] == np.arange(4)).astype(float)
        counts, sums = 0.9 * counts + 0.1 * hot.sum(0), 0.9 * sums + 0.1 * hot.T @ features
        smoothed = (counts + 0.01) / (counts.sum() + 4 * 0.01) * counts.sum()
        np.testing.assert_allclose(book.codes.numpy(), sums / smoothed[:, None], rtol=1e-5)
        np.testing.assert_allclose(book.counts.numpy(), counts, rtol=1e-6)


def test_without_decay_codes_are_the_means_of_a_batch():
    book, features = Codebook((3,), 2, decay=0.0), numbers(2, 4, 5, 5, 2)
    chosen = book.nearest(tf.constant(features))[0].numpy()
    assert len(np.unique(chosen)) == 3
    book.follow(tf.constant(features), tf.constant(chosen))
    means = [features[chosen == k].mean(0) for k in range(3)]
    np.testing.assert_allclose(book.codes.numpy(), means, rtol=1e-4)
    assert book.counts.numpy().sum() == pytest.approx(4 * 5 * 5)


def test_gradients_pass_straight_through():
    features, codes = tf.constant(numbers(0, 4, 3)), tf.constant(numbers(1, 4, 3))
    with tf.GradientTape() as tape:
        tape.watch([features, codes])
        found = straight_through(features, codes)
        value = tf.reduce_sum(found)
    np.testing.assert_allclose(found, codes, rtol=1e-6)
    gradients = tape.gradient(value, [features, codes])
    assert gradients[1] is None
    np.testing.assert_array_equal(gradients[0], np.ones((4, 3)))


def test_unused_codes_start_at_features_within_their_channels():
    book = Codebook((2, 2), 4, disjoint_channels((2, 2), 4))
    before, features = book.codes.numpy(), numbers(5, 10, 4)
    unused = tf.constant([False, True, False, True])
    book.restart(tf.constant(features), unused, tf.constant([0.0, 0.35, 0.0, 0.999]))
    codes = book.codes.numpy()
    np.testing.assert_array_equal(codes[[0, 2]], before[[0, 2]])
    np.testing.assert_array_equal(codes[1], features[3] * [1, 1, 0, 0])
    np.testing.assert_array_equal(codes[3], features[9] * [0, 0, 1, 1])
