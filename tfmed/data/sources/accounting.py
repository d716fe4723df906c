"""Which files below a data set's folder no case uses, although they look like images, and why."""

import os
import pathlib
import stat
from collections.abc import Sequence

from tfmed.data import phantoms
from tfmed.data.case import Case
from tfmed.files import PathLike
from tfmed.io import companions_of, file_of
from tfmed.io.companions import data_files
from tfmed.io.hdf5 import SUFFIXES as HDF5
from tfmed.io.stack import SUFFIXES as PICTURES

from .listing import VOLUMES, files_below

_READ = (*VOLUMES, *HDF5, *PICTURES, ".dcm", ".ima", ".hdr", ".img")
_NOT_READ = (
    ".nii.bz2", ".nii.xz", ".nii.zst", ".nhdr", ".mgz", ".mgh", ".mgh.gz", ".mnc", ".nrrd.gz",
    ".mha.gz", ".dcm.gz", ".npz", ".gif", ".svs",
)  # fmt: skip


def unused(root: PathLike | None, cases: Sequence[Case]) -> list[tuple[pathlib.Path, str]]:
    """[(path, reason)] of the files at or below `root` that look like an image and belong to no case.

    Hidden files and folders (with a dot in front), which hold the store of git-annex or shadows of files, do not count.

    Args:
        root: the folder of the data set, or the file of its table, or None.
        cases: list of Case, of any source.
    """
    if root is None:
        return []
    top = pathlib.Path(os.path.abspath(os.path.expanduser(str(root))))
    top = top if top.is_dir() else top.parent
    used, folders = _used(cases)
    found = []
    for path in files_below(top):
        if str(path) in used or str(path.parent) in folders:
            continue
        if reason := _reason(path):
            found.append((path, reason))
    return found


def _used(cases: Sequence[Case]) -> tuple[set[str], set[str]]:
    """(files, folders of slices) of cases, absolute."""
    files, folders = set[str](), set[str]()
    for case in cases:
        addresses = [*case.images.values(), *([case.label] if case.label else []), *case.meta.get("made_from", ())]
        for address in (address for address in addresses if not phantoms.is_address(address)):
            for place in (file_of(address), *companions_of(address)):
                place = os.path.abspath(place)
                (folders if os.path.isdir(place) else files).add(place)
                files |= {os.path.abspath(path) for path in data_files(place)}
    return files, folders


def _reason(path: pathlib.Path) -> str | None:
    """Why a file that no case uses is not used; None where it looks like no image."""
    name = path.name.lower()
    if not name.endswith((*_READ, *_NOT_READ)):
        return None
    try:
        mode = path.stat().st_mode
    except OSError:
        return "a link without content" if path.is_symlink() else "cannot be reached"
    if not stat.S_ISREG(mode):
        return "no regular file"
    if name.endswith(_NOT_READ):
        return "a format that is not read; convert it to .nii.gz"
    return "not of the layout or the options of this source"
