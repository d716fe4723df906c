"""What is plausibly wrong with a set of cases, told by comparing them: warnings, never refusals.

Each rule is made to stay silent where data merely differ: it asks for a clear sign, and where it compares a case with
the others it asks that these agree among each other.
"""

import collections
import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from tfmed.data.census import CaseFacts, ImageFacts

_FEWEST = 4  # others, to say that a case is unlike them
_EVEN = 0.7  # share of equal neighbours from which few whole numbers are a label map: those of images are noisy
_OUTSIDE = 0.2  # share of labelled voxels in the air
_UNLIKE, _ALIKE = 2.0, 1.3  # ratio of voxel sizes: to the nearest other case; within which the others agree
_UNITS = {"cm": 0.1, "metres": 0.001, "micrometres": 1000.0}  # factor by which a length in mm is off
_SMALLEST, _LARGEST = 2.0, 5000.0  # mm that a scan is long
_AIR = -500.0  # HU; nothing but CT reaches down there
_OFFSET = 1024.0  # between HU and stored values
_FAR = 50.0  # ratio of intensities
_FLIPS = {"left and right": 2, "front and back": 1, "up and down": 0}  # axis of a thumbnail (z, y, x)
_FLIPS_OF_PICTURES = {"left and right": 2, "up and down": 1}
_WORSE, _MUCH_WORSE = 0.02, 0.2  # in correlation: how much worse others fit when they are mirrored,
_SPREADS, _FEW_SPREADS = 4.5, 3.0  # and in standard deviations of that; of those that fit much worse fewer suffice
_VISITS = 8  # more have one beginning of their names for another reason
_VISIT = re.compile(
    r"(?:^|[._ -]+)(?:ses|session|study|visit|scan|time|timepoint|tp|exam|series|followup|follow-up|fu|baseline|pre|"
    r"post|left|right)[._ -]*\d*$",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class Suspicion:
    """A warning.

    Attributes:
        kind: a short name of what is wrong.
        cases: ids of the cases that it is about; () for the whole set.
        text: what is seen, and what to look at.
    """

    kind: str
    cases: tuple[str, ...]
    text: str


def suspicions(
    cases: Sequence[CaseFacts],
    in_hounsfield: bool = False,
    classes: Collection[int] = (),
    training: Collection[str] = (),
) -> list[Suspicion]:
    """All warnings about a set of cases.

    Args:
        cases: what they look like.
        in_hounsfield: whether all images are meant to be CT in HU, as those called "ct" are.
        classes: numbers of the classes that training needs.
        training: ids of the training cases.
    """
    found = [*_masks_as_images(cases), *_one_patient(cases), *_outside(cases), *_missing(cases, classes, training)]
    for name, rows in _by_image(cases).items():
        lengths = list(_lengths(name, rows))
        other_units = {case for one in lengths for case in one.cases}
        found += [*lengths, *_spacings(name, [row for row in rows if row[0].id not in other_units])]
        found += _intensities(name, rows, in_hounsfield or name == "ct")
        found += _mirrored(name, {case.id: image.thumbnail for case, image in rows}, _flips(cases))
    told = {one.cases for one in found if one.kind == "mirrored"}
    labels = {case.id: case.thumbnail for case in cases if case.thumbnail is not None}
    return found + [one for one in _mirrored("the label map", labels, _flips(cases)) if one.cases not in told]


_Rows = Sequence[tuple[CaseFacts, ImageFacts]]


def _by_image(cases: Sequence[CaseFacts]) -> dict[str, list[tuple[CaseFacts, ImageFacts]]]:
    rows = collections.defaultdict(list)
    for case in cases:
        for name, image in case.images.items():
            rows[name].append((case, image))
    return rows


# --- one case by itself -----------------------------------------------------------------------------------------------


def _masks_as_images(cases: Sequence[CaseFacts]) -> Iterator[Suspicion]:
    for case in cases:
        for name, image in case.images.items():
            if _is_mask(image):
                holds = f"{name} holds {image.numbers} whole numbers, 0 to {image.highest:g}, in even areas"
                text = f"{holds}: a mask or a label map in place of an image?"
                yield Suspicion("mask as image", (case.id,), text)


def _is_mask(image: ImageFacts) -> bool:
    return bool(image.numbers) and image.lowest == 0 and image.even >= _EVEN


def _outside(cases: Sequence[CaseFacts]) -> Iterator[Suspicion]:
    for case in cases:
        if case.outside >= _OUTSIDE:
            text = (f"{100 * case.outside:.0f} % of the labelled voxels lie in the air around the body: a label map of "
                    "another case, or moved?")  # fmt: skip
            yield Suspicion("label outside", (case.id,), text)


def _missing(cases: Sequence[CaseFacts], classes: Collection[int], training: Collection[str]) -> Iterator[Suspicion]:
    labelled = [case for case in cases if case.labels is not None]
    trained = {number for case in labelled if case.id in training for number in case.labels or ()}
    everywhere = {number for case in labelled for number in case.labels or ()}
    missing = sorted(({*classes} or everywhere) - trained - {0}) if labelled and training else []
    if missing:
        where = [case.id for case in labelled if not set(missing).isdisjoint(case.labels or ())]
        names = ", ".join(map(str, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        text = f"label {names} in no training case; they are in {', '.join(where[:3]) or 'no other either'}"
        yield Suspicion("class missing", tuple(where), text)


# --- patients ---------------------------------------------------------------------------------------------------------


def _one_patient(cases: Sequence[CaseFacts]) -> Iterator[Suspicion]:
    """The same voxels, or names that tell two visits of one patient, in different groups."""
    same: dict[tuple, list[CaseFacts]]
    visits: dict[str, list[CaseFacts]]
    for name, rows in _by_image(cases).items():
        same = collections.defaultdict(list)
        for case, image in rows:
            same[image.shape, image.thumbnail.tobytes()].append(case)
        for group in same.values():
            if len({case.group for case in group}) > 1 and group[0].images[name].deviation > 0:
                yield _patient(group, f"have the same voxels ({name})")
    visits = collections.defaultdict(list)
    for case in cases:
        visits[_VISIT.sub("", case.group)].append(case)
    for stem, group in visits.items():
        if stem and 1 < len({case.group for case in group}) <= _VISITS:
            yield _patient(group, f"are called as visits of one, {stem}")


def _patient(group: Sequence[CaseFacts], why: str) -> Suspicion:
    ids = tuple(case.id for case in group)
    shown = f"{', '.join(ids[:4])}{', ...' if len(ids) > 4 else ''}"
    text = f"{shown} {why}, but count as {len({case.group for case in group})} patients; set group_pattern or the group"
    return Suspicion("patient split", ids, text)


# --- a case among the others ------------------------------------------------------------------------------------------


def _lengths(name: str, rows: _Rows) -> Iterator[Suspicion]:
    """Voxels in other units than mm."""
    sized = [(case, np.array(image.spacing), image) for case, image in rows if image.spacing]
    usual = np.median([spacing for _, spacing, _ in sized], axis=0) if len(sized) > _FEWEST else None
    for case, spacing, image in sized:
        extent = float((spacing * image.shape).max())
        unit = None if usual is None else _unit(spacing / usual)
        if unit or not _SMALLEST <= extent <= _LARGEST:
            text = f"{name} is {extent:.3g} mm long: are its voxels of {_shown(spacing)} mm in {unit or 'other units'}?"
            yield Suspicion("length unit", (case.id,), text)


def _unit(ratios: np.ndarray) -> str | None:
    """The unit in which a spacing is written, where it is by one factor off along all axes."""
    for unit, factor in _UNITS.items():
        if (np.abs(np.log(ratios / factor)) < np.log(_ALIKE)).all():
            return unit
    return None


def _spacings(name: str, rows: _Rows) -> Iterator[Suspicion]:
    """Voxels of a size that no other case is near to, where the others are near to each other."""
    sized = [(case, np.log(image.spacing)) for case, image in rows if image.spacing]
    if len(sized) <= _FEWEST:
        return
    sizes = np.array([size for _, size in sized])
    middle = np.median(sizes, axis=0)
    off = np.abs(sizes - middle).max(axis=1)
    alike = (off < np.log(_ALIKE)).mean() >= 0.75
    for (case, size), distance in zip(sized, off, strict=True):
        if alike and distance > np.log(_UNLIKE):
            text = f"{name} has voxels of {_shown(np.exp(size))} mm, the others of about {_shown(np.exp(middle))} mm"
            yield Suspicion("other spacing", (case.id,), text)


def _intensities(name: str, rows: _Rows, in_hounsfield: bool) -> Iterator[Suspicion]:
    """Values in other units: HU moved by 1024, scaled to 0 .. 1, or beyond what the others hold."""
    rows = [(case, image) for case, image in rows if not _is_mask(image)]
    enough = len(rows) > _FEWEST
    usual = float(np.median([image.high - image.low for _, image in rows])) if enough else 0.0
    is_ct = in_hounsfield or (enough and np.median([image.lowest for _, image in rows]) < _AIR)
    for case, image in rows:
        span = image.high - image.low
        text = None
        if image.lowest >= 0 and image.highest <= 1 and (is_ct or usual > _FAR):
            text = f"lies between 0 and 1: scaled, {'in place of HU' if is_ct else f'where others span {usual:.4g}'}?"
        elif is_ct and image.lowest >= 0 and image.highest > _OFFSET:
            text = f"lies between {image.lowest:g} and {image.highest:g}: HU + 1024, in place of HU?"
        elif usual and span and not 1 / _FAR < span / usual < _FAR:
            text = f"spans {span:.4g}, where others span {usual:.4g}: in other units?"
        if text:
            yield Suspicion("intensity unit", (case.id,), f"{name} {text}")


def _mirrored(name: str, thumbnails: Mapping[str, np.ndarray], flips: Mapping[str, int]) -> Iterator[Suspicion]:
    """A case that, mirrored, fits the mean of the others as well as these do, where these fit worse when mirrored."""
    if len(thumbnails) <= _FEWEST:
        return
    ids, total = list(thumbnails), sum(one.astype(np.float64) for one in thumbnails.values())
    plain = np.array([_fit(one, total - one) for one in thumbnails.values()])
    for flip, axis in flips.items():
        mirrored = np.array([_fit(np.flip(one, axis), total - one) for one in thumbnails.values()])
        gains = mirrored - plain
        usual = -float(np.median(gains))
        spread = 1.4826 * float(np.median(np.abs(gains + usual)))  # of normally distributed gains, outliers or not
        if usual < min(max(_WORSE, _SPREADS * spread), max(_MUCH_WORSE, _FEW_SPREADS * spread)):
            continue
        for index in np.flatnonzero((gains > usual / 2) & (mirrored > np.percentile(plain, 10))):
            text = f"{name} seems to be mirrored, {flip}, compared with the other cases"
            yield Suspicion("mirrored", (ids[index],), text)


def _flips(cases: Sequence[CaseFacts]) -> Mapping[str, int]:
    pictures = all(image.spacing is None for case in cases for image in case.images.values())
    return _FLIPS_OF_PICTURES if pictures else _FLIPS


def _fit(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two arrays whose means are 0."""
    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float((one * other).sum()) / scale if scale else 0.0


def _shown(spacing: Sequence[float] | np.ndarray) -> str:
    return " x ".join(f"{size:.3g}" for size in spacing)


def by_case(found: Sequence[Suspicion]) -> Mapping[str, list[Suspicion]]:
    """{id of a case: its warnings}."""
    cases = collections.defaultdict(list)
    for one in found:
        for case in one.cases:
            cases[case].append(one)
    return cases
