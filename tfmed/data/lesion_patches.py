"""Small patches for rare, small lesions: which are cut from a volume, and how they are turned and distorted.

The plan of a volume (Assis et al. 2021): a patch around each lesion, and patches without a lesion, half of them around
the brightest voxels, which in an angiography are vessels, half of them elsewhere. A patch is read from the volume in
one interpolation, however it is distorted, turned and shifted; whether a voxel of it is lesion is computed from the
lesions' spheres, and never interpolated.
"""

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from tfmed.augment import lattice
from tfmed.data.far_points import FarPoints, Metric
from tfmed.data.preprocess.geometry import boxed_array
from tfmed.data.spheres import Sphere
from tfmed.io.geometry import spacing_of
from tfmed.ops.warp import warp_array

log = logging.getLogger("tfmed")
_PARENCHYMA = (20.0, 80.0)  # percentiles of intensity between which the other patches' centres lie
_COARSE_MM = 3.0  # voxels in which the head is looked for
_MULTIPLE = 32  # of the sides of the boxes that patches are read from: each shape is compiled once


# --- which patches ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Plan:
    """The patches of one volume, by their centres (z, y, x) in voxels.

    Args:
        lesions: float64 `(k, 3)`, the lesions' own.
        vessels: int `(v, 3)`, of patches without a lesion, by falling intensity.
        others: int `(o, 3)`, of further ones without a lesion.
    """

    lesions: np.ndarray
    vessels: np.ndarray
    others: np.ndarray

    @property
    def negatives(self) -> np.ndarray:
        """Centres of all patches without a lesion."""
        return np.concatenate([self.vessels, self.others])


def placed(spheres: Sequence[Sphere], affine: np.ndarray) -> tuple[Sphere, ...]:
    """Spheres on the axes of a grid: centres are voxels (z, y, x) times their size, in mm."""
    spacing = spacing_of(affine)
    return tuple(Sphere(tuple(one.centre_zyx(affine) * spacing), one.radius_mm) for one in spheres)


class Room:
    """Where patches of a volume may lie: centres keep a distance from one another and from the lesions', and no patch
    but a lesion's own meets a lesion.

    Args:
        size: voxels (z, y, x) of the volume.
        spacing: voxel size (z, y, x) in mm.
        spheres: the lesions, as `placed` gives them.
        shape: voxels (z, y, x) of a patch.
        least_mm: smallest distance between two centres.
        metric: of that distance.
        allowed: bool `(z, y, x)`, where centres may lie; None: everywhere.

    Attributes:
        points: the FarPoints that are left.
        lesions: the lesions' centres, float64 `(k, 3)` in voxels.
    """

    def __init__(
        self,
        size: Sequence[int],
        spacing: ArrayLike,
        spheres: Sequence[Sphere],
        shape: Sequence[int],
        least_mm: float = 20.0,
        metric: Metric = "euclidean",
        allowed: np.ndarray | None = None,
    ) -> None:
        voxel = np.asarray(spacing, np.float64)
        self.points, self.allowed = FarPoints(size, voxel, least_mm, metric, allowed), allowed
        self.lesions = np.array([one.centre_mm for one in spheres], np.float64).reshape(-1, 3) / voxel
        half = (np.asarray(shape) / 2 + 0.5) * voxel  # patches of even sides reach half a voxel further to one side
        for centre, one in zip(self.lesions, spheres, strict=True):
            self.points.close_around(centre)
            self.points.close_cubes(centre, half, one.radius_mm)


def guided(room: Room, image: np.ndarray, draw: np.random.Generator, vessels: int = 100, others: int = 100) -> Plan:
    """The plan of a volume: vessels are its brightest voxels, others lie between its 20th and its 80th percentile (of
    where centres may lie). Where there is no room for so many, there are fewer.

    Args:
        room: the Room; patches of the plan are taken from it.
        image: `(z, y, x)`, finite.
        draw: the Generator.
        vessels, others: how many patches of either kind.
    """
    bright = room.points.brightest(image, vessels)
    low, high = np.percentile(image if room.allowed is None else image[room.allowed], _PARENCHYMA)
    return Plan(room.lesions, bright, room.points.drawn(others, draw, (image >= low) & (image <= high)))


def uniform(room: Room, draw: np.random.Generator, count: int = 200) -> Plan:
    """A plan whose patches without a lesion lie anywhere, whatever the image shows there; see `guided`."""
    return Plan(room.lesions, np.zeros((0, 3), np.int64), room.points.drawn(count, draw))


def regular(shape_of_image: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Centres int `(n, 3)` of patches side by side that cover a volume; the last ones hang over its border."""
    axes = [np.arange(0, size, side) + side // 2 for size, side in zip(shape_of_image, shape, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


def head(image: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Where the head is, bool `(z, y, x)`: the largest region brighter than the air, holes filled, voxels of 3 mm."""
    from skimage.filters import threshold_otsu

    step = [max(1, round(_COARSE_MM / s)) for s in spacing]
    coarse = ndimage.gaussian_filter(np.asarray(image[tuple(slice(s // 2, None, s) for s in step)], np.float32), 1)
    above = coarse > threshold_otsu(np.minimum(coarse, np.percentile(coarse, 90)))  # vessels are no tissue
    found, count = ndimage.label(above)
    if count:
        above = found == 1 + np.argmax(np.bincount(found.ravel())[1:])
    above = ndimage.binary_fill_holes(above)
    places = (np.minimum(np.arange(n) // s, m - 1) for n, s, m in zip(image.shape, step, above.shape, strict=True))
    return above[np.ix_(*places)]


# --- reading one ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Move:
    """How a patch is moved, in mm about its centre: place = centre + shift + turn (voxel + displacement).

    Args:
        turn: rotation `(3, 3)` of (z, y, x), or None.
        shift_mm: (z, y, x).
        control: displacements of a lattice over the patch in mm, `(*nodes, 3)`, see `augment.lattice`; or None.
    """

    turn: np.ndarray | None = None
    shift_mm: tuple[float, ...] | np.ndarray = (0.0, 0.0, 0.0)
    control: np.ndarray | None = None


def draw_move(draw: np.random.Generator, degrees: float, shift_mm: float, control: np.ndarray | None = None) -> Move:
    """A turn about any axis by up to `degrees`, and a shift by up to `shift_mm` along each axis, both uniform."""
    turn = lattice.draw_turn(draw, degrees) if degrees else None
    return Move(turn, draw.uniform(-shift_mm, shift_mm, 3), control)


def kept_inside(move: Move, radius_mm: float, shape: Sequence[int], spacing: Sequence[float]) -> Move:
    """The same move, shifted less where a sphere about the patch's centre would otherwise leave the patch.

    A sphere that is larger than the patch stays in the middle.
    """
    spacing = np.asarray(spacing, np.float64)
    room = (np.asarray(shape) - 1) / 2 * spacing - radius_mm
    if move.control is not None:
        field = lattice.displacement(move.control, shape)
        room = room - [np.abs(field[..., axis]).max() for axis in range(3)]
    room = np.maximum(room, 0)
    turn = np.eye(3) if move.turn is None else move.turn
    return dataclasses.replace(move, shift_mm=turn @ np.clip(turn.T @ np.asarray(move.shift_mm), -room, room))


def places_of(shape: Sequence[int], spacing: ArrayLike, move: Move) -> np.ndarray:
    """Where each voxel of a patch lies, float32 `(3, *shape)`: (z, y, x) in mm from the patch's centre."""
    size, turn = np.asarray(spacing, np.float64), np.eye(3) if move.turn is None else move.turn
    z, y, x = ((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, size, strict=True))
    found = np.empty((3, *shape), np.float32)
    for into, row, shift in zip(found, turn, move.shift_mm, strict=True):  # a sum of one term per axis
        plane = ((row[1] * y + shift)[:, None] + row[2] * x).astype(np.float32)
        np.add((row[0] * z).astype(np.float32)[:, None, None], plane, out=into)
    if move.control is not None:  # the turn acts on the few control points
        found += np.moveaxis(lattice.displacement(move.control @ turn.T, shape), -1, 0)
    return found


def read_patch(
    image: np.ndarray,
    spacing: Sequence[float],
    spheres: Sequence[Sphere],
    centre: Sequence[float],
    shape: Sequence[int],
    move: Move | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(image float32 `(*shape, channel)`, label uint8 `(*shape)`) of a patch; outside of the volume the image is 0.

    Args:
        image: `(z, y, x, channel)`; only a box of it is read, so a memory map stays on disk.
        spacing: voxel size (z, y, x) in mm.
        spheres: the lesions, as `placed` gives them.
        centre: voxels (z, y, x), fractions allowed.
        shape: voxels (z, y, x).
        move: None: the patch is cut as it lies, around the nearest voxel.
    """
    spacing = np.asarray(spacing, np.float64)
    if move is None:
        starts = [int(np.floor(c + 0.5)) - n // 2 for c, n in zip(centre, shape, strict=True)]
        middle = np.array([start + (n - 1) / 2 for start, n in zip(starts, shape, strict=True)]) * spacing
        cut = np.asarray(boxed_array(image, starts, shape, 0.0), np.float32)
        return cut, _label(spheres, places_of(shape, spacing, Move()), middle)
    places = places_of(shape, spacing, move)
    voxels = places * (1 / spacing).astype(np.float32).reshape(3, 1, 1, 1)
    low, high = (np.array([reach(axis) for axis in voxels]) + centre for reach in (np.min, np.max))
    starts = np.floor(low - 1e-3).astype(int)  # rounding
    reach = int(np.max(np.floor(high + 1e-3) + 1 - starts)) + 1
    side = -(-reach // _MULTIPLE) * _MULTIPLE
    box = np.asarray(boxed_array(image, [int(s) for s in starts], (side,) * 3, 0.0), np.float32)
    voxels += (np.asarray(centre) - starts).astype(np.float32).reshape(3, 1, 1, 1)
    moved = warp_array(box, np.ascontiguousarray(np.moveaxis(voxels, 0, -1)), order=1, fill=0)
    return moved, _label(spheres, places, np.asarray(centre) * spacing)


def _label(spheres: Sequence[Sphere], places: np.ndarray, middle_mm: np.ndarray) -> np.ndarray:
    """1 where a place, counted from the middle, lies in a sphere."""
    low, high = (np.array([reach(axis) for axis in places]) for reach in (np.min, np.max))
    inside = np.zeros(places.shape[1:], bool)
    for one in spheres:
        at = one.centre_mm - middle_mm
        if np.linalg.norm(np.maximum(np.maximum(low - at, at - high), 0)) <= one.radius_mm:
            z, y, x = (axis - np.float32(c) for axis, c in zip(places, at, strict=True))
            inside |= z * z + y * y + x * x <= np.float32(one.radius_mm**2)
    return inside.astype(np.uint8)
