"""Phantom pictures of five kinds of stained tissue, made when they are read."""

from tfmed.data.case import Case
from tfmed.files import PathLike
from tfmed.io.addresses import COLOURS

from .phantom_cases import phantom_cases


def phantom_histology(
    root: PathLike | None = None,
    cases: int = 60,
    seed: int = 0,
    shape: tuple[int, ...] = (128, 128),
    look: str = "glands",
    noise: float = 4.0,
    unlabelled: int = 0,
) -> list[Case]:
    """Pictures (images "red", "green", "blue") with label maps; each look is a task with classes of its own.

    Args:
        root: ignored.
        cases: how many, 1 to 100,000; picture k is the same whatever their number.
        seed: another seed gives other pictures.
        shape, look, noise: as in `phantoms.histology`.
        unlabelled: how many of the last pictures have no label map.

    Raises:
        DataError: `cases`, `seed` or `unlabelled` is out of range.
        UserError: another option has the wrong type, or is out of range.
    """
    images = {name: name for name in COLOURS}
    options = dict(shape=shape, look=look, noise=noise)
    return phantom_cases("histology", look, images, cases, seed, unlabelled, **options)
