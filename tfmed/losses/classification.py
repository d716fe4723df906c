"""Losses of classifiers, and what their scores mean: one score, of the second of two classes, or one for each class."""

import tensorflow as tf


def outputs_of(classes: int) -> int:
    """Scores that tell so many classes: one for two classes, else one each."""
    return 1 if classes == 2 else classes


def cross_entropy(scores: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each sample, float32 `(n,)`.

    Args:
        scores: logits `(n, 1)`, of the second class against the first, or `(n, classes)`.
        labels: class numbers `(n,)`.

    Example:
        >>> [round(float(value), 3) for value in cross_entropy(tf.constant([[0.0], [50.0]]), tf.constant([0, 1]))]
        [0.693, 0.0]
    """
    scores = tf.cast(scores, tf.float32)
    if scores.shape[-1] == 1:
        return tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, tf.float32), scores[:, 0])
    return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(labels, tf.int32), scores)  # Keras has float32 labels


def chosen_class(scores: tf.Tensor) -> tf.Tensor:
    """The most probable class, int32 `(n,)`."""
    return tf.cast(scores[:, 0] > 0, tf.int32) if scores.shape[-1] == 1 else tf.argmax(scores, -1, tf.int32)


def probabilities(scores: tf.Tensor) -> tf.Tensor:
    """Of every class, float32 `(n, classes)`."""
    scores = tf.cast(scores, tf.float32)
    if scores.shape[-1] > 1:
        return tf.nn.softmax(scores)
    second = tf.sigmoid(scores)
    return tf.concat([1.0 - second, second], -1)
