"""DTC, dual-task consistency (Luo et al., AAAI 2021), reimplemented.

Idea: beside the logits a second head learns the signed distance map of the label. Both tasks say where the object is:
the distance map, through a steep sigmoid, must agree with the probabilities, on all volumes. No teacher; the
segmentation is used afterwards.

Deviates: distance maps of empty crops are 1, not 0, and full ones are defined (`data.distance`); softmax over classes
in place of a sigmoid, and a distance map for each foreground class.
"""

from typing import Literal

import tensorflow as tf
from pydantic import Field

from tfmed.nn.branches import branch
from tfmed.tasks.semi_supervised_baselines.base import Baseline, BaselineLearner


class DTC(Baseline):
    """`model.architecture: {name: dtc}`; numbers of the paper."""

    name: Literal["dtc"] = "dtc"
    weight: float = Field(1.0, ge=0)
    beta: float = Field(0.3, ge=0)  # of the distance map's squared error
    steepness: float = Field(1500.0, gt=0)  # -k of sigmoid(k distance)


class DistanceLearner(BaselineLearner):
    """A baseline whose student has a head for signed distance maps."""

    wants_distance = True

    @staticmethod
    def branches(config):
        """tanh, as distances lie in [-1, 1]; one map for each foreground class."""
        return {"distance": lambda shape: branch(shape, config.classes - 1, "tanh", name="distance")}

    def distance_error(self, batch, found):
        """The squared error of the labelled volumes' distance maps, a mean over their voxels."""
        predicted, _ = self.streams.divide(found["distance"])
        wanted, _ = self.streams.divide(batch["distance"])
        return tf.reduce_mean(tf.square(predicted - wanted))


class DTCLearner(DistanceLearner):
    """L = L_Seg + beta L_distance + w(t) mean |sigmoid(k distance) - p|^2."""

    terms = ("distance", "consistency")

    def further_terms(self, batch, images, found):
        """The distance map's error, and what both tasks disagree on."""
        inside = tf.sigmoid(-self.baseline.steepness * found["distance"])
        probabilities = tf.nn.softmax(tf.cast(found["logits"], tf.float32))[..., 1:]
        return {
            "distance": (self.baseline.beta, self.distance_error(batch, found)),
            "consistency": (self.ramp(batch), tf.reduce_mean(tf.square(inside - probabilities))),
        }
