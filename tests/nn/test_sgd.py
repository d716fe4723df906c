"""SGD with an L2 penalty: its formula step by step, and Keras' own without one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed import compat
from tfmed.nn.sgd import SGD

pytestmark = pytest.mark.current


def weight(value):
    """A trainable weight as layers have them."""
    layer = keras.layers.Layer()
    made = layer.add_weight(name="w", shape=np.shape(value), initializer="zeros")
    made.assign(value)
    return made


@pytest.mark.parametrize("penalty", [0.0, 0.3])
def test_the_penalty_is_in_the_gradient(penalty):
    """v <- m v + g + penalty w; w <- w - rate v: as published trainings have it, within the momentum."""
    start = np.array([1.0, -2.0, 0.5], "float32")
    made, w, v = weight(start), start.astype(float), np.zeros(3)
    optimizer = SGD(0.1, 0.9, penalty)
    optimizer.build([made])
    for k in range(4):
        gradient = np.array([0.5, k, -1.0], "float32")
        compat.apply_gradients(optimizer, [tf.constant(gradient)], [made])
        v = 0.9 * v + gradient + penalty * w
        w = w - 0.1 * v
        np.testing.assert_allclose(made.numpy(), w, rtol=1e-5)
    again = SGD.from_config(optimizer.get_config())
    assert again.penalty == penalty and again.momentum == 0.9
