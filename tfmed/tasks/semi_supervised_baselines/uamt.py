"""UA-MT, uncertainty-aware mean teacher (Yu et al., MICCAI 2019), reimplemented.

Idea: a mean teacher whose word counts only where it is sure: T passes with dropout and noisy images give the entropy of
its mean prediction, and voxels above a threshold are left out. The threshold rises over the training from 3/4 of the
largest entropy to all of it. The student is used afterwards.

Deviates: the mean over certain voxels is taken for each volume and then over volumes, so that sharing a batch changes
nothing; more than two classes: the largest entropy is log C. See `mean_teacher` for batch norm.
"""

from typing import Literal

import tensorflow as tf
from pydantic import Field

from tfmed.losses import segmentation as losses
from tfmed.tasks.semi_supervised_baselines.base import Agreeing, BaselineLearner, entropy, largest_entropy


class UAMT(Agreeing):
    """`model.architecture: {name: uamt}`; numbers of the paper and its code."""

    name: Literal["uamt"] = "uamt"
    passes: int = Field(8, ge=1, le=512)  # T
    threshold: float = Field(0.75, ge=0, le=1)  # at the start, share of the largest entropy


class UAMTLearner(BaselineLearner):
    """L = L_Seg + w(t) mean over certain voxels of |p_student - p_teacher|^2."""

    terms = ("consistency", "certain")

    def further_terms(self, batch, images, found):
        """The masked squared difference of probabilities; logs the share of certain voxels."""
        target, *passes = self.taught(batch, images, 1 + self.baseline.passes)
        mean = tf.add_n([tf.nn.softmax(one["logits"]) for one in passes]) / len(passes)
        mask = entropy(mean) < self.limit(batch)
        difference = losses.consistency(self.chosen(found["logits"]), target["logits"], mask)
        share = tf.reduce_mean(tf.cast(mask, tf.float32))
        return {"consistency": (self.ramp(batch), tf.reduce_mean(difference)), "certain": (0.0, share)}

    def limit(self, batch):
        """The entropy below which a voxel counts, nats."""
        start = self.baseline.threshold
        share = start + (1.0 - start) * losses.sigmoid_rampup(self.step_of(batch), self.steps)
        return share * largest_entropy(self.config.classes)
