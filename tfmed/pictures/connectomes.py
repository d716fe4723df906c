"""Pictures of connectomes: heat maps and rings of the strongest connections, real beside generated."""

import dataclasses

import numpy as np

from tfmed.pictures.style import panels

_STRONGEST = 1.5  # connections drawn on a ring, for each region


@dataclasses.dataclass(frozen=True)
class Connectivity:
    """Matrices to show.

    Args:
        matrices: {title: array `(d, d)`}, in [0, 1]; one row of heat maps and one of rings.
        columns: pictures per row.
    """

    matrices: dict
    columns: int = 4

    @property
    def caption(self):
        """What the picture shows, in words."""
        return (
            f"{', '.join(self.matrices)}. Above each other: the matrix, black 0, yellow {self._top():.2g} or more; and "
            "its strongest connections, regions on a ring in the atlas' order from the top clockwise."
        )

    def _top(self):
        return max(float(np.percentile(matrix, 99)) for matrix in self.matrices.values()) or 1.0

    def figure(self):
        """The picture as a matplotlib Figure."""
        count = len(self.matrices)
        columns = min(self.columns, count)
        rows = -(-count // columns)
        figure, axes = panels(2 * rows, columns, (2.5, 2.5), (0.1, 0.1, 0.1, 0.3), (0.2, 0.3), "black")
        for axis in axes.ravel():
            axis.set_axis_off()
        for number, (title, matrix) in enumerate(self.matrices.items()):
            row, column = divmod(number, columns)
            axes[2 * row, column].imshow(matrix, cmap="inferno", vmin=0, vmax=self._top(), interpolation="nearest")
            axes[2 * row, column].set_title(title, color="white", fontsize=9)
            _ring(axes[2 * row + 1, column], matrix, self._top())
        return figure


def _ring(axis, matrix, top):
    from matplotlib.collections import LineCollection

    regions = len(matrix)
    angle = 2 * np.pi * np.arange(regions) / regions
    places = np.stack([np.sin(angle), np.cos(angle)], -1)
    rows, columns = np.triu_indices(regions, 1)
    weights = matrix[rows, columns]
    chosen = np.argsort(weights)[-int(_STRONGEST * regions) :]
    chosen = chosen[weights[chosen] > 0]
    bend = np.linspace(0, 1, 16)[:, None]
    lines = []
    for i, j in zip(rows[chosen], columns[chosen], strict=True):  # a parabola towards the centre
        lines.append((1 - bend) ** 2 * places[i] + bend**2 * places[j])
    strength = np.clip(weights[chosen] / top, 0.05, 1)
    axis.add_collection(LineCollection(lines, array=strength, cmap="inferno", clim=(0, 1), linewidths=0.4 + strength))
    axis.plot(*places.T, ".", color="white", markersize=2)
    axis.set_xlim(-1.1, 1.1)
    axis.set_ylim(-1.1, 1.1)
    axis.set_aspect("equal")
