"""A folder of 2D images (PNG, JPEG, TIFF), whose sub-folders are classes."""

import dataclasses
import fnmatch

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.addresses import NUMBERS
from tfmed.io.stack import SUFFIXES

from .adaptor import channels
from .listing import LABEL_ENDING, files_below, folder, group_of, match_labels, nothing, only_once, unique

_LAYOUT = "images (.png, .jpg, .tif) in one sub-folder per class, or in train/, val/, test/ and there one per class"
_PARTS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


def image_folder(
    root: PathLike | None = None,
    ignore: str = "*_mask*",
    group_pattern: str | None = None,
    modality: str = "image",
    colour: bool = False,
    masks: str = "",
) -> list[Case]:
    """Images below a folder, found recursively; `meta["class"]` is the folder that they lie in.

    As BUSI comes (`benign/benign (1).png`, with `benign (1)_mask.png` beside it) or Kermany's chest radiographs
    (`train/NORMAL/...jpeg`); there `meta["part"]` tells an image's part. Colour is turned to grey when it is read,
    unless `colour` is set. Patches of the Human Protein Atlas lie in `positive/` and `negative/`, and masks of some of
    them in `masks/`.

    Args:
        root: the folder.
        ignore: names of files to leave out, such as masks; * and ? stand for any letters.
        group_pattern: regular expression with one group, searched in the file's path below `root`: the patient that an
            image belongs to. Without it every image is a patient of its own.
        modality: name under which a case gives its image.
        colour: a case gives "red", "green" and "blue" instead.
        masks: folder below `root` with label maps of some images, named as these, or as their path below `root`; no
            class then has this name.

    Raises:
        DataError: the folder is missing or holds no such file; an image lies in no class or is there in two
            formats; a malformed pattern; the folder of masks is missing, or a mask fits no image or several.
    """
    base = folder(root, "image_folder", _LAYOUT)
    found = [path for path in files_below(base) if path.suffix.lower() in SUFFIXES]
    labels = folder(base / masks, "image_folder", "a mask of an image in each file") if masks else None
    files = [path for path in found if not (labels and path.is_relative_to(labels))
             and not fnmatch.fnmatch(path.name, ignore)]  # fmt: skip
    if not files:
        raise nothing(base, "image_folder", _LAYOUT)
    places = [path.relative_to(base).parts[:-1] for path in files]
    in_parts = all(place and place[0] in _PARTS for place in places)
    only_once([(path.with_suffix(""), path) for path in files], "image_folder")
    names = unique([path.stem for path in files], ["-".join((*place, path.stem))
                                                   for place, path in zip(places, files, strict=True)])  # fmt: skip
    cases = [_case(name, path, place, in_parts, base, group_pattern, None if colour else modality)
             for name, path, place in zip(names, files, places, strict=True)]  # fmt: skip
    return _with_masks(cases, files, [path for path in found if labels and path.is_relative_to(labels)], base, labels)


def _with_masks(cases, files, masks, base, top):
    """The cases with those label maps that are theirs, by their path below `base` or, alone, by their name."""
    if not masks:
        return cases
    keys = [path.relative_to(base).with_suffix("").as_posix() for path in files]
    of_stem = {}
    for path, key in zip(files, keys, strict=True):
        of_stem.setdefault(path.stem.casefold(), []).append(key)
    chosen = {}
    for path in masks:
        key = path.relative_to(top).with_suffix("").as_posix()
        stem = LABEL_ENDING.sub("", path.stem).casefold()
        alone = of_stem.get(path.stem.casefold()) or of_stem.get(stem, [])
        chosen[alone[0] if key not in keys and len(alone) == 1 else key] = path
    matched = match_labels(dict.fromkeys(keys), chosen)
    return [dataclasses.replace(case, label=f"{matched[key]}::{NUMBERS}") if key in matched else case
            for case, key in zip(cases, keys, strict=True)]  # fmt: skip


def _case(name, path, place, in_parts, base, group_pattern, modality):
    if len(place) <= in_parts:
        raise DataError(f"{path}: lies in no folder of a class; source image_folder expects {_LAYOUT}")
    meta = {"class": place[int(in_parts)]} | ({"part": _PARTS[place[0]]} if in_parts else {})
    group = group_of(path.relative_to(base).as_posix(), group_pattern, path, "image_folder") or name
    images = channels(path) if modality is None else {modality: f"{path}::grey"}
    return Case(name, group, images, None, meta)
