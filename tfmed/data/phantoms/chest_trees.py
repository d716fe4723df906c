"""The chest's tubes: airways, vessels and bones as pieces in body coordinates (z, y, x in mm at size 1)."""

import numpy as np

from .chest_fields import COARSE, VERTEBRA_STEP, VERTEBRA_TOP
from .tubes import Tubes, join, polyline

CARINA = np.array([34.0, -14.0, 2.0])
HILA = {+1: np.array([12.0, -14.0, 40.0]), -1: np.array([18.0, -18.0, -40.0])}


def lung_points(chest, lung, side, count, rng, depth=2.0):
    """`count` random points `(count, 3)` in body coordinates in the lung of one side (+1 right, -1 left)."""
    z, y, x = (np.broadcast_to(a, COARSE.shape)[lung > depth] for a in COARSE.mesh())
    world = np.stack([z, y, x], axis=1)
    body = np.stack(chest.to_body(z, y, x), axis=1)
    own = np.flatnonzero(body[:, 2] * side > 0)
    pick = rng.choice(own, count)
    jitter = rng.uniform(-0.5, 0.5, (count, 3)) * COARSE.spacing
    return np.stack(chest.to_body(*(world[pick] + jitter).T), axis=1)


def branch(points, root, radius, rng, reach=(0.42, 0.85), shrink=0.79):
    """A binary tree from `root` that fills the cloud `points` `(2**k, 3)`.

    At each level the points that a branch serves are halved across their longest extent, and each half gets a child
    that runs part of the way to its centre (`reach`: at the first and the last level).

    Returns:
        list of the levels, each `(start, end, radius)`.
    """
    groups = points[None]
    position, levels, size = np.asarray(root, np.float64)[None], [], radius
    steps = iter(np.linspace(*reach, int(np.log2(len(points)))))
    while groups.shape[1] > 1:
        longest = np.argmax(np.ptp(groups, axis=1), axis=1)
        key = np.take_along_axis(groups, longest[:, None, None], axis=2)[:, :, 0]
        order = np.argsort(key, axis=1, kind="stable")
        groups = np.take_along_axis(groups, order[:, :, None], axis=1).reshape(2 * len(groups), -1, 3)
        start = np.repeat(position, 2, axis=0)
        position = start + next(steps) * (groups.mean(axis=1) - start)
        position += rng.normal(0, 0.09, position.shape) * np.linalg.norm(position - start, axis=1, keepdims=True)
        size *= shrink
        levels.append((start, position, size * rng.uniform(0.85, 1.15, len(start))))
    return levels


def bend(levels, rng, amount=0.12):
    """The pieces of a tree's levels; all but the last level's are cut in two and bent sideways."""
    start, end, radius = (np.concatenate(columns) for columns in zip(*levels[:-1], strict=True))
    length = np.linalg.norm(end - start, axis=1, keepdims=True)
    middle = 0.5 * (start + end) + rng.normal(0, amount, start.shape) * length
    last_start, last_end, last_radius = levels[-1]
    return Tubes(
        np.concatenate([start, middle, last_start]),
        np.concatenate([middle, end, last_end]),
        np.concatenate([radius, 0.93 * radius, last_radius]),
    )


def airways(clouds, chest, rng):
    """Trachea, main bronchi and five generations in each lung; the radius is the lumen's."""
    top = np.array([165.0, 6.0, 0.5 * chest.scoliosis])
    bow = 0.5 * (top + CARINA) + [0, 2, 3 * rng.standard_normal()]
    tubes = [polyline([top, bow, CARINA], [8.5, 8.8, 8.2], step=10)]
    for side, hilum in HILA.items():
        tubes.append(polyline([CARINA, 0.55 * CARINA + 0.45 * hilum + [-2, 0, 0], hilum], [7.0, 6.2, 5.6]))
        tubes.append(bend(branch(clouds[side][::16], hilum, 5.4, rng, (0.42, 0.7), 0.74), rng, 0.05))
    return join(*tubes)


def pulmonary(clouds, rng):
    """Pulmonary arteries beside the airways, and veins that run to the left atrium, out to about 1 mm radius."""
    tubes = []
    trunk = np.array([22.0, 8.0, -14.0])
    tubes.append(polyline([[-8, 36, -14], [10, 28, -18], trunk], [13, 13, 12], step=10))
    for side, hilum in HILA.items():
        entry = hilum + [4, 9, 2 * side]
        tubes.append(polyline([trunk, 0.5 * (trunk + entry) + [3, 2, 0], entry], [11, 10, 8.5], step=9))
        tubes.append(bend(branch(clouds[side], entry, 7.2, rng), rng))
        for count, low in ((0, -18.0), (1, -34.0)):
            vein = np.array([low, -6.0, 30.0 * side])
            tubes.append(polyline([[-22, -8, 10.0 * side], vein], [7, 6], step=8))
            own = clouds[side][count::2] + rng.normal(0, 5, clouds[side][count::2].shape)
            tubes.append(bend(branch(own, vein, 5.6, rng), rng))
    return join(*tubes)


def great_vessels(chest, rng):
    """Aorta, superior vena cava and the large branches of the arch."""
    spine_y, spine_x = (float(v) for v in chest.spine(-60.0))
    arch = rng.normal(0, 3, 3)
    aorta = [
        [-22, 14, 4], [10, 20, 16], [36, 16, 12], [52, -2, -6], [48, -24, -20],
        [25, -36, -25], [-20, spine_y + 18, -24], [-90, spine_y + 24, spine_x - 12], [-165, spine_y + 26, spine_x - 8],
    ]  # fmt: skip
    radius = np.array([16, 15.5, 15, 14, 13, 12.5, 12, 11, 10]) * rng.uniform(0.85, 1.1)
    tubes = [polyline(np.array(aorta) + arch * np.linspace(1, 0, 9)[:, None], radius, step=11)]
    tubes.append(polyline([[-20, 10, 30], [20, 8, 24], [70, 2, 15], [120, 4, 18]], [10, 9, 8, 6], step=10))
    for x, y in ((10, 8), (-10, 0), (-22, -12)):
        tubes.append(polyline([[48, y, 0.5 * x], [90, y + 8, x], [165, y + 4, 1.6 * x]], [6, 4.5, 4]))
    return join(*tubes)


def ribs(chest, rng):
    """Twelve pairs of ribs, twice as high as thick, and their cartilages; returns `(ribs, cartilages)`."""
    number = np.arange(12)
    ends = np.radians([150, 152, 152, 150, 147, 143, 138, 128, 118, 108, 88, 62])
    drop = chest.rib_drop * np.minimum(1.0, 0.5 + 0.13 * number) + rng.normal(0, 2, 12)
    bony = np.linspace(np.radians(14), ends, 12, axis=1)
    soft = np.linspace(ends, np.minimum(ends + 0.5, np.radians(172)), 5, axis=1)
    bones = [polyline(_rib(chest, bony, drop, side), np.linspace(3.9, 3.3, 12), 11, 1.7) for side in (-1, 1)]
    cartilages = [polyline(_rib(chest, soft, drop, side)[:10], 3.6, 9, 1.7) for side in (-1, 1)]
    return join(*bones), join(*cartilages)


def _rib(chest, angle, drop, side):
    """Points `(12, n, 3)` at `angle` `(12, n)` from the back, on the cage of one side."""
    top = (VERTEBRA_TOP + 4 - VERTEBRA_STEP * np.arange(12))[:, None]
    z = top - drop[:, None] * np.sin(np.minimum(angle, np.radians(125)) * 0.72) ** 1.5
    z = z + 10 * np.clip(angle - np.radians(125), 0, 1)
    wide, deep, centre = chest.cavity(np.minimum(z, chest.apex - 14))
    spine_x = chest.spine(z)[1] * np.cos(angle / 2) ** 2
    return np.stack([z, centre - (deep + 5) * np.cos(angle), side * (wide + 5) * np.sin(angle) + spine_x], axis=-1)


def other_bones(chest, rng):
    """Sternum, collar bones, shoulder blades and the processes of the vertebrae."""
    height, across = np.meshgrid(np.linspace(78, -38, 9), np.linspace(-14, 14, 7))
    _, deep, centre = chest.cavity(height)
    front = centre + deep + 5 - 0.012 * across**2
    tubes = [polyline(np.stack([height, front, across], axis=-1), 5.2, step=14)]
    wide, deep, centre = (float(v) for v in chest.cavity(40.0))
    clavicle = np.array([[84, centre + deep - 4, 16], [100, centre + deep - 10, 55], [122, 14, 96], [134, -14, 128]])
    k = np.linspace(0, 1, 14)
    angle = np.radians(28 + 42 * k)
    y, x = centre - (deep + 11) * np.cos(angle), (wide + 12) * np.sin(angle)
    top, low = 112 - 30 * (1 - k) ** 2, -8 + 95 * k * k
    blade = np.stack([np.stack([top, y + 14, 0.86 * x], axis=-1), np.stack([low, y, x], axis=-1)], axis=1)
    ridge = np.array([[88, -84, 62], [124, -52, 112]])
    for side in (-1, 1):
        mirror = np.array([1, 1, side])
        tubes.append(polyline(clavicle * mirror, [7, 5.5, 5.5, 7]))
        tubes.append(polyline(blade * mirror, 3.1, step=20))
        tubes.append(polyline(ridge * mirror, [3.5, 7]))
    return join(*tubes, *_processes(chest, rng))


def _processes(chest, rng):
    """Pedicles, transverse and spinous processes of all vertebrae."""
    z = VERTEBRA_TOP + VERTEBRA_STEP * (1 - np.arange(14.0))
    y, x = chest.spine(z)

    def line(*points):
        return np.stack([np.stack([z + dz, y + dy, x + dx], axis=-1) for dz, dy, dx in points], axis=1)

    tubes = [polyline(line((2, -27, 0), (-16, -40, 2 * rng.standard_normal(14))), 3.3, step=10)]
    for side in (-1, 1):
        tubes.append(polyline(line((5, -10, 11 * side), (5, -22, 14 * side)), 4.4, step=10))
        tubes.append(polyline(line((5, -22, 14 * side), (8, -28, 32 * side)), [4.2, 3.6], step=10))
        tubes.append(polyline(line((5, -22, 14 * side), (2, -28, 0)), 3.3, step=10))
    return tubes
