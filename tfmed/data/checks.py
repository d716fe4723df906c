"""Checking cases before training, and filling the cache: all problems at once, each with the way to fix it."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfmed.data import phantoms
from tfmed.data.cache import Cache
from tfmed.data.case import Case
from tfmed.data.labels import counts
from tfmed.data.readers import read_address, read_label
from tfmed.errors import DataError, UserError
from tfmed.io.geometry import Geometry, difference_of_grids, same_grid
from tfmed.io.volume import Volume


@dataclasses.dataclass(frozen=True)
class CaseSpec:
    """What a method needs of a case.

    Args:
        images: names of the modalities that each case must have.
        label: "none", "optional" or "required".
        label_values: the integers that may stand in a label map, or None for any.
        minimum_shape: fewest voxels along (z, y, x) before preprocessing.
        stack: the images lie on one grid and are prepared together, as channels of one array; labels as class numbers,
            in the order of `label_values`.
    """

    images: tuple[str, ...] = ("ct",)
    label: str = "none"
    label_values: tuple[int, ...] | None = None
    minimum_shape: tuple[int, ...] = (2, 2, 2)
    stack: bool = False


def check_case(case: Case, case_spec: CaseSpec, known: Mapping[str, Volume] | None = None) -> list[str]:
    """Problems of one case, a list of lines; empty when it can be used.

    Args:
        case: the Case.
        case_spec: what is needed of it.
        known: {address: Volume} of images and of the label map that were read already.
    """
    problems, first, known = [], None, known or {}
    for name in case_spec.images:
        if name not in case.images:
            has = ", ".join(case.images) or "none"
            problems.append(f"{case.id}: has no {name!r} image (has: {has}); add it or remove the case")
            continue
        volume, problem = _read(case, case.images[name], known)
        problems += problem if volume is None else _image_problems(case, case.images[name], volume, case_spec)
        if volume and first and case_spec.stack:
            problems += _grid_problems(case.images[name], volume, *first)
        first = first or (volume and (Geometry(volume.shape, volume.affine, volume.array.dtype), case.images[name]))
    if case_spec.label == "required" and case.label is None:
        problems.append(f"{case.id}: has no label map; add one or remove the case")
    if case_spec.label != "none" and case.label is not None:
        problems += _label_problems(case, first, case_spec, known.get(case.label))
    return problems


def _read(case: Case, address: str, known: Mapping[str, Volume]) -> tuple[Volume | None, list[str]]:
    if address in known:
        return known[address], []
    try:
        return read_address(address, case.meta.get("series_uid")), []
    except UserError as error:
        return None, [str(error)]
    except FileNotFoundError:
        return None, [f"{address}: no such file; check data.root"]


def _grid_problems(address: str, volume: Volume, first: Geometry, of: str) -> list[str]:
    if same_grid(first, volume):
        return []
    return [f"{address}: {difference_of_grids(volume, first)} {of}; resample it to that image's grid"]


def _image_problems(case: Case, address: str, volume: Volume, case_spec: CaseSpec) -> list[str]:
    array = volume.array
    if array.ndim == 4:
        return [f"{address}: has {array.shape[3]} channels where one is needed; split it into one file per channel"]
    if any(have < need for have, need in zip(volume.shape, case_spec.minimum_shape, strict=True)):
        need = " x ".join(map(str, case_spec.minimum_shape))
        return [f"{address}: shape {volume.shape} is smaller than the {need} voxels needed; remove the case"]
    if count := beyond_float32(array):
        what = "beyond float32" if np.isfinite(array).all() else "NaN or infinite"
        return [f"{address}: {count} voxels are {what}; replace them (for CT by -1000 HU) or remove the case"]
    if array.min() == array.max():
        return [f"{address}: every voxel is {array.flat[0]:g}; the image is empty, remove the case"]
    return []


def beyond_float32(array: np.ndarray) -> int:
    """How many values are NaN, infinite, or larger than float32 holds, in which everything is computed."""
    return int((~(np.abs(array) <= np.finfo(np.float32).max)).sum()) if array.dtype.kind == "f" else 0


def _label_problems(case: Case, first: Any, case_spec: CaseSpec, label: Volume | None) -> list[str]:
    try:
        label = read_label(case) if label is None else label
    except UserError as error:
        return [str(error)]
    except FileNotFoundError:
        return [f"{case.label}: no such file; check data.root"]
    if label.array.ndim == 4:
        return [f"{case.label}: has {label.array.shape[3]} channels where one is needed; give one map of all classes"]
    if first and (problems := _grid_problems(str(case.label), label, *first)):
        return problems
    try:
        values = counts(label.array, str(case.label))
    except DataError as error:
        return [str(error)]
    strange = sorted(set(values) - set(case_spec.label_values or values))
    if strange:
        found, known = ", ".join(f"{value:.20g}" for value in strange[:5]), list(case_spec.label_values or ())
        expected = f"[{found}] where {known} are expected"
        return [f"{case.label}: holds the label values {expected}; map them to these or remove the case"]
    return []


def prepare_cases(
    cases: Sequence[Case],
    cache: Cache,
    case_spec: CaseSpec,
    progress: Callable[[list[Case], str], Iterable[Case]] = lambda items, text: items,
) -> None:
    """Check every case that lies in files and fill the cache with it.

    Phantoms need no check; they are made when they are first read, or here where a method wants stacks.

    Raises:
        DataError: the first problem, and how many more there are (`tfmed prepare` lists them all).
    """
    if not cases:
        raise DataError("no case to train on; check data.root and data.options")
    problems = []
    for case in progress([c for c in cases if case_spec.stack or not is_phantom(c)], "Preparing cases"):
        problems += _once(case, cache, case_spec) or fill(case, cache, case_spec)
    refuse(problems)


def refuse(problems: Sequence[str]) -> None:
    """Raise a DataError if there are problems: the first one, and how many more there are."""
    if problems:
        more = f" (and {len(problems) - 1} more; 'tfmed prepare' lists them all)" if len(problems) > 1 else ""
        raise DataError(problems[0] + more)


def _once(case: Case, cache: Cache, case_spec: CaseSpec) -> list[str]:
    """Problems of a case; one whose prepared volumes are in the cache was checked when they were made."""
    if is_phantom(case) and set(case_spec.images) <= set(case.images):
        return []
    return [] if cache.has(case, case_spec) else check_case(case, case_spec)


def fill(case: Case, cache: Cache, case_spec: CaseSpec) -> list[str]:
    """Put a case's images, and its label when the method uses labels, into the cache.

    Returns:
        list of the lines that only the steps could tell: empty, or one problem.
    """
    try:
        if case_spec.stack:
            cache.stack(case, case_spec)
            return []
        for name in case_spec.images:
            cache.get(case.images[name], series_uid=case.meta.get("series_uid"))
        if case_spec.label != "none" and case.label is not None:
            cache.get(case.label, is_label=True)
    except DataError as error:
        return [str(error)]
    return []


def is_phantom(case: Case) -> bool:
    """Whether all of a case is made from a seed."""
    return all(phantoms.is_address(address) for address in case.images.values())
