"""Adaptive average pooling and the normalised VGG: windows by hand, counts and shapes of the paper's network."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed.nn.adaptive_pool import AdaptiveAveragePooling2D, windows
from tfmed.nn.standardize import StandardizeEach
from tfmed.nn.vgg import normalised_vgg

pytestmark = pytest.mark.one_stack


@pytest.mark.parametrize("shape", [(7, 7), (10, 13), (14, 21), (3, 7), (1, 1)])
@pytest.mark.parametrize("size", [1, 7])
def test_windows_by_hand(shape, size):
    features = np.random.default_rng(0).normal(size=(2, *shape, 3)).astype(np.float32)
    found = AdaptiveAveragePooling2D(size)(tf.constant(features)).numpy()
    assert found.shape == (2, size, size, 3)
    for i in range(size):
        for j in range(size):
            (a, b), (c, d) = (
                (int(np.floor(k * n / size)), int(np.ceil((k + 1) * n / size)))
                for k, n in zip((i, j), shape, strict=True)
            )
            np.testing.assert_allclose(found[:, i, j], features[:, a:b, c:d].mean((1, 2)), atol=1e-5)
    if shape == (size, size):
        np.testing.assert_array_equal(found, features)


def test_of_any_size_in_a_graph():
    pool = AdaptiveAveragePooling2D(2)
    call = tf.function(pool.__call__, [tf.TensorSpec((None, None, None, 1))], autograph=False)
    image = tf.reshape(tf.range(6.0), (1, 2, 3, 1))
    np.testing.assert_allclose(call(image)[0, ..., 0], [[0.5, 1.5], [3.5, 4.5]])
    np.testing.assert_allclose(tf.reduce_sum(windows(10, 7), 1), 1, atol=1e-6)
    with pytest.raises(ValueError, match="at least 1"):
        AdaptiveAveragePooling2D(0)
    assert AdaptiveAveragePooling2D.from_config(pool.get_config()).size == 2


def test_the_trunk_is_vgg_16():
    inputs = keras.Input((224, 224, 1))
    model = keras.Model(inputs, normalised_vgg(inputs))
    assert model.output_shape == (None, 7, 7, 512)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 14_721_984
    for block, side in enumerate((112, 56, 28, 14, 7), 1):
        assert model.get_layer(f"block{block}_pool").output.shape[1] == side
    kernel = np.asarray(model.get_layer("block4_conv2").kernel)
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 512)), rel=0.01) and abs(kernel.mean()) < 1e-3
    norm = model.get_layer("block1_conv1_norm")
    assert norm.momentum == 0.9 and norm.epsilon == 1e-5


def test_each_image_has_mean_zero_and_deviation_one():
    images = np.random.default_rng(0).normal(500, [[[[90]]], [[[1e-2]]], [[[0]]]], (3, 6, 5, 2)).astype(np.float32)
    found = StandardizeEach()(tf.constant(images)).numpy()
    np.testing.assert_allclose(found.mean((1, 2, 3)), 0, atol=1e-2)
    np.testing.assert_allclose(found.std((1, 2, 3)), [1, 1, 0], atol=1e-2)
    assert np.array_equal(found[2], np.zeros_like(found[2]))
