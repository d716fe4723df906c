"""Zoom, random crop and horizontal flip of 2-D images: one sampling grid per sample, for `tfmed.ops.warp`."""

import functools
from collections.abc import Sequence

import numpy as np

from tfmed.augment.paired import Policy, sample_grid

_STREAM = 0xC209


@functools.cache
def _zoom(zoom: tuple[float, float]) -> Policy:
    return Policy(flip=None, shift=None, scale=zoom)


def crop_grid(
    seed: int, shape: Sequence[int], size: int, zoom: tuple[float, float] = (0.6, 1.4), flip: float = 0.5
) -> np.ndarray:
    """The grid of one sample: a square of `size` pixels, cut anywhere out of the zoomed image, perhaps mirrored.

    A square larger than the zoomed image holds all of it, anywhere; what lies around it is `warp`'s to fill. Along
    each axis the two cases are told apart on their own.

    Args:
        seed: non-negative integer, the sample's own.
        shape: the image's size (H, W).
        size: side of the result in pixels.
        zoom: (least, most) magnification, drawn uniformly.
        flip: probability of the flip left-right.

    Returns:
        float32 array `(size, size, 2)`: the place in the image that each pixel of the result is read from.

    Example:
        >>> crop_grid(seed=3, shape=(512, 512), size=64).shape
        (64, 64, 2)
    """
    grid = sample_grid(seed, (size, size), _zoom(tuple(zoom)))
    draw = np.random.Generator(np.random.Philox(np.random.SeedSequence([int(seed), _STREAM])))
    where, mirrored = draw.uniform(-0.5, 0.5, 2), draw.random() < flip
    extent = grid[-1, -1] - grid[0, 0]  # of the square, in pixels of the image
    room = np.abs(np.array(shape) - 1 - extent)
    grid = grid + np.float32((np.array(shape) - size) / 2 + where * room)
    return np.ascontiguousarray(grid[:, ::-1]) if mirrored else grid
