"""One process at a time trains a run."""

import contextlib
import errno
import os
import pathlib
from collections.abc import Iterator

from tfmed.errors import RunError
from tfmed.files import PathLike, write_error

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]

FILE = "training.lock"  # in the run directory, while a process trains it; holds its process id
_TAKEN = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK)


@contextlib.contextmanager
def held(folder: PathLike) -> Iterator[None]:
    """Hold the lock of a run directory.

    The system gives it back when the process ends, however it ends: a file that a killed one left locks nobody out.

    Args:
        folder: the run directory.

    Raises:
        RunError: another process holds it, or it cannot be written.
    """
    path = pathlib.Path(folder) / FILE
    handle = _taken(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)  # before it is given back: nobody may take a file that is about to go
        os.close(handle)


def _taken(path: pathlib.Path) -> int:
    """The open file, locked."""
    while True:
        handle = None
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o666)
            _lock(handle, path)
            if _is_at(handle, path):
                os.ftruncate(handle, 0)
                os.write(handle, f"{os.getpid()}\n".encode())
                return handle
            os.close(handle)  # its holder removed it while we waited for nothing: take the new one
        except (OSError, RunError) as error:
            if handle is not None:
                os.close(handle)
            if isinstance(error, OSError):
                raise write_error(path, error) from error
            raise


def _lock(handle: int, path: pathlib.Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _TAKEN:  # some network file systems know no locks: then nobody is kept out
            return
        who = os.pread(handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
        raise RunError(
            f"{path.parent}: process {who} is training it (its file {path.name} is locked); wait for it or stop it "
            "first"
        ) from None


def _is_at(handle: int, path: pathlib.Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
