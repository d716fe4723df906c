"""Connectome phantoms of two groups, made when they are read."""

import dataclasses

from tfmed.data.case import Case
from tfmed.files import PathLike

from .phantom_cases import phantom_cases


def phantom_connectome(
    root: PathLike | None = None,
    cases: int = 220,
    seed: int = 0,
    regions: int = 90,
    effect: float = 0.35,
    streamlines: float = 60.0,
) -> list[Case]:
    """Phantom structural connectomes (image "connectome"), every second one of class "AD", the others "CN".

    Args:
        root: ignored.
        cases: how many, 1 to 100,000; case k is the same whatever their number.
        seed: another seed gives other people.
        regions, effect, streamlines: as in `phantoms.connectome`.

    Raises:
        DataError: `cases` or `seed` is out of range.
        UserError: another option has the wrong type.
    """
    options = {"regions": regions, "effect": effect, "streamlines": streamlines}
    found = phantom_cases("connectome", "connectome", {"connectome": "image"}, cases, seed, cases, **options)
    return [_of_group(case, number % 2) for number, case in enumerate(found)]


def _of_group(case, group):
    images = {name: f"{address}&group={group}" for name, address in case.images.items()}
    return dataclasses.replace(case, images=images, meta={**case.meta, "class": ("CN", "AD")[group]})
