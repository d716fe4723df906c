"""A CSV file that lists cases."""

import os
import pathlib

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.addresses import GREY, NUMBERS, PICTURES, file_of
from tfmed.io.errors import ImageIntegrityError
from tfmed.io.tables import read_rows

from .listing import identity

_COLUMNS = "id, optionally group, label and part, and one column per modality"
_OWN = ("id", "group", "label", "part")
_PARTS = {"train": "train", "unlabelled": "train", "validation": "validation", "test": "test"}


def csv_list(root: PathLike | None = None) -> list[Case]:
    """The cases that a table lists, one a line.

    Columns: `id`; optionally `group` (the patient; default: the id), `label` (a path, or empty) and `part` (train,
    validation, test, or unlabelled: for training, its label not to be used); every other column is a modality with the
    image's path, or nothing where a case lacks it. Paths are relative to the table's folder, or absolute; a file may be
    followed by a piece, as `tfmed.io.addresses` describes. A PNG, JPEG or TIFF without one is a slice: an image in
    grey, a label map by its numbers. Where there are parts, `meta["part"]` tells a case's.

    Args:
        root: the table (UTF-8; commas, semicolons or tabs; the first line names the columns; # begins a comment line).

    Raises:
        DataError: the file is missing or no such table; a line (it is named) has no id or image, an id that was there
            before, an unknown part, a file that is missing, or a patient who is in another part already.
    """
    if root is None:
        raise DataError(f"source csv_list needs data.root: a CSV file with the columns {_COLUMNS}")
    table = pathlib.Path(os.path.expanduser(str(root)))
    if not table.is_file():
        what = "is not a file" if table.exists() else "does not exist"
        raise DataError(f"{table}: {what}; source csv_list expects a CSV file with the columns {_COLUMNS}")
    cases: list[Case] = []
    seen: dict[str, int] = {}
    parts: dict[str, tuple[str | None, int]] = {}
    for number, row in _rows(table):
        where = f"{table}:{number}"
        case = _case(row, where, table.parent)
        if case.id in seen:
            raise DataError(f"{where}: the id {case.id} was in line {seen[case.id]} already; give each case its own")
        part = parts.setdefault(case.group, (case.meta.get("part"), number))
        if part[0] != case.meta.get("part"):
            raise DataError(f"{where}: group {case.group} is in part {case.meta.get('part')} here, but in {part[0]} in "
                            f"line {part[1]}; keep a patient's cases in one part")  # fmt: skip
        seen[case.id] = number
        cases.append(case)
    if not cases:
        raise DataError(f"{table}: lists no case; source csv_list expects lines below the columns {_COLUMNS}")
    return cases


def _rows(table):
    """(number of the line, {column: text}) of each line."""
    try:
        columns, rows = read_rows(table)
    except ImageIntegrityError as error:
        raise DataError(str(error)) from None
    _check_columns(columns, table)
    for number, row in rows:
        if len(row) != len(columns):
            raise DataError(f"{table}:{number}: has more or fewer cells than the {len(columns)} columns; correct it")
    return [(number, dict(zip(columns, row, strict=True))) for number, row in rows]


def _check_columns(columns, table):
    if "id" not in columns or not set(columns) - set(_OWN):
        lacks = "id" if "id" not in columns else "for an image"
        raise DataError(f"{table}: has no column {lacks}; its first line must name {_COLUMNS}")
    if "" in columns or len(set(columns)) < len(columns):
        raise DataError(f"{table}: a column has no name or another's; its first line must name {_COLUMNS}")


def _case(row, where, base):
    if not row["id"]:
        raise DataError(f"{where}: has no id; give each case its own")
    images = {name: _path(text, name, where, base) for name, text in row.items() if name not in _OWN and text}
    if not images:
        raise DataError(f"{where}: {row['id']!r} has no image; give a path in one of the columns, or remove the line")
    part = row.get("part")
    if part is not None and part not in _PARTS:
        raise DataError(f"{where}: part is {part!r}; give {', '.join(_PARTS)} in every line, or remove the column")
    label = None
    if row.get("label"):
        label = _path(row["label"], "label", where, base)
    try:
        name, group = identity(row["id"]), identity(row.get("group") or row["id"])
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    meta = {} if part is None else {"part": _PARTS[part]}
    return Case(name, group, images, None if part == "unlabelled" else label, meta)


def _path(text, column, where, base):
    path = os.path.join(base, os.path.expanduser(text))
    if not os.path.exists(file_of(path)):
        raise DataError(f"{where}: {column} {file_of(path)!r} does not exist; correct the path")
    if path.lower().endswith(PICTURES):
        return f"{path}::{NUMBERS if column == 'label' else GREY}"
    return path
