"""Adaptive instance normalisation by arithmetic."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.nn.adain import AdaIN, adain, channel_statistics, statistics_loss

pytestmark = pytest.mark.one_stack


def features(seed, *shape, scale=1.0, offset=0.0):
    return np.float32(offset + scale * np.random.default_rng(seed).normal(size=shape))


def test_moments_become_those_of_the_style():
    content, style = features(0, 2, 8, 6, 3), features(1, 2, 4, 10, 3, scale=3, offset=-2)
    found = adain(content, style).numpy()
    np.testing.assert_allclose(found.mean((1, 2)), style.mean((1, 2)), atol=1e-3)
    np.testing.assert_allclose(found.std((1, 2)), style.std((1, 2)), rtol=1e-3)
    np.testing.assert_array_equal(AdaIN()([content, style]), found)
    assert AdaIN().compute_output_shape([(None, 8, 6, 3), (None, 4, 10, 3)]) == (None, 8, 6, 3)
    by_hand = (content - content.mean((1, 2), keepdims=True)) / content.std((1, 2), keepdims=True)
    by_hand = by_hand * style.std((1, 2), keepdims=True) + style.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(found, by_hand, atol=1e-3)


def test_a_style_of_its_own_changes_nothing_and_gains_do_not_matter():
    content, style = features(2, 1, 8, 8, 4), features(3, 1, 8, 8, 4)
    np.testing.assert_allclose(adain(content, content), content, atol=1e-4)
    gain, offset = np.float32([0.5, 2, 7, 1]), np.float32([3, -1, 0, 10])
    np.testing.assert_allclose(adain(gain * content + offset, style), adain(content, style), atol=1e-3)
    assert np.abs(adain(-content, style) - adain(content, style)).max() > 0.1


def test_channels_without_spread_stay_finite():
    flat = tf.ones((1, 4, 4, 2))
    with tf.GradientTape() as tape:
        tape.watch(flat)
        found = adain(flat, flat)
        loss = tf.reduce_sum(found)
    assert np.isfinite(found).all() and np.isfinite(tape.gradient(loss, flat)).all()
    assert adain(tf.ones((1, 4, 4, 2), tf.bfloat16), flat).dtype == tf.bfloat16


def test_statistics_and_their_loss():
    one, other = features(4, 2, 5, 5, 3), features(5, 2, 7, 3, 3, scale=2)
    for found, wanted in zip(channel_statistics(one), (one.mean((1, 2)), one.std((1, 2))), strict=True):
        np.testing.assert_allclose(found[:, 0, 0], wanted, atol=1e-6)
    apart = [(part(one, (1, 2)) - part(other, (1, 2))) ** 2 for part in (np.mean, np.std)]
    np.testing.assert_allclose(statistics_loss(one, other), np.mean(apart[0] + apart[1], 1), rtol=1e-5)
