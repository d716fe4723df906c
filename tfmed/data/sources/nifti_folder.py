"""A folder of volumes: .nii, .nii.gz, .nrrd, .mha or .mhd files, with or without labels."""

import fnmatch
import re

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike

from .listing import (
    LABEL_ENDING,
    files_below,
    folder,
    group_of,
    hidden,
    match_labels,
    nothing,
    only_once,
    unique,
    volume_suffix,
)

_LAYOUT = "volumes (.nii, .nii.gz, .nrrd, .mha, .mhd) in any sub-folders, or images/ and labels/ with matching names"
_CHANNEL = re.compile(r"(.+)_([0-9]{4})")  # nnU-Net's name of the images of one examination


def nifti_folder(
    root: PathLike | None = None,
    pattern: str = "*",
    images: str = "images",
    labels: str = "labels",
    group_pattern: str | None = None,
    modality: str = "ct",
    channels: str | None = None,
) -> list[Case]:
    """Volumes below a folder, found recursively.

    If `root` has a folder `images`, the images are in it and their labels in `labels`, under the same relative name; of
    a label the case of letters and an ending such as `_seg` may differ where that leaves no doubt. An image without a
    label has none, a label without an image is refused. Otherwise every file is an image.

    Args:
        root: the folder.
        pattern: which files, such as `*.nii*` or `**/ct*.nii.gz` (relative to the folder with the images; `**` does not
            enter links to folders, a pattern without / does).
        images, labels: names of the two folders.
        group_pattern: regular expression with one group, searched in the file's relative path: the patient that a case
            belongs to. Without it every case is a patient of its own, apart from those of one BIDS subject.
        modality: name under which a case gives its image.
        channels: names of the images, with commas, where a case has several: `<id>_0000`, `<id>_0001`, ...

    Raises:
        DataError: the folder is missing or holds no such file; a pattern is malformed or does not match a file; two
            files have one name; channels without the option that names them; a label that belongs to no image.
    """
    base = folder(root, "nifti_folder", _LAYOUT)
    paired = (base / images).is_dir()
    top = base / images if paired else base
    files = _files(top, pattern)
    if not files:
        raise nothing(top, "nifti_folder", f"{_LAYOUT}; pattern {pattern!r}")
    found = only_once([(_relative(path, top), path) for path in files], "nifti_folder")
    cases = _with_channels(found, _names(channels)) if channels else _single(found, group_pattern)
    masks = _masks(cases, base / labels, pattern) if (base / labels).is_dir() and paired else {}
    if not paired:
        _refuse_labels_among(found)
    ids = unique([key.rsplit("/", 1)[-1] for key in cases], list(cases))
    groups = [_group(next(iter(paths.values())), top, group_pattern) for paths in cases.values()]
    return [
        Case(
            name,
            group or name,
            {channel or modality: str(path) for channel, path in paths.items()},
            str(masks[key]) if key in masks else None,
        )
        for name, group, (key, paths) in zip(ids, groups, cases.items(), strict=True)
    ]


def _files(top, pattern):
    if pattern.startswith("/") or ".." in pattern.split("/"):
        raise DataError(f"source nifti_folder: pattern {pattern!r} must be relative and without ..")
    try:
        found = top.glob(pattern) if "/" in pattern else _named(top, pattern)
        return sorted(path for path in found if volume_suffix(path) and not hidden(path, top))
    except (ValueError, NotImplementedError, re.error):
        raise DataError(f"source nifti_folder: pattern {pattern!r} is malformed; try *.nii* or **/ct*.nii.gz") from None


def _named(top, pattern):
    return [path for path in files_below(top) if fnmatch.fnmatchcase(path.name, pattern)]


def _relative(path, top):
    """The path below the folder, without the suffix."""
    return path.relative_to(top).as_posix().removesuffix(volume_suffix(path))


def _group(path, top, group_pattern):
    return group_of(path.relative_to(top).as_posix(), group_pattern, path, "nifti_folder")


def _names(channels):
    names = [name.strip() for name in channels.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise DataError(f"source nifti_folder: channels is {channels!r}; give different names, with commas: t1,t2")
    return names


def _single(found, group_pattern):
    """{key: {None: path}} of images of which each is a case of its own."""
    by_stem = {}
    for key in found:
        if channel := _CHANNEL.fullmatch(key):
            by_stem.setdefault(channel[1], []).append(key)
    for stem, keys in by_stem.items():
        if len(keys) > 1 and f"{stem}_0000" in keys and group_pattern is None:
            raise DataError(
                f"{found[keys[0]]}: {len(keys)} files are called {stem}_0000, {keys[1].rsplit('/', 1)[-1]}, ...; if "
                "these are the images of one examination name them, as in data.options.channels=t1,t2; if each is a "
                "patient, set data.options.group_pattern='(.+)'"
            )
    alone = {f"{stem}_0000" for stem in by_stem}
    return {key.removesuffix("_0000") if key in alone and len(by_stem[key[:-5]]) == 1 else key: {None: path}
            for key, path in found.items()}  # fmt: skip


def _with_channels(found, names):
    """{key: {name of the channel: path}} of images called `<key>_0000`, `<key>_0001`, ..."""
    cases = {}
    for key, path in found.items():
        channel = _CHANNEL.fullmatch(key)
        if not channel or int(channel[2]) >= len(names):
            last = f"{len(names) - 1:04d}"
            raise DataError(
                f"{path}: does not end in _0000 to _{last}; data.options.channels names {len(names)} images"
            )
        cases.setdefault(channel[1], {})[names[int(channel[2])]] = path
    for key, paths in cases.items():
        if missing := [name for name in names if name not in paths]:
            number = names.index(missing[0])
            raise DataError(f"{next(iter(paths.values()))}: its case has no {key}_{number:04d} ({missing[0]}); add it")
    return {key: {name: paths[name] for name in names} for key, paths in cases.items()}


def _masks(cases, place, pattern):
    """{key of a case: path of its label}."""
    labels = only_once([(_relative(path, place), path) for path in _files(place, "*")], "nifti_folder")
    return match_labels(cases, labels, some=pattern != "*")


def _refuse_labels_among(found):
    """A file that is called as another one with `_seg` behind is no image."""
    plain = {key.casefold(): path for key, path in found.items()}
    for key, path in found.items():
        stem = LABEL_ENDING.sub("", key.casefold())
        if stem != key.casefold() and stem in plain:
            ending = key[len(stem) :]
            raise DataError(
                f"{path}: is called as the label of {plain[stem].name}; use data.source=paired_folder with "
                f"data.options={{image_suffix: '', label_suffix: {ending}}}, or choose the images by options.pattern"
            )
