"""B-mode ultrasound pictures of layered tissue with vessels, made from a seed; not real.

Scatterers have complex Gaussian amplitudes around the echogenicity of their tissue. The probe's point spread function
blurs them into speckle, whose envelope is Rayleigh's where the tissue is even; the picture is its logarithm within the
dynamic range. One anatomy under two probes differs in grain, contrast and gain, not in where things are.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from tfmed.io.itk import LPS_RAS
from tfmed.io.volume import Volume

from .common import Checks, stream

VEIN, ARTERY, NEEDLE = 1, 2, 3
_HEIGHT = 256  # px for which lengths below are given; they are scaled with the picture


@dataclasses.dataclass(frozen=True)
class Probe:
    """How a probe and its machine show tissue.

    Args:
        axial_px, lateral_px: standard deviation of the point spread function, at 256 pixels of depth.
        gain_db: added before the logarithm is cut off.
        range_db: from black to white.
        attenuation_db: that the machine leaves uncorrected from top to bottom.
    """

    axial_px: float
    lateral_px: float
    gain_db: float
    range_db: float
    attenuation_db: float


PROBES = {
    "linear": Probe(0.9, 1.6, 0.0, 60.0, 6.0),
    "handheld": Probe(1.7, 3.6, 8.0, 44.0, 20.0),
    "high_frequency": Probe(0.6, 0.9, -6.0, 72.0, 14.0),
}


@dataclasses.dataclass(frozen=True)
class UltrasoundPicture:
    """A picture.

    Args:
        volume: int16 `(1, y, x)`, from 0 to 255.
        clean: the same without reverberation, and with the whole needle.
        artefact: uint8 `(1, y, x)`, 1 where the picture is another one.
        needle: uint8 `(1, y, x)`, 1 on the whole needle.
        labels: uint8 `(1, y, x)`: 1 in veins, 2 in arteries, 3 on the whole needle.
    """

    volume: Volume
    clean: Volume
    artefact: Volume
    needle: Volume
    labels: Volume


def ultrasound(seed, shape=(256, 256), probe="linear", veins=1, arteries=1, reverberation=0, needle=0, faint=0):
    """A picture; a pure function of its arguments. The seed decides the anatomy, whatever the probe.

    Args:
        seed: integer >= 0.
        shape: `(y, x)` pixels, 16 to 2048 each.
        probe: one of `PROBES`.
        veins, arteries: 0 to 4 of each; fewer where there is no room.
        reverberation: strong reflectors that repeat themselves below, 0 to 3.
        needle: 1 with a needle.
        faint: stretches of the needle that give no echo, 0 to 3.

    Returns:
        `UltrasoundPicture`.

    Raises:
        UserError: an argument is out of range.
    """
    checks = Checks("ultrasound")
    checks.seed(seed)
    shape = tuple(int(n) for n in np.atleast_1d(shape))
    good = len(shape) == 2 and min(shape) >= 16 and max(shape) <= 2048
    checks.need(good, f"shape is y,x of 16 to 2048 each; got {shape}")
    checks.need(probe in PROBES, f"probe must be {', '.join(PROBES)}; got {probe!r}")
    for name, value, most in (("veins", veins, 4), ("arteries", arteries, 4), ("reverberation", reverberation, 3),
                              ("needle", needle, 1), ("faint", faint, 3)):  # fmt: skip
        checks.number(name, value, 0, most)
    checks.need(needle or not faint, "faint stretches are a needle's; set needle to 1")
    look, unit = PROBES[probe], shape[0] / _HEIGHT
    echo = _layers(stream(seed, 0), shape, unit)
    labels = np.zeros(shape, np.uint8)
    _vessels(stream(seed, 1), echo, labels, unit, [VEIN] * veins + [ARTERY] * arteries)
    bare = echo.copy()
    if needle:
        _needle(stream(seed, 2), echo, labels, unit)
    shaft = labels == NEEDLE
    whole = seen = _envelope(stream(seed, 3), echo, look, unit)
    if faint:
        hidden = _faint(stream(seed, 5), shaft, faint)
        seen = _envelope(stream(seed, 3), np.where(hidden, bare, echo), look, unit)
    added = _reverberation(stream(seed, 4), shape, unit, reverberation)
    clean, picture = (_compressed(amplitude, look) for amplitude in (whole, seen + added))
    artefact = (np.abs(picture - clean) > 8).astype(np.uint8)
    planes = (picture, clean, artefact, shaft.astype(np.uint8), labels)
    return UltrasoundPicture(*(Volume(plane[None], LPS_RAS) for plane in planes))


def _layers(rng, shape, unit):
    """Echogenicity in dB `(y, x)` of skin, fat, muscle and what lies below, with bright fasciae between them."""
    y = np.arange(shape[0], dtype=np.float32)[:, None] / shape[0]
    x = np.arange(shape[1], dtype=np.float32)[None] / shape[1]
    echo = np.full(shape, rng.uniform(-10, -4), np.float32)
    depth = rng.uniform(0.03, 0.06)
    for _ in range(int(rng.integers(3, 6))):
        waves = sum(rng.normal(0, 0.02 / k) * np.sin(2 * np.pi * (k * x / 2 + rng.uniform())) for k in (1, 2, 3))
        below = y - depth - waves.astype(np.float32)
        inside = 1 / (1 + np.exp(np.clip(-below * shape[0] / (1.5 * unit), -30, 30)))
        echo += (rng.uniform(-18, -2) - echo) * inside
        echo += rng.uniform(8, 16) * np.exp(-((below * shape[0] / (1.6 * unit)) ** 2))
        depth += rng.uniform(0.1, 0.25)
    fibres = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), (1.5 * unit, 14 * unit))
    return echo + 3 * fibres / max(fibres.std(), 1e-6)


def _vessels(rng, echo, labels, unit, kinds):
    """Dark lumina with bright walls, in place: veins flat and thin-walled, arteries round and thick-walled."""
    y, x = np.indices(echo.shape, dtype=np.float32)
    placed = []
    for kind in kinds:
        for _ in range(20):
            radius = rng.uniform(12, 26) * unit
            flat = rng.uniform(0.5, 0.75) if kind == VEIN else rng.uniform(0.9, 1.0)
            centre = rng.uniform((0.25, 0.15), (0.8, 0.85)) * echo.shape
            if all(np.hypot(*(centre - other)) > 1.35 * (radius + reach) for other, reach in placed):
                break
        else:
            continue
        placed.append((centre, radius))
        away = np.hypot((y - centre[0]) / flat, x - centre[1]) - radius
        thick = (2.2 if kind == ARTERY else 1.1) * unit
        inside = away < 0
        echo[inside] = -42
        echo += np.where(inside, 0, (16 if kind == ARTERY else 9) * np.exp(-((away / thick) ** 2)))
        behind = np.exp(-(((x - centre[1]) / (0.8 * radius)) ** 2)) * np.clip((y - centre[0]) / radius, 0, 1)
        echo += np.where(inside, 0, 5 * behind)  # blood weakens the beam less
        labels[inside] = kind


def _needle(rng, echo, labels, unit):
    """A bright line from a side to its tip, in place."""
    y, x = np.indices(echo.shape, dtype=np.float32)
    slope, start = rng.uniform(0.25, 0.6), rng.uniform(0.05, 0.3) * echo.shape[0]
    tip = rng.uniform(0.4, 0.8) * echo.shape[1]
    across = (y - start - slope * x) / np.sqrt(1 + slope**2)
    line = (np.abs(across) < 1.6 * unit) & (x <= tip)
    echo[line] = 14
    labels[line] = NEEDLE


def _faint(rng, shaft, count):
    """Where a needle gives no echo, bool `(y, x)`: some stretches of an eighth of it."""
    hidden = np.zeros_like(shaft)
    columns = np.flatnonzero(shaft.any(0))
    for start in rng.uniform(0.1, 0.85, count):
        first, last = (columns[0] + round(share * np.ptp(columns)) for share in (start, start + 0.125))
        hidden[:, first : last + 1] = True
    return hidden & shaft


def _envelope(rng, echo, look, unit):
    """Amplitudes `(y, x)` of the beam's echo: speckle around the echogenicity."""
    scale = 10 ** (echo / 20)
    sigma = (max(look.axial_px * unit, 0.4), max(look.lateral_px * unit, 0.4))
    parts = [ndimage.gaussian_filter(scale * rng.standard_normal(echo.shape), sigma) for _ in range(2)]
    power = 1 / (4 * np.pi * sigma[0] * sigma[1])  # of white noise behind the filter
    return np.hypot(*parts) / np.sqrt(2 * power)


def _reverberation(rng, shape, unit, count):
    """Amplitudes `(y, x)` of bright bars that repeat at equal distances, weaker each time."""
    y, x = np.indices(shape, dtype=np.float32)
    added = np.zeros(shape, np.float32)
    for _ in range(count):
        top, step = rng.uniform(0.08, 0.35) * shape[0], rng.uniform(14, 30) * unit
        middle, width = rng.uniform(0.2, 0.8) * shape[1], rng.uniform(10, 30) * unit
        tilt = rng.uniform(-0.15, 0.15)
        fade, strength = rng.uniform(0.65, 0.85), rng.uniform(1.5, 4)
        side = 1 / (1 + np.exp(np.clip((np.abs(x - middle) - width) / (2 * unit), -30, 30)))
        for k in range(1, int(rng.integers(4, 8))):
            bar = np.exp(-(((y - top - k * step - tilt * (x - middle)) / (2 * unit)) ** 2))
            added += strength * fade**k * bar * side
    return added


def _compressed(amplitude, look):
    """Amplitudes -> grey values 0 to 255, int16: the logarithm within the dynamic range."""
    depth = np.linspace(0, 1, len(amplitude), dtype=np.float32)[:, None]
    level = 20 * np.log10(np.maximum(amplitude, 1e-6)) + look.gain_db - look.attenuation_db * depth
    return np.rint(255 * np.clip(1 + (level - 12) / look.range_db, 0, 1)).astype(np.int16)
