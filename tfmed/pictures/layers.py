"""What a viewer shows: views of cases, whose panels stand side by side, with layers one above the other."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import scipy

from tfmed.errors import DataError
from tfmed.io.label_tables import distinct_colours
from tfmed.io.volume import Volume

Colour = tuple[int, int, int]
ERRORS = {1: ("added", (255, 64, 51)), 2: ("missed", (77, 140, 255)), 3: ("another class", (191, 102, 255))}
_MOST_CLASSES = 4096  # different numbers of a label map: more are no label map


@dataclasses.dataclass(frozen=True)
class Layer:
    """An image, or what lies over one.

    Args:
        name: what it is called.
        volume: Volume `(z, y, x)` of any numbers, or uint8 `(z, y, x, 3)` of an image in colour.
        kind: "image"; "labels", whose numbers are classes, 0 none; or "map", which shows through where it is low.
        window: (lowest, highest) value shown.
        colours: colour map of matplotlib's, of images and maps.
        classes: {number: (name, (red, green, blue))} of labels.
        opacity: from 0 to 1.
        shown: whether it is seen at first.
        written: numbers of the classes whose names stand beside them in pictures.
    """

    name: str
    volume: Volume
    kind: Literal["image", "labels", "map"] = "image"
    window: tuple[float, float] = (0.0, 1.0)
    colours: str = "gray"
    classes: Mapping[int, tuple[str, Colour]] = dataclasses.field(default_factory=dict)
    opacity: float = 1.0
    shown: bool = True
    written: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Panel:
    """Layers on one grid, the lowest first."""

    title: str
    layers: tuple[Layer, ...]


@dataclasses.dataclass(frozen=True)
class View:
    """What is seen of a case: panels side by side."""

    title: str
    panels: tuple[Panel, ...]
    note: str = ""


def image(name: str, volume: Volume, window: tuple[float, float] | None = None, colours: str = "gray") -> Layer:
    """The Layer of an image; without a window from its 0.5 to its 99.5 percentile."""
    return Layer(name, volume, window=window or spread(volume.array), colours=colours)


def labels(
    name: str,
    volume: Volume,
    names: Mapping[int, str] | None = None,
    colours: Mapping[int, Colour] | None = None,
    shown: bool = True,
) -> Layer:
    """The Layer of a label map.

    Args:
        name: of the layer.
        volume: Volume `(z, y, x)` of whole numbers, 0 the background.
        names: {number: name} of classes; those that stand there and have none are called after their number.
        colours: {number: (red, green, blue)}; others are chosen as those beside predicted label maps are.
        shown: whether it is seen at first.

    Raises:
        DataError: it is no label map: it has fractions, channels, or more than 4096 numbers.
    """
    found = _numbers(name, volume)
    names, colours = dict(names or {}), dict(colours or {})
    known = sorted({*names, *found} - {0})
    chosen = dict(zip(sorted(names) or known, distinct_colours(len(names) or len(known)), strict=True))
    spare = iter(distinct_colours(len(names) + len(known))[len(names) :])
    classes = {number: (str(names.get(number, f"label {number}")),
                        colours.get(number) or chosen.get(number) or next(spare)) for number in known}  # fmt: skip
    return Layer(name, volume, "labels", classes=classes, opacity=0.6, shown=shown)


def probability(name: str, volume: Volume, shown: bool = False) -> Layer:
    """The Layer of probabilities `(z, y, x)` from 0 to 1."""
    return Layer(name, volume, "map", (0.0, 1.0), "inferno", opacity=0.7, shown=shown)


def entropy(volume: Volume, name: str = "entropy (bits)", shown: bool = False) -> Layer:
    """The Layer of an entropy in bits `(z, y, x)`; from 1 bit all is as bright as it gets."""
    return Layer(name, volume, "map", (0.0, 1.0), "inferno", opacity=0.7, shown=shown)


def errors(found: Volume, reference: Volume, name: str = "errors") -> Layer:
    """The Layer of where two maps of class numbers on one grid differ: voxels added, missed, of another class."""
    ours, right = np.asarray(found.array), np.asarray(reference.array)
    wrong = np.zeros(ours.shape, np.uint8)
    wrong[(ours != 0) & (right == 0)] = 1
    wrong[(ours == 0) & (right != 0)] = 2
    wrong[(ours != 0) & (right != 0) & (ours != right)] = 3
    return Layer(name, found.replace(array=wrong), "labels", classes=ERRORS, opacity=0.8)


def difference(found: Volume, reference: Volume, largest: float, name: str = "difference") -> Layer:
    """The Layer of what a made image is above (red) or below (blue) the real one, up to `largest`."""
    array = np.asarray(found.array, np.float32) - np.asarray(reference.array, np.float32)
    return Layer(name, found.replace(array=array), window=(-largest, largest), colours="RdBu_r")


def spread(array: np.ndarray) -> tuple[float, float]:
    """The 0.5 and 99.5 percentile of the finite values, of a sample where there are many; never equal."""
    flat = np.asarray(array).reshape(-1)
    flat = flat[:: max(1, flat.size // 2_000_000)]
    if flat.dtype.kind == "f":
        flat = flat[np.isfinite(flat)]
    low, high = np.percentile(flat, [0.5, 99.5]) if flat.size else (0.0, 1.0)
    if low == high:  # few bright voxels in a dark image
        low, high = float(flat.min()), float(flat.max())
    return float(low), float(high if high > low else low + 1)


def place(panels: Sequence[Panel]) -> tuple[float, float, float] | None:
    """Where to look first, mm in RAS+: in the slices with most of the first label map that is not empty; or None."""
    for layer in (one for panel in panels for one in panel.layers if one.kind == "labels"):
        inside = np.asarray(layer.volume.array) != 0
        if not inside.any():
            continue
        z = int(inside.sum(axis=(1, 2)).argmax())
        y = int(inside[z].sum(axis=1).argmax())
        columns = np.flatnonzero(inside[z, y])
        return _to_mm(layer.volume, z, y, columns[np.abs(columns - columns.mean()).argmin()])
    return None


def middles(layer: Layer) -> dict[int, tuple[float, float, float]]:
    """{class number: middle of the box around its voxels, mm in RAS+} of the classes that a layer of labels shows."""
    numbers = sorted(layer.classes)
    boxes = scipy.ndimage.find_objects(places(layer.volume.array, np.array(numbers, np.int64)), len(numbers))
    return {number: _to_mm(layer.volume, *((side.start + side.stop - 1) / 2 for side in box))
            for number, box in zip(numbers, boxes, strict=True) if box}  # fmt: skip


def places(array: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Places of class numbers among the sorted known ones, from 1; 0 for all others."""
    if not len(known):
        return np.zeros(array.shape, np.uint8)
    at = np.minimum(np.searchsorted(known, array), len(known) - 1)
    return np.where(known[at] == array, at + 1, 0).astype(np.uint8 if len(known) < 256 else np.int16)


def _to_mm(volume: Volume, z: float, y: float, x: float) -> tuple[float, float, float]:
    found = (volume.affine @ [x, y, z, 1.0])[:3].tolist()
    return found[0], found[1], found[2]


def is_flat(panels: Sequence[Panel]) -> bool:
    """Whether panels show pictures: everything is one slice."""
    return all(layer.volume.shape[0] == 1 for panel in panels for layer in panel.layers)


def _numbers(name: str, volume: Volume) -> list[int]:
    array = np.asarray(volume.array)
    if array.ndim != 3:
        raise DataError(f"{name}: has {array.shape[-1]} channels, and a label map has one; show it as an image")
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array == np.rint(array)).all()):
        raise DataError(f"{name}: has fractions, and a label map has whole numbers; show it as an image or a map")
    found = np.unique(array)
    if len(found) > _MOST_CLASSES:
        raise DataError(f"{name}: has {len(found)} different numbers, too many for a label map; show it as an image")
    return [int(number) for number in found]
