"""Time-of-flight MR angiography of a head with aneurysms, made from a seed; not patient data.

The arteries are those of the circle of Willis and their branches: bright where blood flows fast, fainter upwards, as
inflow wears off, and in thin vessels. Aneurysms are spheres on their walls. What can be taken for them: bends, forks
and crossings of vessels, and fat below the skin, which is bright as well.
"""

import dataclasses
import inspect

import numpy as np
from scipy import special

from tfmed.data.spheres import draw, from_clicks
from tfmed.io.volume import Volume

from . import texture
from .chest_trees import bend, branch
from .common import Checks, stream
from .grid import Grid, slabs, smooth_noise
from .shapes import ellipsoid
from .tubes import coverage, join, polyline, rasterise

LABELS = {"background": 0, "aneurysm": 1}
_COARSE = Grid.covering((40, 48, 48), (160.0, 190.0, 190.0))
# Of diameters in mm, log-normal: mean 3.86, standard deviation 2.39, as of the 155 aneurysms of Assis et al. (2021).
_LOG_MEAN, _LOG_STD = 1.188, 0.57
_THINNEST = 0.75  # mm, radius of a vessel that bears aneurysms
_PLACES = 400  # looked at for each aneurysm
_APART = 2.0  # mm between aneurysms


@dataclasses.dataclass(frozen=True)
class TofMra:
    """A phantom scan.

    Args:
        volume: int16 `(z, y, x)`, arbitrary units that differ from scan to scan, RAS+ affine in mm.
        labels: uint8 `(z, y, x)`, numbers as in `LABELS`.
        spheres: tuple of Sphere, the aneurysms.
    """

    volume: Volume
    labels: Volume
    spheres: tuple


def tof_mra(
    seed,
    shape=(96, 160, 160),
    aneurysms=(1, 3),
    diameter_mm=(1.0, 20.0),
    field_of_view_mm=96.0,
    length_mm=57.6,
    noise=1.0,
):
    """A phantom angiography; a pure function of its arguments.

    Args:
        seed: integer >= 0; another seed is another person.
        shape: `(z, y, x)` voxels, each at least 8; vessels and aneurysms do not depend on it.
        aneurysms: smallest and largest number of them, 0 to 10.
        diameter_mm: smallest and largest diameter, 0.5 to 30; small ones are more frequent, as in people.
        field_of_view_mm, length_mm: extent of the image in the plane and along z, around the circle of Willis.
        noise: 0 for none; at 1 the signal of fast blood is 14 to 25 times the noise.

    Returns:
        `TofMra`.

    Raises:
        UserError: an argument is out of range.
    """
    checks, grid = _checked(seed, shape, field_of_view_mm, length_mm)
    checks.number("noise", noise, 0, 10)
    arteries = _arteries(stream(seed, 0))
    spheres = _aneurysms(seed, arteries, grid, *_amounts(checks, aneurysms, diameter_mm))
    rng = stream(seed, 1)
    image = _compose(grid, rng, arteries, spheres)
    if noise:
        texture.rician(rng, image, noise * rng.uniform(0.04, 0.07), along=0.2, side=0.3)
    image *= np.float32(np.exp(rng.uniform(np.log(150), np.log(900))))
    labels = (draw(spheres, grid.shape, grid.affine) > 0).astype(np.uint8)
    return TofMra(Volume(np.rint(image).astype(np.int16), grid.affine), Volume(labels, grid.affine), spheres)


def placed_aneurysms(seed, **options):
    """The aneurysms of `tof_mra` of the same arguments, tuple of Sphere, without making an image."""
    given = inspect.signature(tof_mra).bind(seed, **options)
    given.apply_defaults()
    _, shape, aneurysms, diameter_mm, field_of_view_mm, length_mm, _ = given.args
    checks, grid = _checked(seed, shape, field_of_view_mm, length_mm)
    return _aneurysms(seed, _arteries(stream(seed, 0)), grid, *_amounts(checks, aneurysms, diameter_mm))


def _checked(seed, shape, field_of_view_mm, length_mm):
    checks = Checks("tof_mra")
    checks.seed(seed)
    shape = checks.shape(shape)
    for name, value in (("field_of_view_mm", field_of_view_mm), ("length_mm", length_mm)):
        checks.number(name, value, 20, 400)
    return checks, Grid.covering(shape, (length_mm, field_of_view_mm, field_of_view_mm))


def _amounts(checks, aneurysms, diameter_mm):
    return checks.interval("aneurysms", aneurysms, 0, 10), checks.interval("diameter_mm", diameter_mm, 0.5, 30.0)


# --- anatomy ----------------------------------------------------------------------------------------------------------


def _arteries(rng):
    """`Tubes` in mm (z, y, x), y to the front; the origin is in the middle of the circle of Willis."""

    def vessel(points, radii):
        """A winding vessel: each stretch bends sideways at its middle."""
        points = np.asarray(points, np.float64)
        middle = 0.5 * (points[1:] + points[:-1])
        middle += rng.normal(0, 0.07, middle.shape) * np.linalg.norm(points[1:] - points[:-1], axis=1, keepdims=True)
        winding = np.insert(points, range(1, len(points)), middle, axis=0)
        return polyline(winding, np.interp(np.linspace(0, 1, len(winding)), np.linspace(0, 1, len(radii)), radii), 2.5)

    def place(*zyx):
        return np.array(zyx) + rng.normal(0, 1.2, 3)

    def tree(root, radius, centre, extent):
        cloud = np.asarray(centre) + rng.uniform(-1, 1, (32, 3)) * extent
        return bend(branch(cloud, root, radius, rng, (0.4, 0.9), 0.78), rng, 0.15)

    tip = place(-9, -10, 0)
    union = place(-34, -15, 0)
    joints = {side: place(5, 12, 2.5 * side) for side in (1, -1)}
    tubes = [vessel([union, place(-22, -13, 0), tip], [1.9, 1.7]), vessel([joints[1], joints[-1]], [0.9])]
    for side in (1, -1):
        fork = place(1, 4, 10 * side)
        siphon = [place(-90, -8, 22 * side), place(-45, -6, 18 * side), place(-26, -4, 14 * side),
                  place(-19, 8, 12 * side), place(-12, 13, 10 * side), place(-6, 7, 9 * side), fork]  # fmt: skip
        middle, front, back = place(4, 3, 33 * side), place(26, 22, 2.5 * side), place(6, -34, 20 * side)
        tubes += [
            vessel(siphon, [2.5, 2.3, 1.9]),
            vessel([fork, place(2, 6, 20 * side), middle], [1.6, 1.3]),
            tree(middle, 1.3, (18, 0, 50 * side), (30, 40, 12)),
            vessel([fork, joints[side]], [1.2, 1.1]),
            vessel([joints[side], place(14, 24, 2 * side), front], [1.1, 1.0]),
            tree(front, 1.0, (45, 5, 4 * side), (22, 40, 3)),
            vessel([place(-90, -24, 12 * side), place(-55, -22, 9 * side), union], [1.7, 1.5]),
            vessel([tip, place(-6, -16, 13 * side), back], [1.3, 1.0]),
            tree(back, 1.0, (12, -55, 22 * side), (16, 20, 14)),
            vessel([place(-7, 6, 9 * side), place(-7, -13, 9 * side)], [rng.uniform(0.4, 0.9)]),
        ]
    size = rng.uniform(0.9, 1.1)
    found = join(*tubes).moved(lambda points: points * size)
    return dataclasses.replace(found, radius=found.radius * rng.uniform(0.85, 1.1))


def _aneurysms(seed, arteries, grid, numbers, diameters):
    """The aneurysms: on walls of larger arteries, apart from one another, in the image as far as there is room."""
    rng = stream(seed, 2)
    half = 0.5 * np.array(grid.shape) * grid.spacing
    middle = 0.5 * (arteries.start + arteries.end)
    bearing = np.flatnonzero((arteries.radius >= _THINNEST) & (np.abs(middle) < half).all(1))
    found = []
    for _ in range(int(rng.integers(numbers[0], numbers[1] + 1)) if len(bearing) else 0):
        radius = 0.5 * _diameter(rng.random(), *diameters)
        piece = bearing[rng.integers(len(bearing), size=_PLACES)]
        way = arteries.end[piece] - arteries.start[piece]
        out = np.cross(way, rng.standard_normal((_PLACES, 3)))
        out /= np.linalg.norm(out, axis=1, keepdims=True)
        at = arteries.start[piece] + rng.random((_PLACES, 1)) * way
        neck = at + 0.6 * arteries.radius[piece][:, None] * out  # in the vessel, so that both are joined
        dome = neck + 2 * radius * out
        centre = 0.5 * (neck + dome)
        room = (half - np.abs(centre)).min(1) - radius
        for other in found:
            apart = np.linalg.norm(centre - other.centre_mm[::-1], axis=1) - radius - other.radius_mm
            room = np.minimum(room, apart - _APART)
        fit = np.flatnonzero(room > 0)
        pick = int(fit[0]) if len(fit) else int(np.argmax(room))
        found.append(from_clicks(neck[pick][::-1], dome[pick][::-1]))
    return tuple(found)


def _diameter(share, low, high):
    """The quantile of diameters that lie between two limits."""
    ends = special.ndtr((np.log([low, high]) - _LOG_MEAN) / _LOG_STD)
    log = _LOG_MEAN + _LOG_STD * special.ndtri(ends[0] + share * (ends[1] - ends[0]))
    return float(np.clip(np.exp(log), low, high))


# --- image ------------------------------------------------------------------------------------------------------------


def _fields(rng):
    """Depth below the skin in mm, fluid, grain and shading, on the coarse grid."""
    z, y, x = _COARSE.mesh()
    wide = smooth_noise(rng, _COARSE, 30.0, 2)
    skin = ellipsoid(z, y, x, (5, -8, 0), (92, 92, 76)) + 2 * wide[0]
    fluid = smooth_noise(rng, _COARSE, 9.0)[0] + 0.5 * wide[1] - np.sqrt((z**2 + y**2 + x**2) / 900)
    shade = np.exp(np.float32(0.1) * smooth_noise(rng, _COARSE, 70.0)[0])
    return np.stack([skin, fluid, smooth_noise(rng, _COARSE, 8.0)[0], shade]).astype(np.float32)


def _compose(grid, rng, arteries, spheres):
    """The image without noise, fast blood at about 1."""
    step, half = np.float32(1 / max(min(grid.spacing), 0.4)), np.float32(0.5)
    tissue, dark, fat = (np.float32(rng.uniform(*span)) for span in ((0.26, 0.36), (0.1, 0.16), (0.5, 0.8)))
    blood = _blood(grid, arteries)
    sac = _sacs(grid, rng, spheres)
    height = (grid.axis(0) / np.float32(120))[:, None, None]
    inflow = np.clip(1 - np.float32(rng.uniform(0.2, 0.6)) * height, 0.4, 1.3)
    image = np.empty(grid.shape, np.float32)
    for slab, (skin, fluid, grain, shade) in slabs(_fields(rng), _COARSE, grid):
        now = image[slab]
        now[...] = tissue * (1 + np.float32(0.06) * grain)
        now += np.clip(fluid + half, 0, 1) * (dark - now)
        for depth, level in ((14, dark), (7, fat), (2, tissue)):  # skull, fat, skin
            now += np.clip((depth - skin) * step + half, 0, 1) * (level - now)
        now *= np.clip(skin * step + half, 0, 1)
        for share, level in (blood, sac):
            now += share[slab] * (level[slab] * inflow[slab] - now)
        now *= shade
    return image


def _blood(grid, arteries):
    """(share of each voxel that is vessel, signal in it): slow blood of thin vessels is fainter."""
    spacing = float(np.cbrt(np.prod(grid.spacing)))
    index, distance, radius = rasterise(arteries, grid, spacing)
    share = coverage(distance, radius, spacing)
    order = np.argsort(share, kind="stable")  # of a voxel's several pieces the one that fills most of it stays
    found = np.zeros((2, int(np.prod(grid.shape))), np.float32)
    found[0, index[order]] = share[order]
    found[1, index[order]] = 1.05 - 0.45 * np.exp(-radius[order] / np.float32(0.9))
    return found.reshape(2, *grid.shape)


def _sacs(grid, rng, spheres):
    """(share of each voxel that is aneurysm, signal in it): in large ones blood turns slowly, and is fainter inside."""
    found = np.zeros((2, *grid.shape), np.float32)
    for sphere in spheres:
        centre, radius = np.array(sphere.centre_mm[::-1]), sphere.radius_mm
        reach = radius + max(grid.spacing)
        box = grid.box(centre - reach, centre + reach)
        z, y, x = (grid.axis(k)[box[k]] - np.float32(centre[k]) for k in range(3))
        away = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
        share = np.clip((radius - away) / np.cbrt(np.prod(grid.spacing)) + 0.5, 0, 1)
        faint = rng.uniform(0.2, 0.5) * np.clip((radius - 2) / 6, 0, 1)
        level = rng.uniform(0.85, 1.0) - faint * np.clip(1 - away / radius, 0, 1)
        fuller = share > found[0][box]
        found[0][box] = np.where(fuller, share, found[0][box])
        found[1][box] = np.where(fuller, level, found[1][box])
    return found
