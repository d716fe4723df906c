"""Gradient reversal and gated linear units."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed.nn.glu import GLU
from tfmed.nn.gradient_reversal import reversed_gradient

pytestmark = pytest.mark.current


def test_forward_is_the_identity_and_backward_turns_the_sign():
    x = tf.Variable(np.random.default_rng(0).normal(size=(3, 2)).astype("float32"))
    for scale in (1.0, 0.25):
        with tf.GradientTape() as tape:
            y = reversed_gradient(x, scale)
            loss = tf.reduce_sum(y**2)
        np.testing.assert_array_equal(y, x)
        np.testing.assert_allclose(tape.gradient(loss, x), -scale * 2 * x.numpy())
    graph = tf.function(lambda v: tf.gradients(tf.reduce_sum(reversed_gradient(v)), v)[0], autograph=False)
    np.testing.assert_array_equal(graph(tf.constant([1.0, 5.0])), [-1, -1])


def test_gated_units_and_their_shape():
    x = np.random.default_rng(0).normal(size=(2, 3, 6)).astype("float32")
    np.testing.assert_allclose(GLU()(x), x[..., :3] / (1 + np.exp(-x[..., 3:].astype(float))), rtol=1e-5)
    assert keras.Sequential([keras.Input((4, 6)), GLU()]).output_shape == (None, 4, 3)
