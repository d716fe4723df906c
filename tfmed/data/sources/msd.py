"""Medical Segmentation Decathlon: a task's folder with dataset.json, imagesTr, labelsTr and imagesTs."""

import json
import os
import pathlib
import re

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike

from .listing import folder, identity, only_once

_LAYOUT = "dataset.json, imagesTr/, labelsTr/ and imagesTs/ (one task, such as Task09_Spleen)"


def msd(root: PathLike | None = None) -> list[Case]:
    """The cases of one task, as `dataset.json` lists them.

    A case has one image per modality, named as there in small letters ("ct", "flair", "t1w", ...); where a file holds
    several, each is a channel of it. `meta["part"]` is "train" or "test", `meta["label_names"]` maps label values to
    names. Entries whose name begins with a dot (shadow files of the archive) are left out. A case is its own group: the
    data set does not tell patients.

    Args:
        root: the folder of the task.

    Raises:
        DataError: the folder or dataset.json is missing; that file is damaged or lacks a key; it names a file that is
            missing, outside the folder, or named twice.
    """
    base = folder(root, "msd", _LAYOUT)
    index = base / "dataset.json"
    if not index.is_file():
        raise DataError(f"{base}: holds no dataset.json; source msd expects a folder with {_LAYOUT}")
    table = _read(index)
    modalities, names = _modalities(table, index), _label_names(table, index)
    listed = _entries(table, "training", "train", index) + _entries(table, "test", "test", index)
    if not listed:
        raise DataError(f"{index}: lists no case; copy it again")
    found = [(part, _file(base, image, index), label and _file(base, label, index)) for part, image, label in listed]
    only_once([(_name(path), path) for _, path, _ in found], "msd")
    return [
        Case(_name(path), _name(path), _images(path, modalities), label and str(label),
             {"part": part, "label_names": dict(names)})
        for part, path, label in found
    ]  # fmt: skip


def _read(index):
    try:
        table = json.loads(index.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(" ".join(f"{index}: cannot be read as JSON ({error}); copy it again".split())) from None
    if not isinstance(table, dict):
        raise DataError(f"{index}: is not a JSON object; copy it again")
    return table


def _modalities(table, index):
    """Names of the modalities, in the order of their channels."""
    numbered = _numbered(table, "modality", index)
    names = [_word(numbered[key].lower()) for key in sorted(numbered)]
    if sorted(numbered) != list(range(len(names))) or len(set(names)) < len(names) or not names:
        raise DataError(f"{index}: its 'modality' must number different names from 0 on; got {numbered}")
    return names


def _word(name):
    """A modality's name as a setting can hold it: "T1-GD" stays, blanks and brackets become hyphens."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-")


def _label_names(table, index):
    return _numbered(table, "labels", index)


def _numbered(table, key, index):
    found = table.get(key)
    try:
        if not all(isinstance(name, str) for name in found.values()):
            raise ValueError
        return {int(number): name for number, name in found.items()}
    except (AttributeError, ValueError):
        raise DataError(f'{index}: its {key!r} is not an object such as {{"0": "name"}}; copy it again') from None


def _entries(table, key, part, index):
    """(part, image, label or None) of each case in a list."""
    listed, found = table.get(key, []), []
    for number, entry in enumerate(listed if isinstance(listed, list) else [None]):
        entry = {"image": entry} if isinstance(entry, str) else entry
        paths = [entry.get("image"), entry.get("label")] if isinstance(entry, dict) else [None, None]
        if not isinstance(paths[0], str) or not isinstance(paths[1], str | None):
            raise DataError(f"{index}: entry {number} of its {key!r} has no image and label; copy it again")
        if not pathlib.PurePosixPath(paths[0]).name.startswith("."):
            found.append((part, *paths))
    return found


def _file(base, name, index):
    """The file that the index names; some copies of the data are unpacked, or packed, from what it says."""
    relative = pathlib.PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise DataError(f"{index}: names {name!r}, which lies outside its folder; correct it")
    path = base / relative
    for candidate in (path, path.with_suffix("") if path.suffix == ".gz" else path.with_name(path.name + ".gz")):
        if os.path.isfile(candidate):
            return candidate
    raise DataError(f"{index}: names {name!r}, which is missing; copy it again, or remove the entry")


def _name(path):
    return identity(path.name.removesuffix(".gz").removesuffix(".nii"))


def _images(path, modalities):
    if len(modalities) == 1:
        return {modalities[0]: str(path)}
    return {name: f"{path}::{channel}" for channel, name in enumerate(modalities)}
