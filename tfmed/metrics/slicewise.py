"""Scores of volumes from 2D features, slice by slice (the protocol of CT-SGAN, Sect. 4.2)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tfmed.metrics.aggregate import mean_and_std
from tfmed.metrics.features import FeatureNet
from tfmed.metrics.generative import frechet_distance, inception_score


def slice_features(volume: ArrayLike, network: FeatureNet) -> tuple[np.ndarray, np.ndarray]:
    """Features `(slices, d)` and class probabilities `(slices, k)` of a volume `(slices, H, W)` in [-1, 1]."""
    return network(np.asarray(volume, np.float32))


def inception_scores(described: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Inception score of each volume over its slices; `(volumes,)`."""
    return np.array([inception_score(probabilities) for _, probabilities in described])


def frechet_distances(
    described: Sequence[tuple[np.ndarray, np.ndarray]],
    reference: Sequence[tuple[np.ndarray, np.ndarray]],
    pairs: int,
    seed: int = 0,
) -> np.ndarray:
    """Frechet distance between the slice sets of two volumes, for random pairs of (volume, reference volume).

    Args:
        described, reference: lists of (features, probabilities), one entry per volume.
        pairs: how many pairs; each is drawn with replacement from the seed.

    Returns:
        `(pairs,)`.
    """
    rng = np.random.default_rng(seed)
    chosen = zip(rng.integers(len(described), size=pairs), rng.integers(len(reference), size=pairs), strict=True)
    return np.array([frechet_distance(described[i][0], reference[j][0]) for i, j in chosen])


def pooled_distance(
    described: Sequence[tuple[np.ndarray, np.ndarray]], reference: Sequence[tuple[np.ndarray, np.ndarray]]
) -> float:
    """Frechet distance between all slices of one set of volumes and all slices of another.

    The distance between two volumes (`frechet_distances`) is mostly the difference between two patients; this one sees
    whether the slices as a whole are alike. Compare it with that of two halves of the real data at the same count.
    """
    return frechet_distance(
        *(np.concatenate([features for features, _ in volumes]) for volumes in (described, reference))
    )


def halves(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint random halves of `count` items, as index arrays."""
    order = np.random.default_rng(seed).permutation(count)
    return order[: count // 2], order[count // 2 :]


def score_row(
    source: str,
    described: Sequence[tuple[np.ndarray, np.ndarray]],
    reference: Sequence[tuple[np.ndarray, np.ndarray]],
    network: FeatureNet,
    pairs: int,
    seed: int = 0,
) -> dict[str, Any]:
    """One row of the table: mean and spread of both scores."""
    scores = inception_scores(described)
    distances = frechet_distances(described, reference, pairs, seed)
    names = network.number("inception"), network.number("frechet")
    row = {"source": source, "volumes": len(described), "pairs": pairs}
    for name, values in zip(names, (scores, distances), strict=True):
        row |= mean_and_std(name, values)
    row[f"{network.number('frechet')} pooled"] = pooled_distance(described, reference)
    return row
