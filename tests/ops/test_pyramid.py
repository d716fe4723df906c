"""Pyramids: against loops and scipy, exact collapse, blending, gradients."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from tfmed.losses.pyramid import pyramid_loss
from tfmed.ops.pyramid import blend, collapse, expanded, gaussian_pyramid, laplacian_pyramid, reduced

pytestmark = pytest.mark.one_stack


def images(seed=0, shape=(2, 16, 24, 1)):
    return np.random.default_rng(seed).random(shape, np.float32)


def blurred(image):
    """(1, 2, 1) / 4 along y and x, borders repeated, of `(n, y, x, c)`."""
    for axis in (1, 2):
        image = ndimage.convolve1d(image.astype(float), [0.25, 0.5, 0.25], axis, mode="nearest")
    return image


@pytest.mark.parametrize("channels", [1, 3])
def test_levels_are_blurs_and_means_of_four(channels):
    image = images(shape=(2, 8, 12, channels))
    expected = blurred(image).reshape(2, 4, 2, 6, 2, channels).mean((2, 4))
    np.testing.assert_allclose(reduced(image), expected, atol=1e-6)
    larger = blurred(image.repeat(2, 1).repeat(2, 2))
    np.testing.assert_allclose(expanded(image), larger, atol=1e-6)


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_collapse_gives_the_images_back(levels):
    image = images()
    pyramid = laplacian_pyramid(image, levels)
    assert [one.shape[1] for one in pyramid] == [16 // 2**k for k in range(levels)]
    np.testing.assert_allclose(collapse(pyramid), image, atol=1e-5)
    np.testing.assert_allclose(pyramid[-1], gaussian_pyramid(image, levels)[-1])


def test_details_of_even_images_are_zero():
    details = laplacian_pyramid(np.full((1, 8, 8, 1), 0.7, np.float32), 3)
    assert [float(tf.reduce_max(tf.abs(one))) < 1e-6 for one in details] == [True, True, False]


def test_blending():
    """All of one or of the other; between them no seam, and far from the border each as it was."""
    inside, outside = images(1), images(2)
    np.testing.assert_allclose(blend(inside, outside, np.ones_like(inside), 4), inside, atol=1e-5)
    np.testing.assert_allclose(blend(inside, outside, np.zeros_like(inside), 4), outside, atol=1e-5)
    mask = (np.arange(32) >= 16).astype(np.float32) * np.ones((1, 32, 1), np.float32)
    step = blend(np.ones((1, 32, 32, 1), np.float32), np.zeros((1, 32, 32, 1), np.float32), mask[..., None], 3)
    row = step.numpy()[0, 16, :, 0]
    assert np.abs(np.diff(row)).max() < 0.5 and row[0] < 1e-3 and row[-1] > 1 - 1e-3
    hard = blend(images(1, (1, 8, 8, 1)), images(2, (1, 8, 8, 1)), np.eye(8, dtype=np.float32)[None, ..., None], 1)
    expected = np.where(np.eye(8)[None, ..., None], images(1, (1, 8, 8, 1)), images(2, (1, 8, 8, 1)))
    np.testing.assert_allclose(hard, expected, atol=1e-6)


def test_gradients_reach_both_images():
    one, other = tf.constant(images(1)), tf.constant(images(2))
    mask = np.zeros_like(images())
    mask[:, 4:9, 6:15] = 1
    with tf.GradientTape() as tape:
        tape.watch([one, other])
        value = tf.reduce_sum(blend(one, other, mask, 3))
    parts = tape.gradient(value, [one, other])
    np.testing.assert_allclose(parts[0] + parts[1], tf.ones_like(one), atol=0.5)
    assert float(tf.reduce_sum(parts[0] + parts[1])) == pytest.approx(one.shape.num_elements(), rel=1e-3)


@pytest.mark.parametrize("levels, said", [(0, "give 1 or more"), (5, "cannot be halved 4 times")])
def test_sizes_that_do_not_fit(levels, said):
    with pytest.raises(ValueError, match=said):
        gaussian_pyramid(images(), levels)


# --- the loss over them -----------------------------------------------------------------------------------------------


def test_the_loss_by_numpy():
    one, other = images(1), images(2)
    depth = ndimage.distance_transform_edt(images(3)[..., 0] > 0.1)[..., None].astype(np.float32)
    levels = [[one, other, depth]]
    for _ in range(2):
        levels.append([blurred(x).reshape(2, x.shape[1] // 2, 2, -1, 2, 1).mean((2, 4)) for x in levels[-1]])
    expected = 0
    for k, (a, b, deep) in enumerate(levels):
        if k < 2:
            a, b = (x - blurred(up.repeat(2, 1).repeat(2, 2)) for x, up in zip((a, b), levels[k + 1], strict=False))
        expected += 1.5 ** (k - 2) * np.mean(1.1**-deep * (a - b) ** 2, (1, 2, 3))
    np.testing.assert_allclose(pyramid_loss(one, other, depth, 3), expected, rtol=1e-5)
    assert not np.any(pyramid_loss(one, one, depth, 3))


def test_low_frequencies_cost_more_than_high_ones_of_equal_energy():
    zero, none = np.zeros((1, 32, 32, 1), np.float32), np.zeros((1, 32, 32, 1), np.float32)
    even = np.full_like(zero, 0.1)
    board = 0.1 * (-1.0) ** np.add.outer(np.arange(32), np.arange(32)).astype(np.float32)[None, ..., None]
    low, high = (float(pyramid_loss(error, zero, none)[0]) for error in (even, board))
    assert low == pytest.approx(0.01, rel=1e-4) and low > 2 * high > 0


def test_errors_count_less_the_deeper_they_lie():
    """By alpha^-d, and in full where pixels are seen."""
    zero, error = np.zeros((1, 8, 8, 1), np.float32), np.zeros((1, 8, 8, 1), np.float32)
    error[0, 3, 3] = 1
    costs = [float(pyramid_loss(error, zero, np.full_like(zero, depth), levels=1)[0]) for depth in (0, 1, 4)]
    np.testing.assert_allclose(costs, np.array([1, 1.1**-1, 1.1**-4]) / 64, rtol=1e-5)
    with pytest.raises(ValueError, match="does not fit"):
        pyramid_loss(error, zero[:, :4], zero)
