"""Were lesions found? Matching by lesion, sensitivity against false positives per case (FROC), classes of size.

Two rules tell whether a prediction hits a lesion. `match` takes masks: the centre of mass of a predicted component
lies in a component of the reference. `match_points` takes places: within a lesion's radius, in mm, of its centre, as
the ADAM challenge scores (Timmins et al. 2021). By both several hits of one lesion count once, and none of them is a
false positive.

Components are found among the voxels of a mask alone, as a graph whose edges join neighbours: rare small lesions in
large volumes cost one look at the volume, and then as much as they have voxels. All thresholds share the graph.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike

from tfmed.metrics.segmentation import as_mask

OPERATING_POINTS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # false positives per case (van Ginneken et al. 2010)
_MOST_IN_GRAPH = 1 << 19  # voxels; beyond, all of the volume is labelled once for each threshold
_TABLE = 128  # voxels of a volume for each one of its mask up to which a table of all of them is worth its memory


@dataclasses.dataclass(frozen=True, eq=False)
class Match:
    """Predictions and lesions of one case.

    Args:
        hits: bool `(predictions, lesions)`, which prediction hits which lesion.
        ignored: bool `(predictions,)`, predictions that are not counted where they hit nothing.
    """

    hits: np.ndarray
    ignored: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """Which lesions were found: bool `(lesions,)`."""
        return self.hits.any(0)

    @property
    def lesions(self) -> int:
        """Number of lesions."""
        return self.hits.shape[1]

    @property
    def tp(self) -> int:
        """Lesions found; several hits of one count once."""
        return int(self.found.sum())

    @property
    def fn(self) -> int:
        """Lesions missed."""
        return self.lesions - self.tp

    @property
    def false(self) -> np.ndarray:
        """Which predictions are false positives: bool `(predictions,)`."""
        return ~self.hits.any(1) & ~self.ignored

    @property
    def fp(self) -> int:
        """Predictions that hit nothing."""
        return int(self.false.sum())

    @property
    def sensitivity(self) -> float:
        """Share of the lesions that were found; nan without lesions."""
        return self.tp / self.lesions if self.lesions else float("nan")


# --- one case ---------------------------------------------------------------------------------------------------------


def match(prediction: ArrayLike, reference: ArrayLike, connectivity: int | None = None) -> Match:
    """Components of a predicted mask against those of the reference: hit where the centre of mass lies in a lesion.

    The centre is rounded to the nearest voxel, halves up. Of a bent component it may lie outside of all of its voxels;
    it counts as it lies.

    Args:
        prediction, reference: masks of one shape, of any number of axes.
        connectivity: voxels are neighbours that differ along at most so many axes: 1 by faces, in volumes 2 by edges
            and 3 by corners (26 neighbours). Default: all axes.

    Raises:
        ValueError: different shapes, values other than 0 and 1, or a connectivity that is none.

    Example:
        >>> found = match([1, 1, 0, 0, 0, 1, 0], [1, 1, 0, 1, 0, 0, 0])
        >>> found.tp, found.fp, found.fn
        (1, 1, 1)
    """
    levels, lesions = _levels(prediction, None), _Components.of(as_mask(reference, "reference"), connectivity)
    _same_shape(levels.shape, lesions.shape)
    return next(_matches(levels, 1, lesions, connectivity))


def match_points(
    points: ArrayLike, centres: ArrayLike, radii: ArrayLike, ignored: ArrayLike | None = None
) -> Match:  # fmt: skip
    """Predicted places against lesions: hit where a place lies within a lesion's radius of its centre (ADAM, task 1).

    Args:
        points: `(predictions, 3)` in mm.
        centres: `(lesions, 3)` in mm, of the same axes.
        radii: `(lesions,)` mm, the largest radius of each.
        ignored: bool `(predictions,)`, predictions that are no false positives in any case: those in treated aneurysms.

    Raises:
        ValueError: shapes that do not fit, a radius that is negative, or values that are not finite.

    Example:
        >>> match_points([[0, 0, 1], [0, 0, 9]], centres=[[0, 0, 0]], radii=[2]).fp
        1
    """
    at, lesions = (_points(values, name) for values, name in ((points, "points"), (centres, "centres")))
    sizes = np.asarray(radii, np.float64).reshape(-1)
    if len(sizes) != len(lesions) or not np.isfinite(sizes).all() or (sizes < 0).any():
        raise ValueError(f"radii: {len(lesions)} centres need as many radii, finite and not negative; got {sizes}")
    aside = np.zeros(len(at), bool) if ignored is None else np.asarray(ignored, bool)
    if aside.shape != (len(at),):
        raise ValueError(f"ignored: {len(at)} points need as many; got shape {aside.shape}")
    away = np.linalg.norm(at[:, None] - lesions[None], axis=-1)
    return Match(away <= sizes, aside)


def centres(mask: ArrayLike, connectivity: int | None = None) -> np.ndarray:
    """Centres of mass of a mask's components in voxels, `(components, axes)` float64, in the order of their first
    voxels.

    Example:
        >>> centres([[1, 1, 0], [0, 0, 0], [0, 0, 1]]).tolist()
        [[0.0, 0.5], [2.0, 2.0]]
    """
    return _Components.of(as_mask(mask), connectivity).centres()


def numbered(mask: ArrayLike, connectivity: int | None = None) -> np.ndarray:
    """A mask's components as a label map, int32 of its shape: numbers from 1 in the order of `centres`.

    Example:
        >>> numbered([1, 1, 0, 1]).tolist()
        [1, 1, 0, 2]
    """
    found = _Components.of(as_mask(mask), connectivity)
    labels = np.zeros(found.shape, np.int32)
    labels.reshape(-1)[found.places] = found.labels + 1
    return labels


def greatest(mask: ArrayLike, values: ArrayLike, connectivity: int | None = None) -> np.ndarray:
    """The greatest value within each of a mask's components, float64 `(components,)`, in the order of `centres`.

    Args:
        mask: of any number of axes.
        values: of its shape, such as the probabilities that the mask was made of.

    Example:
        >>> greatest([1, 1, 0, 1], [0.6, 0.9, 0.4, 0.7]).tolist()
        [0.9, 0.7]
    """
    found, values = _Components.of(as_mask(mask), connectivity), np.asarray(values)
    _same_shape(values.shape, found.shape)
    most = np.full(found.count, -np.inf)
    np.maximum.at(most, found.labels, values.reshape(-1)[found.places])
    return most


def equivalent_diameters(mask: ArrayLike, spacing: Sequence[float], connectivity: int | None = None) -> np.ndarray:
    """Diameter in mm of the sphere (in a slice: the disc) of each component's size, `(components,)`, in the order of
    `centres`.

    Args:
        mask: `(z, y, x)` or `(y, x)`.
        spacing: voxel size in mm along these axes.

    Example:
        >>> float(equivalent_diameters(np.ones((4, 4)), (1.0, 1.0))[0].round(3))  # 16 = pi d^2 / 4
        4.514
    """
    found = _Components.of(as_mask(mask), connectivity)
    if len(found.shape) not in (2, 3) or len(spacing) != len(found.shape):
        raise ValueError(f"spacing: a mask of {len(found.shape)} axes needs as many voxel sizes, 2 or 3; got {spacing}")
    volumes = found.sizes() * float(np.prod(spacing))
    return 2 * np.sqrt(volumes / np.pi) if len(spacing) == 2 else np.cbrt(6 * volumes / np.pi)


# --- many cases -------------------------------------------------------------------------------------------------------


def sensitivity(matches: Iterable[Match], pooled: bool = False) -> float:
    """Mean over cases of the share of lesions found, cases without lesions left out; nan if there are none.

    Args:
        pooled: the share of all lesions of all cases together instead, which cases with many lesions weigh more in.
    """
    matches = [one for one in matches if one.lesions]
    if not matches:
        return float("nan")
    if pooled:
        return sum(one.tp for one in matches) / sum(one.lesions for one in matches)
    return float(np.mean([one.sensitivity for one in matches]))


def false_positives_per_case(matches: Iterable[Match]) -> float:
    """Mean number of false positives over all cases, those without lesions among them; nan without cases."""
    counts = [one.fp for one in matches]
    return float(np.mean(counts)) if counts else float("nan")


@dataclasses.dataclass(frozen=True)
class SizeClass:
    """Lesions of diameters from `low` up to, but not with, `high` mm: how many, and how many were found."""

    low: float
    high: float
    lesions: int
    found: int

    @property
    def sensitivity(self) -> float:
        """Share found; nan without lesions."""
        return self.found / self.lesions if self.lesions else float("nan")


def by_size(
    matches: Sequence[Match], diameters: Sequence[ArrayLike], edges: Sequence[float] = (3.0, 5.0)
) -> list[SizeClass]:
    """Lesions of all cases by classes of diameter, pooled.

    Args:
        matches: of each case.
        diameters: of each case, `(lesions,)` mm in the order of the match, as `equivalent_diameters` of the reference.
        edges: rising diameters between classes in mm; n edges make n + 1 classes.

    Raises:
        ValueError: numbers of cases or of lesions differ, or edges do not rise.
    """
    sizes = [np.asarray(values, np.float64).reshape(-1) for values in diameters]
    if [len(values) for values in sizes] != [one.lesions for one in matches]:
        raise ValueError("diameters: each case needs as many as its match has lesions")
    if any(high <= low for low, high in itertools.pairwise(edges)):
        raise ValueError(f"edges: must rise; got {list(edges)}")
    every = np.concatenate([np.zeros(0), *sizes])
    found = np.concatenate([np.zeros(0, bool), *[one.found for one in matches]])
    number, count = np.searchsorted(edges, every, "right"), len(edges) + 1
    total, seen = np.bincount(number, minlength=count), np.bincount(number[found], minlength=count)
    limits = [0.0, *map(float, edges), float("inf")]
    return [SizeClass(limits[k], limits[k + 1], int(total[k]), int(seen[k])) for k in range(count)]


@dataclasses.dataclass(frozen=True, eq=False)
class Froc:
    """Free-response ROC: at each threshold sensitivity and false positives per case.

    Where components of a map merge at lower thresholds, neither is monotonic. `at` and what follows from it take the
    largest sensitivity at no more false positives, join these points by straight lines from (0, 0) on, as LUNA16 does,
    and go on level after the last one.

    Args:
        thresholds: `(t,)`, falling; a prediction counts from its threshold on.
        sensitivity, false_positives: `(t,)` float64.
    """

    thresholds: np.ndarray
    sensitivity: np.ndarray
    false_positives: np.ndarray

    def at(self, false_positives: ArrayLike) -> np.ndarray:
        """Sensitivity at numbers of false positives per case, float64 of their shape; nan without any lesion."""
        return np.interp(np.asarray(false_positives, np.float64), *self.line())

    def cpm(self, points: Sequence[float] = OPERATING_POINTS) -> float:
        """Competition performance metric: mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per case."""
        return float(self.at(points).mean())

    def area(self, most: float) -> float:
        """Area below the curve from 0 to `most` false positives per case, divided by `most`: in [0, 1]."""
        if not most > 0:
            raise ValueError(f"most: false positives per case must be above 0; got {most}")
        rates, found = self.line()
        inner = (rates > 0) & (rates < most)
        # A step at 0 is no part of the area to its right: begin with the best that costs nothing.
        x = np.concatenate([[0.0], rates[inner], [most]])
        y = np.concatenate([found[rates == 0][-1:], found[inner], np.atleast_1d(self.at(most))])
        return float(np.sum((x[1:] - x[:-1]) * (y[1:] + y[:-1])) / 2 / most)

    def best(self) -> int:
        """Index of the threshold nearest to the upper left corner: least (1 - sensitivity)^2 + (FP per case)^2; the
        highest threshold of several.
        """
        return int(np.argmin((1 - self.sensitivity) ** 2 + self.false_positives**2))

    def middle(self) -> int:
        """Index of the middle one of all thresholds that are as good as `best`: the safest of them on other cases."""
        cost = (1 - self.sensitivity) ** 2 + self.false_positives**2
        tied = np.flatnonzero(cost <= cost.min() + 1e-12)
        return int(tied[len(tied) // 2])

    def line(self) -> tuple[np.ndarray, np.ndarray]:
        """(false positives per case, sensitivity), float64 `(n,)`: the corners of the curve, both rising."""
        order = np.lexsort((self.sensitivity, self.false_positives))
        rates = np.concatenate([[0.0], self.false_positives[order]])
        best = np.maximum.accumulate(np.concatenate([[0.0], self.sensitivity[order]]))
        last = np.append(rates[1:] != rates[:-1], True)  # of one rate the best
        return rates[last], best[last]


def froc(matches: Sequence[Match], scores: Sequence[ArrayLike], pooled: bool = False) -> Froc:
    """FROC of predictions that have a score each, at all thresholds: a prediction counts where score >= threshold.

    Args:
        matches: of each case, with all of its predictions.
        scores: of each case, `(predictions,)`.
        pooled: as in `sensitivity`.

    Raises:
        ValueError: numbers of cases or of predictions differ, a score is not finite, or no case is given.
    """
    values = [np.asarray(one, np.float64).reshape(-1) for one in scores]
    if not matches or [len(one) for one in values] != [len(one.hits) for one in matches]:
        raise ValueError("scores: each case needs as many as its match has predictions, and there must be a case")
    every = np.concatenate(values)
    if not np.isfinite(every).all():
        raise ValueError("scores: some are NaN or infinite")
    thresholds = np.unique(every)[::-1]
    # A lesion is found from the score of its best hit on.
    best = [np.where(m.hits, s[:, None], -np.inf).max(0, initial=-np.inf) for m, s in zip(matches, values, strict=True)]
    false = np.concatenate([s[m.false] for m, s in zip(matches, values, strict=True)])
    weights = _weights([one.lesions for one in matches], pooled)
    found = _at_least(np.concatenate(best), thresholds, weights) if len(weights) else np.full(len(thresholds), np.nan)
    return Froc(thresholds, found, _at_least(false, thresholds, np.ones(len(false))) / len(matches))


def froc_of_maps(
    maps: Iterable[ArrayLike],
    references: Iterable[ArrayLike],
    thresholds: Sequence[float],
    connectivity: int | None = None,
    pooled: bool = False,
) -> Froc:
    """FROC of probability maps: at each threshold the components of map >= threshold are matched as by `match`.

    Args:
        maps: of each case, of any real dtype.
        references: of each case, a mask of its map's shape.
        thresholds: in any order, each once.
        connectivity: as in `match`.
        pooled: as in `sensitivity`.

    Raises:
        ValueError: no case, no threshold, NaN in a map, shapes or numbers that differ.
    """
    rising = np.unique(np.asarray(list(thresholds), np.float64))
    if not len(rising) or not np.isfinite(rising).all():
        raise ValueError("thresholds: at least one is needed, and all must be finite")
    found, lesions, false = [], [], np.zeros(len(rising))
    for number, (values, reference) in enumerate(zip(maps, references, strict=True)):
        levels = _levels(values, rising, f"map {number}")
        truth = _Components.of(as_mask(reference, f"reference {number}"), connectivity)
        _same_shape(levels.shape, truth.shape)
        each = list(_matches(levels, len(rising), truth, connectivity))
        found.append(np.stack([one.found for one in each], 1))
        lesions.append(truth.count)
        false += [one.fp for one in each]
    if not lesions:
        raise ValueError("maps: at least one case is needed")
    weights = _weights(lesions, pooled)
    share = weights @ np.concatenate(found) if len(weights) else np.full(len(rising), np.nan)
    return Froc(rising[::-1], share, false / len(lesions))


def joined(curves: Sequence[Froc]) -> Froc:
    """The Froc of several cases, of one of each at the same thresholds: means over cases, as `froc_of_maps` has them.

    Raises:
        ValueError: there are none, or thresholds differ.
    """
    if not curves or any(not np.array_equal(one.thresholds, curves[0].thresholds) for one in curves):
        raise ValueError("curves: at least one is needed, all at the same thresholds")
    found = np.array([one.sensitivity for one in curves])
    having = ~np.isnan(found).any(1)
    mean = found[having].mean(0) if having.any() else np.full(found.shape[1], np.nan)
    return Froc(curves[0].thresholds, mean, np.mean([one.false_positives for one in curves], 0))


def _weights(lesions: Sequence[int], pooled: bool) -> np.ndarray:
    """Of each lesion in the mean over cases (or, pooled, over lesions)."""
    counts = np.asarray(lesions)
    if pooled:
        return np.full(counts.sum(), 1 / max(int(counts.sum()), 1))
    have = counts[counts > 0]
    return np.repeat(1 / have / max(len(have), 1), have)


def _at_least(values: np.ndarray, thresholds: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weight of the values that reach each of some falling thresholds."""
    order = np.argsort(values)
    total = np.concatenate([[0.0], np.cumsum(weights[order][::-1])])
    return total[len(values) - np.searchsorted(values[order], thresholds, "left")]


# --- components -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, eq=False)
class _Sparse:
    """How many of some rising thresholds each voxel reaches, of the voxels that reach any.

    Args:
        shape: of the volume.
        places: flat indices of these voxels, rising.
        levels: int `(voxels,)`, from 1 on.
    """

    shape: tuple[int, ...]
    places: np.ndarray
    levels: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class _Components:
    """Components of a mask, in the order of their first voxels.

    Args:
        shape: of the volume.
        places: flat indices of the mask's voxels, rising.
        labels: component of each, from 0 on.
        count: number of components.
    """

    shape: tuple[int, ...]
    places: np.ndarray
    labels: np.ndarray
    count: int

    @classmethod
    def of(cls, mask: np.ndarray, connectivity: int | None) -> "_Components":
        places = np.flatnonzero(mask)
        sparse = _Sparse(mask.shape, places, np.ones(len(places), np.uint8))
        return next(_components(sparse, 1, connectivity))

    def sizes(self) -> np.ndarray:
        return np.bincount(self.labels, minlength=self.count)

    def centres(self) -> np.ndarray:
        sizes = np.maximum(self.sizes(), 1)
        axes = np.unravel_index(self.places, self.shape)
        sums = [np.bincount(self.labels, weights=axis, minlength=self.count) for axis in axes]
        return np.stack(sums, 1) / sizes[:, None]

    def at(self, voxels: np.ndarray) -> np.ndarray:
        """Component at voxels `(n, axes)` inside of the volume, -1 where there is none."""
        if not self.count or not len(voxels):
            return np.full(len(voxels), -1)
        wanted = np.ravel_multi_index(tuple(voxels.T), self.shape)
        near = np.minimum(np.searchsorted(self.places, wanted), len(self.places) - 1)
        return np.where(self.places[near] == wanted, self.labels[near], -1)


def _levels(values: ArrayLike, rising: np.ndarray | None, name: str = "prediction") -> _Sparse:
    """Voxels of a mask, or of a map that reaches rising thresholds."""
    array = as_mask(values, name) if rising is None else np.asarray(values)
    if rising is None:
        places = np.flatnonzero(array)
        return _Sparse(array.shape, places, np.ones(len(places), np.uint8))
    flat = array.reshape(-1)
    if array.dtype.kind == "f" and np.isnan(flat.min(initial=0)):
        raise ValueError(f"{name}: some values are NaN")
    # Compared in the map's own dtype: numpy 1 and 2 differ in how a float32 array meets a float64 number.
    lowest = rising[0] if array.dtype.kind != "f" else _first_at_least(rising[0], array.dtype)
    places = np.flatnonzero(flat >= lowest)
    levels = np.searchsorted(rising, flat[places].astype(np.float64), "right")
    return _Sparse(array.shape, places, levels.astype(np.min_scalar_type(len(rising))))


def _first_at_least(value: float, dtype: np.dtype) -> Any:
    """The smallest number of a floating dtype that is not below a float64 one."""
    near = dtype.type(value)
    return np.nextafter(near, dtype.type(np.inf)) if float(near) < value else near


def _matches(levels: _Sparse, count: int, lesions: _Components, connectivity: int | None) -> Iterator[Match]:
    """A `Match` for each level, falling."""
    for found in _components(levels, count, connectivity):
        hit = lesions.at(np.floor(found.centres() + 0.5).astype(np.int64))
        yield Match(hit[:, None] == np.arange(lesions.count), np.zeros(found.count, bool))


def _components(voxels: _Sparse, count: int, connectivity: int | None) -> Iterator[_Components]:
    """`_Components` of the voxels that reach level `count`, ..., 2, 1, one after the other."""
    axes = len(voxels.shape)
    connectivity = axes if connectivity is None else connectivity
    if not axes or not 1 <= connectivity <= axes:
        raise ValueError(f"connectivity: must be 1 to {axes} for an image of {axes} axes; got {connectivity}")
    if len(voxels.places) > _MOST_IN_GRAPH:
        yield from _dense_components(voxels, count, connectivity)
        return
    # What is joined stays joined further down, so that each edge is looked at once, at the level where it appears.
    # Those across faces come first; after them most of the others join nothing new.
    first, second, face = _edges(voxels, connectivity)
    turn = 2 * np.minimum(voxels.levels[first], voxels.levels[second]).astype(np.int32) + face
    order = np.argsort(turn.astype(np.min_scalar_type(2 * count + 1)), kind="stable")
    first, second, ends = first[order], second[order], np.searchsorted(turn[order], np.arange(2 * count + 3))
    total, labels = len(voxels.places), np.arange(len(voxels.places))
    for level in range(count, 0, -1):
        for now in (2 * level + 1, 2 * level):
            new = slice(ends[now], ends[now + 1])
            one, other = labels[first[new]], labels[second[new]]
            apart = one != other
            if apart.any():
                pairs = one[apart], other[apart]
                graph = scipy.sparse.coo_matrix((np.ones(len(pairs[0])), pairs), (total, total))
                total, joined = scipy.sparse.csgraph.connected_components(graph, directed=False)
                labels = joined[labels]
        stay = voxels.levels >= level
        present = np.zeros(total, bool)
        present[labels[stay]] = True  # voxels further down are components of their own as yet
        number = np.cumsum(present) - 1
        yield _Components(voxels.shape, voxels.places[stay], number[labels[stay]], int(present.sum()))


def _edges(voxels: _Sparse, connectivity: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of neighbours, as numbers of voxels, each pair once; and whether they share a face."""
    padded = tuple(n + 2 for n in voxels.shape)
    at = np.ravel_multi_index(tuple(c + 1 for c in np.unravel_index(voxels.places, voxels.shape)), padded)
    strides = np.cumprod((1, *padded[:0:-1]))[::-1]
    found = np.append(at, -1)
    table = None
    if np.prod(padded, dtype=np.int64) <= _TABLE * len(at):  # number of the voxel at each place, where that is cheaper
        table = np.full(np.prod(padded), len(at), np.int32)
        table[at] = np.arange(len(at), dtype=np.int32)
    firsts, seconds, faces = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, bool)]
    for offset in itertools.product((-1, 0, 1), repeat=len(padded)):
        if offset <= (0,) * len(padded) or np.count_nonzero(offset) > connectivity:
            continue  # the other half of the neighbours comes from the other side
        wanted = at + int(np.dot(offset, strides))
        near = np.searchsorted(at, wanted) if table is None else table[wanted]
        both = np.flatnonzero(found[near] == wanted)
        firsts.append(both)
        seconds.append(near[both])
        faces.append(np.full(len(both), np.count_nonzero(offset) == 1))
    return np.concatenate(firsts), np.concatenate(seconds), np.concatenate(faces)


def _dense_components(voxels: _Sparse, count: int, connectivity: int) -> Iterator[_Components]:
    """The same by labelling all of the volume at each level."""
    volume = np.zeros(voxels.shape, np.int32)
    volume.reshape(-1)[voxels.places] = voxels.levels
    structure = scipy.ndimage.generate_binary_structure(volume.ndim, connectivity)
    for level in range(count, 0, -1):
        labels, total = scipy.ndimage.label(volume >= level, structure)
        places = voxels.places[voxels.levels >= level]
        own = labels.reshape(-1)[places] - 1
        first = np.empty(total, np.int64)
        first[own[::-1]] = np.arange(len(own))[::-1]  # of several the last one written stays: the first voxel
        number = np.empty(total, np.int64)
        number[np.argsort(first)] = np.arange(total)
        yield _Components(voxels.shape, places, number[own], total)


def _points(values: ArrayLike, name: str) -> np.ndarray:
    points = np.asarray(values, np.float64)
    points = points.reshape(0, 3) if not points.size else points
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise ValueError(f"{name}: must be (n, 3), finite millimetres; got shape {points.shape}")
    return points


def _same_shape(prediction: tuple[int, ...], reference: tuple[int, ...]) -> None:
    if prediction != reference:
        raise ValueError(f"two segmentations of different shapes cannot be compared: the prediction's is {prediction}, "
                         f"the reference's {reference}")  # fmt: skip
