"""Sampling images at a dense grid of voxel coordinates: what moves an image, its label and a prediction alike.

A grid holds, for each voxel of the result, the place in the image that it is read from, in voxels of the image, in the
order of the array's axes: (y, x) in 2-D, (z, y, x) in 3-D; 0 is the centre of the first voxel, size - 1 that of the
last. This is the pull convention of `scipy.ndimage.map_coordinates`, with which `warp` agrees (modes "grid-constant"
and "nearest").
"""

import functools
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def warp(
    image: tf.Tensor, grid: tf.Tensor, order: int = 1, fill: float | Sequence[float] | str = 0, compiled: bool = False
) -> tf.Tensor:
    """Read an image at the places that a grid names.

    Args:
        image: tensor `(batch, *size, channels)`, 2-D or 3-D; each axis of `size` and the batch may be unknown. Order 0
            takes any dtype and gives it back untouched (labels); order 1 takes floats, interpolates in float32 and
            gives the image's dtype back.
        grid: float tensor `(batch, *new_size, 2 or 3)` of voxel coordinates; computed with in float32.
        order: 0 (nearest voxel; halves go up) or 1 (bi- or trilinear).
        fill: what lies around the image: a finite number, one number per channel, or "edge" for the nearest voxel of
            the border. A constant is met one voxel outside the last voxel centre; in between order 1 blends and order
            0 keeps the border voxel up to half a voxel, so that rounding in a grid never loses the border.
        compiled: let XLA fuse the whole operation, which is several times faster; each new shape is compiled once
            (parts of a second), so this is for training steps and pipelines whose shapes do not change.

    Returns:
        Tensor `(batch, *new_size, channels)` of the image's dtype. Differentiable with respect to the image, and for
        order 1 with respect to the grid (zero where the place lies beyond the border).

    Raises:
        ValueError: the ranks or the batch sizes do not fit, an integer image is to be interpolated, or an argument is
            none of the above.

    Example:
        >>> image = tf.constant([1.0, 2.0, 3.0], shape=(1, 1, 3, 1))
        >>> grid = identity_grid((1, 3))[None] + [0, 0.5]  # half a pixel to the right
        >>> warp(image, grid, fill="edge").numpy().ravel().tolist()
        [1.5, 2.5, 3.0]
    """
    image, grid = tf.convert_to_tensor(image), tf.cast(tf.convert_to_tensor(grid), tf.float32)
    _check(image, grid, order, fill)
    moved = tf.cast(image, tf.float32) if order == 1 else image
    # Beside `sample`, not in it: XLA would not store the surround but work it out anew at each of 2^n reads.
    moved = _surround(moved, fill, grid.shape[-1])
    moved = (_compiled_sample() if compiled else _sample)(moved, grid, order)
    result = tf.cast(moved, image.dtype)
    result.set_shape([image.shape[0] or grid.shape[0], *grid.shape[1:-1], image.shape[-1]])
    return result


def warp_array(
    image: np.ndarray, grid: np.ndarray, order: int = 1, fill: float | Sequence[float] | str = 0
) -> np.ndarray:
    """`warp` of one image from array to array, on the host: for input pipelines.

    It runs `warp` compiled, on the processor whatever other devices there are, several times as fast as scipy; so each
    new shape is compiled once (parts of a second). Safe to call from several threads.

    Args:
        image: array `(*size, channels)`, 2-D or 3-D.
        grid: array `(*new_size, 2 or 3)`.
        order, fill: as for `warp`.

    Returns:
        Array `(*new_size, channels)` of the image's dtype.

    Raises:
        ValueError: as `warp` does.

    Example:
        >>> image = np.float32([[1, 2, 3]])[..., None]  # one row of three pixels, one channel
        >>> grid = identity_grid((1, 3)) + [0, 1]  # each pixel is read from the one on its right
        >>> warp_array(image, grid)[..., 0].tolist()
        [[2.0, 3.0, 0.0]]
    """
    with tf.device("CPU:0"):
        return warp(np.asarray(image)[None], np.asarray(grid, np.float32)[None], order, fill, compiled=True).numpy()[0]


def identity_grid(shape: Sequence[int]) -> np.ndarray:
    """The grid that leaves an image as it is.

    Args:
        shape: the image's size, (H, W) or (D, H, W).

    Returns:
        float32 array `(*shape, len(shape))` of voxel coordinates.

    Example:
        >>> identity_grid((2, 2)).tolist()
        [[[0.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]]
    """
    axes = [np.arange(size, dtype=np.float32) for size in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def _sample(image: tf.Tensor, grid: tf.Tensor, order: int) -> tf.Tensor:
    """An image with its surround (voxel i is at i + 1, so that every place below is inside) at the places of a grid."""
    rank, channels = grid.shape[-1], image.shape[-1]
    size = tf.shape(image)[1:-1]
    last = tf.cast(size - 3, tf.float32)
    # One number for each place, axis by axis: XLA makes simple loops of that.
    places = [tf.clip_by_value(p, -1.0, last[axis] + 1) for axis, p in enumerate(tf.unstack(grid, axis=-1))]
    if order == 0:
        corners = [tf.floor(place + 0.5) for place in places]
    else:
        corners = [tf.minimum(tf.floor(place), last[axis]) for axis, place in enumerate(places)]
    first = _index_of([tf.cast(corner, tf.int32) for corner in corners], size, rank)
    voxels = tf.reshape(image, [-1] if channels == 1 else [-1, tf.shape(image)[-1] if channels is None else channels])
    if order == 0:
        moved = tf.gather(voxels, first)
    else:
        shares = [place - corner for place, corner in zip(places, corners, strict=True)]
        moved = _interpolate(voxels, first, size, shares if channels == 1 else [s[..., None] for s in shares])
    return moved[..., None] if channels == 1 else moved


@functools.cache
def _compiled_sample() -> Callable[[tf.Tensor, tf.Tensor, int], tf.Tensor]:
    return tf.function(_sample, jit_compile=True, autograph=False)


def _surround(image: tf.Tensor, fill: float | Sequence[float] | str, rank: int) -> tf.Tensor:
    """The image with one more voxel on each side of each spatial axis."""
    paddings = [[0, 0], *[[1, 1]] * rank, [0, 0]]
    if isinstance(fill, str):
        return tf.pad(image, paddings, mode="SYMMETRIC")
    fill = tf.cast(fill, image.dtype)
    if fill.shape.rank == 0:
        return tf.pad(image, paddings, constant_values=fill)
    inside = tf.pad(tf.ones_like(image[:1, ..., :1], tf.bool), paddings)
    return tf.where(inside, tf.pad(image, paddings), fill)


def _strides(size: tf.Tensor, rank: int) -> list[int | tf.Tensor]:
    """How far apart neighbours along each axis lie in the flat list of voxels."""
    strides = [1]
    for axis in range(rank - 1, 0, -1):
        strides.insert(0, strides[0] * size[axis])
    return strides


def _index_of(corner: Sequence[tf.Tensor], size: tf.Tensor, rank: int) -> tf.Tensor:
    """Index of voxel `corner` (axis by axis, without the surround) in the flat list of all voxels of the batch."""
    strides = _strides(size, rank)
    sample = tf.reshape(tf.range(tf.shape(corner[0])[0]), [-1] + [1] * rank)
    index = corner[0] * strides[0]
    for coordinate, stride in zip(corner[1:], strides[1:], strict=True):
        index += coordinate * stride
    # Last, not first: XLA of TensorFlow 2.15 then makes loops that are more than twice as fast.
    return index + (sample * (strides[0] * size[0]) + sum(strides))


def _interpolate(voxels: tf.Tensor, first: tf.Tensor, size: tf.Tensor, shares: Sequence[tf.Tensor]) -> tf.Tensor:
    """Blend the 2^n corners; the two weights of an axis are formed so that whole places give whole voxels."""
    rank = len(shares)
    strides = _strides(size, rank)
    pairs = [(1 - share, share) for share in shares]

    def blended(axis: int, index: tf.Tensor) -> tf.Tensor:
        if axis == rank:
            return tf.gather(voxels, index)
        lower, upper = pairs[axis]
        return blended(axis + 1, index) * lower + blended(axis + 1, index + strides[axis]) * upper

    return blended(0, first)


def _check(image: tf.Tensor, grid: tf.Tensor, order: int, fill: float | Sequence[float] | str) -> None:
    if order not in (0, 1):
        raise ValueError(f"order is {order!r}; 0 (nearest) and 1 (linear) are available")
    if isinstance(fill, str) and fill != "edge":
        raise ValueError(f"fill is {fill!r}; give a number, one number per channel, or 'edge'")
    if order == 1 and not image.dtype.is_floating:
        raise ValueError(f"an image of dtype {image.dtype.name} cannot be interpolated; use order=0, or cast it first")
    rank = (image.shape.rank or 0) - 2
    if rank not in (2, 3) or grid.shape.rank != rank + 2 or grid.shape[-1] != rank:
        raise ValueError(
            "an image (batch, *size, channels) with 2 or 3 spatial axes needs a grid (batch, *size, axes); got "
            f"shapes {image.shape} and {grid.shape}"
        )
    if None not in (image.shape[0], grid.shape[0]) and image.shape[0] != grid.shape[0]:
        raise ValueError(f"{image.shape[0]} images cannot be moved by {grid.shape[0]} grids")
    values = 1 if isinstance(fill, str) else int(np.prod(tf.convert_to_tensor(fill).shape.as_list() or [1]))
    if image.shape[-1] is not None and values not in (1, image.shape[-1]):
        raise ValueError(f"fill has {values} numbers for {image.shape[-1]} channels")


class _CallableModule(types.ModuleType):
    """Lets `tfmed.ops.warp(image, grid)` be the function, whichever way this module was imported."""

    def __call__(self, *args: Any, **kwargs: Any) -> tf.Tensor:
        return warp(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
