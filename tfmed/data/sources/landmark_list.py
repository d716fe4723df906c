"""A table of volumes, and the files of their landmarks."""

import dataclasses
from typing import Any

import numpy as np

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.errors import ImageIntegrityError
from tfmed.io.points import read_markups

from .csv_list import csv_list

COLUMNS = ("landmarks", "landmarks_again")


def landmark_list(root: PathLike | None = None) -> list[Case]:
    """The cases that a table lists, as `csv_list` does, with 3-D landmarks.

    Two further columns hold paths of point lists of 3D Slicer (.mrk.json), or nothing where a case has none:
    `landmarks`, and `landmarks_again`, a second set by the same person. `meta` then has {name: [x, y, z] in mm, RAS}
    under these names.

    Args:
        root: the table.

    Raises:
        DataError: as `csv_list`; a list of points is damaged, or a label in it is empty or stands there twice.
    """
    found = []
    for case in csv_list(root):
        images, meta = dict(case.images), dict(case.meta)
        for column in COLUMNS:
            if path := images.pop(column, None):
                meta[column] = _landmarks(path)
        if not images:
            raise DataError(f"{root}: {case.id} has no image; give a column such as ct with its path")
        found.append(dataclasses.replace(case, images=images, meta=meta))
    return found


def _landmarks(path: str) -> dict[str, Any]:
    try:
        names, points = read_markups(path)
    except ImageIntegrityError as error:
        raise DataError(str(error)) from None
    if "" in names or len(set(names)) < len(names):
        raise DataError(f"{path}: a point has no label, or another's; give each landmark a name of its own in Slicer")
    return {name: point.tolist() for name, point in zip(names, points, strict=True) if not np.isnan(point).any()}
