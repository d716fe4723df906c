"""What is sharp and small in the chest, painted only in its own voxels.

Each `paint_...` measures first and returns a function that writes, so that measuring can run beside other work.
"""

import dataclasses

import numpy as np

from . import chest_trees
from .chest_fields import COARSE, VERTEBRA_STEP, VERTEBRA_TOP, Chest
from .grid import Grid
from .tubes import coverage, largest, rasterise


@dataclasses.dataclass(frozen=True)
class Canvas:
    """An image in the making: int16 HU and uint8 labels `(z, y, x)` on `grid`."""

    grid: Grid
    chest: Chest
    hu: np.ndarray
    labels: np.ndarray

    @property
    def voxel(self):
        """Mean voxel size in mm."""
        return float(np.mean(self.grid.spacing))

    def blend(self, index, share, target):
        """Move the HU at flat `index` by `share` (0 to 1) towards `target`; a voxel given twice has equal values."""
        flat = self.hu.reshape(-1)
        now = flat[index].astype(np.float32)
        flat[index] = np.rint(now + share * (target - now)).astype(np.int16)

    def mark(self, index, label, over=None):
        """Set labels, only where they are one of `over` if given."""
        flat = self.labels.reshape(-1)
        if over is not None:
            table = np.zeros(256, bool)
            table[list(over)] = True
            index = index[table[flat[index]]]
        flat[index] = label

    def near(self, tubes, wall=0.0):
        """Voxels that a tube (in body coordinates) reaches, without tubes too thin to show here."""
        tubes = tubes.moved(self.chest.to_world)
        tubes = dataclasses.replace(tubes, radius=tubes.radius * self.chest.size)
        tubes = tubes.take(tubes.radius > 0.14 * self.voxel)
        return rasterise(tubes, self.grid, 0.5 * self.voxel + wall)


class Union:
    """The largest of several values (0 to 1) in each voxel, float32 in steps of 1/255; owns memory: one per thread."""

    def __init__(self, canvas):
        self.buffer = np.zeros(canvas.labels.size, np.uint8)

    def __call__(self, index, value):
        return largest(self.buffer, index, np.rint(value * 255).astype(np.uint8)) * np.float32(1 / 255)


def paint_vessels(canvas, union, tubes, label=4):
    """Blood vessels."""
    index, distance, radius = canvas.near(tubes)
    share = union(index, coverage(distance, radius, canvas.voxel))
    blood = np.float32(canvas.chest.blood)

    def write():
        canvas.blend(index, share, blood)
        canvas.mark(index[share >= 0.5], label, over=(1, 2, 7, 4))

    return write


def paint_airways(canvas, union, tubes):
    """Airways: a thin wall around air."""
    index, distance, radius = canvas.near(tubes, wall=2.0)
    outer = union(index, coverage(distance, radius * 1.12 + 0.6, canvas.voxel))
    inner = union(index, coverage(distance, radius, canvas.voxel))

    def write():
        canvas.blend(index, outer, np.where(inner > 0, inner * np.float32(-1030) + 30, 30))
        canvas.mark(index[inner >= 0.5], 3)

    return write


def paint_bones(canvas, union, rng):
    """Ribs, cartilages and the other bones but the vertebral bodies: a dense shell around marrow."""
    ribs, cartilages = chest_trees.ribs(canvas.chest, rng)
    layers = [bone_layer(canvas, union, tubes) for tubes in (ribs, chest_trees.other_bones(canvas.chest, rng))]
    soft_index, distance, radius = canvas.near(cartilages)
    soft = union(soft_index, coverage(distance, radius, canvas.voxel))

    def write():
        canvas.blend(soft_index, soft, np.float32(105))
        for index, share, target in layers:
            canvas.blend(index, share, target)
            canvas.mark(index[share >= 0.5], 5)

    return write


def bone_layer(canvas, union, tubes):
    """Voxels, share and HU: the depth below the surface tells the dense shell from the marrow."""
    index, distance, radius = canvas.near(tubes)
    voxel = np.float32(canvas.voxel)
    reach = np.float32(6.0) + voxel
    depth = np.maximum(radius, 0.5 * voxel).astype(np.float32) - distance
    depth = union(index, np.clip((depth + 0.5 * voxel) / reach, 0, 1)) * reach - 0.5 * voxel
    share = np.clip(depth / voxel + np.float32(0.5), 0, 1)
    marrow = np.clip((depth - np.float32(1.5)) / max(1.2, 0.5 * canvas.voxel), 0, 1)
    return index, share, (720 - 520 * marrow) * np.float32(canvas.chest.bone)


def paint_spine(canvas):
    """Vertebral bodies with end plates, discs between them, the arch around the canal; writes at once."""
    grid, chest = canvas.grid, canvas.chest
    thick = max(1, round(24 / grid.spacing[0]))
    for first in range(0, grid.shape[0], thick):
        z = grid.axis(0)[first : first + thick]
        middle = z.mean() / chest.size
        y, x = (float(v) for v in chest.spine(middle))
        _, y, x = chest.to_world([[middle, y, x]])[0]
        across, back, front = np.array([24, 42, 22]) * chest.size + 3
        box = grid.box((z[0] - 0.1, y - back, x - across), (z[-1] + 0.1, y + front, x + across))
        if all(side.stop > side.start for side in box):
            _paint_vertebrae(canvas, box)


def _paint_vertebrae(canvas, box):
    grid, chest = canvas.grid, canvas.chest
    half, bone_hu = np.float32(0.5), np.float32(chest.bone)
    z, y, x = (grid.axis(k)[box[k]] for k in range(3))
    z, y, x = chest.to_body(z[:, None, None], y[None, :, None], x[None, None, :])
    spine_y, spine_x = (np.asarray(v, np.float32) for v in chest.spine(z))
    dy, dx = y - spine_y, x - spine_x
    pixel = np.float32(chest.size / canvas.voxel)
    phase = (z - np.float32(VERTEBRA_TOP)) / np.float32(VERTEBRA_STEP)
    from_middle = np.abs(phase - np.rint(phase)) * np.float32(VERTEBRA_STEP)
    size = 1 - np.float32(0.13) * np.clip((z + 40) / 160, -0.6, 1)
    deep = dy * np.where(dy < 0, np.float32(1.25), np.float32(1.05))
    wide = dx * np.float32(0.84)
    body = (15.5 + np.float32(0.012) * from_middle**2) * size - np.sqrt(wide * wide + deep * deep)
    canal = np.sqrt(dx * dx + (dy + 21) ** 2)
    disc = np.clip((from_middle - np.float32(8.7)) * pixel + half, 0, 1)
    plate = np.clip(1 - np.abs(from_middle - np.float32(8.2)) / np.float32(1.6), 0, 1)
    shell = np.clip(1 - body / np.float32(2.2), 0, 1)
    bone = (190 + 380 * np.maximum(shell, plate)) * bone_hu
    share = np.clip(body * pixel + half, 0, 1)
    ring = np.clip((np.float32(2.6) - np.abs(canal - 10)) * pixel + half, 0, 1) * ((dy < -14) & (from_middle < 7.5))
    hollow = np.clip((np.float32(8.2) - canal) * pixel + half, 0, 1)
    hu = canvas.hu[box].astype(np.float32)
    hu += share * (bone + disc * (85 - bone) - hu)
    hu += ring * (480 * bone_hu - hu)
    hu += hollow * (28 - hu)
    canvas.hu[box] = np.rint(hu).astype(np.int16)
    canvas.labels[box][((share * (1 - disc) >= half) | (ring >= half)) & (hollow < half)] = 5


def place_nodules(chest, lung, count, radii, rng):
    """Centres (world mm, z y x) and radii of nodules that lie wholly in the lungs and apart from each other."""
    placed = []
    for _ in range(60 * count):
        if len(placed) == count:
            break
        radius = float(np.exp(rng.uniform(np.log(radii[0]), np.log(radii[1]))))
        spots = np.flatnonzero(lung.ravel() > radius + 4.5)
        if not len(spots):
            continue
        spot = np.unravel_index(spots[rng.integers(len(spots))], lung.shape)
        centre = COARSE.origin + (np.array(spot) + rng.uniform(-0.25, 0.25, 3)) * COARSE.spacing
        body = np.array(chest.to_body(*centre))
        hila = [np.linalg.norm(body - hilum) for hilum in chest_trees.HILA.values()]
        apart = all(np.linalg.norm(centre - c) > radius + r + 4 for c, r in placed)
        if apart and min(hila) > radius + 24:
            placed.append((centre, radius))
    return placed


def paint_nodules(canvas, nodules, rng):
    """Solid, part-solid and ground-glass nodules: spheres with a textured inside."""
    for centre, radius in nodules:
        solid = rng.choice([1.0, 1.0, 1.0, 0.55, 0.25])
        box = canvas.grid.box(centre - radius - canvas.voxel, centre + radius + canvas.voxel)
        z, y, x = (canvas.grid.axis(k)[box[k]] - np.float32(centre[k]) for k in range(3))
        z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
        distance = np.sqrt(z * z + y * y + x * x)
        wave, phase = rng.normal(0, 0.35, (3, 3)), rng.uniform(0, 6.3, 3)
        texture = sum(np.sin(w[0] * z + w[1] * y + w[2] * x + p) for w, p in zip(wave, phase, strict=True))
        share = coverage(distance, np.full(1, radius), canvas.voxel)
        target = solid * (35 + 18 * texture) + (1 - solid) * canvas.chest.lung
        hu = canvas.hu[box].astype(np.float32)
        canvas.hu[box] = np.rint(hu + share * (target - hu)).astype(np.int16)
        canvas.labels[box][share >= 0.5] = 6
