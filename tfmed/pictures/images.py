"""Pictures of 2-D images: rows of images, and a map of matches over a lattice of them."""

import dataclasses

import numpy as np

from tfmed.pictures.style import dark_figure


@dataclasses.dataclass(frozen=True)
class ImageGrid:
    """Rows of images `(H, W)`, or of colours `(H, W, 3)`.

    Args:
        rows: title -> list of images.
        window: (lowest, highest) value shown, black to white.
        caption: what the picture shows, in words.
        notes: title -> list of short texts below the images, or nothing.
    """

    rows: dict
    window: tuple
    caption: str
    notes: dict = dataclasses.field(default_factory=dict)

    def figure(self):
        """The picture as a matplotlib Figure: one mosaic, which is far quicker to draw than an axis per image."""
        columns = max(len(images) for images in self.rows.values())
        h, w, *colours = np.shape(next(iter(self.rows.values()))[0])
        line = max(2, round(0.16 * h))  # room for text above a row, and for notes below it
        tall = h + line * (2 if self.notes else 1)
        mosaic = np.full((tall * len(self.rows), (w + 2) * columns - 2, *colours), self.window[0], np.float32)
        width = 1.2 * columns
        figure = dark_figure(width, width * mosaic.shape[0] / mosaic.shape[1], None)
        axis = figure.add_axes([0, 0, 1, 1])
        axis.set_axis_off()
        for top, (title, images) in zip(range(0, len(mosaic), tall), self.rows.items(), strict=True):
            axis.text(1, top + 0.75 * line, title, color="white", fontsize=8)
            for k, image in enumerate(images):
                mosaic[top + line : top + line + h, k * (w + 2) : k * (w + 2) + w] = image
            for k, note in enumerate(self.notes.get(title, ())):
                axis.text((k + 0.5) * (w + 2), top + h + 1.7 * line, note, color="#c8c8c8", fontsize=7, ha="center")
        low, high = self.window
        if colours:
            mosaic, low, high = np.clip((mosaic - low) / (high - low), 0, 1), 0, 1
        axis.imshow(mosaic, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        return figure


@dataclasses.dataclass(frozen=True)
class HeatMap:
    """A map over a lattice of images, beside the lattice.

    Args:
        template, lattice, heat: images; the map has a value per place of the template's corner.
        place: (p, q) of the best match.
        caption: what the picture shows, in words.
    """

    template: np.ndarray
    lattice: np.ndarray
    heat: np.ndarray
    place: tuple
    caption: str

    def figure(self):
        """The picture as a matplotlib Figure."""
        figure = dark_figure(10, 4.2)
        axes = figure.subplots(1, 3, width_ratios=[1, 3, 3])
        h, w = self.template.shape
        for axis, image, title, colours in zip(
            axes, (self.template, self.lattice, self.heat), ("template", "real images", "match"),
            ("gray", "gray", "inferno"), strict=True,
        ):  # fmt: skip
            axis.imshow(image, cmap=colours)
            axis.set_title(title, color="white", fontsize=9)
            axis.set_axis_off()
        p, q = self.place
        axes[1].plot([q, q + w, q + w, q, q], [p, p, p + h, p + h, p], color="#ff5c5c", linewidth=1.5)
        return figure
