"""Connectomes: square matrices of connections between brain regions, from CSV, TSV, NPY, MATLAB and GraphML files."""

import pathlib

import numpy as np

from tfmed.io.errors import ImageIntegrityError

SUFFIXES = (".csv", ".tsv", ".txt", ".npy", ".mat", ".graphml")


def read_connectome(path):
    """A connectome as it lies in its file, float64 `(regions, regions)`.

    Text files hold a row per region, with commas, semicolons, tabs or blanks between the numbers; a first row and a
    first column of names are left out. A MATLAB file (up to version 7) holds one square matrix, or its name follows
    behind two colons: `x.mat::sc`. GraphML edges carry `weight`; undirected ones count both ways.

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


def write_connectome(matrix, path):
    """Write a matrix as .npy, or as text with commas (.csv); never half of it."""
    from tfmed.files import atomic_path

    with atomic_path(path) as temporary:
        if pathlib.Path(path).suffix.lower() == ".npy":
            with open(temporary, "wb") as stream:
                np.save(stream, np.asarray(matrix), allow_pickle=False)
        else:
            np.savetxt(temporary, matrix, fmt="%.8g", delimiter=",")


def _npy(file):
    return np.load(file, allow_pickle=False)


def _mat(file, name):
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


def _graphml(file):
    import networkx

    graph = networkx.read_graphml(file)
    return networkx.to_numpy_array(graph, weight="weight")


def _text(file):
    text = pathlib.Path(file).read_text(encoding="utf-8-sig")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError("it is empty")
    mark = next((mark for mark in (",", ";", "\t") if mark in lines[0]), None)
    rows = [[cell.strip().strip('"') for cell in line.split(mark)] for line in lines]
    if not all(_is_number(cell) for cell in rows[0][1:]):
        rows = rows[1:]
    if rows and not all(_is_number(row[0]) for row in rows):
        rows = [row[1:] for row in rows]
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        raise ValueError(f"its rows have from {min(lengths, default=0)} to {max(lengths, default=0)} numbers")
    return np.array(rows, np.float64)


def _is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True
