"""Pictures of volumes: three planes with the right proportions, written as PNG while a run goes on."""

import dataclasses
from typing import Literal

import numpy as np

from tfmed.io import reorient
from tfmed.pictures.style import panels


@dataclasses.dataclass(frozen=True)
class Scale:
    """How values are shown: (lowest, highest), their unit, and a colour map of matplotlib's, gray or red and blue."""

    window: tuple
    unit: str = ""
    colours: Literal["gray", "RdBu_r"] = "gray"

    @property
    def words(self):
        """What the ends of the scale are."""
        first, last = ("black", "white") if self.colours == "gray" else ("blue", "red")
        low, high = (f"{value:.4g}" for value in self.window)
        return f"{first} is {low}, {last} {high} {self.unit}".rstrip()


@dataclasses.dataclass(frozen=True)
class Picture:
    """A row of volumes to show in three planes.

    Args:
        volumes: title -> Volume (z, y, x), any orientation.
        window: (lowest, highest) value shown, black to white.
        unit: of these values, such as "HU".
        own: title -> Scale, of volumes that are shown in another way.
    """

    volumes: dict
    window: tuple
    unit: str = ""
    own: dict = dataclasses.field(default_factory=dict)

    def scale(self, title):
        """The Scale of a row."""
        return self.own.get(title) or Scale(self.window, self.unit)

    @property
    def caption(self):
        """What the picture shows, in words."""
        low, high = (f"{value:g}" for value in self.window)
        others = "".join(f" ({title}: {scale.words})" for title, scale in self.own.items())
        return (
            f"Rows: {', '.join(self.volumes)}; columns: the central axial, coronal and sagittal planes. "
            f"Black is {low}, white {high} {self.unit}".rstrip()
            + f"{others}. Axial and coronal planes are seen "
            "from the feet and from the front: the patient's right is on the left."
        )

    def figure(self):
        """The picture as a matplotlib Figure."""
        return _three_planes(self)


def _three_planes(picture):
    """A row per volume: axial, coronal and sagittal; red (or green) where a voxel is no finite number."""
    from matplotlib import colormaps

    figure, axes = panels(len(picture.volumes), 3, (2.9, 2.75), (0.1, 0.1, 0.05, 0.3), (0.05, 0.3), "black")
    for row, (title, volume) in zip(axes, picture.volumes.items(), strict=True):
        scale = picture.scale(title)
        colours = colormaps[scale.colours].with_extremes(bad="red" if scale.colours == "gray" else "lime")
        for axis, (plane, (image, aspect)) in zip(row, planes(volume).items(), strict=True):
            low, high = scale.window
            axis.imshow(image, cmap=colours, vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
            axis.set_title(f"{title}, {plane}", color="white", fontsize=9)
            axis.set_anchor("N")
            axis.set_axis_off()
    return figure


def planes(volume, at=None):
    """{"axial", "coronal", "sagittal"} -> (2-D image as radiologists hang it, pixel aspect).

    Anterior (axial) or superior is at the top; the patient's right, in sagittal planes anterior, is on the left.

    Args:
        volume: a Volume of any orientation.
        at: voxel (z, y, x), counted from inferior, posterior and left, that the planes cut; default the centre.
    """
    volume = reorient(volume, "RAS")
    z, y, x = at or [n // 2 for n in volume.shape]
    sz, sy, sx = volume.spacing
    cuts = {
        "axial": (volume.array[z, ::-1, ::-1], sy / sx),
        "coronal": (volume.array[::-1, y, ::-1], sz / sx),
        "sagittal": (volume.array[::-1, ::-1, x], sz / sy),
    }
    return {name: (np.asarray(image, np.float32), aspect) for name, (image, aspect) in cuts.items()}
