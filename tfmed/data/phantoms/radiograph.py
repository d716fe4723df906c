"""Radiographs of a hand with named landmarks, made from a seed: bones with a cortex in soft tissue; not real.

A landmark is a tip of a finger, a joint, or the middle of the wrist. What makes them hard to find: the hand is turned,
shifted and of any size, fingers bend and spread, exposure and contrast differ, the edge of the collimator, a letter and
a ring are as bright as bone, and there is noise.
"""

import dataclasses
import itertools

import numpy as np
from scipy import ndimage

from tfmed.io.itk import LPS_RAS
from tfmed.io.volume import Volume

from .common import Checks, stream

FINGERS = ("thumb", "index", "middle", "ring", "little")
FIELD_MM = 240.0  # height of an image
_DISC = 0.012  # radius of a landmark in the label map, of the height
# Of the hand's length, from the middle of the wrist: direction (degrees from up, to the right), lengths of the bones.
_BONES = {
    "thumb": (-52.0, (0.30, 0.20, 0.15)),
    "index": (-16.0, (0.42, 0.24, 0.15, 0.10)),
    "middle": (-3.0, (0.42, 0.26, 0.17, 0.10)),
    "ring": (9.0, (0.40, 0.25, 0.16, 0.10)),
    "little": (22.0, (0.37, 0.19, 0.12, 0.09)),
}
_JOINTS = ("mcp", "pip", "dip", "tip")


@dataclasses.dataclass(frozen=True)
class Radiograph:
    """A radiograph.

    Args:
        volume: int16 `(1, y, x)`, 0 (air) to about 4000.
        labels: uint8 `(1, y, x)`: the number of a landmark, from 1, in a small disc around it.
        points: float64 `(landmarks, 2)`, (x, y) in pixels, in the order of `landmark_names`.
    """

    volume: Volume
    labels: Volume
    points: np.ndarray


def landmark_names(fingers=5):
    """Names of the landmarks of a hand of which so many fingers count, from the thumb on."""
    found = ["wrist"]
    for finger in FINGERS[:fingers]:
        joints = ("mcp", "ip", "tip") if finger == "thumb" else _JOINTS
        found += [f"{finger} {joint}" for joint in joints]
    return tuple(found)


def radiograph(seed, shape=(256, 192), fingers=5, turn=20.0, noise=1.0):
    """A radiograph; a pure function of its arguments.

    Args:
        seed: integer >= 0: the hand and how it lies.
        shape: `(y, x)` pixels, 32 to 2048 each.
        fingers: 1 to 5: how many, from the thumb on, count as landmarks (and are there).
        turn: degrees by which a hand is turned at most, either way, 0 to 180.
        noise: 0 to 10: of the usual.

    Returns:
        `Radiograph`.

    Raises:
        UserError: an argument is out of range.
    """
    shape, chains = _hand(seed, shape, fingers, turn, noise)
    rng, (height, width) = stream(seed, 1), shape
    scale = height * chains["length"]
    tissue, bone = np.zeros(shape), np.zeros(shape)
    for name, points in chains["chains"].items():
        for k, (start, end) in enumerate(itertools.pairwise(points)):
            thick = scale * (0.042 if k == 0 else 0.036 - 0.004 * k) * (1.15 if name == "thumb" else 1.0)
            _add_bone(bone, start, end, thick)
            _add_tube(tissue, start, end, scale * (0.105 if k == 0 else 0.082 - 0.006 * k))
    _add_carpals(bone, tissue, chains, scale, rng)
    tissue = ndimage.gaussian_filter(tissue, 0.012 * height)
    grain = ndimage.gaussian_filter(rng.standard_normal(shape), max(0.004 * height, 0.5))
    grain /= max(grain.std(), 1e-6)
    picture = 900 * tissue + 1500 * bone * (1 + 0.08 * grain)
    _add_objects(picture, rng, shape)
    picture = picture * rng.uniform(0.75, 1.25) + rng.uniform(0, 350)
    y, x = np.mgrid[:height, :width] / max(shape)
    picture += 250 * (rng.uniform(-1, 1) * x + rng.uniform(-1, 1) * y)
    picture = ndimage.gaussian_filter(picture, 0.003 * height)
    picture += noise * 90 * rng.standard_normal(shape)
    picture *= _collimated(rng, shape)
    affine = LPS_RAS @ np.diag([FIELD_MM / height, FIELD_MM / height, 1.0, 1.0])
    array = np.rint(np.clip(picture, 0, 8000)).astype(np.int16)[None]
    points = chains["points"]
    return Radiograph(Volume(array, affine), Volume(_discs(points, shape)[None], affine), points)


def radiograph_points(seed, shape=(256, 192), fingers=5, turn=20.0, noise=1.0):
    """The landmarks of a radiograph without making it, float64 `(landmarks, 2)`, (x, y) in pixels; arguments alike."""
    return _hand(seed, shape, fingers, turn, noise)[1]["points"]


def _hand(seed, shape, fingers, turn, noise):
    """(shape, the hand's bones and landmarks); checks the arguments."""
    checks = Checks("radiograph")
    checks.seed(seed)
    shape = tuple(int(n) for n in np.atleast_1d(shape))
    checks.need(len(shape) == 2 and min(shape) >= 32 and max(shape) <= 2048,
                f"shape is y,x of 32 to 2048 each; got {shape}")  # fmt: skip
    checks.number("fingers", fingers, 1, 5)
    checks.number("turn", turn, 0, 180)
    checks.number("noise", noise, 0, 10)
    rng, size = stream(seed, 0), np.array(shape[::-1], float)
    length, spread = rng.uniform(0.72, 0.90), rng.uniform(0.75, 1.25)  # of the height that the image's width allows
    length *= 0.72 * min(1.0, size[0] / (0.75 * size[1]))
    lean, wrist, chains = np.deg2rad(rng.uniform(-turn, turn)), np.zeros(2), {}
    for name in FINGERS:
        direction, lengths = _BONES[name]
        angle = np.deg2rad(direction * spread + rng.normal(0, 2.5))
        chain = [wrist + 0.07 * np.array([np.sin(angle), -np.cos(angle)])]
        bend = np.deg2rad(rng.normal(0, 5.0))
        for bone in lengths:
            along = np.array([np.sin(angle), -np.cos(angle)])
            chain.append(chain[-1] + bone * rng.normal(1, 0.04) * along)
            angle += bend + np.deg2rad(rng.normal(0, 2.0))
        chains[name] = np.array(chain)
    rotation = np.array([[np.cos(lean), -np.sin(lean)], [np.sin(lean), np.cos(lean)]])
    everything = np.concatenate([*chains.values(), wrist[None]]) @ rotation.T
    low, high = everything.min(0), everything.max(0)
    length = min(length, float((0.94 * size / (high - low)).min()) / size[1])
    free = size - length * size[1] * (high - low)
    shift = free / 2 + np.clip(rng.uniform(-0.06, 0.06, 2) * size, -free / 2 + 0.02 * size, free / 2 - 0.02 * size)

    def placed(points):
        return (points @ rotation.T - low) * length * size[1] + shift

    kept = FINGERS[: int(fingers)]
    moved = {name: placed(chains[name]) for name in kept}
    points = np.concatenate([placed(wrist)[None], *[moved[name][1:] for name in kept]])
    return shape, {"chains": moved, "wrist": placed(wrist), "points": points, "length": length, "rotation": rotation}


def _near(start, end, reach, shape):
    """Slices (y, x) of the pixels near a bone, how far they are from its axis, and where along it (0 to 1)."""
    low, high = np.minimum(start, end) - reach, np.maximum(start, end) + reach
    where = tuple(slice(int(np.clip(np.floor(a), 0, n)), int(np.clip(np.ceil(b) + 1, 0, n)))
                  for a, b, n in zip(low[::-1], high[::-1], shape, strict=True))  # fmt: skip
    y, x = np.mgrid[where].astype(float)
    along = end - start
    share = np.clip(((x - start[0]) * along[0] + (y - start[1]) * along[1]) / max(along @ along, 1e-9), 0, 1)
    away = np.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1])
    return where, away, share


def _add_bone(bone, start, end, thick):
    """A shaft that widens at both ends, denser in its cortex, with a gap to the next one."""
    gap = 0.35 * thick * (end - start) / max(np.linalg.norm(end - start), 1e-9)
    start, end = start + gap, end - gap
    where, away, share = _near(start, end, 1.5 * thick, bone.shape)
    radius = thick * (0.62 + 0.5 * (2 * share - 1) ** 4)
    rest = np.clip(1 - (away / radius) ** 2, 0, None)
    shell = np.sqrt(rest) - 0.55 * np.sqrt(np.clip(1 - (away / (0.72 * radius)) ** 2, 0, None))
    bone[where] = np.maximum(bone[where], np.where(rest > 0, 0.35 + 0.8 * np.clip(shell, 0, None), 0))


def _add_tube(tissue, start, end, thick):
    where, away, _ = _near(start, end, 1.2 * thick, tissue.shape)
    tissue[where] = np.maximum(tissue[where], np.sqrt(np.clip(1 - (away / thick) ** 2, 0, None)))


def _add_carpals(bone, tissue, chains, scale, rng):
    """Small round bones in two rows around the wrist, and two bones of the forearm."""
    rotation, wrist = chains["rotation"], chains["wrist"]
    for row, height in enumerate((0.035, -0.035)):
        for k in range(4):
            offset = np.array([(k - 1.5) * 0.062, -height]) + rng.normal(0, 0.006, 2)
            place = wrist + scale * offset @ rotation.T
            _add_bone(bone, place - 0.1, place + 0.1, scale * (0.042 + 0.004 * row))
    for side in (-0.07, 0.075):
        start = wrist + scale * np.array([side, 0.10]) @ rotation.T
        end = wrist + scale * np.array([side * 0.9, 0.95]) @ rotation.T
        _add_bone(bone, start, end, scale * 0.07)
        _add_tube(tissue, start, end, scale * 0.16)
    _add_tube(tissue, wrist, wrist + scale * np.array([0.0, -0.3]) @ rotation.T, scale * 0.24)


def _add_objects(picture, rng, shape):
    """A lead letter near a corner, and often a ring: as bright as bone or brighter."""
    height, width = shape
    x0, y0 = rng.choice([0.08, 0.84]) * width, rng.choice([0.06, 0.86]) * height
    bar, tall = max(int(0.012 * height), 1), max(int(0.06 * height), 3)
    y, x = int(y0), int(x0)
    picture[y : y + tall, x : x + bar] += 2600
    picture[y + tall - bar : y + tall, x : x + tall // 2] += 2600
    if rng.random() < 0.5:
        centre, radius = np.array([rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.6) * height]), 0.02 * height
        where, away, _ = _near(centre, centre + 0.01, 2 * radius, shape)
        picture[where] += 1800 * np.exp(-(((away - radius) / (0.3 * radius)) ** 2))


def _collimated(rng, shape):
    """1 within the collimator, little outside of it."""
    edges = rng.uniform(-0.04, 0.035, 4)
    y, x = (np.linspace(0, 1, n) for n in shape)
    inside = ((y > edges[0]) & (y < 1 - edges[1]))[:, None] & ((x > edges[2]) & (x < 1 - edges[3]))[None]
    return np.where(inside, 1.0, 0.12)


def _discs(points, shape):
    """The number of a landmark in a disc around it, uint8."""
    labels, radius = np.zeros(shape, np.uint8), max(1.0, _DISC * shape[0])
    for number, point in enumerate(points, 1):
        where, away, _ = _near(point, point + 1e-6, radius + 1, shape)
        labels[where][away <= radius] = number
    return labels
