"""What the phantom sources share: the list of addresses of any phantom."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tfmed.data import phantoms
from tfmed.data.case import Case
from tfmed.errors import DataError

_MOST = 100_000


def phantom_cases(
    phantom: str, prefix: str, images: Mapping[str, str], cases: int, seed: int, unlabelled: int, **options: Any
) -> list[Case]:
    """Cases of one phantom; listing them makes none of them.

    Args:
        phantom: a name of `phantoms.REGISTRY`.
        prefix: what ids begin with.
        images: name of the modality -> part of the phantom.
        cases: how many, 1 to 100,000; case k is the same whatever their number.
        seed: 0 to 2^40; another seed gives other people.
        unlabelled: how many of the last cases have no label, 0 to `cases`.
        options: the phantom's own, for all cases.

    Raises:
        DataError: `cases`, `seed` or `unlabelled` is out of range.
        UserError: another option has the wrong type.
    """
    need(phantom, "cases", cases, 1, _MOST)
    need(phantom, "seed", seed, 0, 1 << 40)
    need(phantom, "unlabelled", unlabelled, 0, cases)
    common = phantoms.address(phantom, **options)
    found = []
    for number in range(cases):
        one = seed * _MOST + number
        name = f"{prefix}-{one:07d}"
        paths = {modality: f"{common}&seed={one}&part={part}" for modality, part in images.items()}
        label = f"{common}&seed={one}&part=label" if number < cases - unlabelled else None
        found.append(Case(name, name, paths, label, {"seed": one}))
    return found


def of_classes(
    source: str,
    cases: Sequence[Case],
    option: str,
    classes: Sequence[str],
    known: Collection[str],
    shares: Sequence[float] = (),
) -> list[Case]:
    """The cases with classes in turn, in `meta["class"]` and as an option of their phantom.

    With `shares` of the classes, each case is of that one of which most are missing up to it.

    Raises:
        DataError: no class, one twice, or one that is not known; shares are not one to a class, or not 1 in sum.
    """
    if not classes or len(set(classes)) < len(classes) or not set(classes) <= set(known):
        raise DataError(f"source {source}: classes are some of {', '.join(known)}, each once; got {classes}")
    if shares and (len(shares) != len(classes) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6):
        raise DataError(f"source {source}: shares are {len(classes)} numbers that sum to 1; got {shares}")
    found, dealt = [], np.zeros(len(classes))
    for number, case in enumerate(cases):
        place = int(np.argmax((number + 1) * np.asarray(shares) - dealt)) if shares else number % len(classes)
        dealt[place] += 1
        kind = classes[place]
        images = {name: f"{address}&{option}={kind}" for name, address in case.images.items()}
        found.append(dataclasses.replace(case, images=images, meta={**case.meta, "class": kind}))
    return found


def need(phantom: str, name: str, value: object, low: int, high: int) -> None:
    """Raises DataError unless an option of a phantom's source is an integer from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise DataError(f"source phantom_{phantom}: {name} must be an integer from {low} to {high}; got {value!r}")
