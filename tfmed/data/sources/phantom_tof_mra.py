"""Phantom angiographies of heads with aneurysms, made when they are read."""

from tfmed.data.case import Case
from tfmed.files import PathLike

from .phantom_cases import phantom_cases


def phantom_tof_mra(
    root: PathLike | None = None,
    cases: int = 20,
    seed: int = 0,
    shape: tuple[int, ...] = (96, 160, 160),
    aneurysms: tuple[int, int] = (1, 3),
    diameter_mm: tuple[float, float] = (1.0, 20.0),
    field_of_view_mm: float = 96.0,
    length_mm: float = 57.6,
    noise: float = 1.0,
    unlabelled: int = 0,
) -> list[Case]:
    """Phantom time-of-flight MR angiographies (image "tof"), aneurysms labelled 1; listing them makes none of them.

    `tfmed.data.aneurysms.aneurysms_of` tells their spheres.

    Args:
        root: ignored.
        cases: how many, 1 to 100,000; case k is the same whatever their number.
        seed: another seed gives other people.
        shape, aneurysms, diameter_mm, field_of_view_mm, length_mm, noise: as in `phantoms.tof_mra`.
        unlabelled: how many of the last cases have no label.

    Raises:
        DataError: `cases`, `seed` or `unlabelled` is out of range.
        UserError: another option has the wrong type.
    """
    options = dict(shape=shape, aneurysms=aneurysms, diameter_mm=diameter_mm, field_of_view_mm=field_of_view_mm,
                   length_mm=length_mm, noise=noise)  # fmt: skip
    return phantom_cases("tof_mra", "head", {"tof": "image"}, cases, seed, unlabelled, **options)
