"""Cohen's kappa of all voxels that a training step has seen, as a running metric."""

from typing import Any

import keras
import tensorflow as tf


class Kappa(keras.metrics.Metric):
    """Cohen's kappa of two classes over everything since the last reset; `metrics.agreement.cohen_kappa` of sums.

    Counts are kept in float64: a few steps see more voxels than float32 can count.
    """

    def __init__(self, name: str = "kappa", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        counts: dict[str, Any] = {"shape": (4,), "initializer": "zeros", "dtype": "float64"}
        self.counts = self.add_weight(name="counts", **counts)

    def update_state(self, counts: tf.Tensor, sample_weight: None = None) -> None:
        """Add counts, `(4,)`: true and false positives, false and true negatives, see `confusion`."""
        self.counts.assign(self.counts + tf.cast(counts, "float64"))

    def reset_state(self) -> None:
        """Forget all counts."""
        self.counts.assign(tf.zeros(4, tf.float64))  # Keras 2 would assign a scalar

    def result(self) -> tf.Tensor:
        """Kappa, a float64 scalar; 1 where nothing was counted, or all of it is alike."""
        tp, fp, fn, tn = tf.unstack(tf.convert_to_tensor(self.counts))
        agreed, by_chance = 2 * (tp * tn - fp * fn), (tp + fp) * (fp + tn) + (tp + fn) * (fn + tn)
        return tf.where(by_chance > 0, tf.math.divide_no_nan(agreed, by_chance), tf.ones_like(agreed))


def confusion(prediction: tf.Tensor, reference: tf.Tensor) -> tf.Tensor:
    """(true positives, false positives, false negatives, true negatives) of two masks of one shape, float64 `(4,)`."""
    ours, theirs = (tf.reshape(tf.cast(mask, tf.bool), [-1]) for mask in (prediction, reference))
    groups = (ours & theirs, ours & ~theirs, ~ours & theirs, ~ours & ~theirs)
    return tf.stack([tf.cast(tf.math.count_nonzero(group), tf.float64) for group in groups])
