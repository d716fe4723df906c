"""Adaptive instance normalisation: features take each channel's mean and spread from those of a style."""

import keras
import tensorflow as tf

_LEAST = 1e-12  # of a variance: below it, the square root's gradient has no end


def channel_statistics(features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(mean, standard deviation) `(n, 1, 1, c)` float32 over the pixels of features `(n, y, x, c)`.

    Example:
        >>> mean, deviation = channel_statistics(tf.constant([[[[1.0], [3.0]]]]))
        >>> mean.numpy().item(), deviation.numpy().item()
        (2.0, 1.0)
    """
    mean, variance = tf.nn.moments(tf.cast(features, tf.float32), (1, 2), keepdims=True)
    return mean, tf.sqrt(tf.maximum(variance, _LEAST))


def adain(content: tf.Tensor, style: tf.Tensor, epsilon: float = 1e-5) -> tf.Tensor:
    """sigma(style) (content - mu(content)) / (sigma(content) + epsilon) + mu(style), of content's shape and dtype.

    Huang & Belongie 2017, Eq. 8. Moments are those of each sample and channel over its pixels.

    Args:
        content: features `(n, y, x, c)`.
        style: features `(n, y', x', c)`.
        epsilon: keeps channels without spread finite.
    """
    (mean, deviation), (wanted_mean, wanted) = channel_statistics(content), channel_statistics(style)
    found = (tf.cast(content, tf.float32) - mean) * (wanted / (deviation + epsilon)) + wanted_mean
    return tf.cast(found, content.dtype)


def statistics_loss(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Mean squared difference of the channels' means, plus that of their standard deviations; `(n,)` (ibid., Eq. 13).

    Args:
        one, other: features `(n, y, x, c)`; their planes may differ.
    """
    pairs = zip(channel_statistics(one), channel_statistics(other), strict=True)
    return tf.add_n([tf.reduce_mean((a - b) ** 2, (1, 2, 3)) for a, b in pairs])


@keras.utils.register_keras_serializable("tfmed")
class AdaIN(keras.layers.Layer):
    """`adain` of [content, style]."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Two lots of features -> those of the content, in the style's moments."""
        return adain(*inputs)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """The content's."""
        return tuple(input_shape[0])
