"""Views of files: images, and the label maps, probabilities and entropies that lie on their grids."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from tfmed.data.preprocess import Resample
from tfmed.errors import UserError
from tfmed.files import expanded
from tfmed.io import read_volume
from tfmed.io.geometry import same_grid
from tfmed.io.label_tables import read_itksnap_labels
from tfmed.io.read import READERS
from tfmed.io.stack import SUFFIXES as PICTURES
from tfmed.io.stack import read_stack
from tfmed.io.volume import Volume
from tfmed.pictures import layers
from tfmed.pictures.layers import Layer, Panel, View

KINDS = {  # how names of files end -> what they are
    "labels": ("_labels", "_label", "_seg", "_segmentation", "_mask"),
    "probabilities": ("_probabilities", "_probability"),
    "entropy": ("_entropy",),
}
NAMES = "label_names.txt"  # beside label maps: names and colours of their numbers, as `tfmed predict` writes them


def views(words: Sequence[str], together: bool = False, spacing: float | None = None) -> Iterator[View]:
    """A View of each image, with what lies over it; of overlays without an image one each.

    An overlay belongs to the images on its grid; where names of some of these begin its own, to those alone.

    Args:
        words: files or DICOM folders; "labels=FILE" says what a file is where its name does not (`image`, `labels`,
            `probabilities`, `entropy`).
        together: images on one grid are panels of one view.
        spacing: mm of the voxels that are shown; None: those of the files.

    Raises:
        UserError: a file is damaged or no image, or is not of the kind that it is said to be.
    """
    found = [_kind(word) for word in words]
    images = [(path, _read(path, "image", spacing)) for kind, path in found if kind == "image"]
    overlays = [(kind, path, _read(path, kind, spacing)) for kind, path in found if kind != "image"]
    taken: list[list[Layer]] = [[] for _ in images]
    alone = []
    for kind, path, volume in overlays:
        fits = [k for k, (_, image) in enumerate(images) if same_grid(image, volume)]
        named = [k for k in fits if _stem(path).startswith(_stem(images[k][0]))]
        made = _layers(kind, path, volume, bool(fits))
        for k in named or fits:
            taken[k] += made
        if not fits:
            alone.append(View(path.name, (Panel(path.name, tuple(made)),)))
    panels = [(volume, Panel(path.name, (*_layers("image", path, volume, True), *over)))
              for (path, volume), over in zip(images, taken, strict=True)]  # fmt: skip
    while panels:
        volume, panel = panels.pop(0)
        mates = [other for other in panels if together and same_grid(volume, other[0])]
        panels = [other for other in panels if not any(other is mate for mate in mates)]
        shown = (panel, *(mate for _, mate in mates))
        yield View(", ".join(one.title for one in shown), shown)
    yield from alone


def _kind(word: str) -> tuple[str, pathlib.Path]:
    key, equals, rest = word.partition("=")
    if equals and key in ("image", *KINDS):
        return key, expanded(rest)
    path = expanded(word)
    stem = _stem(path).lower()
    return next((kind for kind, ends in KINDS.items() if stem.endswith(ends)), "image"), path


def _stem(path: pathlib.Path) -> str:
    name = path.name
    return next((name[: -len(end)] for end in (*READERS, *PICTURES) if name.lower().endswith(end)), name)


def _read(path: pathlib.Path, kind: str, spacing: float | None) -> Volume:
    if path.suffix.lower() in PICTURES and not path.is_dir():
        volume = read_stack([path])
        if volume.array.ndim == 4:
            volume = volume.replace(array=_grey_or_colour(volume.array, path))
        return volume
    volume = read_volume(path)
    if volume.array.ndim == 4 and volume.array.shape[3] == 1:
        volume = volume.replace(array=volume.array[..., 0])
    if spacing is not None and volume.shape[0] > 1:
        volume = Resample(spacing_mm=(spacing,) * 3).apply(volume, is_label=kind == "labels")
    return volume


def _grey_or_colour(array: np.ndarray, path: pathlib.Path) -> np.ndarray:
    """`(1, y, x, 3)` uint8 of a picture in colour, its transparency left out; `(1, y, x)` of a grey one."""
    if array.shape[3] in (2, 4):
        array = array[..., :-1]
    if array.shape[3] == 1 or (array[..., :1] == array).all():
        return np.ascontiguousarray(array[..., 0])
    if array.dtype != np.uint8:
        raise UserError(f"{path}: is a colour picture of {array.dtype} values; convert it to 8 bits per colour")
    return array


def _layers(kind: str, path: pathlib.Path, volume: Volume, over: bool) -> list[Layer]:
    """The layers of a file; `over` an image, or alone."""
    name, array = _stem(path), volume.array
    names, colours = _names(path)
    if kind == "labels":
        return [layers.labels(name, volume, names, colours)]
    channels = [array] if array.ndim == 3 else [array[..., k] for k in range(array.shape[3])]
    if kind == "image":
        if len(channels) == 3 and array.dtype == np.uint8:
            return [layers.image(name, volume)]
        if len(channels) > 1:
            window = layers.spread(array)
            made = [layers.image(f"{name}, channel {k}", volume.replace(array=np.ascontiguousarray(one)), window)
                    for k, one in enumerate(channels)]  # fmt: skip
            return [*made[:1], *(_hidden(one) for one in made[1:])]
        return [layers.image(name, volume)]
    if kind == "entropy":
        return [layers.entropy(volume.replace(array=channels[0]), name, shown=not over)]
    called = (
        list(names.values()) if len(names) == len(channels) - 1 else [f"class {k}" for k in range(1, len(channels))]
    )
    called = [name] if len(channels) == 1 else [f"probability of {one}" for one in called]
    shown = channels if len(channels) == 1 else channels[1:]
    return [layers.probability(text, volume.replace(array=np.ascontiguousarray(one)), not over and k == 0)
            for k, (text, one) in enumerate(zip(called, shown, strict=True))]  # fmt: skip


def _hidden(layer: Layer) -> Layer:
    return dataclasses.replace(layer, shown=False)


def _names(path: pathlib.Path) -> tuple[dict[int, str], dict[int, layers.Colour]]:
    """({number: name}, {number: colour}) of the table beside a file; empty where there is none."""
    table = path.parent / NAMES
    if not os.path.lexists(table):
        return {}, {}
    found = read_itksnap_labels(table)
    return {k: name for k, (name, _) in found.items()}, {k: colour for k, (_, colour) in found.items()}
