"""Seeded changes of an image's values; places stay as they are, so a label is never touched (and never passed in).

Each function takes a batch of images `(batch, *size, channels)`, floats, 2-D or 3-D, and one seed per image: an
integer tensor `(batch,)`, for example the batch's sample index, or `(batch, 2)` for a seed and an index. What an image
becomes depends on its own values and its own seed alone, not on the batch it lies in or the replica that holds it.
Strengths are ranges (low, high), drawn uniformly, one draw per image. Computed in float32, given back in the image's
dtype; graph-safe and differentiable. Integer images raise ValueError: cast them first.
"""

from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from tfmed.ops import elastic


def gamma(
    image: tf.Tensor, seed: tf.Tensor, power: tuple[float, float] = (0.7, 1.5), deviation: float | None = None
) -> tf.Tensor:
    """Bend the values between an image's own minimum and maximum, which stay: `low + span * ((v - low) / span)^g`.

    g = exp(u), with u uniform between the logarithms of `power`, so that brightening and darkening balance; with a
    `deviation`, u is normal instead, around 0.
    """
    values, seed = _checked(image, seed)
    exponent = tf.exp(
        _uniform(seed, 1, np.log(power), values) if deviation is None else _normal(seed, 1, deviation, values)
    )
    axes = list(range(1, values.shape.rank))
    low = tf.reduce_min(values, axes, keepdims=True)
    span = tf.reduce_max(values, axes, keepdims=True) - low
    share = tf.math.divide_no_nan(values - low, span)
    bent = tf.where(share > 0, tf.maximum(share, 1e-12) ** exponent, 0.0)  # the slope of 0^g is not finite
    return tf.cast(low + span * bent, image.dtype)


def brightness(image: tf.Tensor, seed: tf.Tensor, shift: tuple[float, float] = (-0.1, 0.1)) -> tf.Tensor:
    """Add one number, drawn from `shift`, in the units of the image."""
    values, seed = _checked(image, seed)
    return tf.cast(values + _uniform(seed, 10, shift, values), image.dtype)


def exposure(image: tf.Tensor, seed: tf.Tensor, factor: tuple[float, float] = (0.8, 1.2)) -> tf.Tensor:
    """Multiply with one number, drawn from `factor`."""
    values, seed = _checked(image, seed)
    return tf.cast(values * _uniform(seed, 13, factor, values), image.dtype)


def contrast(image: tf.Tensor, seed: tf.Tensor, factor: tuple[float, float] = (0.75, 1.25)) -> tf.Tensor:
    """Stretch the values about the mean of each channel: `mean + f * (v - mean)`."""
    values, seed = _checked(image, seed)
    mean = tf.reduce_mean(values, list(range(1, values.shape.rank - 1)), keepdims=True)
    return tf.cast(mean + _uniform(seed, 2, factor, values) * (values - mean), image.dtype)


def slices(image: tf.Tensor, seed: tf.Tensor, strength: float = 0.2) -> tf.Tensor:
    """Change brightness and contrast of each slice of volumes `(batch, z, y, x, channel)` by factors of its own.

    Both factors are uniform on 1 +- `strength`: `f * mean + g * (v - mean)`, with the mean of each slice and channel. A
    norm over the volume does not undo this, as it undoes `exposure` and `contrast`.
    """
    values, seed = _checked(image, seed)
    if values.shape.rank != 5:
        raise ValueError(f"slices are those of volumes (batch, z, y, x, channel), got shape {values.shape}")
    shape, bounds = (tf.shape(values)[1], 1, 1, 1), (1 - strength, 1 + strength)

    def drawn(tag: int) -> tf.Tensor:
        return _each(seed, lambda s: tf.random.stateless_uniform(shape, s + [0, tag], *bounds))

    mean = tf.reduce_mean(values, (2, 3), keepdims=True)
    return tf.cast(tf.ensure_shape(drawn(14) * mean + drawn(15) * (values - mean), values.shape), image.dtype)


def saturation(image: tf.Tensor, seed: tf.Tensor, factor: tuple[float, float] = (0.8, 1.2)) -> tf.Tensor:
    """Stretch colours `(..., 3)` (red, green, blue) about their grey (ITU-R BT.601): `grey + f * (v - grey)`."""
    values, seed = _checked(image, seed)
    grey = tf.reduce_sum(values * [0.299, 0.587, 0.114], -1, keepdims=True)
    return tf.cast(grey + _uniform(seed, 11, factor, values) * (values - grey), image.dtype)


def hue(image: tf.Tensor, seed: tf.Tensor, shift: tuple[float, float] = (-0.1, 0.1)) -> tf.Tensor:
    """Turn the hue of colours `(..., 3)` in [0, 1]; 1 is the whole circle of hues."""
    values, seed = _checked(image, seed)
    turn = _uniform(seed, 12, shift, values)
    hsv = tf.image.rgb_to_hsv(values)
    turned = tf.concat([tf.math.floormod(hsv[..., :1] + turn, 1.0), hsv[..., 1:]], -1)
    return tf.cast(tf.image.hsv_to_rgb(turned), image.dtype)


def noise(image: tf.Tensor, seed: tf.Tensor, deviation: tuple[float, float] = (0.0, 0.1)) -> tf.Tensor:
    """Add white Gaussian noise; `deviation` is in the units of the image."""
    values, seed = _checked(image, seed)
    shape = tf.shape(values)[1:]
    white = _each(seed, lambda s: tf.random.stateless_normal(shape, s + [0, 4]))
    return tf.cast(values + _uniform(seed, 3, deviation, values) * tf.ensure_shape(white, values.shape), image.dtype)


def window(
    image: tf.Tensor,
    seed: tf.Tensor,
    centre: tuple[float, float] = (-700.0, -500.0),
    width: tuple[float, float] = (1300.0, 1700.0),
) -> tf.Tensor:
    """Clip to a window of random centre and width, in the units of the image, and scale it to 0 .. 1."""
    values, seed = _checked(image, seed)
    extent = _uniform(seed, 8, width, values)
    low = _uniform(seed, 7, centre, values) - extent / 2
    return tf.cast(tf.clip_by_value((values - low) / extent, 0, 1), image.dtype)


def chosen(seed: tf.Tensor, share: float, changed: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """`changed` for a share of the images, each by its own seed, and `image` for the others."""
    values, seed = _checked(image, seed)
    return tf.where(_uniform(seed, 9, (0.0, 1.0), values) < share, changed, image)


def blur(image: tf.Tensor, seed: tf.Tensor, sigma: tuple[float, float] = (0.5, 1.0)) -> tf.Tensor:
    """Smooth with a Gaussian of `sigma` voxels, the same along each axis; the border is continued."""
    values, seed = _checked(image, seed)
    reach = max(1, int(np.ceil(3 * max(sigma))))
    offsets = np.arange(-reach, reach + 1, dtype=np.float32)
    width = tf.maximum(_uniform(seed, 5, sigma, values), 1e-3)
    weights = [tf.exp(-0.5 * (o / width) ** 2) for o in offsets]
    total = tf.add_n(weights)
    for axis in range(1, values.shape.rank - 1):
        size = tf.shape(values)[axis]
        places = [tf.clip_by_value(tf.range(size) + int(o), 0, size - 1) for o in offsets]
        shifted = [tf.gather(values, p, axis=axis) * w for p, w in zip(places, weights, strict=True)]
        values = tf.add_n(shifted) / total
    return tf.cast(values, image.dtype)


def bias_field(image: tf.Tensor, seed: tf.Tensor, strength: float = 0.3, knots: int = 5) -> tf.Tensor:
    """Multiply with a smooth field around 1, as of an MR coil: `v * exp(b)`, b a cubic B-spline.

    Args:
        image, seed: as for the module; the image's size must be static.
        strength: b lies within +-strength: its control values are uniform on that range.
        knots: control points along each axis, at least 4.
    """
    values, seed = _checked(image, seed)
    size = values.shape[1:-1]
    nodes = (*[knots] * len(size), 1)
    control = _each(seed, lambda s: tf.random.stateless_uniform(nodes, s + [0, 6], -strength, strength))
    control = tf.ensure_shape(control, (None, *nodes))
    return tf.cast(values * tf.exp(elastic.bspline_field(control, size)), image.dtype)


def _checked(image: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(float32 values, int64 seeds `(batch, 2)`)."""
    if not tf.as_dtype(image.dtype).is_floating:
        raise ValueError(f"the values of an image of dtype {tf.as_dtype(image.dtype).name} are not changed; cast it")
    seed = tf.cast(seed, tf.int64)
    if seed.shape.rank == 1:
        seed = tf.stack([seed, tf.zeros_like(seed)], axis=1)
    if seed.shape.rank != 2 or seed.shape[1] != 2:
        raise ValueError(f"seeds are integers (batch,) or (batch, 2), got shape {seed.shape}")
    # The second number also tells the draws of the functions apart (1 to 15, see `tag`).
    return tf.cast(image, tf.float32), seed * [1, 16]


def _each(seed: tf.Tensor, draw: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    return tf.map_fn(draw, seed, fn_output_signature=tf.float32)


def _uniform(seed: tf.Tensor, tag: int, bounds: Iterable[float], values: tf.Tensor) -> tf.Tensor:
    """One draw per image, shaped to multiply the images."""
    low, high = (float(bound) for bound in bounds)
    drawn = _each(seed, lambda s: tf.random.stateless_uniform((), s + [0, tag], 0.0, 1.0))
    return tf.reshape(low + (high - low) * drawn, [-1] + [1] * (values.shape.rank - 1))


def _normal(seed: tf.Tensor, tag: int, deviation: float, values: tf.Tensor) -> tf.Tensor:
    """One normal draw around 0 per image, shaped to multiply the images."""
    drawn = _each(seed, lambda s: tf.random.stateless_normal((), s + [0, tag]))
    return tf.reshape(float(deviation) * drawn, [-1] + [1] * (values.shape.rank - 1))
