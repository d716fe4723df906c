"""Losses of detectors: of classes, and of boxes or their offsets; one value per anchor."""

from collections.abc import Callable

import tensorflow as tf


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


def complete_iou_and_side(ratio: float = 1 / 30) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Loss of true and found boxes `(..., 4)` -> `(...)`: 1 - complete IoU (Zheng et al. 2020) + `ratio` times the side
    loss. It has the unit of the boxes: with boxes in units of a stride, the same pixels weigh less at a coarse one.

    With `ratio` 0 this is KerasCV's complete IoU itself.
    """
    from keras_cv import losses

    overlap = losses.CIoULoss(bounding_box_format="xyxy", reduction="none")
    if not ratio:
        return overlap
    return lambda true, found: overlap(true, found) + ratio * side_loss(true, found)
