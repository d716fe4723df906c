"""Losses of one network that learns from several data sets at once, whose classes are not the same.

Logits have the classes of all sets (see `tfmed.data.several_sets.SetCoding`), and the shapes of `losses.segmentation`.
"""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from tfmed.losses import segmentation as losses


def set_loss(
    logits: tf.Tensor,
    target: tf.Tensor,
    counted: Sequence[float],
    kind: str = "dice",
    smooth: float = 1e-5,
    total: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> tf.Tensor:
    """The loss of one set's samples, a scalar.

    The softmax is over the classes of all sets, so that what is given to another set's class is missing in this one's.

    Args:
        logits: `(n, ..., classes of all sets)`, of this set's samples.
        target: integer labels `(n, ...)`, coded.
        counted: a weight per class, 1 for the set's own and the background, 0 for others: Dice is the mean over these.
        kind: "dice" (over all voxels of the samples together) or "dice_cross_entropy" (their sum).
        smooth: of Dice.
        total: makes the sums of all replicas of this replica's, see `losses.segmentation.batch_dice`.

    Raises:
        ValueError: an unknown kind; as `losses.segmentation`.
    """
    if kind not in ("dice", "dice_cross_entropy"):
        raise ValueError(f"kind is {kind!r}; it may be dice or dice_cross_entropy")
    dice = losses.batch_dice(logits, target, class_weights=counted, background=True, smooth=smooth, total=total)
    if kind == "dice":
        return dice
    return dice + tf.reduce_mean(losses.cross_entropy(logits, target))


def weighted(values: Sequence[tf.Tensor], weights: Sequence[float]) -> tf.Tensor:
    """sum_m weight_m * value_m, a scalar (Guo et al. 2021, Eq. 1).

    Args:
        values: the loss of each set, scalars.
        weights: of each set, not negative; together 1.

    Raises:
        ValueError: other weights.

    Example:
        >>> float(weighted([tf.constant(2.0), tf.constant(4.0)], [0.75, 0.25]))
        2.5
    """
    if len(values) != len(weights) or min(weights) < 0 or not math.isclose(math.fsum(weights), 1, abs_tol=1e-6):
        raise ValueError(f"weights {tuple(weights)} of {len(values)} losses: one for each, not negative, together 1")
    return tf.add_n([weight * value for weight, value in zip(weights, values, strict=True)])
