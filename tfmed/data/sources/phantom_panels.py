"""Phantom pictures of four classes, of many proportions: what compound figures are made of."""

from tfmed.data import phantoms
from tfmed.data.case import Case
from tfmed.data.phantoms.common import stream
from tfmed.data.phantoms.panel import KINDS
from tfmed.errors import DataError
from tfmed.files import PathLike

from .phantom_cases import need

COLOURS = ("red", "green", "blue")


def phantom_panels(
    root: PathLike | None = None, cases: int = 80, seed: int = 0, sides: tuple[int, ...] = (64, 128), kinds: int = 4
) -> list[Case]:
    """Pictures (images "red", "green", "blue") whose `meta["class"]` is one of `phantoms.panel.KINDS`, in turn.

    Args:
        root: ignored.
        cases: how many, 1 to 100,000; picture k is the same whatever their number.
        seed: another seed gives other pictures.
        sides: px, least and most of height and width, 16 to 2048.
        kinds: how many classes there are, 1 to 4.

    Raises:
        DataError: an option is out of range.
    """
    need("panels", "cases", cases, 1, 100_000)
    need("panels", "seed", seed, 0, 1 << 40)
    need("panels", "kinds", kinds, 1, len(KINDS))
    sides = tuple(sides)
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides) or not 16 <= sides[0] <= sides[1] <= 2048:
        raise DataError(f"source phantom_panels: sides are least,most of 16 to 2048 px; got {sides}")
    found = []
    for number in range(cases):
        one, kind = seed * 100_000 + number, KINDS[number % kinds]
        shape = tuple(stream(one, 5).integers(sides[0], sides[1] + 1, 2))
        images = {name: phantoms.address("panel", kind=kind, shape=shape, seed=one, part=name) for name in COLOURS}
        label = phantoms.address("panel", kind=kind, shape=shape, seed=one, part="label")
        found.append(Case(f"panel-{one:07d}", f"panel-{one:07d}", images, label, {"seed": one, "class": kind}))
    return found
