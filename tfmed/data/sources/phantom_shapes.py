"""Phantom pictures of plain shapes, a class each, made when they are read."""

from tfmed.data.case import Case
from tfmed.data.phantoms.plane_shape import KINDS
from tfmed.files import PathLike

from .phantom_cases import of_classes, phantom_cases


def phantom_shapes(
    root: PathLike | None = None,
    cases: int = 500,
    seed: int = 0,
    shape: tuple[int, ...] = (28, 28),
    classes: tuple[str, ...] = KINDS,
    noise: float = 8.0,
) -> list[Case]:
    """Pictures (image "image") of shapes, their classes in turn; `meta["class"]` is the shape's kind.

    Args:
        root: ignored.
        cases: how many, 1 to 100,000; picture k is the same whatever their number.
        seed: another seed gives other pictures.
        classes: of "disc", "ring", "square" and "cross".
        shape, noise: as in `phantoms.plane_shape`.

    Raises:
        DataError: a number is out of range, or there is no such class.
        UserError: another option has the wrong type.
    """
    images = {"image": "image"}
    plain = phantom_cases("plane_shape", "shape", images, cases, seed, cases, shape=shape, noise=noise)
    return of_classes("phantom_shapes", plain, "kind", classes, KINDS)
