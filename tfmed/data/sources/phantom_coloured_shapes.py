"""Phantom pictures of coloured shapes, a class to a colour, made when they are read."""

from tfmed.data.case import Case
from tfmed.data.phantoms.coloured_shape import COLOURS
from tfmed.files import PathLike

from .phantom_cases import of_classes, phantom_cases


def phantom_coloured_shapes(
    root: PathLike | None = None,
    cases: int = 1200,
    seed: int = 0,
    shape: tuple[int, ...] = (32, 32),
    classes: tuple[str, ...] = ("red", "green", "blue"),
    noise: float = 6.0,
) -> list[Case]:
    """Pictures (images "red", "green", "blue") of bars, their colours in turn; `meta["class"]` is the colour.

    Args:
        root: ignored.
        cases: how many, 1 to 100,000; picture k is the same whatever their number.
        seed: another seed gives other pictures.
        classes: of "red", "green", "blue" and "yellow".
        shape, noise: as in `phantoms.coloured_shape`.

    Raises:
        DataError: a number is out of range, or there is no such class.
        UserError: another option has the wrong type.
    """
    images = {name: name for name in ("red", "green", "blue")}
    plain = phantom_cases("coloured_shape", "shape", images, cases, seed, cases, shape=shape, noise=noise)
    return of_classes("phantom_coloured_shapes", plain, "colour", classes, COLOURS)
