"""A chest CT with ground-glass lesions made from a seed, as a soft and a sharp kernel reconstruct one scan.

Not patient data. The chest is that of `chest_ct`; lesions are patches of cloudy lung with ragged borders. Both images
come from one noisy scan: the soft one is smoothed by a Gaussian, the sharp one is unsharp masked. These are no kernels
of the family |w| (1 + a |w|^b), so that methods which train with those can be tested here.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from tfmed.io.volume import Volume

from .chest_ct import LABELS as CHEST
from .chest_ct import chest_ct
from .common import Checks, stream
from .grid import Grid

LABELS = {"background": 0, "lesion": 1}
_LUNG = [CHEST[name] for name in ("lungs", "vessels", "airway")]


@dataclasses.dataclass(frozen=True)
class GroundGlass:
    """A phantom scan.

    Args:
        soft, sharp: int16 HU `(z, y, x)`, two reconstructions of one scan.
        labels: uint8 `(z, y, x)`, numbers as in `LABELS`.
    """

    soft: Volume
    sharp: Volume
    labels: Volume


def ground_glass(
    seed,
    shape=(16, 128, 128),
    lesions=5,
    radius_mm=(12.0, 32.0),
    field_of_view_mm=360.0,
    length_mm=300.0,
    noise_hu=80.0,
    softness=0.5,
    sharpness=0.8,
):
    """A phantom of lesions in two kernels; a pure function of its arguments.

    Args:
        seed: integer >= 0; another seed is another patient.
        shape: `(z, y, x)` voxels, each at least 8; chest and lesions do not depend on it, noise and kernels do.
        lesions: how many, 0 to 50; they may touch.
        radius_mm: smallest and largest radius.
        field_of_view_mm, length_mm: extent of the image in the plane and along z.
        noise_hu: standard deviation of the scan's white noise, before a kernel.
        softness: standard deviation of the soft kernel's Gaussian in pixels.
        sharpness: share of the difference to a smoothed scan (1 pixel) that the sharp kernel adds.

    Returns:
        `GroundGlass`.

    Raises:
        UserError: an argument is out of range.
    """
    checks = Checks("ground_glass")
    checks.seed(seed)
    shape = checks.shape(shape)
    good = isinstance(lesions, int | np.integer) and 0 <= lesions <= 50
    checks.need(good, f"lesions must be 0 to 50; got {lesions!r}")
    radii = checks.interval("radius_mm", radius_mm, 1.0, 100.0)
    for name, value, high in (("noise_hu", noise_hu, 500), ("softness", softness, 20), ("sharpness", sharpness, 20)):
        checks.number(name, value, 0, high)
    extent = {"field_of_view_mm": field_of_view_mm, "length_mm": length_mm}
    chest = chest_ct(seed, shape, noise_hu=0.0, streaks=0.0, **extent)
    hu, affine = chest.volume.array.astype(np.float32), chest.volume.affine
    lung = np.isin(chest.labels.array, _LUNG)
    grid = Grid.covering(shape, (length_mm, field_of_view_mm, field_of_view_mm))
    depth = _depth(lung, grid, lesions, radii, seed)
    _cloud(hu, depth, lung, grid, stream(seed, 31))
    scan = hu + stream(seed, 32).standard_normal(hu.shape, np.float32) * np.float32(noise_hu)
    soft = ndimage.gaussian_filter(scan, (0, softness, softness))
    sharp = scan + np.float32(sharpness) * (scan - ndimage.gaussian_filter(scan, (0, 1, 1)))
    labels = ((depth > 0) & lung).astype(np.uint8)
    return GroundGlass(_volume(soft, affine), _volume(sharp, affine), Volume(labels, affine))


def _volume(hu, affine):
    return Volume(np.rint(np.clip(hu, -1024, 3071)).astype(np.int16), affine)


def _depth(lung, grid, count, radii, seed):
    """Depth below the surface of the nearest lesion in mm, negative outside: float32 `(z, y, x)`."""
    places = np.argwhere(lung)
    depth = np.full(grid.shape, -np.inf, np.float32)
    if not len(places):
        return depth
    axes = [grid.axis(k) for k in range(3)]
    for number in range(count):
        rng = stream(seed, 100 + number)
        # A share of the lung's voxels, not their number, so that the place is the same at every resolution.
        place = places[int(rng.random() * len(places))]
        centre = [axis[k] for axis, k in zip(axes, place, strict=True)]
        radius = rng.uniform(*radii)
        away = np.sqrt(sum(_square(axis - c, k) for k, (axis, c) in enumerate(zip(axes, centre, strict=True))))
        ragged = 0.3 * radius * _waves(axes, rng, (radius, 3 * radius))
        np.maximum(depth, radius + ragged - away, out=depth)
    return depth


def _square(values, axis):
    shape = [1, 1, 1]
    shape[axis] = -1
    return (values**2).reshape(shape)


def _cloud(hu, depth, lung, grid, rng):
    """Raise the lung inside of lesions to cloudy lung, over 3 mm of their borders; changes `hu`."""
    axes = [grid.axis(k) for k in range(3)]
    target = rng.uniform(-620, -480) + 70 * _waves(axes, rng, (12, 30))
    share = np.clip(depth / 3 + 0.5, 0, 1) * lung
    hu += (share * np.maximum(target - hu, 0)).astype(np.float32)


def _waves(axes, rng, lengths_mm, count=8):
    """A smooth random field of unit variance: a sum of plane waves, float32 `(z, y, x)`."""
    field = np.zeros([len(axis) for axis in axes], np.float32)
    for _ in range(count):
        direction = rng.normal(size=3)
        k = 2 * np.pi / rng.uniform(*lengths_mm) * direction / np.linalg.norm(direction)
        z, y, x = (np.float32(part) * axis for part, axis in zip(k, axes, strict=True))
        field += np.sin(z[:, None, None] + y[:, None] + x + np.float32(rng.uniform(0, 2 * np.pi)))
    return field * np.float32(np.sqrt(2 / count))
