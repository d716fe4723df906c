"""Phantom pictures of textures, a class each, made when they are read."""

import dataclasses

import numpy as np

from tfmed.data.case import Case
from tfmed.data.phantoms.plane_texture import KINDS
from tfmed.errors import DataError
from tfmed.files import PathLike

from .phantom_cases import of_classes, phantom_cases


def phantom_textures(
    root: PathLike | None = None,
    cases: int = 400,
    seed: int = 0,
    shape: tuple[int, ...] = (32, 32),
    classes: tuple[str, ...] = KINDS,
    shares: tuple[float, ...] = (),
    noise: float = 0.6,
) -> list[Case]:
    """Pictures (image "image") of textures; `meta["class"]` is the texture's kind.

    Args:
        root: ignored.
        cases: how many, 1 to 100,000.
        seed: another seed gives other pictures.
        classes: of "vertical", "horizontal", "blobs" and "checkerboard".
        shares: of the classes, summing to 1; none: all alike, in turn.
        shape, noise: as in `phantoms.plane_texture`.

    Raises:
        DataError: a number is out of range, there is no such class, or shares are not one to a class.
        UserError: another option has the wrong type.
    """
    images = {"image": "image"}
    plain = phantom_cases("plane_texture", "texture", images, cases, seed, cases, shape=shape, noise=noise)
    found = of_classes("phantom_textures", plain, "kind", classes, KINDS)
    if not shares:
        return found
    if len(shares) != len(classes) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise DataError(f"source phantom_textures: shares are {len(classes)} numbers that sum to 1; got {shares}")
    common = [dataclasses.replace(case, meta={**case.meta, "class": kind}) for case, kind in
              zip(plain, dealt(classes, shares, len(plain)), strict=True)]  # fmt: skip
    return [dataclasses.replace(case, images={"image": f"{case.images['image']}&kind={case.meta['class']}"})
            for case in common]  # fmt: skip


def dealt(classes: tuple[str, ...], shares: tuple[float, ...], count: int) -> list[str]:
    """Classes of `count` items in turn: always that one of which most are missing."""
    found, dealt_so_far = [], np.zeros(len(classes))
    for number in range(count):
        chosen = int(np.argmax((number + 1) * np.asarray(shares) - dealt_so_far))
        dealt_so_far[chosen] += 1
        found.append(classes[chosen])
    return found
