"""How far images are apart, level by level of Laplacian pyramids, and less so the deeper in a hole."""

import tensorflow as tf

from tfmed.losses.checks import same_shape
from tfmed.ops.pyramid import gaussian_pyramid, laplacian_pyramid


def pyramid_loss(
    one: tf.Tensor, other: tf.Tensor, depth: tf.Tensor, levels: int = 4, ratio: float = 1.5, decay: float = 1.1
) -> tf.Tensor:
    """sum_k ratio^-(levels - 1 - k) mean(decay^-d_k (I_k - J_k)^2), k from the finest; `(n,)`.

    Hung et al. 2021, Eq. 7. The coarsest level has weight 1, each finer one `ratio` times less. How images continue far
    from what is seen can not be known, and counts less: d_k is a level of the Gaussian pyramid of `depth`.

    Args:
        one, other: images `(n, y, x, channel)`, sides multiples of 2^(levels - 1).
        depth: `(n, y, x, 1)`, pixels to the nearest seen pixel; 0 where it is seen. See `augment.masks.depth_map`.
        levels: of the pyramids.
        ratio: weight of a level over that of the next finer one.
        decay: alpha; by how much weights fall per pixel of depth.

    Raises:
        ValueError: two shapes, or sides that cannot be halved so often.
    """
    one, other = tf.cast(one, tf.float32), tf.cast(other, tf.float32)
    same_shape("one", one, "other", other)
    difference = one - other  # pyramids are linear
    depths = gaussian_pyramid(tf.cast(depth, tf.float32), levels)
    total = tf.zeros(tf.shape(difference)[:1])
    for k, (band, deep) in enumerate(zip(laplacian_pyramid(difference, levels), depths, strict=True)):
        weight = ratio ** (k + 1.0 - levels)
        total += weight * tf.reduce_mean(decay**-deep * tf.square(band), (1, 2, 3))
    return total
