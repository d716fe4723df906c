"""Segmentation losses. Logits in, float32 inside, whatever dtype the logits have.

Shapes, everywhere: `logits` `(n, ..., classes)`; `target` integer labels `(n, ...)` or probabilities
`(n, ..., classes)`; `mask` `(n, ...)`, boolean or weights that are not negative: how much each voxel counts (None: all
the same). Voxels to be ignored are those with mask 0; their labels may be any number.
Every loss gives one value per sample, `(n,)`, so that a caller can weigh samples and divide by the global batch; only
`batch_dice`, `masked_cross_entropy` and `noise_robust_dice` give one value. A sample of which nothing counts has loss 0
and gradient 0.

ValueError: a target or mask of another shape than the logits', weights of classes that do not fit, or a label of a
voxel that counts which is none of 0 .. classes - 1 (known only when a graph runs: tf.errors.InvalidArgumentError).
"""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from tfmed.losses import checks


def soft_dice(
    logits: tf.Tensor,
    target: tf.Tensor,
    mask: tf.Tensor | None = None,
    class_weights: Sequence[float] | None = None,
    background: bool = False,
    squared: bool = False,
    smooth: float = 1e-5,
) -> tf.Tensor:
    """1 - Dice between softmax probabilities and target, averaged over classes, per sample `(n,)`.

    Per class (2 sum(p y) + smooth) / (sum(p) + sum(y) + smooth), sums over the voxels of one sample, so a class that is
    absent from both has Dice 1. Milletari et al. 2016 (V-Net) square p and y in the denominator: `squared`.

    Args:
        class_weights: one weight per class (the background's included), None for equal ones.
        background: class 0 counts too.

    Example:
        >>> logits = tf.constant([[[9.0, -9.0], [-9.0, 9.0]]])  # two voxels, sure of class 0 and of class 1
        >>> [round(float(soft_dice(logits, tf.constant([labels]))[0]), 3) for labels in ([0, 1], [1, 0])]
        [0.0, 1.0]
    """
    overlap, size = _dice_sums(logits, target, mask, squared)
    return _dice_loss(overlap, size, class_weights, background, smooth)


def batch_dice(
    logits: tf.Tensor,
    target: tf.Tensor,
    mask: tf.Tensor | None = None,
    class_weights: Sequence[float] | None = None,
    background: bool = False,
    squared: bool = False,
    smooth: float = 1e-5,
    total: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> tf.Tensor:
    """As `soft_dice`, with sums over all voxels of the batch: a scalar.

    Args (others as for `soft_dice`):
        total: makes the sums of all replicas of this replica's; None: its own alone count.
    """
    overlap, size = _dice_sums(logits, target, mask, squared)
    overlap, size = tf.reduce_sum(overlap, 0), tf.reduce_sum(size, 0)
    if total is not None:
        overlap, size = total(overlap), total(size)
    return _dice_loss(overlap, size, class_weights, background, smooth)


def generalized_dice(
    logits: tf.Tensor, target: tf.Tensor, mask: tf.Tensor | None = None, smooth: float = 1e-5
) -> tf.Tensor:
    """1 - generalised Dice (Sudre et al. 2017), `(n,)`: classes are joined with weights 1 / (voxels of the class)^2.

    A class with less than one voxel gets the weight of one with one voxel.
    """
    overlap, size = _dice_sums(logits, target, mask, False)
    volume = tf.reduce_sum(_weigh(_probabilities(target, logits, mask), mask), _inner(logits))
    weight = 1.0 / tf.square(tf.maximum(volume, 1.0))
    overlap, size = tf.reduce_sum(weight * overlap, -1), tf.reduce_sum(weight * size, -1)
    return 1.0 - (2.0 * overlap + smooth) / (size + smooth)


def cross_entropy(
    logits: tf.Tensor, target: tf.Tensor, mask: tf.Tensor | None = None, class_weights: Sequence[float] | None = None
) -> tf.Tensor:
    """-sum_c y_c log p_c, averaged over the voxels that count, per sample `(n,)`.

    Args:
        class_weights: one factor per class on its term; the average stays one over voxels.

    Example:
        >>> undecided = tf.zeros((1, 4, 2))  # one sample of four voxels, two classes
        >>> round(float(cross_entropy(undecided, tf.constant([[0, 1, 1, 0]]))[0]), 4)  # ln 2
        0.6931
    """
    log_p, y = tf.nn.log_softmax(_float(logits)), _probabilities(target, logits, mask)
    if class_weights is not None:
        y = y * checks.class_weights(class_weights, logits.shape[-1])
    return _mean(-tf.reduce_sum(y * log_p, -1), mask)


def masked_cross_entropy(
    logits: tf.Tensor,
    target: tf.Tensor,
    mask: tf.Tensor,
    total: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> tf.Tensor:
    """-sum_i w_i sum_c y_ic log p_ic / max(sum_i w_i, 1), i over all voxels of the batch: a scalar.

    A voxel counts as much in a sample with a thousand annotated ones as in one with ten; nothing annotated costs 0.

    Args (others as for all losses here):
        total: makes the sums of all replicas of this replica's; None: its own alone count.

    Example:
        >>> undecided = tf.zeros((1, 4, 2))
        >>> loss = masked_cross_entropy(undecided, tf.constant([[0, 1, 255, 255]]), tf.constant([[1.0, 1, 0, 0]]))
        >>> round(float(loss), 4)  # ln 2
        0.6931
    """
    log_p, y = tf.nn.log_softmax(_float(logits)), _probabilities(target, logits, mask)
    mask = _float(mask)
    cost, weight = tf.reduce_sum(-tf.reduce_sum(y * log_p, -1) * mask), tf.reduce_sum(mask)
    if total is not None:
        cost, weight = total(cost), total(weight)
    return cost / tf.maximum(weight, 1.0)


def focal(
    logits: tf.Tensor,
    target: tf.Tensor,
    mask: tf.Tensor | None = None,
    gamma: float = 2.0,
    class_weights: Sequence[float] | None = None,
) -> tf.Tensor:
    """-sum_c y_c (1 - p_c)^gamma log p_c (Lin et al. 2017), averaged over the voxels that count, per sample `(n,)`."""
    log_p, y = tf.nn.log_softmax(_float(logits)), _probabilities(target, logits, mask)
    if class_weights is not None:
        y = y * checks.class_weights(class_weights, logits.shape[-1])
    rest = tf.maximum(-tf.math.expm1(log_p), 1e-7) if gamma < 1 else -tf.math.expm1(log_p)
    return _mean(-tf.reduce_sum(y * rest**gamma * log_p, -1), mask)


def noise_robust_dice(
    logits: tf.Tensor,
    target: tf.Tensor,
    gamma: float = 1.5,
    smooth: float = 1e-5,
    total: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> tf.Tensor:
    """sum |p - y|^gamma / (sum p^2 + sum y^2 + smooth) (Wang et al. 2020), sums over all voxels of the batch: a scalar.

    Averaged over the classes but the background. Gamma 2 is near the squared Dice loss; 1 weighs errors alike, as the
    mean absolute error does, which one wrong label moves less.

    Args:
        total: as for `batch_dice`.
    """
    p, y = tf.nn.softmax(_float(logits))[..., 1:], _probabilities(target, logits, None)[..., 1:]
    axes = list(range(len(logits.shape) - 1))
    away = tf.maximum(tf.abs(p - y), 1e-7) ** gamma  # the slope of 0^g is not finite below g = 1
    errors, size = tf.reduce_sum(away, axes), tf.reduce_sum(tf.square(p) + tf.square(y), axes)
    if total is not None:
        errors, size = total(errors), total(size)
    return tf.reduce_mean(errors / (size + smooth))


def absolute_error(logits: tf.Tensor, target: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
    """|p_c - y_c|, mean over classes and over the voxels that count, per sample `(n,)` (Ghosh et al. 2017)."""
    difference = tf.nn.softmax(_float(logits)) - _probabilities(target, logits, mask)
    return _mean(tf.reduce_mean(tf.abs(difference), -1), mask)


def kl_divergence(target_logits: tf.Tensor, logits: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
    """KL(u || v) = sum_c u_c (log u_c - log v_c), averaged over the voxels that count, per sample `(n,)`.

    u is the softmax of `target_logits`, v that of `logits`. Gradients flow into both: put `tf.stop_gradient` around the
    side that is to teach. EquiReg (Eq. 9): the target is the augmented prediction, `mask` the augmented image's
    non-zero voxels.
    """
    target_logits, logits = _pair(target_logits, logits)
    log_u, log_v = tf.nn.log_softmax(target_logits), tf.nn.log_softmax(logits)
    return _mean(tf.reduce_sum(tf.exp(log_u) * (log_u - log_v), -1), mask)


def consistency(logits_a: tf.Tensor, logits_b: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
    """Squared difference of softmax probabilities, mean over classes and over the voxels that count, `(n,)`.

    Symmetric; gradients flow into both sides (Laine and Aila 2017; Tarvainen and Valpola 2017).
    """
    logits_a, logits_b = _pair(logits_a, logits_b)
    difference = tf.nn.softmax(logits_a) - tf.nn.softmax(logits_b)
    return _mean(tf.reduce_mean(tf.square(difference), -1), mask)


# --- ramp-ups: the share of an unsupervised weight at a step ----------------------------------------------------------


def sigmoid_rampup(step: float | tf.Tensor, length: float | tf.Tensor) -> tf.Tensor:
    """exp(-5 (1 - t)^2) with t = step / length cut to [0, 1] (Laine and Aila 2017); float32, 1 if the length is 0.

    Example:
        >>> float(sigmoid_rampup(100, length=100)), round(float(sigmoid_rampup(0, length=100)), 4)  # exp(-5) at first
        (1.0, 0.0067)
    """
    return tf.exp(-5.0 * tf.square(1.0 - _time(step, length)))


def linear_rampup(step: float | tf.Tensor, length: float | tf.Tensor) -> tf.Tensor:
    """t = step / length cut to [0, 1]; float32, 1 if the length is 0."""
    return _time(step, length)


def cosine_rampdown(step: float | tf.Tensor, length: float | tf.Tensor) -> tf.Tensor:
    """(1 + cos(pi t)) / 2 with t = step / length cut to [0, 1]; float32, 0 if the length is 0."""
    return 0.5 * (1.0 + tf.cos(math.pi * _time(step, length)))


def _time(step: float | tf.Tensor, length: float | tf.Tensor) -> tf.Tensor:
    step, length = tf.cast(step, tf.float32), tf.cast(length, tf.float32)
    return tf.where(length > 0, tf.clip_by_value(tf.math.divide_no_nan(step, length), 0.0, 1.0), 1.0)


# --- shared -----------------------------------------------------------------------------------------------------------


def _float(tensor: tf.Tensor) -> tf.Tensor:
    return tf.cast(tensor, tf.float32)


def _inner(logits: tf.Tensor) -> list[int]:
    return list(range(1, len(logits.shape) - 1))


def _pair(one: tf.Tensor, other: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Two sets of logits of one shape, as float32."""
    one, other = _float(one), _float(other)
    checks.same_shape("logits", one, "other logits", other)
    return one, other


def _probabilities(target: tf.Tensor, logits: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Labels one-hot, probabilities as they are: float32 `(n, ..., classes)`."""
    target, logits, rank = tf.convert_to_tensor(target), tf.convert_to_tensor(logits), len(logits.shape)
    if len(target.shape) == rank:
        checks.same_shape("target", target, "logits", logits)
        return _float(target)
    if len(target.shape) != rank - 1 or not (target.dtype.is_integer or target.dtype.is_bool):
        raise ValueError(
            f"target of shape {target.shape} and type {target.dtype.name} for logits of shape {logits.shape}: "
            "give integer labels without, or probabilities with the last axis"
        )
    checks.same_shape("target", target, "the logits' voxels", logits[..., 0])
    if mask is not None:
        mask = tf.convert_to_tensor(mask)
        checks.same_shape("mask", mask, "the logits' voxels", logits[..., 0])
    checks.known_labels(target, logits.shape[-1], mask)
    return tf.one_hot(tf.cast(target, tf.int32), logits.shape[-1])


def _weigh(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    if mask is None:
        return values
    checks.same_shape("mask", _float(mask), "the logits' voxels", values[..., 0])
    return values * _float(mask)[..., None]


def _dice_sums(logits: tf.Tensor, target: tf.Tensor, mask: tf.Tensor, squared: bool) -> tuple[tf.Tensor, tf.Tensor]:
    p, y = tf.nn.softmax(_float(logits)), _probabilities(target, logits, mask)
    size = tf.square(p) + tf.square(y) if squared else p + y
    return tf.reduce_sum(_weigh(p * y, mask), _inner(logits)), tf.reduce_sum(_weigh(size, mask), _inner(logits))


def _dice_loss(
    overlap: tf.Tensor, size: tf.Tensor, class_weights: Sequence[float] | None, background: bool, smooth: float
) -> tf.Tensor:
    loss = 1.0 - (2.0 * overlap + smooth) / (size + smooth)
    counted = slice(0 if background else 1, None)
    weights = checks.class_weights(class_weights, loss.shape[-1], counted)
    loss, weights = loss[..., counted], weights[counted]
    return tf.reduce_sum(loss * weights, -1) / tf.reduce_sum(weights)


def _mean(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Mean over all axes but the first, weighted by the mask; 0 where the mask is empty."""
    if mask is not None:
        checks.same_shape("mask", _float(mask), "the logits' voxels", values)
    values = tf.reshape(values, [tf.shape(values)[0], -1])
    if mask is None:
        return tf.reduce_mean(values, 1)
    mask = tf.reshape(_float(mask), tf.shape(values))
    return tf.math.divide_no_nan(tf.reduce_sum(values * mask, 1), tf.reduce_sum(mask, 1))
