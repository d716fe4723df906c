"""A folder of pictures, and the points in them: a table, or files of 3D Slicer."""

import os
import pathlib

import numpy as np

from tfmed.data.case import Case
from tfmed.data.points import along_affine, present
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.errors import ImageIntegrityError
from tfmed.io.itk import LPS_RAS
from tfmed.io.points import check_points, read_markups, read_points_csv
from tfmed.io.stack import SUFFIXES

from .adaptor import channels, size_of
from .listing import files_below, folder, group_of, nothing, unique

_LAYOUT = "images (.png, .jpg, .tif) and points.csv with the columns image, x, y"
_PICTURES = "images (.png, .jpg, .tif)"
_MARKUPS = ".mrk.json"
Points = dict[str, tuple[tuple[str, ...], np.ndarray]]


def points_folder(
    root: PathLike | None = None,
    table: str = "points.csv",
    group_pattern: str | None = None,
    grey: bool = False,
    spacing_mm: float = 0.0,
) -> list[Case]:
    """Images below a folder (as "red", "green", "blue"), and a table of points: columns image, x, y and, if any, name.

    `meta["points"]` is [x, y] of each point in pixels, `meta["names"]` their names where they have some (a landmark
    that is missing is [nan, nan]). An image that the table does not name has no entry; a line without coordinates
    names an image without points.

    Args:
        root: the folder.
        table: path of the table, below `root`; its images likewise. "markups": `<image>.mrk.json` or
            `<image>_landmarks.mrk.json` of 3D Slicer beside an image has its points, as `tfmed predict` writes them
            (pixels of 1 mm). "": no image has points.
        group_pattern: as of `image_folder`: the patient that an image belongs to. Without it each is one of its own.
        grey: one image, "image", in which colours are turned to grey.
        spacing_mm: side of a pixel of all images, for errors in mm; 0: not known.

    Raises:
        DataError: the folder or the table is missing, the table names an image that is not there, or points cannot be
            right.
    """
    layout = _LAYOUT if table not in ("", "markups") else _PICTURES
    base = folder(root, "points_folder", layout)
    if isinstance(spacing_mm, bool) or not isinstance(spacing_mm, (int, float)) or not 0 <= spacing_mm <= 1000:
        raise DataError(f"source points_folder: spacing_mm must be a number from 0 to 1000; got {spacing_mm!r}")
    if table not in ("", "markups") and not (base / table).is_file():
        raise DataError(f"{base / table}: does not exist; source points_folder expects {_LAYOUT}")
    files = {path.relative_to(base).as_posix(): path for path in files_below(base) if path.suffix.lower() in SUFFIXES}
    try:
        points = _of_markups(files) if table == "markups" else read_points_csv(base / table) if table else {}
    except ImageIntegrityError as error:
        raise DataError(str(error)) from None
    if not files:
        raise nothing(base, "points_folder", layout)
    keys = {os.path.normpath(name): name for name in points}
    if lost := sorted(set(keys) - set(files)):
        raise DataError(f"{base / str(table)}: names the image {lost[0]}, which is not there; add it, or remove its "
                        "lines")  # fmt: skip
    names = unique([path.stem for path in files.values()], [name.rpartition(".")[0] for name in files])
    found = []
    for name, (key, path) in zip(names, files.items(), strict=True):
        meta: dict = {"spacing_mm": [float(spacing_mm)] * 2} if spacing_mm else {}
        if key in keys:
            called, array = points[keys[key]]
            if array.shape[1] != 2:
                raise DataError(f"{base / str(table)}: has a column z, and pictures have x and y alone; remove it")
            check_points(present(array), f"{base / str(table)}, image {key}", size_of(path))
            meta |= {"points": array.tolist()} | ({"names": list(called)} if any(called) else {})
        group = group_of(key, group_pattern, path, "points_folder") or name
        found.append(Case(name, group, {"image": f"{path}::grey"} if grey else channels(path), None, meta))
    return found


def _of_markups(files: dict[str, pathlib.Path]) -> Points:
    """{image: (names, points `(n, 2)` in pixels)} of those beside which a file of Slicer lies."""
    found = {}
    for key, path in files.items():
        beside = [path.with_name(path.stem + end) for end in (_MARKUPS, f"_landmarks{_MARKUPS}")]
        there = [one for one in beside if one.is_file()]
        if len(there) > 1:
            raise DataError(f"{there[0]}: {there[1].name} lies beside it; remove one of the two")
        if there:
            names, places = read_markups(there[0])
            found[key] = names, along_affine(places, np.linalg.inv(LPS_RAS))[:, :2]
    return found
