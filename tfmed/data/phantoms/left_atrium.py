"""Late gadolinium enhanced MR around a left atrium, made from a seed, with the atrium's cavity; not patient data.

The atrium, its appendage and its veins are one smooth solid. Around it lie other pools of blood of much the same
brightness, parted from it by walls as thin as a voxel or two, so that its outline must be known rather than seen.
"""

import dataclasses

import numpy as np

from tfmed.io.volume import Volume

from . import texture
from .common import Checks, stream
from .grid import Grid, slabs, smooth_noise
from .shapes import ellipsoid, rotation, smooth_max, smooth_min, step, tube_distance
from .tubes import join, polyline

LABELS = {"background": 0, "left_atrium": 1}
EXTENT = (55.0, 90.0, 110.0)  # mm along z, y, x
_COARSE = Grid.covering((30, 48, 58), (60.0, 96.0, 116.0))
_REACH = 10.0  # mm around a tube within which its distance is known


@dataclasses.dataclass(frozen=True)
class LeftAtrium:
    """A phantom scan.

    Args:
        volume: int16 `(z, y, x)`, arbitrary units that differ from scan to scan, RAS+ affine in mm.
        labels: uint8 `(z, y, x)`, numbers as in `LABELS`.
    """

    volume: Volume
    labels: Volume


def left_atrium(seed, shape=(88, 144, 176), noise=1.0, bias=1.0):
    """A phantom of late gadolinium enhanced MR; a pure function of its arguments.

    Args:
        seed: integer >= 0; another seed is another person and another scan.
        shape: `(z, y, x)` voxels, each at least 8, of the same 55 x 90 x 110 mm; the anatomy does not depend on it.
        noise: 0 for none; at 1 the blood's signal is 5 to 11 times the noise.
        bias: strength of the receive coils' shading, 0 for none.

    Returns:
        `LeftAtrium`.

    Raises:
        UserError: an argument is out of range.
    """
    checks = Checks("left_atrium")
    checks.seed(seed)
    shape = checks.shape(shape)
    checks.number("noise", noise, 0, 10)
    checks.number("bias", bias, 0, 5)
    grid = Grid.covering(shape, EXTENT)
    image, labels = _compose(grid, stream(seed, 0), _fields(seed, bias))
    rng = stream(seed, 3)
    sigma = noise * rng.uniform(0.09, 0.19)
    if noise:
        texture.rician(rng, image, sigma, along=0.6, side=0.55)
    image *= np.float32(np.exp(rng.uniform(np.log(60), np.log(400))))
    return LeftAtrium(Volume(np.rint(image).astype(np.int16), grid.affine), Volume(labels, grid.affine))


@dataclasses.dataclass(frozen=True)
class _Pose:
    """Size, direction and place of the heart in the image."""

    size: float
    turn: np.ndarray
    shift: np.ndarray

    @classmethod
    def draw(cls, rng):
        turn = rotation(rng.normal(0, (0.16, 0.1, 0.14)))
        return cls(float(rng.uniform(0.88, 1.12)), turn, rng.normal(0, (2.0, 3.5, 4.0)))

    def to_heart(self, points):
        """World coordinates, three arrays z, y, x -> the heart's, at size 1."""
        points = [p - np.float32(s) for p, s in zip(points, self.shift, strict=True)]
        matrix = self.turn.T / self.size
        return [sum(np.float32(m) * p for m, p in zip(row, points, strict=True)) for row in matrix]

    def to_world(self, points):
        """Points `(n, 3)` of the heart -> world mm."""
        return np.asarray(points) * self.size @ self.turn.T + self.shift

    def tubes(self, tubes):
        """The same tubes in the world."""
        moved = tubes.moved(self.to_world)
        return dataclasses.replace(moved, radius=tubes.radius * self.size)


def _unit(vector):
    return np.asarray(vector, float) / np.linalg.norm(vector)


def _veins(rng, radii):
    """Pulmonary veins: tubes near the ostium, which count as atrium, and the rest with its branches."""
    spots = {
        "right upper": [(0.45, -0.30, 0.9), (0.35, -0.25, 0.9)],
        "right lower": [(-0.40, -0.50, 0.9), (-0.15, -0.75, 0.75)],
        "left upper": [(0.50, -0.25, -0.9), (0.50, -0.15, -0.85)],
        "left lower": [(-0.30, -0.50, -0.9), (-0.15, -0.75, -0.75)],
    }
    kind = rng.random()
    if kind < 0.2:  # a common trunk on the left
        del spots["left lower"]
        spots["left upper"] = [(0.15, -0.4, -0.95), (0.1, -0.35, -0.95)]
    elif kind > 0.75:
        spots["right middle"] = [(0.05, -0.1, 1.0), (0.0, 0.1, 1.0)]
    near, far = [], []
    for name, (place, course) in spots.items():
        place, course = (_unit(np.array(v) + rng.normal(0, 0.09, 3)) for v in (place, course))
        ostium = place / np.linalg.norm(place / radii)
        width = {"right middle": 3.8}.get(name, 8.2 if len(spots) == 3 and "left" in name else 6.3)
        width *= rng.uniform(0.82, 1.15)
        end = ostium + course * rng.uniform(5, 13)
        near.append(polyline([0.5 * ostium, ostium, end], [1.25 * width, 1.1 * width, 0.9 * width]))
        fork = end + course * rng.uniform(8, 18)
        far.append(polyline([ostium, end, fork], [0.9 * width, 0.9 * width, 0.8 * width]))
        for _ in range(2):
            bend = _unit(course + rng.normal(0, 0.45, 3))
            tip = fork + 22 * bend
            far.append(polyline([fork - 2 * course, fork + 8 * bend, tip], [0.75 * width, 0.55 * width, 0.35 * width]))
    return join(*near), join(*far, *_hila(rng, radii))


def _hila(rng, radii):
    """Thin vessels of the lungs, which end near the heart's back."""
    for side in (-1, 1):
        for _ in range(9):
            start = np.array([rng.normal(0, 14), -0.5 * radii[1] + rng.normal(0, 7), side * (radii[2] + 9)])
            way = _unit(np.array([0, -0.3, 0.8 * side]) + rng.normal(0, 0.55, 3))
            middle, tip = start + 14 * way, start + 30 * way + rng.normal(0, 4, 3)
            yield polyline([start, middle, tip], np.array([1, 0.85, 0.6]) * rng.uniform(1.6, 3.4))


def _appendage(rng, radii):
    """The appendage: a bent, tapering bag at the left front."""
    place = _unit(np.array([0.35, 0.55, -0.85]) + rng.normal(0, 0.12, 3))
    root = place / np.linalg.norm(place / radii)
    way = _unit(np.array([0.25, 0.75, -0.65]) + rng.normal(0, 0.25, 3))
    bend = _unit(way + rng.normal(0, 0.6, 3))
    length, width = rng.uniform(10, 19), rng.uniform(6, 9)
    points = [0.55 * root, root, root + length * way, root + length * (way + 0.7 * bend)]
    return polyline(points, [1.3 * width, 0.9 * width, width, 0.55 * width], step=4.0)


def _atrium(rng, pose, points, wave):
    """Distances of the labelled cavity and of the veins beyond it."""
    radii = np.array([19.5, 17.5, 30.0]) * np.clip(rng.normal(1, 0.1, 3), 0.78, 1.25)
    near, far = _veins(rng, radii)
    z, y, x = points
    body = ellipsoid(z, y, x, (0, 0, 0), radii) + 1.6 * wave
    body = smooth_max(7.0, body, ellipsoid(z, y, x, (4, -3, 0.45 * radii[2]), 0.72 * radii))
    body = smooth_min(8.0, body, y + np.float32(rng.uniform(0.72, 0.9) * radii[1]), 0.93 * radii[0] - z)
    distances = [tube_distance(pose.tubes(tubes), _COARSE, _REACH) for tubes in (near, _appendage(rng, radii), far)]
    return smooth_max(4.0, body * np.float32(pose.size), *distances[:2]), distances[2], radii


def _neighbours(rng, pose, points, radii, wave):
    """Distances of two groups of other blood (members of one group touch nowhere that matters) and of muscle."""
    z, y, x = points
    front = radii[1]

    def jitter(*at):
        return np.array(at, float) + rng.normal(0, 2.2, len(at))

    def solid(centre, size):
        return ellipsoid(z, y, x, jitter(*centre), np.array(size) * rng.uniform(0.88, 1.12)) * np.float32(pose.size)

    aorta = np.array([jitter(-22, front + 14, -2), jitter(0, front + 14.5, 2), jitter(40, front + 13, 9)])
    spot = jitter(-front - 15, -16)
    down = np.array([[height, spot[0], spot[1] + 0.1 * height] for height in (-50, 0, 50)])
    root = rng.uniform(12.5, 16)
    ventricle = solid((-30, front + 20, -34), (27, 27, 23)) + wave
    tubes = join(polyline(aorta, [root, root, 0.95 * root]), polyline(down, rng.uniform(10, 12.5)))
    first = np.maximum(tube_distance(pose.tubes(tubes), _COARSE, _REACH), ventricle)
    muscle = ventricle + np.float32(rng.uniform(7, 10))

    cava = np.array([jitter(-5, front + 8, 30), jitter(18, front - 2, 28), jitter(50, front - 2, 26)])
    trunk = np.array([jitter(-12, front + 40, -8), jitter(8, front + 34, -16), jitter(27, front + 14, -22)])
    right = np.array([trunk[-1], [radii[0] + 13, 8, 0], [radii[0] + 12, 0, 34], [radii[0] + 8, -6, 60]])
    left = np.array([trunk[-1], [radii[0] + 13, 4, -32], [radii[0] + 8, -16, -56]])
    wide = rng.uniform(10.5, 13)
    tubes = join(
        polyline(cava, rng.uniform(8, 10.5)),
        polyline(trunk, wide),
        polyline(right, [wide, 9.5, 8.5, 5]),
        polyline(left, [wide, 9, 6]),
    )
    chambers = [solid((-12, front + 15, 31), (28, 22, 21)), solid((-18, front + 42, 14), (24, 16, 34))]
    second = np.maximum.reduce([tube_distance(pose.tubes(tubes), _COARSE, _REACH), *(c + wave for c in chambers)])
    return first, second, muscle


def _fields(seed, bias):
    """The coarse fields, in the order in which `_compose` takes them."""
    rng = stream(seed, 1)
    pose = _Pose.draw(rng)
    wide, fine = smooth_noise(rng, _COARSE, 26.0, 7), smooth_noise(rng, _COARSE, 5.5, 3)
    points = [np.broadcast_to(c, _COARSE.shape) + 2.2 * w for c, w in zip(_COARSE.mesh(), wide[:3], strict=True)]
    points = pose.to_heart(points)
    _, y, x = points
    atrium, far, radii = _atrium(stream(seed, 2), pose, points, wide[3])
    first, second, muscle = _neighbours(rng, pose, points, radii, wide[4])
    hull = np.maximum.reduce([atrium, first, second, muscle]) + rng.uniform(1.5, 4)
    side = np.abs(x + 2) - (33 + 0.42 * y + np.float32(0.003) * y * y) + 3 * wide[5]
    lung = smooth_min(5.0, side, -hull, -far - 1.0)
    fat, flesh = rng.uniform(0.18, 0.5), rng.uniform(0.35, 0.55)
    soft = np.float32(fat) + 0.13 * fine[0] + 0.3 * np.clip(fine[1] - 0.6, 0, 1) - 0.2 * np.clip(-fine[1] - 0.9, 0, 1)
    bone = 19.5 - np.sqrt((x - 7) ** 2 + (y + radii[1] + 31) ** 2)
    soft += step(bone, 2) * (0.16 - soft) + 0.5 * np.exp(-(((bone + 1.5) / 1.6) ** 2))
    gullet = 5.5 - np.sqrt(((x + 4) / 1.5) ** 2 + (y + radii[1] + 7) ** 2)
    soft += step(gullet, 2.5) * (flesh - soft) + step(muscle, 2.5) * (rng.uniform(0.12, 0.3) - soft)
    scar = np.clip(1.2 * (wide[6] + 0.8 * fine[2] - rng.uniform(0.6, 1.9)), 0, 1)
    shade = np.exp(np.float32(0.16 * bias) * smooth_noise(rng, _COARSE, 60.0)[0])
    return np.stack([atrium, far, first, second, lung, soft, scar, fine[1], shade]).astype(np.float32)


def _compose(grid, rng, fields):
    """Image (blood is about 1) and labels at the voxels of `grid`."""
    spread = np.hypot(np.mean(grid.spacing), rng.uniform(0.7, 1.5))
    sharp, half = np.float32(1 / spread), np.float32(0.5)
    wall = np.array([rng.uniform(0.6, 2.0), rng.uniform(0.6, 2.0), rng.uniform(1.0, 2.6)], np.float32)
    around, first_blood, second_blood = (np.float32(rng.uniform(*v)) for v in ((0.25, 0.5), (0.86, 1.16), (0.8, 1.14)))
    image, labels = np.empty(grid.shape, np.float32), np.zeros(grid.shape, np.uint8)

    def share(distance):
        return np.clip(distance * sharp + half, 0, 1)

    for slab, (atrium, far, first, second, lung, soft, scar, grain, shade) in slabs(fields, _COARSE, grid):
        now = image[slab]
        np.greater(atrium, 0, out=labels[slab].view(bool))
        blood = np.maximum(atrium, far)
        second = np.minimum(np.minimum(second, -blood - wall[1]), -first - wall[2])
        first = np.minimum(first, -blood - wall[0])
        now[...] = soft
        shell = share(blood + np.float32(2.4))
        now += shell * (around - now)
        now += share(lung) * (np.float32(0.05) - now)
        bright = 1 + np.float32(0.035) * grain
        now += share(first) * (first_blood * bright - now)
        now += share(second) * (second_blood * bright - now)
        now += share(blood) * (bright - now)
        rim = np.clip(1 - np.abs(atrium + np.float32(0.8)) * np.float32(0.7), 0, 1) * scar
        now += rim * (np.float32(1.35) - now)
        now *= shade
    np.maximum(image, 0, out=image)
    return image, labels
