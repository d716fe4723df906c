"""A folder of volumes: .nii, .nii.gz, .nrrd, .mha or .mhd files, with or without labels."""

import fnmatch
import re

from tfmed.data.case import Case
from tfmed.errors import DataError

from .listing import files_below, folder, group_of, hidden, nothing, unique

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
_LAYOUT = "volumes (.nii, .nii.gz, .nrrd, .mha, .mhd) in any sub-folders, or images/ and labels/ with matching names"


def nifti_folder(root=None, pattern="*", images="images", labels="labels", group_pattern=None, modality="ct"):
    """Volumes below a folder, found recursively.

    If `root` has a folder `images`, the images are in it and their labels in `labels`, under the same relative name (an
    image may have `_0000` at its name's end); an image without one has no label. Otherwise every file is an image.

    Args:
        root: the folder.
        pattern: which files, such as `*.nii*` or `**/ct*.nii.gz` (relative to the folder with the images; `**` does not
            enter links to folders, a pattern without / does).
        images, labels: names of the two folders.
        group_pattern: regular expression with one group, searched in the file's relative path: the patient that a case
            belongs to. Without it every case is a patient of its own.
        modality: name under which a case gives its image.

    Raises:
        DataError: the folder is missing or holds no such file; a pattern is malformed or does not match a file.
    """
    base = folder(root, "nifti_folder", _LAYOUT)
    paired = (base / images).is_dir()
    top = base / images if paired else base
    files = _files(top, pattern)
    if not files:
        raise nothing(top, "nifti_folder", f"{_LAYOUT}; pattern {pattern!r}")
    masks = {_key(path, base / labels): path for path in _files(base / labels, "*")} if paired else {}
    relative = [_without_suffix(path.relative_to(top).as_posix()) for path in files]
    ids = unique([_plain(name.rsplit("/", 1)[-1]) for name in relative], [_plain(name) for name in relative])
    groups = [group_of(path.relative_to(top).as_posix(), group_pattern, path, "nifti_folder") for path in files]
    return [
        Case(name, group or name, {modality: str(path)}, _text(masks.get(_key(path, top))))
        for name, group, path in zip(ids, groups, files, strict=True)
    ]


def _files(top, pattern):
    if pattern.startswith("/") or ".." in pattern.split("/"):
        raise DataError(f"source nifti_folder: pattern {pattern!r} must be relative and without ..")
    try:
        found = top.glob(pattern) if "/" in pattern else _named(top, pattern)
        return sorted(p for p in found if p.name.endswith(SUFFIXES) and not hidden(p, top) and p.is_file())
    except (ValueError, NotImplementedError, re.error):
        raise DataError(f"source nifti_folder: pattern {pattern!r} is malformed; try *.nii* or **/ct*.nii.gz") from None


def _named(top, pattern):
    return [path for path in files_below(top) if fnmatch.fnmatchcase(path.name, pattern)]


def _without_suffix(name):
    return next(name[: -len(suffix)] for suffix in SUFFIXES if name.endswith(suffix))


def _plain(name):
    return name.removesuffix("_0000")


def _key(path, top):
    """What an image and its label have in common."""
    return _plain(_without_suffix(path.relative_to(top).as_posix()))


def _text(path):
    return None if path is None else str(path)
