"""A chest CT made from a seed: anatomically structured and textured, with its labels; not patient data.

The anatomy is a continuous model in mm (smooth organs in `chest_fields`, tubes in `chest_trees`), so one seed gives the
same chest at every shape. The image is built in four steps: smooth organs slice by slice, then what is sharp and small
only in its own voxels (spine, bones, airways, vessels, nodules), then streaks and noise.
"""

import dataclasses
import inspect
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tfmed.io.volume import Volume

from . import chest_fields, chest_trees, texture
from .chest_fields import COARSE, Chest
from .chest_layers import (
    Canvas,
    Union,
    paint_airways,
    paint_bones,
    paint_nodules,
    paint_spine,
    paint_vessels,
    place_nodules,
)
from .common import Checks, stream
from .grid import Grid, Upsampler

LABELS = {
    "background": 0,
    "body": 1,
    "lungs": 2,
    "airway": 3,
    "vessels": 4,
    "bone": 5,
    "nodule": 6,
    "heart": 7,
    "great_vessels": 8,
}
_FAT, _AIR, _SLAB = -105.0, -1000.0, 8


@dataclasses.dataclass(frozen=True)
class ChestCT:
    """A phantom scan.

    Args:
        volume: int16 HU `(z, y, x)`, RAS+ affine in mm.
        labels: uint8 `(z, y, x)`, numbers as in `LABELS`.
        nodules: list of dict(centre_mm: RAS x, y, z in mm; centre_zyx: voxel coordinates, fractional; radius_mm).
    """

    volume: Volume
    labels: Volume
    nodules: list


def chest_ct(
    seed,
    shape=(224, 224, 224),
    nodules=0,
    nodule_radius_mm=(3.0, 12.0),
    field_of_view_mm=360.0,
    length_mm=320.0,
    noise_hu=25.0,
    streaks=1.0,
):
    """A chest CT phantom; a pure function of its arguments.

    Args:
        seed: integer >= 0; another seed is another person on another scanner.
        shape: `(z, y, x)` voxels, each at least 8; the anatomy does not depend on it.
        nodules: number of lung nodules (fewer when the lungs have no room).
        nodule_radius_mm: smallest and largest radius in mm.
        field_of_view_mm: extent of the image along y and x.
        length_mm: extent along z.
        noise_hu: mean noise level in HU; the seed makes a scan noisier or less noisy than that.
        streaks: strength of the streak artefacts, 0 for none.

    Returns:
        `ChestCT`.

    Raises:
        UserError: an argument is out of range.
    """
    shape, radii = _checked(seed, shape, nodules, nodule_radius_mm, field_of_view_mm, length_mm, noise_hu, streaks)
    grid = Grid.covering(shape, (length_mm, field_of_view_mm, field_of_view_mm))
    chest = Chest.draw(stream(seed, 0))
    fields = chest_fields.build(chest, stream(seed, 1))
    canvas = Canvas(grid, chest, np.empty(shape, np.int16), np.zeros(shape, np.uint8))
    y, x = grid.axis(1), grid.axis(2)
    back = -(chest.depth + 19 + 0.8 * chest.fat) * chest.size + chest.shift[1]
    couch = texture.couch(stream(seed, 2), y, x, back)
    placed = place_nodules(chest, fields["lung"], nodules, radii, stream(seed, 3))
    with ThreadPoolExecutor(2) as pool:
        tubes = pool.submit(_tubes, canvas, fields["lung"], seed)
        _organs(canvas, fields, couch, pool)
    for write in tubes.result():
        write()
    paint_spine(canvas)
    paint_nodules(canvas, placed, stream(seed, 11))
    _artefacts(canvas, noise_hu, streaks, stream(seed, 12))
    described = [_described(centre, radius, grid) for centre, radius in placed]
    return ChestCT(Volume(canvas.hu, grid.affine), Volume(canvas.labels, grid.affine), described)


def placed_nodules(**options):
    """The list `ChestCT.nodules` of a phantom, many times faster than the phantom itself.

    Args:
        options: as `chest_ct` takes them.

    Raises:
        UserError: an argument is out of range.
    """
    given = {name: p.default for name, p in inspect.signature(chest_ct).parameters.items()} | options
    shape, radii = _checked(*given.values())
    grid = Grid.covering(shape, (given["length_mm"], *[given["field_of_view_mm"]] * 2))
    chest = Chest.draw(stream(given["seed"], 0))
    lung = chest_fields.build(chest, stream(given["seed"], 1))["lung"] if given["nodules"] else None
    placed = place_nodules(chest, lung, given["nodules"], radii, stream(given["seed"], 3))
    return [_described(centre, radius, grid) for centre, radius in placed]


def _checked(seed, shape, nodules, radii, field_of_view, length, noise, streaks):
    checks = Checks("chest_ct")
    checks.seed(seed)
    shape = checks.shape(shape)
    good = isinstance(nodules, int | np.integer) and 0 <= nodules <= 200
    checks.need(good, f"nodules must be 0 to 200; got {nodules!r}")
    radii = checks.interval("nodule_radius_mm", radii, 0.5, 40.0)
    checks.number("field_of_view_mm", field_of_view, 50, 1000)
    checks.number("length_mm", length, 20, 1000)
    checks.number("noise_hu", noise, 0, 500)
    checks.number("streaks", streaks, 0, 10)
    return shape, tuple(float(r) for r in radii)


def _extent(mask):
    """mm corners of the coarse voxels in `mask`, one voxel wider."""
    found = [np.flatnonzero(mask.any(axis=tuple(k for k in range(3) if k != axis))) for axis in range(3)]
    low = np.array([f[0] - 1 if len(f) else 0 for f in found])
    high = np.array([f[-1] + 1 if len(f) else -1 for f in found])
    return COARSE.origin + low * COARSE.spacing, COARSE.origin + high * COARSE.spacing


def _tubes(canvas, lung, seed):
    """Measure vessels, bones and airways; returns the functions that write them, in the order of writing."""
    chest, union = canvas.chest, Union(canvas)
    clouds = {side: chest_trees.lung_points(chest, lung, side, 512, stream(seed, 5 + side)) for side in (-1, 1)}
    return [
        paint_vessels(canvas, union, chest_trees.pulmonary(clouds, stream(seed, 7))),
        paint_bones(canvas, union, stream(seed, 8)),
        paint_vessels(canvas, union, chest_trees.great_vessels(chest, stream(seed, 9)), LABELS["great_vessels"]),
        paint_airways(canvas, union, chest_trees.airways(clouds, chest, stream(seed, 10))),
    ]


def _organs(canvas, fields, couch, pool):
    """Skin, fat, soft tissue, lungs and heart, slab by slab into `canvas`."""
    grid = canvas.grid
    pixel = np.float32(1 / np.mean(grid.spacing))
    zero, half, one = (np.float32(v) for v in (0, 0.5, 1))
    body_box = grid.box(*_extent(fields["skin"] > -6))
    lung_box = grid.box(*_extent(fields["lung"] > -6))
    body_box = (slice(0, grid.shape[0]), *body_box[1:])
    lung_box = (slice(0, grid.shape[0]), *lung_box[1:])
    body = Upsampler(COARSE, grid, body_box)
    lung = Upsampler(COARSE, grid, lung_box)
    soft = np.stack([fields["skin"] * pixel + half, fields["lean"] * pixel + half, fields["soft"] - np.float32(_FAT)])
    air = np.stack([fields["lung"] * pixel + half, fields["parenchyma"] - np.float32(_AIR)])
    soft_planes, lung_planes = body.planes(soft), lung.planes(air)
    inner = tuple(slice(b.start - a.start, b.stop - a.start) for a, b in zip(body_box[1:], lung_box[1:], strict=True))
    behind, air_hu = couch[body_box[1:]], np.rint(couch).astype(np.int16)

    def slab(first, body_room, lung_room):
        slab = slice(first, first + _SLAB)
        skin, lean, tissue = np.moveaxis(body.read(soft_planes[slab], body_room), 1, 0)
        lungs, parenchyma = np.moveaxis(lung.read(lung_planes[slab], lung_room), 1, 0)
        here = (slab, *body_box[1:])
        labels = canvas.labels[here]
        np.greater(skin, half, out=labels.view(bool))
        within = labels[(slice(None), *inner)]
        np.add(within, lungs > half, out=within)
        np.clip(lean, zero, one, out=lean)
        tissue *= lean
        tissue += np.float32(_FAT - _AIR)
        np.clip(lungs, zero, one, out=lungs)
        inner_tissue = tissue[(slice(None), *inner)]
        parenchyma -= inner_tissue
        parenchyma *= lungs
        inner_tissue += parenchyma
        np.clip(skin, zero, one, out=skin)
        tissue *= skin
        tissue += behind
        canvas.hu[slab] = air_hu
        canvas.hu[here] = tissue

    def run(slabs):
        rooms = body.room(_SLAB, 3), lung.room(_SLAB, 2)
        for first in slabs:
            slab(first, *rooms)

    slabs = range(0, grid.shape[0], _SLAB)
    list(pool.map(run, [slabs[k::8] for k in range(8)]))
    heart_box = grid.box(*_extent(fields["heart"] > -2))
    heart = Upsampler(COARSE, grid, heart_box)
    inside = heart.read(heart.planes(fields["heart"][None]))[:, 0] > 0
    labels = canvas.labels[heart_box]
    labels[inside & (labels == LABELS["body"])] = LABELS["heart"]


def _artefacts(canvas, noise_hu, streaks, rng):
    """Streaks at the shoulders and beside dense contrast medium, noise, and the scanner's gain."""
    grid, chest, hu = canvas.grid, canvas.chest, canvas.hu
    z, y, x = (grid.axis(k) for k in range(3))
    shoulder = np.clip((z / chest.size - 62) / 60, 0, 1)
    lines = texture.rows(rng, z, y, streaks * chest.noise * (5 + 34 * shoulder))
    profile = np.exp(-((x / 165) ** 4)).astype(np.float32)
    vein = chest.to_world(np.array([[60.0, 3.0, 16.0]]))[0]
    rays = texture.star(rng, y, x, vein[1:], 9.0) * np.float32(streaks * max(0.0, chest.blood - 120) * 0.16)
    dense = np.exp(-(((z - vein[0]) / 26) ** 2))
    level = (1 + 0.45 * shoulder + 0.1 * np.clip(-z / 100, 0, 1)) * 0.95
    noise = texture.noise_slices(rng, grid.shape, noise_hu * chest.noise, level)
    for k, image in enumerate(noise):
        hu[k] += image
        if streaks and shoulder[k] > 0.04:
            hu[k] += np.outer(lines[k], profile).astype(np.int16)
        if streaks and chest.blood > 120 and dense[k] > 0.1:
            hu[k] += (rays * dense[k]).astype(np.int16)
        np.maximum(hu[k], -1024, out=hu[k])
        if noise_hu > 100:
            np.minimum(hu[k], 3071, out=hu[k])


def _described(centre, radius, grid):
    voxel = (centre - grid.origin) / grid.spacing
    return {
        "centre_mm": tuple(float(v) for v in centre[::-1]),
        "centre_zyx": tuple(float(v) for v in voxel),
        "radius_mm": float(radius),
    }
