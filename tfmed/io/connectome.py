"""Connectomes: square matrices of connections between brain regions, from CSV, TSV, NPY, MATLAB and GraphML files."""

import csv
import itertools
import pathlib

import numpy as np
from numpy.typing import ArrayLike

from tfmed.files import PathLike
from tfmed.io.errors import ImageIntegrityError
from tfmed.io.tables import read_text

SUFFIXES = (".csv", ".tsv", ".txt", ".npy", ".mat", ".graphml")


def read_connectome(path: PathLike) -> np.ndarray:
    """A connectome as it lies in its file, float64 `(regions, regions)`.

    Text files hold a row per region, with commas, semicolons, tabs or blanks between the numbers (with decimal commas
    where semicolons or tabs stand between them); comment lines (#, %), a first row and a first column of names, or of
    numbers of regions, are left out. A MATLAB file (up to version 7) holds one square matrix, or its name follows two
    colons: `x.mat::sc`. GraphML edges carry `weight`; undirected ones count both ways.

    Raises:
        ImageIntegrityError: the file is missing, damaged, or holds no square matrix of finite numbers.
    """
    file, _, name = str(path).partition("::")
    suffix = pathlib.Path(file).suffix.lower()
    readers = {".npy": _npy, ".mat": lambda file: _mat(file, name), ".graphml": _graphml}
    if suffix not in SUFFIXES:
        raise ImageIntegrityError(f"{path}: is no connectome file; give {', '.join(SUFFIXES)}")
    try:
        matrix = np.asarray(readers.get(suffix, _text)(file), np.float64)
    except OSError as error:
        raise ImageIntegrityError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    except ImageIntegrityError:
        raise
    except Exception as error:  # scipy, networkx and the XML parser have no common one
        what = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise ImageIntegrityError(f"{path}: holds no connectome ({what}); export the matrix again") from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        shape = " x ".join(map(str, matrix.shape))
        raise ImageIntegrityError(f"{path}: is {shape}, not square; export the whole matrix")
    if not np.isfinite(matrix).all():
        count = int((~np.isfinite(matrix)).sum())
        raise ImageIntegrityError(f"{path}: {count} entries are NaN or infinite; replace them by 0 or remove the file")
    return matrix


def write_connectome(matrix: ArrayLike, path: PathLike) -> None:
    """Write a matrix as .npy, or as text with commas (.csv); never half of it."""
    from tfmed.files import atomic_path

    with atomic_path(path) as temporary:
        if pathlib.Path(path).suffix.lower() == ".npy":
            with open(temporary, "wb") as stream:
                np.save(stream, np.asarray(matrix), allow_pickle=False)
        else:
            np.savetxt(temporary, matrix, fmt="%.8g", delimiter=",")


def _npy(file: PathLike) -> np.ndarray:
    return np.load(file, allow_pickle=False)


def _mat(file: PathLike, name: str) -> np.ndarray:
    from scipy.io import loadmat

    found = {key: value for key, value in loadmat(file).items() if not key.startswith("__")}
    if name:
        if name not in found:
            raise ImageIntegrityError(f"{file}: has no {name!r}; it has {', '.join(found) or 'nothing'}")
        return found[name]
    square = [value for value in found.values() if value.ndim == 2 and value.shape[0] == value.shape[1] > 1]
    if len(square) != 1:
        raise ImageIntegrityError(f"{file}: has {len(square)} square matrices; name one, as in x.mat::sc")
    return square[0]


def _graphml(file: PathLike) -> np.ndarray:
    import networkx

    graph = networkx.read_graphml(file)
    return networkx.to_numpy_array(graph, weight="weight")


def _text(file: PathLike) -> np.ndarray:
    lines = [line for line in read_text(file).splitlines() if line.strip() and not line.lstrip().startswith(("#", "%"))]
    if not lines:
        raise ValueError("it is empty")
    rows = _without_names(_cells(lines))
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        raise ValueError(f"its rows have from {min(lengths, default=0)} to {max(lengths, default=0)} numbers")
    for number, row in enumerate(rows, 1):
        for column, cell in enumerate(row, 1):
            if not _is_number(cell):
                raise ValueError(f"row {number}, column {column} is {cell!r} and no number")
    return np.array([[float(cell) for cell in row] for row in rows], np.float64)


def _cells(lines: list[str]) -> list[list[str]]:
    """The cells of each line; decimal commas become points where semicolons or tabs stand between the cells."""
    mark = next((mark for mark in (";", "\t", ",") if any(mark in line for line in lines)), None)
    if mark is None:
        rows = [line.replace('"', "").split() for line in lines]
    else:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=mark, strict=True)]
        if all(row[-1] == "" for row in rows):  # a separator at the end of every line is no region without connections
            rows = [row[:-1] for row in rows]
    return rows if mark == "," else [[_with_point(cell) for cell in row] for row in rows]


def _with_point(cell: str) -> str:
    return cell.replace(",", ".") if cell.count(",") == 1 and "." not in cell else cell


def _without_names(rows: list[list[str]]) -> list[list[str]]:
    """Rows without a first row and a first column of names, or of numbers of regions."""
    inner = [row[1:] for row in rows[1:]]
    if len(rows) > 1 and len(rows[0]) == len(rows[1]) - 1:  # a first row of names, without a corner
        return inner
    top, left = rows[0][1:], [row[0] for row in rows[1:]]
    if _count_up(top) and _count_up(left) and top == left:
        if _is_number(rows[0][0]):
            raise ValueError(
                "its first row and column look like numbers of regions; leave them out, or empty the corner"
            )
        return inner
    header = any(map(_is_name, top))
    rows = rows[1:] if header else rows
    numbered = header and len(rows[:1]) and len(rows[0]) == len(rows) + 1 and _count_up(left)
    return [row[1:] for row in rows] if numbered or any(_is_name(row[0]) for row in rows) else rows


def _count_up(cells: list[str]) -> bool:
    """Whether cells are whole numbers that rise, as those of regions do."""
    return (
        len(cells) > 2
        and all(cell.isdigit() for cell in cells)
        and all(int(before) < int(after) for before, after in itertools.pairwise(cells))
    )


def _is_name(cell: str) -> bool:
    return bool(cell) and not _is_number(cell)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
