"""Diagonal Gaussians against tensorflow-probability and by arithmetic."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfmed.nn.gaussian import (
    GaussianMaps,
    ResidualDraw,
    gaussian_head,
    kl_between,
    kl_to_standard,
    log_density,
    reparametrised,
    residual_kl,
)

pytestmark = pytest.mark.one_stack


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def test_equal_tensorflow_probability():
    distributions = pytest.importorskip("tensorflow_probability", reason="comes with stack addons").distributions
    mean, log_variance, x = (tf.constant(numbers(k, 5, 3)) for k in range(3))
    gaussian = distributions.MultivariateNormalDiag(mean, tf.exp(0.5 * log_variance))
    np.testing.assert_allclose(log_density(x, mean, log_variance), gaussian.log_prob(x), rtol=1e-10)
    standard = distributions.MultivariateNormalDiag(tf.zeros_like(mean))
    np.testing.assert_allclose(kl_to_standard(mean, log_variance), gaussian.kl_divergence(standard), rtol=1e-10)
    np.testing.assert_allclose(log_density(x), standard.log_prob(x), rtol=1e-10)
    other = tf.constant(numbers(3, 5, 3))
    prior = distributions.MultivariateNormalDiag(x, tf.exp(0.5 * other))
    np.testing.assert_allclose(kl_between(mean, log_variance, x, other), gaussian.kl_divergence(prior), rtol=1e-10)


def test_draws_have_the_moments_and_pass_gradients():
    mean, log_variance = tf.constant([[2.0, -1.0]]), tf.constant([[0.0, math.log(9.0)]])
    noise = tf.constant(numbers(1, 40_000, 2), tf.float32)
    drawn = reparametrised(mean, log_variance, noise).numpy()
    np.testing.assert_allclose(drawn.mean(0), [2, -1], atol=0.05)
    np.testing.assert_allclose(drawn.std(0), [1, 3], rtol=0.02)
    np.testing.assert_allclose(reparametrised(mean, log_variance, noise, 0.5).numpy().std(0), [0.5, 1.5], rtol=0.02)
    assert np.array_equal(reparametrised(mean, log_variance, noise, 0.0), np.repeat(mean, len(noise), 0))
    with tf.GradientTape() as tape:
        tape.watch([mean, log_variance])
        value = tf.reduce_sum(reparametrised(mean, log_variance, noise[:1]))
    along_mean, along_variance = tape.gradient(value, [mean, log_variance])
    np.testing.assert_allclose(along_mean, [[1, 1]])
    np.testing.assert_allclose(along_variance, 0.5 * np.exp(0.5 * log_variance) * noise[:1], rtol=1e-6)


def test_heads_are_float32_whatever_the_policy():
    import keras

    from tfmed import compat

    try:
        compat.set_precision("mixed_bfloat16")
        mean, log_variance = gaussian_head(keras.Input((4,)), 3)
        assert tuple(mean.shape) == tuple(log_variance.shape) == (None, 3)
        assert {tf.as_dtype(mean.dtype), tf.as_dtype(log_variance.dtype)} == {tf.float32}
    finally:
        compat.set_precision("float32")


def test_residual_divergence_equals_tensorflow_probability():
    """Whatever the prior's mean; 0 where the posterior is the prior, and only there."""
    distributions = pytest.importorskip("tensorflow_probability", reason="comes with stack addons").distributions
    log_deviation, shift, log_scale = (numbers(k, 50) for k in range(3))
    found = residual_kl(tf.constant(log_deviation), tf.constant(shift), tf.constant(log_scale))
    for mean in (0.0, numbers(4, 50)):
        prior = distributions.Normal(mean, np.exp(log_deviation))
        posterior = distributions.Normal(mean + shift, np.exp(log_deviation + log_scale))
        np.testing.assert_allclose(found, posterior.kl_divergence(prior), rtol=1e-10)
    assert found.numpy().min() > 0
    nothing = tf.zeros(50, tf.float64)
    assert not residual_kl(tf.constant(log_deviation), nothing, nothing).numpy().any()


def test_maps_stay_within_bounds_and_draws_add_residuals():
    x = tf.constant(100 * numbers(0, 2, 3, 4, 6), tf.float32)
    mean, log_deviation = (one.numpy() for one in GaussianMaps()(x))
    assert mean.shape == (2, 3, 4, 3) and np.abs(mean).max() <= 1 and np.abs(log_deviation).max() <= 3
    np.testing.assert_allclose(mean, np.tanh(0.1 * x[..., :3]), rtol=1e-5)
    np.testing.assert_allclose(log_deviation, 3 * np.tanh(0.1 * x[..., 3:]), rtol=1e-5)
    shift, log_scale, noise = (tf.constant(numbers(k, *mean.shape), tf.float32) for k in range(3))
    expected = mean + shift + np.exp(log_deviation) * np.exp(log_scale) * noise
    np.testing.assert_allclose(ResidualDraw()([mean, log_deviation, shift, log_scale, noise]), expected, rtol=1e-4)
