"""Pictures of latent spaces of two dimensions: a metric's volumes, and what lies on them."""

import dataclasses

import numpy as np

from tfmed.pictures.style import COLOURS, REAL, panels


@dataclasses.dataclass(frozen=True)
class LatentPlane:
    """A plane of latents for each title, side by side.

    Args:
        planes: title -> (extent (left, right, bottom, top), values `(y, x)` from the bottom on).
        points: title -> {name: points `(n, 2)`}: at most three names, the same for all planes.
        paths: title -> list of lines `(m, 2)`.
        caption: what the picture shows, in words.
    """

    planes: dict
    points: dict
    paths: dict
    caption: str

    def figure(self):
        """The picture as a matplotlib Figure."""
        figure, axes = panels(1, len(self.planes), (3.4, 3.2), (0.4, 0.1, 0.6, 0.35), (0.35, 0.0))
        for axis, (title, (extent, values)) in zip(axes[0], self.planes.items(), strict=True):
            axis.imshow(values, extent=extent, origin="lower", cmap="gray", aspect="auto")
            for (name, points), colour in zip(self.points[title].items(), (REAL, *COLOURS), strict=False):
                axis.plot(*np.transpose(points), ".", color=colour, markersize=4, label=name)
            for path in self.paths[title]:
                axis.plot(*np.transpose(path), color=COLOURS[2], linewidth=1)
            axis.set_xlim(extent[:2])
            axis.set_ylim(extent[2:])
            axis.set_title(title, fontsize=9)
            axis.tick_params(labelsize=7)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=len(labels), fontsize=8, frameon=False)
        return figure
