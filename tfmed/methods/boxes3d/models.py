"""The two networks, and what the segmenter learns from: losses on boxes, or masks."""

import keras
import tensorflow as tf

from tfmed.losses import constraints
from tfmed.losses import segmentation as losses
from tfmed.nn.adam import Adam
from tfmed.nn.standardize import Standardize
from tfmed.nn.vgg import vgg16
from tfmed.training.classifier import ClassifierModel
from tfmed.training.single_network import SingleNetworkModel


def build_network(config, seed=0):
    """The segmenter: scaled slices `(n, y, x, slices)` -> logits `(n, y, x, 2)`."""
    return config.network.build(config.channels, config.classes, 2, seed)


def build_classifier(config, seed=0):
    """The classifier: scaled patches `(n, p, p, slices)` -> the organ's score `(n, 1)`."""
    how = {"dropout": config.classifier_dropout, "weights": config.classifier_weights, "seed": seed}
    return vgg16(config.channels, 1, config.classifier_width, config.box_patch, **how)


def from_hu(network, intensities):
    """A network that takes HU; the numbers by which they are scaled (None: not at all) are part of it."""
    inputs = keras.Input(network.input_shape[1:])
    scaled = inputs if intensities is None else Standardize(**intensities, name="standardize")(inputs)
    return keras.Model(inputs, network(scaled), name=f"{network.name}_from_hu")


def patch_classifier(config, rate, *, intensities, seed=0, **kwargs):
    """A ClassifierModel of patches `image` `(n, p, p, slices)` in HU; `label` `(n,)`, 1 where they show the organ."""
    network = from_hu(build_classifier(config, seed), intensities)
    return ClassifierModel(network, Adam(rate), seed=seed, **kwargs)


class Boxes3D(SingleNetworkModel):
    """The segmenter, with losses on boxes.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.
        intensities: {"low", "high", "mean", "deviation"} in HU, or None.
        steps: of the training, over which barriers harden.

    A batch holds `image` `(n, y, x, slices)` in HU, `boxes` `(n, 1, 4)`, `label` `(n, y, x)` and `annotated` `(n,)`, 1
    where the label is to be used.
    """

    def __init__(self, config, rate=None, *, intensities=None, steps=1, **kwargs):
        super().__init__(**kwargs)
        self.config, self.steps = config, steps
        self.network = from_hu(build_network(config, self.noise_seed), intensities)
        terms = list(config.weights) if config.supervision == "boxes" else []
        logged = ["loss", *terms, *(["masks"] if config.use_masks else [])]
        self.finish_building(
            {"network": (Adam(config.learning_rate if rate is None else rate), [self.network])}, logged
        )

    def network_loss(self, batch):
        """The weighted losses on boxes, or cross-entropy; and those with the masks of annotated slices."""
        config, boxes, label = self.config, batch["boxes"], batch["label"]
        logits = self.network(batch["image"], training=True)
        if config.supervision == "boxes":
            terms = self.box_losses(logits, boxes, self.step_of(batch))
            loss = tf.add_n([config.weights[name] * value for name, value in terms.items()])
        else:
            filled = constraints.inside(boxes, *label.shape[1:])
            target = tf.cast(filled, tf.int32) if config.supervision == "box_masks" else label
            terms, loss = {}, tf.reduce_mean(losses.cross_entropy(logits, target))
        if config.use_masks:
            both = losses.cross_entropy(logits, label) + losses.soft_dice(logits, label)
            terms["masks"] = tf.reduce_mean(batch["annotated"] * both)
            loss += terms["masks"]
        return loss, {"loss": loss} | terms

    def box_losses(self, logits, boxes, step):
        """{name: mean over the samples} of the losses on boxes that count."""
        config = self.config
        course = config.barrier_epochs, config.barrier_start, config.barrier_growth
        t = constraints.barrier_hardness(step, self.steps, *course)
        foreground = tf.nn.softmax(tf.cast(logits, tf.float32))[..., 1]
        known = {
            "tightness": lambda: constraints.tightness(foreground, boxes, t, config.stripe),
            "size": lambda: constraints.size(foreground, boxes, t, config.size_shares),
            "cross_entropy": lambda: constraints.background_cross_entropy(logits, boxes),
            "emptiness": lambda: constraints.emptiness(foreground, boxes, t),
        }
        return {name: tf.reduce_mean(known[name]()) for name in config.weights}
