"""Pictures of volumes: three planes with the right proportions, written as PNG while a run goes on."""

import dataclasses
import hashlib
import shutil
from typing import Literal

import numpy as np

from tfmed.engine.panels import panels
from tfmed.engine.terminal import log
from tfmed.files import atomic_path
from tfmed.io import reorient


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


def pictures(method):
    """{name: Picture} of what a method wants to show."""
    return method.previews() if hasattr(method, "previews") else {}


def write(shown, folder, step, drawn=None):
    """Write pictures as `previews/<name>-<step>.png`, or `previews/<name>.png` when step is None.

    Args:
        shown: {name: picture}.
        folder: the run's.
        step: of the training, or None at its end.
        drawn: {name: (digest, path)} of the pictures before, kept up to date: one that shows the same is copied.
    """
    drawn = {} if drawn is None else drawn
    for name, picture in shown.items():
        suffix = "" if step is None else f"-{step:08d}"
        path = folder / "previews" / f"{name}{suffix}.png"
        digest = _digest(picture)
        before, there = drawn.get(name, (None, None))
        with atomic_path(path) as temporary:
            if digest == before and there.exists():
                shutil.copyfile(there, temporary)
            else:
                save(picture, temporary)
        drawn[name] = digest, path
        log.debug("%s written", path)


def _digest(picture):
    """A hash of all that a picture shows."""
    digest = hashlib.sha256()
    for part in _content(picture):
        digest.update(part)
    return digest.digest()


def _content(value):
    """The bytes that a picture is made of; of an object that nothing is known of they tell its place in memory."""
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        yield f"{array.dtype}{array.shape}".encode()
        yield array.tobytes()
    elif isinstance(value, (dict, tuple, list)):
        yield f"{type(value).__name__}{len(value)}".encode()
        for part in value.items() if isinstance(value, dict) else value:
            yield from _content(part)
    elif dataclasses.is_dataclass(value):
        yield type(value).__name__.encode()
        yield from _content([getattr(value, field.name) for field in dataclasses.fields(value)])
    else:
        yield repr(value).encode()


def save(picture, path):
    """Draw a picture, whatever kind it is; the file carries its caption as its "Description"."""
    figure = picture.figure()
    described = {"Description": picture.caption}
    figure.savefig(path, format="png", dpi=90, facecolor=figure.get_facecolor(), metadata=described)


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
