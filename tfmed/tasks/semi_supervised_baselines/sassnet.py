"""SASSNet, shape-aware semi-supervised segmentation (Li, Zhang and He, MICCAI 2020), reimplemented.

Idea: a second head learns the signed distance map of the label, which carries shape. A discriminator sees distance maps
with their images and tells those of labelled volumes from those of unlabelled ones; the network learns to make it take
unlabelled for labelled. No teacher; the segmentation is used afterwards.

Deviates: as `dtc`. The discriminator averages over all positions at its end, which for the paper's crops of 112 x 112 x
80 is the released code's pooling.
"""

from typing import Literal

import keras
import tensorflow as tf
from pydantic import Field, PositiveInt

from tfmed.compat import leaky_relu
from tfmed.nn.adam import Adam
from tfmed.nn.dropout import Dropout, seeds
from tfmed.nn.unet import CONV
from tfmed.tasks.semi_supervised_baselines.base import Baseline
from tfmed.tasks.semi_supervised_baselines.dtc import DistanceLearner

LABELLED = 1  # the discriminator's second class


class SASSNet(Baseline):
    """`model.architecture: {name: sassnet}`; numbers of the paper and its code."""

    name: Literal["sassnet"] = "sassnet"
    weight: float = Field(0.01, ge=0)  # of the adversarial term
    alpha: float = Field(0.3, ge=0)  # of the distance map's squared error
    discriminator_width: PositiveInt = 64  # channels of its first convolution
    discriminator_learning_rate: float = Field(1e-4, gt=0)  # of Adam(0.9, 0.99)


def discriminator(classes, channels, width=64, axes=3, seed=0):
    """[distance maps `(n, *size, classes - 1)`, images `(n, *size, channels)`] -> logits `(n, 2)`.

    Its classes are unlabelled and labelled. With one channel, two classes and a width of 64 the 3-D one has 11,020,290
    parameters.
    """
    drawn = seeds(seed)
    shape = (None,) * axes
    inputs = [keras.Input((*shape, classes - 1)), keras.Input((*shape, channels))]
    of_map, of_image = (CONV[axes](width, 4, 2, "same", name=name) for name in ("map", "image"))
    x = keras.layers.Add()([of_map(inputs[0]), of_image(inputs[1])])
    for i in range(1, 4):
        x = Dropout(0.5, spatial=True, seed=next(drawn), name=f"dropout{i}")(leaky_relu(0.2)(x))
        x = CONV[axes](width * 2**i, 4, 2, "same", name=f"conv{i}")(x)
    x = leaky_relu(0.2)(x)
    x = (keras.layers.GlobalAveragePooling2D if axes == 2 else keras.layers.GlobalAveragePooling3D)()(x)
    logits = keras.layers.Activation("linear", dtype="float32")(keras.layers.Dense(2, name="verdict")(x))
    return keras.Model(inputs, logits, name="discriminator")


class SASSNetLearner(DistanceLearner):
    """L = L_Seg + alpha L_distance + w(t) L_adversarial; the discriminator's own step follows the network's."""

    terms = ("distance", "adversarial", "discriminator")

    def __init__(self, config, streams, network, rate, steps, seed=0, **kwargs):
        baseline = config.architecture
        critic = discriminator(config.classes, len(config.modalities), baseline.discriminator_width, seed=seed + 1)
        optimizer = Adam(baseline.discriminator_learning_rate, beta_1=0.9, beta_2=0.99)
        others = {"discriminator": (optimizer, [critic])}
        super().__init__(config, streams, network, rate, steps, seed=seed, others=others, **kwargs)
        self.discriminator = critic

    @property
    def objectives(self):
        """The network's, and then the discriminator's."""
        return super().objectives | {"discriminator": self.discriminator_loss}

    def further_terms(self, batch, images, found):
        """The distance map's error, and how sure the discriminator is that unlabelled volumes are unlabelled."""
        _, maps = self.streams.divide(found["distance"])
        _, unlabelled = self.streams.divide(images)
        verdict = self.discriminator([maps, unlabelled], training=False)
        return {
            "distance": (self.baseline.alpha, self.distance_error(batch, found)),
            "adversarial": (self.ramp(batch), -tf.reduce_mean(tf.nn.log_softmax(verdict)[:, LABELLED])),
        }

    def discriminator_loss(self, batch):
        """Cross-entropy of the discriminator, a mean over all volumes."""
        images = self.jittered(batch)
        maps = tf.stop_gradient(self.student(images, training=False)["distance"])
        verdicts = tf.nn.log_softmax(self.discriminator([maps, images], training=True))
        labelled, unlabelled = self.streams.divide(verdicts)
        right = tf.concat([labelled[:, LABELLED], unlabelled[:, 1 - LABELLED]], 0)
        loss = -tf.reduce_mean(right)
        return loss, {"discriminator": loss}
