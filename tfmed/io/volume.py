"""Volume: voxels with their geometry."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Volume:
    """An image in space.

    Args:
        array: voxels, shape `(z, y, x)` or `(z, y, x, channel)`, any real dtype.
        affine: float64 `(4, 4)`; maps a voxel's column `(x, y, z, 1)` (note the order: the reverse of the array's)
            to millimetres in RAS+ world space, as nibabel's affines do.

    Raises:
        ValueError: the array is not 3-D (+ channel), or the affine is not finite and invertible.

    Example:
        >>> volume = Volume(np.zeros((40, 64, 64), "int16"), np.diag([0.8, 0.8, 3.0, 1.0]))
        >>> volume.spacing
        (3.0, 0.8, 0.8)
    """

    array: np.ndarray
    affine: np.ndarray

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if self.array.ndim not in (3, 4):
            raise ValueError(f"a Volume's array has axes (z, y, x[, channel]); got shape {self.array.shape}")
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError("a Volume's affine is a finite 4 x 4 matrix")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise ValueError("a Volume's affine must be invertible")
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The spatial shape `(z, y, x)`."""
        z, y, x = self.array.shape[:3]
        return z, y, x

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along the array's axes `(z, y, x)`."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(z), float(y), float(x)

    def replace(self, array: np.ndarray | None = None, affine: np.ndarray | None = None) -> "Volume":
        """The same volume with another array and/or affine."""
        return Volume(self.array if array is None else array, self.affine if affine is None else affine)
