"""The chest's large organs as smooth signed distances (mm, positive inside) on one coarse grid."""

import dataclasses

import numpy as np

from .grid import Grid, smooth_noise
from .shapes import smooth_min, step

COARSE = Grid.covering((56, 40, 56), (338.0, 256.0, 366.0))
VERTEBRA_TOP, VERTEBRA_STEP = 128.0, 22.5  # z of the first thoracic vertebra's centre, and the distance to the next


@dataclasses.dataclass(frozen=True)
class Chest:
    """What makes one person and one scan different from the next; lengths are in mm at size 1."""

    size: float
    roll: float
    shift: tuple
    tilt: float
    fat: float
    breast: float
    width: float
    depth: float
    apex: float
    dome_right: float
    dome_left: float
    heart: float
    scoliosis: float
    kyphosis: float
    rib_drop: float
    bone: float
    blood: float
    lung: float
    emphysema: float
    gain: float
    noise: float

    @classmethod
    def draw(cls, rng):
        """A random chest; `rng` is a `numpy.random.Generator`."""
        u, n = rng.uniform, rng.standard_normal
        contrast = rng.random() < 0.45
        return cls(
            size=float(np.clip(0.98 + 0.055 * n(), 0.85, 1.1)),
            roll=float(0.035 * n()),
            shift=(float(4 * n()), float(4 * n())),
            tilt=float(0.02 * n()),
            fat=float(u(5, 22)),
            breast=float(max(0.0, u(-22, 22))),
            width=float(118 + 5 * n()),
            depth=float(80 + 5 * n()),
            apex=float(118 + 4 * n()),
            dome_right=float(-52 + 10 * n()),
            dome_left=float(-64 + 10 * n()),
            heart=float(np.clip(1 + 0.08 * n(), 0.8, 1.25)),
            scoliosis=float(4 * n()),
            kyphosis=float(u(6, 18)),
            rib_drop=float(u(45, 75)),
            bone=float(u(0.75, 1.15)),
            blood=float(u(150, 340) if contrast else u(35, 50)),
            lung=float(-862 + 22 * n()),
            emphysema=float(max(0.0, u(-60, 60))),
            gain=float(1 + 0.015 * n()),
            noise=float(np.exp(0.25 * n())),
        )

    def to_body(self, z, y, x):
        """World mm -> body coordinates at size 1 (z, y, x)."""
        c, s = np.float32(np.cos(self.roll)), np.float32(np.sin(self.roll))
        dx, dy = x - np.float32(self.shift[0]) - np.float32(self.tilt) * z, y - np.float32(self.shift[1])
        scale = np.float32(1 / self.size)
        return z * scale, (c * dy - s * dx) * scale, (c * dx + s * dy) * scale

    def to_world(self, points):
        """Body coordinates `(n, 3)` (z, y, x, size 1) -> world mm."""
        z, y, x = (np.asarray(points, np.float64) * self.size).T
        c, s = np.cos(self.roll), np.sin(self.roll)
        return np.stack([z, s * x + c * y + self.shift[1], c * x - s * y + self.shift[0] + self.tilt * z], axis=1)

    def cavity(self, z):
        """Half width, half depth and centre y of the rib cage's inside at height z."""
        down = np.asarray(self.apex - z, np.float32)
        wide, deep = (1 - (1 - np.clip(down / reach, 0, 1)) ** 2.2 for reach in (165, 125))
        low = np.clip((-40 - np.asarray(z, np.float32)) / 120, 0, 1)
        back = 14 * np.clip((z - np.float32(30)) / 90, 0, 1)
        return (
            8 + (self.width - 8) * np.sqrt(wide) - 6 * low,
            8 + (self.depth - 8) * np.sqrt(deep) + 4 * low,
            -4 - back,
        )

    def spine(self, z):
        """y and x of the vertebral bodies' centre at height z."""
        u = np.asarray(z, np.float32) / 130
        return -54 + self.kyphosis * (u * u - 0.4), self.scoliosis * np.sin(2 * u)


def _ellipse(x, y, a, b):
    """About the distance in mm to the inside of a slightly squared ellipse."""
    u, v = np.abs(x) / a, np.abs(y) / b
    squared = u * u + v * v
    rho = np.sqrt(np.sqrt(squared * squared - 0.7 * u * u * v * v))
    slope = np.sqrt((u / a) ** 2 + (v / b) ** 2) / np.sqrt(squared + np.float32(1e-6))
    return (1 - rho) / np.maximum(slope, np.float32(1e-3))


def heart_shape(chest, z, y, x):
    """Signed distance of the heart (body coordinates)."""
    z, y, x = z + 40, y - 20, x + 18
    axes = np.array([[-0.52, 0.50, -0.69], [0.30, 0.86, 0.41], [0.80, 0.0, -0.60]], np.float32)
    radii = np.array([66, 47, 46]) * chest.heart
    rho = sum(((a[0] * z + a[1] * y + a[2] * x) / np.float32(r)) ** 2 for a, r in zip(axes, radii, strict=True))
    return (1 - np.sqrt(rho)) * np.float32(50 * chest.heart)


def _domes(chest, z, y, x):
    """Height above the diaphragm in mm, negative below."""
    right, left = (
        top - ((x - centre) ** 2 + (y - 8) ** 2) / np.float32(118)
        for top, centre in ((chest.dome_right, 58), (chest.dome_left, -60))
    )
    return (z - np.maximum(right, left)) * np.float32(0.72)


def build(chest, rng):
    """The coarse fields of one chest.

    Returns:
        dict of float32 arrays of `COARSE.shape`: distances in mm `skin`, `lean` (negative in fat), `lung`, `heart`;
        HU `soft` (what is neither fat nor lung nor bone) and `parenchyma` (lung).
    """
    z, y, x = chest.to_body(*COARSE.mesh())
    bumps = smooth_noise(rng, COARSE, 42.0, 3)
    fine = smooth_noise(rng, COARSE, 15.0, 2)
    half_width, half_depth, centre = chest.cavity(z)
    cavity = _ellipse(x, y - centre, half_width, half_depth) + 1.5 * bumps[0]
    high = np.clip((z - 55) / 85, 0, 1)
    wall_width, wall_depth = chest.width + 20 + 12 * high - 22 * high * high, chest.depth + 13 - 16 * high
    muscle = _ellipse(x, y + 4, wall_width, wall_depth) + 2.0 * bumps[1]
    skin = _ellipse(x, y + 3, wall_width + chest.fat, wall_depth + 3 + 0.8 * chest.fat) + 1.0 * bumps[1]
    skin = skin + chest.breast * np.exp(-(((np.abs(x) - 68) / 38) ** 2 + ((y - 95) / 45) ** 2 + ((z - 5) / 42) ** 2))
    spine_y, spine_x = chest.spine(z)
    column = np.sqrt((x - spine_x) ** 2 + (y - spine_y + 6) ** 2) - 25
    heart = heart_shape(chest, z, y, x)
    above = _domes(chest, z, y, x)
    knob = 9 * np.exp(-(((z - 46) / 16) ** 2)) * (x < 0)
    middle = 9 + knob + 25 * np.exp(-(((y + 14) / 36) ** 2)) - 6 * np.clip((z - 50) / 60, 0, 1)
    outer = np.minimum(cavity - 2, chest.apex - z)
    inner = np.abs(x + 2) - middle + 5 * bumps[2]
    lung = smooth_min(9.0, outer, inner, above + bumps[0], column, -heart - 4)
    lung = lung * np.float32(chest.size)

    belly = np.minimum(cavity - 4, -above - 4)
    liver = np.minimum(belly, x + 34 - 0.4 * y + 12 * bumps[2])
    spleen = np.minimum(belly, 34 - np.sqrt((x + 78) ** 2 + (y + 34) ** 2 + ((z + 112) * 0.7) ** 2))
    stomach = np.minimum(belly, 36 - np.sqrt((x + 52) ** 2 + (y - 22) ** 2 + ((z + 118) * 0.8) ** 2))
    wall = np.minimum(muscle, 4 - cavity)
    nodes = np.minimum(5 * fine[0] - 4, cavity)
    marbled = np.minimum(wall, 5 * (1.15 - fine[1]))
    lean = np.maximum.reduce([marbled, heart + 1, liver, spleen, stomach, nodes, -column - 4])
    lean = np.minimum(lean, skin - 0.35 * chest.fat - 1.5)

    blush = 0.25 * (chest.blood - 40)
    soft = 52 + 5 * fine[0] + 4 * bumps[1]
    soft = soft + step(liver) * (8 + blush) + step(spleen) * (0.8 * blush) - step(stomach) * 22
    chambers = np.clip(0.75 + 0.45 * fine[1], 0.15, 1) * step(heart - 7, 8)
    soft = soft + chambers * (chest.blood - 45)
    patches = np.clip(bumps[0] + 0.6 * bumps[1] - 0.4, 0, 1)
    parenchyma = chest.lung - 0.32 * (y + 10) + 14 * fine[0] + 10 * fine[1] - chest.emphysema * patches
    parenchyma = parenchyma + 60 * np.exp(-np.maximum(lung, 0) / 9)
    fields = dict(skin=skin * chest.size, lean=lean, lung=lung, heart=heart, soft=soft, parenchyma=parenchyma)
    return {name: np.asarray(field, np.float32) for name, field in fields.items()}
