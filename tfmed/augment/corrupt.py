"""Errors of annotators, made on purpose: masks warped, shifted, cropped, permuted, flipped (Vorontsov & Kadoury 2021).

A mask is `(H, W)`, of any dtype, and holds 0 and 1 alone (ValueError otherwise); what comes back is a new mask of its
shape and dtype. Empty masks stay empty: where nothing was annotated there is nothing to err about. Images are never
passed in. All randomness is a numpy Generator's; `generator` makes one for each time that a mask is loaded.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from tfmed.metrics.segmentation import as_mask
from tfmed.ops import elastic

CONTROLS = ("bspline_coeff", "interpolate_nodes")
SLOPES = {0.0: 1.8, 0.5: -8.0}  # least relative edge -> slope with which half of an ellipse goes, or as near as it gets
_STREAM = 0xC0FF  # tells these draws from others of the same seed


def generator(seed: int, key: str, load: int | None = None) -> np.random.Generator:
    """The Generator of one mask: the same in every process (a digest of the key, not Python's salted `hash`).

    Args:
        seed: non-negative integer, the run's.
        key: names the mask, as "<case>/<slice>".
        load: how often it was loaded before; None: one draw for the whole run ("frozen").

    Example:
        >>> generator(0, "case/3", load=0).random() == generator(0, "case/3", load=1).random()
        False
    """
    named = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    keys = [int(seed), named, 0 if load is None else int(load) + 1, _STREAM]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(keys)))


# --- warp -------------------------------------------------------------------------------------------------------------


def displacement(
    shape: Sequence[int], sigma: float, draw: np.random.Generator, control: str = "bspline_coeff"
) -> np.ndarray:
    """A smooth random field, float32 `(H, W, 2)`, in pixels along (y, x).

    Args:
        shape: (H, W).
        sigma: standard deviation of the control values, pixels.
        draw: the Generator.
        control: "bspline_coeff": the 6 x 6 coefficients of a uniform cubic B-spline of 3 x 3 cells, which moves pixels
            by about 0.48 sigma; "interpolate_nodes": 3 x 3 nodes that the field takes the drawn values at, on the
            borders and in the middle, which is far harsher.

    Raises:
        ValueError: a negative sigma, or an unknown control.
    """
    if not sigma >= 0 or control not in CONTROLS:
        raise ValueError(f"sigma is 0 or more pixels and control one of {', '.join(CONTROLS)}; got {sigma}, {control}")
    nodes, weigh = (6, elastic.bspline_weights) if control == "bspline_coeff" else (3, _node_weights)
    return elastic.spread(draw.normal(0, sigma, (nodes, nodes, 2)), [weigh(size, nodes) for size in shape])


@functools.lru_cache(maxsize=64)
def _node_weights(size: int, nodes: int) -> np.ndarray:
    """Weights `(size, nodes)` of a natural cubic spline through nodes that lie evenly between the borders."""
    return elastic.natural_spline_weights(np.linspace(0, 1, size), nodes)


def warp(mask: np.ndarray, sigma: float, draw: np.random.Generator, control: str = "bspline_coeff") -> np.ndarray:
    """A mask read (nearest neighbour, 0 around it) at places moved by a `displacement`, whose arguments these are."""
    found = _checked(mask)
    field = displacement(found.shape, sigma, draw, control)
    places = np.rint(np.moveaxis(field, -1, 0) + np.indices(found.shape, np.float32)).astype(np.intp)
    limits = np.reshape(found.shape, (2, 1, 1))
    inside = ((places >= 0) & (places < limits)).all(0)
    y, x = np.clip(places, 0, limits - 1)
    return _as(mask, found[y, x] & inside)


# --- shift ------------------------------------------------------------------------------------------------------------


def shift(mask: np.ndarray, pixels: int, axis: int = 1) -> np.ndarray:
    """A mask moved by whole pixels along an axis, 0 coming in; negative numbers move it the other way."""
    found = _checked(mask)
    if axis not in (0, 1) or int(pixels) != pixels:
        raise ValueError(f"a shift is whole pixels along axis 0 or 1, not {pixels} along axis {axis}")
    moved, kept = np.zeros_like(found), found.shape[axis] - abs(int(pixels))
    if kept > 0:
        first, last = slice(0, kept), slice(found.shape[axis] - kept, None)
        source, target = (first, last) if pixels >= 0 else (last, first)
        moved[_along(axis, target)] = found[_along(axis, source)]
    return _as(mask, moved)


def _along(axis: int, kept: slice) -> tuple[slice, slice]:
    return (kept, slice(None)) if axis == 0 else (slice(None), kept)


# --- crop -------------------------------------------------------------------------------------------------------------


def components(mask: np.ndarray) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """(bounding box, the component's pixels within it) of each connected component; one dilation apart is connected."""
    found = _checked(mask)
    numbers, _ = ndimage.label(ndimage.binary_dilation(found))
    numbers[~found] = 0
    for number, box in enumerate(ndimage.find_objects(numbers), 1):
        if box is not None:
            yield box, numbers[box] == number


def crop_left(mask: np.ndarray, fraction: float = 0.5) -> np.ndarray:
    """A mask whose components each lose a fraction of the columns of their box, from the left."""
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction lies between 0 and 1, not {fraction}")
    kept = _checked(mask).copy()
    for box, component in components(mask):
        columns = int(np.rint(fraction * component.shape[1]))
        kept[box][:, :columns] &= ~component[:, :columns]
    return _as(mask, kept)


def crop_rectangle(
    mask: np.ndarray, draw: np.random.Generator, least: float = 0.0, slope: float | None = None
) -> np.ndarray:
    """A mask whose components each lose a random rectangle, placed uniformly within their box.

    Args:
        mask: the mask.
        draw: the Generator.
        least: shortest edge as a fraction of the box's; the longest is 1. ("rand_0": 0, "rand_0.5": 0.5.)
        slope: of the density of an edge, see `edge`; None: that of `SLOPES`.
    """
    slope = SLOPES.get(least, 0.0) if slope is None else slope
    kept = _checked(mask).copy()
    for box, component in components(mask):
        (top, left), (bottom, right) = _rectangles(component.shape, draw.random(4), least, slope)
        kept[box][top:bottom, left:right] &= ~component[top:bottom, left:right]
    return _as(mask, kept)


def edge(u: Any, least: float, slope: float) -> Any:
    """Relative edges in [least, 1] of uniform numbers; their density is 1 / L + slope (x - middle), L = 1 - least.

    Raises:
        ValueError: least is not in [0, 1), or the density would be negative: |slope| is at most 2 / L^2.
    """
    span = 1 - least
    if not 0 <= least < 1 or not abs(slope) <= 2 / span**2 + 1e-9:
        raise ValueError(f"edges begin in [0, 1) and slopes lie within 2 / (1 - least)^2; got {least} and {slope}")
    start = 1 / span - slope * span / 2  # the density of the shortest edge
    if slope == 0:
        return least + u * span
    return least + (np.sqrt(np.maximum(start**2 + 2 * slope * u, 0)) - start) / slope


def _rectangles(shape: Sequence[int], u: np.ndarray, least: float, slope: float) -> tuple[np.ndarray, np.ndarray]:
    """First pixels (y, x) of rectangles in a box, and those past the last, `(..., 2)` each, of numbers `(..., 4)`.

    A pixel is in a rectangle that holds its centre. Two of the numbers make the edges, two the place.
    """
    lengths = edge(u[..., :2], least, slope) * shape
    starts = u[..., 2:] * (shape - lengths)
    first, last = np.ceil(starts - 0.5), np.ceil(starts + lengths - 0.5)
    return first.astype(np.intp), last.astype(np.intp)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A slope of `crop_rectangle`, and the share of a mask that then goes, on average over masks and draws."""

    slope: float
    removed: float


def calibrated(
    masks: Sequence[np.ndarray], least: float, target: float = 0.5, slope: float | None = None, draws: int | None = None
) -> Calibration:
    """The slope with which `crop_rectangle` takes a share of these masks, by bisection; as near to it as it gets.

    Args:
        masks: not all empty; of 200 or more, as many are looked at, evenly chosen.
        least: as for `crop_rectangle`.
        target: share of a mask's pixels, on average.
        slope: None to search; a number: only what it removes is measured.
        draws: rectangles per component, the same uniform numbers for every slope; None: 5000 in all, and 20 at least.

    Raises:
        ValueError: all masks are empty.
    """
    sets = [[component for _, component in components(mask)] for mask in masks[:: -(-len(masks) // 200) or 1]]
    sets = [found for found in sets if found]
    if not sets:
        raise ValueError("every mask is empty; a crop has nothing to be calibrated on")
    draw, count = generator(0, "calibration"), sum(map(len, sets))
    draws = max(20, -(-5000 // count)) if draws is None else draws
    sums = [[np.pad(component.cumsum(0).cumsum(1), ((1, 0), (1, 0))) for component in found] for found in sets]
    numbers = [[draw.random((draws, 4)) for _ in found] for found in sets]

    def removed(slope: float) -> float:
        shares = []
        for found, uniform in zip(sums, numbers, strict=True):
            gone = sum(_within(total, u, least, slope) for total, u in zip(found, uniform, strict=True))
            shares.append(gone / (draws * sum(total[-1, -1] for total in found)))
        return float(np.mean(shares))

    if slope is not None:
        return Calibration(slope, removed(slope))
    low, high = -2 / (1 - least) ** 2, 2 / (1 - least) ** 2
    for _ in range(10):  # longer edges, which a steeper density has, take more
        middle = (low + high) / 2
        low, high = (middle, high) if removed(middle) < target else (low, middle)
    return Calibration((low + high) / 2, removed((low + high) / 2))


def _within(total: np.ndarray, u: np.ndarray, least: float, slope: float) -> float:
    """Pixels of a component in rectangles of uniform numbers `(n, 4)`, by sums of what is above and to the left."""
    high, wide = total.shape
    (top, left), (bottom, right) = (ends.T for ends in _rectangles((high - 1, wide - 1), u, least, slope))
    return float((total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]).sum())


# --- pixels and pairs -------------------------------------------------------------------------------------------------


def flip(mask: np.ndarray, probability: float, draw: np.random.Generator) -> np.ndarray:
    """A mask each of whose pixels has changed sides with some probability, independently."""
    if not 0 <= probability <= 1:
        raise ValueError(f"probability lies between 0 and 1, not {probability}")
    found = _checked(mask)
    return _as(mask, found ^ (draw.random(found.shape) < probability) if found.any() else found)


def chosen(count: int, fraction: float, draw: np.random.Generator) -> np.ndarray:
    """The numbers of round(fraction * count) of `count` masks, drawn without repetition and sorted."""
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction lies between 0 and 1, not {fraction}")
    return np.sort(draw.permutation(count)[: round(fraction * count)])


def permutation(count: int, fraction: float, draw: np.random.Generator, pairing: str = "derangement") -> np.ndarray:
    """Whose mask each of `count` images gets, `(count,)`: those `chosen` by the same Generator get one another's.

    Args:
        count, fraction, draw: as for `chosen`.
        pairing: "derangement": drawn until none keeps its own; "reversed": the list of them against itself from behind,
            so that of an odd number the middle one keeps its own (as in the paper's public code).

    Raises:
        ValueError: an unknown pairing, or a derangement of a single mask.
    """
    picked = chosen(count, fraction, draw)
    if pairing not in ("derangement", "reversed"):
        raise ValueError(f"pairing is derangement or reversed, not {pairing!r}")
    if pairing == "derangement" and len(picked) == 1:
        raise ValueError(f"{fraction:g} of {count} masks is one, which has none to change with; choose more")
    sources, others = np.arange(count), picked[::-1]
    while pairing == "derangement" and (others == picked).any():
        others = draw.permutation(picked)
    sources[picked] = others
    return sources


def _checked(mask: np.ndarray) -> np.ndarray:
    """A mask as bool `(H, W)`."""
    if np.ndim(mask) != 2:
        raise ValueError(f"a mask is (H, W); got shape {np.shape(mask)}: corrupt the slices of a volume one by one")
    return as_mask(mask)


def _as(mask: np.ndarray, found: np.ndarray) -> np.ndarray:
    """A bool mask in the dtype of another, its memory its own."""
    return found.astype(np.asarray(mask).dtype)
