"""Phantom radiographs of hands with named landmarks: any number, made when read."""

import dataclasses
import math

from tfmed.data import phantoms
from tfmed.data.case import Case
from tfmed.data.phantoms.radiograph import landmark_names, radiograph_points
from tfmed.data.sampling import Stream
from tfmed.errors import DataError
from tfmed.files import PathLike

from .phantom_cases import phantom_cases

_MISSING = Stream("phantom_radiograph.missing")


def phantom_radiograph(
    root: PathLike | None = None,
    cases: int = 48,
    seed: int = 0,
    shape: tuple[int, ...] = (256, 192),
    fingers: int = 5,
    turn: float = 20.0,
    noise: float = 1.0,
    unlabelled: int = 0,
    missing: float = 0.0,
) -> list[Case]:
    """Radiographs (image "image") whose `meta["points"]` lists [x, y] of each landmark, `meta["names"]` their names.

    Args:
        root: ignored.
        cases: how many, 1 to 100,000; case k is the same whatever their number.
        seed: another seed gives other hands.
        shape, fingers, turn, noise: as in `phantoms.radiograph`.
        unlabelled: how many of the last cases have no landmarks.
        missing: share of the landmarks that nobody annotated, [nan, nan], 0 to 0.9.

    Raises:
        DataError: `cases`, `seed`, `unlabelled` or `missing` is out of range.
        UserError: another option has the wrong type, or is out of range.
    """
    if isinstance(missing, bool) or not isinstance(missing, (int, float)) or not 0 <= missing <= 0.9:
        raise DataError(f"source phantom_radiograph: missing must be a number from 0 to 0.9; got {missing!r}")
    options = dict(shape=shape, fingers=fingers, turn=turn, noise=noise)
    listed = phantom_cases("radiograph", "hand", {"image": "image"}, cases, seed, unlabelled, **options)
    found = []
    for case in listed:
        chosen = phantoms.parse(case.images["image"])[1]
        chosen.pop("part")
        points = radiograph_points(**chosen).round(3).tolist()
        names = list(landmark_names(int(chosen["fingers"])))
        gone = _MISSING(case.meta["seed"]).random(len(names)) < missing
        points = [[math.nan, math.nan] if lost else place for place, lost in zip(points, gone, strict=True)]
        told = {} if case.label is None else {"points": points, "names": names}
        found.append(dataclasses.replace(case, meta={**case.meta, **told}))
    return found
