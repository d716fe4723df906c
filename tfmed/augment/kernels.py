"""Virtual reconstruction kernels of CT: a slice as another filter would have reconstructed it (Saparov et al. 2021).

A kernel is |w| (1 + a |w|^b), with the frequency w as a part of the Nyquist frequency: a above 0 sharpens, a below 0
smooths, and the mean of a large object stays for b > 0. Slices are HU `(batch, y, x)`; what lies outside of the circle
that a slice's square holds becomes air.
"""

import functools
from typing import Literal, get_args

import numpy as np
import tensorflow as tf

from tfmed.ops import radon

Route = Literal["fourier", "gridding", "radon"]
Kind = Literal["both", "sharpen", "smooth", "coupled"]

AIR_HU, MOST_HU = -1000.0, 3000.0
SHARPEN = ((10.0, 40.0), (1.0, 4.0))  # ranges of a and b
SMOOTH = ((-1.0, 0.0), (0.1, 1.0))
_ROOM = 1.5  # sides of the FFT per side of a slice, so that a kernel's tails do not come in from the other border


def reconstructed(
    slices: tf.Tensor,
    a: tf.Tensor,
    b: tf.Tensor,
    route: Route = "fourier",
    views: int | None = None,
    residual: bool = False,
) -> tf.Tensor:
    """Slices as the kernel |w| (1 + a |w|^b) shows them: HU from -1000 to 3000, float32 `(batch, y, x)`.

    Args:
        slices: HU, static (y, x); below -1000 is air.
        a, b: `(batch,)`, each slice's kernel.
        route: "radon" projects, filters and projects back as scikit-image does; "gridding" does the same by FFTs;
            "fourier" multiplies the slice's spectrum once: by the projection-slice theorem all filters of projections
            together are one isotropic filter, here with what the two interpolations take away.
        views: angles over 180 degrees, by default one per pixel of a side; without meaning to "fourier".
        residual: add what the kernel changes to the slice itself, which no interpolation then blurs.

    Raises:
        ValueError: an argument is none of the above.
    """
    if route not in get_args(Route):
        raise ValueError(f"route is {route!r}; {', '.join(get_args(Route))} are available")
    values = tf.clip_by_value(tf.cast(slices, tf.float32), AIR_HU, MOST_HU) - AIR_HU  # air is 0
    if values.shape.rank != 3 or None in values.shape[1:]:
        raise ValueError(f"slices are (batch, y, x) with a static size, got {values.shape}")
    height, width = values.shape[1:]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = tf.pad(values, [[0, 0], [top, side - height - top], [left, side - width - left]])
    square *= tf.constant(radon.circle(side), tf.float32)
    a, b = (tf.cast(number, tf.float32)[:, None] for number in (a, b))
    found = _filtered(square, a, b, residual) if route == "fourier" else _by_views(square, a, b, route, views, residual)
    found = found * tf.constant(radon.circle(side), tf.float32)
    found = found[:, top : top + height, left : left + width] + AIR_HU
    return tf.clip_by_value(found, AIR_HU, MOST_HU)


def drawn(seeds: tf.Tensor, kind: Kind = "both") -> tuple[tf.Tensor, tf.Tensor]:
    """Kernels (a, b) `(batch,)` float32, one per seed, each a function of its own seed alone.

    Args:
        seeds: integers `(batch, 2)`.
        kind: "both" (half of them sharpen, half smooth), "sharpen", "smooth", or "coupled", the ranges of the first
            public 3-D wrapper: half smooth with a from -0.5 to 0, and half have a = 10 b (u + 0.5), u from 0 to 1.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind is {kind!r}; {', '.join(get_args(Kind))} are available")
    u = tf.map_fn(
        lambda s: tf.random.stateless_uniform((3,), s), tf.cast(seeds, tf.int64), fn_output_signature=tf.float32
    )
    sharp = {"sharpen": tf.ones_like(u[:, 0], bool), "smooth": tf.zeros_like(u[:, 0], bool)}.get(kind, u[:, 0] < 0.5)

    def between(bounds: tuple[float, float], share: tf.Tensor) -> tf.Tensor:
        return bounds[0] + (bounds[1] - bounds[0]) * share

    b = tf.where(sharp, between(SHARPEN[1], u[:, 1]), between(SMOOTH[1], u[:, 1]))
    if kind == "coupled":
        return tf.where(sharp, 10 * b * (u[:, 2] + 0.5), between((-0.5, 0.0), u[:, 2])), b
    return tf.where(sharp, between(SHARPEN[0], u[:, 2]), between(SMOOTH[0], u[:, 2])), b


def _by_views(
    square: tf.Tensor, a: tf.Tensor, b: tf.Tensor, route: str, views: int | None, residual: bool
) -> tf.Tensor:
    side = square.shape[1]
    way: radon.Way = "direct" if route == "radon" else "gridding"
    change = a * tf.constant(radon.frequencies(side), tf.float32) ** b
    sinogram = radon.radon(square, views or side, way)
    found = radon.filtered_back_projection(sinogram, change if residual else 1 + change, way)
    return square + found if residual else found


def _filtered(square: tf.Tensor, a: tf.Tensor, b: tf.Tensor, residual: bool) -> tf.Tensor:
    side = square.shape[1]
    log_rho, interpolated = (tf.constant(plane, tf.float32) for plane in _plane(side))
    change = a[..., None] * tf.exp(b[..., None] * log_rho) * interpolated  # rho^b, several times as fast
    wide = 2 * (log_rho.shape[1] - 1)
    spectrum = tf.signal.rfft2d(square, [wide, wide])
    filters = 1 + change if residual else interpolated + change
    return tf.signal.irfft2d(spectrum * tf.cast(filters, tf.complex64), [wide, wide])[:, :side, :side]


@functools.lru_cache(maxsize=8)
def _plane(side: int) -> tuple[np.ndarray, np.ndarray]:
    """(log of the frequency as a part of Nyquist's, at most 1; gain of interpolation in slice and projections)."""
    wide = 2 * int(np.ceil(_ROOM * side / 2))
    y, x = np.fft.fftfreq(wide, 1.0)[:, None], np.fft.rfftfreq(wide, 1.0)
    radius = np.hypot(y, x)
    rho = np.minimum(2 * radius, 1)
    # What stands for the cell of frequencies around 0 is nearly its mean of rho^b, for b from 0 to 4: with 0^b = 0 the
    # whole cell would be kept, and so much more of a slice's mean than by projections.
    rho[0, 0] = 0.65 * (2 / wide) / np.sqrt(np.pi)
    return np.log(rho), (np.sinc(y) * np.sinc(x) * np.sinc(radius)) ** 2
