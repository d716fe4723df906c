"""Mitochondria phantoms: any number of labelled blocks of tissue in electron microscopy, made when they are read."""

from tfmed.data.case import Case
from tfmed.files import PathLike

from .phantom_cases import phantom_cases


def phantom_mitochondria(
    root: PathLike | None = None,
    cases: int = 12,
    seed: int = 0,
    shape: tuple[int, ...] = (96, 96, 96),
    noise: float = 12.0,
    unlabelled: int = 0,
) -> list[Case]:
    """Phantom blocks of electron microscopy (image "em") with their mitochondria; listing them makes none of them.

    Args:
        root: ignored.
        cases: how many, 1 to 100,000; case k is the same whatever their number.
        seed: another seed gives other blocks.
        shape, noise: as in `phantoms.mitochondria`.
        unlabelled: how many of the last cases have no label.

    Raises:
        DataError: `cases`, `seed` or `unlabelled` is out of range.
        UserError: another option has the wrong type.
    """
    options = dict(shape=shape, noise=noise)
    return phantom_cases("mitochondria", "block", {"em": "image"}, cases, seed, unlabelled, **options)
