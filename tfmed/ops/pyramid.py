"""Gaussian and Laplacian pyramids of images: build, collapse, blend (Burt & Adelson 1983). Differentiable.

A level is the one before it, blurred by (1, 2, 1) / 4 along each axis and averaged over squares of four pixels; it is
made larger again by repeating pixels and the same blur, which together are the bilinear interpolation. At borders the
outermost pixels are repeated. Lists begin with the finest level.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

_TAPS = np.array([1, 3, 3, 1], np.float32) / 8  # the blur and the mean of two neighbours in one


def reduced(images: tf.Tensor) -> tf.Tensor:
    """The next level of images `(n, y, x, channel)`, `(n, y / 2, x / 2, channel)`; sides are even.

    Example:
        >>> reduced(tf.ones((1, 4, 4, 1)))[0, ..., 0].numpy().tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    channels = images.shape[-1]
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    taps = tf.constant(np.outer(_TAPS, _TAPS)[..., None, None], images.dtype)
    if channels == 1:
        return tf.nn.conv2d(padded, taps, 2, "VALID")
    return tf.nn.depthwise_conv2d(padded, tf.tile(taps, [1, 1, channels, 1]), [1, 2, 2, 1], "VALID")


def expanded(images: tf.Tensor) -> tf.Tensor:
    """Images `(n, y, x, channel)` twice as large along y and x."""
    sides = 2 * tf.shape(images)[1:3]
    return tf.cast(tf.image.resize(images, sides), images.dtype)


def gaussian_pyramid(images: tf.Tensor, levels: int) -> list[tf.Tensor]:
    """The images and their reductions.

    Args:
        images: `(n, y, x, channel)` float, each side a multiple of 2^(levels - 1).
        levels: at least 1.

    Raises:
        ValueError: too few levels, or sides that are known and cannot be halved so often.
    """
    _check(images, levels)
    found = [images]
    for _ in range(levels - 1):
        found.append(reduced(found[-1]))
    return found


def laplacian_pyramid(images: tf.Tensor, levels: int) -> list[tf.Tensor]:
    """What each level has beyond the next coarser one; last, the coarsest level itself. Arguments as above."""
    found = gaussian_pyramid(images, levels)
    return [fine - expanded(coarse) for fine, coarse in itertools.pairwise(found)] + found[-1:]


def collapse(pyramid: Sequence[tf.Tensor]) -> tf.Tensor:
    """The images of which a Laplacian pyramid was made.

    Example:
        >>> images = tf.reshape(tf.range(16.0), (1, 4, 4, 1))
        >>> float(tf.reduce_max(tf.abs(collapse(laplacian_pyramid(images, 3)) - images))) < 1e-5
        True
    """
    *details, found = pyramid
    for detail in reversed(details):
        found = expanded(found) + detail
    return found


def blend(inside: tf.Tensor, outside: tf.Tensor, mask: tf.Tensor, levels: int) -> tf.Tensor:
    """`inside` where the mask is 1 and `outside` where it is 0, joined without a seam.

    Each level of the Laplacian pyramids is mixed by the mask's level, so that coarse structure passes smoothly and fine
    structure at once. Near the mask's border pixels of either side are changed.

    Args:
        inside, outside: `(n, y, x, channel)`.
        mask: `(n, y, x, 1)` in [0, 1].
        levels: of the pyramids; 1 joins at the border.
    """
    shares = gaussian_pyramid(tf.cast(mask, inside.dtype), levels)
    difference = laplacian_pyramid(inside - outside, levels)  # pyramids are linear: one instead of two
    return outside + collapse([share * level for share, level in zip(shares, difference, strict=True)])


def _check(images: tf.Tensor, levels: int) -> None:
    if levels < 1:
        raise ValueError(f"levels is {levels}; give 1 or more")
    times = 2 ** (levels - 1)
    if any(side is not None and side % times for side in images.shape[1:3]):
        raise ValueError(f"images of {images.shape[1]} x {images.shape[2]} pixels cannot be halved {levels - 1} times")
