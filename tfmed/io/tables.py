"""Tables in text files as people's spreadsheets write them: commas, semicolons or tabs, quotes, comment lines."""

import csv
import os
import stat

from tfmed.files import PathLike
from tfmed.io.errors import damage

DELIMITERS = (",", ";", "\t")
_LARGEST = 1 << 28  # bytes


def read_text(path: PathLike) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        ImageIntegrityError: no such regular file, none of UTF-8, or one of more than 256 MiB.
    """
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise damage(path, "it is no regular file", "check the path")
        if found.st_size > _LARGEST:
            raise damage(path, f"it has {found.st_size >> 20} MiB, too much for a table", "is this the right file?")
        with open(path, newline="", encoding="utf-8-sig") as stream:
            return stream.read()
    except OSError as error:
        raise damage(path, f"it cannot be read ({error.strerror})", "check the path and the permissions") from None
    except UnicodeDecodeError:
        raise damage(path, "it cannot be read as a table, because it is not UTF-8", "save it as CSV in UTF-8") from None


def read_rows(path: PathLike) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """(names of the columns, [(number of the line, cells)]) of a table whose first line names its columns.

    Empty lines and lines that begin with # are left out. Which of `DELIMITERS` stands between the cells, the first line
    tells: the one that makes most cells of it.

    Raises:
        ImageIntegrityError: it cannot be read, or a quote is not closed.
    """
    lines = read_text(path).splitlines(keepends=True)
    head = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    delimiter = max(DELIMITERS, key=lambda mark: len(next(csv.reader([head], delimiter=mark), ())))
    kept = ["\n" if line.startswith("#") else line for line in lines]
    reader = csv.reader(kept, delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except csv.Error as error:
        raise damage(path, f"it cannot be read as a table ({error})", "save it as CSV in UTF-8") from None
    return (rows[0][1], rows[1:]) if rows else ([], [])
