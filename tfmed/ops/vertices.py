"""Points that lie on an image, as tensors: what a map holds at them, and transforms of all points of an image at once.

Points are float tensors `(n, vertices, 2)` of (x, y), the reverse of an image's axes. In pixels 0 is the centre of the
first one; as shares of the image 0 and 1 are its edges, so that a share means the same place in maps of any size.
"""

from collections.abc import Sequence

import tensorflow as tf

_LEAST = 1e-3  # of a perspective's third coordinate; a smaller one would throw a point out of all bounds


def sample_at(maps: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    """What maps hold at points, between pixels bilinearly; beyond the border what the border holds.

    Agrees with `tfmed.ops.warp` at such a grid with `fill="edge"`, without a padded copy of the maps.

    Args:
        maps: float `(n, y, x, channel)`; sizes may be unknown.
        points: float `(n, vertices, 2)`, (x, y) in pixels of the maps.

    Returns:
        `(n, vertices, channel)` of the maps' dtype. The gradient in a point is that of the bilinear patch that it lies
        in, and 0 along an axis on which it lies outside.

    Raises:
        ValueError: the ranks do not fit.

    Example:
        >>> maps = tf.constant([[1.0, 2.0, 4.0]])[..., None][None]  # one row of three pixels
        >>> sample_at(maps, tf.constant([[[0.5, 0.0], [2.0, 0.0], [9.0, 0.0]]])).numpy().ravel().tolist()
        [1.5, 4.0, 4.0]
    """
    if maps.shape.rank != 4 or points.shape.rank != 3 or points.shape[-1] != 2:
        raise ValueError(f"maps (n, y, x, channel) and points (n, vertices, 2) are needed; got {maps.shape} and "
                         f"{points.shape}")  # fmt: skip
    points = tf.cast(points, tf.float32)
    size = tf.shape(maps)[2:0:-1]  # (x, y)
    last = tf.cast(size - 1, tf.float32)
    place = tf.clip_by_value(points, 0.0, last)
    corner = tf.clip_by_value(tf.floor(place), 0.0, tf.maximum(last - 1.0, 0.0))
    right, down = tf.unstack(place - corner, axis=-1)
    low = tf.cast(corner, tf.int32)
    (x0, y0), (x1, y1) = (tf.unstack(pixel, axis=-1) for pixel in (low, tf.minimum(low + 1, size - 1)))
    images = tf.range(tf.shape(maps)[0])[:, None] * (size[0] * size[1])
    corners = tf.stack([y0 * size[0] + x0, y0 * size[0] + x1, y1 * size[0] + x0, y1 * size[0] + x1], -1)
    weights = tf.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], -1)
    # One read by plain indices: the gradient of a gather by batches takes several times as long to trace and to run.
    flat = tf.reshape(maps, [-1, maps.shape[-1] or tf.shape(maps)[-1]])
    read = tf.cast(tf.gather(flat, corners + images[..., None]), tf.float32)
    return tf.cast(tf.reduce_sum(read * weights[..., None], 2), maps.dtype)


def as_pixels(shares: tf.Tensor, size: Sequence[int] | tf.Tensor) -> tf.Tensor:
    """Pixels of an image of `size` (x, y) of shares of it: edges at 0 and 1."""
    return shares * tf.cast(size, shares.dtype) - 0.5


def as_shares(pixels: tf.Tensor, size: Sequence[int] | tf.Tensor) -> tf.Tensor:
    """The inverse of `as_pixels`."""
    return (pixels + 0.5) / tf.cast(size, pixels.dtype)


def affine_about(points: tf.Tensor, matrix: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """(matrix + I) (v - c) + c + shift of each point v of an image, c being the mean of its points.

    Args:
        points: `(n, vertices, 2)`.
        matrix: `(n, 2, 2)`; 0 for the identity.
        shift: `(n, 2)`.
    """
    centre = tf.reduce_mean(points, 1, keepdims=True)
    away = points - centre
    return points + tf.linalg.matmul(away, matrix, transpose_b=True) + shift[:, None]


def perspective_about(points: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """The projective map `matrix` + I of each point, about the mean of its image's points.

    A third row of (matrix + I) that is (0, 0, 1) makes it the affine map of the two others.

    Args:
        points: `(n, vertices, 2)`.
        matrix: `(n, 3, 3)`; 0 for the identity.
    """
    centre = tf.reduce_mean(points, 1, keepdims=True)
    away = tf.concat([points - centre, tf.ones_like(points[..., :1])], -1)
    moved = away + tf.linalg.matmul(away, matrix, transpose_b=True)
    return moved[..., :2] / tf.maximum(moved[..., 2:], _LEAST) + centre
