"""Abdominal CT phantoms: any number of scans with liver and tumours labelled, made when they are read."""

from tfmed.data.case import Case
from tfmed.files import PathLike

from .phantom_cases import phantom_cases


def phantom_liver_ct(
    root: PathLike | None = None,
    cases: int = 130,
    seed: int = 0,
    shape: tuple[int, ...] = (120, 180, 180),
    tumours: tuple[int, ...] = (0, 4),
    tumour_radius_mm: tuple[float, float] = (5.0, 28.0),
    tumour_contrast_hu: tuple[float, float] = (14.0, 60.0),
    field_of_view_mm: float = 360.0,
    length_mm: float = 240.0,
    noise_hu: float = 16.0,
    unlabelled: int = 0,
) -> list[Case]:
    """Phantom abdominal CTs (image "ct") with label maps; listing them makes none of them.

    Args:
        root: ignored.
        cases: how many, 1 to 100,000; case k is the same whatever their number.
        seed: another seed gives other people.
        shape, tumours, tumour_radius_mm, tumour_contrast_hu, field_of_view_mm, length_mm, noise_hu: as in
            `phantoms.liver_ct`.
        unlabelled: how many of the last cases have no label.

    Raises:
        DataError: `cases`, `seed` or `unlabelled` is out of range.
        UserError: another option has the wrong type.
    """
    return phantom_cases(
        "liver_ct",
        "liver",
        {"ct": "image"},
        cases,
        seed,
        unlabelled,
        shape=shape,
        tumours=tumours,
        tumour_radius_mm=tumour_radius_mm,
        tumour_contrast_hu=tumour_contrast_hu,
        field_of_view_mm=field_of_view_mm,
        length_mm=length_mm,
        noise_hu=noise_hu,
    )
