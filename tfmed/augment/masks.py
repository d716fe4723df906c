"""Masks of what is missing of a picture: free-form strokes, and how deep in a hole each pixel lies. numpy."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

TRIES = 200  # masks that are drawn to find one within bounds
_AT_ONCE = 2**22  # pixels that are looked at together
Range = tuple[int, int]


def free_form(
    random: np.random.Generator,
    shape: Sequence[int],
    strokes: Range = (35, 69),
    width: Range = (5, 29),
    length: Range = (0, 29),
    joined: bool = False,
    area: tuple[float, float] = (0.0, 1.0),
) -> np.ndarray:
    """A mask of brush strokes, bool `(y, x)`, True where something is missing (after Yu et al. 2019).

    Strokes are straight lines with round ends in any direction. They all start at one random point or, where `joined`,
    each at the end of the one before, unless that left the picture. Numbers are drawn evenly, ends included.

    Args:
        random: a numpy Generator; the mask depends on nothing else.
        shape: `(y, x)` pixels.
        strokes: how many.
        width, length: of a stroke, pixels.
        joined: whether strokes follow each other.
        area: (least, most) share of the picture that is missing; masks are drawn until one has it.

    Raises:
        ValueError: none of 200 masks has such an area; or bounds in wrong order, or no positive size.

    Example:
        >>> mask = free_form(np.random.default_rng(0), (64, 64), strokes=(3, 5), width=(3, 6), length=(4, 16))
        >>> mask.shape, bool(mask.any())
        ((64, 64), True)
    """
    shape = tuple(int(side) for side in shape)
    least = {"strokes": 1, "width": 1, "length": 0}
    for name, (low, high) in {"strokes": strokes, "width": width, "length": length}.items():
        if not least[name] <= low <= high:
            raise ValueError(f"{name}: {low}, {high} is no range from {least[name]} up, lower bound first")
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"shape is {shape}; give (y, x) pixels")
    for _ in range(TRIES):
        mask = _strokes(random, shape, strokes, width, length, joined)
        if mask.any() and area[0] <= mask.mean() <= area[1]:
            return mask
    raise ValueError(
        f"none of {TRIES} masks covers {area[0]:g} to {area[1]:g} of {shape[0]} x {shape[1]} pixels; change the "
        "bounds, or the number, width or length of strokes"
    )


def _strokes(
    random: np.random.Generator, shape: tuple[int, ...], strokes: Range, width: Range, length: Range, joined: bool
) -> np.ndarray:
    count = int(random.integers(strokes[0], strokes[1] + 1))
    widths = random.integers(width[0], width[1] + 1, count)
    lengths = random.integers(length[0], length[1] + 1, count)
    angles = random.uniform(0, 2 * np.pi, count)
    steps = lengths[:, None] * np.stack([np.sin(angles), np.cos(angles)], -1)
    first = np.array([random.integers(side) for side in shape], float)
    starts = np.repeat(first[None], count, 0)
    for k in range(1, count) if joined else ():
        end = starts[k - 1] + steps[k - 1]
        inside = (end >= 0).all() and (end < shape).all()
        starts[k] = end if inside else starts[k - 1]
    return lines(shape, starts, starts + steps, widths / 2)


def lines(shape: Sequence[int], starts: ArrayLike, ends: ArrayLike, radii: ArrayLike) -> np.ndarray:
    """Pixels whose centres are within a radius of a straight line, bool `(y, x)`.

    Each line is looked for in a square of its own, all of one size, so that long pictures cost no more.

    Args:
        shape: `(y, x)`.
        starts, ends: `(lines, 2)` as (y, x), pixels.
        radii: `(lines,)`.

    Example:
        >>> lines((3, 5), [[1, 1]], [[1, 3]], [0.5]).astype(int).tolist()
        [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    """
    starts, ends, radii = (np.asarray(values, np.float32) for values in (starts, ends, radii))
    side = int(np.ceil(np.abs(ends - starts).max() + 2 * radii.max())) + 3
    at_once = max(_AT_ONCE // side**2, 1)
    mask = np.zeros(tuple(shape), bool)
    for first in range(0, len(radii), at_once):
        few = slice(first, first + at_once)
        _draw(mask, starts[few], ends[few], radii[few], side)
    return mask


def _draw(mask: np.ndarray, starts: np.ndarray, ends: np.ndarray, radii: np.ndarray, side: int) -> None:
    """Set the pixels of lines, each of which fits into a square of a side."""
    along = (ends - starts)[:, :, None, None]
    corners = np.floor((starts + ends) / 2 - side / 2).astype(np.int64) + 1
    y, x = corners[:, :1] + np.arange(side), corners[:, 1:] + np.arange(side)  # (lines, side)
    dy, dx = (y - starts[:, :1]).astype(np.float32)[:, :, None], (x - starts[:, 1:]).astype(np.float32)[:, None]
    share = np.clip((dy * along[:, 0] + dx * along[:, 1]) / np.maximum((along**2).sum(1), 1e-12), 0, 1)
    away = (dy - share * along[:, 0]) ** 2 + (dx - share * along[:, 1]) ** 2
    line, row, column = np.nonzero(away <= (radii**2)[:, None, None] + 1e-4)
    rows, columns = y[line, row], x[line, column]
    inside = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    mask[rows[inside], columns[inside]] = True


def depth_map(mask: ArrayLike) -> np.ndarray:
    """Pixels from each missing one to the nearest seen one, Euclidean, 0 where it is seen; float32.

    Args:
        mask: True where something is missing, any number of axes.

    Raises:
        ValueError: nothing is seen.
    """
    mask = np.asarray(mask, bool)
    if mask.all():
        raise ValueError("everything is missing: no pixel is seen to measure distances from")
    return ndimage.distance_transform_edt(mask).astype(np.float32)
