"""Images made as large as a network needs, by what they are near their ends, mirrored."""

from collections.abc import Sequence

import tensorflow as tf


def to_multiple(images: tf.Tensor, multiples: Sequence[int]) -> tf.Tensor:
    """Images whose sides are multiples of some numbers: mirrored at the last row and column, which are not repeated.

    Args:
        images: tensor `(n, y, x, channels)`, of any size, also of one that is shorter than what it lacks.
        multiples: of height and width.

    Returns:
        Tensor `(n, y + .., x + .., channels)` of the same dtype; what is added lies behind the image.

    Example:
        >>> to_multiple(tf.reshape(tf.range(3), (1, 1, 3, 1)), (1, 4))[0, 0, :, 0].numpy().tolist()
        [0, 1, 2, 1]
    """
    for axis, multiple in zip((1, 2), multiples, strict=True):
        size = tf.shape(images)[axis]
        there = tf.range((size + multiple - 1) // multiple * multiple)
        period = tf.maximum(2 * (size - 1), 1)
        there = tf.math.floormod(there, period)
        images = tf.gather(images, tf.minimum(there, tf.where(size > 1, period - there, 0)), axis=axis)
    return images
