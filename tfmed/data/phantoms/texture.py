"""What a scanner adds: correlated noise, streaks and the couch."""

import numpy as np

_LEVELS = np.array([0.8, 1.0, 1.25, 1.55])


def noise_slices(rng, shape, sigma, level):
    """One int16 noise image after the other, as views into a small bank (so they cost next to nothing).

    Args:
        rng: `numpy.random.Generator`.
        shape: `(z, y, x)` of the image.
        sigma: standard deviation in HU where `level` is 1.
        level: `(z,)` noise of each slice relative to `sigma`.

    Yields:
        `(y, x)` int16, for z = 0, 1, ...
    """
    depth, height, width = shape
    pad = 32 if max(height, width) < 100 else 96
    bank = _correlated(rng, (3, height + pad, width + pad))
    scaled = np.rint(bank * (sigma * _LEVELS)[:, None, None, None].astype(np.float32)).astype(np.int16)
    scaled = np.concatenate([scaled, scaled[..., ::-1]], axis=1)
    steps = np.abs(np.log(np.asarray(level)[:, None] / _LEVELS)).argmin(axis=1)
    tile, flip = rng.integers(0, 6, depth), rng.integers(0, 2, depth)
    top, left = rng.integers(0, pad + 1, depth), rng.integers(0, pad + 1, depth)
    for k in range(depth):
        view = scaled[steps[k], tile[k], top[k] : top[k] + height, left[k] : left[k] + width]
        yield view[::-1] if flip[k] else view


def rician(rng, image, sigma, along=0.0, side=0.35):
    """Add the noise of a magnitude MR image, in place.

    Args:
        rng: `numpy.random.Generator`.
        image: `(z, y, x)` float32, never negative.
        sigma: standard deviation of the real and the imaginary part's noise.
        along: share (0 to 1) of a slice's noise that comes from the slice before.
        side: what a pixel shares with its neighbours, 0 for white noise.
    """
    depth, height, width = image.shape
    pad = 32 if max(height, width) < 100 else 96
    bank = _correlated(rng, (4, height + pad, width + pad), side) * np.float32(sigma)
    tile = rng.integers(0, 4, (depth, 2))
    top, left = rng.integers(0, pad + 1, (2, depth, 2))
    old, new = np.float32(along), np.float32(np.sqrt(1 - along * along))
    before = None
    for k in range(depth):
        real, other = (bank[t, a : a + height, b : b + width] for t, a, b in zip(tile[k], top[k], left[k], strict=True))
        real = real if before is None else new * real + old * before
        before = real if along else None
        now = image[k]
        now += real
        now *= now
        now += other * other
        np.sqrt(now, out=now)


def _correlated(rng, shape, side=0.35):
    """Noise of unit variance that neighbours share, as the reconstruction kernel makes it; float32."""
    count, height, width = shape
    noise = rng.standard_normal((count, height + 2, width + 2), dtype=np.float32)
    noise = noise[:, 1:-1] + np.float32(side) * (noise[:, :-2] + noise[:, 2:])
    noise = noise[:, :, 1:-1] + np.float32(side) * (noise[:, :, :-2] + noise[:, :, 2:])
    return noise * np.float32(1 / (1 + 2 * side * side))


def rows(rng, z, y, amplitude, step=(5.0, 2.6)):
    """Horizontal streaks: HU `(z, y)` float32, smooth random in both, of standard deviation `amplitude` `(z,)`."""
    table = rng.standard_normal((128, 256)).astype(np.float32)
    along, across = z / step[0] + 64, y / step[1] + 128
    k, m = (np.clip(np.floor(v).astype(int), 0, n - 2) for v, n in ((along, 128), (across, 256)))
    a, b = (along - k)[:, None], across - m
    lines = (1 - a) * table[k] + a * table[k + 1]
    return (lines[:, m] * (1 - b) + lines[:, m + 1] * b) * np.asarray(amplitude, np.float32)[:, None]


def star(rng, y, x, centre, radius):
    """Streaks that leave a dense object at `centre` (y, x in mm): `(y, x)` float32, strongest at `radius` mm."""
    dy, dx = (y - centre[0])[:, None], (x - centre[1])[None]
    distance = np.sqrt(dy * dy + dx * dx) + np.float32(1e-3)
    angle = np.arctan2(dy, dx)
    waves = sum(rng.normal() * np.cos(n * angle + rng.uniform(0, 6.28)) for n in (5, 8, 11, 15, 21, 26))
    fade = np.clip(distance / radius, 0, 1) * np.exp(-np.maximum(distance - radius, 0) / 45)
    return (0.55 * waves * fade).astype(np.float32)


def couch(rng, y, x, top):
    """The table below the patient, air at -1000 HU: `(y, x)` float32; `top` is the height of its surface in mm."""
    surface = (top + x * x * np.float32(1 / rng.uniform(900, 1400)))[None]
    below = surface - y[:, None]
    edge = np.float32(max(abs(y[1] - y[0]), 1e-3)) if len(y) > 1 else np.float32(1)
    thickness, shell = rng.uniform(22, 34), rng.uniform(2.0, 3.2)

    def band(low, high):
        return np.clip((below - low) / edge + 0.5, 0, 1) * np.clip((high - below) / edge + 0.5, 0, 1)

    hu = -1000 + rng.uniform(40, 90) * band(0, thickness)
    hu += rng.uniform(650, 850) * (band(0, shell) + band(thickness - shell, thickness))
    mat = band(-7, -1.5) * (np.abs(x) < 190)[None]
    return (hu + rng.uniform(60, 140) * mat).astype(np.float32)
