"""Phantom pictures of stained tissue, with a brown band and without, made when they are read."""

import dataclasses

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike

from .phantom_cases import need, phantom_cases

_COLOURS = ("red", "green", "blue")


def phantom_stained_tissue(
    root: PathLike | None = None,
    cases: int = 400,
    seed: int = 0,
    shape: tuple[int, ...] = (128, 128),
    slides: int = 0,
    unspecific: float = 0.5,
    noise: float = 4.0,
    clean: bool = False,
    unlabelled: int = 0,
) -> list[Case]:
    """Pictures (images "red", "green", "blue") of the classes "negative" and "positive" in turn; labels are the band.

    Args:
        root: ignored.
        cases: how many, 1 to 100,000; picture k is the same whatever their number.
        seed: another seed gives other pictures.
        slides: how many slides the pictures come from, an even number, each of one class: a slide then is a group,
            which splits keep together. 0: every picture is a slide and a group of its own.
        shape, unspecific, noise: as in `phantoms.stained_tissue`.
        clean: whether there are images "clean_red", "clean_green" and "clean_blue" too, without the band.
        unlabelled: how many of the last pictures have no label map.

    Raises:
        DataError: a number is out of range.
        UserError: another option has the wrong type, or is out of range.
    """
    need("stained_tissue", "slides", slides, 0, 100_000)
    if slides % 2:
        raise DataError(f"source phantom_stained_tissue: slides of two classes are even in number; got {slides}")
    names = _COLOURS + (tuple(f"clean_{name}" for name in _COLOURS) if clean else ())
    images, found = {name: name for name in names}, []
    options = dict(shape=shape, unspecific=unspecific, noise=noise)
    for case in phantom_cases("stained_tissue", "tissue", images, cases, seed, unlabelled, **options):
        number = case.meta["seed"] % 100_000
        slide = 100_000 * seed + (number % slides if slides else number)
        more = f"&band={number % 2}&slide={slide}"
        found.append(
            dataclasses.replace(
                case,
                group=f"slide-{slide:07d}" if slides else case.group,
                images={name: f"{address}{more}" for name, address in case.images.items()},
                label=case.label and f"{case.label}{more}",
                meta={**case.meta, "class": ("negative", "positive")[number % 2]},
            )
        )
    return found
