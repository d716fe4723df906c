"""Double-uncertainty weighted mean teacher (Wang et al., MICCAI 2020), reimplemented from its published description.

Idea: T passes of the teacher with dropout and noisy images tell twice where it is unsure: by the entropy of its mean
prediction (segmentation uncertainty), and by the entropy of its mean features over their channels (feature
uncertainty). Student and teacher must agree in predictions and in features, each voxel with weight exp(-uncertainty).
The student is used afterwards.

Deviates: no code was released. Features are those that the last convolution sees, made probabilities by a softmax over
their channels; both entropies are divided by the largest one. The loss' second part, which rewards small uncertainty,
has no gradient where the teacher is a moving average, and is left out.
"""

from typing import Literal

import tensorflow as tf
from pydantic import Field

from tfmed.tasks.semi_supervised_baselines.base import Agreeing, BaselineLearner, entropy, largest_entropy


class DoubleUncertainty(Agreeing):
    """`model.architecture: {name: double_uncertainty}`."""

    name: Literal["double_uncertainty"] = "double_uncertainty"
    consistency_on: Literal["all", "unlabelled"] = "all"
    passes: int = Field(8, ge=1, le=512)  # T
    features: float = Field(1.0, ge=0)  # weight of the features' term against the predictions'


class DoubleUncertaintyLearner(BaselineLearner):
    """L = L_Seg + w(t) (mean e^-U_s |p_student - p_teacher|^2 + features mean e^-U_f |f_student - f_teacher|^2)."""

    terms = ("consistency", "features", "segmentation_uncertainty", "feature_uncertainty")

    def further_terms(self, batch, images, found):
        """Both weighted differences; logs both mean uncertainties."""
        names = ("logits", "features")
        passes = [
            [tf.nn.softmax(one[name]) for name in names] for one in self.taught(batch, images, self.baseline.passes)
        ]
        weights = {"consistency": self.ramp(batch), "features": self.baseline.features * self.ramp(batch)}
        terms = {}
        for i, (term, kind) in enumerate((("consistency", "segmentation"), ("features", "feature"))):
            name, target = names[i], tf.add_n([one[i] for one in passes]) / len(passes)
            student = tf.nn.softmax(tf.cast(self.chosen(found[name]), tf.float32))
            uncertainty = entropy(target) / largest_entropy(target.shape[-1])
            difference = tf.reduce_sum(tf.square(student - target), -1)
            terms[term] = (weights[term], tf.reduce_mean(tf.exp(-uncertainty) * difference))
            terms[f"{kind}_uncertainty"] = (0.0, tf.reduce_mean(uncertainty))
        return terms
