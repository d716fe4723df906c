"""Writing so that a reader never meets half a file: to a temporary name beside the target, then renamed."""

import contextlib
import errno
import hashlib
import io
import json
import os
import pathlib
import shutil
import stat
import tempfile
from collections.abc import Iterator
from typing import Any

from tfmed.errors import RunError, UserError

PathLike = str | os.PathLike[str]

ASIDE = ".tmp-"  # what names of files and folders that are still being written begin with


def expanded(path: PathLike) -> pathlib.Path:
    """A path with `~` as the home folder, as the shell would have it; a str or Path becomes a Path.

    Raises:
        UserError: `~somebody` is nobody here, or no file can have such a name.
    """
    text = os.fsdecode(path)
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UserError(f"{text!r}: is no name of a file that is UTF-8 without null characters; rename it")
    home = os.path.expanduser(text)
    if text.startswith("~") and home == text:
        raise UserError(f"{text}: there is no such user; write the path out, or ./{text} for a name with ~ in front")
    return pathlib.Path(home)


def clean(folder: PathLike) -> None:
    """Remove what killed processes left half-written below a folder that nobody writes to any more."""
    for path in pathlib.Path(folder).rglob(f"{ASIDE}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def folder_aside(parent: PathLike | None = None) -> pathlib.Path:
    """A new folder in `parent` (default: the system's temporary folder) to write into before it is renamed."""
    path = pathlib.Path(tempfile.mkdtemp(prefix=ASIDE, dir=parent))
    path.chmod(0o777 & ~_umask())
    return path


@contextlib.contextmanager
def atomic_path(path: PathLike) -> Iterator[pathlib.Path]:
    """Yield a temporary path in the target's folder; it becomes `path` on success and is removed on failure.

    Raises:
        RunError: no space is left, or the folder cannot be written; whatever stood at `path` is unchanged.
    """
    path = pathlib.Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=ASIDE, suffix="".join(path.suffixes[-2:]), dir=path.parent)
        os.close(handle)
        temporary = pathlib.Path(name)
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def open_file(path: PathLike) -> io.BufferedReader:
    """A regular file, open for reading bytes.

    Nothing else is opened: who reads a FIFO waits for ever, a device never comes to its end, and some act on it.

    Raises:
        OSError: there is none of this name, it is no regular file, or it may not be read.
    """
    if not is_regular(path):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return open(path, "rb")


def is_regular(path: PathLike) -> bool:
    """Whether a regular file lies at a path.

    Raises:
        OSError: there is nothing of this name, or it cannot be reached.
    """
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except ValueError:  # a null character, or what no file system can write
        raise OSError(errno.EINVAL, "no file can have this name", str(path)) from None


def own_text(path: PathLike, longest: int = 1 << 28) -> str:
    """The text of a file that tfmed wrote, of whatever lies there now.

    Raises:
        OSError: it is missing, cannot be read, or is no regular file.
        ValueError: it is too long, or not UTF-8.
    """
    with open_file(path) as stream:
        if os.fstat(stream.fileno()).st_size > longest:
            raise ValueError(f"{path}: is longer than {longest} bytes")
        return stream.read(longest).decode("utf-8")


def own_json(path: PathLike) -> Any:
    """The plain values of a JSON file that tfmed wrote, of whatever lies there now.

    Raises:
        OSError: it is missing, cannot be read, or is no regular file.
        ValueError: it is no JSON, or nested beyond reason.
    """
    try:
        return json.loads(own_text(path))
    except RecursionError:
        raise ValueError(f"{path}: is nested too deep") from None


def write_text(path: PathLike, text: str) -> None:
    """Write UTF-8 text in one piece."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def safe_name(text: str, longest: int = 120) -> str:
    """A file name for any text: letters and digits of all scripts, `.`, `_` and `-` stay, others become %XX.

    Different texts have different names. Of a long text the beginning stays, with a digest behind it.

    Example:
        >>> safe_name("patient 7/T1")
        'patient%207%2FT1'
    """
    parts = [letter if letter.isalnum() or letter in "._-" else "".join(f"%{byte:02X}" for byte in letter.encode())
             for letter in text]  # fmt: skip
    name = "".join(parts)
    name = f"%2E{name[1:]}" if name.startswith(".") else name
    if len(name.encode()) <= longest:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{name.encode()[: longest - 17].decode(errors='ignore')}~{digest}"


def sync(path: PathLike) -> None:
    """Push a file (or a folder's list of names) to the disk, so that a rename never overtakes the content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_error(path: PathLike, error: OSError) -> RunError:
    """The one-line error for a failed write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or (error.errno is None and _is_full(path)):
        return RunError(f"{path}: no space left on the disk; free some, then go on with --resume")
    reason = error.strerror or str(error)
    return RunError(f"{path}: cannot be written ({reason}); check the folder's permissions or choose another")


def _is_full(path: PathLike) -> bool:
    """Whether the disk of a path is full; libraries that write by themselves do not always tell."""
    try:
        return shutil.disk_usage(pathlib.Path(path).parent).free < 1 << 20
    except OSError:
        return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
