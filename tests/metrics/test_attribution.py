"""Where a classifier looks: by arithmetic on networks of two filters."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed.metrics.attribution import Attribution, to_unit
from tfmed.nn.resnet import GuidedReLU

pytestmark = pytest.mark.one_stack


def network(outputs=2, guided=False):
    """Images (4, 4, 1) -> their positive and their negative part, at half the size, whose means are weighed."""
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(2, 1, use_bias=False, name="signs")(inputs)
    x = (GuidedReLU if guided else keras.layers.ReLU)(name="relu")(x)
    x = keras.layers.AveragePooling2D(2, name="maps")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    made = keras.Model(inputs, keras.layers.Dense(outputs, name="scores")(x))
    kernel = [[1.0, -2.0], [3.0, 0.5]] if outputs == 2 else [[1.0], [-2.0]]
    made.set_weights([np.array([[[[1.0, -1.0]]]]), np.array(kernel), np.zeros(outputs)])
    return made


def images(seed=0):
    return np.random.default_rng(seed).normal(size=(2, 4, 4, 1)).astype(np.float32)


def halved(array):
    return array.reshape(2, 2, 2, 2, 2).mean((2, 4))


def test_cam_is_the_weighted_sum_of_the_maps():
    pictures, classes = images(), np.array([0, 1])
    both = Attribution(network(), "maps")
    positive, negative = halved(pictures.clip(0)[..., 0]), halved((-pictures).clip(0)[..., 0])
    want = [1 * positive[0] + 3 * negative[0], -2 * positive[1] + 0.5 * negative[1]]
    found = both.cam(tf.constant(pictures), tf.constant(classes)).numpy()
    assert found.shape == (2, 4, 4)
    np.testing.assert_allclose(found[:, ::3, ::3], np.array(want), rtol=1e-5)  # corners are those of the coarse maps
    np.testing.assert_allclose(
        found[:, 1, 0], 0.75 * np.array(want)[:, 0, 0] + 0.25 * np.array(want)[:, 1, 0], rtol=1e-5
    )
    single = Attribution(network(1), "maps").cam(tf.constant(pictures), tf.constant([1, 0])).numpy()
    np.testing.assert_allclose(single[0, ::3, ::3], positive[0] - 2 * negative[0], rtol=1e-5)
    np.testing.assert_allclose(single[1, ::3, ::3], -(positive[1] - 2 * negative[1]), rtol=1e-5)


def test_grad_cam_is_cam_without_what_speaks_against():
    """Behind the mean over a plane of four the gradient is the weight over four."""
    pictures, classes = tf.constant(images(1)), tf.constant([1, 0])
    both = Attribution(network(), "maps")
    corners = both.cam(pictures, classes).numpy()[:, ::3, ::3]
    found = both.grad_cam(pictures, classes).numpy()[:, ::3, ::3]
    assert (corners < 0).any()
    np.testing.assert_allclose(found, corners.clip(0) / 4, rtol=1e-5, atol=1e-7)


def test_guided_grad_cam_is_the_product_with_guided_gradients():
    pictures, classes = images(2), tf.constant([0, 1])
    both = Attribution(network(), "maps", network(guided=True))
    # The gradient of a pixel is w / 16 of its part's weight, where that is positive, times the sign of the filter:
    # the negative part has a negative one, and none passes the last cut.
    weights = np.array([1.0, -2.0])[:, None, None]
    guided = np.where(pictures[..., 0] > 0, weights.clip(0) / 16, 0)
    want = both.grad_cam(tf.constant(pictures), classes).numpy() * guided
    np.testing.assert_allclose(both.guided_grad_cam(tf.constant(pictures), classes), want, rtol=1e-5, atol=1e-8)
    with pytest.raises(ValueError, match="GuidedReLU"):
        Attribution(network(), "maps").guided_grad_cam(tf.constant(pictures), classes)


def test_maps_are_brought_to_one_scale():
    maps = np.array([[[1.0, 3.0]], [[7.0, 7.0]]])
    np.testing.assert_array_equal(to_unit(maps), [[[0, 1]], [[0, 0]]])
