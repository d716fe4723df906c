"""Cells, nuclei and other small objects: from two maps of a network to instances by watershed, and back to the maps.

An instance map holds 0 for the background and one whole number above 0 for each object. Its two maps are the
**centroid map**, a small disc at the centre of each object, and the **region map**, the objects' union with a gap of
one pixel where two of them touch. Plain numpy, scipy and scikit-image; images of two or three axes.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

_CONSTANT = 0.5  # splits a region map without any contrast, where Otsu's method has no answer


def centres_of(labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The objects of an instance map and their centres of mass.

    Args:
        labels: instance map, integers >= 0.

    Returns:
        `(numbers, centres)`: int64 `(n,)`, ascending; float64 `(n, axes)`, in pixels, along the axes in their order.

    Raises:
        ValueError: not an instance map.

    Example:
        >>> numbers, centres = centres_of([[0, 4, 4], [2, 0, 0]])
        >>> numbers.tolist(), centres.tolist()
        ([2, 4], [[1.0, 0.0], [0.0, 1.5]])
    """
    labels = as_instances(labels)
    inside = np.nonzero(labels)
    numbers, places, sizes = np.unique(labels[inside], return_inverse=True, return_counts=True)
    sums = [np.bincount(places.ravel(), axis, len(numbers)) for axis in inside]
    return numbers.astype(np.int64), np.stack(sums, axis=1) / sizes[:, None]


def centroids(centroid_map: ArrayLike, threshold: float = 0.5) -> np.ndarray:
    """Centres of mass of the connected components of a centroid map above a threshold.

    Args:
        centroid_map: probabilities, two or three axes.
        threshold: a pixel belongs to a component where the map is above it.

    Returns:
        float64 `(n, axes)` in pixels; components touch at corners too, in the order of their first pixels.

    Raises:
        ValueError: the map is not finite, or has neither two nor three axes.
    """
    return centres_of(ndimage.label(_as_map(centroid_map) > threshold, np.ones((3,) * np.ndim(centroid_map)))[0])[1]


def instances(
    centroid_map: ArrayLike,
    region_map: ArrayLike,
    threshold: float = 0.5,
    region_threshold: float | None = None,
    surface: str = "distance",
) -> np.ndarray:
    """Instances from a centroid map and a region map by a watershed from the centroids, as in Liu et al. (DALI 2021).

    A centroid outside the foreground gives no object, and a piece of the foreground without a centroid belongs to
    none: there are as many objects as pixels in the foreground that hold a centroid.

    Args:
        centroid_map, region_map: probabilities of one shape, two or three axes.
        threshold: of the centroid map.
        region_threshold: of the region map; None: Otsu's, of this image (0.5 where the map is constant). Otsu splits
            an empty image's noise as well: there only the lack of centroids keeps objects away.
        surface: what is flooded: "distance", minus the distance to the background, or "region", minus the region map.

    Returns:
        int32 instance map of that shape, objects numbered from 1 without gaps, in the order of `centroids`.

    Raises:
        ValueError: different shapes, maps that are not finite, or an unknown surface.
    """
    from skimage.segmentation import watershed  # seconds of imports that other users of this module spare

    regions, points = _as_map(region_map), centroids(centroid_map, threshold)
    if np.shape(centroid_map) != regions.shape:
        raise ValueError(
            f"the centroid map {np.shape(centroid_map)} and the region map {regions.shape} differ in shape"
        )
    if surface not in ("distance", "region"):
        raise ValueError(f"surface is 'distance' or 'region', not {surface!r}")
    foreground = regions > (_otsu(regions) if region_threshold is None else region_threshold)
    markers = np.zeros(regions.shape, np.int32)
    pixels = np.rint(points).astype(np.intp)
    pixels = pixels[foreground[tuple(pixels.T)]]
    _, first = np.unique(pixels, axis=0, return_index=True)  # a ring around a disc has the disc's centre
    markers[tuple(pixels[np.sort(first)].T)] = np.arange(1, len(first) + 1)
    if not len(first):
        return markers
    flooded = -(ndimage.distance_transform_edt(foreground) if surface == "distance" else regions)
    return watershed(flooded, markers, mask=foreground).astype(np.int32)


def maps_of(labels: ArrayLike, radius: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Centroid map and region map of an instance map: what a network learns.

    Where objects or discs touch, also at corners, the one of the higher number gives way by one pixel, so that no
    connected component of either map belongs to two objects. An object that is one pixel wide may vanish from the
    region map there.

    Args:
        labels: instance map `(y, x)` or `(z, y, x)`, integers >= 0.
        radius: of the discs in pixels, above 0; a pixel that two discs hold belongs to the nearer centre.

    Returns:
        `(centroid map, region map)`, uint8 of the same shape, 0 and 1.

    Raises:
        ValueError: not an instance map, or a radius that is not above 0.

    Example:
        >>> maps_of([[1, 1, 2, 2]], radius=0.6)[1].tolist()
        [[1, 1, 0, 1]]
    """
    labels = as_instances(labels)
    if not (np.isfinite(radius) and radius > 0):
        raise ValueError(f"the radius of a disc is a number of pixels above 0, not {radius}")
    return _parted(_discs(labels, radius)), _parted(labels)


def packed(labels: ArrayLike) -> list[list[int]]:
    """An instance map as plain whole numbers, for JSON: its shape, and runs of equal values as (length, value, ...).

    Example:
        >>> packed([[0, 0, 3], [3, 3, 3]])
        [[2, 3], [2, 0, 4, 3]]
    """
    labels = as_instances(labels)
    flat = labels.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=flat[:1] + 1)) if flat.size else np.zeros(0, np.intp)
    lengths = np.diff(starts, append=flat.size)
    return [list(labels.shape), np.stack([lengths, flat[starts]], axis=1).ravel().tolist()]


def unpacked(value: Any) -> np.ndarray:
    """The instance map of `packed`, int32.

    Raises:
        ValueError: it is none.
    """
    try:
        shape, runs = value
        pairs = np.asarray(runs, np.int64).reshape(-1, 2)
        whole = math.prod(shape)
        fits = len(shape) in (2, 3) and (pairs >= 0).all() and pairs[:, 0].sum() == whole and min(shape) >= 0
        if not fits or pairs[:, 1].max(initial=0) >= 2**31:
            raise ValueError
        return np.repeat(pairs[:, 1], pairs[:, 0]).reshape(shape).astype(np.int32)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("this is no instance map in runs of equal values") from None


def as_instances(labels: ArrayLike) -> np.ndarray:
    """An instance map as an array; ValueError unless it holds integers >= 0 along two or three axes."""
    array = np.asarray(labels)
    if array.dtype.kind not in "iu" or array.ndim not in (2, 3):
        raise ValueError(f"an instance map holds integers along 2 or 3 axes, not {array.dtype} {array.shape}")
    if array.size and array.min() < 0:
        raise ValueError(f"the numbers of an instance map are 0 or above; found {array.min()}")
    return array


def _as_map(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or array.ndim not in (2, 3) or not array.size:
        raise ValueError(f"a map holds real numbers along 2 or 3 axes, not {array.dtype} {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("a map holds NaN or infinite values")
    return array.astype(np.float64)


def _otsu(regions: np.ndarray) -> float:
    from skimage.filters import threshold_otsu

    return float(threshold_otsu(regions)) if np.ptp(regions) > 0 else _CONSTANT


def _discs(labels: np.ndarray, radius: float) -> np.ndarray:
    """An instance map of the discs: each pixel within `radius` of a centre has the number of the nearest one."""
    numbers, centres = centres_of(labels)
    discs, nearest = np.zeros(labels.shape, np.int64), np.full(labels.shape, np.inf)
    for number, centre in zip(numbers, centres, strict=True):
        box = tuple(slice(max(int(np.ceil(c - radius)), 0), min(int(np.floor(c + radius)) + 1, n))
                    for c, n in zip(centre, labels.shape, strict=True))  # fmt: skip
        away = sum((axis - c) ** 2 for axis, c in zip(np.ogrid[box], centre, strict=True))
        inside = (away <= radius**2) & (away < nearest[box])
        discs[box][inside] = number
        nearest[box][inside] = away[inside]
    return discs


def _parted(labels: np.ndarray) -> np.ndarray:
    """Where an object is whose neighbours, also those at corners, have no lower number above 0; uint8."""
    lowest = np.where(labels > 0, labels, labels.max(initial=0))
    lowest = ndimage.minimum_filter(lowest, 3, mode="nearest")
    return ((labels > 0) & (lowest >= labels)).astype(np.uint8)
