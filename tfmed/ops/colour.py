"""Stains of a brightfield picture told apart by how they absorb light (Ruifrok & Johnston 2001).

Light that passes a stain weakens exponentially, so that optical densities add: of a pixel they are a mixture of what
each stain absorbs of red, green and blue, and the inverse matrix tells how much of each there is.
"""

import numpy as np
import tensorflow as tf

STAINS = ("haematoxylin", "eosin", "dab")
# Optical densities of red, green and blue for each stain, as Ruifrok & Johnston give them.
RGB_FROM_HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
HED_FROM_RGB = np.linalg.inv(RGB_FROM_HED)
LEAST = 1e-6  # intensity below which light counts as gone; its logarithm is the unit of densities


def separate_stains(pictures: tf.Tensor) -> tf.Tensor:
    """How much haematoxylin, eosin and DAB there is in each pixel, never below 0.

    Args:
        pictures: `(..., 3)`, red, green and blue in [0, 1], of any float dtype; darker than 1e-6 counts as that.

    Returns:
        float32 `(..., 3)` in the order of `STAINS`; 1 takes away all light but a millionth.

    Example:
        >>> separate_stains(tf.ones((1, 1, 3))).numpy().tolist()  # white: no stain
        [[[0.0, 0.0, 0.0]]]
    """
    unit = float(np.log(LEAST))
    densities = tf.math.log(tf.maximum(tf.cast(pictures, tf.float32), LEAST)) / unit
    return tf.maximum(tf.tensordot(densities, tf.constant(HED_FROM_RGB, tf.float32), 1), 0.0)


def combine_stains(stains: tf.Tensor) -> tf.Tensor:
    """The picture `(..., 3)` in [0, 1], float32, of amounts of haematoxylin, eosin and DAB `(..., 3)`."""
    densities = tf.tensordot(tf.cast(stains, tf.float32), tf.constant(RGB_FROM_HED, tf.float32), 1)
    return tf.clip_by_value(tf.exp(densities * float(np.log(LEAST))), 0.0, 1.0)
