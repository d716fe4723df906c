"""From slices in any order to one regular grid, or the reason why they are none."""

import dataclasses
import pathlib

import numpy as np

from tfmed.io.errors import damage

GREATEST_TILT = 0.5  # degrees, as the scanner tells it
GREATEST_DRIFT = 0.02  # in-plane shift per mm along the normal; 0.02 is about one degree
UNEVEN = 0.05  # of the spacing; scanners round positions


@dataclasses.dataclass(frozen=True)
class Slice:
    """One file's header: mm in LPS+; `size` and `spacing` are (y, x); `axes` are the directions of x and y.

    `coding` is (slope, intercept, bits, signed): slices with equal coding are read as one type.
    """

    path: pathlib.Path
    series: str
    modality: str
    size: tuple
    spacing: np.ndarray
    position: np.ndarray
    axes: np.ndarray
    thickness: float
    tilt: float
    coding: tuple

    @property
    def whole(self):
        """Whether stored integers stay integers: slope and intercept, which lead `coding`, are whole numbers."""
        return all(float(number).is_integer() for number in self.coding[:2])

    @property
    def normal(self):
        """Unit vector across the slice."""
        normal = np.cross(*self.axes)
        return normal / np.linalg.norm(normal)


def ordered(slices, folder):
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


def _check_alike(slices):
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


def _check_tilt(slices, folder):
    """A tilted gantry shifts each slice within its plane: the voxels then are no boxes."""
    first, last = slices[0], slices[-1]
    along = np.array([(one.position - first.position) @ first.normal for one in slices])
    drifts = np.array([one.position - first.position for one in slices]) - np.outer(along, first.normal)
    drift = np.linalg.norm(drifts, axis=1).max()
    limit = min(first.spacing.min() / 2, max(GREATEST_DRIFT * (last.position - first.position) @ first.normal, 0.02))
    tilts = [abs(one.tilt) for one in slices]
    if drift > limit or max(tilts) > GREATEST_TILT:
        raise damage(folder, f"the slices are sheared by a tilted gantry ({max(tilts):g} degrees told, shifted by "
                             f"{drift:.2f} mm)", "resample the series to an untilted grid first")  # fmt: skip


def _step(slices, folder):
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
