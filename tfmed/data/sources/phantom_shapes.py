"""Phantom pictures of plain shapes, a class each, made when they are read."""

import dataclasses

from tfmed.data.case import Case
from tfmed.data.phantoms.plane_shape import KINDS
from tfmed.errors import DataError
from tfmed.files import PathLike

from .phantom_cases import phantom_cases


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
    if not classes or len(set(classes)) < len(classes) or not set(classes) <= set(KINDS):
        raise DataError(f"source phantom_shapes: classes are some of {', '.join(KINDS)}, each once; got {classes}")
    plain = phantom_cases("plane_shape", "shape", {"image": "image"}, cases, seed, cases, shape=shape, noise=noise)
    found = []
    for number, case in enumerate(plain):
        kind = classes[number % len(classes)]
        images = {name: f"{address}&kind={kind}" for name, address in case.images.items()}
        found.append(dataclasses.replace(case, images=images, meta={**case.meta, "class": kind}))
    return found
