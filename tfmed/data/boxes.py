"""Boxes around objects: from masks, from files, from three axes to slices; how well they agree; tiles that cover them.

A box is whole numbers (first, end) for each axis in turn, the ends not included: (y0, y1, x0, x1) in a slice, (z0, z1,
y0, y1, x0, x1) in a volume. One without pixels is all 0. A volume's boxes are `(z, 4)`, one per slice.
"""

import re
from collections.abc import Sequence

import numpy as np
import scipy

from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.tables import read_rows

COLUMNS = ("case", "z_first", "z_last", "y_first", "y_last", "x_first", "x_last")  # of a file with boxes


def tight_box(mask: np.ndarray) -> np.ndarray:
    """The smallest box that holds all of a mask of any number of axes, int32 `(2 * axes,)`; all 0 of an empty one.

    Example:
        >>> tight_box(np.array([[0, 0, 0], [0, 1, 1]])).tolist()
        [1, 2, 1, 3]
    """
    mask, box = np.asarray(mask) != 0, []
    for axis in range(mask.ndim):
        places = np.flatnonzero(mask.any(tuple(other for other in range(mask.ndim) if other != axis)))
        box += [places[0], places[-1] + 1] if places.size else [0, 0]
    return np.array(box, np.int32)


def tight_boxes(volume: np.ndarray) -> np.ndarray:
    """The tight box of each slice of a mask `(z, y, x)`: int32 `(z, 4)`."""
    return np.stack([tight_box(mask) for mask in volume])


def component_boxes(mask: np.ndarray) -> np.ndarray:
    """The tight box of each connected part (neighbours by faces) of a mask, the largest part first: int32 `(components,
    2 * axes)`."""
    components, count = scipy.ndimage.label(np.asarray(mask) != 0)
    order = np.argsort(-np.bincount(components.ravel(), minlength=count + 1)[1:], kind="stable")
    found = scipy.ndimage.find_objects(components)
    boxes = [[edge for side in found[k] for edge in (side.start, side.stop)] for k in order]
    return np.array(boxes, np.int32).reshape(count, 2 * np.ndim(mask))


def slice_boxes(box: Sequence[int], depth: int) -> np.ndarray:
    """A 3-D box as boxes of a volume's slices: its rectangle from z0 to z1, none elsewhere; int32 `(depth, 4)`."""
    found = np.zeros((depth, 4), np.int32)
    found[box[0] : box[1]] = box[2:]
    return found


def enlarged(boxes: np.ndarray, margin: int, shape: Sequence[int]) -> np.ndarray:
    """Boxes `(..., 4)` with `margin` more pixels on each side, as far as the slice (y, x) goes; none stays none."""
    boxes = np.asarray(boxes)
    grown = boxes + np.array([-margin, margin, -margin, margin], boxes.dtype)
    grown = np.clip(grown, 0, np.repeat(shape, 2)).astype(boxes.dtype)
    return np.where(area(boxes)[..., None] > 0, grown, boxes)


def shifted(boxes: np.ndarray, origin: Sequence[int]) -> np.ndarray:
    """Boxes `(..., 4)` as seen from a pixel (y, x): in a patch that begins there; none stays none."""
    boxes = np.asarray(boxes)
    moved = boxes - np.repeat(np.asarray(origin), 2).astype(boxes.dtype)
    return np.where(area(boxes)[..., None] > 0, moved, boxes)


def mirrored(boxes: np.ndarray, axis: int, length: int) -> np.ndarray:
    """Boxes `(..., 2 * axes)` in an image of `length` pixels along an axis that is mirrored there; none stays none."""
    boxes, ends = np.asarray(boxes), slice(2 * axis, 2 * axis + 2)
    turned = boxes.copy()
    turned[..., ends] = length - boxes[..., ends][..., ::-1]
    return np.where(area(boxes)[..., None] > 0, turned, boxes)


def cut(array: np.ndarray, box: Sequence[int]) -> np.ndarray:
    """What of an array lies in a box, a view."""
    return array[tuple(slice(first, end) for first, end in zip(box[::2], box[1::2], strict=True))]


def area(boxes: np.ndarray) -> np.ndarray:
    """Pixels (voxels) of boxes `(..., 2 * axes)`, int64 `(...)`."""
    boxes = np.asarray(boxes, np.int64)
    return np.prod(np.maximum(boxes[..., 1::2] - boxes[..., ::2], 0), -1)


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of pairs of boxes `(..., 2 * axes)`, float64 `(...)`; two that are none agree, 1.

    Example:
        >>> iou(np.array([0, 2, 0, 2]), np.array([0, 2, 1, 3])).round(3).item()
        0.333
    """
    boxes, others = np.asarray(boxes, np.int64), np.asarray(others, np.int64)
    first, end = np.maximum(boxes[..., ::2], others[..., ::2]), np.minimum(boxes[..., 1::2], others[..., 1::2])
    common = np.prod(np.maximum(end - first, 0), -1)
    union = area(boxes) + area(others) - common
    return np.where(union > 0, common / np.maximum(union, 1), 1.0)


def mean_iou(boxes: np.ndarray, tight: np.ndarray) -> float:
    """Mean `iou` of slices' boxes with the tight ones `(z, 4)`, over the slices that show the object; NaN without."""
    shown = area(tight) > 0
    return float(iou(boxes[shown], tight[shown]).mean()) if shown.any() else float("nan")


# --- tiles ------------------------------------------------------------------------------------------------------------


def tile_starts(length: int, side: int, stride: int | None = None) -> np.ndarray:
    """Where tiles begin along an axis: every `stride` pixels, and one flush with the far end; 0 alone on a short axis.

    Args:
        length: pixels to cover.
        side: of a tile.
        stride: default half a side, at least 1.

    Example:
        >>> tile_starts(length=30, side=16).tolist()
        [0, 8, 14]
    """
    last = max(length - side, 0)
    starts = np.arange(0, last + 1, stride or max(side // 2, 1))
    return starts if starts[-1] == last else np.append(starts, last)


def lattice(box: Sequence[int], side: int) -> tuple[int, int]:
    """(rows, columns) of the tiles of a box (y0, y1, x0, x1)."""
    return len(tile_starts(box[1] - box[0], side)), len(tile_starts(box[3] - box[2], side))


def tile(array: np.ndarray, box: Sequence[int], side: int, row: int, column: int) -> np.ndarray:
    """One tile of a box of a slice `(y, x[, channel])`: `(side, side[, channel])`.

    Of a box that is shorter than a tile the border pixels go on, at its far end.
    """
    inner = _at_least(array[box[0] : box[1], box[2] : box[3]], side)
    y, x = (tile_starts(n, side)[k] for n, k in zip((box[1] - box[0], box[3] - box[2]), (row, column), strict=True))
    return inner[y : y + side, x : x + side]


def tiles(array: np.ndarray, box: Sequence[int] | np.ndarray, side: int) -> np.ndarray:
    """All tiles of a box, row by row: `(rows, columns, side, side[, channel])`, a copy."""
    inner = _at_least(array[box[0] : box[1], box[2] : box[3]], side)
    views = np.lib.stride_tricks.sliding_window_view(inner, side, 0)
    views = np.lib.stride_tricks.sliding_window_view(views, side, 1)
    rows, columns = (tile_starts(n, side) for n in (box[1] - box[0], box[3] - box[2]))
    found = views[np.ix_(rows, columns)]
    return np.ascontiguousarray(np.moveaxis(found, (-2, -1), (2, 3)))


def _at_least(inner: np.ndarray, side: int) -> np.ndarray:
    more = [(0, max(side - length, 0)) for length in inner.shape[:2]] + [(0, 0)] * (inner.ndim - 2)
    return np.pad(inner, more, mode="edge")


# --- boxes that somebody drew -----------------------------------------------------------------------------------------


def read_boxes(path: PathLike) -> dict[str, np.ndarray]:
    """{case: 3-D box int32 `(6,)`} of a CSV file with the columns `COLUMNS`: first and last voxel of each axis, from 0.

    Raises:
        DataError: columns are missing, a number is none, a first voxel lies behind its last, or a case stands twice.
        ImageIntegrityError: the file cannot be read.
    """
    columns, rows = read_rows(path)
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise DataError(f"{path}: has no column {missing[0]}; boxes are lines of {', '.join(COLUMNS)}")
    places, found = [columns.index(name) for name in COLUMNS], {}
    for line, cells in rows:
        where = f"{path}, line {line}"
        name, *words = (cells[place] if place < len(cells) else "" for place in places)
        for word, column in zip(words, COLUMNS[1:], strict=True):
            if not re.fullmatch("[0-9]{1,9}", word):
                raise DataError(f"{where}: {column} is {word[:40]!r}; give the number of a voxel, from 0 on")
        numbers = [int(word) for word in words]
        for axis, first, last in zip("zyx", numbers[::2], numbers[1::2], strict=True):
            if first > last:
                raise DataError(
                    f"{where}: {axis}_first {first} lies behind {axis}_last {last}; the order is "
                    f"{', '.join(COLUMNS[1:])}"
                )
        if name in found:
            raise DataError(f"{where}: case {name} has a box already; give each case one")
        found[name] = np.array(numbers, np.int32) + np.array([0, 1] * 3, np.int32)
    return found


def check_within(box: Sequence[int], shape: Sequence[int], what: str) -> None:
    """DataError unless a 3-D box lies within a volume of `shape` (z, y, x)."""
    for axis, first, end, length in zip("zyx", box[::2], box[1::2], shape, strict=True):
        if first < 0 or end > length:
            raise DataError(
                f"{what}: its box reaches from {axis} {first} to {end - 1}, and the image from 0 to {length - 1}; "
                "give voxels of the image as it lies in its file, in the order z, y, x"
            )


def on_grid(
    box: Sequence[int], affine: np.ndarray, onto: np.ndarray, shape: Sequence[int], what: str = "image"
) -> np.ndarray:
    """A 3-D box in the voxels of another grid: those that it covers at least by half, one at least; int32 `(6,)`.

    Args:
        box: in the voxels of the first grid.
        affine, onto: of both grids, voxels (x, y, z, 1) to mm, without rotation against each other.
        shape: (z, y, x) of the second.
        what: how an error begins.

    Raises:
        DataError: it lies outside of the second.
    """
    ends = np.array([box[4:6], box[2:4], box[0:2]], np.float64).T - 0.5  # the corners of voxels, (x, y, z)
    moved = (np.linalg.solve(onto, affine) @ np.concatenate([ends, np.ones((2, 1))], 1).T)[:3].T
    low, high = np.sort(moved, 0)[:, ::-1] + 0.5
    first, end = np.rint(low).astype(int), np.rint(high).astype(int)
    end = np.maximum(end, first + 1)
    first, end = np.clip(first, 0, shape), np.clip(end, 0, shape)
    if (first >= end).any():
        raise DataError(f"{what}: its box lies in a part of the image that data.preprocess cuts away")
    return np.stack([first, end], 1).reshape(-1).astype(np.int32)
