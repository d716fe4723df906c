"""Lesions as spheres: two clicks, at the neck and at the dome, in place of an outline drawn voxel by voxel.

A sphere lies in the world, in mm, not on a grid: it stays true when an image is resampled, and whether a point lies in
it is known exactly, so that the label of a rotated, shifted or distorted patch is computed and never interpolated.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io.errors import ImageIntegrityError
from tfmed.io.tables import read_rows
from tfmed.metrics import lesions

_SAME_MM = 1e-3  # clicks as near as that are one
_CLICKS = ("case", "neck_x", "neck_y", "neck_z", "dome_x", "dome_y", "dome_z")


@dataclasses.dataclass(frozen=True)
class Sphere:
    """A sphere in the world.

    Args:
        centre_mm: RAS (x, y, z).
        radius_mm: its radius.
    """

    centre_mm: tuple[float, ...]
    radius_mm: float

    def centre_zyx(self, affine: np.ndarray) -> np.ndarray:
        """The centre in fractional voxels (z, y, x) of a grid."""
        return (np.linalg.inv(affine) @ [*self.centre_mm, 1.0])[2::-1]


def to_mm(zyx: Sequence[float], affine: np.ndarray) -> np.ndarray:
    """RAS (x, y, z) in mm of a point in voxels (z, y, x; fractions allowed) of a grid."""
    z, y, x = (float(v) for v in zyx)
    return (np.asarray(affine, np.float64) @ [x, y, z, 1.0])[:3]


# --- from annotations -------------------------------------------------------------------------------------------------


def from_clicks(neck_mm: ArrayLike, dome_mm: ArrayLike, what: str = "lesion") -> Sphere:
    """The sphere with two points at the ends of a diameter.

    Args:
        neck_mm, dome_mm: RAS (x, y, z) of the middle of the neck and of the farthest point of the dome.
        what: how an error begins.

    Raises:
        DataError: both points are one, or a coordinate is no finite number.

    Example:
        >>> from_clicks((0, 0, 0), (0, 0, 4))
        Sphere(centre_mm=(0.0, 0.0, 2.0), radius_mm=2.0)
    """
    neck, dome = (np.asarray(point, np.float64) for point in (neck_mm, dome_mm))
    if neck.shape != (3,) or dome.shape != (3,) or not np.isfinite([neck, dome]).all():
        raise DataError(f"{what}: a click is three numbers x, y, z in mm; got {neck.tolist()} and {dome.tolist()}")
    diameter = float(np.linalg.norm(neck - dome))
    if diameter < _SAME_MM:
        raise DataError(
            f"{what}: both clicks lie at {_text(neck)} mm; click once at the neck and once at the farthest point of "
            "the dome"
        )
    return Sphere(tuple(float(v) for v in (neck + dome) / 2), diameter / 2)


def from_voxel_clicks(
    neck_zyx: Sequence[float], dome_zyx: Sequence[float], affine: np.ndarray, what: str = "lesion"
) -> Sphere:
    """`from_clicks` of two points in voxels (z, y, x; fractions allowed) of a grid whose voxels need not be cubes."""
    return from_clicks(to_mm(neck_zyx, affine), to_mm(dome_zyx, affine), what)


def check_within(spheres: Iterable[Sphere], shape: Sequence[int], affine: np.ndarray, what: str) -> None:
    """DataError if the centre of a sphere lies outside of a volume; what reaches over the border is allowed.

    Args:
        shape: (z, y, x) of the volume.
        affine: its affine.
        what: how the error begins.
    """
    for sphere in spheres:
        centre = sphere.centre_zyx(affine)
        if (centre < -0.5).any() or (centre > np.asarray(shape) - 0.5).any():
            raise DataError(
                f"{what}: a lesion lies at voxel {_text(centre)} (z, y, x), outside of the image of {tuple(shape)} "
                "voxels; give RAS millimetres (x, y, z) of this very image"
            )


def from_mask(mask: np.ndarray, affine: np.ndarray) -> list[Sphere]:
    """A sphere for each component (26 neighbours) of a mask `(z, y, x)`: its centre of mass and its volume.

    Args:
        affine: of the mask, voxels (x, y, z, 1) to mm in RAS.
    """
    spacing = np.linalg.norm(np.asarray(affine, np.float64)[:3, :3], axis=0)[::-1]
    places = zip(lesions.centres(mask), lesions.equivalent_diameters(mask, spacing), strict=True)
    return [Sphere(tuple(float(v) for v in to_mm(at, affine)), float(size) / 2) for at, size in places]


def read_clicks(path: PathLike) -> dict[str, list[Sphere]]:
    """{case: its lesions} of a table of clicks, a line per lesion.

    Columns `case`, `neck_x`, `neck_y`, `neck_z`, `dome_x`, `dome_y`, `dome_z`, in mm (RAS), as `from_clicks` takes
    them; further columns are left alone.

    Raises:
        DataError: the table cannot be read, has other columns, or a line (it is named) tells no sphere.
    """
    try:
        columns, rows = read_rows(path)
    except ImageIntegrityError as error:
        raise DataError(str(error)) from None
    if missing := [name for name in _CLICKS if name not in columns]:
        raise DataError(f"{path}: has no column {missing[0]}; its first line must name {', '.join(_CLICKS)}")
    found: dict[str, list[Sphere]] = {}
    for number, cells in rows:
        where, row = f"{path}:{number}", dict(zip(columns, cells, strict=False))
        try:
            point = [float(row[name]) for name in _CLICKS[1:]]
        except (KeyError, ValueError):
            raise DataError(f"{where}: a coordinate is no number; give six in mm") from None
        found.setdefault(row["case"], []).append(from_clicks(point[:3], point[3:], where))
    return found


# --- to voxels --------------------------------------------------------------------------------------------------------


def contains(spheres: Sequence[Sphere], points_mm: ArrayLike) -> np.ndarray:
    """Whether each point lies in a sphere, its surface included: bool `(...)` of RAS points `(..., 3)`."""
    points = np.asarray(points_mm, np.float64)
    inside = np.zeros(points.shape[:-1], bool)
    for sphere in spheres:
        away = points - sphere.centre_mm
        inside |= np.einsum("...k,...k", away, away) <= sphere.radius_mm**2
    return inside


def draw(spheres: Sequence[Sphere], shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """Label map of spheres: voxels whose centre lies in sphere k hold k + 1, uint8 `(z, y, x)` (uint16 beyond 255).

    What reaches over the border is cut off. A sphere that is so small, or lies so, that it holds no voxel's centre
    takes the voxel nearest to its own, as a lesion without voxels would be lost without a word. Where spheres overlap,
    voxels are of the later one.

    Args:
        shape: (z, y, x).
        affine: voxels (x, y, z, 1) to mm in RAS; axes may be oblique and voxels of any size.

    Example:
        >>> mask = draw([Sphere((2.0, 0.0, 0.0), 1.0)], (1, 1, 5), np.eye(4))
        >>> mask[0, 0].tolist()
        [0, 1, 1, 1, 0]
    """
    affine = np.asarray(affine, np.float64)
    labels = np.zeros(shape, np.uint8 if len(spheres) < 256 else np.uint16)
    # A ball's extent along a voxel axis is the length of that row of the inverse: exact for oblique grids as well.
    reach = np.linalg.norm(np.linalg.inv(affine[:3, :3]), axis=1)[::-1]
    for number, sphere in enumerate(spheres, 1):
        centre = sphere.centre_zyx(affine)
        first = np.clip(np.ceil(centre - sphere.radius_mm * reach - 1e-9), 0, shape).astype(int)
        end = np.clip(np.floor(centre + sphere.radius_mm * reach + 1e-9) + 1, first, shape).astype(int)
        box = tuple(slice(a, b) for a, b in zip(first, end, strict=True))
        z, y, x = (np.arange(a, b) - c for a, b, c in zip(first, end, centre, strict=True))
        away = (
            x[:, None] * affine[:3, 0]
            + y[:, None, None] * affine[:3, 1]
            + z[:, None, None, None] * affine[:3, 2]
        )  # fmt: skip
        # A millionth of slack: a voxel's centre on the surface is inside, whatever the rounding.
        inside = np.einsum("zyxk,zyxk->zyx", away, away) <= (sphere.radius_mm * (1 + 1e-6)) ** 2
        labels[box][inside] = number
        if not inside.any():
            nearest = np.floor(centre + 0.5).astype(int)
            if ((nearest >= 0) & (nearest < np.asarray(shape))).all():
                labels[tuple(nearest)] = number
    return labels


def _text(point: np.ndarray) -> str:
    return ", ".join(f"{value:.1f}" for value in point)
