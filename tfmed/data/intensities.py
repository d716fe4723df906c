"""How bright an organ is: percentiles, mean and deviation of the voxels under its masks (nnU-Net's rule for CT)."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from tfmed.errors import DataError


@dataclasses.dataclass(frozen=True)
class Intensities:
    """Of the pooled voxels, in the images' unit (HU for CT).

    Args:
        low, high: 0.5 and 99.5 percentile.
        mean, deviation: of all of them.
    """

    low: float
    high: float
    mean: float
    deviation: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Intensities":
        """Of an array of any shape that is not empty."""
        values = np.asarray(values, np.float64)
        low, high = np.percentile(values, (0.5, 99.5))
        return cls(float(low), float(high), float(values.mean()), float(values.std()))


def foreground_intensities(pairs: Iterable[tuple[np.ndarray, np.ndarray]], most: int = 1_000_000) -> Intensities:
    """The Intensities of the voxels under masks, all images together.

    Args:
        pairs: (image, mask) of each case, of one shape; a mask is where it is not 0.
        most: voxels of a case that are looked at; of more every k-th.

    Raises:
        DataError: all masks are empty, or all voxels under them are one value.
    """
    found = []
    for image, mask in pairs:
        places = np.flatnonzero(mask)
        found.append(np.asarray(image).reshape(-1)[places[:: max(1, -(-len(places) // most))]])
    values = np.concatenate(found) if found else np.zeros(0)
    if not values.size:
        raise DataError("the masks from which image values are measured are all empty; check the labels")
    measured = Intensities.of(values)
    if measured.low >= measured.high or measured.deviation <= 0:
        raise DataError(
            f"all voxels under the masks are {measured.low:g}; check that images and labels belong together"
        )
    return measured
