"""The nodules of LIDC-IDRI that several readers rated: a patch of one slice each, and what they say of it."""

import itertools
import math
import re
import types
from collections.abc import Mapping, Sequence

from tfmed.data.case import Case
from tfmed.data.nodule_ratings import SIZES_MM, THRESHOLDS, binary, medians, size_class
from tfmed.data.nodules import Nodule, mean_of, together
from tfmed.errors import DataError
from tfmed.files import PathLike

from .lidc_idri import lidc_idri
from .lidc_xml import RATED

_UNDECIDED = 3  # malignancy


def lidc_nodules(
    root: PathLike | None = None,
    readers: int = 3,
    thresholds: Mapping[str, float] = types.MappingProxyType(THRESHOLDS),
    sizes_mm: Sequence[float] = SIZES_MM,
    first_test: int = 899,
    pixels: int = 48,
    matrix: int = 256,
) -> list[Case]:
    """A case per nodule: image "ct" is a square of one slice about it, `meta["class"]` its size in mm ("4-6").

    Marks of readers whose centres lie within one another are one nodule, of their mean centre and diameter; it counts
    where so many readers rated every characteristic of `thresholds` and malignancy, and where the median of malignancy
    is not 3. `meta["condition"]` has each of these characteristics as 0 or 1, `meta["medians"]` its median,
    `meta["diameter_mm"]` and `meta["readers"]` what the names say, and `meta["part"]` whether it tests.

    Args:
        root: the folder with the patients, see source lidc_idri.
        readers: of a nodule, at least.
        thresholds: {characteristic: median rating from which on it is 1}.
        sizes_mm: rising ends of the classes of diameters; the first and the last have no end.
        first_test: patients of this number and above test. Numbers are those of their names (LIDC-IDRI-0899), so that
            no patient is on both sides, and a part of the data set is split as the whole is.
        pixels, matrix: the square's side is so many pixels of the slice when that has `matrix` rows; 48 of 256.

    Raises:
        DataError: as lidc_idri; no nodule is left; an option is out of range, or a header lacks the pixels' size.
    """
    _check(readers, thresholds, sizes_mm, pixels, matrix)
    cases = []
    for scan in lidc_idri(root):
        for number, marks in enumerate(_agreed(scan, readers, {*thresholds, "malignancy"}), 1):
            rated = medians(marks)
            if rated["malignancy"] == _UNDECIDED:
                continue
            nodule = mean_of([_sphere(mark) for mark in marks])
            meta = {
                "series_uid": scan.meta["series_uid"],
                "class": size_class(2 * nodule.radius_mm, sizes_mm),
                "condition": binary(rated, thresholds),
                "medians": rated,
                "diameter_mm": 2 * nodule.radius_mm,
                "readers": len({mark["reader"] for mark in marks}),
                "part": "test" if _number(scan.group) >= first_test else "train",
            }
            patch = f"{scan.images['ct']}::{_around(scan, nodule, pixels / matrix)}"
            cases.append(Case(f"{scan.id}-{number}", scan.group, {"ct": patch}, None, meta))
    if not cases:
        raise DataError(
            f"{root}: no nodule was rated by {readers} readers (but those of malignancy 3); copy the readers' XML "
            "files beside the slices, or lower data.options.readers"
        )
    return cases


def _check(readers, thresholds, sizes_mm, pixels, matrix):
    if not isinstance(thresholds, Mapping) or not thresholds:
        raise DataError(f"source lidc_nodules: thresholds must be a section {{margin: 4, ...}}; got {thresholds!r}")
    for name, least in thresholds.items():
        if name not in RATED:
            raise DataError(f"source lidc_nodules: thresholds are of {', '.join(RATED)}; got {name!r}")
        if not _is_number(least):
            raise DataError(f"source lidc_nodules: the threshold of {name} must be a number; got {least!r}")
    rising = isinstance(sizes_mm, Sequence) and len(sizes_mm) > 2 and all(map(_is_number, sizes_mm))
    if not rising or any(one >= other for one, other in itertools.pairwise(sizes_mm)):
        raise DataError(f"source lidc_nodules: sizes_mm must be at least three rising numbers; got {sizes_mm!r}")
    if readers < 1 or not 1 <= pixels <= matrix:
        raise DataError(
            f"source lidc_nodules: readers must be above 0 and pixels from 1 to matrix; got {readers}, {pixels} and "
            f"{matrix}"
        )


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _agreed(scan, readers, needed):
    """The marks, a list each, of the nodules of which enough readers rated all that is needed."""
    marks = [mark for mark in scan.meta["nodules"] if mark["radius_mm"] is not None and needed <= set(mark["ratings"])]
    groups = [[marks[k] for k in group] for group in together([_sphere(mark) for mark in marks])]
    return [group for group in groups if len({mark["reader"] for mark in group}) >= readers]


def _sphere(mark):
    return Nodule(mark["centre_mm"], mark["radius_mm"])


def _number(patient):
    return int(re.sub(r".*-", "", patient))


def _around(scan, nodule, share):
    """The piece of an address that cuts the square out."""
    height = scan.meta["height_mm"]
    if height is None or not 0 < share * height < 1e6:
        raise DataError(f"{scan.images['ct']}: its first slice does not tell how large it is; copy the series again")
    return "around@" + ",".join(f"{value:.3f}" for value in (*nodule.centre_mm, share * height))
