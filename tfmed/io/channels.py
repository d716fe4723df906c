"""Files of several channels, read once for all of them."""

import os
import threading
from collections.abc import Callable

import numpy as np

from tfmed.files import PathLike
from tfmed.io.errors import damage
from tfmed.io.volume import Volume


class Channels:
    """Files of several channels, read once for all of them.

    What was read and not yet asked for is kept, of one file at most; a channel leaves the store when it is given, so
    that whoever takes it may change it, and nothing stays once each was taken.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._file: tuple | None = None
        self._rest: dict[int, Volume] = {}

    def take(self, path: str, index: int, read_whole: Callable[[str], Volume]) -> Volume:
        """Channel `index` of the volume at `path`."""
        file = _identity(path)
        with self._lock:
            if file is not None and file == self._file and index in self._rest:
                return self._rest.pop(index)
        volume = read_whole(path)
        check_channel(path, index, volume.array.shape)
        if volume.array.ndim == 3:
            return volume
        channels = {k: volume.replace(np.ascontiguousarray(volume.array[..., k]))
                    for k in range(volume.array.shape[3])}  # fmt: skip
        taken = channels.pop(index)
        with self._lock:
            self._file, self._rest = file, channels
        return taken


def _identity(path: PathLike) -> tuple | None:
    """What changes when a file is replaced; None where there is none to look at (reading it tells why)."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return os.path.realpath(path), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def check_channel(path: PathLike, index: int, shape: tuple[int, ...]) -> None:
    """Refuse a channel that a volume of this shape does not have.

    Raises:
        ImageIntegrityError: there are fewer channels.
    """
    count = shape[3] if len(shape) == 4 else 1
    if index >= count:
        raise damage(path, f"it has {count} channel(s), not the number {index} (counted from 0) asked for",
                     "give another file, or correct the address")  # fmt: skip
