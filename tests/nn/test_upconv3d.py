"""The doubling convolution against Keras' transposed convolution: values, gradients, saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed import compat
from tfmed.nn.upconv3d import DoublingConv3D

pytestmark = pytest.mark.current


@pytest.mark.parametrize("size", [(3, 4, 5), (1, 2, 1)])
def test_it_is_keras_transposed_convolution(size):
    image = tf.constant(np.random.default_rng(0).normal(size=(2, *size, 3)), tf.float32)
    ours, theirs = DoublingConv3D(2), keras.layers.Conv3DTranspose(2, 4, 2, "same", use_bias=False)
    ours.build(image.shape)
    theirs.build(image.shape)
    kernel = np.random.default_rng(1).normal(size=(4, 4, 4, 3, 2)).astype("float32")
    ours.kernel.assign(kernel)
    theirs.kernel.assign(np.swapaxes(kernel, 3, 4))  # Keras: filters before channels
    found, gradients = [], []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            tape.watch(image)
            answer = layer(image)
            loss = tf.reduce_sum(answer * tf.cos(answer))
        found.append(answer.numpy())
        gradients.append([g.numpy() for g in tape.gradient(loss, [image, compat.tensor_variable(layer.kernel)])])
    np.testing.assert_allclose(*found, atol=1e-5)
    np.testing.assert_allclose(gradients[0][0], gradients[1][0], atol=1e-3)
    np.testing.assert_allclose(gradients[0][1], np.swapaxes(gradients[1][1], 3, 4), atol=1e-3)


def test_in_a_graph_of_unknown_sizes_and_from_its_config():
    inputs = keras.Input((None, None, None, 1))
    model = keras.Model(inputs, DoublingConv3D(2, name="up")(inputs))
    assert model.output_shape == (None, None, None, None, 2)
    again = DoublingConv3D.from_config(model.get_layer("up").get_config())
    assert again.filters == 2
    run = tf.function(lambda x: model(x), input_signature=[tf.TensorSpec((None, None, None, None, 1), tf.float32)])
    for size in ((2, 3, 4), (5, 1, 2)):
        assert run(tf.zeros((1, *size, 1))).shape == (1, *(2 * n for n in size), 2)
