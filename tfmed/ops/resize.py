"""Resizing along one axis, graph-safe."""

import numpy as np
import tensorflow as tf


def linear_resize(array: tf.Tensor, axis: int, size: int) -> tf.Tensor:
    """Interpolate linearly to `size` entries over the same field of view; the border entries are continued.

    Args:
        array: float tensor with static shape.
        axis: the axis to resize.
        size: its new length.

    Example:
        >>> linear_resize(tf.constant([0.0, 2.0]), axis=0, size=4).numpy().tolist()
        [0.0, 0.5, 1.5, 2.0]
    """
    count = array.shape[axis]
    if count == size:
        return array
    place = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
    below = np.floor(place).astype(int)
    share = (place - below).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(len(array.shape))])
    lower, upper = tf.gather(array, below, axis=axis), tf.gather(array, np.minimum(below + 1, count - 1), axis=axis)
    return lower + (upper - lower) * share
