"""Styles of a style-based generator: mixed and truncated; and the scale of what it makes."""

from typing import Any

import tensorflow as tf


def mix_styles(first: tf.Tensor, second: tf.Tensor, crossover: Any, layers: int) -> tf.Tensor:
    """Latents `(..., layers, latent)`: those of `first` before layer `crossover`, of `second` from it on."""
    return tf.where((tf.range(layers) < crossover)[..., None], first, second)


def truncate(w: tf.Tensor, mean: tf.Tensor, psi: float | tf.Tensor) -> tf.Tensor:
    """w_avg + psi (w - w_avg)."""
    return mean + tf.cast(psi, w.dtype) * (w - mean)


def to_unit(volumes: tf.Tensor) -> tf.Tensor:
    """[-1, 1] -> [0, 1], clipped."""
    return tf.clip_by_value((volumes + 1.0) / 2.0, 0.0, 1.0)
