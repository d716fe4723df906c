"""Diagonal Gaussians of latent variables: an encoder's heads, draws, densities, the divergence from N(0, I)."""

import math

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


def mean_kl(mean: tf.Tensor, log_variance: tf.Tensor, form: str = "correct") -> tf.Tensor:
    """Mean over all latents of their divergence from N(0, 1): 1/2 (mu^2 + sigma^2 - log sigma^2 - 1), scalar.

    Args:
        form: "paper" divides mu^2 by sigma^2 (as printed by Hung & Galeotti 2021), which is equal where mu is 0 or
            sigma is 1 alone.
    """
    if form == "paper":
        mean = mean * tf.exp(-0.5 * log_variance)
    return tf.reduce_mean(kl_to_standard(mean, log_variance)) / mean.shape[-1]
