"""Whether the voxels behind a text header (.nrrd, .mhd, .mha) are all there and intact, in constant memory."""

import math
import os
import pathlib
from collections.abc import Sequence

from tfmed.files import PathLike
from tfmed.io.compression import GREATEST_RATIO, Damaged, InflateStream
from tfmed.io.errors import damage

LONGEST_HEADER = 1 << 20


def read_header(path: PathLike) -> bytes:
    """The first bytes of a file, or the error that says why there are none."""
    try:
        with open(path, "rb") as file:
            block = file.read(LONGEST_HEADER)
    except OSError as error:
        raise damage(path, f"it cannot be read ({error.strerror})", "check the path and the permissions") from None
    if not block:
        raise damage(path, "the file is empty")
    return block


def beside(path: PathLike, name: str) -> pathlib.Path:
    """The data file that a header names, which must lie in the header's own folder."""
    if pathlib.PurePath(name).name != name or name in ("", ".", ".."):
        raise damage(path, f"its data file {name!r} is not in its own folder", "move it there, name it without a path")
    data = pathlib.Path(path).parent / name
    if not data.is_file():
        raise damage(path, f"its data file {name} is missing", "copy both files into one folder")
    return data


def check_sizes(sizes: Sequence[int], itemsize: int, path: PathLike) -> int:
    """Bytes of voxels, or the error about axes that are not those of a volume."""
    if not sizes or min(sizes) < 1 or len(sizes) > 8:
        raise damage(path, f"its axes have lengths {tuple(sizes)}", "write the file again")
    return math.prod(sizes) * itemsize


def check_payload(path: PathLike, data: PathLike, start: int, count: int, compressed: bool) -> None:
    """Compare `count` bytes of voxels with what the file `data` holds from byte `start` on, inflated if need be."""
    try:
        held = os.stat(data).st_size - start
        open(data, "rb").close()
    except OSError as error:
        raise damage(data, f"it cannot be read ({error.strerror})", "check the permissions") from None
    if not compressed and held != count:
        raise damage(path, f"it has {max(held, 0)} bytes of voxels, its header announces {count}")
    if compressed and count > max(held, 0) * GREATEST_RATIO:
        raise damage(path, f"{max(held, 0)} compressed bytes cannot hold the {count} that its header announces")
    if compressed:
        _check_checksum(path, data, start, count)


def _check_checksum(path: PathLike, data: PathLike, start: int, count: int) -> None:
    try:
        with open(data, "rb") as file:
            file.seek(start)
            stream = InflateStream(file)
            stream.skip(count)
            stream.finish()
    except Damaged as reason:
        raise damage(path, str(reason)) from None
