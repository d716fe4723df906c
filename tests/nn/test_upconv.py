"""The transposed convolution of small maps against Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed import compat
from tfmed.nn.upconv import Doubling4

pytestmark = pytest.mark.current


def both(shape, filters, **options):
    """(ours, Keras' own), with the same random weights and bias."""
    ours, theirs = Doubling4(filters, **options), keras.layers.Conv2DTranspose(filters, 4, 2, "same", **options)
    draws = np.random.default_rng(0)
    for layer in (ours, theirs):
        layer.build((None, None, None, shape[-1]))
    ours.set_weights([draws.normal(size=w.shape) for w in ours.get_weights()])
    theirs.set_weights(ours.get_weights())
    return ours, theirs, tf.constant(draws.normal(size=shape), tf.float32)


@pytest.mark.parametrize("shape, options", [
    ((2, 1, 1, 3), {}), ((3, 2, 5, 4), {}), ((1, 8, 8, 2), {"use_bias": False}), ((1, 1, 4, 2), {"activation": "tanh"}),
    ((1, 9, 8, 2), {}),
])  # fmt: skip
def test_values_and_gradients_are_those_of_keras(shape, options):
    ours, theirs, x = both(shape, 5, **options)
    found = []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(tf.sin(y))
        found.append([y, *tape.gradient(loss, [x, *(compat.tensor_variable(v) for v in layer.trainable_variables)])])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_maps_of_unknown_size():
    """In a graph that does not know the size, and in a model that is saved and loaded."""
    ours, theirs, x = both((1, 4, 4, 3), 2)
    unknown = tf.function(lambda v: ours(v), input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)])
    np.testing.assert_allclose(unknown(x), theirs(x), atol=1e-4)
    model = keras.Sequential([keras.Input((None, None, 3)), ours])
    again = keras.Sequential.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_allclose(again(x), theirs(x), atol=1e-4)


def test_half_precision():
    """bfloat16 in, bfloat16 out, float32 weights."""
    ours, _, x = both((1, 4, 4, 3), 2, dtype="mixed_bfloat16")
    exact, _, _ = both((1, 4, 4, 3), 2)
    y = ours(x)
    assert y.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(y, tf.float32), exact(x), rtol=0.05, atol=0.2)
