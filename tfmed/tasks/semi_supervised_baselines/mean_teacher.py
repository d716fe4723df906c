"""Mean teacher (Tarvainen and Valpola, NeurIPS 2017), reimplemented for volumes.

Idea: a teacher, whose weights are the moving average of the student's, sees the same volumes with other noise and other
dropout; the squared difference of both networks' probabilities is added to the supervised loss. The student is used
afterwards.

Deviates: weight, ramp, decay and noise are those that UA-MT uses on volumes; the paper's are for photographs. A network
with batch norm: the teacher normalises with the student's running statistics.
"""

from typing import Literal

import tensorflow as tf

from tfmed.losses import segmentation as losses
from tfmed.tasks.semi_supervised_baselines.base import Agreeing, BaselineLearner


class MeanTeacher(Agreeing):
    """`model.architecture: {name: mean_teacher}`."""

    name: Literal["mean_teacher"] = "mean_teacher"
    consistency_on: Literal["all", "unlabelled"] = "all"


class MeanTeacherLearner(BaselineLearner):
    """L = L_Seg + w(t) mean |p_student - p_teacher|^2."""

    terms = ("consistency",)

    def further_terms(self, batch, images, found):
        """The squared difference of probabilities."""
        (teacher,) = self.taught(batch, images, 1)
        difference = losses.consistency(self.chosen(found["logits"]), teacher["logits"])
        return {"consistency": (self.ramp(batch), tf.reduce_mean(difference))}
