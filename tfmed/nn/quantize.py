"""Codebooks: vectors that features are replaced by, which follow the means of what they replace (van den Oord et al.
2017, appendix A.1), in groups that may have channels of their own; and how gradients pass the replacement.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfmed.compat import tensor_variable
from tfmed.training.model import assign


def disjoint_channels(groups: Sequence[int], size: int) -> np.ndarray:
    """A mask `(codes, size)` float32, 1 where a code may differ from 0: each group has an equal run of channels.

    Args:
        groups: how many codes each group has.
        size: of a code.

    Raises:
        ValueError: the channels cannot be shared equally.

    Example:
        >>> disjoint_channels((2, 1), 4).tolist()
        [[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]
    """
    if not groups or size % len(groups):
        raise ValueError(f"{size} channels cannot be shared equally by {len(groups)} groups of codes")
    each = np.repeat(np.eye(len(groups), dtype=np.float32), size // len(groups), 1)
    return np.repeat(each, groups, 0)


def straight_through(features: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
    """The codes, whose gradient is taken for that of the features that they replace."""
    return features + tf.stop_gradient(codes - features)


class Codebook(keras.layers.Layer):
    """Codes in groups, one after another; features are replaced by the nearest code of the first groups, or of all.

    Codes are no trainable weights: `follow` moves each to the mean of the features that chose it.

    Args:
        groups: how many codes each group has.
        size: of a code.
        mask: `(codes, size)`, 0 where a code stays 0; None: nowhere.
        decay: of the moving averages.
        epsilon: Laplace smoothing of the counts.
        seed: of the first codes, which are standard normal.

    Example:
        >>> book = Codebook((3, 1), 2)
        >>> features = tf.zeros((5, 4, 4, 2))
        >>> [found.shape.as_list() for found in book.nearest(features)]  # among the first group; among all
        [[5, 4, 4], [5, 4, 4]]
    """

    def __init__(
        self,
        groups: Sequence[int],
        size: int,
        mask: np.ndarray | None = None,
        decay: float = 0.98,
        epsilon: float = 1e-5,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(trainable=False, dtype="float32", **kwargs)
        self.groups, self.decay, self.epsilon = tuple(groups), decay, epsilon
        shape = (sum(self.groups), size)
        self.mask = np.ones(shape, np.float32) if mask is None else np.asarray(mask, np.float32)
        first = np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * self.mask
        # The released code starts its counts at 0, and a code that the first batch does not choose is then thrown far
        # away: its sum is divided by next to nothing. From 1 on it stays where it is.
        self.codes = self._kept("codes", first)
        self.sums = self._kept("sums", first)
        self.counts = self._kept("counts", np.ones(shape[0], np.float32))
        self.built = True

    def _kept(self, name: str, value: np.ndarray) -> Any:
        start = keras.initializers.Constant(0.0)
        variable = self.add_weight(name=name, shape=value.shape, initializer=start, trainable=False, dtype="float32")
        variable.assign(value)
        return variable

    def nearest(self, features: tf.Tensor) -> list[tf.Tensor]:
        """Numbers int32 `(...)` of the codes nearest to features `(..., size)` in the squared distance.

        Returns:
            A list: among the first group alone, among the first two, and so on to all.
        """
        codes = tensor_variable(self.codes)
        flat = tf.reshape(tf.cast(features, tf.float32), (-1, codes.shape[1]))
        # |f - e|^2 without |f|^2, which all codes share: one product of matrices serves every group.
        distances = tf.reduce_sum(codes**2, 1) - 2.0 * tf.matmul(flat, codes, transpose_b=True)
        shape, ends = tf.shape(features)[:-1], np.cumsum(self.groups)
        return [tf.reshape(tf.argmin(distances[:, :end], 1, tf.int32), shape) for end in ends]

    def look_up(self, numbers: tf.Tensor) -> tf.Tensor:
        """Codes float32 `(..., size)` of numbers `(...)`."""
        return tf.gather(tensor_variable(self.codes), numbers)

    def follow(self, features: tf.Tensor, numbers: tf.Tensor, model: Any = None) -> None:
        """Move the codes towards the means of the features that chose them, within a training step.

        n <- d n + (1 - d) count, m <- d m + (1 - d) sum, e = m / ((n + eps) / (N + K eps) N), N = sum n.

        Args:
            features: `(..., size)`.
            numbers: `(...)` of the codes that they chose; a number below 0 takes no part.
            model: the `TrainingModel` over whose replicas counts and sums are added up; None: of this batch alone.
        """
        codes = tensor_variable(self.codes)
        flat = tf.reshape(tf.stop_gradient(tf.cast(features, tf.float32)), (-1, codes.shape[1]))
        # A product with the choices as 0 and 1 is several times as fast on a CPU as sums by segment.
        chose = tf.one_hot(tf.reshape(numbers, (-1,)), codes.shape[0], dtype=tf.float32)
        count, total = tf.reduce_sum(chose, 0), tf.matmul(chose, flat, transpose_a=True)
        if model is not None and model.replicas > 1:
            context = tf.distribute.get_replica_context()
            count, total = (context.all_reduce(tf.distribute.ReduceOp.SUM, one) for one in (count, total))
        counts = self.decay * tensor_variable(self.counts) + (1 - self.decay) * count
        sums = self.decay * tensor_variable(self.sums) + (1 - self.decay) * total
        every = tf.reduce_sum(counts)
        smoothed = (counts + self.epsilon) / (every + len(self.mask) * self.epsilon) * every
        for variable, value in ((self.counts, counts), (self.sums, sums),
                                (self.codes, sums / smoothed[:, None] * self.mask)):  # fmt: skip
            assign(variable, value)

    def restart(self, features: tf.Tensor, unused: tf.Tensor, draws: tf.Tensor) -> None:
        """Put codes that nothing chooses at features of the batch, within a training step.

        Args:
            features: `(..., size)`, the same on all replicas.
            unused: bool `(codes,)`: which ones.
            draws: float32 `(codes,)` in [0, 1): which feature each takes.
        """
        codes = tensor_variable(self.codes)
        flat = tf.reshape(tf.stop_gradient(tf.cast(features, tf.float32)), (-1, codes.shape[1]))
        last = tf.shape(flat)[0] - 1
        chosen = tf.minimum(tf.cast(draws * tf.cast(last + 1, tf.float32), tf.int32), last)
        new = tf.gather(flat, chosen) * self.mask
        for variable, value in ((self.codes, new), (self.sums, new), (self.counts, tf.ones_like(draws))):
            old, which = tensor_variable(variable), tf.reshape(unused, [-1] + [1] * (len(value.shape) - 1))
            assign(variable, tf.where(which, value, old))
