"""Spectral normalisation against numpy's singular values."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed import compat
from tfmed.nn.spectral import SpectralConv2D, follow, multi_scale_critic

pytestmark = pytest.mark.current


def made(width=5, kernel=3, channels=4):
    layer = SpectralConv2D(width, kernel, 2, seed=1)
    layer(tf.zeros((1, 8, 8, channels)))
    layer.kernel.assign(np.random.default_rng(0).normal(0, 2, layer.kernel.shape))
    return layer


def test_power_iteration_finds_the_largest_singular_value():
    layer = made()
    matrix = compat.tensor_variable(layer.kernel).numpy().reshape(-1, 5)
    values = np.linalg.svd(matrix, compute_uv=False)
    before = np.linalg.svd(layer.normalised().numpy().reshape(-1, 5), compute_uv=False)[0]
    for _ in range(200):
        layer.follow()
    after = np.linalg.svd(layer.normalised().numpy().reshape(-1, 5), compute_uv=False)
    np.testing.assert_allclose(after, values / values[0], rtol=1e-4)
    assert before > after[0] == pytest.approx(1, rel=1e-4)


def test_it_is_a_convolution_and_its_gradient_keeps_the_vectors():
    layer, x = made(), tf.constant(np.random.default_rng(1).normal(0, 1, (2, 8, 6, 4)), tf.float32)
    expected = tf.nn.conv2d(x, layer.normalised(), 2, "SAME")
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
    assert layer.compute_output_shape((None, 7, 6, 4)) == (None, 4, 3, 5)
    for _ in range(200):
        layer.follow()
    kernel = compat.tensor_variable(layer.kernel)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(layer.normalised() ** 2)
    slope, step = tape.gradient(value, kernel), 1e-2
    direction = np.random.default_rng(2).normal(0, 1, kernel.shape).astype("float32")
    sums = []
    for sign in (1, -1):  # at the fixed point the vectors' own change is of second order
        moved = (kernel.numpy() + sign * step * direction).reshape(-1, 5).astype(float)
        singular = np.linalg.svd(moved, compute_uv=False)
        sums.append(((singular / singular[0]) ** 2).sum())
    assert float(tf.reduce_sum(slope * direction)) == pytest.approx((sums[0] - sums[1]) / (2 * step), rel=1e-2)


def test_the_vectors_are_constants_to_the_gradient():
    """Far from the fixed point too: d sum(c W / (v W u)) / dW = c / s - sum(c W) / s^2 v u (Miyato et al., Eq. 8)."""
    layer = made()
    kernel, weight = compat.tensor_variable(layer.kernel), np.random.default_rng(3).normal(0, 1, (36, 5))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(tf.reshape(layer.normalised(), (36, 5)) * weight.astype("float32"))
    matrix, u = kernel.numpy().reshape(36, 5).astype(float), layer.direction.numpy().astype(float)
    v = matrix @ u / np.linalg.norm(matrix @ u)
    s = v @ matrix @ u
    expected = weight / s - (weight * matrix).sum() / s**2 * np.outer(v, u)
    np.testing.assert_allclose(tape.gradient(value, kernel).numpy().reshape(36, 5), expected, atol=1e-4)


@pytest.mark.one_stack
def test_a_critic_of_three_scales():
    critic = multi_scale_critic(2, (3, 4), seed=3)
    maps = critic(tf.zeros((1, 33, 32, 2)))
    assert [tuple(one.shape[1:]) for one in maps] == [(9, 8, 1), (5, 4, 1), (3, 2, 1)]
    before = [v.numpy() for v in critic.trainable_variables]
    follow(critic)
    assert all((a == b.numpy()).all() for a, b in zip(before, critic.trainable_variables, strict=True))
    image = tf.constant(np.random.default_rng(0).normal(0, 1, (1, 32, 32, 2)), tf.float32)
    alone = multi_scale_critic(2, (3, 4), scales=1, seed=103)  # the seed of the second scale
    follow(alone)
    expected = alone(tf.nn.avg_pool2d(image, 2, 2, "SAME"))
    expected = expected[0] if isinstance(expected, (list, tuple)) else expected
    np.testing.assert_allclose(critic(image)[1], expected, atol=1e-5)
