"""Pictures of volumes: three planes with the right proportions, written as PNG while a run goes on."""

import dataclasses

import numpy as np

from tfmed.engine.terminal import log
from tfmed.files import atomic_path


@dataclasses.dataclass(frozen=True)
class Picture:
    """A row of volumes to show in three planes.

    Args:
        volumes: title -> Volume (z, y, x), any orientation close to RAS.
        window: (lowest, highest) value shown, black to white.
    """

    volumes: dict
    window: tuple


def pictures(method):
    """{name: Picture} of what a method wants to show."""
    return method.previews() if hasattr(method, "previews") else {}


def write(shown, folder, step):
    """Write pictures as `previews/<name>-<step>.png`, or `previews/<name>.png` when step is None."""
    for name, picture in shown.items():
        suffix = "" if step is None else f"-{step:08d}"
        path = folder / "previews" / f"{name}{suffix}.png"
        with atomic_path(path) as temporary:
            save(picture, temporary)
        log.debug("%s written", path)


def save(picture, path):
    """Draw a Picture: a row per volume, axial, coronal and sagittal."""
    from matplotlib.figure import Figure

    rows = len(picture.volumes)
    figure = Figure(figsize=(9, 3.1 * rows), facecolor="black", layout="constrained")
    axes = np.atleast_2d(figure.subplots(rows, 3))
    for row, (title, volume) in zip(axes, picture.volumes.items(), strict=True):
        for axis, (plane, (image, aspect)) in zip(row, planes(volume).items(), strict=True):
            axis.imshow(image, cmap="gray", vmin=picture.window[0], vmax=picture.window[1], aspect=aspect,
                        interpolation="nearest")
            axis.set_title(f"{title}, {plane}", color="white", fontsize=9)
            axis.set_axis_off()
    figure.savefig(path, format="png", dpi=90, facecolor="black")


def planes(volume, at=None):
    """{"axial", "coronal", "sagittal"} -> (2-D image as radiologists hang it, pixel aspect), of a RAS volume.

    Args:
        volume: (z, y, x), its axes pointing superior, anterior and right.
        at: voxel (z, y, x) that the planes cut; default the centre.
    """
    array = np.asarray(volume.array, dtype=np.float32)
    z, y, x = at or [n // 2 for n in volume.shape]
    sz, sy, sx = volume.spacing
    return {
        "axial": (array[z, ::-1, ::-1], sy / sx),
        "coronal": (array[::-1, y, ::-1], sz / sx),
        "sagittal": (array[::-1, ::-1, x], sz / sy),
    }
