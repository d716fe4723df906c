"""Frames of surgery under a microscope with tools in them, made from a seed; not a real operation.

A tool comes in from a border: a shaft, and a head that tells its kind. Each part is a capsule, a line with a radius at
either end, in metal or in colour, with a shadow beside it. Tissue has texture, vessels, lights as bright as metal, blur
and noise; frames of one video have its colours. What can be taken for a tool: strands of tissue, which have no head.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from tfmed.io.itk import LPS_RAS
from tfmed.io.volume import Volume

from .common import Checks, stream

# Kind -> (radius of the shaft, colour, capsules of the head (u0, v0, u1, v1, r0, r1)). The tip is near (0, 0), and
# the shaft comes from larger u; a unit is the tool's length in the frame.
_TOOLS = {
    "knife": (0.05, 1, ((0, 0, 0.3, 0, 0.004, 0.1),)),
    "handpiece": (0.085, 2, ((0, 0, 0.25, 0, 0.025, 0.03), (0.25, 0, 0.4, 0, 0.03, 0.085))),
    "injector": (0.07, 3, ((0, 0, 0.02, 0, 0.11, 0.11), (0.02, 0, 0.35, 0, 0.04, 0.04))),
    "forceps": (0.05, 0, ((0, 0.07, 0.5, 0.03, 0.018, 0.03), (0, -0.07, 0.5, -0.03, 0.018, 0.03))),
    "cannula": (0.018, 0, ((0, 0.14, 0.16, 0.02, 0.016, 0.016), (0.16, 0.02, 0.3, 0, 0.016, 0.018))),
    "hook": (0.03, 0, ((0, 0, 0.3, 0, 0.02, 0.03), (0, 0, 0, 0.17, 0.02, 0.02), (0, 0.17, 0.09, 0.17, 0.02, 0.012))),
    "scissors": (0.035, 0, ((0, 0.12, 0.34, -0.05, 0.014, 0.035), (0, -0.12, 0.34, 0.05, 0.014, 0.035))),
    "cystotome": (0.022, 1, ((0.03, 0, 0.3, 0, 0.012, 0.022), (0.03, 0, 0, -0.08, 0.012, 0.004))),
    "clipper": (0.045, 1, ((0, 0.09, 0.22, 0.09, 0.025, 0.025), (0, -0.09, 0.22, -0.09, 0.025, 0.025),
                           (0.22, -0.09, 0.22, 0.09, 0.025, 0.025))),
    "manipulator": (0.02, 3, ((0, 0, 0.005, 0, 0.06, 0.06), (0, 0, 0.3, 0, 0.015, 0.02))),
    "speculum": (0.025, 0, tuple((0.17 + 0.15 * np.cos(a), 0.15 * np.sin(a), 0.17 + 0.15 * np.cos(a + 0.79),
                                  0.15 * np.sin(a + 0.79), 0.02, 0.02) for a in np.arange(8) * np.pi / 4)),
    "irrigator": (0.06, 2, ((0, 0.05, 0.4, 0.05, 0.022, 0.03), (0.1, -0.04, 0.4, -0.04, 0.022, 0.03))),
}  # fmt: skip
TOOLS = tuple(_TOOLS)
_METALS = ((188, 192, 198), (214, 206, 160), (120, 150, 205), (230, 226, 224))
_LEAST = 0.0015  # share of the frame that is seen of a tool, if it is to count


@dataclasses.dataclass(frozen=True)
class SurgeryFrame:
    """A frame.

    Args:
        red, green, blue: int16 `(1, y, x)`, from 0 to 255.
        labels: uint8 `(1, y, x)`: the number of a tool, from 1.
        names: the kind of each, one of `TOOLS`.
        boxes: float64 `(n, 4)`, (x0, y0, x1, y1): tight around what is seen of it, or of its head.
    """

    red: Volume
    green: Volume
    blue: Volume
    labels: Volume
    names: tuple
    boxes: np.ndarray


def surgery(seed, shape=(288, 512), kinds=6, fewest=1, most=3, video=0, part_boxed="tool"):
    """A frame; a pure function of its arguments.

    Args:
        seed: integer >= 0: the frame.
        shape: `(y, x)` pixels, 32 to 2048 each.
        kinds: how many kinds of tools there are, the first of `TOOLS`.
        fewest, most: tools, 0 to 6; how many is drawn. Those of which hardly anything is seen do not count.
        video: integer >= 0: whose colours and light it has.
        part_boxed: "tool" or "head": what boxes are around.

    Returns:
        `SurgeryFrame`.

    Raises:
        UserError: an argument is out of range.
    """
    names, boxes, labels, drawn = _layout(seed, shape, kinds, fewest, most, video, part_boxed)
    shape = labels.shape
    own, style = stream(seed, 1), stream(video, 7)
    picture = _tissue(own, style, shape)
    for mask, across, colour in drawn:
        _paint(picture, mask, across, colour, own)
    picture = _lit(picture, own, style)
    picture = np.rint(np.clip(picture, 0, 255)).astype(np.int16)
    channels = [Volume(np.ascontiguousarray(picture[None, ..., k]), LPS_RAS) for k in range(3)]
    return SurgeryFrame(*channels, Volume(labels[None], LPS_RAS), names, boxes)


def surgery_objects(seed, shape=(288, 512), kinds=6, fewest=1, most=3, video=0, part_boxed="tool"):
    """(names, boxes) of a frame without painting it; arguments as of `surgery`."""
    return _layout(seed, shape, kinds, fewest, most, video, part_boxed)[:2]


def _layout(seed, shape, kinds, fewest, most, video, part_boxed):
    """(names, boxes, labels `(y, x)`, [(mask, place across its capsules -1 to 1, colour)]); checks the arguments."""
    checks = Checks("surgery")
    checks.seed(seed)
    shape = tuple(int(n) for n in np.atleast_1d(shape))
    checks.need(len(shape) == 2 and min(shape) >= 32 and max(shape) <= 2048,
                f"shape is y,x of 32 to 2048 each; got {shape}")  # fmt: skip
    checks.number("kinds", kinds, 1, len(TOOLS))
    checks.number("video", video, 0, 2**31)
    checks.need(0 <= fewest <= most <= 6, f"fewest and most are 0 to 6, in order; got {fewest} and {most}")
    checks.need(part_boxed in ("tool", "head"), f"part_boxed must be tool or head; got {part_boxed!r}")
    rng = stream(seed, 0)
    labels, heads, kept, drawn = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8), [], []
    for number in range(1, int(rng.integers(fewest, most + 1)) + 1):
        kind = TOOLS[int(rng.integers(kinds))]
        mask, head, across = _tool(rng, kind, shape)
        labels[mask], heads[mask] = number, 0
        heads[head] = number
        kept.append(kind)
        drawn.append((mask, across, _METALS[_TOOLS[kind][1]]))
    boxed = labels if part_boxed == "tool" else heads
    names, boxes, numbered = [], [], np.zeros(shape, np.uint8)
    for number, kind in enumerate(kept, 1):
        y, x = np.nonzero(boxed == number)
        if len(y) >= max(_LEAST * labels.size, 8):
            names.append(kind)
            boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
            numbered[labels == number] = len(names)
    return tuple(names), np.array(boxes, np.float64).reshape(-1, 4), numbered, drawn


def _tool(rng, kind, shape):
    """(mask, mask of the head, place across) of a tool that comes in from a border."""
    height, width = shape
    radius, _, head = _TOOLS[kind]
    tip = np.array([width, height]) * rng.uniform(0.2, 0.8, 2)
    angle = rng.uniform(0, 2 * np.pi)
    unit = height * rng.uniform(0.5, 0.85)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    dx, dy = (x - tip[0]) / unit, (y - tip[1]) / unit
    u = np.cos(angle) * dx + np.sin(angle) * dy
    v = (np.cos(angle) * dy - np.sin(angle) * dx) * (1 if rng.random() < 0.5 else -1)
    start = max(capsule[2] for capsule in head)
    across, capsules = np.full(shape, 9, np.float32), [*head, (start, 0, 4.0, 0, radius, radius)]
    least = 1.2 / unit  # px: thinner is not seen
    inside_head = np.zeros(shape, bool)
    for number, (u0, v0, u1, v1, r0, r1) in enumerate(capsules):
        length = max((u1 - u0) ** 2 + (v1 - v0) ** 2, 1e-9)
        t = np.clip(((u - u0) * (u1 - u0) + (v - v0) * (v1 - v0)) / length, 0, 1)
        away = np.hypot(u - u0 - t * (u1 - u0), v - v0 - t * (v1 - v0)) / np.maximum(r0 + t * (r1 - r0), least)
        across = np.minimum(across, away)
        if number < len(head):
            inside_head |= away <= 1
    return across <= 1, inside_head, across


def smooth(rng, shape, sigma):
    """Noise of unit deviation that changes over some `sigma` px."""
    small = tuple(int(n / max(sigma, 1)) + 4 for n in shape)
    field = ndimage.zoom(rng.standard_normal(small), max(sigma, 1), order=3 if sigma < 24 else 2)
    field = field[: shape[0], : shape[1]]
    return (field / max(field.std(), 1e-6)).astype(np.float32)


def _tissue(rng, style, shape):
    """Tissue with vessels and strands, float32 `(y, x, 3)`."""
    base = np.array([178, 92, 80]) * style.uniform(0.8, 1.15) + style.uniform(-20, 20, 3)
    unit = shape[0] / 288
    shade = sum(w * smooth(rng, shape, sigma * unit) for w, sigma in ((1.0, 60), (0.6, 18), (0.4, 4)))
    vessels = np.exp(-((smooth(rng, shape, 28 * unit) / 0.09) ** 2))
    strands = np.exp(-((smooth(rng, shape, 40 * unit) / 0.05) ** 2)) * (smooth(rng, shape, 50 * unit) > 0.6)
    picture = base + (style.uniform(14, 24) * shade)[..., None] * np.array([1.0, 0.85, 0.8])
    picture = picture - (50 * vessels)[..., None] * np.array([0.3, 1.0, 1.0]) + (70 * strands)[..., None]
    return picture.astype(np.float32)


def _paint(picture, mask, across, colour, rng):
    """A tool on the picture: lighter along its middle, with a shadow beside it."""
    shift = max(1, picture.shape[0] // 60)
    picture *= (1 - 0.4 * ndimage.gaussian_filter(np.roll(mask, (shift, shift), (0, 1)).astype(np.float32), shift))[
        ..., None
    ]
    shade = 1.1 - 0.5 * np.clip(across, 0, 1) ** 2 + 0.12 * rng.uniform(-1, 1)
    cover = ndimage.gaussian_filter(mask.astype(np.float32), 0.5)[..., None]
    picture += cover * (np.array(colour, np.float32) * shade[..., None] - picture)


def _lit(picture, rng, style):
    """Vignetting, lights, blur and noise."""
    height, width = picture.shape[:2]
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in (height, width))
    away = np.hypot(y[:, None] - style.uniform(-0.2, 0.2), x[None] - style.uniform(-0.2, 0.2))
    picture = picture * (1.1 - 0.35 * np.clip(away, 0, 1.5) ** 2)[..., None]
    spots = (rng.random((height, width)) < 12 / (height * width)).astype(np.float32)
    lights = ndimage.gaussian_filter(spots, 2.2 * height / 288) * 2 * np.pi * (2.2 * height / 288) ** 2
    picture = picture + np.clip(1.5 * lights, 0, 1)[..., None] * (250 - picture)
    picture = ndimage.gaussian_filter(picture, (0.6, 0.6, 0))
    return picture + style.uniform(4, 8) * rng.standard_normal(picture.shape).astype(np.float32)
