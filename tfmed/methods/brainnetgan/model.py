"""BrainNetGAN's numbers, networks and training step: critic, classifier, generator (Eq. 1, 2)."""

from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field, PositiveInt, field_validator

from tfmed.config import Layers, MethodConfig
from tfmed.losses.adversarial import wasserstein_critic, wasserstein_generator
from tfmed.nn.adam import Adam
from tfmed.nn.connectome import connectome_critic
from tfmed.ops import draws
from tfmed.ops.triangle import size_of, to_matrix
from tfmed.training.adversarial import AdversarialModel

CLASSIFIER, GENERATOR, MIX = 32, 48, 64  # tags of noise; the critic's k-th step has tag k


class Config(MethodConfig):
    """BrainNetGAN's numbers; [P] is stated in the paper."""

    classes: tuple[str, ...] = ("CN", "AD")  # [P] as the source names them; a label's one-hot vector has this order
    image: str = "connectome"  # which matrix of a case
    regions: int = Field(90, ge=3)  # [P] of the atlas
    one_triangle: bool = False  # matrices hold each connection in one triangle only
    log_counts: bool = False  # log(1 + entry) in place of the entry
    scale: Literal["own", "global"] = "own"  # entries are divided by each matrix's maximum, or by the training set's
    # networks
    noise_size: PositiveInt = 64  # [P] z
    generator_widths: Layers = (128, 256, 512, 1024)  # [P] four hidden layers
    output: Literal["relu", "sigmoid"] = "relu"  # of the generator; a sigmoid never gives 0
    zero_threshold: float = Field(0.0, ge=0, lt=1)  # sampled entries below it become 0
    edge_filters: Layers = (32, 32)
    node_filters: PositiveInt = 64
    dense: Layers = (256, 128, 64, 30)  # [P] and one more: five
    plain_convolutions: bool = False  # 3 x 3 in place of edge to edge, an ablation
    classifier_dropout: float = Field(0.0, ge=0, lt=1)
    # losses and optimisation
    penalty_weight: float = Field(10.0, ge=0)  # lambda
    penalty_space: Literal["matrix", "vector"] = "matrix"  # where the gradient's norm is taken; each edge once: vector
    alpha: float = Field(1.0, ge=0)  # weight of the classifier's word to the generator; 0: none
    critic_steps: int = Field(5, gt=0, le=1000)  # per step of classifier and generator
    learning_rate: float = Field(5e-4, gt=0)  # [P] of all three
    # evaluation
    restarts: PositiveInt = 5  # [P] trainings of the graph network, averaged
    graph_filters: Layers = (64, 64, 64)
    graph_epochs: PositiveInt = 100  # [P] at most
    graph_patience: PositiveInt = 10  # epochs without a better validation loss
    graph_batch: PositiveInt = 16
    graph_learning_rate: float = Field(1e-3, gt=0)

    @field_validator("classes")
    @classmethod
    def _two_classes(cls, value):
        if len(value) < 2 or len(set(value)) < len(value):
            raise ValueError("give at least two class names, each once")
        return value


def build_network(config, name):
    """A bare network: "generator" (noise and one-hot class -> vector), "critic" or "classifier" (matrix -> scores)."""
    if name == "generator":
        return _generator(config)
    widths = dict(edge_filters=config.edge_filters, node_filters=config.node_filters, dense=config.dense)
    if name == "classifier":
        widths |= dict(outputs=class_outputs(config), dropout=config.classifier_dropout)
    return connectome_critic(config.regions, **widths, plain=config.plain_convolutions, name=name)


def class_outputs(config):
    """Scores that tell the classes: one for two classes, else one each."""
    return 1 if len(config.classes) == 2 else len(config.classes)


def _generator(config):
    """`(n, noise + classes)` -> free entries of a connectome `(n, d (d - 1) / 2)` float32."""
    inputs = keras.Input((config.noise_size + len(config.classes),))
    x = inputs
    for i, width in enumerate(config.generator_widths, 1):
        x = keras.layers.Dense(width, "relu", name=f"dense{i}")(x)
    x = keras.layers.Dense(size_of(config.regions), name="edges")(x)
    return keras.Model(inputs, keras.layers.Activation(config.output, dtype="float32")(x), name="generator")


class BrainNetGAN(AdversarialModel):
    """Generator, critic and classifier with their alternating updates.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.

    A training batch holds `matrix` `(b, d, d)` in [0, 1] and `label` `(b,)`, the samples of all critic steps.

    Example:
        >>> model = BrainNetGAN(Config(regions=20, generator_widths=(32,), edge_filters=(4,), dense=(8,)))
        >>> model.sample([0, 1, 1], seed=0).shape
        (3, 20, 20)
    """

    def __init__(self, config, rate=None, **kwargs):
        super().__init__(critic_steps=config.critic_steps, **kwargs)
        self.config = config
        self.critic, self.classifier = build_network(config, "critic"), build_network(config, "classifier")
        self.generator = build_network(config, "generator")
        rate = config.learning_rate if rate is None else rate
        self._upper = np.ravel_multi_index(np.triu_indices(config.regions, 1), (config.regions,) * 2)
        self.finish_building(
            {
                "critic": (Adam(rate, 0.0, 0.9), [self.critic]),
                "classifier": (Adam(rate, 0.9, 0.999), [self.classifier]),
                "generator": (Adam(rate, 0.0, 0.9), [self.generator]),
            },
            logged=["critic", "penalty", "classifier", "classifier_accuracy", "generator", "generator_class"],
        )

    def call(self, noise_and_class, training=False):
        """Noise and one-hot class `(n, noise + classes)` -> matrices `(n, d, d)`."""
        return to_matrix(self.generator(noise_and_class, training=training), self.config.regions)

    @property
    def objectives(self):
        """What the three networks lower."""
        return {
            "critic": lambda batch: self.critic_loss(batch, 0),
            "classifier": lambda batch: self.classifier_loss(batch, CLASSIFIER),
            "generator": lambda batch: self.generator_loss(batch, GENERATOR),
        }

    def train_step(self, batch):
        logs = {}
        for k in range(self.critic_steps):
            logs |= self.update("critic", lambda part, k=k: self.critic_loss(part, k), self.draw(batch, k))
        for name in ("classifier", "generator"):
            logs |= self.update(name, self.objectives[name], self.draw(batch, 0))
        return self.log(logs)

    def generated(self, batch, tag):
        """Matrices of the classes of a batch's samples, which are drawn as often as they occur."""
        noise = self.noise(batch, (self.config.noise_size,), tag)
        return self(tf.concat([noise, tf.one_hot(batch["label"], len(self.config.classes))], 1), training=True)

    def critic_loss(self, batch, tag):
        """L_D = mean D(x~) - mean D(x) + lambda mean (|grad D(x^)| - 1)^2 (Eq. 1, with its signs put right)."""
        real, fake = batch["matrix"], tf.stop_gradient(self.generated(batch, tag))
        scores = wasserstein_critic(self.critic(real, training=True), self.critic(fake, training=True))
        distance, penalty = tf.reduce_mean(scores), self.penalty(batch, real, fake, tag)
        return distance + penalty, {"critic": distance, "penalty": penalty}

    def penalty(self, batch, real, fake, tag):
        """The mean gradient penalty; one share of the real matrix for all of a sample's entries."""
        judge = self.critic
        if self.config.penalty_space == "vector":
            real, fake = self.vectors(real), self.vectors(fake)
            judge = lambda vectors: self.critic(to_matrix(vectors, self.config.regions))  # noqa: E731
        return self.gradient_penalty("wgan-gp", judge, real, fake, self.config.penalty_weight, batch, MIX + tag)

    def vectors(self, matrices):
        """The free entries `(b, d (d - 1) / 2)` of a tensor of matrices."""
        return tf.gather(tf.reshape(matrices, (-1, self.config.regions**2)), self._upper, axis=1)

    def classifier_loss(self, batch, tag):
        """L_C: cross-entropy of real and of generated matrices (Eq. 2)."""
        labels, fake = batch["label"], tf.stop_gradient(self.generated(batch, tag))
        scores = self.classifier(batch["matrix"], training=True)
        loss = tf.reduce_mean(class_loss(scores, labels)) + tf.reduce_mean(
            class_loss(self.classifier(fake, training=True), labels)
        )
        right = tf.reduce_mean(tf.cast(chosen_class(scores) == labels, tf.float32))
        return loss, {"classifier": loss, "classifier_accuracy": right}

    def generator_loss(self, batch, tag):
        """L_G = -mean D(x~) + alpha L_C(x~)."""
        fake = self.generated(batch, tag)
        loss = tf.reduce_mean(wasserstein_generator(self.critic(fake, training=True)))
        told = tf.reduce_mean(class_loss(self.classifier(fake, training=True), batch["label"]))
        return loss + self.config.alpha * told, {"generator": loss, "generator_class": told}

    def sample(self, labels, seed=0):
        """Generated matrices `(n, d, d)` float32 in [0, 1]: symmetric, zero diagonal; sample i is that of (seed, i)."""
        return sampled(self, tf.constant(labels, tf.int32), tf.constant(seed, tf.int64)).numpy()


def sampled(model, labels, seed):
    """As `BrainNetGAN.sample`, of tensors; graph-safe."""
    config, count = model.config, tf.shape(labels)[0]
    noise = draws.normals((config.noise_size,), seed, tf.range(count))
    edges = model.generator(tf.concat([noise, tf.one_hot(labels, len(config.classes))], 1), training=False)
    edges = tf.clip_by_value(edges, 0.0, 1.0)
    return to_matrix(tf.where(edges < config.zero_threshold, 0.0, edges), config.regions)


def class_loss(scores, labels):
    """Cross-entropy of each sample, `(n,)`, from one score (of the second class) or one for each class."""
    scores = tf.cast(scores, tf.float32)
    if scores.shape[-1] == 1:
        return tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, tf.float32), scores[:, 0])
    return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(labels, tf.int32), scores)  # Keras has float32 labels


def chosen_class(scores):
    """The most probable class, int32 `(n,)`."""
    return tf.cast(scores[:, 0] > 0, tf.int32) if scores.shape[-1] == 1 else tf.argmax(scores, -1, tf.int32)
