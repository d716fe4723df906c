"""Phantom CTs of temporal bones with three landmarks, made when they are read."""

import dataclasses

from tfmed.data import phantoms
from tfmed.data.case import Case
from tfmed.data.phantoms.temporal_bone import placed_landmarks
from tfmed.data.sampling import Stream
from tfmed.errors import DataError
from tfmed.files import PathLike

from .phantom_cases import need, phantom_cases

_AGAIN = Stream("phantom_temporal_bone.again")


def phantom_temporal_bone(
    root: PathLike | None = None,
    cases: int = 22,
    seed: int = 0,
    shape: tuple[int, ...] = (96, 96, 96),
    spacing_mm: float = 0.5,
    shift_mm: float = 5.0,
    turn_degrees: float = 20.0,
    warp_mm: float = 0.4,
    distractors: int = 6,
    noise: float = 1.0,
    apart: float = 0.0,
    without: int = 0,
    again_mm: float = 0.0,
) -> list[Case]:
    """Phantom CTs of temporal bones (image "ct"), the cochlea labelled 1; listing them makes none of them.

    `meta["landmarks"]` is {name: [x, y, z] in mm, RAS}, `meta["part"]` "train" for the first case (the reference),
    "validation" for the second, "test" for the others.

    Args:
        root: ignored.
        cases: how many, 3 to 100,000; case k is the same whatever their number.
        seed: another seed gives other people.
        shape, spacing_mm, shift_mm, turn_degrees, warp_mm, distractors, noise, apart: as in `phantoms.temporal_bone`.
        without: how many of the last cases have no cochlea, and no landmarks.
        again_mm: where it is not 0, `meta["landmarks_again"]` is a second set: the first one moved by a normal error of
            this standard deviation along each axis.

    Raises:
        DataError: `cases`, `seed`, `without` or `again_mm` is out of range.
        UserError: another option has the wrong type.
    """
    need("temporal_bone", "cases", cases, 3, 100_000)
    need("temporal_bone", "without", without, 0, cases - 2)
    if isinstance(again_mm, bool) or not isinstance(again_mm, (int, float)) or not 0 <= again_mm <= 100:
        raise DataError(
            f"source phantom_temporal_bone: again_mm must be a number of mm from 0 to 100; got {again_mm!r}"
        )
    options = dict(shape=shape, spacing_mm=spacing_mm, shift_mm=shift_mm, turn_degrees=turn_degrees, warp_mm=warp_mm,
                   distractors=distractors, noise=noise)  # fmt: skip
    if apart:  # addresses of the others stay what they were
        options["apart"] = apart
    listed = phantom_cases("temporal_bone", "ear", {"ct": "image"}, cases, seed, 0, **options)
    found = []
    for number, case in enumerate(listed):
        part = ("train", "validation")[number] if number < 2 else "test"
        meta, images, label = {**case.meta, "part": part}, dict(case.images), case.label
        if number >= cases - without:
            images, label = {"ct": f"{images['ct']}&cochlea=0"}, f"{label}&cochlea=0"
        else:
            chosen = {name: value for name, value in phantoms.parse(images["ct"])[1].items() if name != "part"}
            places = placed_landmarks(**chosen)
            meta["landmarks"] = {name: list(place) for name, place in places.items()}
            if again_mm:
                draw = _AGAIN(meta["seed"])
                meta["landmarks_again"] = {name: [value + float(draw.normal(0, again_mm)) for value in place]
                                           for name, place in places.items()}  # fmt: skip
        found.append(dataclasses.replace(case, images=images, label=label, meta=meta))
    return found
