"""Pictures of clusters: how large they are."""

import dataclasses

from tfmed.pictures.style import COLOURS, REAL, dark_figure, darken


@dataclasses.dataclass(frozen=True)
class ClusterSizes:
    """A bar for each cluster, largest first.

    Args:
        sizes: images of each cluster.
    """

    sizes: list

    @property
    def caption(self):
        """What the picture shows, in words."""
        return (
            "Images of each cluster, largest first; dashed, as many as each would have if all were alike. One bar that "
            "towers over all others is a sign of collapse."
        )

    def figure(self):
        """The picture as a matplotlib Figure."""
        figure = dark_figure(6.4, 3.2)
        axis, ordered = figure.subplots(), sorted(self.sizes, reverse=True)
        axis.bar(range(len(ordered)), ordered, 0.85, color=COLOURS[0])
        axis.axhline(sum(ordered) / len(ordered), color=REAL, linewidth=0.9, linestyle="--")
        axis.set_xlim(-0.7, len(ordered) - 0.3)
        darken(axis, "", "cluster, by its size", "images")
        return figure
