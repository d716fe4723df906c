"""How far two maps of probabilities are apart, pixel by pixel, of their logits: what networks teach one another by."""

import math

import tensorflow as tf

from tfmed.losses import checks


def bernoulli_kl(student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
    """KL divergence of Bernoulli distributions, q log(q / p) + (1 - q) log((1 - q) / (1 - p)), mean of a sample; (n,).

    q is the sigmoid of the teacher's logits, which have no gradient, and p that of the student's; the gradient in a
    student's logit is p - q over the number of logits.

    Args:
        student, teacher: logits `(n, ...)` of one shape.

    Example:
        >>> bernoulli_kl(tf.constant([[0.0], [2.0]]), tf.constant([[0.0], [0.0]])).numpy().round(3).tolist()
        [0.0, 0.4339999854564667]
    """
    student, teacher = _pair(student, teacher)
    q = tf.sigmoid(teacher)
    inside = tf.nn.softplus(-student) - tf.nn.softplus(-teacher)  # log q - log p
    outside = tf.nn.softplus(student) - tf.nn.softplus(teacher)  # log(1 - q) - log(1 - p)
    return _mean(q * inside + (1.0 - q) * outside)


def one_sided_kl(student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
    """The first half of `bernoulli_kl`, -q log(p / q), mean of a sample; (n,).

    Of several classes that exclude one another the sum over them is the divergence; of one sigmoid channel it is none:
    negative where p > q, and lowered by every p that grows.

    Args:
        student, teacher: logits `(n, ...)` of one shape; the teacher's have no gradient.
    """
    student, teacher = _pair(student, teacher)
    return _mean(tf.sigmoid(teacher) * (tf.nn.softplus(-student) - tf.nn.softplus(-teacher)))


def jensen_shannon(student: tf.Tensor, teacher: tf.Tensor, reduction: str = "per_pixel") -> tf.Tensor:
    """Jensen-Shannon divergence of the softmax maps of two sets of logits, mean of a sample's pixels; (n,).

    [D(p, m) + D(q, m)] / 2 with m = (p + q) / 2, of the classes of a pixel. It is 0 where the maps agree, at most ln 2,
    which maps without a common class reach, and finite for any logits.

    Args:
        student, teacher: logits `(n, ..., classes)` of one shape; the teacher's have no gradient.
        reduction: "per_pixel"; or "paper": divided by the classes too, as Eq. 3 of few-shot DAG is printed, where they
            belong to what is averaged over: at most ln 2 / classes.

    Raises:
        ValueError: another reduction, or shapes that differ.

    Example:
        >>> one_hot = tf.constant([[50.0, 0.0]]), tf.constant([[0.0, 50.0]])
        >>> jensen_shannon(*one_hot).numpy().round(4).tolist()
        [0.6930999755859375]
    """
    if reduction not in ("per_pixel", "paper"):
        raise ValueError(f"reduction is {reduction!r}; it may be per_pixel or paper")
    student, teacher = _pair(student, teacher)
    log_p, log_q = (tf.nn.log_softmax(logits) for logits in (student, teacher))
    greater, smaller = tf.maximum(log_p, log_q), tf.minimum(log_p, log_q)
    log_m = greater + tf.math.log1p(tf.exp(smaller - greater)) - math.log(2.0)
    both = tf.exp(log_p) * (log_p - log_m) + tf.exp(log_q) * (log_q - log_m)
    apart = _mean(0.5 * tf.reduce_sum(both, -1))
    return apart / tf.cast(tf.shape(student)[-1], tf.float32) if reduction == "paper" else apart


def _pair(student: tf.Tensor, teacher: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    student, teacher = (tf.cast(logits, tf.float32) for logits in (student, teacher))
    checks.same_shape("student", student, "teacher", teacher)
    return student, tf.stop_gradient(teacher)


def _mean(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.reshape(values, [tf.shape(values)[0], -1]), axis=1)
