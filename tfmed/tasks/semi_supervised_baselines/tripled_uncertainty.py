"""Tripled-uncertainty guided mean teacher (Wang et al., MICCAI 2021, "Tri-U-MT"), reimplemented.

Idea: two auxiliary tasks beside the segmentation: the image reconstructed within each class, and the signed distance
map. The teacher's K passes with dropout and noisy images give each task a target and an uncertainty: its segmentations
are averaged with weights from their own entropies (UWI), the auxiliary outputs plainly. Student and teacher must agree
in all three tasks, the less so the less sure the teacher is; and on unlabelled volumes the auxiliary tasks must fit
the student's own segmentation. The student is used afterwards.

Deviates: volumes in place of slices; a distance map for each foreground class; all entropies in units of the largest
one; the released code scores the distance head on [0, 2] in one place and [0, 1] in another, here it is on [-1, 1]
throughout. Weights of the auxiliary losses are not printed with the code: 0.3 as other distance heads have.
"""

from typing import Literal

import numpy as np
import tensorflow as tf
from pydantic import Field

from tfmed.data.distance import signed_distances
from tfmed.nn.branches import branch
from tfmed.tasks.semi_supervised_baselines.base import Agreeing, entropy, largest_entropy
from tfmed.tasks.semi_supervised_baselines.dtc import DistanceLearner

AUXILIARY = ("distance", "reconstruction")


class TripledUncertainty(Agreeing):
    """`model.architecture: {name: tripled_uncertainty}`."""

    name: Literal["tripled_uncertainty"] = "tripled_uncertainty"
    consistency_on: Literal["all", "unlabelled"] = "all"
    noise: float = Field(0.02, ge=0)
    noise_limit: float = Field(0.05, gt=0)
    passes: int = Field(8, ge=2, le=512)  # K
    distance: float = Field(0.3, ge=0)  # weight of the labelled volumes' distance maps
    reconstruction: float = Field(0.3, ge=0)  # weight of the labelled volumes' reconstructions
    own: float = Field(0.1, ge=0)  # weight of the auxiliary tasks on unlabelled volumes


class TripledUncertaintyLearner(DistanceLearner):
    """L = L_Seg + weighted L_distance, L_reconstruction + own L_own + w(t) (L_cs + L_cd + L_cr)."""

    terms = ("distance", "reconstruction", "own", "consistency")

    @staticmethod
    def branches(config):
        """A distance map for each foreground class, and the image within each class."""
        images = config.classes * len(config.modalities)
        further = {"reconstruction": lambda shape: branch(shape, images, name="reconstruction")}
        return DistanceLearner.branches(config) | further

    def further_terms(self, batch, images, found):
        """Auxiliary losses of labelled and of unlabelled volumes, and the three tasks' weighted differences."""
        labels, _ = self.streams.divide(batch["label"])
        volumes, unlabelled = self.streams.divide(images)
        rebuilt, own_rebuilt = self.streams.divide(found["reconstruction"])
        logits, maps = (self.streams.divide(found[name])[1] for name in ("logits", "distance"))
        classes = tf.argmax(tf.stop_gradient(logits), -1, tf.int32)
        own = tf.reduce_mean(tf.square(maps - self.distances(classes)))
        own += tf.reduce_mean(tf.square(own_rebuilt - self.by_class(unlabelled, classes)))
        reconstruction = tf.reduce_mean(tf.square(rebuilt - self.by_class(volumes, labels)))
        return {
            "distance": (self.baseline.distance, self.distance_error(batch, found)),
            "reconstruction": (self.baseline.reconstruction, reconstruction),
            "own": (self.baseline.own, own),
            "consistency": (self.ramp(batch), self.consistency(batch, images, found)),
        }

    def by_class(self, images, classes):
        """What a reconstruction should be: the image within each class, `(n, *size, classes * channels)`."""
        masked = tf.one_hot(classes, self.config.classes)[..., None] * tf.cast(images, tf.float32)[..., None, :]
        return tf.reshape(masked, (*images.shape[:-1], masked.shape[-2] * masked.shape[-1]))

    def distances(self, classes):
        """Signed distance maps of class numbers `(n, *size)`, made on the host."""
        count = self.config.classes

        def all_of(volumes):
            return np.stack([signed_distances(volume, count) for volume in volumes])

        maps = tf.numpy_function(all_of, [classes], tf.float32, stateful=False)
        return tf.ensure_shape(maps, (*classes.shape, count - 1))

    def consistency(self, batch, images, found):
        """The sum of the three tasks' squared differences, each weighted by the teacher's uncertainty."""
        passes = list(self.taught(batch, images, self.baseline.passes))
        target, sureness = integrated([tf.nn.softmax(one["logits"]) for one in passes])
        student = tf.nn.softmax(tf.cast(self.chosen(found["logits"]), tf.float32))
        total = tf.reduce_mean(sureness[..., None] * tf.square(student - target))
        for name in AUXILIARY:
            mean, variance = moments([one[name] for one in passes])
            spread = variance if name == "distance" else tf.sqrt(variance + 1e-12)
            total += tf.reduce_mean(tf.exp(-spread) * tf.square(self.chosen(found[name]) - mean))
        return total


def integrated(predictions):
    """(mean of probabilities with weights softmax(1 - entropy) over the passes, 1 - entropy of that mean).

    Args:
        predictions: list of `(n, *size, classes)`.
    """
    unit = largest_entropy(predictions[0].shape[-1])
    weights = [tf.exp(1.0 - entropy(one) / unit) for one in predictions]
    total = tf.add_n([weight[..., None] * one for weight, one in zip(weights, predictions, strict=True)])
    mean = total / tf.add_n(weights)[..., None]
    return mean, 1.0 - entropy(mean) / unit


def moments(values):
    """(mean, sample variance) over a list of tensors."""
    mean = tf.add_n(values) / len(values)
    return mean, tf.add_n([tf.square(value - mean) for value in values]) / (len(values) - 1)
