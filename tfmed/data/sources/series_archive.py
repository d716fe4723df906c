"""A mixed archive: every DICOM series, volume and picture below a folder, whatever they show."""

import fnmatch
import pathlib

from tfmed.data.case import Case
from tfmed.errors import DataError, UserError
from tfmed.files import PathLike
from tfmed.io import list_dicom_series
from tfmed.io.dicom import NoSlices
from tfmed.io.stack import SUFFIXES as PICTURES

from .listing import dicom_folders, files_below, folder, group_of, identity, nothing, volume_suffix

_LAYOUT = "DICOM series, volumes (.nii, .nii.gz, .nrrd, .mha, .mhd) and pictures (.png, .jpg, .tif) in any sub-folders"
IMAGE = "image"


def series_archive(
    root: PathLike | None = None,
    ignore: str = "*_mask*,*_seg*,*lesion*",
    class_pattern: str | None = None,
    group_pattern: str | None = None,
) -> list[Case]:
    """One case (image "image") for each series, volume or picture below a folder; nothing is decoded.

    Of what has several volumes at the same places, such as times, the first is meant. A series that cannot be listed is
    a case too, so that whoever reads it tells what is wrong. Without `class_pattern` cases have no class.

    Args:
        root: the folder.
        ignore: names of files to leave out, such as masks, with commas; * and ? stand for any letters.
        class_pattern: regular expression with one group, searched in the path below `root`: what `meta["class"]` says,
            by which a sorting is measured. `^([^/]+)/` is the name of the uppermost folder.
        group_pattern: likewise, the patient; by default every case is one of its own.

    Raises:
        DataError: the folder is missing or holds nothing of this; a pattern is malformed or does not match.
    """
    base = folder(root, "series_archive", _LAYOUT)
    ignored = [name.strip() for name in ignore.split(",") if name.strip()]
    places = dicom_folders(base)
    found = [one for place in places for one in of_folder(place, base)]
    for path in files_below(base):
        if not any(fnmatch.fnmatch(path.name, name) for name in ignored):
            found += [one] if (one := of_file(path, base)) else []
    if not found:
        raise nothing(base, "series_archive", _LAYOUT)
    return [_told(case, base, class_pattern, group_pattern) for case in found]


def of_folder(place: pathlib.Path, base: pathlib.Path) -> list[Case]:
    """The cases of the DICOM series that lie in a folder itself."""
    name = identity(place.relative_to(base).as_posix() if place != base else place.name)
    try:
        series = list_dicom_series(place)
    except NoSlices:
        return []
    except UserError:
        return [Case(name, name, {IMAGE: str(place)})]
    names = [name] if len(series) == 1 else [f"{name}-series{number}" for number in range(1, len(series) + 1)]
    return [Case(each, each, {IMAGE: f"{place}::0"}, None, {"series_uid": one.uid})
            for each, one in zip(names, series, strict=True) if one.modality != "SEG"]  # fmt: skip


def of_file(path: pathlib.Path, base: pathlib.Path) -> Case | None:
    """The case of a volume or a picture; None of another file."""
    name = identity(path.relative_to(base).as_posix())
    if volume_suffix(path):
        return Case(name, name, {IMAGE: f"{path}::0"})
    return Case(name, name, {IMAGE: f"{path}::grey"}) if path.suffix.lower() in PICTURES else None


def _told(case: Case, base: pathlib.Path, class_pattern: str | None, group_pattern: str | None) -> Case:
    """The case with its class and its patient."""
    name = case.id
    meta = {} if class_pattern is None else {"class": _searched("class_pattern", class_pattern, name, base)}
    group = name if group_pattern is None else _searched("group_pattern", group_pattern, name, base)
    return Case(name, group, case.images, None, {**case.meta, **meta})


def _searched(option: str, pattern: str, name: str, base: pathlib.Path) -> str:
    try:
        return str(group_of(name, pattern, base / name, "series_archive"))
    except DataError as error:
        raise DataError(str(error).replace("group_pattern", option)) from None
