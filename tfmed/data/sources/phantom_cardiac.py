"""Cardiac phantoms: any number of labelled MR scans of hearts by one of two protocols, made when they are read."""

from tfmed.data.case import Case
from tfmed.files import PathLike

from .phantom_cases import phantom_cases


def phantom_cardiac(
    root: PathLike | None = None,
    cases: int = 10,
    seed: int = 0,
    shape: tuple[int, ...] = (64, 96, 96),
    protocol: str = "whole_heart",
    noise: float = 1.0,
    bias: float = 1.0,
    unlabelled: int = 0,
) -> list[Case]:
    """Phantom MR of hearts (image "mr") with label maps; listing them makes none of them.

    Labels of "whole_heart", as in HVSMR 2016: 1 myocardium, 2 blood pool. Of "short_axis", as in M&Ms: 1 left
    ventricle, 2 myocardium, 3 right ventricle.

    Args:
        root: ignored.
        cases: how many, 1 to 100,000; case k is the same whatever their number.
        seed: another seed gives other people.
        shape, protocol, noise, bias: as in `phantoms.cardiac`.
        unlabelled: how many of the last cases have no label.

    Raises:
        DataError: `cases`, `seed` or `unlabelled` is out of range.
        UserError: another option has the wrong type.
    """
    options = dict(shape=shape, protocol=protocol, noise=noise, bias=bias)
    return phantom_cases("cardiac", "heart", {"mr": "image"}, cases, seed, unlabelled, **options)
