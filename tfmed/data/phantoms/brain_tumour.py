"""Four skull-stripped MR images of one brain with a tumour, made from a seed, with its parts; not patient data.

Sulci are the zeros of a wavy function of the direction from the brain's middle; the cortex is what lies near them or
near the surface. The tumour grows in white matter, pushes the rest aside, and has the labels of the BraTS challenge.
White-matter lesions, vessels and the choroid plexus are as bright as parts of the tumour are.
"""

import dataclasses

import numpy as np

from tfmed.io.volume import Volume

from . import texture
from .common import Checks, stream
from .grid import Grid, slabs, smooth_noise
from .shapes import ellipsoid, smooth_max, smooth_min
from .tubes import coverage, join, largest, polyline, rasterise

LABELS = {"background": 0, "necrosis": 1, "oedema": 2, "enhancing": 4}
MODALITIES = ("t1", "t1ce", "t2", "flair")
EXTENT = (150.0, 186.0, 152.0)  # mm along z, y, x
_COARSE = Grid.covering((44, 54, 45), (154.0, 190.0, 156.0))
# Brightness of each tissue in t1, t1ce, t2, flair; white matter of t1 is 1.
_TISSUES = {
    "white": (1.0, 1.0, 0.52, 0.66),
    "grey": (0.72, 0.76, 0.74, 0.82),
    "deep": (0.82, 0.84, 0.62, 0.76),
    "fluid": (0.26, 0.28, 1.7, 0.2),
    "oedema": (0.74, 0.76, 1.2, 1.15),
    "necrosis": (0.42, 0.46, 1.45, 0.68),
    "solid": (0.66, 0.72, 1.08, 1.0),
    "lesion": (0.68, 0.7, 1.1, 1.15),
    "vessel": (0.6, 1.75, 0.3, 0.4),
    "plexus": (0.6, 1.55, 1.2, 0.8),
}


@dataclasses.dataclass(frozen=True)
class BrainTumour:
    """A phantom examination: images of one grid.

    Args:
        t1, t1ce, t2, flair: int16 `(z, y, x)`, arbitrary units that differ from scan to scan, RAS+ affine in mm;
            exactly 0 outside the brain and nowhere else.
        labels: uint8 `(z, y, x)`, numbers as in `LABELS` (1 is the core that does not enhance, necrotic or solid).
    """

    t1: Volume
    t1ce: Volume
    t2: Volume
    flair: Volume
    labels: Volume


def brain_tumour(
    seed,
    shape=(150, 186, 152),
    core_radius_mm=(8.0, 24.0),
    oedema_mm=(3.0, 20.0),
    enhancing=0.8,
    lesions=12,
    noise=1.0,
    bias=1.0,
):
    """A phantom of brain MR with one tumour; a pure function of its arguments.

    Args:
        seed: integer >= 0; another seed is another person on another scanner.
        shape: `(z, y, x)` voxels, each at least 8, of the same 150 x 186 x 152 mm; the anatomy does not depend on it.
        core_radius_mm: smallest and largest radius of the tumour's core in mm.
        oedema_mm: least and greatest reach of the oedema beyond the core in mm.
        enhancing: probability that the tumour takes up contrast medium (has label 4).
        lesions: greatest number of white-matter lesions, which are not labelled.
        noise: 0 for none; at 1 the white matter's signal is 14 to 40 times the noise.
        bias: strength of the receive coils' shading, 0 for none.

    Returns:
        `BrainTumour`.

    Raises:
        UserError: an argument is out of range.
    """
    checks = Checks("brain_tumour")
    checks.seed(seed)
    shape = checks.shape(shape)
    radii = checks.interval("core_radius_mm", core_radius_mm, 3.0, 35.0)
    reach = checks.interval("oedema_mm", oedema_mm, 0.0, 40.0)
    checks.number("enhancing", enhancing, 0, 1)
    checks.number("lesions", lesions, 0, 500)
    checks.number("noise", noise, 0, 10)
    checks.number("bias", bias, 0, 5)
    grid = Grid.covering(shape, EXTENT)
    tumour = _Tumour.draw(stream(seed, 0), radii, reach, enhancing)
    fields, paths = _fields(seed, tumour, bias)
    tissues = _appearance(stream(seed, 2), tumour)
    spots = _spots(stream(seed, 3), grid, fields, paths, lesions)
    images, labels = _compose(grid, fields, tissues, spots, tumour)
    affine = grid.affine
    made = [Volume(_scanned(image, noise, stream(seed, 4 + k)), affine) for k, image in enumerate(images)]
    return BrainTumour(*made, Volume(labels, affine))


@dataclasses.dataclass(frozen=True)
class _Tumour:
    """Where the tumour is and what it is made of; mm."""

    centre: np.ndarray
    radius: float
    squash: np.ndarray
    reach: float
    rim: float
    enhances: bool
    push: float
    solid: float

    @classmethod
    def draw(cls, rng, radii, reach, enhancing):
        radius = float(rng.uniform(*radii))
        side = rng.choice([-1.0, 1.0])
        place = np.array([rng.uniform(-14, 30), rng.uniform(-48, 42), side * rng.uniform(20, 40)])
        enhances = bool(rng.random() < enhancing)
        return cls(
            centre=place,
            radius=radius,
            squash=rng.uniform(0.8, 1.25, 3),
            reach=float(rng.uniform(*reach)),
            rim=float(rng.uniform(0.12, 0.5) * radius + 1.2),
            enhances=enhances,
            push=float(rng.uniform(0.15, 0.5) * radius),
            solid=float(rng.uniform(0, 0.5) if enhances else rng.uniform(0.4, 1)),
        )


_BRAIN, _FOLD, _SHALLOW, _MIDDLE, _BETWEEN, _FLUID, _DEEP, _WHOLE, _CORE, _DEAD, _GRAIN, _SHADE = range(12)


def _fields(seed, tumour, bias):
    """Coarse fields `(12 + 3, Z, Y, X)` float32 in the order of the names above (the shade once per image); tubes."""
    rng = stream(seed, 1)
    wide, fine = smooth_noise(rng, _COARSE, 42.0, 5), smooth_noise(rng, _COARSE, 11.0, 4)
    points = [np.broadcast_to(p, _COARSE.shape) for p in _COARSE.mesh()]
    away = [p - np.float32(c) for p, c in zip(points, tumour.centre, strict=True)]
    distance = np.sqrt(sum(a * a for a in away)) + np.float32(1)
    pull = np.float32(tumour.push) * np.exp(-((distance / np.float32(tumour.radius + 16)) ** 2)) / distance
    size = rng.uniform(0.92, 1.06)
    z, y, x = ((p - pull * a) / np.float32(size) + 2.5 * w for p, a, w in zip(points, away, wide[:3], strict=True))
    brain, cerebellum = _brain(rng, z, y, x)
    edge = _brain(np.random.default_rng(0), *(p / np.float32(size) for p in points))[0]
    brain = smooth_min(5.0, brain, edge + 2.5) + 0.4 * fine[3]
    fold, centre = _folds(rng, z, y, x, cerebellum)
    shallow = np.maximum(brain - rng.uniform(17, 25), 0) * 0.5 + np.maximum(0, 30 - centre) * 0.25
    shallow = np.where(cerebellum > 0, 0.8, shallow) + 0.8 + 0.7 * wide[3]
    between = 0.5 * np.maximum(0, 40 - np.sqrt((z - 4) ** 2 + ((y + 4) * 0.72) ** 2)) + 3 * (cerebellum > -2)
    fluid, deep, paths = _middle(rng, z, y, x, size)
    whole, core, dead = _lumps(tumour, away, wide[4], fine)
    own = np.maximum(np.float32(np.sign(tumour.centre[2])) * x + 2, core)  # oedema stays on its side
    whole = np.minimum(np.minimum(whole, own), np.minimum(brain - 1.5, -fluid + 0.5))
    core = np.minimum(core, np.minimum(brain - 2.5, -fluid - 0.5))
    shade = np.exp(np.float32(0.13 * bias) * smooth_noise(rng, _COARSE, 85.0, 4))
    stack = [brain, fold, shallow, x, between, fluid, deep, whole, core, np.minimum(dead, core - 2.0), fine[3], *shade]
    return np.stack([np.broadcast_to(f, _COARSE.shape) for f in stack]).astype(np.float32), paths


def _brain(rng, z, y, x):
    """Distance of the whole brain and of the cerebellum with the stem."""
    u = rng.uniform
    half = ellipsoid(z, y, np.abs(x), (8, 0, 12), (56 * u(0.97, 1.04), 82 * u(0.97, 1.03), 53 * u(0.96, 1.05)))
    half = smooth_min(14.0, half, z + 34 + 0.14 * np.abs(y - 10))
    temporal = ellipsoid(z, y, np.abs(x), (-26, 8, 42), (24, 38, 20))
    lobes = smooth_max(10.0, half, temporal)
    small = ellipsoid(z, y, np.abs(x), (-42, -48, 20), (25, 31, 32))
    stem = smooth_min(5.0, 14 - np.sqrt(x * x + (y + 16 + 0.25 * (z + 40)) ** 2), -10 - z, z + 63)
    below = smooth_max(5.0, small, stem)
    return smooth_max(2.0, lobes, below), np.maximum(np.minimum(small, -lobes - 1), stem)


def _folds(rng, z, y, x, cerebellum):
    """About the distance in mm to the middle of the nearest sulcus (signed), and to the brain's middle."""
    middle = (z - 4, y * np.float32(0.72), np.abs(x) - 6)
    radius = np.sqrt(sum(m * m for m in middle)) + np.float32(3)
    stretch = (58 / radius) ** np.float32(0.75)
    waves = np.zeros(_COARSE.shape, np.float32)
    slope = np.zeros((3, *_COARSE.shape), np.float32)
    at = [m * stretch for m in (z - 4, y * np.float32(0.85), x)]
    for _ in range(14):
        way = rng.normal(0, 1, 3)
        way *= 2 * np.pi / (rng.uniform(17, 29) * np.linalg.norm(way))
        phase = sum(np.float32(w) * a for w, a in zip(way, at, strict=True)) + np.float32(rng.uniform(0, 6.3))
        waves += np.sin(phase)
        flank = np.cos(phase)
        for k in range(3):
            slope[k] += np.float32(way[k]) * flank
    steep = np.sqrt((slope**2).sum(axis=0)) * stretch
    fold = waves / np.maximum(steep, np.float32(0.4))
    leaves = 1.6 * np.sin((z + 42 + 0.5 * (y + 48)) * np.float32(2 * np.pi / 10)) + 3.2
    return np.where(cerebellum > 0, leaves, np.clip(fold, -9, 9)), radius


def _middle(rng, z, y, x, size):
    """Ventricles, deep grey matter (distances) and the curves that lesions and plexus follow (world mm at no push)."""
    wide = rng.uniform(0.6, 1.5)
    fluid, curves = [], []
    flat = [np.ravel(c) for c in (z, y, x)]
    for side in (-1, 1):
        body = np.array([[2, 36, 16], [11, 24, 10], [18, 2, 9], [18, -20, 14], [6, -36, 25], [2, -56, 24]], float)
        horn = np.array([[6, -36, 25], [-12, -26, 32], [-18, -6, 32]], float)
        for curve, widths in ((body, [2.5, 5.5, 5.0, 5.5, 6.5, 2.0]), (horn, [4.5, 2.8, 1.5])):
            curve = (curve + rng.normal(0, 1.0, curve.shape)) * [1, 1, side]
            fluid.append(polyline(curve, np.array(widths) * wide, step=8.0, flat=1.3))
            curves.append(curve * size)
    fluid.append(polyline([[10, 8, 0], [4, -4, 0], [2, -18, 0]], 1.6 * wide, flat=2.0))
    fluid.append(polyline([[-6, -24, 0], [-34, -32, 0], [-46, -30, 0]], [1.0, 3.2, 1.2], flat=2.0))
    fluid = np.maximum.reduce([_along(tubes, flat) for tubes in fluid]).reshape(z.shape)
    lumps = (((4, -14, 11), (9, 14, 8.5)), ((4, 8, 26), (11, 18, 6.5)), ((10, 22, 13), (10, 9, 5)))
    deep = np.maximum.reduce([ellipsoid(z, y, np.abs(x), at, radii) for at, radii in lumps])
    return fluid, np.minimum(deep, -fluid - 0.5), curves


def _along(tubes, points):
    """Distance `(n,)` to the surface of few tubes at any points (three `(n,)` arrays z, y, x), positive inside."""
    best = np.full(len(points[0]), -30, np.float32)
    scale = np.array([1 / tubes.flat, 1, 1], np.float32)
    for start, end, radius in zip(tubes.start * scale, tubes.end * scale, tubes.radius, strict=True):
        way = (end - start).astype(np.float32)
        out = [p * s - np.float32(a) for p, s, a in zip(points, scale, start, strict=True)]
        t = np.clip(sum(w * o for w, o in zip(way, out, strict=True)) / np.float32(max(way @ way, 1e-3)), 0, 1)
        gap = sum((o - t * w) ** 2 for o, w in zip(out, way, strict=True))
        np.maximum(best, np.float32(radius) - np.sqrt(gap), out=best)
    return best


def _lumps(tumour, away, wave, fine):
    """Distances of whole tumour, core, and the dead inside of the core."""
    radial = np.sqrt(sum((a * np.float32(s)) ** 2 for a, s in zip(away, tumour.squash, strict=True)))
    lumpy = np.float32(min(1.0, tumour.radius / 14))
    core = tumour.radius - radial + lumpy * (1.9 * fine[0] + 2.0 * wave)
    whole = np.maximum(core, core + tumour.reach + (0.16 * tumour.reach + 0.8) * (2.0 * fine[1] + 1.5 * wave))
    dead = core - tumour.rim + lumpy * 1.6 * fine[2]
    return whole, core, dead


def _appearance(rng, tumour):
    """Brightness `(4,)` of each tissue in this examination."""
    tissues = {name: np.array(value) for name, value in _TISSUES.items()}
    for value in tissues.values():
        value *= np.exp(rng.normal(0, 0.05, 4))
    strength = rng.uniform(0.5, 1.05)  # how far oedema stands out, in all images alike
    for name in ("oedema", "solid", "necrosis"):
        tissues[name] = tissues["white"] + (strength if name == "oedema" else 0.9) * (tissues[name] - tissues["white"])
    tissues["rim"] = tissues["solid"].copy()
    tissues["rim"][1] = rng.uniform(1.2, 1.75)
    tissues["inside"] = tissues["necrosis"] + tumour.solid * (tissues["solid"] - tissues["necrosis"])
    return {name: value.astype(np.float32) for name, value in tissues.items()}


def _spots(rng, grid, fields, paths, lesions):
    """What is small and bright: list of `(tissue, flat index, share)`."""
    brain = fields[_BRAIN]
    number = int(rng.integers(0, lesions + 1))
    pale, plexus = [], []
    for _ in range(number):
        path = paths[rng.integers(len(paths))]
        at = path[rng.integers(len(path))] + rng.normal(0, 4, 3)
        at = at + np.sign(path[0, 2]) * np.array([0, 0, rng.uniform(3, 16)]) + [rng.uniform(0, 14), 0, 0]
        pale.append(polyline([at, at + rng.normal(0, 3, 3)], rng.uniform(1.2, 4.0)))
    if rng.random() < 0.5:  # caps on the ends of the ventricles
        pale += [polyline([path[0], path[0] + [1, 5, 0]], rng.uniform(3.5, 6.0)) for path in paths[::2]]
    for path in paths[::2]:
        plexus.append(polyline(path[3:5], rng.uniform(1.2, 2.6)))
    vessels = [_sinus(rng, brain), *_cortical(rng, brain)]
    voxel = float(np.mean(grid.spacing))
    buffer, found = np.zeros(int(np.prod(grid.shape)), np.uint8), []
    for name, tubes, soft in (("lesion", pale, 1.5), ("plexus", plexus, 1.0), ("vessel", vessels, 0.5)):
        if not tubes:
            continue
        width = max(voxel, soft)
        index, distance, radius = rasterise(join(*tubes), grid, 0.5 * width + 0.01)
        share = np.rint(coverage(distance, radius, width) * 255).astype(np.uint8)
        share = largest(buffer, index, share) * np.float32(1 / 255)
        index, first = np.unique(index, return_index=True)
        found.append((name, index, share[first]))
    return found


def _rays(brain, ways):
    """Where rays from the origin along `ways` `(n, 3)` leave the brain: mm `(n, 3)`."""
    steps = np.arange(25, 110, 2.0)
    at = ways[:, None] / np.linalg.norm(ways, axis=1)[:, None, None] * steps[:, None]
    voxel = np.clip(np.rint((at - _COARSE.origin) / _COARSE.spacing).astype(int), 0, np.array(brain.shape) - 1)
    inside = brain[tuple(np.moveaxis(voxel, -1, 0))] > 0
    last = inside.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)
    return np.take_along_axis(at, last[:, None, None], axis=1)[:, 0]


def _sinus(rng, brain):
    """The sagittal sinus along the top, in the midline."""
    angle = np.linspace(0.35, 2.75, 9)
    ways = np.stack([np.sin(angle), np.cos(angle), np.zeros(9)], axis=1)
    return polyline(_rays(brain, ways) * 0.97, rng.uniform(1.6, 2.8))


def _cortical(rng, brain):
    """Thin vessels on and between the folds."""
    for _ in range(16):
        start = rng.normal(0, 1, 3)
        ways = start + np.linspace(0, 1, 5)[:, None] * rng.normal(0, 0.45, 3) + rng.normal(0, 0.05, (5, 3))
        ends = _rays(brain, ways) * np.linspace(0.97, rng.uniform(0.6, 0.97), 5)[:, None]
        yield polyline(ends, np.linspace(1, 0.6, 5) * rng.uniform(0.7, 1.3))


def _compose(grid, fields, tissues, spots, tumour):
    """The four images (white matter of t1 is about 1; 0 outside the brain) and the labels."""
    spread = max(float(np.mean(grid.spacing)), 0.9)
    sharp, half, ribbon = np.float32(1 / spread), np.float32(0.5), np.float32(2.7)
    images = [np.empty(grid.shape, np.float32) for _ in MODALITIES]
    labels = np.zeros(grid.shape, np.uint8)
    plane = int(np.prod(grid.shape[1:]))

    def share(distance):
        return np.clip(distance * sharp + half, 0, 1)

    for slab, values in slabs(fields, _COARSE, grid):
        brain, fold, shallow, middle, between, fluid, deep, whole, core, dead, grain = values[:_SHADE]
        cleft = np.minimum(np.abs(fold) + shallow, np.abs(middle) + between - half)
        gap = np.minimum(cleft, brain - np.float32(0.6))  # mm from the nearest fluid outside
        gap = np.maximum(gap, np.minimum(core, 4))  # a core fills the folds
        water = np.maximum(share(np.float32(1.3) - gap), share(fluid))
        white = share(np.minimum(gap - ribbon - np.float32(1.3), brain - 3))
        swollen = np.minimum(whole, np.maximum(gap - ribbon + np.float32(1.6), whole - 7))
        swollen = np.minimum(swollen, gap - np.float32(1.3))
        shares = [
            ("white", white), ("deep", share(deep)), ("fluid", water), ("oedema", share(swollen * np.float32(0.5))),
            ("rim" if tumour.enhances else "inside", share(core)), ("inside", share(dead)),
        ]  # fmt: skip
        mark = labels[slab]
        mark[(swollen > 0) & (brain > 0)] = LABELS["oedema"]
        mark[core > 0] = LABELS["enhancing"] if tumour.enhances else LABELS["necrosis"]
        mark[dead > 0] = LABELS["necrosis"]
        low, high = slab.start * plane, slab.stop * plane
        shares += [_dense(spot, low, high, brain, core) for spot in spots]
        inside = brain > 0
        rough = np.float32(0.02) * grain
        for number, image in enumerate(images):
            now = image[slab]
            now[...] = tissues["grey"][number]
            for name, amount in shares:
                now += amount * (tissues[name][number] - now)
            now *= (1 + rough) * values[_SHADE + number] * inside
    return images, labels


def _dense(spot, low, high, brain, core):
    """The share of small bright things in one slab, none in the tumour's core."""
    name, index, amount = spot
    here = slice(*np.searchsorted(index, (low, high)))
    dense = np.zeros(brain.shape, np.float32)
    dense.reshape(-1)[index[here] - low] = amount[here]
    return name, dense * (core < 0)


def _scanned(image, noise, rng):
    """Noise inside the brain, the scan's own units, and exactly 0 outside."""
    outside = image <= 0
    sigma = noise * rng.uniform(0.025, 0.07)
    if noise:
        texture.rician(rng, image, sigma, along=0.3, side=0.3)
    image *= np.float32(np.exp(rng.uniform(np.log(120), np.log(1500))))
    made = np.maximum(np.rint(image), 1).astype(np.int16)
    made[outside] = 0
    return made
