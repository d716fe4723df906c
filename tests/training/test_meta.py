"""The inner loop: closed forms, finite differences, and that nothing is written."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed import compat
from tfmed.nn.unet import unet
from tfmed.training.meta import adapt, model_loss, tensors_of

pytestmark = pytest.mark.current


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_quadratic_toy(first_order, steps):
    """L_s = a/2 (theta - s)^2, L_q = b/2 (theta - q)^2: the meta-gradient is b (phi - q) (1 - alpha a)^K."""
    a, b, s, q, alpha = 1.5, 0.7, 2.0, -1.0, 0.1
    theta = tf.constant(3.0)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        made = adapt(lambda w, z: (a / 2 * (w[0] - s) ** 2, z), [theta], (), alpha, steps, first_order)
        value = b / 2 * (made.weights[0] - q) ** 2
    phi = s + (3.0 - s) * (1 - alpha * a) ** steps
    slope = 1.0 if first_order else (1 - alpha * a) ** steps
    np.testing.assert_allclose(made.weights[0], phi, rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(value, theta), b * (phi - q) * slope, rtol=1e-5)
    assert len(made.losses) == steps


def test_what_does_not_move_stays_and_has_its_own_gradient():
    theta = [tf.constant(2.0), tf.constant(5.0)]
    made = adapt(lambda w, z: (w[0] * w[1], z), theta, (), 0.1, 1, moving=[False, True])
    np.testing.assert_allclose(made.weights, [2.0, 5.0 - 0.1 * 2.0], rtol=1e-6)
    for options in ({"steps": -1}, {"moving": [True]}):
        with pytest.raises(ValueError, match="give 0 or more, and a flag for each"):
            adapt(lambda w, z: (w[0], z), theta, **options)


@pytest.fixture(scope="module")
def small():
    """A tiny U-Net with batch norm in float64, so that differences can be small, and two batches of two classes."""
    compat.set_precision("float64")
    try:
        keras.utils.set_random_seed(3)
        network = unet(1, 0, (4, 4), (2, 2), norm="batch", upsample="transposed", conv_bias=False)
    finally:
        compat.set_precision("float32")
    draw = np.random.default_rng(0)
    batches = [(tf.constant(draw.normal(size=(2, 4, 4, 1))), tf.constant(draw.integers(0, 2, (2, 4, 4)))) for _ in "sq"]
    return network, *batches


def entropy(labels, logits):
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float64)))


def query(small, theta, state, rate=0.5, steps=1, first_order=False):
    """(loss of the second batch after inner steps on the first, statistics after both)."""
    network, (x, y), (u, v) = small
    made = adapt(model_loss(network, x, y, entropy), theta, state, rate, steps, first_order)
    return model_loss(network, u, v, entropy)(made.weights, made.state)


def gradient(small, *options):
    theta, state = tensors_of(small[0])
    with tf.GradientTape() as tape:
        tape.watch(theta)
        value, after = query(small, theta, state, *options)
    return tape.gradient(value, theta), after


def test_second_order_gradient_of_a_network_against_finite_differences(small):
    """Along a random direction, rtol 1e-2, which the first order misses; and no variable is written."""
    network, draw, step = small[0], np.random.default_rng(1), 1e-4
    before = [variable.numpy() for variable in network.weights]
    second, after = gradient(small)
    for variable, value in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    theta, state = tensors_of(network)
    assert any(np.any(np.abs(a - b) > 1e-6) for a, b in zip(after, state, strict=True))
    ways = [tf.constant(draw.normal(size=one.shape)) for one in theta]
    ahead, behind = (
        query(small, [one + sign * step * way for one, way in zip(theta, ways, strict=True)], state)[0]
        for sign in (1, -1)
    )
    along = sum(float(tf.reduce_sum(one * way)) for one, way in zip(second, ways, strict=True))
    np.testing.assert_allclose(float(ahead - behind) / (2 * step), along, rtol=1e-2)


@pytest.mark.one_stack
def test_first_order_differs_and_without_adaptation_all_are_equal(small):
    """In a graph too; alpha = 0, K = 0 and both orders."""
    second, _ = gradient(small)
    graph = tf.function(lambda rate: gradient(small, rate)[0], autograph=False)
    for a, b in zip(graph(tf.constant(0.5, tf.float64)), second, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    first, still, none = (gradient(small, *options)[0] for options in ((0.5, 1, True), (0.0, 1, True), (0.5, 0)))
    ways = [np.random.default_rng(1).normal(size=one.shape) for one in second]
    along, apart = (sum(float(np.sum(one * way)) for one, way in zip(found, ways, strict=True))
                    for found in (second, first))  # fmt: skip
    assert abs(apart - along) > 0.02 * abs(along)
    for a, b, c in zip(still, none, graph(tf.constant(0.0, tf.float64)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(c, b, rtol=1e-4, atol=1e-6)


def test_a_functional_call_equals_a_call(small):
    """With the model's own weights, for training (running statistics as well) and for inference."""
    network, (x, _), _ = small
    theta, state = tensors_of(network)
    for training in (False, True):
        found, after = compat.functional_call(network, theta, state, x, training)
        np.testing.assert_allclose(found, network(x, training=training), rtol=1e-5)
    for one, variable in zip(after, network.non_trainable_variables, strict=True):
        np.testing.assert_allclose(one, variable, rtol=1e-6)


def test_tensors_must_be_as_many_as_variables(small):
    network, (x, _), _ = small
    theta, state = tensors_of(network)
    with pytest.raises(ValueError):
        compat.functional_call(network, theta[1:], state, x)


def test_mixed_precision_computes_as_the_model_does():
    compat.set_precision("mixed_bfloat16")
    try:
        layer = keras.Sequential([keras.layers.Dense(3), keras.layers.BatchNormalization()])
        layer.build((None, 2))
        theta, state = tensors_of(layer)
        x = tf.ones((4, 2))
        found, _ = compat.functional_call(layer, theta, state, x, True)
        assert found.dtype == tf.bfloat16
        np.testing.assert_array_equal(tf.cast(found, tf.float32), tf.cast(layer(x, training=True), tf.float32))
    finally:
        compat.set_precision("float32")
