"""What lies beyond the ends of an image that is mirrored there."""

from collections.abc import Sequence

import tensorflow as tf


def mirrored(place: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """The pixel that stands at a place on an axis of `size` pixels, whole numbers; both ends are mirrors, again and
    again, and stand there once.

    Example:
        >>> mirrored(tf.range(-2, 5), tf.constant(3)).numpy().tolist()
        [2, 1, 0, 1, 2, 1, 0]
    """
    period = tf.maximum(2 * (size - 1), 1)
    place = tf.math.floormod(place, period)
    return tf.where(size > 1, tf.minimum(place, period - place), 0)


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
        images = tf.gather(images, mirrored(there, size), axis=axis)
    return images
