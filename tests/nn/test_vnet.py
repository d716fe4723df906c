"""V-Net: the total of the UA-MT line, shapes, gradients, Monte Carlo passes."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.compat import tensor_variable
from tfmed.nn.dropout import mc_mean
from tfmed.nn.vnet import vnet

pytestmark = pytest.mark.current

X = tf.random.stateless_normal([2, 16, 16, 16, 1], [1, 2])


def parameters(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


@pytest.mark.usefixtures("unfilled_weights")
def test_total_and_stages():
    model = vnet(size=(80, 112, 112))
    assert parameters(model) == 9_448_866
    shapes = [tuple(f.shape[1:]) for f in model.get_layer("encoder").output]
    assert shapes == [(80, 112, 112, 16), (40, 56, 56, 32), (20, 28, 28, 64), (10, 14, 14, 128), (5, 7, 7, 256)]
    assert model.output.shape[1:] == (80, 112, 112, 2)


@pytest.mark.parametrize("options", [{}, {"residual": True, "norm": "none"}])
def test_every_weight_gets_a_gradient(options):
    model = vnet(1, 3, width=2, **options)
    with tf.GradientTape() as tape:
        y = model(X, training=True)
        loss = tf.reduce_mean(tf.square(y - 1))
    assert y.shape == (2, 16, 16, 16, 3)
    gradients = tape.gradient(loss, [tensor_variable(w) for w in model.trainable_weights])
    assert all(g is not None and np.isfinite(g).all() for g in gradients)


def test_monte_carlo_passes_leave_batch_norm_alone():
    model = vnet(width=2)
    before = [np.array(w) for w in model.get_weights() if w.shape]
    mean = mc_mean(model, X, 3)
    np.testing.assert_allclose(tf.reduce_sum(mean, -1), np.ones(X.shape[:-1]), rtol=1e-5)
    after = [w for w in model.get_weights() if w.shape]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    assert int(model.get_layer("decoder").get_layer("head_dropout").calls) == 3


def test_a_wrong_size_is_named():
    with pytest.raises(ValueError, match=r"multiples of \(16, 16, 16\)"):
        vnet(size=(88, 112, 112))
