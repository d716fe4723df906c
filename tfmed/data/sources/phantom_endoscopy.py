"""Phantom frames of an endoscope with suture points: any number of frames of some surgeries, made when read."""

import dataclasses

from tfmed.data import phantoms
from tfmed.data.case import Case
from tfmed.data.phantoms.endoscopy import endoscopy_points
from tfmed.files import PathLike

from .phantom_cases import need, phantom_cases


def phantom_endoscopy(
    root: PathLike | None = None,
    cases: int = 48,
    seed: int = 0,
    shape: tuple[int, ...] = (288, 512),
    look: str = "surgery",
    surgeries: int = 4,
    fewest: int = 0,
    most: int = 15,
    unlabelled: int = 0,
) -> list[Case]:
    """Frames (images "red", "green", "blue") whose `meta["points"]` lists [x, y] of each point, in pixels.

    Frames are dealt out to the surgeries in turn; a surgery is a group, and `meta["domain"]` is the look.

    Args:
        root: ignored.
        cases: how many frames, 1 to 100,000; frame k is the same whatever their number.
        seed: another seed gives other frames, of other surgeries.
        surgeries: 1 to 1000.
        shape, look, fewest, most: as in `phantoms.endoscopy`.
        unlabelled: how many of the last frames have no points.

    Raises:
        DataError: `cases`, `seed`, `surgeries` or `unlabelled` is out of range.
        UserError: another option has the wrong type, or is out of range.
    """
    need("endoscopy", "cases", cases, 1, 100_000)
    need("endoscopy", "surgeries", surgeries, 1, 1000)
    options = dict(look=look, shape=shape, fewest=fewest, most=most)
    found = []
    channels = {name: name for name in ("red", "green", "blue")}
    for one in range(min(surgeries, cases)):
        number = 1000 * seed + one if isinstance(seed, int) else one
        listed = phantom_cases("endoscopy", look, channels, cases, seed, unlabelled, surgery=number, **options)
        for case in listed[one::surgeries]:
            chosen = phantoms.parse(case.images["red"])[1]
            chosen.pop("part")
            points = endoscopy_points(**chosen).round(3).tolist()
            meta = {**case.meta, "domain": look} | ({} if case.label is None else {"points": points})
            found.append(dataclasses.replace(case, group=f"{look}-{number:04d}", meta=meta))
    return sorted(found, key=lambda case: case.id)
