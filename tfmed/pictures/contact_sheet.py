"""Contact sheets: one slice of each case with the outlines of its labels, many cases on a page."""

import dataclasses

import numpy as np

from tfmed.io import reorient
from tfmed.pictures.style import COLOURS, REAL, panels
from tfmed.pictures.volumes import planes

COLUMNS, ROWS = 6, 4
_COLOURS = (REAL, *COLOURS)
_WARNED = "#ff5c5c"
_MUCH = 4  # times as many pixels as an axial slice has, for another plane to be shown in its place
_NARROW = 26  # letters of a title


@dataclasses.dataclass(frozen=True)
class Cell:
    """A case on a sheet.

    Attributes:
        title: its name.
        pixels: float32 (y, x), (y, x, 3) in 0 .. 1 for colour; None for a case that cannot be read.
        labels: whole numbers (y, x), or None.
        aspect: height of a pixel by its width.
        notes: short warnings.
    """

    title: str
    pixels: np.ndarray | None
    labels: np.ndarray | None = None
    aspect: float = 1.0
    notes: tuple[str, ...] = ()

    @staticmethod
    def of(title, image, label, notes=()):
        """The slice of an image, a Volume, with the largest labelled area of its label map (or None); else the middle
        one. It is axial unless another plane shows much more."""
        at = _middle(image, label)
        shown = planes(image.replace(array=_first_channel(image.array)), at)
        name = max(shown, key=lambda plane: shown[plane][0].size)
        name = name if shown[name][0].size >= _MUCH * shown["axial"][0].size else "axial"
        pixels, aspect = shown[name]
        labels = None if label is None else planes(label.replace(array=_first_channel(label.array)), at)[name][0]
        return Cell(title, _step(pixels), None if labels is None else _step(labels).astype(np.int64), aspect, notes)


@dataclasses.dataclass(frozen=True)
class ContactSheet:
    """A page.

    Args:
        cells: up to 24.
        shown: which cases these are, in words.
    """

    cells: tuple
    shown: str

    @property
    def caption(self):
        """What the picture shows, in words."""
        return (
            f"{self.shown} One slice of each, grey from its 0.5th to its 99.5th percentile, with the outlines of its "
            "labels; names in red stand above cases with warnings. In axial and coronal planes the patient's right is "
            "on the left."
        )

    def figure(self):
        """The picture as a matplotlib Figure."""
        rows = -(-len(self.cells) // COLUMNS)
        figure, axes = panels(rows, COLUMNS, (2.1, 2.1), (0.05, 0.05, 0.05, 0.62), (0.06, 0.5), "black")
        figure.text(0.005, 0.995, self.shown, color="white", fontsize=8, va="top")
        for axis in axes.flat:
            axis.set_axis_off()
            axis.set_anchor("N")
        for axis, cell in zip(axes.flat, self.cells, strict=False):
            _draw(axis, cell)
        return figure


def _draw(axis, cell):
    name = cell.title if len(cell.title) <= _NARROW else f"{cell.title[: _NARROW - 3]}..."
    note = ", ".join(cell.notes)
    axis.set_title(f"{name}\n{note[:36]}", color=_WARNED if cell.notes else "white", fontsize=7.5, pad=3)
    if cell.pixels is None:
        axis.text(0.5, 0.5, "cannot be read", color=_WARNED, ha="center", transform=axis.transAxes, fontsize=8)
        return
    low, high = np.nanpercentile(cell.pixels, [0.5, 99.5])
    grey = np.clip((cell.pixels - low) / max(high - low, 1e-6), 0, 1)
    picture = np.stack([np.nan_to_num(grey)] * 3, -1)
    if cell.labels is not None:
        edges = outlines(cell.labels)
        picture[edges] = _rgb()[(cell.labels[edges] - 1) % len(_COLOURS)]
    axis.imshow(picture, aspect=cell.aspect, interpolation="nearest")


def outlines(labels):
    """Whether each pixel of a label map (y, x) is labelled and has a neighbour of another number."""
    padded = np.pad(labels, 1, mode="edge")
    middle, found = padded[1:-1, 1:-1], np.zeros(labels.shape, bool)
    for moved in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        found |= moved != middle
    return found & (labels != 0)


def _rgb():
    return np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in _COLOURS], np.float32)


def _first_channel(array):
    return array[..., 0] if array.ndim == 4 else array


def _step(plane, most=256):
    """A plane with fewer than twice `most` pixels on a side."""
    step = max(1, max(plane.shape) // most)
    return plane[::step, ::step]


def _middle(image, label):
    """Voxel (z, y, x) of the RAS volume through which planes cut: in each axis the slice with most labels."""
    if label is not None:
        mask = _first_channel(reorient(label, "RAS").array) != 0
        if mask.any():
            return [int(mask.sum(axis=tuple(i for i in range(3) if i != axis)).argmax()) for axis in range(3)]
    return [size // 2 for size in reorient(image, "RAS").shape]
