"""Parallel-beam projection of slices, and their reconstruction by filtered back-projection.

The geometry is that of scikit-image with `circle=True`: slices are square, pixel `side // 2` of each axis is the centre
of rotation, what lies outside of the inscribed circle is 0, and the detector has one element per pixel. View i of n is
taken at i * 180 / n degrees. Sinograms are `(batch, view, side)`, where scikit-image has `(side, view)`.

Both operations have two ways:

"direct" follows scikit-image's definitions to rounding: a slice is turned with bilinear interpolation and summed; a
projection is spread back with linear interpolation. Its work grows as side^2 * views. XLA compiles it once per shape.

"gridding" does the same in Fourier space, where a projection is a line through the slice's spectrum (projection-slice
theorem): one FFT, and a Kaiser-Bessel kernel of 4 x 4 on a grid twice as fine reads, or writes, the lines. What linear
interpolation does to a spectrum is included. Many times faster; docs/results/fbpaug.md says how near it is.

All are graph-safe and differentiable. The side is static.
"""

import functools
from collections.abc import Callable
from typing import Literal

import numpy as np
import tensorflow as tf

Way = Literal["direct", "gridding"]

_ROUNDING = 1e-3  # pixels
_TAPS = 4  # of the gridding kernel along each axis
_BETA = np.pi * np.sqrt((_TAPS / 2) ** 2 * 1.5**2 - 0.8)  # Beatty et al. 2005, for a grid twice as fine


def radon(slices: tf.Tensor, views: int, way: Way = "gridding") -> tf.Tensor:
    """Sinograms `(batch, views, side)` of slices `(batch, side, side)`, in pixels times the unit of the slices.

    Args:
        slices: float32, or float64 for "direct".
        views: number of angles over 180 degrees.
        way: see the module.

    Raises:
        ValueError: the slices are not square, or an argument is none of the above.

    Example:
        >>> point = tf.constant([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]])[None]
        >>> radon(point, views=2, way="direct").numpy().round(3).tolist()
        [[[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]]
    """
    slices = tf.convert_to_tensor(slices)
    side = _side(slices, 1)
    if slices.shape[2] != side:
        raise ValueError(f"slices are (batch, side, side), got {slices.shape}; pad them to a square")
    _check(slices, views, way)
    slices = slices * tf.cast(circle(side), slices.dtype)
    return _compiled(_project)(slices, views) if way == "direct" else _read_lines(slices, views)


def filtered_back_projection(
    sinograms: tf.Tensor, gain: tf.Tensor | np.ndarray | None = None, way: Way = "gridding"
) -> tf.Tensor:
    """Slices `(batch, side, side)` of sinograms `(batch, views, side)`, by the ramp filter; 0 outside of the circle.

    Args:
        sinograms: as `radon` makes them.
        gain: factors on top of the ramp, `(length // 2 + 1,)` or `(batch, length // 2 + 1)`: one per frequency of
            `frequencies(side)`.
        way: see the module.

    Raises:
        ValueError: an argument is none of the above.
    """
    sinograms = tf.convert_to_tensor(sinograms)
    side = _side(sinograms, 2)
    views = sinograms.shape[1]
    _check(sinograms, views, way)
    dtype = sinograms.dtype
    filters = tf.cast(ramp(side), dtype)
    if gain is not None:
        filters = tf.expand_dims(filters * tf.cast(gain, dtype), -2)
    length = detector_length(side)
    spectrum = tf.signal.rfft(tf.pad(sinograms, [[0, 0], [0, 0], [0, length - side]]), [length])
    filtered = tf.signal.irfft(spectrum * tf.cast(filters, spectrum.dtype), [length])[..., :side]
    found = _compiled(_spread_back)(filtered) if way == "direct" else _write_lines(filtered)
    return found * tf.cast(circle(side) * np.pi / (2 * views), dtype)


@functools.lru_cache(maxsize=16)
def circle(side: int) -> np.ndarray:
    """The inscribed circle: 1 inside and 0 outside, float64 `(side, side)`."""
    away = np.arange(side) - side // 2
    return (away[:, None] ** 2 + away**2 <= (side // 2) ** 2).astype(np.float64)


def detector_length(side: int) -> int:
    """Number of samples to which projections are padded before they are filtered: a power of 2, two sides at least."""
    return max(64, 1 << int(np.ceil(np.log2(2 * side))))


def frequencies(side: int) -> np.ndarray:
    """Frequencies of padded projections, as parts of the Nyquist frequency: 0 to 1, `(length // 2 + 1,)`."""
    return np.linspace(0, 1, detector_length(side) // 2 + 1)


@functools.lru_cache(maxsize=16)
def ramp(side: int) -> np.ndarray:
    """The ramp filter at `frequencies(side)`: near to them, made in space so that the mean is kept (Kak and Slaney)."""
    length = detector_length(side)
    place = np.abs(np.fft.fftfreq(length, 1 / length))
    kernel = np.where(place % 2 == 1, -1 / (np.pi * np.maximum(place, 1)) ** 2, 0.0)
    kernel[0] = 0.25
    return np.maximum(2 * np.fft.rfft(kernel).real, 0)


# --- direct -----------------------------------------------------------------------------------------------------------


@functools.cache
def _compiled(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """A linear function of a tensor, compiled: uncompiled, loops over views take several times as long, and memory.

    Its gradient is compiled as a whole too: what loops keep for it cannot leave what XLA compiled.
    """

    def adjoint(values: tf.Tensor, upstream: tf.Tensor, *rest: int) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(values)
            found = function(values, *rest)
        return tape.gradient(found, values, upstream)

    forth, back = (tf.function(one, jit_compile=True, autograph=False) for one in (function, adjoint))

    def call(values: tf.Tensor, *rest: int) -> tf.Tensor:
        @tf.custom_gradient
        def linear(values: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            return forth(values, *rest), lambda upstream: back(values, upstream, *rest)

        return linear(values)

    return call


def _project(slices: tf.Tensor, views: int) -> tf.Tensor:
    side, dtype = slices.shape[1], slices.dtype
    wide = side + 3  # a pixel of 0 before the first, two behind the last: places beyond the border are cut to these
    pixels = tf.reshape(tf.pad(tf.transpose(slices, [1, 2, 0]), [[1, 2], [1, 2], [0, 0]]), [wide * wide, -1])
    centre = side // 2
    away = np.arange(side) - centre

    def project(angle: tf.Tensor) -> tf.Tensor:
        cosine, sine = tf.cos(angle), tf.sin(angle)
        along, across = tf.constant(away[None], dtype), tf.constant(away[:, None], dtype)
        y = tf.clip_by_value(centre + 1 - sine * along + cosine * across, 0, side + 1)
        x = tf.clip_by_value(centre + 1 + cosine * along + sine * across, 0, side + 1)
        top, left = tf.floor(y), tf.floor(x)
        down, right = (y - top)[..., None], (x - left)[..., None]
        first = tf.cast(top, tf.int32) * wide + tf.cast(left, tf.int32)
        upper = tf.gather(pixels, first) * (1 - right) + tf.gather(pixels, first + 1) * right
        lower = tf.gather(pixels, first + wide) * (1 - right) + tf.gather(pixels, first + wide + 1) * right
        return tf.reduce_sum(upper * (1 - down) + lower * down, 0)

    return tf.transpose(tf.map_fn(project, tf.constant(_angles(views), dtype)), [2, 0, 1])


def _spread_back(sinograms: tf.Tensor) -> tf.Tensor:
    views, side, dtype = sinograms.shape[1], sinograms.shape[2], sinograms.dtype
    elements = tf.pad(tf.transpose(sinograms, [1, 2, 0]), [[0, 0], [1, 2], [0, 0]])
    centre = side // 2
    away = np.arange(side) - centre

    def spread(total: tf.Tensor, view: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        angle, projection = view
        place = tf.constant(away[None], dtype) * tf.cos(angle) - tf.constant(away[:, None], dtype) * tf.sin(angle)
        # Beyond the detector is nothing; its last elements must not be lost to rounding.
        inside = tf.cast((place > -centre - _ROUNDING) & (place < side - 1 - centre + _ROUNDING), dtype)
        place = tf.clip_by_value(place + centre, 0, side - 1)
        left = tf.floor(place)
        right, first = (place - left)[..., None], tf.cast(left, tf.int32) + 1
        found = tf.gather(projection, first) * (1 - right) + tf.gather(projection, first + 1) * right
        return total + found * inside[..., None]

    start = tf.zeros(tf.stack([side, side, tf.shape(sinograms)[0]]), dtype)
    total = tf.foldl(spread, (tf.constant(_angles(views), dtype), elements), start)
    return tf.transpose(total, [2, 0, 1])


def _angles(views: int) -> np.ndarray:
    return np.arange(views) * (np.pi / views)


# --- gridding ---------------------------------------------------------------------------------------------------------
# Two real slices travel as the real and the imaginary part of one complex slice: all that is done to them is linear.


def _read_lines(slices: tf.Tensor, views: int) -> tf.Tensor:
    side, count = slices.shape[1], tf.shape(slices)[0]
    pairs = _paired(slices / tf.constant(_apodisation(side), tf.float32))
    fine = 2 * side
    pairs = tf.roll(tf.pad(pairs, [[0, 0], [0, fine - side], [0, fine - side]]), [-(side // 2)] * 2, [1, 2])
    spectrum = tf.reshape(tf.transpose(tf.signal.fft2d(pairs), [1, 2, 0]), [fine * fine, -1])
    lines = _Lines.of(side, views, 1)
    found = tf.add_n([tf.gather(spectrum, index) * tf.cast(weight, tf.complex64)[:, None]
                      for index, weight in lines.taps()])  # fmt: skip
    found = tf.transpose(tf.reshape(found, [views, lines.count, -1]), [2, 0, 1])
    turned = tf.constant(lines.interpolation(2), tf.complex64)
    projections = tf.roll(tf.signal.ifft(found * turned), side // 2, 2)[..., :side]
    return _apart(projections, count)


def _write_lines(sinograms: tf.Tensor) -> tf.Tensor:
    views, side, count = sinograms.shape[1], sinograms.shape[2], tf.shape(sinograms)[0]
    lines = _Lines.of(side, views, 2)
    length = lines.count // 2
    pairs = tf.roll(tf.pad(_paired(sinograms), [[0, 0], [0, 0], [0, length - side]]), -(side // 2), 2)
    spectrum = tf.tile(tf.signal.fft(pairs), [1, 1, 2])  # that of samples repeats beyond their Nyquist frequency
    spectrum *= tf.constant(lines.interpolation(1), tf.complex64)
    spectrum = tf.reshape(tf.transpose(spectrum, [1, 2, 0]), [views * lines.count, -1])
    fine = 2 * side
    grid = tf.zeros([fine * fine, tf.shape(spectrum)[1]], tf.complex64)
    for index, weight in lines.taps():
        grid += tf.math.unsorted_segment_sum(spectrum * tf.cast(weight, tf.complex64)[:, None], index, fine * fine)
    grid = tf.transpose(tf.reshape(grid, [fine, fine, -1]), [2, 0, 1])
    found = tf.roll(tf.signal.ifft2d(grid), [side // 2] * 2, [1, 2])[:, :side, :side]
    scale = fine * fine / length / _apodisation(side)
    return _apart(found, count) * tf.constant(scale, tf.float32)


def _paired(values: tf.Tensor) -> tf.Tensor:
    """Real `(n, ...)` -> complex `((n + 1) // 2, ...)`."""
    odd = tf.shape(values)[0] % 2
    values = tf.pad(values, [[0, odd], [0, 0], [0, 0]])
    return tf.complex(values[0::2], values[1::2])


def _apart(pairs: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """The inverse of `_paired`, of `count` slices."""
    both = tf.stack([tf.math.real(pairs), tf.math.imag(pairs)], 1)
    return tf.reshape(both, tf.concat([[-1], tf.shape(pairs)[1:]], 0))[:count]


class _Lines:
    """The points of all views' lines through a spectrum, and where they lie on the grid.

    Args:
        side: of slices.
        views: number of lines.
        reach: frequencies go up to `reach` times the Nyquist frequency.
    """

    @staticmethod
    @functools.lru_cache(maxsize=8)
    def of(side: int, views: int, reach: int) -> "_Lines":
        """The lines, made once."""
        return _Lines(side, views, reach)

    def __init__(self, side: int, views: int, reach: int) -> None:
        self.fine = 2 * side
        length = 2 * int(np.ceil(0.625 * side))  # a quarter more than a projection, which must not meet its copies
        self.count = reach * length
        radius = np.fft.fftfreq(self.count, 1 / self.count) / length  # cycles per pixel
        angles = _angles(views)[:, None]
        self.x, self.y = radius * np.cos(angles), -radius * np.sin(angles)
        self.radius = radius

    def interpolation(self, axes: int) -> np.ndarray:
        """What linear interpolation does to these frequencies: of slices (two axes), or of projections (one)."""
        if axes == 1:
            return np.sinc(self.radius)[None] ** 2
        # The highest frequency has no partner of the other sign, and would leak from one slice of a pair to the other.
        return (np.sinc(self.x) * np.sinc(self.y)) ** 2 * (np.abs(self.radius) < 0.5)

    @functools.cached_property
    def _axes(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For y and x: (index, weight) of the taps, `(taps, points)` each."""
        found = []
        for place in (self.y.ravel() * self.fine, self.x.ravel() * self.fine):
            first = np.ceil(place - _TAPS / 2)
            away = first + np.arange(_TAPS)[:, None] - place
            found.append(((first + np.arange(_TAPS)[:, None]).astype(np.int32) % self.fine, _kernel(away)))
        return found

    def taps(self) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """(index into the flat grid int32, weight float32), `(points,)` each, one pair per tap of the kernel."""
        (rows, down), (columns, along) = self._axes
        rows, columns = tf.constant(rows), tf.constant(columns)
        down, along = tf.constant(down, tf.float32), tf.constant(along, tf.float32)
        pairs = [(i, j) for i in range(_TAPS) for j in range(_TAPS)]
        return [(rows[i] * self.fine + columns[j], down[i] * along[j]) for i, j in pairs]


def _kernel(away: np.ndarray) -> np.ndarray:
    """Kaiser-Bessel kernel at some distance from its middle, in points of the fine grid."""
    inside = np.clip(1 - (2 * away / _TAPS) ** 2, 0, None)
    # Nothing at its very ends: of the taps of a point on the grid one end is read and the other is not.
    return np.where(np.abs(away) < _TAPS / 2, np.i0(_BETA * np.sqrt(inside)) / _TAPS, 0)


@functools.lru_cache(maxsize=16)
def _apodisation(side: int) -> np.ndarray:
    """What the kernel does to a slice, by which it is divided: float64 `(side, side)`."""
    away = np.pi * _TAPS * (np.arange(side) - side // 2) / (2 * side)
    root = np.sqrt((_BETA**2 - away**2).astype(np.complex128))
    along = (np.sinh(root) / root).real
    return along[:, None] * along


def _side(values: tf.Tensor, axis: int) -> int:
    if values.shape.rank != 3 or values.shape[axis] is None:
        raise ValueError(f"slices or sinograms have three axes and a static side, got {values.shape}")
    return int(values.shape[axis])


def _check(values: tf.Tensor, views: int, way: str) -> None:
    if way not in ("direct", "gridding"):
        raise ValueError(f"way is {way!r}; direct and gridding are available")
    if views is None or views < 1:
        raise ValueError(f"views is {views}; at least one is needed, and their number is static")
    if values.dtype != tf.float32 and not (way == "direct" and values.dtype == tf.float64):
        raise ValueError(
            f"values of dtype {values.dtype.name}; {way} takes float32" + (" or float64" * (way == "direct"))
        )
