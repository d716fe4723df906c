"""A folder of pictures, and a table of the boxes in them."""

import os

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.errors import ImageIntegrityError
from tfmed.io.objects import Objects, check_boxes, read_boxes_csv

from .adaptor import size_of
from .listing import folder
from .pictured_objects import listed, object_cases, pictures

_LAYOUT = "images (.png, .jpg, .tif) and boxes.csv with the columns image, class_name, xmin, ymin, xmax, ymax"


def boxes_folder(
    root: PathLike | None = None,
    table: str = "boxes.csv",
    group_pattern: str | None = None,
    labelled_list: str | None = None,
) -> list[Case]:
    """Pictures below a folder (as "red", "green", "blue"), and a table of boxes, whose images are named by their paths
    below `root` or by their names alone.

    `meta["objects"]` is [class, x0, y0, x1, y1] of each. A picture that the table does not name is not annotated; a
    line without box names one in which nothing is.

    Args:
        root: the folder.
        table: path of the table, below `root`.
        group_pattern: as of `image_folder`: the patient that an image belongs to. Without it each is one of its own.
        labelled_list: text file below `root` with the images whose boxes are used; all others are then unlabelled.

    Raises:
        DataError: the folder or the table is missing, the table names an image that is not there, or boxes cannot be
            right.
    """
    base = folder(root, "boxes_folder", _LAYOUT)
    if not (base / table).is_file():
        raise DataError(f"{base / table}: does not exist; source boxes_folder expects {_LAYOUT}")
    try:
        known = read_boxes_csv(base / table)
    except ImageIntegrityError as error:
        raise DataError(str(error)) from None
    files = pictures(base, "boxes_folder", _LAYOUT)
    places = by_name(files, known, base / table)

    def objects(key, path):
        if key not in places:
            return None
        one = known[places[key]]
        return Objects(check_boxes(one.boxes, f"{base / table}, image {places[key]}", size_of(path)), one.names)

    return object_cases(files, objects, "boxes_folder", group_pattern, listed(base, labelled_list))


def by_name(files, known, where):
    """{path below the root: the name by which a table knows it}: the path itself, or the name of the file where that is
    the only one.

    Raises:
        DataError: a name is of no file, or of several.
    """
    names: dict[str, list[str]] = {}
    for key in files:
        names.setdefault(os.path.basename(key), []).append(key)
    found = {}
    for name in known:
        plain = os.path.normpath(name)
        matches = [plain] if plain in files else names.get(os.path.basename(plain), [])
        if len(matches) != 1:
            there = f"of {len(matches)} images" if matches else "not there"
            raise DataError(f"{where}: names the image {name}, which is {there}; correct its name, or remove its lines")
        found[matches[0]] = name
    return found
