"""Who names classes: a person, through a table or a folder. What is asked for is a table; answers are picked up."""

import csv
import io
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from tfmed.data import phantoms
from tfmed.data.case import Case
from tfmed.errors import DataError, RunError, nearest
from tfmed.files import PathLike, safe_name, write_text
from tfmed.io import file_of
from tfmed.io.errors import ImageIntegrityError
from tfmed.io.tables import read_rows

COLUMNS = ("id", "path", "score")


def write_query(path: PathLike, cases: Iterable[Case], scores: Mapping[str, float]) -> None:
    """Write the table of what is asked for: id, file of the first image, and score of each case, in this order.

    Args:
        path: of the table.
        cases: those that are asked for.
        scores: id -> how informative the case is; those without have an empty cell.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for case in cases:
        image = next(iter(case.images.values()))
        score = f"{scores[case.id]:.6g}" if case.id in scores else ""
        writer.writerow([case.id, image if phantoms.is_address(image) else file_of(image), score])
    write_text(path, text.getvalue())


def read_answers(path: PathLike, classes: Sequence[str], asked: Iterable[Case]) -> dict[str, str]:
    """{id of a case: its class}, as far as they are there.

    Args:
        path: a table with the columns id and class, or a folder with one sub-folder per class, in which lie the files
            that were asked for (or copies, or empty files of these names).
        classes: that a case may be of.
        asked: all cases that were asked for up to now.

    Raises:
        DataError: the table is damaged or lacks a column; an id or a file that was not asked for; another class; two
            answers to one case.
    """
    place, cases = pathlib.Path(path), list(asked)
    if place.is_dir():
        found = _in_folder(place, classes)
        known = {name: case.id for case in cases for name in names_of(case)}
    elif place.exists():
        found, known = _in_table(place), {case.id: case.id for case in cases}
    else:
        return {}
    answers: dict[str, str] = {}
    for where, name, label in found:
        if name not in known:
            raise DataError(f"{where}: {name!r} was not asked for{nearest(name, known)}; remove it")
        if label not in classes:
            raise DataError(f"{where}: {name!r} is answered by class {label!r}{nearest(label, classes)}")
        if answers.setdefault(known[name], label) != label:
            raise DataError(f"{where}: {name!r} is answered twice, by {answers[known[name]]!r} and {label!r}; keep one")
    return answers


def refuse(number: int, missing: Sequence[str], total: int, table: PathLike, answers: PathLike) -> NoReturn:
    """Raise the RunError that tells what is to be done."""
    raise RunError(
        f"{total - len(missing)} of {total} cases of round {number} are answered ({missing[0]} is not); they stand in "
        f"{table}: write their classes to {answers} (columns id and class, or a folder per class; or in a page: tfmed "
        "annotate RUN), and go on with --resume"
    )


def _in_table(path: pathlib.Path) -> list[tuple[str, str, str]]:
    try:
        columns, rows = read_rows(path)
    except ImageIntegrityError as error:
        raise DataError(str(error)) from None
    if missing := [name for name in ("id", "class") if name not in columns]:
        raise DataError(f"{path}: has no column {missing[0]}; it needs id and class")
    cells = [(line, dict(zip(columns, row, strict=False))) for line, row in rows]
    return [(f"{path}:{line}", row.get("id", ""), row["class"]) for line, row in cells if row.get("class")]


def _in_folder(path: pathlib.Path, classes: Sequence[str]) -> list[tuple[str, str, str]]:
    found = []
    for folder in sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith(".")):
        if folder.name not in classes:
            raise DataError(f"{folder}: is no class{nearest(folder.name, classes)}")
        files = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
        found += [(str(file), file.stem, folder.name) for file in files]
    return found


def names_of(case: Case) -> set[str]:
    """What an answer's file may be called, without its ending."""
    image = next(iter(case.images.values()))
    stem = set() if phantoms.is_address(image) else {pathlib.Path(file_of(image)).stem}
    return {case.id, safe_name(case.id)} | stem
