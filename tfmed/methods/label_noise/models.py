"""The segmenters as training models: a network alone, with an autoencoder, with a mean teacher."""

import tensorflow as tf

from tfmed.losses import segmentation as losses
from tfmed.nn.adam import Adam
from tfmed.nn.compressed_unet import image_decoder
from tfmed.training.model import move_average
from tfmed.training.single_network import SingleNetworkModel


def build_network(config, seed=0):
    """The segmentation network: images `(n, *patch, channels)` -> logits `(n, *patch, 2)`."""
    return config.network.build(len(config.modalities), config.classes, len(config.patch), seed)


def adam(config, rate):
    """The optimizer of all segmenters."""
    decay = {"weight_decay": config.weight_decay} if config.weight_decay else {}
    return Adam(rate, beta_1=config.beta_1, beta_2=0.999, amsgrad=True, **decay)


def supervised_loss(model, logits, labels):
    """The loss of the settings, a scalar. Dice: -(2 sum p y + 1) / (sum p + sum y + 1) + 1 over the whole batch."""
    name, together = model.config.loss, {"total": model.sum_over_replicas}
    if name == "dice":
        return losses.batch_dice(logits, labels, smooth=1.0, **together)
    if name == "noise_robust_dice":
        return losses.noise_robust_dice(logits, labels, **together)
    kinds = {"cross_entropy": losses.cross_entropy, "absolute_error": losses.absolute_error}
    return tf.reduce_mean(kinds[name](logits, labels))


class Segmenter(SingleNetworkModel):
    """A network that learns from annotated slices; subclasses add what other slices teach.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule.
        streams: the `Mixture` of a batch: annotated slices, and others.

    A batch holds `image` `(n, *patch, channel)` and `label` `(n, *patch)`, 0 where a slice is not annotated.
    """

    terms: tuple[str, ...] = ()  # names of what is added to the supervised loss

    def __init__(self, config, rate, *, streams, **kwargs):
        super().__init__(**kwargs)
        self.config, self.streams = config, streams
        self.network = build_network(config, self.noise_seed)
        networks = [self.network, *self.more()]
        self.finish_building({"network": (adam(config, rate), networks)}, ["loss", "supervised", *self.terms])

    def more(self):
        """Further networks that the optimizer updates."""
        return []

    def network_loss(self, batch):
        """The supervised loss, and the weighted further terms."""
        logits, further = self.forward(batch["image"])
        labels, _ = self.streams.divide(batch["label"])
        supervised = supervised_loss(self, self.streams.divide(logits)[0], labels)
        loss = tf.add_n([supervised, *(self.config.segmenter.weight * term for term in further.values())])
        return loss, {"loss": loss, "supervised": supervised} | further

    def forward(self, images):
        """(logits of all images, {name of a further term: scalar})."""
        return self.network(images, training=True), {}


class WithAutoEncoder(Segmenter):
    """A decoder without long skips restores the images from the coarsest features; images lie in [-1, 1]."""

    terms = ("reconstruction",)

    def more(self):
        encoder, channels = self.network.get_layer("encoder"), len(self.config.modalities)
        self.restorer = image_decoder(encoder.outputs, channels, skips=False, activation="tanh")
        return [self.restorer]

    def forward(self, images):
        """The mean absolute error of the restored images."""
        features = self.network.get_layer("encoder")(images, training=True)
        restored = self.restorer(features, training=True)
        logits = self.network.get_layer("decoder")(features, training=True)
        return logits, {"reconstruction": tf.reduce_mean(tf.abs(restored - tf.cast(images, tf.float32)))}


class WithTeacher(Segmenter):
    """A teacher, the moving average of the network, says what it should find in slices that are not annotated."""

    terms = ("consistency",)

    def __init__(self, config, rate, **kwargs):
        super().__init__(config, rate, **kwargs)
        self.teacher = build_network(config, self.noise_seed + 1)
        self.teacher.set_weights(self.network.get_weights())
        self.teacher.trainable = False

    def train_step(self, batch):
        logs = super().train_step(batch)
        move_average(self.teacher, self.network, self.config.segmenter.decay)
        return logs

    def forward(self, images):
        """The squared difference of both networks' probabilities; no gradient goes into the teacher."""
        logits = self.network(images, training=True)
        unlabelled, others = self.streams.divide(images)[1], self.streams.divide(logits)[1]
        taught = tf.stop_gradient(self.teacher(unlabelled, training=True))
        return logits, {"consistency": tf.reduce_mean(losses.consistency(others, taught))}
