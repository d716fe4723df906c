"""Frames of an endoscope over a heart valve with sutures, made from a seed: of a simulator, or of surgery; not real.

Sutures go through the tissue around an orifice: a point is where a thread enters or leaves it, a dark puncture in a
bright rim of pulled tissue, at the end of a thread. What can be taken for one: specular lights, which are as bright,
and crossings of threads. A simulator is smooth silicone in even light; surgery has texture, blood, vessels, stronger
lights, vignetting, blur and noise. Frames of one surgery have its colours and its light.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from tfmed.io.itk import LPS_RAS
from tfmed.io.volume import Volume

from .common import Checks, stream

LOOKS = ("surgery", "simulator")
_HEIGHT = 288  # px, of AdaptOR's frames; things are as large in other frames in proportion, but no smaller than
_LEAST = 0.6  # of that: small frames are seen from nearer
_DISC = 3  # px, radius of a point in the label map
_ROOM = 16  # px, least distance of two points
_THREADS = {"surgery": ((236, 238, 230), (70, 148, 120)), "simulator": ((240, 240, 244), (60, 120, 190))}


@dataclasses.dataclass(frozen=True)
class EndoscopyFrame:
    """A frame.

    Args:
        red, green, blue: int16 `(1, y, x)`, from 0 to 255.
        labels: uint8 `(1, y, x)`: the number of a point, from 1, in a small disc around it.
        points: float64 `(n, 2)`, (x, y) in pixels.
    """

    red: Volume
    green: Volume
    blue: Volume
    labels: Volume
    points: np.ndarray


def endoscopy(seed, shape=(288, 512), look="surgery", surgery=0, fewest=0, most=15):
    """A frame; a pure function of its arguments.

    Args:
        seed: integer >= 0: the frame.
        shape: `(y, x)` pixels, 32 to 2048 each.
        look: "surgery" or "simulator".
        surgery: integer >= 0: whose colours and light it has.
        fewest, most: points, 0 to 15; how many is drawn. Where there is no room for so many there are fewer.

    Returns:
        `EndoscopyFrame`.

    Raises:
        UserError: an argument is out of range.
    """
    points, ends = _layout(seed, shape, look, surgery, fewest, most)
    shape = tuple(int(n) for n in np.atleast_1d(shape))
    own, style = stream(seed, 1), _style(look, surgery)
    picture = _tissue(own, shape, style, _valve(seed, shape))
    for number, (point, end) in enumerate(zip(points, ends, strict=True)):
        _puncture(picture, point, shape, style)
        _thread(picture, point, end, own, shape, style, number // 2)
    picture = _lit(picture, own, shape, style)
    picture = np.rint(np.clip(picture, 0, 255)).astype(np.int16)
    channels = [Volume(np.ascontiguousarray(picture[None, ..., k]), LPS_RAS) for k in range(3)]
    return EndoscopyFrame(*channels, Volume(_discs(points, shape)[None], LPS_RAS), points)


def endoscopy_points(seed, shape=(288, 512), look="surgery", surgery=0, fewest=0, most=15):
    """The points of a frame without making it, float64 `(n, 2)`, (x, y) in pixels; arguments as of `endoscopy`."""
    return _layout(seed, shape, look, surgery, fewest, most)[0]


def _layout(seed, shape, look, surgery, fewest, most):
    """(points, where their threads go), both (x, y); checks the arguments."""
    checks = Checks("endoscopy")
    checks.seed(seed)
    shape = tuple(int(n) for n in np.atleast_1d(shape))
    checks.need(len(shape) == 2 and min(shape) >= 32 and max(shape) <= 2048,
                f"shape is y,x of 32 to 2048 each; got {shape}")  # fmt: skip
    checks.need(look in LOOKS, f"look must be {' or '.join(LOOKS)}; got {look!r}")
    checks.number("surgery", surgery, 0, 2**31)
    checks.need(0 <= fewest <= most <= 15, f"fewest and most are 0 to 15, in order; got {fewest} and {most}")
    height, width = shape
    rng, valve = stream(seed, 0), _valve(seed, shape)
    wanted, found, ends = int(rng.integers(fewest, most + 1)), [], []
    for _ in range(40 * max(wanted, 1)):
        if len(found) >= wanted:
            break
        angle = rng.uniform(0, 2 * np.pi)
        outer = rng.uniform(1.25, 1.9)  # of the orifice's radii
        for stretch in (outer, outer + rng.uniform(0.25, 0.5)):  # in and out
            point = valve[:2] + stretch * np.array([valve[2] * np.cos(angle), valve[3] * np.sin(angle)])
            angle += rng.uniform(-0.12, 0.12)
            margin = 0.03 * height
            fits = margin <= point[0] <= width - 1 - margin and margin <= point[1] <= height - 1 - margin
            far = all(np.hypot(*(point - other)) > _ROOM * _unit(shape) for other in found)
            if fits and far and len(found) < wanted:
                found.append(point)
                away = angle + rng.uniform(-0.5, 0.5)
                ends.append(point + 1.2 * width * np.array([np.cos(away), np.sin(away)]))
    return np.array(found).reshape(-1, 2), np.array(ends).reshape(-1, 2)


def _unit(shape):
    """By how much things are larger than in frames of the usual height."""
    return max(shape[0] / _HEIGHT, _LEAST)


def _valve(seed, shape):
    """Centre and radii of the orifice: (x, y, radius along x, along y)."""
    height, width = shape
    rng = stream(seed, 2)
    centre = np.array([width, height]) * (0.5 + rng.uniform(-0.1, 0.1, 2))
    radius = height * rng.uniform(0.16, 0.24)
    return np.array([*centre, radius * rng.uniform(1.2, 1.7), radius])


def _style(look, surgery):
    """What frames of one surgery have in common."""
    rng = stream(surgery, 3 + LOOKS.index(look))
    real = look == "surgery"
    base = np.array([176, 84, 76] if real else [214, 166, 150], float)
    return {
        "real": real,
        "base": base * rng.uniform(0.85, 1.15) + rng.uniform(-16, 16, 3),
        "light": rng.uniform(-0.25, 0.25, 2),
        "texture": rng.uniform(16, 26) if real else rng.uniform(3, 6),
        "lights": rng.uniform(20, 36) if real else rng.uniform(4, 8),
        "noise": rng.uniform(4, 8) if real else rng.uniform(1.5, 3),
        "vignette": rng.uniform(0.9, 1.3) if real else rng.uniform(0.3, 0.6),
        "threads": _THREADS[look],
    }


def _smooth(rng, shape, sigma):
    """Noise of unit deviation that changes over some `sigma` px."""
    step = max(1, int(sigma // 3))
    small = tuple(-(-n // step) + 2 for n in shape)
    field = ndimage.gaussian_filter(rng.standard_normal(small), sigma / step, mode="reflect")
    field = ndimage.zoom(field, step, order=1)[: shape[0], : shape[1]] if step > 1 else field[: shape[0], : shape[1]]
    return (field / max(field.std(), 1e-6)).astype(np.float32)


def _tissue(rng, shape, style, valve):
    """Tissue around a dark orifice, float32 `(y, x, 3)`."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    unit = _unit(shape)
    shade = sum(weight * _smooth(rng, shape, sigma * unit) for weight, sigma in ((1.0, 40), (0.6, 12), (0.45, 3)))
    blood = np.clip(_smooth(rng, shape, 26 * unit) - (0.9 if style["real"] else 9), 0, 1)
    picture = style["base"] + (style["texture"] * shade)[..., None] * np.array([1.0, 0.85, 0.8], np.float32)
    picture = picture - 90 * blood[..., None] * np.array([0.35, 0.9, 0.9], np.float32)
    away = np.hypot((x - valve[0]) / valve[2], (y - valve[1]) / valve[3]) + 0.07 * _smooth(rng, shape, 22 * unit)
    rim = np.exp(-(((away - 1.12) / 0.12) ** 2))  # the annulus catches light
    inside = 1 / (1 + np.exp(np.clip((away - 1) / 0.05, -30, 30)))
    picture = picture + (26 * rim)[..., None]
    return (picture * (1 - 0.82 * inside)[..., None]).astype(np.float32)


def _window(point, reach, shape):
    """Slices (y, x) of the pixels within `reach` of a point, and their offsets from it."""
    bounds = [(max(int(p - reach), 0), min(int(p + reach) + 2, n))
              for p, n in zip(point[::-1], shape, strict=True)]  # fmt: skip
    where = tuple(slice(*bound) for bound in bounds)
    y, x = np.mgrid[where].astype(np.float32)
    return where, y - point[1], x - point[0]


def _puncture(picture, point, shape, style):
    """A dark hole of some 2 px in a bright rim."""
    unit = _unit(shape)
    where, dy, dx = _window(point, 10 * unit, shape)
    away = np.hypot(dy, dx) / unit
    rim, hole = np.exp(-(((away - 4.2) / 1.6) ** 2)), np.exp(-((away / 2.2) ** 2))
    picture[where] += ((34 if style["real"] else 20) * rim)[..., None]
    picture[where] *= (1 - 0.75 * hole)[..., None]


def _thread(picture, point, end, rng, shape, style, pair):
    """A bent thread from a puncture to beyond the border."""
    unit = _unit(shape)
    bend = rng.uniform(-0.25, 0.25) * (end - point)[::-1] * np.array([1, -1])
    t = np.linspace(0, 1, int(3 * np.hypot(*(end - point)) / max(unit, 0.4)))[:, None]
    path = (1 - t) ** 2 * point + 2 * t * (1 - t) * ((point + end) / 2 + bend) + t**2 * end
    pixels = np.unique(np.rint(path[:, ::-1]).astype(int), axis=0)
    pixels = pixels[((pixels >= 0) & (pixels < shape)).all(1)]
    line = np.zeros(shape, np.float32)
    line[tuple(pixels.T)] = 1
    cover = ndimage.gaussian_filter(line, 0.75 * unit)
    cover = np.clip(cover / max(cover.max(), 1e-6) * 1.5, 0, 1)[..., None]
    dark = np.roll(cover, (1, 1), (0, 1)) * 0.35  # its shadow
    colour = np.array(style["threads"][pair % 2], np.float32)
    picture *= 1 - dark * (1 - cover)
    picture += cover * (colour - picture)


def _lit(picture, rng, shape, style):
    """Vignetting, specular lights, blur and noise."""
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    away = np.hypot(y[:, None] - style["light"][1], x[None] - style["light"][0])
    picture = picture * (1.12 - 0.45 * style["vignette"] * np.clip(away, 0, 1.6) ** 2)[..., None]
    unit = _unit(shape)
    for _ in range(rng.poisson(style["lights"])):
        place = np.array([rng.uniform(0, shape[1] - 1), rng.uniform(0, shape[0] - 1)])
        size, turn = np.exp(rng.uniform(0.1, 1.5, 2)) * unit, rng.uniform(0, np.pi)
        where, dy, dx = _window(place, 4 * size.max(), shape)
        along, across = np.cos(turn) * dx + np.sin(turn) * dy, np.cos(turn) * dy - np.sin(turn) * dx
        spot = np.exp(-((along / size[0]) ** 2 + (across / size[1]) ** 2))[..., None]
        picture[where] += np.clip(1.6 * spot, 0, 1) * (252 - picture[where])
    if style["real"]:
        picture = ndimage.gaussian_filter(picture, (0.7 * unit, 0.7 * unit, 0))
    return picture + style["noise"] * rng.standard_normal(picture.shape).astype(np.float32)


def _discs(points, shape):
    """The number of a point in a disc around it, uint8."""
    labels, radius = np.zeros(shape, np.uint8), max(1.0, _DISC * _unit(shape))
    for number, point in enumerate(points, 1):
        where, dy, dx = _window(point, radius, shape)
        labels[where][np.hypot(dy, dx) <= radius] = number
    return labels
