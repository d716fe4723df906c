"""BreastPathQ (2019), its auxiliary crops: nuclei of the breast, marked and named in XML files."""

import re

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.addresses import DISCS

from .adaptor import channels
from .listing import files_below, folder, nothing, only_once

_LAYOUT = "cells/<n>_Region <k>_crop.tif and cells/<n>_Region <k>_key.xml"
_ENDING = re.compile(r"_(crop|key)$", re.IGNORECASE)


def breastpathq(root: PathLike | None = None) -> list[Case]:
    """Crops (images "red", "green", "blue") with a disc of 12 pixels about each nucleus as label.

    1 is malignant epithelium, 2 normal epithelium, 3 a lymphocyte; other kinds are left out. What stands in front of
    `_Region` is a slide and a group.

    Args:
        root: the folder `datasets`, or `cells` in it.

    Raises:
        DataError: the folder is missing or holds no such crop, or marks are of none.
    """
    base = folder(root, "breastpathq", _LAYOUT)
    top = base / "cells" if (base / "cells").is_dir() else base
    crops, keys = [], []
    for path in files_below(top):
        ending, suffix = _ENDING.search(path.stem), path.suffix.lower()
        kind = ending and ending[1].lower()
        if (kind, suffix) in (("crop", ".tif"), ("crop", ".tiff"), ("crop", ".png")):
            crops.append((_ENDING.sub("", path.stem), path))
        elif (kind, suffix) == ("key", ".xml"):
            keys.append((re.sub(r"_crop$", "", _ENDING.sub("", path.stem)), path))
    pictures, marks = only_once(crops, "breastpathq"), only_once(keys, "breastpathq")
    if not pictures:
        raise nothing(top, "breastpathq", _LAYOUT)
    if lost := sorted(marks.keys() - pictures.keys()):
        raise DataError(f"{marks[lost[0]]}: marks nuclei of no crop {lost[0]}_crop.tif; copy that, or remove this file")
    return [Case(name, name.partition("_Region")[0], channels(path),
                 f"{marks[name]}::{DISCS}:{path.resolve()}" if name in marks else None)
            for name, path in pictures.items()]  # fmt: skip
