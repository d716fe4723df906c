"""Random crops of zoomed, turned and mirrored 2-D images: one sampling grid per sample, for `tfmed.ops.warp`."""

import functools
from collections.abc import Sequence

import numpy as np

from tfmed.augment.paired import Policy, reflected, sample_grid

_STREAM, _RESIZED = 0xC209, 0x5E51
_BOX = 256  # pixels: sides of what is read of a large image are multiples, so that few shapes are compiled


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


def resized_crop_grid(
    seed: int,
    shape: Sequence[int],
    size: Sequence[int],
    scale: tuple[float, float] = (0.8, 1.2),
    short_side: tuple[int, int] | None = None,
    rotate_degrees: float = 15.0,
    flip: float = 0.5,
    centre: Sequence[float] | None = None,
) -> np.ndarray:
    """The grid of one sample: the image is resized, turned about its middle, cropped within, and perhaps mirrored.

    An image that is smaller than the crop once it is resized is enlarged until it holds it. What a turn brings in from
    beyond the border is the image mirrored there.

    Args:
        seed: non-negative integer, the sample's own.
        shape: the image's size (y, x).
        size: of the crop (y, x), pixels.
        scale: (least, most) factor by which the image is resized, drawn uniformly.
        short_side: (least, most) pixels of the resized image's shorter side, drawn uniformly, in place of `scale`.
        rotate_degrees: the largest turn, either way.
        flip: probability of the flip left-right, and of the flip up-down.
        centre: pixel (y, x) of the image in whose middle the crop is to lie, as far as it fits; None: anywhere.

    Returns:
        float32 array `(*size, 2)`: the place in the image that each pixel of the crop is read from, all within it.

    Example:
        >>> resized_crop_grid(seed=3, shape=(522, 775), size=(768, 768)).shape
        (768, 768, 2)
    """
    draw = np.random.Generator(np.random.Philox(np.random.SeedSequence([int(seed), _RESIZED])))
    have, want = np.asarray(shape, np.float64), np.asarray(size, np.float64)
    factor = draw.uniform(*scale)
    if short_side is not None:
        factor = draw.integers(short_side[0], short_side[1] + 1) / have.min()
    factor = max(factor, (want / have).max())
    angle = np.deg2rad(draw.uniform(-rotate_degrees, rotate_degrees))
    where, mirrored = draw.uniform(0, 1, 2), draw.random(2) < flip
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle, room = (have - 1) / 2, have * factor - want
    begin = where * room
    if centre is not None:
        unturned = turn.T @ (np.asarray(centre, np.float64) - middle) + middle
        begin = np.clip((unturned + 0.5) * factor - want / 2, 0, room)
    axes = [((np.arange(n)[:: -1 if back else 1] + start + 0.5) / factor - 0.5 - mid)
            for n, start, mid, back in zip(size, begin, middle, mirrored, strict=True)]  # fmt: skip
    places = np.stack(np.meshgrid(*axes, indexing="ij"), -1) @ turn.T + middle
    return reflected(places, shape)


def area_read(image: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the part of an image that a grid reads, the grid within it): of a large image in a file only that is then read.

    Args:
        image: array or memory map `(y, x, ...)`.
        grid: `(..., 2)`, all of whose places lie in the image.
    """
    low = np.floor(grid.reshape(-1, 2).min(0)).astype(int)
    high = np.ceil(grid.reshape(-1, 2).max(0)).astype(int) + 1
    sides = [min(-(-int(b - a) // _BOX) * _BOX, n) for a, b, n in zip(low, high, image.shape, strict=False)]
    starts = [min(int(a), n - side) for a, n, side in zip(low, image.shape, sides, strict=False)]
    area = image[tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))]
    return np.asarray(area), grid - np.asarray(starts, np.float32)
