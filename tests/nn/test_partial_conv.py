"""Partial convolutions: against loops, and the U-Net made of them."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.nn.partial_conv import JoinKnown, PartialConv2D, partial_unet

pytestmark = pytest.mark.one_stack


def random(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("masks", [1, 2])
def test_as_a_loop_over_windows(strides, masks):
    """W^T (X M) area / sum(M) + b where the window has a known value, else 0; the mask grows."""
    layer = PartialConv2D(3, 3, strides)
    x, known = random(0, 1, 6, 8, 2), (random(1, 1, 6, 8, masks) > 0.8).astype(np.float32)
    values, after = layer([x, known])
    taps, offset = (weight.numpy() for weight in (layer.taps, layer.offset))
    layer.offset.assign(offset := offset + [1, 2, 3])
    values, after = layer([x, known])
    both = np.broadcast_to(known, x.shape)
    before = 1 if strides == 1 else 0  # of "SAME" for even sides
    padded, around = (np.pad(one[0], ((before, 2), (before, 2), (0, 0))) for one in (x * both, both))
    for y, column in np.ndindex(*values.shape[1:3]):
        at = slice(y * strides, y * strides + 3), slice(column * strides, column * strides + 3)
        window, seen = padded[at], around[at]
        expected = np.zeros(3)
        if seen.sum():
            expected = np.tensordot(window, taps, 3) * seen.size / seen.sum() + offset
        np.testing.assert_allclose(values[0, y, column], expected, rtol=1e-4, atol=1e-5)
        assert float(after[0, y, column, 0]) == (seen.sum() > 0)
    assert 0 < float(tf.reduce_mean(after)) < 1


def test_joined_features_keep_masks_of_their_own():
    coarse, fine = random(0, 1, 2, 2, 3), random(1, 1, 4, 4, 1)
    features, known = JoinKnown()([coarse, np.zeros((1, 2, 2, 1), np.float32), fine, np.ones_like(fine)])
    np.testing.assert_array_equal(features[..., :3], coarse.repeat(2, 1).repeat(2, 2))
    np.testing.assert_array_equal(features[..., 3:], fine)
    np.testing.assert_array_equal(known[0, 0, 0], [0, 0, 0, 1])


def test_the_network_never_sees_what_is_missing():
    network = partial_unet(1, (2, 3))
    known = np.ones((1, 16, 16, 1), np.float32)
    known[:, 4:9, 5:12] = 0
    image = random(2, 1, 16, 16, 1)
    found = network([image, known])
    assert found.shape == (1, 16, 16, 1)
    other = np.where(known > 0, image, 100.0)
    np.testing.assert_array_equal(network([other, known]), found)
    assert np.abs(network([image + 0.1 * known, known]) - found).max() > 1e-4
