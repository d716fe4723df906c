"""Is a generator a copier, or of one idea? Similarity of every image to its nearest one in another set."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tfmed.metrics.ms_ssim import ms_ssim, pyramid_for


@dataclasses.dataclass(frozen=True)
class Nearest:
    """Of every image: the greatest similarity to another, `(n,)`, and which one that is, `(n,)`."""

    similarity: np.ndarray
    index: np.ndarray


@dataclasses.dataclass(frozen=True)
class Similarities:
    """Synthetic to synthetic, synthetic to real, and real to real images, each a Nearest; self-pairs never count.

    Among more images the nearest one is nearer. Where the real images that s_r looks through are more than those of
    s_s and r_r, r_all is that of real images to all of these; it is what s_r is to be compared with.
    """

    s_s: Nearest
    s_r: Nearest
    r_r: Nearest
    r_all: Nearest | None = None

    def by_sets(self) -> dict[str, Nearest]:
        """{"S_S", "S_R", "R_R", and where there is one "R_all"} -> Nearest."""
        found = {"S_S": self.s_s, "S_R": self.s_r, "R_R": self.r_r, "R_all": self.r_all}
        return {name: nearest for name, nearest in found.items() if nearest is not None}

    def medians(self) -> dict[str, float]:
        """The names of `parts` -> median similarity."""
        return {name: float(np.median(nearest.similarity)) for name, nearest in self.by_sets().items()}


def nearest(
    images: np.ndarray,
    others: np.ndarray | None = None,
    value_range: tuple[float, float] = (0.0, 1.0),
    measure: Any = None,
    chosen: ArrayLike | None = None,
    **options: Any,
) -> Nearest:
    """MS-SSIM of every image to the most similar of the others; without others, to the most similar of the rest.

    Pairs are compared block by block: memory does not grow with the number of images, time with the number of pairs.

    Args:
        images, others: `(n, H, W)` and `(m, H, W)` (or volumes), arrays or memory maps.
        value_range: lowest and highest value that images may have.
        chosen: `(k,)` numbers of the images whose nearest is looked for, among all of the others or of the rest; the
            result is of length k. None: every image.
        measure: instead of MS-SSIM: an object with `batch`, `read(images)` and `all_pairs(a, b)`, as
            `tfmed.metrics.ms_ssim.Pyramid` has them.
        options: of the Pyramid.

    Raises:
        ValueError: nothing to compare with, other shapes, values out of range, images too small.
    """
    alone = others is None
    others = images if others is None else others
    if len(others) < 1 + alone:
        raise ValueError(f"{len(others)} images are too few to look for the nearest among; give at least {1 + alone}")
    if np.shape(images)[1:] != np.shape(others)[1:]:
        raise ValueError(f"images {np.shape(images)[1:]} and {np.shape(others)[1:]} differ in shape; resize one set")
    measure = measure or pyramid_for(np.shape(images)[1:], value_range, **options)
    side = max(1, int(np.sqrt(measure.batch)))
    if chosen is not None:
        chosen = np.asarray(chosen, int)
        return _nearest_of_chosen(images, others, measure, side, chosen, alone)
    best = Nearest(np.full(len(images), -np.inf), np.zeros(len(images), int))
    for i in range(0, len(images), side):
        rows = _block(measure, images, i, side)
        for j in range(i if alone else 0, len(others), side):
            found = np.array(measure.all_pairs(rows, _block(measure, others, j, side)), np.float64)
            found = found[: len(images) - i, : len(others) - j]
            if alone and i == j:
                np.fill_diagonal(found, -np.inf)
            _improve(best, i, j, found)
            if alone and i != j:
                _improve(best, j, i, found.T)
    return best


def _nearest_of_chosen(
    images: np.ndarray, others: np.ndarray, measure: Any, side: int, chosen: np.ndarray, alone: bool
) -> Nearest:
    """`nearest` of some images alone; `alone`: they are among the others, at their own numbers, and do not count."""
    best = Nearest(np.full(len(chosen), -np.inf), np.zeros(len(chosen), int))
    queries = images[chosen]
    for i in range(0, len(chosen), side):
        rows, numbers = _block(measure, queries, i, side), chosen[i : i + side]
        for j in range(0, len(others), side):
            found = np.array(measure.all_pairs(rows, _block(measure, others, j, side)), np.float64)
            found = found[: len(numbers), : len(others) - j]
            if alone:
                found[numbers[:, None] == np.arange(j, j + found.shape[1])] = -np.inf
            _improve(best, i, j, found)
    return best


def _block(measure: Any, images: np.ndarray, start: int, side: int) -> np.ndarray:
    """A block of always `side` images; the last one is filled up, because functions are compiled for one size."""
    block = measure.read(images[start : start + side])
    return np.pad(block, [(0, side - len(block))] + [(0, 0)] * (block.ndim - 1), mode="edge")


def _improve(best: Nearest, i: int, j: int, found: np.ndarray) -> None:
    rows = slice(i, i + len(found))
    index, similarity = found.argmax(axis=1), found.max(axis=1)
    better = similarity > best.similarity[rows]
    best.index[rows][better] = index[better] + j
    best.similarity[rows][better] = similarity[better]


def similarities(synthetic: np.ndarray, real: np.ndarray, **options: Any) -> Similarities:
    """The three distributions of the nearest similarity, as Similarities; options as in `nearest`."""
    return Similarities(nearest(synthetic, **options), nearest(synthetic, real, **options), nearest(real, **options))


def flags(found: Similarities, copy: float = 0.99, level: float | None = 0.01) -> dict[str, bool]:
    """{"memorised", "collapsed"} -> bool, from Similarities. They warn; they do not rank.

    Memorised: synthetic images are nearer to real ones than these to each other, or one is almost a copy. Collapsed:
    synthetic images are nearer to each other than real ones are.

    Args:
        copy: similarity from which an image counts as a copy.
        level: of a one-sided Mann-Whitney test of "nearer". None: medians are compared, which flags a perfect generator
            every other time; equal ones count as memorised, and not as collapsed.
    """
    s_s, s_r, r_r = (nearest.similarity for nearest in (found.s_s, found.s_r, found.r_r))
    r_all = r_r if found.r_all is None else found.r_all.similarity
    return {
        "memorised": bool(_nearer(s_r, r_all, level, equal=True) or (s_r > copy).any()),
        "collapsed": bool(_nearer(s_s, r_r, level)),
    }


def _nearer(one: np.ndarray, other: np.ndarray, level: float | None, equal: bool = False) -> bool:
    """Whether one set is nearer than another; `equal`: without a level equal medians are enough."""
    if level is None:
        return np.median(one) > np.median(other) or (equal and np.median(one) == np.median(other))
    from scipy.stats import mannwhitneyu

    return np.median(one) > np.median(other) and mannwhitneyu(one, other, alternative="greater").pvalue < level


def mean_similarity(images: np.ndarray, pairs: int = 1000, seed: int = 0, **options: Any) -> float:
    """Mean MS-SSIM of random pairs (the diversity score of Odena et al. 2017, lower is more diverse).

    Args:
        images: `(n, H, W)` or volumes, at least two.
        pairs: drawn with replacement from the seed, never an image with itself.
        options: of `ms_ssim`.
    """
    if len(images) < 2:
        raise ValueError(f"{len(images)} images make no pair; give at least two")
    rng = np.random.default_rng(seed)
    first = rng.integers(len(images), size=pairs)
    second = (first + rng.integers(1, len(images), size=pairs)) % len(images)
    scores = [ms_ssim(images[first[i : i + 256]], images[second[i : i + 256]], **options) for i in range(0, pairs, 256)]
    return float(np.concatenate(scores).mean())
