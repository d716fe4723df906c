"""GlaS (MICCAI 2015): glands of the colon in pictures of tissue, with maps of their instances."""

import pathlib
import re

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.addresses import NUMBERS

from .adaptor import channels
from .listing import files_below, folder, nothing, only_once

_LAYOUT = "train_1.bmp, testA_1.bmp, testB_1.bmp ... and train_1_anno.bmp ..., in any sub-folder"
_NAME = re.compile(r"(train|testA|testB)_(\d+)(_anno)?", re.IGNORECASE)
_PARTS = {"train": "train", "testa": "test", "testb": "test"}


def glas(root: PathLike | None = None) -> list[Case]:
    """Pictures (images "red", "green", "blue") with maps that number the glands; 0 is what is none.

    `model.labels: {gland: any}` makes one class of them. `meta["part"]` is that of the challenge, and `meta["set"]`
    train, testA or testB. Every picture is a group of its own: the release's table of grades names no patients that
    could be relied on.

    Args:
        root: the folder `Warwick QU Dataset (Released 2016_07_08)`, or one above it.

    Raises:
        DataError: the folder is missing or holds no such picture, or a map is of none.
    """
    base = folder(root, "glas", _LAYOUT)
    found: dict[bool, list[tuple[str, pathlib.Path]]] = {False: [], True: []}
    for path in files_below(base):
        name = _NAME.fullmatch(path.stem)
        if name and path.suffix.lower() in (".bmp", ".png", ".tif", ".tiff"):
            found[bool(name[3])].append((f"{name[1]}_{name[2]}", path))
    pictures, maps = (only_once(found[kind], "glas") for kind in (False, True))
    if not pictures:
        raise nothing(base, "glas", _LAYOUT)
    if lost := sorted(maps.keys() - pictures.keys()):
        raise DataError(f"{maps[lost[0]]}: is a map without {lost[0]}.bmp; copy that too, or remove the map")
    return [Case(name, name, channels(path), f"{maps[name]}::{NUMBERS}" if name in maps else None,
                 {"part": _PARTS[name.partition("_")[0].lower()], "set": name.partition("_")[0]})
            for name, path in pictures.items()]  # fmt: skip
