"""Pictures of many volumes: a grid in each of three planes."""

import dataclasses

from tfmed.pictures.volumes import planes


@dataclasses.dataclass(frozen=True)
class VolumeGrid:
    """A grid of volumes, drawn once for each plane.

    Args:
        rows: title of the row -> {title of the column -> Volume, or None for an empty place}; each with all columns.
        window: (lowest, highest) value shown, black to white.
        about: what the grid shows, a sentence.
    """

    rows: dict
    window: tuple
    about: str

    @property
    def caption(self):
        """What the picture shows, in words."""
        low, high = (f"{value:g}" for value in self.window)
        return (
            f"{self.about} From above: the central axial, coronal and sagittal planes. Black is {low}, white {high}. "
            "The patient's right is on the left."
        )

    def figure(self):
        """The picture as a matplotlib Figure."""
        from matplotlib.figure import Figure

        columns = list(next(iter(self.rows.values())))
        shown = {where: volume for where, volume in self._volumes() if volume is not None}
        cuts = {where: planes(volume) for where, volume in shown.items()}
        size = (1.5 * len(columns) + 0.4, 3 * 1.6 * len(self.rows) + 0.6)
        figure = Figure(figsize=size, facecolor="black", layout="constrained")
        for panel, plane in zip(figure.subfigures(3, 1), ("axial", "coronal", "sagittal"), strict=True):
            panel.set_facecolor("black")
            axes = panel.subplots(len(self.rows), len(columns), squeeze=False)
            for number, (line, row) in enumerate(zip(axes, self.rows, strict=True)):
                for axis, column in zip(line, columns, strict=True):
                    axis.set_xticks([])
                    axis.set_yticks([])
                    axis.set_frame_on(False)
                    if number == 0:
                        axis.set_title(column, color="white", fontsize=8)
                    if column == columns[0]:
                        axis.set_ylabel(row, color="white", fontsize=8)
                    if (row, column) in cuts:
                        image, aspect = cuts[row, column][plane]
                        low, high = self.window
                        axis.imshow(image, "gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
        return figure

    def _volumes(self):
        for row, cells in self.rows.items():
            for column, volume in cells.items():
                yield (row, column), volume


def mixing_picture(table):
    """Grid of volumes in [0, 1] whose coarse layers are the row's and whose fine layers are the column's.

    Args:
        table: {row: {column: Volume}}; the first row and column hold the volumes that are mixed.
    """
    about = "Style mixing: first column and first row are the sources; the coarse layers are the row's, the fine ones "
    return VolumeGrid(table, (0.0, 1.0), about + "the column's.")


def interpolation_picture(way, first, second):
    """Grid of the volumes {share: Volume} in [0, 1] between two sources with names."""
    return VolumeGrid({"": way}, (0.0, 1.0), f"From {first.name} to {second.name}, in equal steps of style.")
