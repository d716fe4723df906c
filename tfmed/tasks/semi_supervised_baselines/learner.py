"""What learners from few labels have in common: one network, two streams, jitter, decay, L_Seg."""

import keras
import tensorflow as tf

from tfmed import compat
from tfmed.augment import intensity
from tfmed.losses import segmentation as losses
from tfmed.nn.adam import Adam
from tfmed.training.single_network import SingleNetworkModel

BRIGHTNESS = 1  # tag of noise


class Learner(SingleNetworkModel):
    """What both have: one network, Adam with L2 decay as in the released code, jittered images.

    Args:
        config: the method's `Config`.
        streams: the `Streams` of a batch.
        network: what is trained.
        rate: learning rate or schedule.
        decay: lambda of the term lambda / 2 |weights|^2.
        logged: names of the values logged.
        optimizer: "adam", or "sgd" with momentum 0.9.
        student: what is trained, if it is more than the network: a model that holds it.
        others: further optimizers, {name: (optimizer, [networks])}.

    A batch holds `image` `(b, *patch, channel)` and `label` `(b, *patch)`, of no meaning in the unlabelled stream.
    """

    def __init__(
        self, config, streams, network, rate, decay, logged, optimizer="adam", student=None, others=None, **kwargs
    ):  # fmt: skip
        super().__init__(per_step=streams.per_step, **kwargs)
        self.config, self.streams, self.decay = config, streams, decay
        self.network = network
        self.student = network if student is None else student
        made = keras.optimizers.SGD(rate, momentum=0.9) if optimizer == "sgd" else Adam(rate)
        self.finish_building({"network": (made, [self.student])} | (others or {}), logged)

    def penalty(self):
        """lambda / 2 |weights|^2, to be added to the loss and not to what is logged."""
        weights = [compat.tensor_variable(v) for v in self.student.trainable_variables]
        return self.decay * tf.add_n([tf.nn.l2_loss(weight) for weight in weights])

    def jittered(self, batch):
        """The images, brighter or darker and with more or less contrast; one draw per crop."""
        image, strength = batch["image"], self.config.jitter
        if not strength:
            return image
        drawn = self.noise(batch, (1, 1, 1, 1), BRIGHTNESS, tf.random.stateless_uniform)
        brighter = image * (1.0 + strength * (2.0 * drawn - 1.0))
        seeds = tf.stack([tf.fill(tf.shape(batch["index"]), tf.cast(self.noise_seed, tf.int64)), batch["index"]], 1)
        return intensity.contrast(brighter, seeds, (1.0 - strength, 1.0 + strength))

    def altered(self, images, batch):
        """What the network sees of jittered images in training: with `appearance`'s changes, which no target has."""
        return self.config.appearance.altered(images, batch["index"], self.noise_seed)

    def volume_loss(self, logits, classes, probabilities, mask=None):
        """L_Seg = beta_1 L_CE + beta_2 L_Dice (Eq. 8) of each volume, `(b,)`; see `losses.segmentation`."""
        config = self.config
        entropy, dice = losses.cross_entropy(logits, classes, mask), losses.soft_dice(logits, probabilities, mask)
        return config.beta_ce * entropy + config.beta_dice * dice
