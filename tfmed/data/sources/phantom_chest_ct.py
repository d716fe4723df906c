"""Chest CT phantoms: any number of labelled scans, made when they are read."""

from tfmed.data.case import Case
from tfmed.files import PathLike

from .phantom_cases import phantom_cases


def phantom_chest_ct(
    root: PathLike | None = None,
    cases: int = 900,
    seed: int = 0,
    shape: tuple[int, ...] = (224, 224, 224),
    nodules: int = 0,
    nodule_radius_mm: tuple[float, float] = (3.0, 12.0),
    field_of_view_mm: float = 360.0,
    length_mm: float = 320.0,
    noise_hu: float = 25.0,
    streaks: float = 1.0,
    unlabelled: int = 0,
) -> list[Case]:
    """Phantom chest CTs with label maps; listing them makes none of them.

    Args:
        root: ignored.
        cases: how many, 1 to 100,000; case k is the same whatever their number.
        seed: another seed gives other people.
        shape, nodules, nodule_radius_mm, field_of_view_mm, length_mm, noise_hu, streaks: as in `phantoms.chest_ct`.
        unlabelled: how many of the last cases have no label.

    Raises:
        DataError: `cases`, `seed` or `unlabelled` is out of range.
        UserError: another option has the wrong type.
    """
    return phantom_cases(
        "chest_ct",
        "chest",
        {"ct": "image"},
        cases,
        seed,
        unlabelled,
        shape=shape,
        nodules=nodules,
        nodule_radius_mm=nodule_radius_mm,
        field_of_view_mm=field_of_view_mm,
        length_mm=length_mm,
        noise_hu=noise_hu,
        streaks=streaks,
    )
