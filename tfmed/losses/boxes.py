"""Losses of detectors: of classes, and of boxes or their offsets; one value per anchor."""

import math
from collections.abc import Callable

import tensorflow as tf

_TINY = 1e-7


def focal(target: tf.Tensor, logits: tf.Tensor, alpha: float = 0.25, gamma: float = 2.0) -> tf.Tensor:
    """Focal loss of independent classes, summed over them (Lin et al. 2017, Eq. 5): `(...)` of `(..., classes)`.

    With p = sigmoid(logit): -alpha (1 - p)^gamma log p where the target is 1, -(1 - alpha) p^gamma log(1 - p) where it
    is 0.

    Args:
        target: 0 or 1, float32.
        logits: float32.
    """
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits)
    p = tf.sigmoid(logits)
    wrong = target * (1.0 - p) + (1.0 - target) * p
    weight = target * alpha + (1.0 - target) * (1.0 - alpha)
    return tf.reduce_sum(weight * tf.pow(wrong, gamma) * entropy, -1)


def smooth_l1(target: tf.Tensor, found: tf.Tensor, cutoff: float = 1.0) -> tf.Tensor:
    """Half of squared differences up to `cutoff`, absolute ones beyond (Girshick 2015, Eq. 3), mean of the last axis.

    Args:
        target, found: `(..., 4)`, float32.
        cutoff: where one becomes the other; both meet there.
    """
    away = tf.abs(target - found)
    return tf.reduce_mean(tf.where(away < cutoff, 0.5 * away**2 / cutoff, away - 0.5 * cutoff), -1)


def side_loss(true: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
    """How far boxes stick out of the true ones, summed over the four sides: `(...)` of `(..., 4)`.

    Yao et al., "Compound Figure Separation of Biomedical Images with Side Loss", 2021, Eqs 1 and 2.

    Boxes are (x0, y0, x1, y1). It is 0 just where a box lies within the true one, and is in the unit of the boxes.
    """
    out = tf.concat([true[..., :2] - found[..., :2], found[..., 2:] - true[..., 2:]], -1)
    return tf.reduce_sum(tf.nn.relu(out), -1)


def complete_iou(true: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
    """Loss of true and found boxes `(..., 4)` -> `(...)`: 1 - IoU + d^2 / c^2 + alpha v (Zheng et al., "Distance-IoU
    Loss", 2020, Eqs 7 to 11).

    d is the distance of the middles, c the diagonal of what encloses both, v how differently long they are, and alpha =
    v / (1 - IoU + v) a constant to the gradient. KerasCV's loss of this name has 4 / pi^2 within the square of v.
    """
    inside = tf.minimum(true[..., 2:], found[..., 2:]) - tf.maximum(true[..., :2], found[..., :2])
    around = tf.maximum(true[..., 2:], found[..., 2:]) - tf.minimum(true[..., :2], found[..., :2])
    shared = tf.reduce_prod(tf.maximum(inside, 0.0), -1)
    (middle, side), (place, size) = (((one[..., :2] + one[..., 2:]) / 2, one[..., 2:] - one[..., :2])
                                     for one in (true, found))  # fmt: skip
    overlap = shared / (tf.reduce_prod(side, -1) + tf.reduce_prod(size, -1) - shared + _TINY)
    away = tf.reduce_sum((middle - place) ** 2, -1) / (tf.reduce_sum(around**2, -1) + _TINY)
    angles = [tf.atan(one[..., 0] / (one[..., 1] + _TINY)) for one in (side, size)]
    shape = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    alpha = tf.stop_gradient(shape / (1.0 - overlap + shape + _TINY))
    return 1.0 - overlap + away + alpha * shape


def complete_iou_and_side(ratio: float = 1 / 30) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Loss of true and found boxes `(..., 4)` -> `(...)`: `complete_iou` + `ratio` times the side loss. It has the unit
    of the boxes: with boxes in units of a stride, the same pixels weigh less at a coarse one."""
    return lambda true, found: complete_iou(true, found) + ratio * side_loss(true, found)
