"""Strided convolutions over blocks: the numbers, gradients and weights of Keras' own layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed.nn.strided3d import StridedConv3D, StridedConv3DTranspose, from_blocks, to_blocks

pytestmark = pytest.mark.current


def same(ours, theirs, shape, dynamic=False):
    x = tf.random.stateless_normal(shape, [1, 2])
    theirs.build(shape), ours.build(shape)
    for k, v in enumerate(theirs.weights):
        v.assign(tf.random.stateless_normal(v.shape, [3, k]))
    ours.set_weights(theirs.get_weights())
    assert [v.shape for v in ours.weights] == [v.shape for v in theirs.weights]
    found = []
    for layer in (ours, theirs):
        if dynamic:
            inputs = keras.Input((None, None, None, shape[-1]))
            layer = keras.Model(inputs, layer(inputs))
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(y * tf.cos(tf.range(tf.size(y), dtype=tf.float32) % 97).numpy().reshape(y.shape))
        gradients = tape.gradient(loss, [x, *layer.trainable_variables])
        found.append([y, *gradients])
    for one, other in zip(*found, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("size, bias", [(3, True), (4, False)])
@pytest.mark.parametrize("shape", [(2, 8, 6, 4, 3), (1, 7, 9, 6, 1)])
def test_a_strided_convolution(padding, size, bias, shape):
    layers = [kind(5, size, 2, padding, use_bias=bias) for kind in (StridedConv3D, keras.layers.Conv3D)]
    same(*layers, shape)


@pytest.mark.parametrize("shape", [(2, 4, 3, 5, 3), (1, 1, 1, 1, 2)])
def test_a_transposed_convolution(shape):
    same(*(kind(4, 4, 2, "same") for kind in (StridedConv3DTranspose, keras.layers.Conv3DTranspose)), shape)


@pytest.mark.parametrize("factors", [(2, 2, 2), (1, 2, 2), (3, 1, 2)])
@pytest.mark.parametrize("shape", [(2, 6, 6, 4, 3), (1, 7, 9, 5, 1)])
def test_blocks_of_the_kernels_size(factors, shape):
    """Kernel and stride alike; what is left over at an end is not used."""
    same(*(kind(5, factors, factors) for kind in (StridedConv3D, keras.layers.Conv3D)), shape)
    for padding in ("same", "valid"):
        kinds = (StridedConv3DTranspose, keras.layers.Conv3DTranspose)
        same(*(kind(4, factors, factors, padding) for kind in kinds), shape)


def test_in_a_model_of_any_size():
    same(StridedConv3D(3, 2, 2), keras.layers.Conv3D(3, 2, 2), (1, 6, 7, 8, 2), dynamic=True)
    same(StridedConv3DTranspose(3, 2, 2), keras.layers.Conv3DTranspose(3, 2, 2), (1, 2, 3, 4, 2), dynamic=True)
    same(StridedConv3D(3, 4, 2, "same"), keras.layers.Conv3D(3, 4, 2, "same"), (1, 6, 7, 8, 2), dynamic=True)
    same(StridedConv3DTranspose(3), keras.layers.Conv3DTranspose(3, 4, 2, "same"), (1, 2, 3, 4, 2), dynamic=True)


def test_blocks_and_back():
    x = np.arange(2 * 4 * 6 * 2 * 3, dtype="float32").reshape(2, 4, 6, 2, 3)
    blocks = to_blocks(tf.constant(x)).numpy()
    assert blocks.shape == (2, 2, 3, 1, 24)
    np.testing.assert_array_equal(blocks[1, 1, 2, 0], x[1, 2:4, 4:6, 0:2].ravel())
    np.testing.assert_array_equal(from_blocks(tf.constant(blocks)), x)


def test_other_layers_are_refused():
    with pytest.raises(ValueError, match="only 3 or 4"):
        StridedConv3D(2, 5)
    with pytest.raises(ValueError, match="only 4, 2"):
        StridedConv3DTranspose(2, 3)
