"""Pairs of phantom pictures of cells: any number of specimens at two visits, made when they are read."""

import dataclasses

from tfmed.data.case import Case
from tfmed.files import PathLike

from .phantom_cases import need, phantom_cases


def phantom_cell_pairs(
    root: PathLike | None = None,
    pairs: int = 12,
    seed: int = 0,
    shape: tuple[int, ...] = (333, 333),
    spacing: float = 32.0,
    noisy: float = 0.2,
    motion: float = 1.0,
    changed: float = 0.04,
    noise: float = 6.0,
    speckle: float = 22.0,
    unlabelled: int = 0,
    clean: int = 0,
) -> list[Case]:
    """Two cases for each specimen, its pictures "cells" at both visits; listing them makes none of them.

    Both belong to one group; `meta["pair"]` names the specimen and `meta["visit"]` is 1 or 2. Labels are instance maps
    in which a cell has one number at both visits, so that they tell which cell is which.

    Args:
        root: ignored.
        pairs: how many specimens, 1 to 100,000; specimen k is the same whatever their number.
        seed: another seed gives other specimens.
        shape, spacing, noisy, motion, changed, noise, speckle: as in `phantoms.cell_pairs`.
        unlabelled: how many of the last pairs have no labels.
        clean: how many of the first pairs have no cells under noise. Where it is above 0, `meta["part"]` of those that
            are neither clean nor unlabelled is "test": training then sees labels of clean cells alone.

    Raises:
        DataError: `pairs`, `seed`, `unlabelled` or `clean` is out of range.
        UserError: another option has the wrong type.
    """
    need("cell_pairs", "pairs", pairs, 1, 100_000)
    need("cell_pairs", "unlabelled", unlabelled, 0, pairs)
    need("cell_pairs", "clean", clean, 0, pairs - unlabelled)
    options = dict(shape=shape, spacing=spacing, motion=motion, changed=changed, noise=noise, speckle=speckle)
    found = []
    for visit in (1, 2):
        ill, well = (
            phantom_cases("cell_pairs", "cells", {"cells": "image"}, pairs, seed, unlabelled, visit=visit, noisy=share,
                          **options)
            for share in (noisy, 0.0)
        )  # fmt: skip
        for number, case in enumerate((*well[:clean], *ill[clean:])):
            meta = {**case.meta, "pair": case.id, "visit": visit}
            if clean and case.label is not None:
                meta["part"] = "train" if number < clean else "test"
            found.append(dataclasses.replace(case, id=f"{case.id}-{visit}", meta=meta))
    return found
