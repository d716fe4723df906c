"""From slices in any order to one regular grid, or the reason why they are none."""

import dataclasses
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfmed.files import PathLike
from tfmed.io.errors import damage

GREATEST_TILT = 0.5  # degrees, as the scanner tells it
GREATEST_DRIFT = 0.02  # in-plane shift per mm along the normal; 0.02 is about one degree
UNEVEN = 0.05  # of the spacing; scanners round positions


@dataclasses.dataclass(frozen=True)
class Slice:
    """One slice as a header tells it: mm in LPS+; `size`, `spacing` are (y, x); `axes` are the directions of x and y.

    A file may hold many: `frame` counts them, `tile` cuts a mosaic's picture. Values are stored integers times `slope`
    plus `intercept`, or looked up in `table`, a pair (first stored value, values). `labels` are the values of
    `dicom_tags.DIMENSIONS`, which tell volumes at the same places apart.
    """

    path: pathlib.Path
    frame: int
    series: str
    instance: str
    sop_class: str
    modality: str
    size: tuple
    spacing: np.ndarray
    position: np.ndarray
    axes: np.ndarray
    thickness: float
    tilt: float
    slope: float
    intercept: float
    table: tuple | None
    pixels: Any
    number: float
    labels: tuple
    tile: tuple = ()

    @property
    def whole(self) -> bool:
        """Whether stored integers stay integers."""
        return self.table is not None or (self.slope.is_integer() and self.intercept.is_integer())

    @property
    def place(self) -> tuple[float, ...]:
        """Where it lies, rounded: equal for slices at the same place."""
        return (*np.round(self.position, 3), *np.round(self.axes.ravel(), 4))

    @property
    def normal(self) -> np.ndarray:
        """Unit vector across the slice."""
        normal = np.cross(*self.axes)
        return normal / np.linalg.norm(normal)


def ordered(slices: Sequence[Slice], folder: PathLike) -> tuple[list[Slice], np.ndarray]:
    """(slices along their normal, LPS+ affine of the grid).

    Raises:
        ImageIntegrityError: the slices differ in size, spacing or direction, are tilted, or one is missing.
    """
    _check_alike(slices)
    first = slices[0]
    slices = sorted(slices, key=lambda one: float(one.position @ first.normal))
    _check_tilt(slices, folder)
    step = _step(slices, folder)
    affine = np.eye(4)
    affine[:3, 0] = first.axes[0] * first.spacing[1]
    affine[:3, 1] = first.axes[1] * first.spacing[0]
    affine[:3, 2] = first.normal * step
    affine[:3, 3] = slices[0].position
    return slices, affine


def _check_alike(slices: Sequence[Slice]) -> None:
    first = slices[0]
    if not np.allclose(first.axes @ first.axes.T, np.eye(2), atol=1e-3) or (first.spacing <= 0).any():
        raise damage(first.path, "its direction or pixel spacing is not one of an image", "export the series again")
    for one in slices[1:]:
        for what, same in (("size", one.size == first.size),
                           ("pixel spacing", np.allclose(one.spacing, first.spacing, rtol=1e-4)),
                           ("direction", np.allclose(one.axes, first.axes, atol=1e-4))):  # fmt: skip
            if not same:
                raise damage(one.path, f"its {what} differs from that of {first.path.name}",
                             "move localizers and other acquisitions out of the folder")  # fmt: skip


def _check_tilt(slices: Sequence[Slice], folder: PathLike) -> None:
    """A tilted gantry shifts each slice within its plane: the voxels then are no boxes.

    Where the slices lie decides: a tilt that the scanner tells is also that of a series resampled since, or of one
    whose slices were tilted with the gantry.
    """
    first, last = slices[0], slices[-1]
    along = np.array([(one.position - first.position) @ first.normal for one in slices])
    drifts = np.array([one.position - first.position for one in slices]) - np.outer(along, first.normal)
    drift = np.linalg.norm(drifts, axis=1).max()
    limit = min(first.spacing.min() / 2, max(GREATEST_DRIFT * (last.position - first.position) @ first.normal, 0.02))
    tilt = max(abs(one.tilt) for one in slices)
    if drift > limit:
        raise damage(folder, f"the slices are sheared by a tilted gantry ({tilt:g} degrees told, shifted by "
                             f"{drift:.2f} mm)", "resample the series to an untilted grid first")  # fmt: skip
    if tilt > GREATEST_TILT and len(slices) > 1:
        warnings.warn(f"{folder}: the scanner tells a gantry tilt of {tilt:g} degrees, but the slices are not sheared; "
                      "read as they lie", stacklevel=4)  # fmt: skip


def _step(slices: Sequence[Slice], folder: PathLike) -> float:
    """The distance between neighbouring slices in mm."""
    if len(slices) == 1:
        if slices[0].thickness <= 0:
            raise damage(folder, "one slice without a thickness is no volume", "give the folder with all slices")
        return slices[0].thickness
    places = np.array([one.position @ slices[0].normal for one in slices])
    gaps = np.diff(places)
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    wrong = np.flatnonzero(np.abs(gaps - usual) > max(UNEVEN * usual, 0.02))
    if wrong.size:
        at = int(wrong[0])
        raise damage(folder, f"slices are missing or uneven: {gaps[at]:.2f} mm instead of {usual:.2f} mm between "
                             f"{slices[at].path.name} (at {places[at]:.2f} mm) and {slices[at + 1].path.name} "
                             f"(at {places[at + 1]:.2f} mm), {len(wrong)} such gap(s)",
                     "download the series again, or resample it to a regular grid")  # fmt: skip
    return float((places[-1] - places[0]) / (len(slices) - 1))
