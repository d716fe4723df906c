"""The two trainings of GBDL: the latent model (Eq. 7), and the segmenter that it teaches (Eq. 8)."""

import tensorflow as tf

from tfmed.losses import segmentation as losses
from tfmed.tasks.semi_supervised_baselines.learner import Learner

LATENT = 0  # tag of noise


class LatentLearner(Learner):
    """L_ELBO = lambda_1 L_CE + lambda_2 L_Dice + lambda_3 L_MSE + lambda_4 L_KL (Eq. 7); the first two need labels."""

    def __init__(self, config, streams, network, rate, **kwargs):
        reconstructs = ["mse"] if config.lambda_mse else []
        logged = ["loss", "cross_entropy", "dice", "kl", *reconstructs]
        super().__init__(config, streams, network, rate, config.latent_decay, logged, **kwargs)

    def network_loss(self, batch):
        """Means over the labelled volumes (cross-entropy, Dice) and over all volumes (squared error, divergence)."""
        config, lrl = self.config, self.network
        images = self.altered(self.jittered(batch), batch)
        features = lrl.x_encoder(images, training=True)
        mean, vector = lrl.posterior(features[-1])
        z = lrl.draw(mean, vector, self.noise(batch, (images.shape[1], config.latent_size), LATENT))
        logits, image = lrl.decode(images, features, z, training=True)
        logits, _ = self.streams.divide(logits)
        labels, _ = self.streams.divide(batch["label"])
        terms = {
            "cross_entropy": mean_or_zero(losses.cross_entropy(logits, labels)),
            "dice": mean_or_zero(losses.soft_dice(logits, labels)),
            "kl": tf.reduce_mean(lrl.divergence(mean, vector)),
        }
        weights = {"cross_entropy": config.lambda_ce, "dice": config.lambda_dice, "kl": config.lambda_kl}
        if image is not None:
            error = tf.square(image - tf.cast(images, tf.float32))
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
        logged = ["loss", "supervised", *(["pseudo", "gradient_ratio"] if teaches else [])]
        super().__init__(config, streams, network, rate, config.decay, logged, config.optimizer, **kwargs)
        self.pseudo_labels = pseudo_labels if teaches else None

    def network_loss(self, batch):
        """The sum over the volumes of a batch, weighted, by their number."""
        images = self.jittered(batch)
        logits = self.network(self.altered(images, batch), training=True)
        labels, _ = self.streams.divide(batch["label"])
        if self.pseudo_labels is None:
            loss = tf.reduce_mean(self.volume_loss(self.streams.divide(logits)[0], labels, labels))
            return loss + self.penalty(), {"loss": loss, "supervised": loss}
        targets = self.targets(images, batch)
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(logits)
            labelled, unlabelled = self.streams.divide(logits)
            supervised, pseudo = self.volume_loss(labelled, labels, labels), self.volume_loss(unlabelled, *targets)
            parts = [self.pseudo_weight(batch) * tf.reduce_sum(pseudo), tf.reduce_sum(supervised)]
        loss = tf.add_n(parts) / tf.cast(tf.shape(logits)[0], tf.float32)
        logs = {"loss": loss, "supervised": tf.reduce_mean(supervised), "pseudo": tf.reduce_mean(pseudo)}
        return loss + self.penalty(), logs | {"gradient_ratio": self.gradient_ratio(tape, logits, *parts)}

    def pseudo_weight(self, batch):
        """What a volume with pseudo labels counts beside one with labels, at this step."""
        gbdl = self.config.architecture
        return gbdl.weight * losses.sigmoid_rampup(self.step_of(batch), gbdl.rampup_steps)

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
