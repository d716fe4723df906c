"""Geometry: what a header tells before any voxel is read, and the checks that every reader shares."""

import dataclasses
import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tfmed.files import PathLike
from tfmed.io.errors import damage
from tfmed.io.volume import Volume

# Of control groups, version 2 and 1; without a limit they say "max", or a number beyond any memory.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")

# Anisotropic voxels reach a condition number of about 1e4; beyond this limit float32 headers cannot be inverted.
WORST_CONDITION = 1e7
# What no scanner makes, in mm: beyond, products of lengths overflow, or places cannot be told from one another.
SMALLEST, LARGEST, FARTHEST = 1e-7, 1e4, 1e9


@dataclasses.dataclass(frozen=True)
class Geometry:
    """What `read_volume` would return, without its voxels.

    Args:
        shape: of the array, `(z, y, x)` or `(z, y, x, channel)`.
        affine: float64 `(4, 4)`, voxel `(x, y, z, 1)` to millimetres in RAS+.
        dtype: numpy dtype of the array.
    """

    shape: tuple[int, ...]
    affine: np.ndarray
    dtype: np.dtype

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along `(z, y, x)`."""
        z, y, x = spacing_of(self.affine)
        return float(z), float(y), float(x)


def spacing_of(affine: ArrayLike) -> np.ndarray:
    """Voxel size in mm along `(z, y, x)` of an affine, float64 `(3,)`."""
    return np.linalg.norm(np.asarray(affine, np.float64)[:3, :3], axis=0)[::-1]


def check_affine(affine: ArrayLike, path: PathLike) -> np.ndarray:
    """`affine` as float64, or the error that names `path` where it is not finite and invertible."""
    affine = np.asarray(affine, np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise damage(path, "the affine in its header has values that are not finite", "repair the header's geometry")
    with np.errstate(all="ignore"):
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        invertible = sizes.min() > 0 and np.linalg.cond(affine[:3, :3]) < WORST_CONDITION
    farthest = np.abs(affine[:3, 3]).max()
    if sizes.min() > 0 and not SMALLEST <= sizes.min() <= sizes.max() <= LARGEST:
        shown = " x ".join(f"{size:g}" for size in sizes)
        raise damage(path, f"its voxels are said to be {shown} mm large", "repair the header's geometry")
    if farthest > FARTHEST:
        raise damage(path, f"its first voxel is said to lie {farthest:g} mm away", "repair the header's geometry")
    if not invertible:
        raise damage(path, "the affine in its header cannot be inverted", "repair the header's geometry")
    return affine


def corner_distance(shape: tuple[int, ...], affine: np.ndarray, other: np.ndarray) -> float:
    """How far the corners of a grid lie apart under two affines: the greatest distance in voxels of the first.

    Args:
        shape: `(z, y, x)`.
        affine, other: float `(4, 4)`, as of a Volume.
    """
    ends = np.array(np.meshgrid(*[(-0.5, size - 0.5) for size in shape[2::-1]], indexing="ij")).reshape(3, -1)
    corners = np.vstack([ends, np.ones(ends.shape[1])])
    moved = np.linalg.solve(affine, other @ corners)
    return float(np.linalg.norm(moved[:3] - ends, axis=0).max())


def same_grid(volume: Any, other: Any, tolerance: float = 0.1) -> bool:
    """Whether two grids are one: equal shapes, and no corner further apart than `tolerance` voxels.

    Args:
        volume, other: a Volume, a Geometry, or another thing with `shape` and `affine`.

    Example:
        >>> volume = Volume(np.zeros((4, 4, 4)), np.eye(4))
        >>> same_grid(volume, volume), same_grid(volume, volume.replace(affine=np.diag([2.0, 2.0, 2.0, 1.0])))
        (True, False)
    """
    if volume.shape[:3] != other.shape[:3]:
        return False
    return corner_distance(volume.shape, volume.affine, other.affine) <= tolerance


def difference_of_grids(volume: Any, other: Any) -> str:
    """In words for an error what keeps two grids from being one."""
    if volume.shape[:3] != other.shape[:3]:
        return f"its shape {volume.shape[:3]} is not the {other.shape[:3]} of"
    distance = corner_distance(volume.shape, volume.affine, other.affine)
    return f"its corners lie up to {distance:.2g} voxels away from those of"


def machine_memory() -> int:
    """Bytes of this machine's memory, or of the part of it that a container may use."""
    limits = [int(text) for text in map(_text, _LIMITS) if text.isdecimal()]
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *limits])


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii") as stream:
            return stream.read().strip()
    except (OSError, ValueError):
        return ""


def check_memory(count: int, path: PathLike) -> None:
    """Refuse `count` bytes of voxels where the machine has less memory than that, before anything is allocated."""
    if count > machine_memory():
        raise damage(path, f"its header announces {count / 2**30:.0f} GiB of voxels, more than this machine's memory",
                     "check the header, or crop the image on a larger machine")  # fmt: skip


def allocate(count: int, path: PathLike) -> np.ndarray:
    """An uninitialised writable uint8 array of `count` bytes."""
    check_memory(count, path)
    try:
        return np.empty(count, np.uint8)
    except MemoryError:
        raise damage(path, f"there is no memory for its {count / 2**30:.1f} GiB of voxels", "crop the image") from None


def volume_of(array: np.ndarray, affine: ArrayLike, path: PathLike) -> Volume:
    """A Volume whose faults are told as the file's."""
    return Volume(array, check_affine(affine, path))
