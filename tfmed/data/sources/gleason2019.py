"""Gleason2019: cores of the prostate, graded by up to six pathologists, whose maps are fused."""

import pathlib
import re

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.addresses import FUSED

from .adaptor import channels
from .listing import files_below, folder, nothing, only_once

_LAYOUT = "Train_imgs/<slide>_<core>.jpg and Maps1_T ... Maps6_T/<slide>_<core>_classimg_nonconvex.png"
_FOLDER = re.compile(r"Maps([1-6])_T", re.IGNORECASE)
_ENDING = "_classimg_nonconvex"


def gleason2019(root: PathLike | None = None) -> list[Case]:
    """Cores (images "red", "green", "blue") with one map of grades, classes 0 to 5; see `tfmed.io.drawn.fused`.

    Not every pathologist graded every core: the maps that there are count. A core of which nobody drew one has no
    label. What stands in front of `_core` is a slide and a group.

    Args:
        root: the folder with `Train_imgs` (or `Train Imgs`) and the folders of maps.

    Raises:
        DataError: the folder is missing or holds no such core, or a map is of none.
    """
    base = folder(root, "gleason2019", _LAYOUT)
    cores: list[tuple[str, pathlib.Path]] = []
    maps: dict[str, list[tuple[int, pathlib.Path]]] = {}
    for path in files_below(base):
        number = _FOLDER.fullmatch(path.parent.name)
        if number and path.suffix.lower() == ".png":
            maps.setdefault(path.stem.removesuffix(_ENDING), []).append((int(number[1]), path))
        elif path.suffix.lower() in (".jpg", ".jpeg", ".png") and path.parent.name.lower().startswith("train"):
            cores.append((path.stem, path))
    found = only_once(cores, "gleason2019")
    if not found:
        raise nothing(base, "gleason2019", _LAYOUT)
    if lost := sorted(maps.keys() - found.keys()):
        raise DataError(f"{maps[lost[0]][0][1]}: is a map of no core {lost[0]}.jpg; copy that, or remove the map")
    return [Case(name, name.partition("_core")[0], channels(path), _label(sorted(maps.get(name, []))))
            for name, path in found.items()]  # fmt: skip


def _label(maps: list[tuple[int, pathlib.Path]]) -> str | None:
    """The address of the fusion of [(pathologist, map)], or None; one map alone is renumbered like the others."""
    if not maps:
        return None
    first, *others = [path for _, path in maps]
    return f"{first}::{FUSED}:{';'.join(str(one.resolve()) for one in others or [first])}"
