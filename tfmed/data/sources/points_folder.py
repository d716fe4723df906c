"""A folder of pictures, and a table of the points in them."""

import os

from tfmed.data.case import Case
from tfmed.data.points import present
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.errors import ImageIntegrityError
from tfmed.io.points import check_points, read_points_csv
from tfmed.io.stack import SUFFIXES

from .adaptor import channels, size_of
from .listing import files_below, folder, group_of, nothing, unique

_LAYOUT = "images (.png, .jpg, .tif) and points.csv with the columns image, x, y"


def points_folder(
    root: PathLike | None = None, table: str = "points.csv", group_pattern: str | None = None
) -> list[Case]:
    """Images below a folder (as "red", "green", "blue"), and a table of points: columns image, x, y and, if any, name.

    `meta["points"]` is [x, y] of each point in pixels, `meta["names"]` their names where they have some (a landmark
    that is missing is [nan, nan]). An image that the table does not name has no entry; a line without coordinates
    names an image without points.

    Args:
        root: the folder.
        table: path of the table, below `root`; its images likewise.
        group_pattern: as of `image_folder`: the patient that an image belongs to. Without it each is one of its own.

    Raises:
        DataError: the folder or the table is missing, the table names an image that is not there, or points cannot be
            right.
    """
    base = folder(root, "points_folder", _LAYOUT)
    if not (base / table).is_file():
        raise DataError(f"{base / table}: does not exist; source points_folder expects {_LAYOUT}")
    try:
        points = read_points_csv(base / table)
    except ImageIntegrityError as error:
        raise DataError(str(error)) from None
    files = {path.relative_to(base).as_posix(): path for path in files_below(base) if path.suffix.lower() in SUFFIXES}
    if not files:
        raise nothing(base, "points_folder", _LAYOUT)
    keys = {os.path.normpath(name): name for name in points}
    if lost := sorted(set(keys) - set(files)):
        raise DataError(f"{base / table}: names the image {lost[0]}, which is not there; add it, or remove its lines")
    names = unique([path.stem for path in files.values()], [name.rpartition(".")[0] for name in files])
    found = []
    for name, (key, path) in zip(names, files.items(), strict=True):
        meta = {}
        if key in keys:
            called, array = points[keys[key]]
            if array.shape[1] != 2:
                raise DataError(f"{base / table}: has a column z, and pictures have x and y alone; remove it")
            check_points(present(array), f"{base / table}, image {key}", size_of(path))
            meta = {"points": array.tolist()} | ({"names": list(called)} if any(called) else {})
        found.append(
            Case(name, group_of(key, group_pattern, path, "points_folder") or name, channels(path), None, meta)
        )
    return found
