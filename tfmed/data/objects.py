"""Objects with classes in images, as cases know them: boxes that follow the image, padded rows, borders.

A case's objects are `meta["objects"]`: [class, x0, y0, x1, y1] each, in pixels of its images as they lie in their
files; without that entry a case is not annotated, with an empty list nothing is in it. Boxes of masks in whole numbers
(`tfmed.data.boxes`) are others: theirs are pixels (y0, y1, x0, x1).
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from tfmed.data.boxes import tight_box
from tfmed.data.case import Case
from tfmed.data.points import between_grids
from tfmed.errors import DataError
from tfmed.io.objects import Objects

LEAST_SIDE = 1.0  # px; what is left of a box at a border is dropped below


def plain(objects: Objects) -> list[list[Any]]:
    """What `meta["objects"]` holds of them."""
    return [[name, *map(float, box)] for name, box in zip(objects.names, objects.boxes.round(3), strict=True)]


def of_case(case: Case) -> Objects:
    """The objects of an annotated case."""
    rows = case.meta["objects"]
    boxes = np.array([row[1:] for row in rows], np.float64).reshape(-1, 4)
    return Objects(boxes, tuple(row[0] for row in rows))


def annotated(cases: Sequence[Case]) -> list[Case]:
    """Those whose objects are known."""
    return [case for case in cases if "objects" in case.meta]


def numbers_of(names: Sequence[str], classes: Sequence[str], where: str) -> np.ndarray:
    """Class numbers int32 `(n,)`: places in the list of classes.

    Raises:
        DataError: a class is not in the list; `where` begins the line.
    """
    for name in names:
        if name not in classes:
            raise DataError(
                f"{where}: has an object of class {name!r}, which model.classes does not list ({_few(classes)}); add "
                "it, or remove the object"
            )
    return np.array([classes.index(name) for name in names], np.int32).reshape(-1)


def _few(classes: Collection[str]) -> str:
    listed = list(classes)
    return ", ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")


def mask_boxes(labels: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    """The tight box of each number of a label map `(y, x)`: float64 `(n, 4)`; all 0 where there is none."""
    found = [tight_box(np.asarray(labels) == number) for number in numbers]
    return np.array(found, np.float64).reshape(-1, 4)[:, [2, 0, 3, 1]]


def between_images(boxes: np.ndarray, affine: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Boxes of one picture as those of another one of the same scene, by their affines; sides stay along the axes."""
    corners = np.asarray(boxes, np.float64).reshape(-1, 2) - 0.5  # places of points: pixel 0 reaches from -0.5
    moved = (between_grids(corners, affine, onto) + 0.5).reshape(-1, 2, 2)
    return np.concatenate([moved.min(1), moved.max(1)], -1)


def within(boxes: np.ndarray, size: Sequence[int], least: float = LEAST_SIDE) -> tuple[np.ndarray, np.ndarray]:
    """(boxes cut at the borders of an image of (width, height) pixels, which of them keep sides of `least` pixels)."""
    cut = np.clip(np.asarray(boxes, np.float64).reshape(-1, 4), 0, [*size, *size])
    return cut, (cut[:, 2:] - cut[:, :2] >= least).all(-1)


def inward(boxes: np.ndarray) -> np.ndarray:
    """Boxes in whole pixels, int64 `(n, 4)`, none of which reaches beyond the given one; they may lose their area."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([np.ceil(boxes[:, :2]), np.floor(boxes[:, 2:])], -1).astype(np.int64)


def padded(boxes: np.ndarray, classes: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(float32 `(most, 4)`, int32 `(most,)`) of so many boxes and classes; rows behind them are -1.

    Raises:
        DataError: there are more.
    """
    if len(boxes) > most:
        raise DataError(f"{len(boxes)} boxes where at most {most} are expected; raise model.most_boxes")
    rows, numbers = np.full((most, 4), -1, np.float32), np.full(most, -1, np.int32)
    rows[: len(boxes)], numbers[: len(boxes)] = boxes, classes
    return rows, numbers
