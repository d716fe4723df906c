"""Pictures of planes at any angle: where they lie in a volume, what is annotated on them, and what a network says."""

import dataclasses

import numpy as np

from tfmed.pictures.style import LABELS, dark_figure

ANNOTATION, TRAINING = "cyan", "red"
_EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if bin(a ^ b).count("1") == 1]  # of a box


@dataclasses.dataclass(frozen=True)
class Shown:
    """A plane: image `(rows, columns)`, class numbers with `ignore` beside lines, and those that the network says."""

    title: str
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray


@dataclasses.dataclass(frozen=True)
class PlanesInVolume:
    """A box with planes, and a row of pictures for each plane that is shown.

    Args:
        size: (z, y, x) voxels of the volume.
        annotation: `(n, 6 or less, 3)` list of polygons, see `polygon`, of annotated planes.
        training: polygons of planes that train.
        shown: the planes that are shown.
        ignore: label of pixels that are not annotated.
    """

    size: tuple
    annotation: tuple
    training: tuple
    shown: tuple
    ignore: int = 255

    @property
    def caption(self):
        """What the picture shows, in words."""
        shares = ", ".join(f"{plane.title} {100 * np.mean(plane.label != self.ignore):.1f} %" for plane in self.shown)
        return (
            f"Left: a training volume with its annotated planes ({len(self.annotation)}, {ANNOTATION}) and up to "
            f"{len(self.training)} of the planes that train ({TRAINING}). Right: such planes, what is annotated on "
            f"them (grey: not annotated; {shares}), and what the network says."
        )

    def figure(self):
        """The picture as a matplotlib Figure."""
        count = max(len(self.shown), 1)
        figure = dark_figure(10.5, max(2.0 * count, 3.6))
        grid = figure.add_gridspec(count, 4, width_ratios=[1.6, 1, 1, 1], wspace=0.05, hspace=0.2,
                                   left=0.01, right=0.99, top=0.93, bottom=0.02)  # fmt: skip
        self._draw_box(figure.add_subplot(grid[:, 0], projection="3d"))
        for row, plane in enumerate(self.shown):
            axes = [figure.add_subplot(grid[row, column]) for column in (1, 2, 3)]
            self._draw_row(axes, plane)
        return figure

    def _draw_box(self, axis):
        from mpl_toolkits.mplot3d.art3d import Poly3DCollection

        last = np.array(self.size, float) - 0.5
        corners = np.array([[(-0.5, last[a])[k >> a & 1] for a in range(3)] for k in range(8)])
        for a, b in _EDGES:
            axis.plot(*zip(corners[a][::-1], corners[b][::-1], strict=True), color="#808080", linewidth=0.8)
        for polygons, colour, alpha in ((self.training, TRAINING, 0.08), (self.annotation, ANNOTATION, 0.3)):
            faces = [corner[:, ::-1] for corner in polygons if len(corner) > 2]
            if faces:
                axis.add_collection3d(Poly3DCollection(faces, facecolor=LABELS[colour], edgecolor=LABELS[colour],
                                                       alpha=alpha, linewidth=0.8))  # fmt: skip
        axis.set_box_aspect(np.array(self.size[::-1], float))
        axis.set_axis_off()
        axis.patch.set_alpha(0)

    def _draw_row(self, axes, plane):
        low, high = np.percentile(plane.image, [0.5, 99.5])
        for axis, name in zip(axes, ("image", "annotated", "network"), strict=True):
            axis.imshow(plane.image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
            axis.set_axis_off()
            axis.set_title(f"{plane.title}: {name}" if name == "image" else name, color="white", fontsize=8)
        axes[1].imshow(_coloured(plane.label, self.ignore), interpolation="nearest")
        axes[2].imshow(_coloured(plane.prediction, self.ignore, 0.45), interpolation="nearest")


def _coloured(label, ignore, alpha=0.9):
    """RGBA of class numbers: background blue-grey, classes in their colours, the rest see-through."""
    colours = np.zeros((*label.shape, 4), np.float32)
    values = list(LABELS.values())
    colours[label == 0] = (0.25, 0.3, 0.55, alpha if (label == ignore).any() else 0.0)
    for k in np.unique(label[(label != 0) & (label != ignore)]):
        colours[label == k] = (*_rgb(values[(int(k) - 1) % len(values)]), alpha)
    colours[label == ignore] = (0.35, 0.35, 0.35, 0.55)
    return colours


def _rgb(colour):
    from matplotlib.colors import to_rgb

    return to_rgb(colour)


def polygon(size, frame, centre):
    """The corners `(n, 3)`, (z, y, x), at which a plane cuts the edges of a volume, in order around it; n up to 6."""
    last = np.array(size, float) - 0.5
    corners = np.array([[(-0.5, last[a])[k >> a & 1] for a in range(3)] for k in range(8)])
    height = (corners - centre) @ np.asarray(frame)[0]
    found = []
    for a, b in _EDGES:
        if (height[a] < 0) != (height[b] < 0):
            share = height[a] / (height[a] - height[b])
            found.append(corners[a] + share * (corners[b] - corners[a]))
    if not found:
        return np.zeros((0, 3))
    found = np.array(found)
    flat = (found - found.mean(0)) @ np.asarray(frame)[1:].T
    return found[np.argsort(np.arctan2(flat[:, 0], flat[:, 1]))]
