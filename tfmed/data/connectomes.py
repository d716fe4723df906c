"""Connectomes of a set of cases: read, checked against one another, and scaled, as one array."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfmed.data import checks, phantoms
from tfmed.data.case import Case
from tfmed.data.classes import numbers_of
from tfmed.errors import DataError, UserError
from tfmed.io.connectome import read_connectome


@dataclasses.dataclass(frozen=True)
class Connectomes:
    """Matrices of several subjects.

    Attributes:
        matrices: float32 `(n, d, d)`: symmetric, not negative, zero diagonal.
        labels: class numbers int32 `(n,)`.
        ids: of the cases.
    """

    matrices: np.ndarray
    labels: np.ndarray
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def of_class(self, number: int) -> np.ndarray:
        """The matrices of one class."""
        return self.matrices[self.labels == number]

    @property
    def pair(self) -> tuple[np.ndarray, np.ndarray]:
        """(matrices, labels), as classifiers take them."""
        return self.matrices, self.labels


def joined(*sets: Connectomes) -> Connectomes:
    """Connectomes of several sets."""
    return Connectomes(
        np.concatenate([one.matrices for one in sets]),
        np.concatenate([one.labels for one in sets]),
        sum((one.ids for one in sets), ()),
    )


def read_matrix(address: str) -> np.ndarray:
    """The matrix behind a path or a `phantom:` address, float64."""
    if phantoms.is_address(address):
        return phantoms.read(address).array[0].astype(np.float64)
    return read_connectome(address)


def problems_of(
    case: Case, image: str = "connectome", regions: int | None = None, one_triangle: bool = False
) -> list[str]:
    """What keeps a case from being used: a list of lines, empty when nothing does."""
    try:
        checked(case, image, regions, one_triangle)
    except UserError as error:
        return [str(error)]
    return []


def checked(
    case: Case, image: str = "connectome", regions: int | None = None, one_triangle: bool = False
) -> np.ndarray:
    """The matrix of a case, float64, with a zero diagonal.

    Args:
        image: which matrix of the case.
        regions: how many it must have; None: any number.
        one_triangle: what is not symmetric counts once in either direction: the matrix and its mirror are added.

    Raises:
        DataError: the case has no such matrix, or the matrix has another number of regions, negative entries, no
            connection at all, or is not symmetric.
        ImageIntegrityError: its file is damaged.
    """
    if image not in case.images:
        raise DataError(f"{case.id}: has no {image!r} (has: {', '.join(case.images) or 'none'}); set model.image")
    where, matrix = case.images[image], read_matrix(case.images[image])
    if regions is not None and len(matrix) != regions:
        raise DataError(f"{where}: has {len(matrix)} regions where {regions} are needed; give matrices of one atlas")
    if matrix.min() < 0:
        count = int((matrix < 0).sum())
        raise DataError(f"{where}: {count} entries are negative; give counts or other strengths from 0")
    if one_triangle:
        matrix = matrix + matrix.T
    gap = np.abs(matrix - matrix.T).max()
    if gap > 1e-6 * matrix.max():
        raise DataError(
            f"{where}: is not symmetric (by up to {gap:g}); where each connection stands in one triangle "
            "only, set model.one_triangle: true"
        )
    matrix = matrix * (1.0 - np.eye(len(matrix)))
    if not matrix.any():
        raise DataError(f"{where}: connects no two regions; remove the case")
    return matrix


def read_all(
    cases: Sequence[Case],
    classes: Sequence[str],
    image: str = "connectome",
    one_triangle: bool = False,
    log_counts: bool = False,
    scale: str | float = "own",
) -> Connectomes:
    """The Connectomes of cases.

    Args:
        cases: list of Case with `meta["class"]`.
        classes: their names; a label is the place in this list.
        image, one_triangle: see `checked`.
        log_counts: log(1 + entry) in place of the entry.
        scale: divide by "own" maximum of each matrix, or by a number.

    Raises:
        DataError: the first problem, and how many more there are.
    """
    found, problems, regions, labels = [], [], None, numbers_of(cases, classes)
    for case in cases:
        try:
            found.append(checked(case, image, regions, one_triangle))
            regions = len(found[0])
        except UserError as error:
            problems.append(str(error))
    checks.refuse(problems)
    if not found:
        raise DataError("no connectome to read; check data.root and data.split")
    matrices = np.stack(found)
    matrices = np.log1p(matrices) if log_counts else matrices
    divisor = matrices.max((1, 2), keepdims=True) if scale == "own" else scale
    with np.errstate(over="ignore"):
        scaled = (matrices / divisor).astype(np.float32)
    for case, matrix in zip(cases, scaled, strict=True):
        if not np.isfinite(matrix).all() or not matrix.any():
            raise DataError(f"{case.images[image]}: float32 does not hold its scaled entries; choose another scale")
    return Connectomes(scaled, labels, tuple(c.id for c in cases))
