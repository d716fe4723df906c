"""Which way a volume's axes run, and turning them without touching a voxel's value or place in the world."""

import numpy as np
from nibabel.orientations import (
    aff2axcodes,
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from tfmed.errors import UserError
from tfmed.io.volume import Volume


def orientation(volume: Volume) -> str:
    """The anatomical directions towards which x, y and z grow, such as "RAS" or "LPS" (x is the array's last axis).

    Example:
        >>> orientation(Volume(np.zeros((2, 3, 4)), np.diag([-1.0, -1.0, 1.0, 1.0])))
        'LPS'
    """
    return "".join(aff2axcodes(volume.affine))


def reorient(volume: Volume, codes: str = "RAS") -> Volume:
    """The same voxels with their axes permuted and flipped so that they run towards `codes`; nothing is resampled.

    Args:
        volume: a Volume, array `(z, y, x)` or `(z, y, x, channel)`.
        codes: three letters for x, y, z, one of each pair R/L, A/P, S/I.

    Raises:
        UserError: `codes` is not such a triple.

    Example:
        >>> volume = Volume(np.arange(4).reshape(1, 1, 4), np.diag([-1.0, -1.0, 1.0, 1.0]))
        >>> reorient(volume, "RAS").array.tolist()
        [[[3, 2, 1, 0]]]
    """
    if len(codes) != 3 or not all(sum(code in pair for code in codes) == 1 for pair in ("RL", "AP", "SI")):
        raise UserError(f"orientation {codes!r} is unknown; give one letter of each pair R/L, A/P, S/I, such as RAS")
    turn = ornt_transform(io_orientation(volume.affine), axcodes2ornt(codes))
    spatial = _swapped(volume.array)
    array = np.ascontiguousarray(_swapped(apply_orientation(spatial, turn)))
    return Volume(array, volume.affine @ inv_ornt_aff(turn, spatial.shape[:3]))


def _swapped(array: np.ndarray) -> np.ndarray:
    """(z, y, x, ...) <-> (x, y, z, ...)"""
    return np.swapaxes(array, 0, 2)
