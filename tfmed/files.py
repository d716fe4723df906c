"""Writing so that a reader never meets half a file: to a temporary name beside the target, then renamed."""

import contextlib
import csv
import ctypes
import errno
import hashlib
import io
import json
import logging
import os
import pathlib
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from tfmed.errors import RunError, UserError

PathLike = str | os.PathLike[str]

ASIDE = ".tmp-"  # what names of files and folders that are still being written begin with
_ASIDE_NAME = re.compile(re.escape(ASIDE) + r"[a-z0-9_]{8}(\..*)?", re.DOTALL)  # as `tempfile` completes them
_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_HERE = -100  # AT_FDCWD: paths are told from the working directory
log = logging.getLogger("tfmed")


def expanded(path: PathLike) -> pathlib.Path:
    """A path with `~` as the home folder, as the shell would have it; a str or Path becomes a Path.

    Raises:
        UserError: `~somebody` is nobody here, or no file can have such a name.
    """
    text = check_text(os.fsdecode(path))
    home = os.path.expanduser(text)
    if text.startswith("~") and home == text:
        raise UserError(f"{text}: there is no such user; write the path out, or ./{text} for a name with ~ in front")
    return pathlib.Path(home)


def check_text(text: str) -> str:
    """`text` itself; UserError where no file can be called so: null characters, or bytes that are not UTF-8."""
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UserError(f"{text!r}: is not UTF-8, or holds null characters; rename the file")
    return text


def clean(folder: PathLike) -> None:
    """Remove what killed processes left half-written below a folder that nobody writes to any more."""
    for path in pathlib.Path(folder).rglob(f"{ASIDE}*"):
        if not _ASIDE_NAME.fullmatch(path.name):  # a name that a person gave
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            continue
        with contextlib.suppress(OSError):  # what may not be removed harms nobody
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
        OSError: it is missing or cannot be read.
        ValueError: it is no regular file, too long, or not UTF-8.
    """
    try:
        return own_bytes(path, longest).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is damaged (not UTF-8)") from None


def own_bytes(path: PathLike, longest: int = 1 << 28) -> bytes:
    """As `own_text`, for files that are no text."""
    if not is_regular(path):
        raise ValueError(f"{path}: is damaged (no regular file)")
    with open(path, "rb") as stream:
        if os.fstat(stream.fileno()).st_size > longest:
            raise ValueError(f"{path}: is damaged (longer than {longest} bytes)")
        return stream.read(longest)


def plain_json(path: PathLike, longest: int = 1 << 26) -> Any:
    """The plain values of a JSON file that tfmed wrote, of whatever lies there now.

    Raises:
        OSError: it is missing or cannot be read.
        ValueError: it is no regular file, longer than `longest` bytes, no JSON, or nested beyond reason.
    """
    try:
        return json.loads(own_text(path, longest))
    except RecursionError:
        raise ValueError(f"{path}: is damaged (nested too deep)") from None


def own_json(path: PathLike, way_back: str, valid: Callable[[Any], bool] | None = None) -> Any:
    """As `plain_json`, of a file that is needed: what is wrong with it becomes a RunError that tells the way back.

    Args:
        path: the file.
        way_back: for the message: what a person can do where it is damaged.
        valid: function of the values: whether they have the form that tfmed gave them.

    Raises:
        RunError: it cannot be read or is damaged.
    """
    try:
        values = plain_json(path)
        if valid is not None and not valid(values):
            raise ValueError("of another form")
    except (OSError, ValueError) as error:
        line = damage(path, error)
        raise RunError(line if isinstance(error, OSError) else f"{line}; {way_back}") from None
    return values


def own_csv(
    path: PathLike, fault: Callable[[dict[str, str]], str | None] | None = None
) -> tuple[list[str], list[dict[str, str]]]:
    """(columns, rows as {column: text}) of a CSV file that tfmed wrote.

    A last line that was cut short, as by a kill or a full disk, is left out.

    Args:
        path: the file.
        fault: function of a row: what is wrong with it, or None.

    Raises:
        OSError: it is missing or cannot be read.
        ValueError: it is no table; the message tells the line.
    """
    text = own_text(path)
    if "\0" in text:
        raise ValueError(f"{path}:{text[: text.index(chr(0))].count(chr(10)) + 1}: holds null characters")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: is no row of a table ({error})") from None
    if not lines:
        raise ValueError(f"{path}: is empty")
    columns, rows = lines.pop(0)[1], []
    if len(set(columns)) < len(columns):
        raise ValueError(f"{path}:1: names a column twice")
    for line, cells in lines:
        row = dict(zip(columns, cells, strict=False))
        wrong = None if len(cells) == len(columns) else f"has {len(cells)} fields, and there are {len(columns)} columns"
        wrong = wrong or (fault(row) if fault else None)
        if wrong is None:
            rows.append(row)
        elif line != reader.line_num or (text.endswith("\n") and len(cells) >= len(columns)):
            raise ValueError(f"{path}:{line}: {wrong}")
    return columns, rows


def sha256_of(path: PathLike) -> str:
    """SHA-256 of a file, in hexadecimal; OSError where it cannot be read."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def damage(path: PathLike, error: Exception) -> str:
    """What is wrong with a file of ours, with its path in front, from the error that reading it raised."""
    if isinstance(error, OSError):
        return f"{path}: cannot be read ({error.strerror or error}); check its permissions"
    return str(error) if str(error).startswith(str(path)) else f"{path}: is damaged"


def set_aside(path: PathLike) -> pathlib.Path:
    """Give what lies at a path, and is not what should lie there, another name beside it; returns the new path."""
    path = pathlib.Path(path)
    names = (path.with_name(f"{path.name}.aside{number}") for number in ("", *(f"-{i}" for i in range(2, 1000))))
    new = next(name for name in names if not os.path.lexists(name))
    os.rename(path, new)
    return new


def put_in_place(
    new: pathlib.Path, path: pathlib.Path, stranger: Callable[[pathlib.Path], pathlib.Path | None]
) -> None:
    """Rename the folder `new` to `path`; what lay there before gets the name of `new`, to be removed by the caller.

    Where the file system can, both names are exchanged in one step: whenever the process is killed, one of both lies
    whole at `path`.

    Args:
        new, path: the folders, in one folder.
        stranger: function of a path: what of it is not of tfmed, or None. Such a thing is not lost: it is set aside.
    """
    if not os.path.lexists(path):
        os.replace(new, path)
    elif (found := stranger(path)) is not None:
        log.warning("%s: is not of tfmed, and is kept as %s", found, set_aside(path))
        os.replace(new, path)
    elif not _exchanged(new, path):
        old = new.with_name(f"{new.name}.old")
        os.rename(path, old)
        try:
            os.rename(new, path)
        except OSError:
            os.rename(old, path)
            raise
        os.rename(old, new)


def _exchanged(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Whether two paths could be exchanged in one step: Linux can, on most file systems."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    return rename is not None and rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0


def stranger_in(folder: PathLike, names: str) -> pathlib.Path | None:
    """The first thing in a folder, or the path itself, that is no plain file with one of tfmed's names; or None.

    Args:
        folder: path of whatever lies there.
        names: pattern of the names.
    """
    folder = pathlib.Path(folder)
    if folder.is_symlink() or not folder.is_dir():
        return folder
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file() or not re.fullmatch(names, path.name):
            return path
    return None


def check_writable(folder: PathLike) -> None:
    """Make a folder if need be, and see that files can be written there.

    Raises:
        RunError: they cannot.
    """
    try:
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=ASIDE, dir=folder)
        os.close(handle)
        os.unlink(name)
    except OSError as error:
        raise write_error(folder, error) from error


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
    letters = [letter if letter.isalnum() or letter in "._-" else "".join(f"%{byte:02X}" for byte in letter.encode())
             for letter in text]  # fmt: skip
    name = "".join(letters)
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
