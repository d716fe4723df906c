"""Pictures of objects in boxes, true and found, with their classes and scores; and precision over recall."""

import dataclasses

import numpy as np

from tfmed.pictures.style import COLOURS, LABELS, dark_figure, darken, panels

TRUE, FOUND, WRONG = "cyan", "orange", "red"


@dataclasses.dataclass(frozen=True)
class BoxedImage:
    """An image and its objects.

    Args:
        title: a few words.
        image: `(y, x)`, or `(y, x, 3)` of colours; values in [0, 1].
        found: `tfmed.io.objects.Objects` with scores, or None.
        true: `Objects`, or None where they are not known.
        right: bool, of each found one: whether it finds a true one; None: nothing is said.
    """

    title: str
    image: np.ndarray
    found: object = None
    true: object = None
    right: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class BoxedImages:
    """Images side by side, two in a row.

    Args:
        images: tuple of BoxedImage.
        overlap: intersection over union from which a found box is right, for the caption.
        said: what else the caption says.
    """

    images: tuple
    overlap: float = 0.5
    said: str = ""

    @property
    def caption(self):
        """What the picture shows, in words."""
        names = ", ".join(f"{one.title} ({self._counted(one)})" for one in self.images)
        said = f"Images: {names}. "
        if any(one.true is not None for one in self.images):
            said += f"True boxes: thin ({TRUE}). "
        if any(one.right is not None for one in self.images):
            said += (f"Found ones: {FOUND} where they overlap a true box of their class by {self.overlap:g} or more, "
                     f"else {WRONG}; with class and score.")  # fmt: skip
        elif any(one.found is not None for one in self.images):
            said += f"Found ones: {FOUND}, with class and score."
        return (said + " " + self.said).strip()

    def _counted(self, one):
        counts = [] if one.true is None else [f"{len(one.true.names)} true"]
        return ", ".join(counts + ([] if one.found is None else [f"{len(one.found.names)} found"]))

    def figure(self):
        """The picture as a matplotlib Figure."""
        columns = min(2, len(self.images))
        rows = -(-len(self.images) // columns)
        high, wide = self.images[0].image.shape[:2]
        size = (3.6 * min(wide / high, 2.0), 3.6)
        figure, axes = panels(rows, columns, size, (0.05, 0.05, 0.05, 0.3), (0.08, 0.3), "black")
        for axis in axes.ravel():
            axis.set_axis_off()
        for axis, one in zip(axes.ravel(), self.images, strict=False):
            draw_boxes(axis, one)
            axis.set_title(one.title[:60], color="white", fontsize=9)
        return figure


def draw_boxes(axis, one):
    """A BoxedImage on a matplotlib axis."""
    image = np.clip(np.asarray(one.image, np.float32), 0, 1)
    axis.imshow(image, cmap=None if image.ndim == 3 else "gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_xlim(-0.5, image.shape[1] - 0.5)
    axis.set_ylim(image.shape[0] - 0.5, -0.5)
    for box, name in _each(one.true):
        _rectangle(axis, box, LABELS[TRUE], 0.9, "" if one.found is not None else name, image.shape)
    for k, (box, name) in enumerate(_each(one.found)):
        good = one.right is None or one.right[k]
        text = f"{name} {one.found.scores[k]:.2f}" if one.found.scores is not None else name
        _rectangle(axis, box, LABELS[FOUND if good else WRONG], 1.6, text, image.shape)


def _each(objects):
    return () if objects is None else tuple(zip(objects.boxes, objects.names, strict=True))


def _rectangle(axis, box, colour, width, text, shape):
    from matplotlib.patches import Rectangle

    x0, y0, x1, y1 = box
    axis.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=width))
    if text:
        above = y0 > 0.06 * shape[0]
        place = {"va": "bottom" if above else "top", "ha": "left"}
        axis.text(max(x0, 0), y0 if above else y0 + 1, text[:28], color=colour, fontsize=7, clip_on=True, **place,
                  bbox={"facecolor": "black", "alpha": 0.55, "pad": 0.6, "linewidth": 0})  # fmt: skip


@dataclasses.dataclass(frozen=True)
class PrecisionRecall:
    """Precision over recall of each class, a panel per overlap.

    Args:
        panels: title -> {class: precision `(101,)` at the recalls 0, 0.01, ..., 1}; NaN where a class has no reference.
    """

    panels: dict

    @property
    def caption(self):
        """What the picture shows, in words."""
        return (
            f"Best precision at each recall or beyond, of each class ({', '.join(self.panels)}); the area below a line "
            "is its average precision, given behind its name."
        )

    def figure(self):
        """The picture as a matplotlib Figure."""
        figure = dark_figure(4.2 * len(self.panels), 3.4)
        axes = figure.subplots(1, len(self.panels), squeeze=False)[0]
        for axis, (title, curves) in zip(axes, self.panels.items(), strict=True):
            for k, (name, precision) in enumerate(curves.items()):
                if not np.isnan(precision).any():
                    style = ("-", "--", ":")[k // len(COLOURS) % 3]
                    label = f"{name[:22]} {np.mean(precision):.2f}"
                    axis.plot(np.linspace(0, 1, 101), precision, style, color=COLOURS[k % len(COLOURS)], label=label)
            axis.set_xlim(0, 1)
            axis.set_ylim(0, 1.02)
            darken(axis, title[:40], "recall", "precision")
            if axis.lines:
                axis.legend(fontsize=6, facecolor="black", labelcolor="white", framealpha=0.6, loc="lower left")
        return figure
