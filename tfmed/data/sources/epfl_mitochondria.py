"""Mitochondria in the hippocampus (CA1) by electron microscopy, EPFL: two volumes as TIFF of many pages."""

from typing import Literal

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike
from tfmed.io import read_geometry

from .listing import files_below, folder, nothing, only_once

_LAYOUT = "training.tif, training_groundtruth.tif, testing.tif and testing_groundtruth.tif"
_VOLUMES = {"training": "train", "testing": "test"}
_TRUTH = "_groundtruth"
_SIDE, _BLOCK = 448, 165  # voxels of the study by planes: side of its training blocks, of its cubes for testing


def epfl_mitochondria(root: PathLike | None = None, blocks: bool = True) -> list[Case]:
    """Blocks "em" of the two volumes, voxels of 5 nm (written as 1 mm), with mitochondria as label 1.

    The training volume is cut into four blocks that are 448 wide and high, as far as it holds them: they begin at its
    borders along y, where they overlap (768 < 896), and follow each other along x, where a strip is left. The testing
    volume is cut into four cubes of 165, in the middles of its quarters. `meta["part"]` is "train" or "test". Blocks of
    one volume have one group each: neighbours may be parted, so hold one of the four out for validation. Masks hold
    255, which `meta["label_values"]` makes 1.

    Args:
        root: the folder with the files.
        blocks: false: both volumes whole.

    Raises:
        DataError: the folder or the training volume is missing, a mask without image, or a file that is there twice.
        ImageIntegrityError: a file is no TIFF of several pages.
    """
    base = folder(root, "epfl_mitochondria", _LAYOUT)
    files = only_once(
        [(path.stem.lower(), path) for path in files_below(base) if path.suffix.lower() in (".tif", ".tiff")],
        "epfl_mitochondria",
    )
    found = {name: files[name] for name in _VOLUMES if name in files}
    if not found:
        raise nothing(base, "epfl_mitochondria", _LAYOUT)
    for name in _VOLUMES:
        if name not in found and name + _TRUTH in files:
            raise DataError(f"{files[name + _TRUTH]}: is a mask without {name}.tif; copy that too, or remove it")
    return [case for name, path in found.items() for case in _cases(name, path, files.get(name + _TRUTH), blocks)]


def _cases(name, path, truth, blocks):
    meta = {"part": _VOLUMES[name]} | ({"label_values": {1: 1, 255: 1}} if truth else {})
    if not blocks:
        return [Case(name, name, {"em": f"{path}::pages"}, truth and f"{truth}::pages", meta)]
    size = read_geometry(f"{path}::pages").shape
    found = []
    for number, box in enumerate(_boxes(size, _VOLUMES[name])):
        piece = "pages@" + ",".join(map(str, box))
        one = f"{name}-{number}"
        found.append(Case(one, one, {"em": f"{path}::{piece}"}, truth and f"{truth}::{piece}", meta))
    return found


def _boxes(size: tuple[int, ...], kind: Literal["train", "test"] | str) -> list[tuple[int, ...]]:
    """(z, y, x, depth, height, width) of the four blocks of a volume of this size."""
    depth, height, width = size
    if kind == "train":
        side = (min(_SIDE, height), min(_SIDE, width))
        starts = [(y, x) for y in (0, height - side[0]) for x in (0, min(side[1], width - side[1]))]
        return [(0, y, x, depth, *side) for y, x in dict.fromkeys(starts)]
    cube = [min(_BLOCK, n) for n in (depth, height // 2, width // 2)]
    middles = [(h * height // 4, w * width // 4) for h in (1, 3) for w in (1, 3)]
    return [((depth - cube[0]) // 2, y - cube[1] // 2, x - cube[2] // 2, *cube) for y, x in middles]
