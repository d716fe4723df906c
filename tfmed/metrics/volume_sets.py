"""Scores of sets of volumes (Hong et al. 2021, Table 2): bMMD^2, MS-SSIM, Frechet distances of middle slices."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfmed.errors import DataError
from tfmed.metrics.aggregate import mean_and_std
from tfmed.metrics.features import FeatureNet
from tfmed.metrics.generative import batch_mmd, frechet_distance
from tfmed.metrics.ms_ssim import ms_ssim

_BATCH = 8  # volumes of a bMMD^2, as in the authors' code
_DRAWS = 20  # batches, and pairs of an MS-SSIM


def row(
    source: str, volumes: Sequence[np.ndarray], reference: Sequence[np.ndarray], network: FeatureNet, seed: int = 0
) -> dict[str, Any]:
    """One row of the table.

    Args:
        source: what the row is called.
        volumes, reference: lists of `(z, y, x)` in [0, 1] and RAS.
        network: FeatureNet of the slices.
        seed: of the choice of batches and pairs.

    Raises:
        DataError: fewer than two volumes.
    """
    if min(len(volumes), len(reference)) < 2:
        raise DataError("fewer than two volumes to compare with; enlarge data.split.test")
    rng = np.random.default_rng(seed)
    found: dict[str, Any] = {"source": source, "volumes": len(volumes), "draws": _DRAWS}
    found |= mean_and_std("bMMD2", batch_distances(volumes, reference, rng))
    found |= mean_and_std("MS-SSIM", pair_similarities(volumes, rng))
    for plane in ("sagittal", "axial", "coronal"):
        features = [network(middle_slices(x, plane) * 2.0 - 1.0)[0] for x in (volumes, reference)]
        found[f"{network.number('frechet')} {plane}"] = frechet_distance(*features)
    return found


def batch_distances(
    volumes: Sequence[np.ndarray], reference: Sequence[np.ndarray], rng: np.random.Generator
) -> list[float]:
    """bMMD^2 of random batches, on values in [-1, 1]; where there are few volumes, of half of them."""
    size = max(1, min(_BATCH, len(volumes) // 2, len(reference) // 2))

    def draw(volumes: Sequence[np.ndarray]) -> np.ndarray:
        chosen = rng.permutation(len(volumes))[:size]
        return np.stack([volumes[i] for i in chosen]) * 2.0 - 1.0

    return [batch_mmd(draw(volumes), draw(reference)) for _ in range(_DRAWS)]


def pair_similarities(volumes: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """MS-SSIM of random pairs of different volumes: the lower, the more diverse."""
    pairs = [rng.permutation(len(volumes))[:2] for _ in range(_DRAWS)]
    first, second = (np.stack([volumes[pair[i]] for pair in pairs]) for i in range(2))
    return ms_ssim(first, second, shrink_window=True)


def middle_slices(volumes: Sequence[np.ndarray], plane: str) -> np.ndarray:
    """The middle slice of each volume `(n, height, width)`."""
    axis = ("axial", "coronal", "sagittal").index(plane)
    return np.stack([np.take(volume, volume.shape[axis] // 2, axis) for volume in volumes])
