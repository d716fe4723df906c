"""Two streams in one batch: labelled and unlabelled samples, in any ratio, for any number of replicas."""

import dataclasses
import math

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Streams:
    """How a step's samples are shared by two streams.

    The pattern repeats within a batch (2 and 6: one labelled, three unlabelled, and again), so that each share of it
    which a replica, or a micro-batch, gets holds both in the same ratio.

    Args:
        labelled: samples with labels per step, at least 1.
        unlabelled: samples without per step.
    """

    labelled: int
    unlabelled: int = 0

    @property
    def per_step(self):
        return self.labelled + self.unlabelled

    @property
    def periods(self):
        """How many periods of the pattern a batch holds: into as many micro-batches it can be cut."""
        return math.gcd(self.labelled, self.unlabelled)

    @property
    def cycle(self):
        """(labelled, unlabelled) samples of one period of the pattern."""
        return self.labelled // self.periods, self.unlabelled // self.periods

    def place(self, index):
        """(is it labelled?, its number within that stream) of a sample index."""
        labelled, unlabelled = self.cycle
        period, position = divmod(index, labelled + unlabelled)
        if position < labelled:
            return True, period * labelled + position
        return False, period * unlabelled + position - labelled

    def divide(self, tensor):
        """(labelled, unlabelled) rows of a tensor `(n, ...)` of whole periods; the second is empty without any."""
        labelled, unlabelled = self.cycle
        if not unlabelled:
            return tensor, tensor[:0]
        rest = tensor.shape[1:]
        periods = tf.reshape(tensor, (-1, labelled + unlabelled, *rest))
        return tuple(tf.reshape(rows, (-1, *rest)) for rows in (periods[:, :labelled], periods[:, labelled:]))

    def join(self, labelled, unlabelled):
        """The inverse of `divide`."""
        a, b = self.cycle
        if not b:
            return labelled
        rest = labelled.shape[1:]
        periods = [tf.reshape(labelled, (-1, a, *rest)), tf.reshape(unlabelled, (-1, b, *rest))]
        return tf.reshape(tf.concat(periods, 1), (-1, *rest))
