"""How far two maps of probabilities are apart, pixel by pixel, of their logits: what networks teach one another by."""

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


def _pair(student: tf.Tensor, teacher: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    student, teacher = (tf.cast(logits, tf.float32) for logits in (student, teacher))
    checks.same_shape("student", student, "teacher", teacher)
    return student, tf.stop_gradient(teacher)


def _mean(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.reshape(values, [tf.shape(values)[0], -1]), axis=1)
