"""Lung nodules: where they are, where others could be, and volumes of interest (VOIs) cut out and pasted back."""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from tfmed.data import phantoms
from tfmed.data.case import Case
from tfmed.data.phantoms.chest_ct import placed_nodules
from tfmed.data.preprocess import Window
from tfmed.data.sampling import Stream, generator
from tfmed.data.spheres import Sphere
from tfmed.errors import DataError
from tfmed.io.volume import Volume

_LUNGS = Stream("nodules.lungs", 0x91ACE)
_PLACES = 512  # looked at per scan

_LUNG_HU = (-960.0, -400.0)  # of air-filled tissue, on average; airways hold air alone
_COARSE_MM = 3.0  # voxels in which lungs are looked for
_SMOOTH_MM = 2.5  # standard deviation of the filter against noise


class Nodule(Sphere):
    """A nodule, or a place for one: the sphere of its size."""


# --- where nodules are ------------------------------------------------------------------------------------------------


def nodules_of(case: Case) -> list[Nodule]:
    """The nodules of a case: list of `Nodule`, empty for a healthy one.

    They come from `meta["nodules"]`, as LIDC-IDRI and LUNA16 have it, or are those of a chest phantom. Marks of several
    readers that lie on one another are one nodule; marks without a radius (below 3 mm) are none.

    Raises:
        DataError: the case says nothing of nodules.
    """
    if "nodules" in case.meta:
        marks = [mark for mark in case.meta["nodules"] if mark["radius_mm"] is not None]
        found = [Nodule(tuple(mark["centre_mm"]), float(mark["radius_mm"])) for mark in marks]
        return merged(found) if any("reader" in mark for mark in marks) else found
    address = case.images.get("ct")
    if phantoms.is_address(address) and (parsed := phantoms.parse(address))[0] == "chest_ct":
        options = {name: value for name, value in parsed[1].items() if name != "part"}
        return [Nodule(one["centre_mm"], one["radius_mm"]) for one in placed_nodules(**options)]
    raise DataError(f"{case.id}: its source tells no nodules; use lidc_idri, luna16 or phantom_chest_ct")


def merged(nodules: Sequence[Nodule]) -> list[Nodule]:
    """One nodule for each group of nodules whose centres lie within one another: their mean centre and radius."""
    return [mean_of([nodules[k] for k in group]) for group in together(nodules)]


def together(nodules: Sequence[Nodule]) -> list[list[int]]:
    """Places in the list of the nodules of each group whose centres lie within one another, groups by their first."""
    if not nodules:
        return []
    centres = np.array([nodule.centre_mm for nodule in nodules], np.float64)
    radii = np.array([nodule.radius_mm for nodule in nodules], np.float64)
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    near = apart <= np.maximum(radii[:, None], radii[None])
    _, group = _components(near)
    return [np.flatnonzero(group == k).tolist() for k in dict.fromkeys(group)]


def mean_of(nodules: Sequence[Nodule]) -> Nodule:
    """The nodule of the mean centre and radius."""
    centre = np.mean([nodule.centre_mm for nodule in nodules], 0)
    return Nodule(tuple(float(v) for v in centre), float(np.mean([nodule.radius_mm for nodule in nodules])))


def _components(near: np.ndarray) -> tuple[int, np.ndarray]:
    from scipy.sparse.csgraph import connected_components

    return connected_components(near, directed=False)


# --- where a nodule could be ------------------------------------------------------------------------------------------


def lung_points(
    hu: np.ndarray, spacing: Sequence[float], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Random places inside the lungs, and how deep they lie; both empty where there is no lung.

    Lungs are found by their density on a coarse grid: large regions of air-filled tissue, those that do not reach the
    sides of the image if there are any; vessels in them are closed.

    Args:
        hu: volume `(z, y, x)` in HU.
        spacing: voxel size (z, y, x) in mm.
        count: number of places, drawn with replacement.
        rng: numpy Generator.

    Returns:
        places `(count, 3)` in voxels (z, y, x), and their depths `(count,)` in mm below the lungs' surface.
    """
    step = [max(1, round(_COARSE_MM / s)) for s in spacing]
    coarse = np.asarray(hu[tuple(slice(s // 2, None, s) for s in step)], np.float32)
    smooth = ndimage.gaussian_filter(coarse, [_SMOOTH_MM / (k * s) for k, s in zip(step, spacing, strict=True)])
    tissue = (smooth > _LUNG_HU[0]) & (smooth < _LUNG_HU[1])
    found, number = ndimage.label(ndimage.binary_opening(tissue))
    sizes = np.bincount(found.ravel(), minlength=number + 1)
    wanted = sizes > 0.004 * found.size
    wanted[0] = False
    sides = np.unique(np.concatenate([found[:, (0, -1)].ravel(), found[:, :, (0, -1)].ravel()]))
    inner = wanted & ~np.isin(np.arange(number + 1), sides)
    lung = (inner if inner.any() else wanted)[found]  # an image that is cut too tightly has no other
    lung = ndimage.binary_closing(lung, iterations=2) & (smooth > _LUNG_HU[0])
    if not lung.any():
        return np.zeros((0, 3)), np.zeros(0)
    depth = ndimage.distance_transform_edt(np.pad(lung, 1), sampling=np.multiply(step, spacing))[1:-1, 1:-1, 1:-1]
    spots = np.flatnonzero(lung)
    chosen = np.stack(np.unravel_index(spots[rng.integers(len(spots), size=count)], lung.shape), axis=1)
    places = chosen * step + np.array([s // 2 for s in step])
    return places.astype(np.float64), depth[tuple(chosen.T)]


class Places:
    """Where nodules could be in a scan.

    Args:
        case: the Case.
        volume: its prepared Volume.
        window: the Window with which it was prepared.
        seed: the places are a function of it and of the case's id.

    Raises:
        DataError: no lungs are found.
    """

    def __init__(self, case: Case, volume: Volume, window: Window, seed: int) -> None:
        self.key = zlib.crc32(case.id.encode())
        self.affine, self.seed = volume.affine, seed
        rng = _LUNGS(seed, self.key)
        points, self.depth = lung_points(window.invert(volume.array), volume.spacing, _PLACES, rng)
        if not len(points):
            raise DataError(f"{case.id}: no lungs are found in it to put a nodule into; remove the case")
        self.mm = (np.c_[points[:, ::-1], np.ones(len(points))] @ volume.affine.T)[:, :3]

    def draw(self, radii_mm: Sequence[float], *keys: int) -> list[Nodule]:
        """A `Nodule` for each radius, inside the lungs and apart from one another as far as there is room.

        Args:
            keys: integers; the draw is a pure function of them, the scan and the seed.
        """
        rng, chosen = generator(self.seed, self.key, *keys), list[Nodule]()
        for radius in radii_mm:
            room = self.depth - radius
            for other in chosen:
                room = np.minimum(room, np.linalg.norm(self.mm - other.centre_mm, axis=1) - radius - other.radius_mm)
            fit = np.flatnonzero(room > 0)
            pick = int(fit[rng.integers(len(fit))]) if len(fit) else int(np.argmax(room))
            chosen.append(Nodule(tuple(float(v) for v in self.mm[pick]), float(radius)))
        return chosen


# --- volumes of interest ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class VOI:
    """A cube of voxels around a nodule, or around a place for one.

    Args:
        start: first voxel (z, y, x); the cube may reach beyond the volume.
        distance_mm: of each voxel `(size, size, size)` from the nodule's centre, float32.
    """

    start: tuple[int, ...]
    distance_mm: np.ndarray

    @classmethod
    def around(cls, centre_zyx: np.ndarray, size: int, spacing: Sequence[float]) -> "VOI":
        """The cube of `size` voxels whose middle is nearest to a point given in voxels."""
        start = np.rint(np.asarray(centre_zyx) - (size - 1) / 2).astype(int)
        offsets = [(start[k] + np.arange(size) - centre_zyx[k]) * spacing[k] for k in range(3)]
        z, y, x = np.ix_(*offsets)
        return cls(tuple(int(s) for s in start), np.sqrt(z * z + y * y + x * x).astype(np.float32))

    def cut(self, array: np.ndarray) -> np.ndarray:
        """The voxels of a volume `(z, y, x)` in the cube, float32; beyond its border the border goes on."""
        sides = zip(self.start, self.distance_mm.shape, array.shape, strict=True)
        return np.asarray(
            array[np.ix_(*(np.clip(np.arange(s, s + n), 0, have - 1) for s, n, have in sides))], np.float32
        )

    def blended(self, array: np.ndarray, made: np.ndarray, weights: np.ndarray) -> "Patch":
        """A `Patch`: `made` where weights are 1, the volume where they are 0, and a mixture in between.

        Args:
            array: the volume `(z, y, x)`.
            made, weights: `(size, size, size)`, weights in [0, 1].
        """
        inside = [
            slice(max(0, -s), max(0, min(n, have - s)))
            for s, n, have in zip(self.start, made.shape, array.shape, strict=True)
        ]
        weights = weights[tuple(inside)]
        if not weights.any():
            return Patch((0, 0, 0), np.zeros((0, 0, 0), np.float32))
        used = _bounds(weights > 0)
        box = [slice(s.start + b.start, s.start + b.stop) for s, b in zip(inside, used, strict=True)]
        place = [slice(s + b.start, s + b.stop) for s, b in zip(self.start, box, strict=True)]
        weights = weights[used]
        before = np.asarray(array[tuple(place)], np.float32)
        mixed = np.where(weights > 0, before + weights * (made[tuple(box)] - before), before)
        return Patch(tuple(p.start for p in place), mixed.astype(np.float32))


@dataclasses.dataclass(frozen=True)
class Patch:
    """New values for a box of a volume.

    Args:
        start: its first voxel (z, y, x), inside the volume.
        values: float32 `(z, y, x)`.
    """

    start: tuple[int, ...]
    values: np.ndarray

    def paste(self, array: np.ndarray) -> None:
        """Write the values into an array, in place."""
        box = tuple(slice(s, s + n) for s, n in zip(self.start, self.values.shape, strict=True))
        array[box] = self.values


def blend_weights(distance_mm: np.ndarray, reach_mm: float, blend_mm: float) -> np.ndarray:
    """Weights 1 up to `reach_mm - blend_mm` from the centre, 0 from `reach_mm` on, half a cosine in between; float32.

    What is pasted with them changes no voxel beyond `reach_mm`, and leaves no edge there.
    """
    share = np.clip((reach_mm - distance_mm) / max(blend_mm, 1e-6), 0.0, 1.0)
    return (0.5 - 0.5 * np.cos(np.pi * share)).astype(np.float32)


def _bounds(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box of slices that holds all of a mask."""
    return ndimage.find_objects(mask.astype(np.uint8))[0]
