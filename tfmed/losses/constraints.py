"""Losses that constrain sums of probabilities: how much of an object a box must hold, and that nothing lies outside.

Shapes, everywhere: `probabilities` of the foreground `(n, y, x)`; `boxes` `(n, boxes, 4)`, whole numbers (y0, y1, x0,
x1) of pixels, the ends not included; a box without pixels is no box. Every loss gives one float32 value per
sample, `(n,)`, so that a caller can weigh samples and divide by the global batch.

Kervadec et al., "Bounding boxes for weakly supervised segmentation: global constraints get close to full supervision",
MIDL 2020.
"""

from collections.abc import Sequence

import tensorflow as tf


def extended_log_barrier(z: tf.Tensor, t: float | tf.Tensor) -> tf.Tensor:
    """The penalty of a constraint z <= 0, float32 of the shape of `z` (Kervadec et al. 2019).

    -log(-z) / t as long as z <= -1 / t^2, and its tangent of slope t from there on: convex, increasing and smooth, with
    a finite gradient for any z, also where the constraint is broken.

    Args:
        z: what must not be above 0, any shape.
        t: how hard the barrier is, a number or scalar above 0; the larger, the nearer to a wall.

    Example:
        >>> [round(float(value), 3) for value in extended_log_barrier(tf.constant([-9.0, 0.0, 1.0]), t=5.0)]
        [-0.439, 0.844, 5.844]
    """
    z, t = tf.cast(z, tf.float32), tf.cast(t, tf.float32)
    edge = 1.0 / tf.square(t)
    kept = z <= -edge
    # The branch that is not taken must not be undefined either: its gradient would be NaN times 0.
    logarithmic = -tf.math.log(tf.where(kept, -z, edge)) / t
    return tf.where(kept, logarithmic, t * z + (2.0 * tf.math.log(t) + 1.0) / t)


def barrier_hardness(
    step: tf.Tensor, steps: int, epochs: int = 50, start: float = 5.0, growth: float = 1.1
) -> tf.Tensor:
    """t of `extended_log_barrier` at a training step, float32: `start`, times `growth` after each epoch.

    Args:
        step: whole number, from 0 on.
        steps: of the training; `epochs` equal parts of them are epochs.

    Example:
        >>> [round(float(barrier_hardness(step, steps=100))) for step in (0, 1, 2, 99)]
        [5, 5, 6, 534]
    """
    epoch = tf.minimum(tf.cast(step, tf.int64) * epochs // steps, epochs - 1)
    return start * tf.pow(tf.constant(growth, tf.float32), tf.cast(epoch, tf.float32))


def inside(boxes: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """Which pixels lie in some box, bool `(n, height, width)`."""
    rows, columns = _along(boxes, 0, height), _along(boxes, 1, width)
    return tf.reduce_any(rows[:, :, :, None] & columns[:, :, None, :], 1)


def stripes(probabilities: tf.Tensor, boxes: tf.Tensor, width: int = 5) -> tuple[tf.Tensor, tf.Tensor]:
    """(z, used) of all stripes of all boxes, float32 and bool `(n, boxes, stripes)`.

    A box is cut into stripes of `width` rows, and again of `width` columns; what remains is a narrower one. An object
    that touches all four sides of its box and is connected crosses each row and each column, so a stripe of w lines
    holds at least w of its pixels: z = w - sum of the stripe's probabilities must not be above 0. There is room for as
    many stripes as the whole image has; `used` says which of them a box has.

    Args:
        width: lines of a stripe, at least 1.
    """
    if width < 1:
        raise ValueError(f"width {width}: a stripe has at least one line")
    probabilities = tf.cast(probabilities, tf.float32)
    height, length = tf.shape(probabilities)[1], tf.shape(probabilities)[2]
    rows, columns = (tf.cast(_along(boxes, *at), tf.float32) for at in ((0, height), (1, length)))
    # Plain sums: as products of matrices they would lose digits where a GPU multiplies in TF32.
    within = probabilities[:, None] * rows[..., None] * columns[:, :, None]
    down = _grouped(tf.reduce_sum(within, 3), boxes[..., 0:2], width)
    across = _grouped(tf.reduce_sum(within, 2), boxes[..., 2:4], width)
    z, used = (tf.concat(pair, -1) for pair in zip(down, across, strict=True))
    filled = (boxes[..., 1] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 2])
    return z, used & filled[..., None]


def tightness(probabilities: tf.Tensor, boxes: tf.Tensor, t: float | tf.Tensor, width: int = 5) -> tf.Tensor:
    """Sum of the barrier over all stripes of `stripes`: every box is touched on all of its sides. 0 without a box."""
    z, used = stripes(probabilities, boxes, width)
    return tf.reduce_sum(tf.where(used, extended_log_barrier(z, t), 0.0), (1, 2))


def size(
    probabilities: tf.Tensor, boxes: tf.Tensor, t: float | tf.Tensor, shares: Sequence[float] = (0.5, 0.9)
) -> tf.Tensor:
    """Barriers of both bounds of the foreground's size, over the number of pixels; 0 without a box.

    Args:
        shares: least and greatest size of the foreground of the whole image, as shares of the area of its boxes. A
            filled ellipse has pi / 4 of its box.
    """
    probabilities = tf.cast(probabilities, tf.float32)
    shape = tf.shape(probabilities)
    pixels = tf.cast(shape[1] * shape[2], tf.float32)
    area = tf.reduce_sum(tf.cast(inside(boxes, shape[1], shape[2]), tf.float32), (1, 2))
    total = tf.reduce_sum(probabilities, (1, 2))
    both = extended_log_barrier(total - shares[1] * area, t) + extended_log_barrier(shares[0] * area - total, t)
    return tf.where(area > 0, both / pixels, 0.0)


def emptiness(probabilities: tf.Tensor, boxes: tf.Tensor, t: float | tf.Tensor) -> tf.Tensor:
    """Barrier of the foreground outside of all boxes, over the number of pixels; 0 without a box.

    A sum of probabilities is never below 0, so the barrier is in its linear part: gradient t / N per pixel outside.
    """
    probabilities = tf.cast(probabilities, tf.float32)
    shape = tf.shape(probabilities)
    within = inside(boxes, shape[1], shape[2])
    outside = tf.reduce_sum(tf.where(within, 0.0, probabilities), (1, 2))
    pixels = tf.cast(shape[1] * shape[2], tf.float32)
    return tf.where(tf.reduce_any(within, (1, 2)), extended_log_barrier(outside, t) / pixels, 0.0)


def background_cross_entropy(logits: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    """-log of the background's probability, mean over the pixels outside of all boxes; 0 where there are none.

    Args:
        logits: `(n, y, x, classes)`, the background first.
    """
    background = tf.nn.log_softmax(tf.cast(logits, tf.float32))[..., 0]
    shape = tf.shape(background)
    outside = ~inside(boxes, shape[1], shape[2])
    count = tf.reduce_sum(tf.cast(outside, tf.float32), (1, 2))
    return -tf.reduce_sum(tf.where(outside, background, 0.0), (1, 2)) / tf.maximum(count, 1.0)


def _along(boxes: tf.Tensor, axis: int, length: int | tf.Tensor) -> tf.Tensor:
    """Which places along an axis (0: y, 1: x) lie in each box, bool `(n, boxes, length)`."""
    places = tf.range(length)
    bounds = tf.cast(boxes[..., 2 * axis : 2 * axis + 2], tf.int32)
    return (places >= bounds[..., :1]) & (places < bounds[..., 1:])


def _grouped(lines: tf.Tensor, bounds: tf.Tensor, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """(z, used) of stripes of `width` lines, `(n, boxes, stripes)`.

    Lines are gathered from where the box begins, so stripes are plain sums of `width` neighbours. A difference of
    running sums would be as quick, but of a sum of 10^5 pixels float32 forgets the hundredths that barriers look at.

    Args:
        lines: sum of each line, `(n, boxes, length)`, 0 outside of the box.
        bounds: first line of the box and the one behind its last, `(n, boxes, 2)`.
    """
    length = tf.shape(lines)[-1]
    count = (length + width - 1) // width
    first, end = (tf.cast(bounds[..., k : k + 1], tf.int32) for k in (0, 1))
    places = tf.minimum(first + tf.range(count * width), length)  # the last is the 0 behind the lines
    found = tf.gather(tf.pad(lines, [[0, 0], [0, 0], [0, 1]]), places, batch_dims=2)
    sums = tf.reduce_sum(tf.reshape(found, tf.concat([tf.shape(lines)[:2], [count, width]], 0)), -1)
    wide = tf.clip_by_value(end - first - width * tf.range(count), 0, width)
    return tf.cast(wide, tf.float32) - sums, wide > 0
