"""What losses ask of their arguments. NumPy's rules would stretch a tensor that does not fit, and the loss be wrong.

Shapes are compared while a graph is made; where a size is open until then, when it runs. XLA leaves the latter out.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def same_shape(name: str, tensor: tf.Tensor, other_name: str, shape: tf.Tensor) -> None:
    """ValueError unless a tensor has a shape.

    Args:
        name, other_name: of the tensor, and of what has the shape, for the message.
        tensor: of any kind; sizes may be open.
        shape: a tensor whose shape is wanted.
    """
    ours, theirs = tensor.shape, shape.shape
    line = f"{name} of shape {ours} does not fit {other_name} of shape {theirs}; give as many of each"
    if not ours.is_compatible_with(theirs):
        raise ValueError(line)
    if not (ours.is_fully_defined() and theirs.is_fully_defined()):
        require(tf.reduce_all(tf.shape(tensor) == tf.shape(shape)), line)


def as_many_samples(name: str, tensor: tf.Tensor, other_name: str, other: tf.Tensor) -> None:
    """ValueError unless two tensors have first axes of one size."""
    ours, theirs = tensor.shape[:1], other.shape[:1]
    line = f"{name} of shape {tensor.shape} and {other_name} of shape {other.shape} differ in their samples"
    if not ours.is_compatible_with(theirs):
        raise ValueError(line + "; give as many of each")
    if not (ours.is_fully_defined() and theirs.is_fully_defined()):
        require(tf.shape(tensor)[0] == tf.shape(other)[0], line)


def one_number(name: str, tensor: tf.Tensor) -> None:
    """ValueError unless a tensor has one element."""
    if tensor.shape.num_elements() not in (None, 1):
        raise ValueError(f"{name} of shape {tensor.shape}: one number is wanted; average it first")


def known_labels(labels: tf.Tensor, classes: int, mask: tf.Tensor | None = None) -> None:
    """An error where a label is none of 0 .. classes - 1: one-hot it would be no class at all, and cost nothing.

    Args:
        labels: integers `(n, ...)`.
        classes: their number.
        mask: of that shape, or None; where it is 0 labels may be any number.
    """
    labels = tf.cast(labels, tf.int64)
    strange = (labels < 0) | (labels >= classes)
    if mask is not None:
        strange &= tf.cast(mask, tf.float32) != 0
    fix = "give the numbers of the classes, and mask 0 where a label is to be ignored"
    require(~tf.reduce_any(strange), f"target: some labels are not 0 to {classes - 1}; {fix}")


def class_weights(weights: Sequence[float] | None, classes: int, counted: slice = slice(None)) -> tf.Tensor:
    """The weights of classes as a float32 tensor `(classes,)`; all 1 for None.

    Args:
        weights: one for each class, not negative, or None.
        classes: their number.
        counted: which of them a loss looks at; these must not all be 0.

    Raises:
        ValueError: other numbers.
    """
    if weights is None:
        return tf.ones([classes])
    weights = tf.cast(tf.convert_to_tensor(weights), tf.float32)
    if not weights.shape.is_compatible_with([classes]):
        raise ValueError(f"class_weights of shape {weights.shape} for {classes} classes; give one weight for each")
    values = tf.get_static_value(weights)
    if values is not None and not (np.isfinite(values).all() and (values >= 0).all() and values[counted].any()):
        raise ValueError(
            f"class_weights: {values.tolist()} must be finite and not negative, and one of a class that counts above 0"
        )
    return weights


def require(condition: tf.Tensor, line: str) -> None:
    """ValueError where a condition is known to be false now; otherwise it is looked at when the graph runs."""
    known = tf.get_static_value(condition)
    if known is None:
        tf.debugging.Assert(condition, [line])
    elif not known:
        raise ValueError(line)
