"""Which files of a folder may be DICOM."""

import os
import pathlib
from typing import NoReturn

from tfmed.files import PathLike
from tfmed.io.dicom_header import looks_like_dicom
from tfmed.io.errors import damage
from tfmed.io.stack import SUFFIXES

# What archives put beside the slices: previews, tables, in LIDC-IDRI the radiologists' .xml
BESIDE = {*SUFFIXES, ".xml", ".json", ".txt", ".csv", ".cvs", ".md", ".html", ".pdf", ".yaml", ".yml"}
INDEX_NAMES = {"DICOMDIR", "LICENSE", "README", "VERSION"}
DICOM_SUFFIXES = (".dcm", ".ima", ".dic", ".dicom")


def dicom_files(folder: PathLike) -> list[pathlib.Path]:
    """The files in `folder` that ought to be DICOM: all but annotations, pictures, programs, indexes, hidden files.

    Raises:
        ImageIntegrityError: the folder cannot be read, or a link in it leads nowhere.
    """
    return sorted_out(folder)[0]


def folders_below(folder: PathLike) -> list[pathlib.Path]:
    """`folder` and the folders below it, sorted; hidden ones left out, links followed, circles entered once."""

    def refuse(error: OSError) -> NoReturn:
        raise damage(error.filename, f"it cannot be read ({error.strerror})", "check the path and the permissions")

    seen: set[str] = set()
    found = []
    for where, below, _ in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(where)
        below[:] = [] if real in seen else [name for name in below if not name.startswith(".")]
        if real not in seen:
            found.append(pathlib.Path(where))
        seen.add(real)
    return sorted(found)


def sorted_out(folder: PathLike) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """(files that ought to be DICOM, files that by name and content are none).

    Raises:
        ImageIntegrityError: as `dicom_files`.
    """
    files: list[pathlib.Path] = []
    junk: list[pathlib.Path] = []
    try:
        paths = sorted(path for path in pathlib.Path(folder).iterdir() if not path.is_dir())
    except OSError as error:
        raise damage(folder, f"it cannot be read ({error.strerror})", "check the path and the permissions") from None
    for path in paths:
        if path.suffix.lower() in BESIDE or path.name.upper() in INDEX_NAMES or path.name.startswith("."):
            continue
        if not path.exists():
            raise damage(path, "it is a link to nothing", "copy the file that it stood for, or remove the link")
        foreign = _foreign(path.suffix.lower()) and not looks_like_dicom(path)
        (junk if foreign else files).append(path)
    return files, junk


def _foreign(suffix: str) -> bool:
    """Whether a suffix is that of something else; UIDs end in numbers, slices often have no suffix."""
    return suffix not in DICOM_SUFFIXES and suffix[1:2].isalpha()
