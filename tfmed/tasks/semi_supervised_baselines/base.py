"""What the baselines share: a student, a teacher that follows it, noise of its input, ramp-ups."""

from typing import Literal

import numpy as np
import pydantic
import tensorflow as tf
from pydantic import Field, NonNegativeInt

from tfmed.config import Strict
from tfmed.losses import segmentation as losses
from tfmed.nn.branches import Branched
from tfmed.tasks.semi_supervised_baselines.learner import Learner
from tfmed.training.teacher import follow, start, with_clipped_noise

TEACHER = 16  # tag of the first noise of a teacher's input


class Architecture(Strict):
    """Base of what `model.architecture` may be; its name alone may stand there."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value):
        return {"name": value} if isinstance(value, str) else value


class Baseline(Architecture):
    """What all baselines have: a weight of what unlabelled volumes teach, which grows over the steps."""

    weight: float = Field(0.1, ge=0)  # at the end of the ramp exp(-5 (1 - t)^2)
    rampup_steps: NonNegativeInt | None = None  # length of the ramp; null: all steps


class Taught(Baseline):
    """A baseline with a teacher, whose weights are a moving average of the student's."""

    decay: float = Field(0.99, ge=0, lt=1)  # of the average; at step k at most 1 - 1 / (k + 1)
    noise: float = Field(0.1, ge=0)  # standard deviation of what is added to the teacher's images
    noise_limit: float = Field(0.2, gt=0)  # its largest size


class Agreeing(Taught):
    """A baseline whose student and teacher must agree."""

    consistency_on: Literal["all", "unlabelled"] = "unlabelled"  # volumes


class BaselineLearner(Learner):
    """A segmentation network that learns from labels by L_Seg, and from more by a subclass's `further_terms`.

    Args (others as for `Learner`):
        steps: of the stage.
        twin: a network for the teacher of a `Taught` baseline, as `network` but for the seed of its dropout.
    """

    terms: tuple[str, ...] = ()  # names of the further terms, which are logged
    wants_distance = False  # whether batches hold `distance`, the signed distance maps of the labels

    def __init__(self, config, streams, network, rate, steps, twin=None, **kwargs):
        student = Branched(network, self.branches(config))
        logged = ["loss", "supervised", *self.terms, "gradient_ratio"]
        how = dict(optimizer=config.optimizer, student=student) | kwargs
        super().__init__(config, streams, network, rate, config.decay, logged, **how)
        self.baseline, self.steps = config.architecture, steps
        self.teacher = None
        if twin is not None:
            self.teacher = Branched(twin, self.branches(config), name="teacher")
            start(self.teacher, student)

    @staticmethod
    def branches(config):
        """What the student has beside its logits: {name: function of the features' shape}, see `nn.branches`."""
        return {}

    def train_step(self, batch):
        logs = super().train_step(batch)
        if self.teacher is not None:
            follow(self.teacher, self.student, self.step_of(batch), self.baseline.decay)
        return logs

    def network_loss(self, batch):
        """The mean of L_Seg over the labelled volumes, and the weighted further terms."""
        images = self.jittered(batch)
        found = self.student(self.altered(images, batch), training=True)
        labels, _ = self.streams.divide(batch["label"])
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(found["logits"])
            logits, _ = self.streams.divide(found["logits"])
            supervised = tf.reduce_mean(self.volume_loss(logits, labels, labels))
            further = self.further_terms(batch, images, found)
            weighted = tf.add_n([weight * term for weight, term in further.values()])
        logs = {"loss": supervised + weighted, "supervised": supervised}
        logs |= {name: term for name, (_, term) in further.items()}
        logs["gradient_ratio"] = self.gradient_ratio(tape, found["logits"], weighted, supervised)
        return supervised + weighted + self.penalty(), logs

    def further_terms(self, batch, images, found):
        """{name: (weight, scalar)} of what a paper adds to L_Seg.

        Args:
            batch: the batch, or a micro-batch of it.
            images: its images, jittered.
            found: the student's outputs for them, with `appearance`'s changes.
        """
        raise NotImplementedError

    def ramp(self, batch):
        """The weight of the unsupervised term at this step."""
        length = self.steps if self.baseline.rampup_steps is None else self.baseline.rampup_steps
        return self.baseline.weight * losses.sigmoid_rampup(self.step_of(batch), length)

    def chosen(self, tensor):
        """The rows of the volumes on which student and teacher must agree."""
        everywhere = getattr(self.baseline, "consistency_on", "unlabelled") == "all"
        return tensor if everywhere else self.streams.divide(tensor)[1]

    def taught(self, batch, images, count):
        """The teacher's outputs for `count` noisy copies of the chosen images, one after the other; no gradient."""
        before = []
        for k in range(count):
            with tf.control_dependencies(before):  # one pass is in memory at a time
                found = self.teacher(self.chosen(self.noisy(batch, images, TEACHER + k)), training=True)
            found = {name: tf.stop_gradient(tf.cast(value, tf.float32)) for name, value in found.items()}
            before = list(found.values())
            yield found

    def noisy(self, batch, images, tag):
        """Images with clipped noise."""
        if not self.baseline.noise:
            return images
        return with_clipped_noise(
            images, self.noise(batch, images.shape[1:], tag), self.baseline.noise, self.baseline.noise_limit
        )


def entropy(probabilities):
    """-sum_c p_c log(p_c + 1e-6) in nats, of `(..., c)`."""
    return -tf.reduce_sum(probabilities * tf.math.log(probabilities + 1e-6), -1)


def largest_entropy(count):
    """log(count), the entropy of equal probabilities."""
    return float(np.log(count))
