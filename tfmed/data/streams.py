"""Several streams in one batch, in any ratio, for any number of replicas; two of them: labelled and unlabelled."""

import dataclasses
import math
from collections.abc import Sequence

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Mixture:
    """How a step's samples are shared by streams, such as data sets.

    The pattern repeats within a batch (2 and 6: one of the first, three of the second, and again), so that each share
    of it which a replica, or a micro-batch, gets holds all in the same ratio.

    Args:
        counts: samples of each stream per step; at least one stream has some.

    Example:
        >>> mixture = Mixture((2, 4))
        >>> [mixture.place(index) for index in range(6)]  # (stream, number of the sample within it)
        [(0, 0), (1, 0), (1, 1), (0, 1), (1, 2), (1, 3)]
        >>> [rows.numpy().tolist() for rows in mixture.divide(tf.constant([10, 20, 21, 11, 22, 23]))]
        [[10, 11], [20, 21, 22, 23]]
    """

    counts: tuple[int, ...]

    @property
    def per_step(self) -> int:
        """Samples of all streams in a step."""
        return sum(self.counts)

    @property
    def periods(self) -> int:
        """How many periods of the pattern a batch holds: into as many micro-batches it can be cut."""
        return math.gcd(*self.counts)

    @property
    def cycle(self) -> tuple[int, ...]:
        """Samples of each stream in one period of the pattern."""
        return tuple(count // self.periods for count in self.counts)

    def place(self, index: int) -> tuple[int, int]:
        """(stream, number within that stream) of a sample index."""
        period, position = divmod(index, sum(self.cycle))
        stream = 0
        while position >= self.cycle[stream]:
            position -= self.cycle[stream]
            stream += 1
        return stream, period * self.cycle[stream] + position

    def divide(self, tensor: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The rows of each stream, of a tensor `(n, ...)` of whole periods; none of streams without samples."""
        cycle = self.cycle
        if sum(count > 0 for count in cycle) == 1:
            return tuple(tensor if count else tensor[:0] for count in cycle)
        rest = tensor.shape[1:]
        periods = tf.reshape(tensor, (-1, sum(cycle), *rest))
        return tuple(tf.reshape(rows, (-1, *rest)) for rows in tf.split(periods, cycle, 1))

    def join(self, streams: Sequence[tf.Tensor]) -> tf.Tensor:
        """The inverse of `divide`."""
        pairs = [(rows, count) for rows, count in zip(streams, self.cycle, strict=True) if count]
        if len(pairs) == 1:
            return pairs[0][0]
        rest = pairs[0][0].shape[1:]
        periods = [tf.reshape(rows, (-1, count, *rest)) for rows, count in pairs]
        return tf.reshape(tf.concat(periods, 1), (-1, *rest))


@dataclasses.dataclass(frozen=True)
class Streams:
    """Labelled and unlabelled samples in one batch: a `Mixture` of two.

    Args:
        labelled: samples with labels per step, at least 1.
        unlabelled: samples without per step.
    """

    labelled: int
    unlabelled: int = 0

    @property
    def _mixture(self):
        return Mixture((self.labelled, self.unlabelled))

    @property
    def per_step(self):
        return self._mixture.per_step

    @property
    def periods(self):
        """How many periods of the pattern a batch holds: into as many micro-batches it can be cut."""
        return self._mixture.periods

    @property
    def cycle(self):
        """(labelled, unlabelled) samples of one period of the pattern."""
        return self._mixture.cycle

    def place(self, index):
        """(is it labelled?, its number within that stream) of a sample index."""
        stream, number = self._mixture.place(index)
        return stream == 0, number

    def divide(self, tensor):
        """(labelled, unlabelled) rows of a tensor `(n, ...)` of whole periods; the second is empty without any."""
        return self._mixture.divide(tensor)

    def join(self, labelled, unlabelled):
        """The inverse of `divide`."""
        return self._mixture.join((labelled, unlabelled))


@dataclasses.dataclass(frozen=True)
class BatchTurns:
    """Whole batches take turns: one labelled, then so many unlabelled, and again.

    Args:
        unlabelled: steps between two labelled ones; over (unlabelled + 1) m steps m are labelled.
        per_step: samples of a step.

    Example:
        >>> turns = BatchTurns(unlabelled=2, per_step=2)
        >>> [turns.place(index) for index in range(8)]  # (labelled?, number within its stream)
        [(True, 0), (True, 1), (False, 0), (False, 1), (False, 2), (False, 3), (True, 2), (True, 3)]
    """

    unlabelled: int
    per_step: int

    def is_labelled(self, step: int) -> bool:
        """Whether a step's batch is."""
        return step % (self.unlabelled + 1) == 0

    def place(self, index: int) -> tuple[bool, int]:
        """(is it labelled?, its number within that stream) of a sample index."""
        step, position = divmod(index, self.per_step)
        round_, turn = divmod(step, self.unlabelled + 1)
        before = round_ if turn == 0 else round_ * self.unlabelled + turn - 1
        return turn == 0, before * self.per_step + position
