"""Arrays on disk that are trusted only after a look: each with its length and checksum in a note beside it."""

import contextlib
import functools
import io
import json
import logging
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfmed.files import PathLike, atomic_path, plain_json, write_text

log = logging.getLogger("tfmed")
_CHUNK = 1 << 24  # bytes
_MAGIC, _HEAD = b"\x93NUMPY\x01\x00", 1 << 12


class _Damaged(Exception):
    """A group does not fit its note; the message names the file."""


class Entries:
    """Named groups of arrays with a note: `<key>.npy`, `<key>-<name>.npy`, ..., `<key>.json`.

    The note is written last and holds each file's length and CRC-32. A group that does not fit its note counts as not
    there, with a word; several processes may share the folder.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: PathLike) -> None:
        self.folder = pathlib.Path(folder)
        # key -> (names of the arrays, note) of what this process has compared
        self._sound: dict[str, tuple[tuple[str, ...], Any]] = {}

    def write(self, key: str, arrays: Mapping[str, np.ndarray], note: Mapping[str, Any]) -> None:
        """Write a group.

        Args:
            key: text of letters and digits.
            arrays: {name: array}; the name "" is the main one.
            note: plain values.

        Raises:
            RunError: the disk is full, or the folder cannot be written.
        """
        files = {name: _save(self._path(key, name), array) for name, array in arrays.items()}
        write_text(self._note(key), json.dumps({"note": note, "files": files}))
        self._sound[key] = tuple(files), json.loads(json.dumps(note))

    def has(self, key: str) -> bool:
        """Whether a group is there, by its note and the lengths of its files."""
        try:
            return self._looked_at(key) is not None
        except _Damaged:
            return False

    def read(self, key: str) -> tuple[dict[str, np.ndarray], Any] | None:
        """(arrays {name: read-only memory map}, note), or None where there is none or it is damaged.

        Lengths and checksums are compared when this process first reads the group.
        """
        if key in self._sound:
            with contextlib.suppress(OSError, ValueError):  # taken away in the meantime: looked at anew
                return self._arrays(key)
            self._sound.pop(key, None)
        try:
            found = self._looked_at(key)
            if found is None:
                return None
            self._compare_checksums(key, found["files"])
        except _Damaged as damaged:
            log.warning("%s; it is made again", damaged)
            return None
        self._sound[key] = tuple(found["files"]), found["note"]
        return self._arrays(key)

    def _arrays(self, key: str) -> tuple[dict[str, np.ndarray], Any]:
        names, note = self._sound[key]
        return {name: _mapped(self._path(key, name)) for name in names}, note

    def _looked_at(self, key: str) -> Any:
        """The note of a group whose files have the lengths that it tells; None where there is none of this form."""
        path = self._note(key)
        if not path.exists():
            return None
        try:
            note = plain_json(path)
        except (OSError, ValueError):
            raise _Damaged(f"{path}: is damaged") from None
        if not _is_note(note):
            return None
        for name, (size, _) in note["files"].items():
            file = self._path(key, name)
            if not file.is_file() or file.stat().st_size != size:
                raise _Damaged(f"{file}: is missing or cut short")
        return note

    def _compare_checksums(self, key: str, files: Mapping[str, tuple[int, int]]) -> None:
        for name, (_, checksum) in files.items():
            if _checksum(self._path(key, name)) != checksum:
                raise _Damaged(f"{self._path(key, name)}: is damaged")

    def _path(self, key: str, name: str) -> pathlib.Path:
        return self.folder / key[:2] / f"{key}{'-' if name else ''}{name}.npy"

    def _note(self, key: str) -> pathlib.Path:
        return self.folder / key[:2] / f"{key}.json"


def _is_note(note: Any) -> bool:
    files = note.get("files") if isinstance(note, dict) and "note" in note else None
    return isinstance(files, dict) and all(
        isinstance(entry, list) and len(entry) == 2 and all(isinstance(value, int) for value in entry)
        for entry in files.values()
    )


def _mapped(path: pathlib.Path) -> np.ndarray:
    """The array of a .npy as a read-only memory map, as `np.load` gives it; a header that is known is not parsed again,
    which took a quarter of the time of a small picture.

    Raises:
        OSError: there is no such file; ValueError: it is no such array.
    """
    with open(path, "rb") as stream:
        head = stream.read(_HEAD)
        end = 10 + int.from_bytes(head[8:10], "little")
        if head[:8] != _MAGIC or end > len(head):
            return np.load(path, mmap_mode="r", allow_pickle=False)
        shape, first_fastest, dtype = _parsed(head[:end])
        return np.memmap(stream, dtype, "r", end, shape, "F" if first_fastest else "C")


@functools.lru_cache(maxsize=256)
def _parsed(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    shape, first_fastest, dtype = np.lib.format.read_array_header_1_0(io.BytesIO(head[8:]))
    if dtype.hasobject:
        raise ValueError("an array of Python objects")
    return shape, first_fastest, dtype


def _save(path: pathlib.Path, array: np.ndarray) -> list[int]:
    """Write an array as .npy; [bytes, checksum] of the file."""
    array = np.ascontiguousarray(array)
    with atomic_path(path) as temporary, open(temporary, "w+b") as stream:
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
        stream.seek(0)
        checksum = zlib.crc32(stream.read())
        view = array.reshape(-1).view(np.uint8).data if array.size else memoryview(b"")
        for start in range(0, len(view), _CHUNK):
            chunk = view[start : start + _CHUNK]
            stream.write(chunk)
            checksum = zlib.crc32(chunk, checksum)
        size = stream.tell()
    return [size, checksum]


def _checksum(path: pathlib.Path) -> int:
    checksum = 0
    with open(path, "rb") as stream:
        while block := stream.read(_CHUNK):
            checksum = zlib.crc32(block, checksum)
    return checksum
