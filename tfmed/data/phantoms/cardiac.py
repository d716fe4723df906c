"""MR of a heart made from a seed, as two centres would scan and label it; not patient data.

One anatomy, four chambers and great vessels, is seen either whole, in axial slices, with all blood as one class, or as
a stack of short-axis slices of another contrast, in which only the ventricles are labelled, each by its own number. So
there are two data sets of one organ that share neither orientation nor contrast nor classes.
"""

import dataclasses

import numpy as np

from tfmed.io.volume import Volume

from . import texture
from .common import Checks, stream
from .grid import Grid, slabs, smooth_noise
from .shapes import ellipsoid, rotation, smooth_max, smooth_min

PROTOCOLS = ("whole_heart", "short_axis")
LABELS = {
    "whole_heart": {"background": 0, "myocardium": 1, "blood_pool": 2},
    "short_axis": {"background": 0, "left_ventricle": 1, "myocardium": 2, "right_ventricle": 3},
}
EXTENT = {"whole_heart": (130.0, 150.0, 150.0), "short_axis": (96.0, 150.0, 150.0)}  # mm along z, y, x
_COARSE = Grid.covering((42, 46, 46), (150.0, 164.0, 164.0))
# Ranges of brightness of blood, myocardium, lung, fat, and of the liver and other muscle.
_CONTRAST = {
    "whole_heart": ((0.9, 1.1), (0.5, 0.72), (0.05, 0.12), (0.25, 0.45), (0.45, 0.7)),
    "short_axis": ((0.9, 1.15), (0.28, 0.42), (0.04, 0.1), (0.7, 1.0), (0.25, 0.45)),
}


@dataclasses.dataclass(frozen=True)
class Cardiac:
    """A phantom scan.

    Args:
        volume: int16 `(z, y, x)`, arbitrary units that differ from scan to scan, RAS+ affine in mm.
        labels: uint8 `(z, y, x)`, numbers as in `LABELS[protocol]`.
    """

    volume: Volume
    labels: Volume


def cardiac(seed, shape=(64, 96, 96), protocol="whole_heart", noise=1.0, bias=1.0):
    """A phantom of cardiac MR; a pure function of its arguments.

    Args:
        seed: integer >= 0; another seed is another person and another scan.
        shape: `(z, y, x)` voxels, each at least 8, of the same extent; the anatomy does not depend on it.
        protocol: "whole_heart" (axial) or "short_axis" (slices across the ventricles' axis).
        noise: 0 for none; at 1 the blood's signal is 8 to 20 times the noise.
        bias: strength of the receive coils' shading, 0 for none.

    Returns:
        `Cardiac`.

    Raises:
        UserError: an argument is out of range.
    """
    checks = Checks("cardiac")
    checks.seed(seed)
    shape = checks.shape(shape)
    checks.need(protocol in PROTOCOLS, f"protocol must be whole_heart or short_axis; got {protocol!r}")
    checks.number("noise", noise, 0, 10)
    checks.number("bias", bias, 0, 5)
    grid = Grid.covering(shape, EXTENT[protocol])
    rng = stream(seed, 1 + PROTOCOLS.index(protocol))
    image, labels = _compose(grid, rng, _fields(seed, rng, protocol, bias), protocol)
    if noise:
        texture.rician(rng, image, noise * rng.uniform(0.05, 0.12), along=0.2, side=0.4)
    image *= np.float32(np.exp(rng.uniform(np.log(100), np.log(900))))
    return Cardiac(Volume(np.rint(image).astype(np.int16), grid.affine), Volume(labels, grid.affine))


def _capsule(points, start, end, radius):
    """Distance in mm to the surface of a straight tube with round ends, positive inside."""
    way = np.subtract(end, start).astype(np.float32)
    out = [p - np.float32(s) for p, s in zip(points, start, strict=True)]
    t = np.clip(sum(w * o for w, o in zip(way, out, strict=True)) / np.float32(way @ way), 0, 1)
    return np.float32(radius) - np.sqrt(sum((o - t * w) ** 2 for o, w in zip(out, way, strict=True)))


def _heart(rng, points):
    """Distances of the left and the right ventricle's blood, of the myocardium, of other blood, of papillary muscles.

    Points are in mm along the ventricles' axis (from apex to base), towards the front, and towards the right.
    """
    long, front, right = points
    u = rng.uniform
    base, wall = u(24, 32), u(7, 13)
    radii = np.array([u(50, 62), u(19, 27), u(19, 27)])
    cavity = ellipsoid(long - base * np.float32(0.4), front, right, (0, 0, 0), radii)
    outer = ellipsoid(long - base * np.float32(0.4), front, right, (0, 0, 0), radii + [0.8 * wall, wall, wall])
    left, outer = np.minimum(cavity, base - long), np.minimum(outer, base - long)
    muscle = np.minimum(outer, -left)
    bulge = ellipsoid(long, front, right, (4, u(4, 12), u(22, 30)), (u(40, 50), u(28, 36), u(20, 28)))
    chamber = np.minimum(np.minimum(bulge, -outer - np.float32(0.5)), base - 2 - long)
    atria = smooth_max(
        2.0,
        ellipsoid(long, front, right, (base + 24, u(-18, -10), u(-6, 4)), (u(18, 23), u(17, 22), u(20, 26))),
        ellipsoid(long, front, right, (base + 22, u(-4, 6), u(34, 42)), (u(17, 22), u(17, 22), u(16, 21))),
    )
    vessels = np.maximum.reduce([
        _capsule(points, (base, 2, 4), (base + 40, 14, 14), u(10, 13)),
        _capsule(points, (base + 40, 14, 14), (base + 70, -6, -4), u(10, 12)),
        _capsule(points, (base - 4, 20, 20), (base + 45, 10, -18), u(9, 12)),
        _capsule(points, (base + 20, 0, 40), (base + 70, 0, 38), u(7, 10)),
    ])  # fmt: skip
    other = np.minimum(smooth_max(2.0, atria, vessels), long - base - np.float32(1.5))
    papillary = np.maximum.reduce([
        _capsule(points, (-18, side * 0.45 * radii[1], -0.3 * radii[2]), (8, side * 0.4 * radii[1], -0.25 * radii[2]),
                 u(2.0, 3.5)) for side in (-1, 1)
    ])  # fmt: skip
    return left, chamber, muscle, other, papillary


def _fields(seed, rng, protocol, bias):
    """The coarse fields, in the order in which `_compose` takes them; the anatomy is of the seed alone."""
    person = stream(seed, 0)
    wide = smooth_noise(person, _COARSE, 32.0, 4)
    points = [np.broadcast_to(c, _COARSE.shape) + 2.0 * w for c, w in zip(_COARSE.mesh(), wide[:3], strict=True)]
    size = person.uniform(0.85, 1.1)
    turn = rng.normal(0, 0.1, 3)
    if protocol == "whole_heart":  # the apex points to the left, to the front and down
        turn = turn + [0.5, -0.75, 0.45]
    shift = rng.normal(0, (3.0, 4.0, 4.0)) + ((-8, 0, 0) if protocol == "whole_heart" else (4, 0, -10))
    matrix = rotation(turn).T / size
    moved = [p - np.float32(s) for p, s in zip(points, shift, strict=True)]
    heart = [sum(np.float32(m) * p for m, p in zip(row, moved, strict=True)) for row in matrix]
    left, chamber, muscle, other, papillary = (np.float32(size) * field for field in _heart(person, heart))
    z, y, x = points
    hull = np.maximum.reduce([left, chamber, muscle, other]) + np.float32(person.uniform(2, 6))  # fat around the heart
    chest = ellipsoid(z, y, x, (0, -6, 0), (400, 72, 92)) + 2 * wide[3]
    liver = ellipsoid(z, y, x, (-88, 10, 30), (62, 70, 80))
    lung = smooth_min(4.0, chest, -hull, -liver - 2)
    shade = np.exp(np.float32(0.16 * bias) * smooth_noise(rng, _COARSE, 75.0)[0])
    grain = smooth_noise(rng, _COARSE, 6.0)[0]
    return np.stack([left, chamber, muscle, other, papillary, hull, lung, liver, grain, shade]).astype(np.float32)


def _compose(grid, rng, fields, protocol):
    """(image with blood at about 1, label map)."""
    blood, myo, air, fat, flesh = (np.float32(rng.uniform(*span)) for span in _CONTRAST[protocol])
    sharp, half = np.float32(1 / max(min(grid.spacing), 1.0)), np.float32(0.5)
    image, labels = np.empty(grid.shape, np.float32), np.zeros(grid.shape, np.uint8)
    number = LABELS[protocol]

    def share(distance):
        return np.clip(distance * sharp + half, 0, 1)

    for slab, values in slabs(fields, _COARSE, grid):
        left, chamber, muscle, other, papillary, hull, lung, liver, grain, shade = values
        now = image[slab]
        now[...] = flesh
        for distance, level in ((lung, air), (hull, fat), (liver, flesh), (muscle, myo), (chamber, blood),
                                (other, blood), (left, blood), (np.minimum(papillary, left), myo)):  # fmt: skip
            now += share(distance) * (level - now)
        now *= (1 + np.float32(0.05) * grain) * shade
        mark = labels[slab]
        mark[muscle > 0] = number["myocardium"]
        if protocol == "whole_heart":
            mark[np.maximum.reduce([left, chamber, other]) > 0] = number["blood_pool"]
        else:
            mark[left > 0], mark[chamber > 0] = number["left_ventricle"], number["right_ventricle"]
    np.maximum(image, 0, out=image)
    return image, labels
