"""Random views of 2-D images of any size, resized to one: a rotation, and a crop of random area and aspect ratio."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from scipy import ndimage


def resized_crop(
    draw: np.random.Generator,
    shape: Sequence[int],
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> tuple[float, float, float, float]:
    """A random box (top, left, height, width) within an image `(H, W)`, in pixels from the edge of the first one.

    Its share of the image's area is uniform, the logarithm of its width by its height too; a box that does not fit is
    drawn again, ten times, and then the largest one in the middle is taken whose aspect ratio is allowed.

    Args:
        draw: random numbers.
        shape: the image's size (H, W).
        area: (least, most) share of the image's area.
        aspect: (least, most) width by height.
    """
    high, wide = float(shape[0]), float(shape[1])
    for _ in range(10):
        size = high * wide * draw.uniform(*area)
        ratio = math.exp(draw.uniform(math.log(aspect[0]), math.log(aspect[1])))
        height, width = math.sqrt(size / ratio), math.sqrt(size * ratio)
        if height <= high and width <= wide:
            return draw.uniform(0, high - height), draw.uniform(0, wide - width), height, width
    ratio = min(max(wide / high, aspect[0]), aspect[1])
    height, width = min(high, wide / ratio), min(wide, high * ratio)
    return (high - height) / 2, (wide - width) / 2, height, width


def resized_view(
    image: np.ndarray, box: Sequence[float], size: int, degrees: float = 0.0, mirrored: bool = False
) -> np.ndarray:
    """A box of an image `(H, W)` that was turned about its centre, as `(size, size)` float32, bilinear.

    Places beyond the image have its least value. Where the box is several times as large as the result, means over
    blocks of pixels are taken first, so that no detail is missed between the places that are read.

    Args:
        image: finite values.
        box: (top, left, height, width), as of `resized_crop`.
        size: of the result.
        degrees: of the rotation.
        mirrored: whether the result is flipped left-right.

    Example:
        >>> resized_view(np.array([[1.0, 3.0], [5.0, 7.0]]), (0, 0, 2, 2), size=1).tolist()
        [[4.0]]
    """
    top, left, height, width = box
    image = np.asarray(image, np.float32)
    blocks = max(1, int(min(height, width) / size))
    centre = np.array(image.shape) / 2
    if blocks > 1:
        rows, columns = (n // blocks * blocks for n in image.shape)
        image = image[:rows, :columns].reshape(rows // blocks, blocks, columns // blocks, blocks).mean((1, 3))
    step = np.diag([height / size, width / size])
    first = np.array([top, left]) + np.diagonal(step) / 2  # the middle of the result's first pixel, from the edge
    if mirrored:
        first[1] += width - width / size
        step[1, 1] *= -1
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[cos, -sin], [sin, cos]])
    matrix, offset = turn @ step / blocks, (turn @ (first - centre) + centre) / blocks - 0.5
    return ndimage.affine_transform(
        image, matrix, offset, (size, size), np.float32, order=1, mode="grid-constant", cval=float(image.min())
    )


CENTRE = 224 / 256  # side of a centre view by the shorter side of its image, as where networks for pictures are tried


def centre_box(shape: Sequence[int]) -> tuple[float, float, float, float]:
    """The square (top, left, side, side) in the middle of an image `(H, W)` that its centre view shows, in pixels."""
    side = CENTRE * min(shape)
    return (shape[0] - side) / 2, (shape[1] - side) / 2, side, side


def centre_views(images: tf.Tensor, size: int) -> tf.Tensor:
    """What `resized_view` makes of images' `centre_box`, in a graph and of any image size.

    Args:
        images: `(n, H, W)`, float32.
        size: of the results.

    Returns:
        `(n, size, size)`, float32.
    """
    high, wide = tf.shape(images)[1], tf.shape(images)[2]
    side = CENTRE * tf.cast(tf.minimum(high, wide), tf.float32)
    blocks = tf.maximum(1, tf.cast(side / size, tf.int32))
    rows, columns = high // blocks, wide // blocks
    cut = images[:, : rows * blocks, : columns * blocks]
    means = tf.reduce_mean(tf.reshape(cut, (-1, rows, blocks, columns, blocks)), (2, 4))
    along_y, along_x = (_places_read(*lengths, side, blocks, size) for lengths in ((high, rows), (wide, columns)))
    return tf.einsum("iy,jx,nyx->nij", along_y, along_x, means)


def _places_read(length: tf.Tensor, kept: tf.Tensor, side: tf.Tensor, blocks: tf.Tensor, size: int) -> tf.Tensor:
    """Weights `(size, kept)` of the blocks of an axis in each pixel of a centre view."""
    step, first = side / size, (tf.cast(length, tf.float32) - side) / 2
    place = (first + (tf.range(size, dtype=tf.float32) + 0.5) * step) / tf.cast(blocks, tf.float32) - 0.5
    away = tf.abs(place[:, None] - tf.range(tf.cast(kept, tf.float32))[None])
    return tf.maximum(1.0 - away, 0.0)
