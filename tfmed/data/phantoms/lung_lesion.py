"""A slice of chest CT around a lung tumour made from a seed, of a tumour that shrank or one that did not.

Not patient data. Everything is placed in mm on a field of 80 x 80 mm, whatever the number of pixels.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from tfmed.io.volume import Volume

from .common import Checks, stream

FIELD_MM = 80.0
LABELS = {"background": 0, "tumour": 1}
_RADIUS_MM = {0: (13.0, 20.0), 1: (6.0, 11.0)}  # of a tumour that did not shrink, and of one that did


@dataclasses.dataclass(frozen=True)
class LungLesion:
    """A phantom slice.

    Args:
        volume: int16 HU `(1, y, x)`.
        labels: uint8 `(1, y, x)`, numbers as in `LABELS`.
    """

    volume: Volume
    labels: Volume


def lung_lesion(seed, shape=(1, 80, 80), slice=0, shrunk=0, noise_hu=25.0):
    """A lung tumour phantom; a pure function of its arguments.

    Args:
        seed: integer >= 0; another seed is another patient.
        shape: `(1, y, x)` pixels, 16 to 1024.
        slice: -3 to 3: how many slices of 3 mm above the tumour's middle.
        shrunk: 1 for a tumour that shrank under treatment: smaller and more ragged; else 0.
        noise_hu: standard deviation of the noise in HU.

    Returns:
        `LungLesion`.

    Raises:
        UserError: an argument is out of range.
    """
    checks = Checks("lung_lesion")
    checks.seed(seed)
    good = len(shape) == 3 and shape[0] == 1 and all(16 <= n <= 1024 for n in shape[1:])
    checks.need(good, f"shape is 1,y,x with 16 to 1024 pixels; got {tuple(shape)}")
    checks.number("slice", slice, -3, 3)
    checks.need(shrunk in (0, 1), f"shrunk must be 0 or 1; got {shrunk!r}")
    checks.number("noise_hu", noise_hu, 0.0, 500.0)
    size = np.array(shape[1:])
    y, x = np.meshgrid(*((np.arange(n) + 0.5) * (FIELD_MM / n) for n in size), indexing="ij")
    rng = stream(seed, 10 + int(slice))
    hu = _lung(y, x, stream(seed, 1), rng)
    depth = _tumour(y, x, stream(seed, 2), rng, shrunk, slice)
    hu += np.clip(depth + 0.5, 0, 1) * (stream(seed, 3).uniform(15, 55) - hu)
    _wall(hu, y, x, stream(seed, 4))
    noise = ndimage.gaussian_filter(rng.standard_normal(hu.shape), 0.6)
    hu += noise * (noise_hu / max(noise.std(), 1e-6))
    affine = np.diag([FIELD_MM / size[1], FIELD_MM / size[0], 3.0, 1.0])
    labels = (depth > 0).astype(np.uint8)
    return LungLesion(Volume(np.rint(np.clip(hu, -1024, 1500)).astype(np.int16)[None], affine),
                      Volume(labels[None], affine))  # fmt: skip


def _waves(y, x, rng, lengths_mm, count=12):
    """A smooth random field of unit variance: a sum of plane waves."""
    field = 0.0
    for _ in range(count):
        angle, phase = rng.uniform(0, 2 * np.pi, 2)
        k = 2 * np.pi / rng.uniform(*lengths_mm)
        field = field + np.sin(k * (np.cos(angle) * y + np.sin(angle) * x) + phase)
    return field * np.sqrt(2 / count)


def _lung(y, x, patient, rng):
    """Parenchyma with vessels, brighter where they are wide."""
    hu = patient.uniform(-880, -800) + 18 * _waves(y, x, patient, (6, 30))
    for _ in range(rng.integers(9, 16)):
        centre, angle = rng.uniform(0, FIELD_MM, 2), rng.uniform(0, np.pi)
        radius, bend = np.exp(rng.uniform(np.log(0.6), np.log(2.6))), rng.uniform(-0.02, 0.02)
        along = (y - centre[0]) * np.cos(angle) + (x - centre[1]) * np.sin(angle)
        across = (x - centre[1]) * np.cos(angle) - (y - centre[0]) * np.sin(angle) - bend * along**2
        length = rng.uniform(3, 28)
        inside = radius - np.hypot(across, np.maximum(np.abs(along) - length / 2, 0))
        hu += np.clip(inside + 0.5, 0, 1) * (rng.uniform(-60, 50) - hu)
    return hu


def _tumour(y, x, patient, rng, shrunk, slice):
    """Depth below the tumour's surface in mm; negative outside."""
    radius = patient.uniform(*_RADIUS_MM[shrunk])
    lobes = patient.normal(size=4) * [0.10, 0.08, 0.05, 0.03] * (1.5 if shrunk else 1.0)
    phases = patient.uniform(0, 2 * np.pi, 4)
    centre = FIELD_MM / 2 + patient.uniform(-6, 6, 2) + rng.normal(0, 0.7, 2)
    angle = np.arctan2(y - centre[0], x - centre[1])
    shape = 1 + sum(a * np.cos(n * angle + p) for n, a, p in zip((2, 3, 5, 9), lobes, phases, strict=True))
    height = np.sqrt(max(1 - (3.0 * slice / (1.3 * radius)) ** 2, 0.15))
    return radius * height * shape - np.hypot(y - centre[0], x - centre[1])


def _wall(hu, y, x, patient):
    """Chest wall along one side of most patients, with a rib; changes `hu`."""
    if patient.random() < 0.3:
        return
    side, edge = patient.integers(4), patient.uniform(4, 14)
    along, inward = [(x, y), (x, FIELD_MM - y), (y, x), (y, FIELD_MM - x)][side]
    inside = edge + (along - FIELD_MM / 2) ** 2 * patient.uniform(0.001, 0.006) - inward
    hu += np.clip(inside + 0.5, 0, 1) * (patient.uniform(-20, 50) - hu)
    middle, depth = patient.uniform(10, 70), patient.uniform(2, 5)
    rib = 1 - np.hypot((along - middle) / patient.uniform(7, 12), (inside - depth) / patient.uniform(2.0, 3.2))
    hu += np.clip(3 * rib, 0, 1) * (patient.uniform(350, 700) - hu)
