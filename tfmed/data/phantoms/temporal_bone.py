"""CT of a temporal bone with a cochlea, made from a seed; not patient data.

The cochlea is a spiral of fluid, two and a half turns that rise and narrow, in the dense bone of its capsule. Around it
lie the vestibule with its semicircular canals, the inner ear canal and the carotid canal, air cells, and the outer ear
canal. Small drops of fluid in dense bone, which can be taken for the cochlea, lie anywhere. One ear differs from
another by a shift, a rotation, a mild warp, and where its air cells and drops are; what lies around the inner ear moves
with it, or by itself.
"""

import dataclasses
import inspect

import numpy as np

from tfmed.io.volume import Volume
from tfmed.ops.moments import euler

from .common import Checks, stream
from .grid import Grid, smooth_noise
from .tubes import Tubes, coverage, join, polyline, rasterise

LABELS = {"background": 0, "cochlea": 1}
LANDMARKS = ("centre", "top", "window")
# HU
_TISSUE, _BONE, _CAPSULE, _FLUID, _AIR = 40.0, 900.0, 1900.0, 20.0, -950.0
# of the cochlea, mm
_TURNS, _HEIGHT, _WIDEST, _NARROWEST = 2.5, 4.2, 3.4, 0.9  # radius of the first and of the last turn
_THICK, _THIN = 1.0, 0.55  # radius of the duct at its two ends
_WALL = 0.9  # of dense bone around fluid
_INNER_WALL = 0.45  # half of what lies between two turns, which belongs to the cochlea too
_WAVES = 6  # of which a warp is made


@dataclasses.dataclass(frozen=True)
class TemporalBone:
    """A phantom scan.

    Args:
        volume: int16 HU `(z, y, x)`, RAS+ affine in mm; 0 is the middle of the image.
        labels: uint8 `(z, y, x)`, numbers as in `LABELS`; the cochlea is its duct with the wall between its turns.
        landmarks: `LANDMARKS` -> (x, y, z) in mm, RAS: the middle of the cochlea, its apex, and its round window.
    """

    volume: Volume
    labels: Volume
    landmarks: dict


def temporal_bone(
    seed,
    shape=(96, 96, 96),
    spacing_mm=0.5,
    shift_mm=5.0,
    turn_degrees=20.0,
    warp_mm=0.4,
    distractors=6,
    noise=1.0,
    cochlea=1,
    apart=0.0,
):
    """A phantom CT of a left ear; a pure function of its arguments.

    Args:
        seed: integer >= 0; another seed is another person.
        shape: `(z, y, x)` voxels, each at least 8; what they show does not depend on it.
        spacing_mm: of the voxels, along all axes.
        shift_mm: the ear lies up to this far from the middle of the image, along each axis.
        turn_degrees: it is turned by up to this much about each axis.
        warp_mm: standard deviation of a smooth displacement.
        distractors: how many drops of fluid.
        noise: 0 for none; at 1 its standard deviation is 60 HU.
        cochlea: 0 for an ear without one, whose label map is empty; its landmarks tell where it would be.
        apart: how far bone, air, carotid and drops move by themselves, from 0 (all moves as one) to 1 (they have a
            shift, a rotation and a warp of their own, of the same size: they tell nothing about where the inner ear
            lies); between both each of their points lies at this share of the way.

    Returns:
        `TemporalBone`.

    Raises:
        UserError: an argument is out of range.
    """
    given = dict(spacing_mm=spacing_mm, shift_mm=shift_mm, turn_degrees=turn_degrees, warp_mm=warp_mm)
    checks = _checked(seed, **given)
    shape = checks.shape(shape)
    checks.number("distractors", distractors, 0, 100)
    checks.number("noise", noise, 0, 10)
    checks.number("cochlea", cochlea, 0, 1)
    checks.number("apart", apart, 0, 1)
    ear = _Ear(stream(seed, 0), shift_mm, turn_degrees, warp_mm)
    around = _between(ear, _Ear(stream(seed, 4), shift_mm, turn_degrees, warp_mm), apart) if apart else ear
    grid = Grid(shape, (float(spacing_mm),) * 3)
    duct = _spiral().moved(ear)
    image = _composed(grid, seed, ear, around, duct if cochlea else None, int(distractors))
    image += np.float32(60 * noise) * stream(seed, 3).standard_normal(shape, dtype=np.float32)
    index, distance, radius = rasterise(duct, grid, _INNER_WALL)
    labels = np.zeros(shape, np.uint8)
    labels.ravel()[index[distance <= radius + _INNER_WALL]] = int(cochlea)
    image = np.clip(np.rint(image), -1024, 3071).astype(np.int16)
    return TemporalBone(Volume(image, grid.affine), Volume(labels, grid.affine), _landmarks(ear))


def placed_landmarks(seed, **options):
    """The landmarks of `temporal_bone` of the same arguments, {name: (x, y, z) mm}, without making an image."""
    given = inspect.signature(temporal_bone).bind(seed, **options)
    given.apply_defaults()
    wanted = {name: given.arguments[name] for name in ("shift_mm", "turn_degrees", "warp_mm")}
    _checked(seed, spacing_mm=given.arguments["spacing_mm"], **wanted)
    return _landmarks(_Ear(stream(seed, 0), **wanted))


def _checked(seed, spacing_mm, shift_mm, turn_degrees, warp_mm):
    checks = Checks("temporal_bone")
    checks.seed(seed)
    checks.number("spacing_mm", spacing_mm, 0.05, 5)
    checks.number("shift_mm", shift_mm, 0, 100)
    checks.number("turn_degrees", turn_degrees, 0, 180)
    checks.number("warp_mm", warp_mm, 0, 3)
    return checks


# --- anatomy ----------------------------------------------------------------------------------------------------------


class _Ear:
    """Where the places of an average ear lie in one person's image: mm (z, y, x) -> mm (z, y, x)."""

    def __init__(self, rng, shift_mm, turn_degrees, warp_mm):
        self.shift = shift_mm * rng.uniform(-1, 1, 3)
        self.turn = euler(turn_degrees * rng.uniform(-1, 1, 3))
        directions = rng.standard_normal((_WAVES, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        self.waves = directions * (2 * np.pi / rng.uniform(14, 30, (_WAVES, 1)))  # of 14 to 30 mm
        self.phases = rng.uniform(0, 2 * np.pi, _WAVES)
        self.heights = warp_mm * rng.standard_normal((_WAVES, 3)) * np.sqrt(2 / _WAVES)

    def __call__(self, points):
        points = np.asarray(points, np.float64)
        warped = points + np.sin(points @ self.waves.T + self.phases) @ self.heights
        return warped @ self.turn.T + self.shift


def _between(first, second, share):
    """Places that lie at a share of the way from where one map puts them to where another does."""
    return lambda points: (1 - share) * first(points) + share * second(points)


def _centre_line(count=121):
    """The cochlea's duct from the window to the apex: places in mm (z, y, x), and its radius."""
    share = np.linspace(0, 1, count)
    angle = 2 * np.pi * _TURNS * share
    wide = _WIDEST * (_NARROWEST / _WIDEST) ** share
    # The first part of the basal turn reaches out: the spiral has a front, so that no axis is like its opposite.
    wide = wide + 1.6 * np.clip(1 - share / 0.12, 0, 1) ** 1.5
    rise = _HEIGHT * (share**1.2 - 0.42)
    return np.stack([rise, wide * np.sin(angle), wide * np.cos(angle)], -1), _THICK + (_THIN - _THICK) * share


def _spiral():
    points, radius = _centre_line()
    return Tubes(points[:-1], points[1:], 0.5 * (radius[:-1] + radius[1:]))


def _landmarks(ear):
    points, _ = _centre_line()
    middle = np.array([0.0, 0.0, 0.0])
    return {name: tuple(float(v) for v in place[::-1])
            for name, place in zip(LANDMARKS, ear(np.stack([middle, points[-1], points[0]])), strict=True)}  # fmt: skip


def _ring(centre, radius, first, second):
    """Points of a circle in the plane of two directions."""
    angle = np.linspace(0, 2 * np.pi, 25)[:, None]
    return np.asarray(centre) + radius * (np.cos(angle) * np.asarray(first) + np.sin(angle) * np.asarray(second))


def _composed(grid, seed, ear, around, duct, distractors):
    """HU without noise of a scan, float32; `ear` places the inner ear, `around` all else."""
    rng = stream(seed, 1)
    image = _TISSUE + np.float32(25) * smooth_noise(rng, grid, 6.0)[0]

    def tube(points, radii, place=around, step=1.5):
        return polyline(points, radii, step).moved(place)

    bone = join(
        tube([(-6, -2, 24), (-3, 0, 8), (0, 1, -4), (3, 4, -22)], [13, 9, 9, 7]),
        tube([(6, -4, 20), (0, 0, 0)], [10, 8]),
    )
    texture = np.float32(130) * smooth_noise(rng, grid, 2.5)[0]
    _paint(image, grid, bone, _BONE + texture)
    cells = rng.normal((4, -3, 19), (6, 5, 5), (90, 3))
    _paint(image, grid, _drops(cells, rng.uniform(0.6, 1.8, 90)).moved(around), _AIR)
    _paint(image, grid, tube([(-7, 6, 26), (-6, 4, 16), (-6, 3, 11)], [3.2, 2.8, 2.2]), _AIR)
    vestibule = _drops(np.array([(0.5, -5.5, 4.0)]), np.array([1.5])).moved(ear)
    canals = [tube(_ring((3, -8, 6), 3.2, one, two), 0.5, ear) for one, two in
              (((1, 0, 0), (0, 1, 0)), ((1, 0, 0), (0, 0, 1)), ((0, 1, 0), (0, 0, 1)))]  # fmt: skip
    inner = tube([(1, -7, -16), (0.5, -3.5, -6.5)], [2.2, 1.6], ear)
    carotid = tube([(-18, 8, 2), (-8, 8, -2), (-7, 6, -14)], 2.4)
    places = _away(rng.uniform(-17, 17, (distractors, 3)), 0.0)
    drops = _drops(places, rng.uniform(1.0, 2.0, distractors)).moved(around)
    if around is not ear:
        drops = drops.moved(lambda points: _away(points, ear.shift))
    _paint(image, grid, inner, _FLUID)
    _paint(image, grid, carotid, _FLUID)
    fluids = [vestibule, *canals, *([drops] if distractors else []), *([duct] if duct is not None else [])]
    for fluid in fluids:
        _paint(image, grid, dataclasses.replace(fluid, radius=fluid.radius + _WALL), _CAPSULE)
    for fluid in fluids:
        _paint(image, grid, fluid, _FLUID)
    return image


def _away(points, centre, least=7.5):
    """Points in mm, moved so that none is in the cochlea: out to `least` from its centre."""
    offsets = points - centre
    away = np.linalg.norm(offsets, axis=1, keepdims=True)
    return centre + offsets * np.maximum(1, least / np.maximum(away, 1e-6))


def _drops(centres, radii):
    """Balls, as tubes of hardly any length."""
    return Tubes(centres - (0.005, 0, 0), centres + (0.005, 0, 0), np.asarray(radii, np.float64))


def _paint(image, grid, tubes, level):
    """Blend a level (HU, a number or a volume) into the voxels that tubes fill, each by its share."""
    spacing = grid.spacing[0]
    index, distance, radius = rasterise(tubes, grid, spacing)
    share = coverage(distance, radius, spacing)
    filled = np.zeros(image.size, np.float32)
    order = np.argsort(share, kind="stable")  # of a voxel's several pieces the one that fills most of it stays
    filled[index[order]] = share[order]
    image += filled.reshape(image.shape) * (level - image)
