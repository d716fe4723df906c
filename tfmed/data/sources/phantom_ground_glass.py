"""Phantoms of chest CTs with ground-glass lesions, each scan in two kernels, made when they are read."""

from tfmed.data.case import Case
from tfmed.files import PathLike

from .phantom_cases import phantom_cases


def phantom_ground_glass(
    root: PathLike | None = None,
    cases: int = 60,
    seed: int = 0,
    shape: tuple[int, ...] = (16, 128, 128),
    lesions: int = 5,
    radius_mm: tuple[float, float] = (12.0, 32.0),
    field_of_view_mm: float = 360.0,
    length_mm: float = 300.0,
    noise_hu: float = 80.0,
    softness: float = 0.5,
    sharpness: float = 0.8,
    unlabelled: int = 0,
) -> list[Case]:
    """Phantom chest CTs (image "ct", a soft kernel; "ct_sharp", a sharp one of the same scan), lesions labelled.

    Args:
        root: ignored.
        cases: how many, 1 to 100,000.
        seed: another seed gives other people.
        shape, lesions, radius_mm, field_of_view_mm, length_mm, noise_hu, softness, sharpness: as in
            `phantoms.ground_glass`.
        unlabelled: how many of the last cases have no label.

    Raises:
        DataError: `cases`, `seed` or `unlabelled` is out of range.
        UserError: another option has the wrong type.
    """
    return phantom_cases(
        "ground_glass",
        "lung",
        {"ct": "soft", "ct_sharp": "sharp"},
        cases,
        seed,
        unlabelled,
        shape=shape,
        lesions=lesions,
        radius_mm=radius_mm,
        field_of_view_mm=field_of_view_mm,
        length_mm=length_mm,
        noise_hu=noise_hu,
        softness=softness,
        sharpness=sharpness,
    )
