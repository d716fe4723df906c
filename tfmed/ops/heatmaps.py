"""Heatmaps of points: rendered in graphs; and decoded on the host, by components, local maxima or their mean.

Points are (x, y) or (x, y, z) in pixels, the reverse of an image's axes. Rendering and `soft_argmax` are functions of
tensors, batched and graph-safe; all other decoding takes one map as a numpy array `(y, x)`.
"""

from collections.abc import Sequence

import numpy as np
import scipy.ndimage
import tensorflow as tf

_REACH = 6.0  # sigmas from a point beyond which a Gaussian, there 1.5e-8, is 0
_EIGHT = np.ones((3, 3), bool)  # neighbours by corners too


def render(
    points: tf.Tensor,
    size: Sequence[int],
    sigma: float,
    mask: tf.Tensor | None = None,
    overlap: str = "max",
    reach: float | None = None,
) -> tf.Tensor:
    """Gaussians exp(-d^2 / (2 sigma^2)) around points, all of an image in one map.

    Args:
        points: `(n, most, axes)`, float; also between pixels and beyond the border. Rows without a point: see `mask`.
        size: of the maps, along the image's axes: (y, x) or (z, y, x).
        sigma: px.
        mask: `(n, most)`, which rows are points; None: all.
        overlap: "max", the largest of the Gaussians, or "sum_clip", their sum, at most 1.
        reach: px along each axis beyond which a Gaussian is 0; None: where it no longer counts, 6 sigma.

    Returns:
        float32 `(n, *size, 1)` in [0, 1].

    Raises:
        ValueError: another overlap, or points of other axes than `size`.

    Example:
        >>> heatmap = render(tf.constant([[[2.0, 1.0]]]), size=(3, 5), sigma=1.0)  # one point at x 2, y 1
        >>> [round(value, 3) for value in heatmap[0, 1, :, 0].numpy().tolist()]
        [0.135, 0.607, 1.0, 0.607, 0.135]
    """
    points = tf.cast(points, tf.float32)
    axes = len(size)
    if overlap not in ("max", "sum_clip"):
        raise ValueError(f"overlap is {overlap!r}; max and sum_clip are known")
    if points.shape[-1] != axes:
        raise ValueError(f"points of {points.shape[-1]} coordinates do not lie in maps of {axes} axes")
    bound = _REACH * sigma if reach is None else float(reach)
    steps = tf.range(-int(np.ceil(bound)), int(np.ceil(bound)) + 1)
    n = tf.shape(points)[0]
    middle = tf.cast(tf.round(points[..., ::-1]), tf.int32)  # (n, most, axes), along the image's axes
    value, good = tf.ones((1,) * (2 + axes)), tf.ones((1,) * (2 + axes), tf.bool)
    index = tf.reshape(tf.range(n), [-1] + [1] * (1 + axes))
    for axis, length in enumerate(size):
        place = middle[..., axis, None] + steps  # (n, most, window)
        away = tf.cast(place, tf.float32) - points[..., axes - 1 - axis, None]
        shape = tf.concat([tf.shape(place)[:2], [-1 if i == axis else 1 for i in range(axes)]], 0)
        value *= tf.reshape(tf.exp(-0.5 * tf.square(away / sigma)), shape)
        good &= tf.reshape((place >= 0) & (place < length) & (tf.abs(away) <= bound), shape)
        index = index * length + tf.reshape(tf.clip_by_value(place, 0, length - 1), shape)
    if mask is not None:
        good &= tf.reshape(tf.cast(mask, tf.bool), tf.concat([tf.shape(points)[:2], [1] * axes], 0))
    value = tf.where(good, value, 0.0)
    flat = tf.zeros([n * int(np.prod(size))])
    index, value = tf.reshape(index, [-1, 1]), tf.reshape(value, [-1])
    if overlap == "max":
        flat = tf.tensor_scatter_nd_max(flat, index, value)
    else:
        flat = tf.minimum(tf.tensor_scatter_nd_add(flat, index, value), 1.0)
    return tf.reshape(flat, [-1, *size, 1])


def soft_argmax(maps: tf.Tensor, beta: float = 1.0) -> tf.Tensor:
    """The mean place under softmax(beta * map): maps `(n, *size, channels)` -> `(n, channels, axes)`, (x, y[, z]).

    Differentiable; of a map without a peak it is the centre of the image.
    """
    size = maps.shape[1:-1]
    flat = tf.reshape(tf.cast(maps, tf.float32), [-1, int(np.prod(size)), maps.shape[-1]])
    weights = tf.nn.softmax(beta * flat, axis=1)
    places = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in size], indexing="ij"), -1)
    return tf.einsum("npc,pa->nca", weights, tf.constant(places.reshape(-1, len(size))[:, ::-1].copy()))


# --- decoding ---------------------------------------------------------------------------------------------------------


def levels(values: np.ndarray) -> np.ndarray:
    """Values as whole numbers from 0 (their least) to 255 (their greatest), uint8; all 0 where they are alike."""
    values = np.asarray(values, np.float32)
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    if not high > low:
        return np.zeros(values.shape, np.uint8)
    return ((values - low) * np.float32(255.0 / (high - low)) + np.float32(0.5)).astype(np.uint8)


def otsu(image: np.ndarray) -> int:
    """Otsu's threshold (1979) of whole numbers from 0 to 255, by their histogram: what is above it is foreground.

    Of an image of one value that value: nothing is above it.

    Example:
        >>> otsu(np.uint8([3, 4, 3, 4, 200, 201]))
        4
    """
    from skimage.filters import threshold_otsu

    histogram = np.bincount(np.asarray(image, np.uint8).ravel(), minlength=256)
    levels_there = np.flatnonzero(histogram)
    if len(levels_there) < 2:
        return int(levels_there.max(initial=0))
    return int(threshold_otsu(hist=(histogram, np.arange(256))))


def component_points(mask: np.ndarray, cut_ratio: float | None = None) -> np.ndarray:
    """Centroids (x, y) of the connected components (8 neighbours) of a mask `(y, x)`, float64 `(n, 2)`.

    Args:
        mask: of any dtype; not 0 is foreground.
        cut_ratio: a component whose area is more than so many times the mean area is cut once through its centroid,
            across its longer side, and gives two points; one as high as wide into left and right. None: none is cut.
    """
    components, count = scipy.ndimage.label(mask, _EIGHT)
    y, x = np.nonzero(components)
    number = components[y, x] - 1
    area = np.bincount(number, minlength=count)
    centre = _means(number, x, y, area)
    if cut_ratio is None or not count:
        return centre
    high, wide = (_extent(number, place, count) for place in (y, x))
    large = (area > cut_ratio * area.mean()) & (area > 1)
    upright = high > wide
    second = np.where(upright[number], y >= centre[number, 1], x >= centre[number, 0]) & large[number]
    halves = 2 * number + second
    area = np.bincount(halves, minlength=2 * count)
    return _means(halves, x, y, area)[area > 0]


def _means(number: np.ndarray, x: np.ndarray, y: np.ndarray, area: np.ndarray) -> np.ndarray:
    total = [np.bincount(number, weights=place, minlength=len(area)) for place in (x, y)]
    return np.stack(total, -1) / np.maximum(area, 1)[:, None]


def _extent(number: np.ndarray, place: np.ndarray, count: int) -> np.ndarray:
    low, high = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(low, number, place)
    np.maximum.at(high, number, place)
    return high - low + 1


POST = ("threshold", "otsu", "otsu+open", "otsu+open+cut")


def blob_points(
    probability: np.ndarray,
    post: str = "otsu+open+cut",
    cut_ratio: float = 1.0,
    guard: float = 0.5,
    threshold: float = 0.5,
) -> np.ndarray:
    """The points of a map of probabilities `(y, x)`, float64 `(n, 2)` of (x, y): mask, opening, components, cuts.

    Args:
        probability: in [0, 1].
        post: one of `POST`: a fixed threshold and the components' centroids; Otsu's on the map's own histogram;
            opened then; components that are too large cut in two then.
        cut_ratio: see `component_points`.
        guard: Otsu splits any map: one that nowhere reaches this has no points.
        threshold: of post "threshold", strictly above.

    Raises:
        ValueError: another `post`.
    """
    if post not in POST:
        raise ValueError(f"post is {post!r}; known: {', '.join(POST)}")
    probability = np.asarray(probability)
    if post == "threshold":
        return component_points(probability > threshold)
    if not probability.size or probability.max() < guard:
        return np.zeros((0, 2))
    scaled = levels(probability)
    mask = scaled > otsu(scaled)
    mask = scipy.ndimage.binary_opening(mask) if "open" in post else mask  # by a cross of 3 x 3
    return component_points(mask, cut_ratio if "cut" in post else None)


def peaks(heatmap: np.ndarray, threshold: float = 0.5, distance: int = 1) -> np.ndarray:
    """Local maxima above a threshold as points (x, y), the greatest first; float64 `(n, 2)`.

    A pixel is one if none within `distance` pixels along either axis is greater; of equal ones the first in reading
    order. Only pixels above the threshold are looked at, which makes it many times as fast as a maximum filter.

    Args:
        heatmap: `(y, x)`.
        threshold: strictly above.
        distance: px, at least 1.
    """
    heatmap = np.asarray(heatmap)
    height, width = heatmap.shape
    places = np.flatnonzero(heatmap.ravel() > threshold)
    y, x = np.divmod(places, width)
    value = heatmap.ravel()[places]
    for dy in range(-distance, distance + 1):
        for dx in range(-distance, distance + 1):
            if (dy, dx) == (0, 0):
                continue
            near = heatmap[np.clip(y + dy, 0, height - 1), np.clip(x + dx, 0, width - 1)]
            beyond = (y + dy < 0) | (y + dy >= height) | (x + dx < 0) | (x + dx >= width)
            kept = beyond | ((value > near) if (dy, dx) < (0, 0) else (value >= near))
            y, x, value = y[kept], x[kept], value[kept]
    order = np.argsort(-value, kind="stable")
    return np.stack([x, y], -1)[order].astype(np.float64)


def window_maxima(heatmap: np.ndarray, kernel: int = 11) -> np.ndarray:
    """Pixels that no other in the `kernel` x `kernel` window around them exceeds, as points (x, y), the greatest first.

    What max-pooling with stride 1 leaves as it is; of pixels that touch and are alike (a plateau) the first in reading
    order alone, and nothing of what is 0 or less. Unlike `peaks` it keeps two maxima of one value within a window.

    Args:
        heatmap: `(y, x)`.
        kernel: px, odd.

    Returns:
        float64 `(n, 2)`; of equal values the first in reading order comes first.

    Raises:
        ValueError: an even kernel.

    Example:
        >>> window_maxima(np.float32([[0.2, 0.0, 0.0, 0.9, 0.9]]), kernel=3).tolist()
        [[3.0, 0.0], [0.0, 0.0]]
    """
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"kernel is {kernel}; give an odd number of pixels")
    heatmap = np.asarray(heatmap)
    kept = (heatmap == scipy.ndimage.maximum_filter(heatmap, kernel, mode="nearest")) & (heatmap > 0)
    places = np.flatnonzero(kept)
    number = scipy.ndimage.label(kept, _EIGHT)[0].ravel()[places]
    places = places[np.unique(number, return_index=True)[1]]
    y, x = np.divmod(places[np.lexsort((places, -heatmap.ravel()[places]))], heatmap.shape[1])
    return np.stack([x, y], -1).astype(np.float64)


RULES = ("old", "new", "threshold")


def counted_peaks(
    heatmap: np.ndarray,
    rule: str = "new",
    kernel: int = 11,
    threshold: float = 0.1,
    most: int = 30,
    old_least: int = 10,
    new_bounds: tuple[int, int] = (4, 10),
    subpixel: str = "none",
) -> np.ndarray:
    """The greatest of a heatmap's `window_maxima`, float64 `(n, 2)` of (x, y), the greatest first.

    Args:
        heatmap: `(y, x)`.
        rule: how many there are, of which `count` reach the threshold: "old" max(old_least, count), "new" count within
            new_bounds, "threshold" count.
        kernel: px, odd.
        threshold: of values; one that is the same reaches it.
        most: of any rule.
        old_least, new_bounds: see `rule`; there are fewer only where a heatmap has no more maxima.
        subpixel: "none", or "quadratic" (see `quadratic_peaks`).

    Raises:
        ValueError: another rule, `subpixel`, or an even kernel.
    """
    if rule not in RULES or subpixel not in ("none", "quadratic"):
        raise ValueError(f"rule {rule!r}, subpixel {subpixel!r}; known: {', '.join(RULES)}; none, quadratic")
    points = window_maxima(heatmap, kernel)
    x, y = points.T.astype(int)
    count = int((np.asarray(heatmap)[y, x] >= threshold).sum())
    wanted = {"old": max(old_least, count), "new": int(np.clip(count, *new_bounds)), "threshold": count}[rule]
    points = points[: min(wanted, most)]
    return quadratic_peaks(heatmap, points) if subpixel == "quadratic" else points


def quadratic_peaks(heatmap: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points moved to the top of a parabola through a pixel and its two neighbours, along each axis; at most 0.5 px.

    Args:
        heatmap: `(y, x)`.
        points: `(n, 2)` of (x, y), on pixels that are local maxima; on a border they stay along that axis.
    """
    padding = np.pad(np.asarray(heatmap, np.float64), 1, mode="edge")
    moved = np.array(points, np.float64)
    x, y = np.asarray(points).reshape(-1, 2).T.astype(int) + 1
    sides = np.asarray(heatmap).shape[::-1]
    for axis, (dy, dx) in enumerate(((0, 1), (1, 0))):
        before, here, after = padding[y - dy, x - dx], padding[y, x], padding[y + dy, x + dx]
        bend, place = before - 2 * here + after, (x, y)[axis] - 1
        fits = (bend < 0) & (place > 0) & (place < sides[axis] - 1)
        moved[:, axis] += np.where(fits, np.clip(0.5 * (before - after) / np.where(fits, bend, 1), -0.5, 0.5), 0)
    return moved


def refined(heatmap: np.ndarray, points: np.ndarray, radius: int = 1) -> np.ndarray:
    """Points moved to the centre of mass of the map within `radius` pixels of theirs: a local soft-argmax.

    Args:
        heatmap: `(y, x)`, never negative.
        points: `(n, 2)` of (x, y), on pixels.
        radius: px.
    """
    padding = np.pad(np.asarray(heatmap, np.float64), radius)
    steps = np.arange(-radius, radius + 1)
    moved = np.array(points, np.float64)
    for row, (x, y) in enumerate(np.asarray(points).astype(int)):
        patch = padding[y : y + 2 * radius + 1, x : x + 2 * radius + 1]
        if (total := patch.sum()) > 0:
            moved[row] = x + (patch.sum(0) @ steps) / total, y + (patch.sum(1) @ steps) / total
    return moved
