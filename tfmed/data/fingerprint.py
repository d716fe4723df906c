"""What a data set is like: sizes, voxels, values, labels; from a look at some of its cases."""

import collections
import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfmed.data import census
from tfmed.data.case import Case
from tfmed.data.checks import CaseSpec, check_case
from tfmed.data.intensities import Intensities
from tfmed.data.labels import borders_alone, counts
from tfmed.data.sampling import Stream
from tfmed.data.suspicions import suspicions
from tfmed.errors import DataError
from tfmed.io import Volume, file_of

_CHOSEN = Stream("planning.cases")
_MOST_CASES = 24  # whose voxels are looked at
_MOST_STEPS = 8  # numbers in a label map from which it is looked whether most are steps of smoothed borders


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What a data set is like.

    Attributes:
        modalities: names of the images of a case.
        shapes, spacings: (z, y, x) of each case that was looked at, turned to `orientation`; voxels and mm.
        values: {image: (0.5, 99.5 percentile, mean, standard deviation) of the labelled voxels, lowest, highest}.
        labels: {number in label maps: (voxels, cases)} without the background.
        cases, labelled, patients, labelled_patients: how many there are; of these with a label map in every case.
        ids: of the cases that were looked at.
        foreground: median share of labelled voxels in a case.
        warnings: what is plausibly wrong with the cases that were looked at, a `Suspicion` each.
        orientation: the directions of most cases' axes (x, y, z), such as "RAS"; None of pictures.
        seconds: that looking took.
    """

    modalities: tuple
    shapes: list
    spacings: list
    values: dict
    labels: dict
    cases: int
    labelled: int
    patients: int
    foreground: float
    labelled_patients: int
    ids: tuple
    warnings: tuple = ()
    orientation: str | None = None
    seconds: float = 0.0


def fingerprint(
    cases: Sequence[Case], progress: Callable[[Any, str], Iterable[Case]] = lambda items, text: items
) -> Fingerprint:
    """The `Fingerprint` of a list of Case; up to 24 labelled cases are read.

    Raises:
        DataError: no case has a label map, images differ in their names; a label map lies on another grid or is none.
    """
    labelled = [case for case in cases if case.label is not None]
    if not labelled:
        where = next(iter(cases[0].images.values()))
        raise DataError(
            f"no case has a label map (the first is {where}); a plan needs some, see data.root and data.options"
        )
    names = tuple(labelled[0].images)
    for case in cases:
        if tuple(case.images) != names:
            raise DataError(f"{case.id}: has the images {', '.join(case.images)}, others {', '.join(names)}")
    order = _CHOSEN(0, len(labelled)).permutation(len(labelled))[:_MOST_CASES]
    chosen = [labelled[index] for index in sorted(order)]
    begun = time.monotonic()
    seen: list[census.CaseFacts] = []
    labels: dict[int, tuple[int, int]] = collections.defaultdict(lambda: (0, 0))
    values: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for case in progress(chosen, "Looking at cases"):
        images, label = census.look(case, names)
        assert label is not None  # these have one
        _check(case, images, label)
        facts = census.facts(case, images, label)
        for number, count in (facts.labels or {}).items():
            voxels, times = labels[number]
            labels[number] = voxels + count, times + 1
        inside = np.flatnonzero(label.array)
        for name, image in images.items():
            flat = image.array.reshape(label.array.size, -1)[:, 0]
            values[name].append(flat[inside[:: max(1, inside.size // 20_000)]].astype(np.float64))
        seen.append(facts)
    ranges = {name: [(one.images[name].lowest, one.images[name].highest) for one in seen] for name in names}
    shares = [sum((one.labels or {}).values()) / math.prod(one.images[names[0]].shape) for one in seen]
    first = [one.images[names[0]] for one in seen]
    lying = collections.Counter(one.orientation for one in first if one.spacing is not None).most_common(1)
    orientation = lying[0][0] if lying else None
    turned = [_axes_towards(orientation, one) for one in first]
    return Fingerprint(
        names, [tuple(one.shape[axis] for axis in axes) for one, axes in zip(first, turned, strict=True)],
        [tuple((one.spacing or (1.0, 1.0, 1.0))[axis] for axis in axes)
         for one, axes in zip(first, turned, strict=True)],
        {name: _statistics(values[name], ranges[name]) for name in names}, dict(labels), len(cases), len(labelled),
        len({case.group for case in cases}), float(np.median(shares)),
        len({case.group for case in cases} - {case.group for case in cases if case.label is None}),
        tuple(one.id for one in seen), tuple(suspicions(seen)), orientation,
        time.monotonic() - begun,
    )  # fmt: skip


def _axes_towards(orientation: str | None, facts: census.ImageFacts) -> tuple[int, ...]:
    """The axes (z, y, x) of an image in the order in which an orientation has them."""
    if orientation is None or facts.spacing is None:
        return 0, 1, 2
    pairs = [next(pair for pair in ("LR", "PA", "IS") if code in pair) for code in facts.orientation]
    places = [next(axis for axis, pair in enumerate(pairs) if code in pair) for code in orientation]
    return tuple(2 - place for place in reversed(places))


def _check(case: Case, images: Mapping[str, Volume], label: Volume) -> None:
    """Raise a DataError unless a case can be used as it is."""
    known = {case.images[name]: image for name, image in images.items()} | {str(case.label): label}
    spec = CaseSpec(tuple(images), "required", minimum_shape=(1, 1, 1), stack=True)
    if problems := check_case(case, spec, known):
        raise DataError(problems[0])
    file = file_of(str(case.label))
    numbers = counts(label.array, file)
    if min(numbers) < 0:
        raise DataError(f"{file}: holds the number {min(numbers)}; numbers of classes are above 0, correct the file")
    steps = borders_alone(label.array) if len(numbers) > _MOST_STEPS and not _contiguous(numbers) else []
    if 2 * len(steps) > len(numbers):
        raise DataError(
            f"{file}: {len(steps)} of its {len(numbers)} numbers are borders of areas alone, as in a mask that was "
            "smoothed or compressed with loss; save it again without (a mask of 0 and 255 as PNG, say)"
        )


def _contiguous(numbers: Mapping[int, int]) -> bool:
    """Whether numbers are 0 (or 1) to n, as those that count objects are; 255 is the end of grey values."""
    return max(numbers) - min(numbers) == len(numbers) - 1 and max(numbers) != 255


def described(found: Fingerprint) -> Iterator[str]:
    """Lines about a data set: sizes, voxels, values, labels."""
    shapes, spacings = np.array(found.shapes), np.array(found.spacings)
    yield f"voxels (z, y, x): {_range(shapes, '.0f')}; spacing: {_range(spacings, '.3g')} mm"
    for name, (low, high, mean, deviation, lowest, highest) in found.values.items():
        yield (f"{name}: {lowest:g} to {highest:g}; of labelled voxels 0.5 to 99.5 %: {low:g} to {high:g}, "
               f"mean {mean:.4g}, deviation {deviation:.4g}")  # fmt: skip
    numbers = sorted(found.labels)
    shown = ", ".join(f"{number} ({found.labels[number][1]} cases)" for number in numbers[:10])
    yield f"labels: {shown}{f' and {len(numbers) - 10} more' if len(numbers) > 10 else ''}"


def _range(rows: np.ndarray, form: str) -> str:
    low, high = rows.min(0), rows.max(0)
    return " x ".join(f"{a:{form}}" if a == b else f"{a:{form}}-{b:{form}}" for a, b in zip(low, high, strict=True))


def _statistics(values: Sequence[np.ndarray], ranges: Sequence[tuple[float, float]]) -> tuple[float, ...]:
    together = np.concatenate(values) if values else np.zeros(1)
    together = together if together.size else np.zeros(1)
    lowest, highest = np.median(np.array(ranges), axis=0)
    return *dataclasses.astuple(Intensities.of(together)), float(lowest), float(highest)
