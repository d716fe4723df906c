"""Diagonal Gaussians of latent variables: an encoder's heads, draws, densities, divergences."""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf


def gaussian_head(features: tf.Tensor, size: int, name: str = "") -> tuple[tf.Tensor, tf.Tensor]:
    """(mean, log variance) `(n, size)` float32 by a dense layer each, of Keras features `(n, channels)`."""
    mean = keras.layers.Dense(size, dtype="float32", name=f"{name}mean")(features)
    return mean, keras.layers.Dense(size, dtype="float32", name=f"{name}log_variance")(features)


def reparametrised(mean: tf.Tensor, log_variance: tf.Tensor, noise: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
    """mean + temperature * sigma * noise: a draw that gradients pass through; temperature 0 gives the mean."""
    return mean + temperature * tf.exp(0.5 * log_variance) * noise


def log_density(x: tf.Tensor, mean: tf.Tensor | float = 0.0, log_variance: tf.Tensor | float = 0.0) -> tf.Tensor:
    """log N(x; mean, diag(exp(log_variance))), summed over the last axis.

    Example:
        >>> float(log_density(tf.zeros((1, 2)))[0])  # -log(2 pi)
        -1.8378770351409912
    """
    log_variance = tf.cast(log_variance, x.dtype)
    each = math.log(2.0 * math.pi) + log_variance + tf.square(x - mean) * tf.exp(-log_variance)
    return -0.5 * tf.reduce_sum(each, -1)


def kl_to_standard(mean: tf.Tensor, log_variance: tf.Tensor) -> tf.Tensor:
    """KL(N(mean, diag(exp(log_variance))) || N(0, I)) in nats, summed over the last axis."""
    return 0.5 * tf.reduce_sum(tf.square(mean) + tf.exp(log_variance) - 1.0 - log_variance, -1)


def kl_between(
    mean: tf.Tensor, log_variance: tf.Tensor, prior_mean: tf.Tensor, prior_log_variance: tf.Tensor
) -> tf.Tensor:
    """KL(N(mean, diag(exp(log_variance))) || the same of the prior) in nats, summed over the last axis.

    Example:
        >>> float(kl_between(*(tf.fill((1,), value) for value in (1.0, 0.0, 3.0, 0.0))))
        2.0
    """
    away = tf.square(mean - prior_mean) * tf.exp(-prior_log_variance)
    wider = log_variance - prior_log_variance
    return 0.5 * tf.reduce_sum(away + tf.exp(wider) - 1.0 - wider, -1)


def mean_kl(mean: tf.Tensor, log_variance: tf.Tensor, form: str = "correct") -> tf.Tensor:
    """Mean over all latents of their divergence from N(0, 1): 1/2 (mu^2 + sigma^2 - log sigma^2 - 1), scalar.

    Args:
        form: "paper" divides mu^2 by sigma^2 (as printed by Hung & Galeotti 2021), which is equal where mu is 0 or
            sigma is 1 alone.
    """
    if form == "paper":
        mean = mean * tf.exp(-0.5 * log_variance)
    return tf.reduce_mean(kl_to_standard(mean, log_variance)) / mean.shape[-1]


def residual_kl(log_deviation: tf.Tensor, shift: tf.Tensor, log_scale: tf.Tensor) -> tf.Tensor:
    """KL(N(mu + shift, (sigma scale)^2) || N(mu, sigma^2)) in nats of each element (Vahdat & Kautz 2020, Eq. 2).

    (shift^2 / sigma^2 + scale^2 - log scale^2 - 1) / 2, whatever mu is; 0 where the posterior is the prior.

    Args:
        log_deviation: log sigma of the prior.
        shift: what the posterior adds to its mean.
        log_scale: log of what the posterior multiplies its deviation by.

    Example:
        >>> float(residual_kl(tf.constant(0.0), tf.constant(2.0), tf.constant(0.0)))
        2.0
    """
    return 0.5 * (tf.square(shift * tf.exp(-log_deviation)) + tf.math.expm1(2.0 * log_scale)) - log_scale


@keras.utils.register_keras_serializable("tfmed")
class GaussianMaps(keras.layers.Layer):
    """Features `(n, y, x, 2 c)` -> means in (-1, 1) and logarithms of deviations in (-3, 3), `(n, y, x, c)`."""

    def call(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """tanh(0.1 x), and 3 tanh(0.1 x): at first near N(0, 1)."""
        mean, log_deviation = tf.split(tf.tanh(0.1 * x), 2, -1)
        return mean, 3.0 * log_deviation

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[tuple[int | None, ...], ...]:
        """Half of the channels each."""
        half = (*input_shape[:-1], (input_shape[-1] or 0) // 2)
        return half, half


@keras.utils.register_keras_serializable("tfmed")
class ResidualDraw(keras.layers.Layer):
    """z = mean + shift + exp(log deviation + log scale) noise: from the posterior; from the prior without the two."""

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """[mean, log deviation, shift, log scale, noise] -> z, a shape each."""
        mean, log_deviation, shift, log_scale, noise = inputs
        return mean + shift + tf.exp(log_deviation + log_scale) * noise

    def compute_output_shape(self, input_shape: Sequence[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """The mean's."""
        return input_shape[0]
