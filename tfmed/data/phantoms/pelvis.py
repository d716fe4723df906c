"""A male pelvis made from a seed: MR, CT of the same anatomy, and the CT that a scanner would make up from the MR.

Not patient data. Bodies, organs and couch are placed in mm; the MR shows no couch, and the made-up CT neither couch nor
gas, only five values, and edges somewhat smoothed.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from tfmed.io.volume import Volume

from .common import Checks, stream

FIELD_MM = 400.0
SLICE_MM = 5.0
LABELS = {"background": 0, "fat": 1, "muscle": 2, "bladder": 3, "marrow": 4, "cortex": 5, "gas": 6}
_HU = np.array([-1000, -100, 55, 8, 230, 850, -900], np.float32)
_MR = np.array([0, 880, 420, 230, 700, 60, 15], np.float32)
_BULK_HU = np.array([-968, -86, 42, 42, 198, 949, 42], np.float32)  # the values of the made-up CT; gas counts as muscle


@dataclasses.dataclass(frozen=True)
class Pelvis:
    """A phantom; all volumes lie on one grid, axes towards RAS.

    Args:
        mr: int16 `(z, y, x)`, in-phase MR.
        mrcat: int16 HU, the CT made up from the MR.
        ct: int16 HU, a CT of the same body.
        labels: uint8, numbers as in `LABELS`.
    """

    mr: Volume
    mrcat: Volume
    ct: Volume
    labels: Volume


def pelvis(seed, shape=(8, 128, 128), noise_hu=18.0, bias=0.25):
    """A pelvis phantom; a pure function of its arguments.

    Args:
        seed: integer >= 0; another seed is another man.
        shape: `(z, y, x)`; a field of 400 x 400 mm in slices of 5 mm, the middle one through the femoral heads.
        noise_hu: standard deviation of the CT's noise; the MR's is in proportion.
        bias: largest share by which the MR's coils brighten or darken a place.

    Raises:
        UserError: an argument is out of range.
    """
    checks = Checks("pelvis")
    checks.seed(seed)
    good = len(shape) == 3 and 1 <= shape[0] <= 64 and all(16 <= n <= 1024 for n in shape[1:])
    checks.need(good, f"shape is z,y,x with 1 to 64 slices of 16 to 1024 pixels; got {tuple(shape)}")
    checks.number("noise_hu", noise_hu, 0.0, 500.0)
    checks.number("bias", bias, 0.0, 0.9)
    steps = np.array([SLICE_MM, FIELD_MM / shape[1], FIELD_MM / shape[2]])
    z, y, x = (((np.arange(n) - (n - 1) / 2) * s).astype(np.float32).reshape([-1 if a == b else 1 for b in range(3)])
               for a, (n, s) in enumerate(zip(shape, steps, strict=True)))  # fmt: skip
    labels, back = _anatomy(z, y, x, stream(seed, 1))
    ct = _ct(labels, y, x, back, stream(seed, 2), noise_hu)
    mr = _mr(labels, z, y, x, stream(seed, 3), noise_hu / 18.0, bias)
    mrcat = ndimage.gaussian_filter(_BULK_HU[labels], (0, 0.45, 0.45))
    mrcat = _BULK_HU[np.abs(mrcat[..., None] - _BULK_HU[:6]).argmin(-1)]
    affine = np.diag([*steps[::-1], 1.0])

    def volume(array):
        return Volume(np.rint(array).astype(np.int16), affine)

    return Pelvis(volume(mr), volume(mrcat), volume(ct), Volume(labels, affine))


def _inside(y, x, centre, radii):
    """1 at the centre of an ellipse, 0 on its outline, negative outside."""
    return 1 - np.hypot((y - centre[0]) / radii[0], (x - centre[1]) / radii[1])


def _anatomy(z, y, x, rng):
    """(labels, y of the skin that lies on the couch)."""
    tall, wide = rng.uniform(98, 122), rng.uniform(160, 188)
    centre = np.array([rng.uniform(0, 18), rng.uniform(-6, 6)])
    z, y, x = np.broadcast_arrays(z, y - centre[0], x - centre[1])
    angle, radius = np.arctan2(y / tall, x / wide), np.hypot(y / tall, x / wide) * (1 + 0.0004 * z)
    waves = zip((2, 3, 4, 6), rng.normal(size=4) * [0.015, 0.012, 0.02, 0.006], rng.uniform(0, 6.3, 4), strict=True)
    ripple = sum(a * np.cos(k * angle + p) for k, a, p in waves)
    edge = 1 - np.maximum(radius + ripple, np.where(y < -0.93 * tall, 2.0, 0.0))  # the back is flat on the couch
    labels = np.where(edge > 0, 1, 0).astype(np.uint8)
    rim = rng.uniform(0.10, 0.24)
    phases = rng.uniform(0, 6.3, 2)
    clefts = 0.05 * (np.sin(7 * angle + phases[0]) + np.sin(11 * radius + 3 * angle + phases[1]))
    labels[(edge > rim + clefts) & (edge > 0.05)] = 2
    fat = _inside(y, x, (rng.uniform(-4, 8), 0), (rng.uniform(44, 56), rng.uniform(52, 66)))  # around the organs
    labels[(fat > 0) & (labels > 0)] = 1
    muscle = np.maximum(*(_inside(y, x, (-8, side * 52), (38, 12)) for side in (-1, 1)))
    labels[(muscle > 0) & (labels > 0)] = 2
    _organs(labels, z, y, x, rng)
    _bones(labels, z, y, x, rng)
    return labels, centre[0] - 0.93 * tall


def _organs(labels, z, y, x, rng):
    bladder = _inside(y, x, (rng.uniform(16, 26), rng.uniform(-4, 4)), (rng.uniform(18, 27), rng.uniform(24, 36)))
    labels[bladder - 0.00006 * z**2 > 0] = 3
    prostate = _inside(y, x, (-10, 0), (rng.uniform(11, 15), rng.uniform(16, 22)))
    labels[(prostate > 0) & (labels != 3)] = 2
    place, size = (rng.uniform(-42, -34), rng.uniform(-5, 5)), rng.uniform(13, 19)
    labels[_inside(y, x, place, (size, size)) > 0] = 2
    if rng.random() < 0.6:
        gas = _inside(y, x, (place[0] + 0.2 * size, place[1]), (0.5 * size, 0.6 * size))
        labels[gas - 0.00002 * (z - rng.uniform(-20, 20)) ** 2 > 0] = 6


def _bones(labels, z, y, x, rng):
    """Femoral heads in their sockets, pubic bones, tail bone: marrow within a cortex of 4 to 7 mm."""
    apart, radius, cortex = rng.uniform(84, 98), rng.uniform(22, 27), rng.uniform(4, 7)
    shapes = [((-62 + 0.2 * z, 0), (13, 22 - 0.1 * z))]
    for side in (-1, 1):
        shapes += [((4, side * (apart + 0.15 * z)), (radius, radius)), ((2, side * (apart - 34)), (24, 9)),
                   ((38, side * 24), (9, 22 - 0.12 * z))]  # fmt: skip
    for centre, radii in shapes:
        depth = _inside(y, x, centre, radii) * min(np.min(r) for r in radii)
        bone = (depth > 0) & (labels > 0)
        labels[bone] = np.where(depth > cortex, 4, 5)[bone]


def _texture(shape, rng, sigma):
    """A smooth random field of unit variance; slices differ."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), (0.4, sigma, sigma), mode="wrap")
    return (field / max(field.std(), 1e-6)).astype(np.float32)


def _ct(labels, y, x, back, rng, noise):
    own = _HU + rng.normal(size=7) * [0, 6, 6, 4, 45, 110, 15]
    coarse, fine = (_texture(labels.shape, rng, s * labels.shape[1] / 128) for s in (2.2, 0.9))
    spread = np.array([0, 10, 14, 3, 70, 120, 10], np.float32)
    hu = own[labels] + (spread * 0.8)[labels] * coarse + (spread * 0.6)[labels] * fine
    top = back - 4.0
    bent = (y - top) - 0.0006 * x**2  # the couch is hollow: two thin plates with foam between
    reach = np.abs(x) < 190
    for high, low, value in ((0, -6, -180.0), (-6, -26, -880.0), (-26, -32, -180.0)):
        plate = (bent < high) & (bent >= low) & reach & (labels == 0)
        hu = np.where(plate, value, hu)
    hu = ndimage.gaussian_filter(hu, (0, 0.5, 0.5)) + noise * _texture(labels.shape, rng, 0.7)
    return np.clip(hu, -1024, 2000)


def _mr(labels, z, y, x, rng, noise, bias):
    own = _MR * (1 + rng.normal(size=7) * 0.05)
    coarse, fine = (_texture(labels.shape, rng, s * labels.shape[1] / 128) for s in (2.2, 0.9))
    image = own[labels] * (1 + 0.07 * coarse + 0.05 * fine)
    a, b, c = rng.normal(size=3)
    field = 1 + bias * np.clip((a * y + b * x) / FIELD_MM + c * (x**2 + y**2) / FIELD_MM**2, -1, 1)
    image = ndimage.gaussian_filter(image * field, (0, 0.5, 0.5))
    real, imaginary = rng.standard_normal((2, *labels.shape)) * 14 * noise
    return np.hypot(image + real, imaginary) * rng.uniform(0.7, 1.4)
