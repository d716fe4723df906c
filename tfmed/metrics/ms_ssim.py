"""Multi-scale structural similarity of images and volumes, for pairs and for all pairs of two sets. TensorFlow."""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, Sect. 3.2
_C1, _C2 = 0.01**2, 0.03**2  # for images in [0, 1]
_VOXELS_AT_A_TIME = 1 << 21


def ms_ssim(
    images: np.ndarray, reference: np.ndarray, value_range: tuple[float, float] = (0.0, 1.0), **options: Any
) -> np.ndarray:
    """Multi-scale structural similarity of pairs (Wang, Simoncelli & Bovik 2003, Eq. 7): 1 for equal images.

    prod_{j<M} cs_j^{w_j} * ssim_M^{w_M}: contrast and structure at every scale, luminance at the coarsest; each factor
    is a mean over positions, negative means count as 0. Between scales images are halved by averaging; odd sizes are
    first extended by their last row. Images are read in batches, so memory does not grow with their number.

    Args:
        images, reference: `(n, H, W)` or `(n, D, H, W)`, grey, of equal shapes (arrays or memory maps).
        value_range: lowest and highest value that images may have.
        options: those of `Pyramid` (`scales`, `filter_size`, `sigma`, `weights`, `shrink_window`).

    Returns:
        `(n,)` float64 in [0, 1].

    Raises:
        ValueError: shapes that differ, images too small for the scales, values that are NaN or out of range.
    """
    if np.shape(images) != np.shape(reference):
        raise ValueError(f"images {np.shape(images)} and reference {np.shape(reference)} differ in shape; pair them up")
    pyramid = pyramid_for(np.shape(images)[1:], value_range, **options)
    found = [np.zeros(0)]
    for start in range(0, len(images), pyramid.batch):
        pair = (pyramid.read(x[start : start + pyramid.batch]) for x in (images, reference))
        found.append(pyramid.pairs(*pair).numpy())
    return np.concatenate(found).astype(np.float64)


def feasible_scales(shape: Sequence[int], filter_size: int = 11, most: int = 5) -> int:
    """How many scales a window of `filter_size` fits into; M of them need (filter_size - 1) * 2**(M - 1) + 1 pixels."""
    return sum(min(shape) >= (filter_size - 1) * 2**m + 1 for m in range(most))


def pyramid_for(shape: Sequence[int], value_range: tuple[float, float] = (0.0, 1.0), **options: Any) -> "Pyramid":
    """The Pyramid of these arguments, kept for the next call: making its graph takes longer than using it."""
    options = {key: tuple(value) if isinstance(value, (list, np.ndarray)) else value for key, value in options.items()}
    return _pyramid(tuple(shape), tuple(value_range), tuple(sorted(options.items())))


@functools.lru_cache(maxsize=8)
def _pyramid(
    shape: tuple[int, ...], value_range: tuple[float, float], options: tuple[tuple[str, Any], ...]
) -> "Pyramid":
    return Pyramid(shape, value_range, **dict(options))


class Pyramid:
    """The scales and windows for images of one shape, and the comparison of images with them.

    Args:
        shape: `(H, W)` or `(D, H, W)`.
        value_range: lowest and highest value.
        scales: M; by default as many as the window fits into, 5 at most.
        filter_size: side of the Gaussian window in pixels.
        sigma: its standard deviation in pixels.
        weights: one exponent per scale; by default the first M of the published ones, scaled to the sum 1.
        shrink_window: at scales smaller than the window take one of their own size, `sigma` in proportion (the rule of
            Karras et al. 2018); then all 5 scales are the default.

    Raises:
        ValueError: what does not fit, with the fix. Images are never enlarged.
    """

    def __init__(
        self,
        shape: Sequence[int],
        value_range: tuple[float, float] = (0.0, 1.0),
        scales: int | None = None,
        filter_size: int = 11,
        sigma: float = 1.5,
        weights: Sequence[float] | None = None,
        shrink_window: bool = False,
    ) -> None:
        self.shape = tuple(shape)
        self.low, self.high = map(float, value_range)
        if len(self.shape) not in (2, 3):
            raise ValueError(f"MS-SSIM takes (n, H, W) or (n, D, H, W), one grey channel; one image is {self.shape}")
        if not self.low < self.high:
            raise ValueError(f"value_range: {value_range} must be (lowest, highest)")
        if weights is not None and scales is not None and len(weights) != scales:
            raise ValueError(f"weights: {len(weights)} are given for {scales} scales; give one per scale")
        sizes = list(itertools.accumulate(WEIGHTS[1:], lambda size, _: _halved(size), initial=self.shape))
        fitting = len(WEIGHTS) if shrink_window else feasible_scales(self.shape, filter_size)
        scales = scales or (len(weights) if weights is not None else max(fitting, 1))
        if scales > len(sizes):
            raise ValueError(f"scales: {scales} are more than 5, for which the measure is defined")
        self._check_fit(scales, fitting, filter_size)
        if weights is None:
            weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
        self.weights = tuple(map(float, weights))
        self.filters = [[_banded(side, filter_size, sigma) for side in size] for size in sizes[:scales]]
        self.batch = max(1, _VOXELS_AT_A_TIME // int(np.prod(self.shape)))

    def _check_fit(self, scales: int, fitting: int, filter_size: int) -> None:
        if scales <= fitting and min(self.shape) > 1:
            return
        needed = (filter_size - 1) * 2 ** (scales - 1) + 1
        largest = (min(self.shape) - 1) // 2 ** (scales - 1) + 1
        fix = f"give at most {fitting} scales, " if fitting else ""
        raise ValueError(
            f"images of {' x '.join(map(str, self.shape))} are too small for {scales} scales with a window of "
            f"{filter_size}, which need {needed} pixels per side; {fix}a window of at most {largest}, or shrink_window"
        )

    def read(self, images: np.ndarray) -> np.ndarray:
        """A batch as float32 in [0, 1]; ValueError for values that are NaN or out of range."""
        x = np.asarray(images, np.float32)
        slack = 1e-3 * (self.high - self.low)
        if not (np.min(x, initial=self.low) >= self.low - slack and np.max(x, initial=self.high) <= self.high + slack):
            found = "NaN" if np.isnan(x).any() else f"{x.min():.4g} .. {x.max():.4g}"
            raise ValueError(f"values {found} lie outside of value_range ({self.low:g}, {self.high:g}); rescale")
        return (x - np.float32(self.low)) / np.float32(self.high - self.low)

    @tf.function(reduce_retracing=True, autograph=False)
    def pairs(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        """Similarity `(n,)` of images `(n, ...)` in [0, 1] to those of another batch."""
        return self.compare(self.moments(a), self.moments(b))

    @tf.function(jit_compile=True, autograph=False)
    def all_pairs(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        """Similarity `(n, m)` of every image `(n, ...)` to every image `(m, ...)`; local moments are made once each.

        Compiled, which is about 1.5 times as fast; give blocks of one size, because each new size is compiled anew.
        """
        a, b = self.moments(a[:, None]), self.moments(b[None])
        return self.compare(a, b)

    def moments(self, x: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        """Per scale (image, local mean, local variance)."""
        found = []
        for level, filters in enumerate(self.filters):
            x = _halve(x, len(self.shape)) if level else x
            mean = _smooth(x, filters)
            found.append((x, mean, _smooth(x * x, filters) - mean * mean))
        return found

    def compare(
        self, a: list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]], b: list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]
    ) -> tf.Tensor:
        """Similarity from the moments of both, which broadcast."""
        result, axes = 1.0, list(range(-len(self.shape), 0))
        for level, (weight, filters) in enumerate(zip(self.weights, self.filters, strict=True)):
            (x, mean_x, var_x), (y, mean_y, var_y) = a[level], b[level]
            product = mean_x * mean_y
            similarity = (2.0 * (_smooth(x * y, filters) - product) + _C2) / (var_x + var_y + _C2)
            if level == len(self.filters) - 1:
                similarity *= (2.0 * product + _C1) / (mean_x * mean_x + mean_y * mean_y + _C1)
            result *= tf.nn.relu(tf.reduce_mean(similarity, axis=axes)) ** weight
        return result


def _halved(size: Sequence[int]) -> tuple[int, ...]:
    return tuple(-(-side // 2) for side in size)


def _banded(side: int, filter_size: int, sigma: float) -> np.ndarray:
    """Matrix `(side - w + 1, side)` that filters an axis with a Gaussian window where it fits entirely.

    One product of matrices is faster than eleven shifted sums on any device.
    """
    width = min(filter_size, side)
    sigma = sigma * width / filter_size
    window = np.exp(-0.5 * ((np.arange(width) - (width - 1) / 2) / sigma) ** 2)
    rows = side - width + 1
    matrix = np.zeros((rows, side), np.float32)
    for k, value in enumerate(window / window.sum()):
        matrix[np.arange(rows), np.arange(rows) + k] = value
    return matrix


def _smooth(x: tf.Tensor, filters: Sequence[np.ndarray]) -> tf.Tensor:
    """Filter the last axes of `(..., *spatial)`, one matrix per axis."""
    lead = tf.shape(x)[: x.shape.rank - len(filters)]
    sizes = [matrix.shape[1] for matrix in filters]
    for axis, matrix in enumerate(filters):
        after = int(np.prod(sizes[axis + 1 :]))
        if axis == len(filters) - 1:
            x = tf.matmul(tf.reshape(x, (-1, sizes[axis])), matrix, transpose_b=True)
        else:
            x = tf.matmul(matrix, tf.reshape(x, (-1, sizes[axis], after)))
        sizes[axis] = matrix.shape[0]
    return tf.reshape(x, tf.concat([lead, sizes], axis=0))


def _halve(x: tf.Tensor, rank: int) -> tf.Tensor:
    """Mean over blocks of two along the last `rank` axes."""
    for axis in range(x.shape.rank - rank, x.shape.rank):
        if x.shape[axis] % 2:
            x = tf.concat([x, tf.gather(x, [x.shape[axis] - 1], axis=axis)], axis)
        even, odd = (tf.gather(x, tf.range(k, x.shape[axis], 2), axis=axis) for k in (0, 1))
        x = 0.5 * (even + odd)
    return x
