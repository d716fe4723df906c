"""Losses of maps that a network learns side by side, each by a sigmoid of its own: a pixel may be of several, or none.

Shapes, everywhere: `logits` and `target` `(n, ..., maps)`, targets in [0, 1]; `mask` `(n, ...)`, boolean or weights
that are not negative: how much each pixel counts (None: all the same). Float32 inside; every loss gives one value per
sample and map, `(n, maps)`. A map of which nothing counts has loss 0 and gradient 0.

ValueError: shapes that differ.
"""

import tensorflow as tf

from tfmed.losses import checks


def dice(logits: tf.Tensor, target: tf.Tensor, mask: tf.Tensor | None = None, smooth: float = 1.0) -> tf.Tensor:
    """1 - (2 sum(p y) + smooth) / (sum(p) + sum(y) + smooth), sums over the pixels of a sample.

    Example:
        >>> sure = tf.constant([[[20.0], [-20.0]]])  # one sample of two pixels, one map
        >>> [round(dice(sure, tf.constant([[[y], [1 - y]]])).numpy().item(), 3) for y in (1.0, 0.0)]
        [0.0, 0.667]
    """
    logits, target, weight = _prepared(logits, target, mask)
    p, axes = tf.sigmoid(logits), _inner(logits)
    overlap, size = (tf.reduce_sum(weight * values, axes) for values in (p * target, p + target))
    return 1.0 - (2.0 * overlap + smooth) / (size + smooth)


def binary_cross_entropy(logits: tf.Tensor, target: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
    """-y log p - (1 - y) log(1 - p), averaged over the pixels of a sample that count.

    Example:
        >>> undecided = tf.zeros((1, 4, 2))  # one sample of four pixels, two maps
        >>> [round(value, 4) for value in binary_cross_entropy(undecided, undecided).numpy()[0].tolist()]  # ln 2
        [0.6931, 0.6931]
    """
    logits, target, weight = _prepared(logits, target, mask)
    each = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits)
    axes = _inner(logits)
    weight = tf.broadcast_to(weight, tf.shape(each))
    return tf.math.divide_no_nan(tf.reduce_sum(weight * each, axes), tf.reduce_sum(weight, axes))


def _prepared(logits: tf.Tensor, target: tf.Tensor, mask: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Logits, target and weights `(n, ..., 1)`, all float32."""
    logits, target = tf.cast(logits, tf.float32), tf.cast(target, tf.float32)
    checks.same_shape("target", target, "logits", logits)
    if mask is None:
        return logits, target, tf.ones_like(logits[..., :1])
    mask = tf.cast(mask, tf.float32)
    checks.same_shape("mask", mask, "the logits' pixels", logits[..., 0])
    return logits, target, mask[..., None]


def _inner(logits: tf.Tensor) -> list[int]:
    return list(range(1, len(logits.shape) - 1))
