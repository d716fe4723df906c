"""Left atrium phantoms: any number of labelled gadolinium enhanced MR scans, made when they are read."""

from tfmed.data.case import Case
from tfmed.files import PathLike

from .phantom_cases import phantom_cases


def phantom_left_atrium(
    root: PathLike | None = None,
    cases: int = 100,
    seed: int = 0,
    shape: tuple[int, ...] = (88, 144, 176),
    noise: float = 1.0,
    bias: float = 1.0,
    unlabelled: int = 0,
) -> list[Case]:
    """Phantom MR of left atria (image "mr") with label maps; listing them makes none of them.

    Args:
        root: ignored.
        cases: how many, 1 to 100,000; case k is the same whatever their number.
        seed: another seed gives other people.
        shape, noise, bias: as in `phantoms.left_atrium`.
        unlabelled: how many of the last cases have no label.

    Raises:
        DataError: `cases`, `seed` or `unlabelled` is out of range.
        UserError: another option has the wrong type.
    """
    options = dict(shape=shape, noise=noise, bias=bias)
    return phantom_cases("left_atrium", "atrium", {"mr": "image"}, cases, seed, unlabelled, **options)
