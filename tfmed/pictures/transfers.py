"""Pictures of pairs of images of the same cells: what was matched, and what went from one to the other."""

import dataclasses

import numpy as np

from tfmed.pictures.contact_sheet import outlines
from tfmed.pictures.style import LABELS, panels

COLOURS = {"kept": "cyan", "replaced": "orange", "copied": "red", "removed": "violet"}
_GAP = 6  # pixels between two images with matches


@dataclasses.dataclass(frozen=True)
class Visit:
    """An image `(y, x)`, its cells before and after, and which numbers of them are what.

    Args:
        image: grey values.
        before, after: instance maps.
        changes: name, one of `COLOURS`, -> numbers in `after`, those of "removed" in `before`.
    """

    image: np.ndarray
    before: np.ndarray
    after: np.ndarray
    changes: dict


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two visits, and lines from places `(y, x)` in the first to places in the second: `(n, 2, 2)`."""

    title: str
    first: Visit
    second: Visit
    matches: np.ndarray


@dataclasses.dataclass(frozen=True)
class Transfers:
    """A row per pair: both images as they were found, with matches as lines, and each after the exchange."""

    pairs: tuple

    @property
    def caption(self):
        """What the picture shows, in words."""
        rows = ", ".join(f"{pair.title} ({_counts(pair)})" for pair in self.pairs)
        colours = ", ".join(f"{name} {colour}" for name, colour in COLOURS.items())
        return (
            f"Rows: {rows}. On the left both visits with the cells that the network found, in white, and lines between "
            f"those that were matched; then either visit after the exchange: {colours} (as it was before)."
        )

    def figure(self):
        """The picture as a matplotlib Figure."""
        figure, axes = panels(len(self.pairs), 4, (3.2, 3.2), (0.05, 0.05, 0.05, 0.4), (0.06, 0.4), "black")
        for line, pair in zip(axes, self.pairs, strict=True):
            left = _joined(line[0], line[1])
            _draw_matches(left, pair)
            for axis, visit, name in ((line[2], pair.first, "first"), (line[3], pair.second, "second")):
                axis.imshow(_after(visit), interpolation="nearest")
                axis.set_title(f"{name} visit, after", color="white", fontsize=9)
                axis.set_axis_off()
        return figure


def _joined(one, other):
    """One axis in the place of two."""
    a, b = one.get_position(), other.get_position()
    other.remove()
    one.set_position([a.x0, a.y0, b.x1 - a.x0, a.height])
    return one


def _draw_matches(axis, pair):
    shown = [_painted(visit.image, {"white": outlines(visit.before)}) for visit in (pair.first, pair.second)]
    height, offset = max(one.shape[0] for one in shown), shown[0].shape[1] + _GAP
    whole = np.zeros((height, offset + shown[1].shape[1], 3), np.float32)
    whole[: shown[0].shape[0], : shown[0].shape[1]] = shown[0]
    whole[: shown[1].shape[0], offset:] = shown[1]
    axis.imshow(whole, interpolation="nearest")
    for (y0, x0), (y1, x1) in pair.matches:
        axis.plot([x0, x1 + offset], [y0, y1], color=LABELS["green"], linewidth=0.5, alpha=0.7)
    axis.set_title(f"{pair.title[:40]}: {len(pair.matches)} matches", color="white", fontsize=9)
    axis.set_axis_off()


def _after(visit):
    edges = outlines(visit.after)
    marks = {"violet": outlines(np.where(np.isin(visit.before, visit.changes["removed"]), visit.before, 0))}
    for name in ("kept", "replaced", "copied"):
        marks[COLOURS[name]] = edges & np.isin(visit.after, visit.changes[name])
    return _painted(visit.image, marks)


def _painted(image, marks):
    """Grey values as colours with some pixels of others: {name of a colour: mask}."""
    from matplotlib.colors import to_rgb

    low, high = np.percentile(image, [0.5, 99.5])
    picture = np.stack([np.clip((image - low) / max(high - low, 1e-6), 0, 1)] * 3, -1).astype(np.float32)
    for colour, mask in marks.items():
        picture[mask] = to_rgb(LABELS[colour])
    return picture


def _counts(pair):
    return "; ".join(
        ", ".join(f"{len(visit.changes[name])} {name}" for name in COLOURS) for visit in (pair.first, pair.second)
    )
