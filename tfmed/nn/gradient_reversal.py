"""Gradient reversal: one backward pass that teaches a predictor, and teaches what it predicts from to defeat it."""

import tensorflow as tf


def reversed_gradient(x: tf.Tensor, scale: float = 1.0) -> tf.Tensor:
    """`x` itself; its gradient comes back times -`scale` (Ganin & Lempitsky, ICML 2015).

    Example:
        >>> x = tf.Variable([1.0, 2.0])
        >>> with tf.GradientTape() as tape:
        ...     y = reversed_gradient(3 * x)
        >>> y.numpy().tolist(), tape.gradient(y, x).numpy().tolist()
        ([3.0, 6.0], [-3.0, -3.0])
    """

    @tf.custom_gradient
    def identity(x: tf.Tensor) -> tuple:
        return tf.identity(x), lambda upstream: -scale * upstream

    return identity(tf.convert_to_tensor(x))
