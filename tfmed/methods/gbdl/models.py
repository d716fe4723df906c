"""The two trainings of GBDL: the latent model (Eq. 7), and the segmenter that it teaches (Eq. 8)."""

import keras
import tensorflow as tf

from tfmed import compat
from tfmed.augment import intensity
from tfmed.losses import segmentation as losses
from tfmed.nn.adam import Adam
from tfmed.training.single_network import SingleNetworkModel

LATENT, BRIGHTNESS = 0, 1  # tags of noise


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

    def volume_loss(self, logits, classes, probabilities, mask=None):
        """L_Seg = beta_1 L_CE + beta_2 L_Dice (Eq. 8) of each volume, `(b,)`; see `losses.segmentation`."""
        config = self.config
        entropy, dice = losses.cross_entropy(logits, classes, mask), losses.soft_dice(logits, probabilities, mask)
        return config.beta_ce * entropy + config.beta_dice * dice


class LatentLearner(Learner):
    """L_ELBO = lambda_1 L_CE + lambda_2 L_Dice + lambda_3 L_MSE + lambda_4 L_KL (Eq. 7); the first two need labels."""

    def __init__(self, config, streams, network, rate, **kwargs):
        reconstructs = ["mse"] if config.lambda_mse else []
        logged = ["loss", "cross_entropy", "dice", "kl", *reconstructs]
        super().__init__(config, streams, network, rate, config.latent_decay, logged, **kwargs)

    def network_loss(self, batch):
        """Means over the labelled volumes (cross-entropy, Dice) and over all volumes (squared error, divergence)."""
        config, lrl = self.config, self.network
        images = self.jittered(batch)
        features = lrl.x_encoder(images)
        mean, vector = lrl.posterior(features[-1])
        z = lrl.draw(mean, vector, self.noise(batch, (images.shape[1], config.latent_size), LATENT))
        logits, _ = self.streams.divide(lrl.segment(lrl.guide(images, features), features, z))
        labels, _ = self.streams.divide(batch["label"])
        terms = {
            "cross_entropy": mean_or_zero(losses.cross_entropy(logits, labels)),
            "dice": mean_or_zero(losses.soft_dice(logits, labels)),
            "kl": tf.reduce_mean(lrl.divergence(mean, vector)),
        }
        weights = {"cross_entropy": config.lambda_ce, "dice": config.lambda_dice, "kl": config.lambda_kl}
        if config.lambda_mse:
            error = tf.square(lrl.reconstruct(features, z) - tf.cast(images, tf.float32))
            terms["mse"] = tf.reduce_mean(tf.reduce_sum(error, -1))
            weights["mse"] = config.lambda_mse
        loss = tf.add_n([weights[name] * term for name, term in terms.items()])
        return loss + self.penalty(), {"loss": loss} | terms


class Segmenter(Learner):
    """L_Seg = beta_1 L_CE + beta_2 L_Dice (Eq. 8): a U-Net with dropout learns labels, and what a teacher says.

    Args (others as for `Learner`):
        pseudo_labels: images, noise -> class probabilities of unlabelled images; None: only labels count.
    """

    def __init__(self, config, streams, network, rate, pseudo_labels=None, **kwargs):
        teaches = pseudo_labels is not None and streams.unlabelled > 0
        logged = ["loss", "supervised", *(["pseudo"] if teaches else [])]
        super().__init__(config, streams, network, rate, config.decay, logged, config.optimizer, **kwargs)
        self.pseudo_labels = pseudo_labels if teaches else None

    def network_loss(self, batch):
        """The mean over the volumes of a batch."""
        images = self.jittered(batch)
        labelled, unlabelled = self.streams.divide(self.network(images, training=True))
        labels, _ = self.streams.divide(batch["label"])
        supervised = self.volume_loss(labelled, labels, labels)
        if self.pseudo_labels is None:
            loss = tf.reduce_mean(supervised)
            return loss + self.penalty(), {"loss": loss, "supervised": loss}
        pseudo = self.volume_loss(unlabelled, *self.targets(images, batch))
        loss = tf.reduce_mean(tf.concat([supervised, pseudo], 0))
        logs = {"loss": loss, "supervised": tf.reduce_mean(supervised), "pseudo": tf.reduce_mean(pseudo)}
        return loss + self.penalty(), logs

    def targets(self, images, batch):
        """(most probable classes, for the cross-entropy; probabilities, for Dice) of the unlabelled images."""
        config = self.config
        noise = self.noise(batch, (config.samples, images.shape[1], config.latent_size), LATENT)
        _, unlabelled = self.streams.divide(images)
        _, noise = self.streams.divide(noise)
        probabilities = tf.stop_gradient(self.pseudo_labels(unlabelled, noise))
        return tf.argmax(probabilities, -1, tf.int32), probabilities


def mean_or_zero(values):
    """The mean of `(b,)`, 0 if b is 0."""
    return tf.math.divide_no_nan(tf.reduce_sum(values), tf.cast(tf.shape(values)[0], tf.float32))
