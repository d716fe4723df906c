"""Pictures of masks that were changed on purpose, beside what they had been."""

import dataclasses

import numpy as np

from tfmed.pictures.style import LABELS, panels

BEFORE, AFTER = "cyan", "red"


@dataclasses.dataclass(frozen=True)
class Row:
    """An image `(H, W)`, its mask, and what became of the mask each time: masks of one shape."""

    title: str
    image: np.ndarray
    clean: np.ndarray
    changed: tuple


@dataclasses.dataclass(frozen=True)
class ChangedMasks:
    """A row per image: its own mask, and its changed ones.

    Args:
        rows: the Rows, each with as many changed masks.
        titles: of the columns of changed masks.
        what: what was done to them, in words.
    """

    rows: tuple
    titles: tuple
    what: str

    @property
    def caption(self):
        """What the picture shows, in words."""
        rows = ", ".join(f"{row.title} ({_kept(row)})" for row in self.rows)
        return (
            f"Rows: {rows}; percentages: area of the changed masks against the clean one. Clean masks are {BEFORE}, "
            f"those that the network learns from {AFTER}: {self.what}."
        )

    def figure(self):
        """The picture as a matplotlib Figure."""
        columns = ("clean", *self.titles)
        figure, axes = panels(len(self.rows), len(columns), (2.2, 2.2), (0.05, 0.05, 0.05, 0.4), (0.1, 0.4), "black")
        for line, row in zip(axes, self.rows, strict=True):
            low, high = np.percentile(row.image, [0.5, 99.5])
            for axis, title, mask in zip(line, columns, (row.clean, *row.changed), strict=True):
                axis.imshow(row.image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
                _contour(axis, row.clean, BEFORE)
                if mask is not row.clean:
                    _contour(axis, mask, AFTER)
                axis.set_axis_off()
                axis.set_title(f"{row.title[:22]}\n{title}" if axis is line[0] else title, color="white", fontsize=9)
        return figure


def _contour(axis, mask, colour):
    if np.any(mask):  # a border of zeros closes contours of masks that reach an image's border
        inside = np.pad(np.asarray(mask, np.float32), 1)
        y, x = (np.arange(-1, side + 1) for side in np.shape(mask))
        axis.contour(x, y, inside, levels=[0.5], colors=[LABELS[colour]], linewidths=1.2)


def _kept(row):
    size = max(np.count_nonzero(row.clean), 1)
    return ", ".join(f"{100 * np.count_nonzero(mask) / size:.0f} %" for mask in row.changed)
