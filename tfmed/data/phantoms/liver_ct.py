"""An upper abdominal CT made from a seed, with the liver and its tumours; not patient data.

Built like the chest CT: smooth organs read from a coarse grid in mm, then spine, ribs and vessels only in their own
voxels. Organs that touch the liver differ little from it in HU, and tumours are darker by as much as each scan says.
"""

import dataclasses

import numpy as np

from tfmed.io.volume import Volume

from . import texture
from .chest_layers import Canvas, Union, bone_layer, paint_spine
from .common import Checks, stream
from .grid import Grid, slabs, smooth_noise
from .shapes import ellipsoid, smooth_min, tube_distance
from .tubes import coverage, join, polyline

LABELS = {"background": 0, "liver": 1, "tumour": 2}
_COARSE = Grid.covering((46, 46, 62), (272.0, 270.0, 372.0))
_HEIGHT = 120.0  # mm from here up to where the chest's spine has its origin


@dataclasses.dataclass(frozen=True)
class LiverCT:
    """A phantom scan.

    Args:
        volume: int16 HU `(z, y, x)`, RAS+ affine in mm.
        labels: uint8 `(z, y, x)`, numbers as in `LABELS`.
    """

    volume: Volume
    labels: Volume


def liver_ct(
    seed,
    shape=(120, 180, 180),
    tumours=(0, 4),
    tumour_radius_mm=(5.0, 28.0),
    tumour_contrast_hu=(14.0, 60.0),
    field_of_view_mm=360.0,
    length_mm=240.0,
    noise_hu=16.0,
):
    """An abdominal CT phantom; a pure function of its arguments.

    Args:
        seed: integer >= 0; another seed is another person on another scanner.
        shape: `(z, y, x)` voxels, each at least 8; the anatomy does not depend on it.
        tumours: fewest and most tumours.
        tumour_radius_mm: smallest and largest radius in mm.
        tumour_contrast_hu: least and greatest difference of a scan's tumours from its liver in HU.
        field_of_view_mm: extent of the image along y and x.
        length_mm: extent along z.
        noise_hu: mean noise level in HU; the seed makes a scan noisier or less noisy than that.

    Returns:
        `LiverCT`.

    Raises:
        UserError: an argument is out of range.
    """
    checks = Checks("liver_ct")
    checks.seed(seed)
    shape = checks.shape(shape)
    tumours = checks.interval("tumours", tumours, 0, 40)
    radii = checks.interval("tumour_radius_mm", tumour_radius_mm, 1.0, 60.0)
    contrast = checks.interval("tumour_contrast_hu", tumour_contrast_hu, 0.0, 200.0)
    checks.number("field_of_view_mm", field_of_view_mm, 50, 1000)
    checks.number("length_mm", length_mm, 20, 1000)
    checks.number("noise_hu", noise_hu, 0, 500)
    grid = Grid.covering(shape, (length_mm, field_of_view_mm, field_of_view_mm))
    body = Abdomen.draw(stream(seed, 0))
    fields = _fields(body, seed)
    placed = _place(fields["liver"], tumours, radii, stream(seed, 4))
    canvas = Canvas(grid, body, np.empty(shape, np.int16), np.zeros(shape, np.uint8))
    labels = np.empty(shape, np.uint8)  # the canvas's own mark what is painted over the liver: bones, large vessels
    couch = texture.couch(stream(seed, 3), grid.axis(1), grid.axis(2), -(101 + 0.8 * body.fat) * body.size)
    _organs(canvas, labels, fields, couch)
    _tumours(canvas, labels, placed, body.liver - stream(seed, 5).uniform(*contrast), stream(seed, 6))
    _vessels(canvas, labels, stream(seed, 7))
    paint_spine(canvas)
    _ribs(canvas, stream(seed, 8))
    labels[canvas.labels > 0] = LABELS["background"]
    noise = texture.noise_slices(stream(seed, 9), shape, noise_hu * body.noise, np.ones(shape[0]))
    for plane, extra in zip(canvas.hu, noise, strict=True):
        plane += extra
    np.clip(canvas.hu, -1024, 3071, out=canvas.hu)
    return LiverCT(Volume(canvas.hu, grid.affine), Volume(labels, grid.affine))


@dataclasses.dataclass(frozen=True)
class Abdomen:
    """What makes one person and one scan different from the next; mm at size 1, HU. Stands in for a `Chest`."""

    size: float
    shift: tuple
    fat: float
    inner: float
    width: float
    depth: float
    dome: float
    bone: float
    noise: float
    sway: float
    liver: float
    spleen: float
    kidney: float
    artery: float
    vein: float
    muscle: float

    @classmethod
    def draw(cls, rng):
        """A random abdomen: plain, or with contrast medium in the portal phase."""
        u, n = rng.uniform, rng.standard_normal
        drug = u(0, 1) if rng.random() < 0.6 else 0.0
        steatosis = u(0, 35) if rng.random() < 0.25 else 0.0
        liver = float(58 + 5 * n() + 55 * drug - steatosis)
        return cls(
            size=float(np.clip(1 + 0.05 * n(), 0.88, 1.12)),
            shift=(float(8 * n()), float(4 * n()), float(4 * n())),
            fat=float(u(6, 30)),
            inner=float(u(-4, 6)),
            width=float(122 + 6 * n()),
            depth=float(86 + 5 * n()),
            dome=float(72 + 8 * n()),
            bone=float(u(0.75, 1.15)),
            noise=float(np.exp(0.3 * n())),
            sway=float(4 * n()),
            liver=liver,
            spleen=float(50 + 62 * drug + 5 * n()),
            kidney=float(34 + 125 * drug + 6 * n()),
            artery=float(42 + 105 * drug + 6 * n()),
            vein=float(40 + 112 * drug + 6 * n()),
            muscle=float(54 + 10 * drug + 3 * n()),
        )

    def to_body(self, z, y, x):
        """World mm -> body coordinates at size 1 (z, y, x); z as the chest's, whose spine goes on here."""
        scale = np.float32(1 / self.size)
        z, y, x = ((v - np.float32(s)) * scale for v, s in zip((z, y, x), self.shift, strict=True))
        return z - np.float32(_HEIGHT), y, x

    def to_world(self, points):
        """Body coordinates `(n, 3)` -> world mm."""
        return (np.asarray(points, np.float64) + [_HEIGHT, 0, 0]) * self.size + self.shift

    def spine(self, z):
        """y and x of the vertebral bodies' centre at height z."""
        u = (np.asarray(z, np.float32) + np.float32(_HEIGHT)) / 120
        return -50 - 5 * u * u + 4 * u, self.sway * np.sin(2 * u)


def _ellipse(x, y, a, b):
    """About the distance in mm to the inside of an ellipse."""
    return ellipsoid(np.zeros((1, 1, 1), np.float32), y, x, (0, 0, 0), (1.0, b, a))


def _fields(body, seed):
    """Coarse fields, a dict of float32 `(Z, Y, X)` in the order in which `_organs` takes them; distances in mm."""
    rng = stream(seed, 1)
    wide, fine = smooth_noise(rng, _COARSE, 45.0, 5), smooth_noise(rng, _COARSE, 14.0, 3)
    points = [np.broadcast_to(v, _COARSE.shape) for v in body.to_body(*_COARSE.mesh())]
    z, y, x = (p + 4.0 * w for p, w in zip(points, wide[:3], strict=True))
    z = z + np.float32(_HEIGHT)
    cavity = _ellipse(x, y - 2, body.width, body.depth)
    muscle = cavity + 13 + 1.5 * wide[3]
    skin = _ellipse(x, y + 1, body.width + 13 + body.fat, body.depth + 14 + 0.8 * body.fat) + wide[3]
    column = 27 - np.sqrt((x / 1.15) ** 2 + (y + 58) ** 2)
    back = 24 - np.sqrt(((np.abs(x) - 30) / 1.25) ** 2 + (y + 80) ** 2)
    psoas = smooth_min(6.0, 17 - np.sqrt((np.abs(x) - 36) ** 2 + ((y + 52) / 1.1) ** 2), 10 - z)
    domes = [top - ((x - at) ** 2 + 0.8 * (y - 6) ** 2) / np.float32(125) for top, at in _tops(body, rng)]
    under = (np.maximum(*domes) - z) * np.float32(0.75)
    belly = np.minimum(np.minimum(cavity - 1.5, under), -column - 1)
    organs = _organ_shapes(rng, body, (z, y, x), belly, wide[4])
    liver = organs.pop("liver")
    gas = organs.pop("gas")
    heart = ellipsoid(z, y, x, (body.dome + 34, 22, -24), (46, 48, 62))
    lung = smooth_min(8.0, cavity - 2, -under - 2, -heart - 3, -column - 2)
    flesh = {"kidney": body.kidney, "spleen": body.spleen, "pancreas": body.muscle - 12, "heart": body.artery - 8}
    flesh = {name: (organs.pop(name) if name in organs else heart, hu) for name, hu in flesh.items()}
    soft = {
        "gallbladder": 8.0,
        "stomach": rng.uniform(20, 60),
        "colon": rng.uniform(15, 45),
        "bowel": rng.uniform(20, 50),
    }
    soft = {name: (organs[name], hu) for name, hu in soft.items()}
    first, first_hu = _united(flesh, 5 * fine[0])
    second, second_hu = _united(soft, 9 * fine[0])
    lean = np.maximum.reduce([np.minimum(muscle, -cavity), column, back, psoas, np.minimum(under, 3 - under)])
    lean = np.minimum(lean, skin - 0.8 * body.fat - 1.5)
    lean = np.maximum(lean, np.minimum(5 * fine[1] - 7, np.minimum(cavity, under)))
    found = dict(skin=skin, lean=lean, lung=lung, liver=liver, first=first, first_hu=first_hu, second=second)
    found |= dict(second_hu=second_hu, gas=gas, grain=fine[2], mottle=wide[3])
    return {name: np.broadcast_to(field, _COARSE.shape).astype(np.float32) for name, field in found.items()}


def _tops(body, rng):
    """Height and place along x of the diaphragm's two domes."""
    return (body.dome, 52), (body.dome - rng.uniform(4, 22), -58)


def _united(organs, grain):
    """Distance of several organs together, and the HU of whichever is nearest."""
    distance = np.full(_COARSE.shape, -1e3, np.float32)
    value = np.zeros(_COARSE.shape, np.float32)
    for shape, hu in organs.values():
        value = np.where(shape > distance, np.float32(hu), value)
        distance = np.maximum(distance, shape)
    return distance, value + grain


def _organ_shapes(rng, body, points, belly, wave):
    """Signed distances of the organs below the diaphragm; earlier ones push the later ones aside."""
    z, y, x = points
    u, n = rng.uniform, rng.normal
    gap = body.inner * 0.4 + 1.5
    kidneys = []
    for side in (-1, 1):
        at = (-38 + n(0, 9) - 7 * side, -38 + n(0, 4), side * (62 + n(0, 4)))
        bean = ellipsoid(z, y, x + 0.12 * side * (z - at[0]), at, (u(48, 60), u(24, 30), u(23, 30)))
        hilum = 13 - np.sqrt((x - at[2] + 19 * side) ** 2 + (y - at[1] - 8) ** 2 + ((z - at[0]) * 0.6) ** 2)
        kidneys.append(smooth_min(4.0, bean, -hilum))
    kidney = np.minimum(np.maximum(*kidneys), belly + 3)
    gall = ellipsoid(
        z - 0.4 * (y - 40), y, x, (-34 + n(0, 7), 40 + n(0, 6), 36 + n(0, 7)), u(0.7, 1.15) * np.array([15, 26, 14])
    )

    # The visceral surface rises from the tip of the right lobe to the left; a cleft parts the lobes.
    slope, tip, reach = u(0.5, 0.85), u(-98, -66), u(-85, 0)
    visceral = (z - tip - slope * (112 - x) * 0.95 - 0.12 * (y - 20) + 11 * wave) * np.float32(0.75)
    left = x - reach + 0.35 * (20 - y) + 0.25 * (60 - z) + 10 * wave
    cleft = np.maximum(np.abs(x - 0.2 * (y - 30) - u(-12, 4)) - 2.0, (24 + 0.5 * (z + 20) - y) * 0.7)
    behind = y + 64 - 26 * np.exp(-(((x - 12) / 40) ** 2))
    liver = smooth_min(14.0, visceral, left, behind + 4 * wave, 128 - x)
    liver = np.minimum(smooth_min(7.0, liver, cleft, -kidney - gap, -gall - 0.8), belly - u(0.0, 2.5))

    spleen = ellipsoid(
        z + 0.25 * (y + 30),
        y,
        x + 0.35 * (y + 40),
        (22 + n(0, 8), -34 + n(0, 6), -92 + n(0, 4)),
        (u(40, 58), u(34, 48), u(20, 29)),
    )
    spleen = np.minimum(smooth_min(5.0, spleen, -kidney - gap), np.minimum(belly - 1, -liver - 0.5))
    fundus = polyline(
        [[46, -6, -58], [22, 12, -58], [-14, 38, -38], [-28, 42, 2], [-26, 34, 24]],
        u(0.75, 1.15) * np.array([31, 31, 25, 17, 12]),
    )
    stomach = tube_distance(_moved(body, fundus, n(0, 6, 3)), _COARSE, 40.0)
    stomach = smooth_min(5.0, np.minimum(stomach, belly - 2), -liver - 1.0, -spleen - 1.5)
    frame = polyline(
        [
            [-115, 8, 88],
            [-62, 24, 84],
            [-70, 56, 40],
            [-80, 62, 0],
            [-60, 54, -50],
            [-22, 20, -84],
            [-70, 4, -92],
            [-120, 0, -92],
        ],
        u(15, 23),
    )
    colon = tube_distance(_moved(body, frame, n(0, 5, 3)), _COARSE, 30.0) + 3 * wave
    colon = np.minimum(
        np.minimum(colon, belly - 2), np.minimum(-np.maximum(liver, stomach) - 1.0, -np.maximum(spleen, kidney) - 2)
    )
    gut = smooth_noise(rng, _COARSE, 20.0)[0] * 12 - 4 + body.inner * -0.4
    others = np.maximum.reduce([liver, stomach, colon, kidney, spleen])
    low = smooth_min(8.0, belly - 6, -18 - z + 0.3 * x, y + 34)
    bowel = np.minimum(np.minimum(gut, low), -others - 2.5)
    gland = polyline([[-30, 4, 28], [-14, 4, 6], [0, -6, -30], [14, -22, -66]], [11, 9, 9, 7])
    pancreas = np.minimum(
        tube_distance(_moved(body, gland, n(0, 4, 3)), _COARSE, 20.0), -np.maximum(others, gall) - 1.5
    )
    gas = np.maximum(
        np.minimum(stomach - 4, (y - u(20, 52)) * 0.9),
        np.minimum(colon - 3.5, 9 * wave + (y - u(10, 60)) * 0.12 + u(-6, 4)),
    )
    return dict(
        liver=liver, gas=gas, kidney=kidney, spleen=spleen, pancreas=pancreas, gallbladder=np.minimum(gall, belly - 2),
        stomach=stomach, colon=colon, bowel=bowel,
    )  # fmt: skip


def _moved(body, tubes, shift=(0, 0, 0)):
    """Tubes given around the origin of the organs' coordinates, in the world (but at size 1, as all distances)."""
    moved = tubes.moved(lambda p: body.to_world(p + np.asarray(shift) - [_HEIGHT, 0, 0]))
    return dataclasses.replace(moved, radius=tubes.radius * body.size)


def _organs(canvas, labels, fields, couch):
    """Everything smooth: HU into `canvas`, the liver into `labels`, slab by slab."""
    body, sharp, half = canvas.chest, np.float32(canvas.chest.size / canvas.voxel), np.float32(0.5)

    def share(distance):
        return np.clip(distance * sharp + half, 0, 1)

    for slab, values in slabs(np.stack(list(fields.values())), _COARSE, canvas.grid):
        skin, lean, lung, liver, first, first_hu, second, second_hu, gas, grain, mottle = values
        hu = np.float32(-104) + 5 * grain
        hu += share(lean) * (np.float32(body.muscle) + 5 * mottle - hu)
        for distance, value in (
            (second, second_hu), (first, first_hu), (gas, np.float32(-960)),
            (lung, -850 + 25 * grain), (liver, np.float32(body.liver) + 2 * mottle + 2.5 * grain),
        ):  # fmt: skip
            hu += share(distance) * (value - hu)
        rind = np.clip(1 - np.abs(skin - 1) * np.float32(0.6), 0, 1)
        hu += rind * (np.float32(10) - hu)
        hu = couch + share(skin) * (hu - couch)
        canvas.hu[slab] = np.rint(hu)
        np.greater(liver, 0, out=labels[slab].view(bool))


def _place(liver, count, radii, rng):
    """Centres (world mm, z y x) and radii of tumours that lie mostly in the liver and apart from each other."""
    placed = []
    wanted = int(rng.integers(count[0], count[1] + 1))
    for _ in range(60 * wanted):
        if len(placed) == wanted:
            break
        radius = float(np.exp(rng.uniform(*np.log(radii))))
        spots = np.flatnonzero(liver.ravel() > max(4.0, 0.65 * radius))
        if not len(spots):
            continue
        spot = np.unravel_index(spots[rng.integers(len(spots))], liver.shape)
        centre = _COARSE.origin + (np.array(spot) + rng.uniform(-0.3, 0.3, 3)) * _COARSE.spacing
        if all(np.linalg.norm(centre - c) > radius + r + 3 for c, r in placed):
            placed.append((centre, radius))
    return placed


def _tumours(canvas, labels, placed, hu, rng):
    """Bumpy, mottled lumps, cut off at the liver's surface; some with a dead core or a bright rim."""
    for centre, radius in placed:
        lobes, phase = rng.normal(0, 1, (4, 3)) * 1.6 / radius, rng.uniform(0, 6.3, 4)
        grain, shift = rng.normal(0, 0.3, (3, 3)), rng.uniform(0, 6.3, 3)
        squash = rng.uniform(0.8, 1.25, 3)
        core = rng.uniform(0.35, 0.65) if rng.random() < 0.4 and radius > 9 else 0.0
        rim = rng.uniform(0, 22) if rng.random() < 0.35 else 0.0
        blur = max(canvas.voxel, rng.uniform(0.8, 3.5))
        box = canvas.grid.box(centre - 1.6 * radius - 3, centre + 1.6 * radius + 3)
        z, y, x = np.meshgrid(*(canvas.grid.axis(k)[box[k]] - np.float32(centre[k]) for k in range(3)), indexing="ij")
        distance = np.sqrt((z * squash[0]) ** 2 + (y * squash[1]) ** 2 + (x * squash[2]) ** 2)
        waves = sum(np.sin(w[0] * z + w[1] * y + w[2] * x + p) for w, p in zip(lobes, phase, strict=True))
        mottle = sum(np.sin(w[0] * z + w[1] * y + w[2] * x + p) for w, p in zip(grain, shift, strict=True))
        depth = (radius * (1 + 0.13 * waves) - distance).astype(np.float32)
        inside = labels[box] > 0
        value = hu + 3 * mottle - 18 * np.clip((depth - (1 - core) * radius) / 3, 0, 1) * (core > 0)
        value = value + rim * np.clip(1 - np.abs(depth - 1.5) / 2, 0, 1)
        now = canvas.hu[box].astype(np.float32)
        share = np.clip(depth / blur + 0.5, 0, 1) * inside
        canvas.hu[box] = np.rint(now + share * (value - now))
        labels[box][(depth > 0) & inside] = LABELS["tumour"]


def _tree(rng, start, way, length, radius, levels):
    """A vessel that forks `levels` times."""
    way = way / np.linalg.norm(way)
    end = start + length * way
    bent = 0.5 * (start + end) + rng.normal(0, 0.07 * length, 3)
    yield polyline([start, bent, end], [radius, 0.93 * radius, 0.85 * radius])
    if levels:
        aside = np.cross(way, rng.normal(0, 1, 3))
        aside *= rng.uniform(0.5, 0.85) / np.linalg.norm(aside)
        for side in (-1, 1):
            yield from _tree(rng, end, way + side * aside, 0.78 * length, 0.72 * radius, levels - 1)


def _vessels(canvas, labels, rng):
    """Aorta, vena cava, portal and hepatic veins; the last two only where there is liver."""
    body, union = canvas.chest, Union(canvas)
    n = rng.normal
    aorta, cava = n(0, 2, 3) + [0, -26, -10], n(0, 2, 3) + [0, -20, 20]
    ends = np.array([[-140, 0, 0], [0, 0, 0], [140, -8, 0]])
    gate = np.array([-4, 6, 22]) + n(0, 4, 3)
    trunk = polyline([[-55, -2, 8], gate - [26, 2, 14], gate - [8, 0, 4]], [7.5, 7.5, 6.5])
    large = {
        "artery": polyline(aorta + ends, rng.uniform(9, 13)),
        "vein": join(polyline(cava + ends, rng.uniform(9, 13)), trunk),
    }
    portal = [
        *_tree(rng, gate, np.array([0.35, 0.1, 1.0]), 34, 6.0, 4),
        *_tree(rng, gate, np.array([0.5, 0.5, -0.8]), 30, 5.0, 3),
    ]
    roof = np.array([52.0, -14, 20]) * [body.dome / 72, 1, 1]
    ways = ((-0.35, -0.1, 1), (-0.6, 0.75, 0.5), (-0.25, 0.7, -0.8))
    hepatic = [vessel for way in ways for vessel in _tree(rng, roof, np.array(way), 36, 5.0, 3)]
    shift = rng.uniform(-0.25, 1) if body.vein > 60 else -rng.uniform(0.3, 1)
    inner = body.liver + shift * max(12.0, abs(body.vein - body.liver))
    for tubes, hu, within in (
        (join(*portal, *hepatic), inner, True),
        (large["artery"], body.artery, False),
        (large["vein"], body.vein, False),
    ):
        index, distance, radius = canvas.near(tubes.moved(lambda p: p - [_HEIGHT, 0, 0]))
        share = union(index, coverage(distance, radius, canvas.voxel))
        flat = labels.reshape(-1)
        share = share * (flat[index] == LABELS["liver"]) if within else share
        canvas.blend(index, share, np.float32(hu))
        if not within:
            canvas.mark(index[share >= 0.5], 1)


def _ribs(canvas, rng):
    """Lower ribs around the cavity, falling towards the front; bones lie nowhere inside the liver."""
    body, pieces = canvas.chest, []
    for number in range(7):
        start, drop, spread = (
            104 - 24 * number + rng.normal(0, 1.5),
            rng.uniform(52, 74),
            2.55 - 0.24 * max(0, number - 2),
        )
        angle = np.linspace(0.35, spread, 9)
        for side in (-1, 1):
            points = np.stack(
                [start - drop * (1 - np.cos(angle)) / 2 - _HEIGHT,
                 2 - (body.depth + 5) * np.cos(angle),
                 side * (body.width + 5) * np.sin(angle)], axis=1,
            )  # fmt: skip
            pieces.append(polyline(points, 4.0, flat=1.5))
    index, share, target = bone_layer(canvas, Union(canvas), join(*pieces))
    canvas.blend(index, share, target)
    canvas.mark(index[share >= 0.5], 1)
