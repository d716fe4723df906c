"""Checks that stay in a graph, and so in an exported model."""

import tensorflow as tf


def checked(value: tf.Tensor, holds: tf.Tensor, message: str) -> tf.Tensor:
    """The value, once it is known that something holds.

    Raises:
        tf.errors.InvalidArgumentError: with the message, when it runs and it does not hold.

    Example:
        >>> int(checked(tf.constant(1), tf.constant(True), "one is not one"))
        1
    """
    check = tf.debugging.Assert(holds, [message])
    with tf.control_dependencies([] if check is None else [check]):  # there is none outside of graphs: it has run
        return tf.identity(value)
