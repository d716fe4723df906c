"""Pictures of boxes in slices, beside what a network makes of them."""

import dataclasses

import numpy as np

from tfmed.pictures.style import LABELS, panels

COLOURS = {"3-D box": "orange", "used box": "cyan", "tight box": "green"}
CONTOUR = "red"


@dataclasses.dataclass(frozen=True)
class BoxedSlice:
    """A slice, its boxes and a prediction.

    Args:
        title: a few words.
        image: `(y, x)`.
        boxes: name, one of `COLOURS`, -> (y0, y1, x0, x1), ends not included.
        prediction: mask `(y, x)`, or None.
    """

    title: str
    image: np.ndarray
    boxes: dict
    prediction: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class BoxedSlices:
    """A row of slices per case.

    Args:
        rows: title -> as many BoxedSlices in each.
        what: which boxes are used, in words.
    """

    rows: dict
    what: str

    @property
    def caption(self):
        """What the picture shows, in words."""
        slices = [one for row in self.rows.values() for one in row]
        names = ", ".join(
            f"{name} {colour}" for name, colour in COLOURS.items() if any(name in s.boxes for s in slices)
        )
        said = f"Rows: {', '.join(self.rows)}. Boxes: {names}; {self.what}."
        return said + (
            f" The {CONTOUR} contour is the network's." if any(s.prediction is not None for s in slices) else ""
        )

    def figure(self):
        """The picture as a matplotlib Figure."""
        columns = max(map(len, self.rows.values()))
        figure, axes = panels(len(self.rows), columns, (2.4, 2.4), (0.05, 0.05, 0.05, 0.4), (0.1, 0.4), "black")
        for line, (name, row) in zip(axes, self.rows.items(), strict=True):
            for axis in line:
                axis.set_axis_off()
            for axis, one in zip(line, row, strict=False):
                self._draw(axis, one, f"{name[:24]}\n{one.title}" if one is row[0] else one.title)
        return figure

    def _draw(self, axis, one, title):
        from matplotlib.patches import Rectangle

        low, high = np.percentile(one.image, [0.5, 99.5])
        axis.imshow(one.image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
        for name, (y0, y1, x0, x1) in one.boxes.items():
            if y1 > y0 and x1 > x0:  # the widest line below, so that boxes that agree are seen
                width = 1.0 + 0.8 * (len(COLOURS) - 1 - list(COLOURS).index(name))
                colour = LABELS[COLOURS[name]]
                edge = Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=width)
                axis.add_patch(edge)
        if one.prediction is not None and np.any(one.prediction):
            within = np.pad(np.asarray(one.prediction, np.float32), 1)
            y, x = (np.arange(-1, side + 1) for side in one.prediction.shape)
            axis.contour(x, y, within, levels=[0.5], colors=[LABELS[CONTOUR]], linewidths=1.0)
        axis.set_title(title, color="white", fontsize=9)
