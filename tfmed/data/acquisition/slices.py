"""Which slices or volumes to annotate next: four strategies, as functions of scores. Plain numpy.

A pool is a dict from a case's name to a bool array `(slices,)`: which of its slices are annotated. An answer is a dict
from a case's name to the list of its slices that are asked for, in ascending order.
"""

import collections
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import scipy

DISTANCE = 5  # slices between two candidates of one volume
BOX = 11  # voxels, of the box that dilates a mask


def slice_scores(entropy: np.ndarray) -> np.ndarray:
    """Mean entropy of each slice, float64 `(slices,)`, of a map `(z, y, x)`."""
    return np.asarray(entropy, np.float64).mean(axis=(1, 2))


def volume_score(entropy: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Mean entropy of a map `(z, y, x)` over a mask dilated by a box, so that air beside an organ does not count.

    Args:
        entropy: `(z, y, x)`.
        mask: likewise, bool; None, or an empty one: all voxels.
    """
    if mask is None or not np.any(mask):
        return float(np.mean(entropy, dtype=np.float64))
    near = scipy.ndimage.maximum_filter(np.asarray(mask, np.uint8), BOX, mode="constant").astype(bool)
    return float(np.mean(entropy[near], dtype=np.float64))


def candidates(profile: np.ndarray, annotated: np.ndarray, distance: int = DISTANCE) -> np.ndarray:
    """Local maxima of a profile of slice scores that lie at least `distance` slices apart, higher ones first served.

    As `scipy.signal.find_peaks`: the first and the last slice are none, a plateau's is its middle. Annotated slices
    are lower than all others.
    """
    scores = np.where(annotated, -np.inf, np.asarray(profile, np.float64))
    return scipy.signal.find_peaks(scores, distance=distance)[0]


def uncertain_slices(
    pool: Mapping[str, np.ndarray], profiles: Mapping[str, np.ndarray], count: int, distance: int = DISTANCE
) -> dict[str, list[int]]:
    """USS: of all volumes' candidates the `count` with the highest scores, or all if there are fewer.

    Args:
        pool: see above.
        profiles: name -> scores of its slices.
        count: N_S.
        distance: see `candidates`.
    """
    found = [
        (-float(profiles[name][z]), name, int(z))
        for name in sorted(pool)
        for z in candidates(profiles[name], pool[name], distance)
    ]
    return _gathered((name, z) for _, name, z in sorted(found)[:count])


def random_slices(
    pool: Mapping[str, np.ndarray], shown: Mapping[str, np.ndarray], count: int, draw: np.random.Generator
) -> dict[str, list[int]]:
    """RSS: slices drawn one by one until `count` of them show the organ, or none is left; the others come free.

    Args:
        pool: see above.
        shown: name -> bool array, which of its slices show the organ.
        count: N_S.
        draw: numpy Generator.
    """
    left = [(name, int(z)) for name in sorted(pool) for z in np.flatnonzero(~pool[name])]
    chosen = []
    for i in draw.permutation(len(left)):
        if count <= 0:
            break
        name, z = left[i]
        chosen.append((name, z))
        count -= bool(shown[name][z])
    return _gathered(chosen)


def uncertain_volumes(pool: Mapping[str, np.ndarray], scores: Mapping[str, float], count: int) -> dict[str, list[int]]:
    """UVS: the `count` volumes with the highest scores, of those without any annotation; all their slices.

    Args:
        pool: see above.
        scores: name -> volume score.
        count: k.
    """
    free = [name for name in sorted(pool) if not pool[name].any()]
    return _whole(pool, sorted(free, key=lambda name: -scores[name])[:count])


def random_volumes(pool: Mapping[str, np.ndarray], count: int, draw: np.random.Generator) -> dict[str, list[int]]:
    """RVS: `count` volumes drawn at random, of those without any annotation; all their slices."""
    free = [name for name in sorted(pool) if not pool[name].any()]
    return _whole(pool, [free[i] for i in draw.permutation(len(free))[:count]])


def effort(pool: Mapping[str, np.ndarray], shown: Mapping[str, np.ndarray]) -> dict[str, float]:
    """What the annotations of a pool cost (Section "Annotation effort" of the paper).

    A slice that shows the organ costs 1 where it stands alone and 1/3 in a volume that is annotated as a whole, where
    contours are drawn on every third slice; slices without the organ cost nothing.

    Args:
        pool: see above.
        shown: name -> bool array, which of its slices show the organ; those that are not annotated do not matter.

    Returns:
        {"slices", "liver slices", "patients", "effort"}.
    """
    slices = sum(int(pool[name].sum()) for name in pool)
    organ = {name: int((pool[name] & shown[name]).sum()) for name in pool if pool[name].any()}
    cost = sum(count / 3 if pool[name].all() else count for name, count in organ.items())
    return {"slices": slices, "liver slices": sum(organ.values()), "patients": len(organ), "effort": round(cost, 1)}


def is_query(found: Any) -> bool:
    """Whether a value has the form of a round's record."""
    asked = found.get("asked") if isinstance(found, dict) else None
    return isinstance(asked, dict) and all(
        isinstance(slices, list) and all(type(z) is int and z >= 0 for z in slices) for slices in asked.values()
    )


def is_effort(found: Any) -> bool:
    """Whether a value has the form of the record of what annotations cost."""
    keys = ("slices", "liver slices", "patients", "effort")
    return isinstance(found, dict) and all(isinstance(found.get(key), (int, float)) for key in keys)


def tiles(annotated: np.ndarray, depth: int) -> int:
    """How many windows of `depth` slices cover the annotated ones, from the lowest on."""
    count, end = 0, -1
    for z in np.flatnonzero(annotated):
        if z > end:
            count, end = count + 1, z + depth - 1
    return count


def _gathered(pairs: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    chosen = collections.defaultdict(list)
    for name, z in pairs:
        chosen[name].append(z)
    return {name: sorted(chosen[name]) for name in sorted(chosen)}


def _whole(pool: Mapping[str, np.ndarray], names: Iterable[str]) -> dict[str, list[int]]:
    return {name: list(range(len(pool[name]))) for name in sorted(names)}
