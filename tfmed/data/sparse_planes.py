"""Sparse annotation: a few planes of some volumes are annotated, at any angle, and everything else is not.

A person annotates whole planes. Other planes that cross them show lines of labels, about pi / 2 pixels thick on
average; what lies beside these is `IGNORE`.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np

from tfmed.data.preprocess.geometry import boxed_array
from tfmed.errors import DataError
from tfmed.io.geometry import machine_memory
from tfmed.ops import planes

IGNORE = 255  # in label maps: not annotated
_AT_A_TIME = 4  # planes
Orientations = Literal["random", "axes"]


@dataclasses.dataclass(frozen=True)
class Plane:
    """A plane through one of several volumes.

    Args:
        volume: number of the volume.
        frame: `(3, 3)`, see `tfmed.ops.planes`.
        centre: voxel coordinates `(3,)` of its middle.
    """

    volume: int
    frame: np.ndarray
    centre: np.ndarray


def draw_plane(
    rng: np.random.Generator, sizes: Sequence[Sequence[int]], orientations: Orientations = "random"
) -> Plane:
    """A plane through a point drawn evenly in one of the volumes, each as likely as any other.

    Args:
        rng: from which it is drawn.
        sizes: (z, y, x) voxels of each volume.
        orientations: "random", evenly on the sphere and turned by any angle, or "axes": across z, y or x, through the
            middles of voxels.
    """
    volume = int(rng.integers(len(sizes)))
    point = (rng.random(3) * np.asarray(sizes[volume])) - 0.5
    normal, turn = planes.uniform_normals(1, rng), rng.uniform(0, 2 * np.pi)
    if orientations == "axes":
        axis = int(rng.integers(3))
        point = np.clip(np.rint(point), 0, np.asarray(sizes[volume]) - 1)
        return Plane(volume, planes.frames(np.eye(3)[[axis]])[0], point)
    return Plane(volume, planes.frames(normal, turn)[0], point)


def slabs(size: Sequence[int], chosen: Iterable[Plane], thickness: float = 1.0) -> np.ndarray:
    """The voxels `(z, y, x)`, bool, whose centres lie within half a thickness of one of the planes."""
    found = np.zeros(size, bool)
    z, y, x = (np.arange(n) for n in size)
    for plane in chosen:
        normal = plane.frame[0]
        across = normal[1] * (y - plane.centre[1])[:, None] + normal[2] * (x - plane.centre[2])
        for k, height in enumerate(normal[0] * (z - plane.centre[0])):
            # half a unit of rounding: a plane through the middles of voxels must not lose some of its neighbours
            found[k] |= np.abs(across + height) <= thickness / 2 + 1e-9
    return found


def sparse_label(label: np.ndarray, chosen: Iterable[Plane]) -> np.ndarray:
    """A dense label map `(z, y, x)` of class numbers with `IGNORE` wherever none of the planes passes; uint8."""
    return np.where(slabs(label.shape, chosen), np.asarray(label), IGNORE).astype(np.uint8)


def draw_that_hit(
    count: int,
    draw: Callable[[int], Plane],
    hits: Callable[[list[Plane]], np.ndarray],
    tries: int = 50,
) -> list[Plane]:
    """The first `count` planes, in the order in which they are drawn, that show something annotated.

    Args:
        draw: number -> Plane; a pure function.
        hits: list of Planes -> bool `(n,)`.
        tries: planes drawn for each that is wanted, at most.

    Raises:
        DataError: too few show anything.
    """
    found: list[Plane] = []
    number = 0
    while len(found) < count:
        if number >= tries * count:
            raise DataError(
                f"{len(found)} of {number} planes cross an annotated one, and {count} are wanted; annotate more planes"
            )
        drawn = [draw(number + k) for k in range(max(8, count - len(found)))]
        number += len(drawn)
        found += [plane for plane, hit in zip(drawn, hits(drawn), strict=True) if hit]
    return found[:count]


def sampled(
    chosen: Sequence[Plane], read: Callable[[int], np.ndarray], shape: Sequence[int], order: int, fill: float
) -> np.ndarray:
    """What planes show, `(n, *shape, channel)`: each volume is read once.

    Args:
        chosen: the planes.
        read: number of a volume -> its array `(z, y, x, channel)`.
        shape: pixels (rows, columns) of a plane, a voxel apart.
        order: 1, trilinear, or 0, nearest voxel.
        fill: what lies outside of a volume.
    """
    import tensorflow as tf

    found: dict[int, np.ndarray] = {}
    with tf.device("CPU:0"):
        for volume in sorted({plane.volume for plane in chosen}):
            own = [k for k, plane in enumerate(chosen) if plane.volume == volume]
            tensor = tf.constant(read(volume))
            for first in range(0, len(own), _AT_A_TIME):
                some = own[first : first + _AT_A_TIME]
                frame = np.stack([chosen[k].frame for k in some])
                centre = np.stack([chosen[k].centre for k in some])
                shown = planes.sample_planes(tensor, frame, centre, shape, order=order, fill=fill).numpy()
                found |= dict(zip(some, shown, strict=True))
    return np.stack([found[k] for k in range(len(chosen))])


def cube_around(
    image: np.ndarray,
    label: np.ndarray,
    voxel: Sequence[int],
    shape: Sequence[int],
    draw: np.random.Generator,
    fill: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """(image `(*shape, channel)` float32, label `shape` uint8) of a box with a voxel anywhere in it.

    It lies inside of the volume as far as it fits; beyond there is `fill`, and `IGNORE`.
    """
    starts = []
    for place, side, have in zip(voxel, shape, label.shape, strict=True):
        start = int(place) - int(draw.integers(side))
        starts.append(min(max(start, 0), have - side) if have > side else -((side - have) // 2))
    cut = boxed_array(image, starts, shape, fill)
    return np.asarray(cut, np.float32), np.asarray(boxed_array(label, starts, shape, IGNORE), np.uint8)


def check_memory(count: int, shape: Sequence[int], channels: int) -> None:
    """Refuse so many planes, with their labels, as the machine cannot hold.

    Raises:
        DataError: they do not fit into memory.
    """
    size = count * math.prod(shape) * (4 * channels + 1)
    if 2 * size > machine_memory():
        raise DataError(
            f"model.training_planes: {count} planes need {2 * size / 2**30:.0f} GiB, more than this machine has; give "
            "fewer, or a smaller model.patch"
        )
