"""Lung nodules taken out of scans: what lies there then is other lung tissue of the same scan."""

from collections.abc import Sequence

import numpy as np

from tfmed.data.nodules import VOI, Nodule, blend_weights, lung_points
from tfmed.data.sampling import Stream
from tfmed.errors import DataError
from tfmed.io.volume import Volume

VERSION = 1  # raise it whenever the voxels of any erased scan change: their files are named after it
_DONORS = Stream("nodules.donors")
_PLACES = 1024  # in the lungs, looked at per scan
_COMPARED = 48  # of these, per nodule
_SCALE, _MARGIN_MM = 1.25, 2.0  # erased is a ball of so many radii and so many mm more: outlines are no spheres
_BLEND_MM = 2.0  # inside the ball's rim, over which the new tissue fades in
_RING_MM = 3.0  # around the ball, at least a voxel, in which the new tissue is to be like what was there


def reach_mm(nodule: Nodule) -> float:
    """The radius in mm of the ball in which erasing a nodule changes voxels."""
    return _SCALE * nodule.radius_mm + _MARGIN_MM


def without_nodules(volume: Volume, nodules: Sequence[Nodule], seed: int) -> Volume:
    """A scan with balls of lung tissue, copied from elsewhere in its lungs, in place of its nodules.

    For each nodule some places are drawn that lie deep enough in the lungs and away from all nodules; the one whose
    surroundings are most like the nodule's is copied, noise and vessels with it. Voxels outside of the balls (see
    `reach_mm`) keep their bits. A chest wall that reaches into a ball is replaced as well.

    Args:
        volume: array `(z, y, x)` in HU, any real dtype, which the result has too.
        nodules: of the scan.
        seed: the result is a pure function of it and of the others.

    Raises:
        DataError: no lungs are found, or nowhere in them is as much tissue free of nodules.
    """
    array, spacing = np.array(volume.array), volume.spacing
    rng = _DONORS(seed)
    places, depth_mm = lung_points(array, spacing, _PLACES, rng)
    if not len(places):
        raise DataError("no lungs are found in it from which tissue could be copied; remove the case")
    centres = np.array([nodule.centre_zyx(volume.affine) for nodule in nodules])
    reaches = np.array([reach_mm(nodule) for nodule in nodules])
    for centre, reach in zip(centres, reaches, strict=True):
        apart = np.linalg.norm((places[:, None] - centres) * spacing, axis=2) - reaches
        fit = np.flatnonzero((apart.min(axis=1) > reach) & (depth_mm > reach))
        if not len(fit):
            at = ", ".join(f"{value:.0f}" for value in centre)
            raise DataError(f"the lungs have no {2 * reach:.0f} mm without a nodule that could stand in for the one at "
                            f"voxel {at} (z, y, x); remove the case")  # fmt: skip
        _cover(array, centre, reach, places[rng.permutation(fit)[:_COMPARED]], spacing)
    return volume.replace(array=array)


def _cover(array: np.ndarray, centre: np.ndarray, reach: float, donors: np.ndarray, spacing: Sequence[float]) -> None:
    """Copy the ball around one of some places over that around a nodule, in place."""
    outer = reach + max(_RING_MM, *spacing)  # of the ring, which holds voxels however large they are
    voi = VOI.around(centre, 2 * int(np.ceil(outer / min(spacing))) + 3, spacing)
    ring = (voi.distance_mm > reach) & (voi.distance_mm <= outer)
    there = voi.cut(array)[ring]

    def moved(place: np.ndarray) -> VOI:
        shift = np.rint(place - centre).astype(int)
        return VOI(tuple(int(s) for s in np.add(voi.start, shift)), voi.distance_mm)

    unlike = [np.abs(moved(place).cut(array)[ring] - there).mean() for place in donors]
    best = moved(donors[int(np.argmin(unlike))]).cut(array)
    patch = voi.blended(array, best, blend_weights(voi.distance_mm, reach, _BLEND_MM))
    box = tuple(slice(s, s + n) for s, n in zip(patch.start, patch.values.shape, strict=True))
    before = array[box]
    values = np.rint(patch.values) if array.dtype.kind in "iu" else patch.values
    array[box] = np.where(patch.values == before.astype(np.float32), before, values.astype(array.dtype))
