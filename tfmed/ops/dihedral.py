"""The eight symmetries of the square, image by image."""

import tensorflow as tf

NAMES = ("identity", "quarter", "half", "three_quarters", "left_right", "up_down", "transpose", "transverse")


def dihedral(images: tf.Tensor, which: tf.Tensor) -> tf.Tensor:
    """Each image turned or flipped by a symmetry of its own; exact.

    Args:
        images: `(n, s, s, channel)`.
        which: integers `(n,)`, places in `NAMES`: turns go anticlockwise; left_right and up_down flip.

    Example:
        >>> image = tf.reshape(tf.range(4), (1, 2, 2, 1))
        >>> dihedral(image, [1])[0, ..., 0].numpy().tolist()
        [[1, 3], [0, 2]]
    """
    which = tf.convert_to_tensor(which)
    kind = lambda *numbers: tf.reduce_any([which == n for n in numbers], axis=0)[:, None, None, None]  # noqa: E731
    # transposed, then rows and then columns the other way round: any of the eight
    x = tf.where(kind(1, 3, 6, 7), tf.transpose(images, (0, 2, 1, 3)), images)
    x = tf.where(kind(1, 2, 5, 7), x[:, ::-1], x)
    return tf.where(kind(2, 3, 4, 7), x[:, :, ::-1], x)
