"""Brain tumour phantoms: any number of labelled examinations of four MR images, made when they are read."""

from tfmed.data.case import Case
from tfmed.files import PathLike

from .phantom_cases import phantom_cases


def phantom_brain_tumour(
    root: PathLike | None = None,
    cases: int = 285,
    seed: int = 0,
    shape: tuple[int, ...] = (150, 186, 152),
    core_radius_mm: tuple[float, float] = (8.0, 24.0),
    oedema_mm: tuple[float, float] = (3.0, 20.0),
    enhancing: float = 0.8,
    lesions: int = 12,
    noise: float = 1.0,
    bias: float = 1.0,
    unlabelled: int = 0,
) -> list[Case]:
    """Phantom brain MR (images "t1", "t1ce", "t2", "flair") with label maps; listing them makes none of them.

    Args:
        root: ignored.
        cases: how many, 1 to 100,000; case k is the same whatever their number.
        seed: another seed gives other people.
        shape, core_radius_mm, oedema_mm, enhancing, lesions, noise, bias: as in `phantoms.brain_tumour`.
        unlabelled: how many of the last cases have no label.

    Raises:
        DataError: `cases`, `seed` or `unlabelled` is out of range.
        UserError: another option has the wrong type.
    """
    return phantom_cases(
        "brain_tumour",
        "brain",
        {name: name for name in ("t1", "t1ce", "t2", "flair")},
        cases,
        seed,
        unlabelled,
        shape=shape,
        core_radius_mm=core_radius_mm,
        oedema_mm=oedema_mm,
        enhancing=enhancing,
        lesions=lesions,
        noise=noise,
        bias=bias,
    )
