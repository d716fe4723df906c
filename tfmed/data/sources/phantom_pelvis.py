"""Phantoms of male pelves: MR with the CT made up from it, and CTs of other people, made when they are read."""

import dataclasses

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike

from .phantom_cases import phantom_cases


def phantom_pelvis(
    root: PathLike | None = None,
    cases: int = 51,
    cts: int = 220,
    seed: int = 0,
    shape: tuple[int, ...] = (8, 128, 128),
    noise_hu: float = 18.0,
    bias: float = 0.25,
    unlabelled: int = 0,
) -> list[Case]:
    """Pairs (images "mr", "mrcat", and "ct", which no training may see) and unpaired CTs (image "ct" alone).

    Args:
        root: ignored.
        cases: how many pairs, 1 to 100,000.
        cts: how many unpaired CTs, of other people, 0 to 100,000.
        seed: another seed gives other people.
        shape, noise_hu, bias: as in `phantoms.pelvis`.
        unlabelled: how many of the last pairs have no label.

    Raises:
        DataError: a number is out of range.
        UserError: another option has the wrong type.
    """
    if not 0 <= cts <= 100_000:
        raise DataError(f"source phantom_pelvis: cts must be an integer from 0 to 100000; got {cts}")
    options = {"shape": shape, "noise_hu": noise_hu, "bias": bias}
    images = {name: name for name in ("mr", "mrcat", "ct")}
    pairs = phantom_cases("pelvis", "pelvis", images, cases, 2 * seed, unlabelled, **options)
    others = phantom_cases("pelvis", "ct", {"ct": "ct"}, cts, 2 * seed + 1, 0, **options) if cts else []
    return pairs + [dataclasses.replace(case, meta={**case.meta, "unpaired": True}) for case in others]
