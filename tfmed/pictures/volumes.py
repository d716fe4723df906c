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


def draw_directions(axis, plane):
    """Letters at the sides of a plane that `planes` gives: R and L, in sagittal ones A and P."""
    left, right = ("A", "P") if plane == "sagittal" else ("R", "L")
    style = {"color": "white", "fontsize": 8, "va": "center", "transform": axis.transAxes}
    axis.text(0.02, 0.5, left, ha="left", **style)
    axis.text(0.98, 0.5, right, ha="right", **style)


def draw_scale_bar(axis, volume, plane, shape):
    """A bar of a round length, about a fifth of the width, at the lower left of a plane.

    Args:
        axis: of matplotlib, with the plane in pixels.
        volume: the Volume.
        plane: "axial", "coronal" or "sagittal".
        shape: (height, width) of the plane in pixels.
    """
    pixel_mm = reorient(volume, "RAS").spacing[1 if plane == "sagittal" else 2]
    length_mm = round_length(shape[1] * pixel_mm / 5)
    low, start = shape[0] * 0.96 - 0.5, shape[1] * 0.04 - 0.5
    axis.plot(
        [start, start + length_mm / pixel_mm], [low, low], color="white", linewidth=1.5, scalex=False, scaley=False
    )
    axis.text(start, low - 0.02 * shape[0], f"{length_mm:g} mm", color="white", fontsize=7, ha="left", va="bottom")


def round_length(longest):
    """The largest of 1, 2 and 5 times a power of ten that is not above a length.

    Example:
        >>> [round_length(value) for value in (0.7, 19.9, 20, 77)]
        [0.5, 10.0, 20.0, 50.0]
    """
    power = 10.0 ** np.floor(np.log10(longest))
    return float(max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9)))
