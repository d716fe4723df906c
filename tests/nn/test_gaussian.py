"""Diagonal Gaussians against tensorflow-probability and by arithmetic."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfmed.nn.gaussian import gaussian_head, kl_to_standard, log_density, reparametrised

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
