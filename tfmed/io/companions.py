"""Files of voxels beside the headers that name them."""

import os
import pathlib
import re

from tfmed.files import PathLike, open_file
from tfmed.io.analyze import voxels_of

_DATA_FILE = re.compile(rb"^\s*(?:ElementDataFile\s*=|data ?file:)\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)


def data_files(path: PathLike) -> list[pathlib.Path]:
    """The files of voxels that a header (.mhd, detached .nrrd, .hdr) names: its content counts as well."""
    path = pathlib.Path(path)
    if path.suffix.lower() == ".hdr":
        return [one for one in (voxels_of(path),) if one.is_file()]
    if path.suffix.lower() not in (".mhd", ".nrrd") or not path.is_file():
        return []
    with open_file(path) as stream:
        named = _DATA_FILE.search(stream.read(1 << 16))
    companion = path.parent / os.fsdecode(named[1]) if named else None
    return [companion] if companion and companion.is_file() else []
