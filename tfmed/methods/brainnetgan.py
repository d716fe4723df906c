"""BrainNetGAN: structural connectomes of given classes, to train a classifier of dementia with.

Paper: Li, Shen, Zhu, Chen et al., "BrainNetGAN: Data augmentation of brain connectivity using generative adversarial
network for dementia classification", DGM4MICCAI 2021.

Task: generation of connectomes, to augment classes.

Idea: A perceptron turns noise and a class into the upper triangle of a connectivity matrix. A critic made of edge to
edge and edge to node convolutions (BrainNetCNN) tells real from generated matrices; a classifier of the same layout
tells the classes of both, and is the only way in which the class reaches the generator. Generated matrices replace or
join the real ones when a graph network is trained.

Reproduces: Table 1 (KL and MMD of four graph measures: BrainNetGAN below SMOTE and ADASYN in nearly all figures) and
Table 2 (test accuracy 0.791 with real data, 0.829 with real and generated) on 110 + 110 connectomes of ADNI with 90
regions. The paper names neither hardware nor time.

Deviates: Eq. 1 is minimised with the penalty's sign right, on points between real and generated matrices; Eq. 2 is
minimised as a cross-entropy. Open in the paper and chosen here: widths (BrainNetCNN's), relu at the generator's end,
penalty weight 10, five critic steps, Adam, each matrix divided by its own maximum, splits stratified by class; folds
rotate the test part (`data.split.folds`), where the paper rotates the validation part.
"""

import functools
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field, PositiveInt

from tfmed.config import Layers
from tfmed.data.connectomes import Connectomes, joined
from tfmed.engine.abilities import Evaluation, Seed
from tfmed.engine.exporting import ExportModule
from tfmed.io.connectome import write_connectome
from tfmed.losses.adversarial import wasserstein_critic, wasserstein_generator
from tfmed.losses.classification import chosen_class, cross_entropy, outputs_of
from tfmed.nn.adam import Adam
from tfmed.nn.connectome import connectome_critic
from tfmed.nn.graph import GraphConv, RegionFeatures
from tfmed.ops import draws
from tfmed.ops.triangle import size_of, to_matrix
from tfmed.pictures.connectomes import Connectivity
from tfmed.tasks.classification import ClassesConfig, augmentation_rows
from tfmed.tasks.connectomes import ConnectomeCases, oversampled
from tfmed.tasks.generation import GenerationMethod
from tfmed.training.adversarial import AdversarialModel
from tfmed.training.classifier import RepeatedClassifier

CLASSIFIER, GENERATOR, MIX = 32, 48, 64  # tags of noise; the critic's k-th step has tag k


class Config(ClassesConfig):
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
    graph_features: Literal["row", "strength", "constant"] = "row"  # of a region: its connections, their sum, or 1
    graph_epochs: PositiveInt = 100  # [P] at most
    graph_patience: PositiveInt = 10  # epochs without a better validation loss
    graph_batch: PositiveInt = 16
    graph_learning_rate: float = Field(1e-3, gt=0)


def build_network(config, name):
    """A bare network: "generator" (noise and one-hot class -> vector), "critic" or "classifier" (matrix -> scores)."""
    if name == "generator":
        return _generator(config)
    widths = dict(edge_filters=config.edge_filters, node_filters=config.node_filters, dense=config.dense)
    if name == "classifier":
        widths |= dict(outputs=outputs_of(len(config.classes)), dropout=config.classifier_dropout)
    return connectome_critic(config.regions, **widths, plain=config.plain_convolutions, name=name)


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
            logs |= self.update("critic", lambda drawn, k=k: self.critic_loss(drawn, k), self.draw(batch, k))
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
        loss = tf.reduce_mean(cross_entropy(scores, labels)) + tf.reduce_mean(
            cross_entropy(self.classifier(fake, training=True), labels)
        )
        right = tf.reduce_mean(tf.cast(chosen_class(scores) == labels, tf.float32))
        return loss, {"classifier": loss, "classifier_accuracy": right}

    def generator_loss(self, batch, tag):
        """L_G = -mean D(x~) + alpha L_C(x~)."""
        fake = self.generated(batch, tag)
        loss = tf.reduce_mean(wasserstein_generator(self.critic(fake, training=True)))
        told = tf.reduce_mean(cross_entropy(self.classifier(fake, training=True), batch["label"]))
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


def graph_network(config):
    """Matrices `(n, d, d)` -> class scores: graph convolutions on regions, mean over these, two dense layers."""
    inputs = keras.Input((config.regions, config.regions))
    x = RegionFeatures(config.graph_features, name="features")(inputs)
    for i, width in enumerate(config.graph_filters, 1):
        x = keras.layers.ReLU()(GraphConv(width, name=f"graph{i}")([x, inputs]))
    x = keras.layers.GlobalAveragePooling1D()(x)
    x = keras.layers.Dense(32, "relu", name="dense")(x)
    return keras.Model(inputs, keras.layers.Dense(outputs_of(len(config.classes)), dtype="float32", name="classes")(x))


def graph_classifier(config):
    """The graph network of Table 2, to be trained again and again."""
    how = (config.graph_learning_rate, config.graph_batch, config.graph_epochs, config.graph_patience)
    return RepeatedClassifier(functools.partial(graph_network, config), *how)


class BrainNetGANMethod(ConnectomeCases, GenerationMethod):
    """Class-conditional generation of connectomes."""

    Config = Config
    in_space = False

    # --- training -------------------------------------------------------------------------------------------------

    @property
    def per_step(self):
        return self.settings.train.batch_size * self.config.critic_steps

    def stages(self):
        yield self.stage("gan", BrainNetGAN, self.samples, self.config.learning_rate, per_step=self.per_step)

    # --- using a trained model ------------------------------------------------------------------------------------

    def generate(self, count, seed=0, labels=None):
        """Connectomes of `count` samples; labels by default in turn, so that classes are balanced."""
        labels = np.arange(count) % len(self.config.classes) if labels is None else np.asarray(labels)
        matrices = self.model.sample(labels, seed)
        return Connectomes(matrices, labels.astype(np.int32), tuple(f"generated-{i}" for i in range(count)))

    def like(self, real, seed=0):
        """As many generated connectomes of each class as a set has."""
        return self.generate(len(real), seed, real.labels)

    def sample(self, count, seed=0):
        """`count` pairs (class name, matrix `(d, d)` float32 in [0, 1]), classes in turn."""
        found = self.generate(count, seed)
        yield from zip((self.config.classes[label] for label in found.labels), found.matrices, strict=True)

    def write_sample(self, item, folder, name):
        """Write a pair that `sample` gave as `<class>/<name>.csv`; returns the path."""
        path = folder / item[0] / f"{name}.csv"
        write_connectome(item[1], path)
        return path

    def previews(self):
        """Mean real and generated matrix of each class, and one generated matrix."""
        real, shown = self.connectomes("train"), {}
        made = self.like(real, self.settings.seed)
        for number, name in enumerate(self.config.classes):
            if len(own := real.of_class(number)):
                generated = made.of_class(number)
                shown |= {f"{name}: mean real": own.mean(0), f"{name}: mean generated": generated.mean(0)}
                shown |= {f"{name}: a real one": own[0], f"{name}: a generated one": generated[0]}
        return {"connectomes": Connectivity(shown)}

    def evaluate(self, methods, seed: Seed = 0):
        """{"evaluation": how well a graph network does that was trained on real, generated or all matrices (Table 2),
        "similarity": distances of generated from real graphs (Table 1)}; where all subjects train, Table 1 alone.

        Args:
            methods: name of the run -> its Method, this one among them; all see this one's subjects.
            seed: of the synthetic matrices and of the graph networks.
        """
        real = self.connectomes("train")
        made = {kind.upper(): oversampled(real, kind, seed) for kind in ("smote", "adasyn")}
        made |= {name: method.like(real, seed) for name, method in methods.items()}
        made = {name: found for name, found in made.items() if found is not None}
        similarity = self.similarity_rows(made, seed)
        if not (self.cases["validation"] and self.cases["test"]):
            return Evaluation({"evaluation": similarity})
        return Evaluation({"evaluation": self._augmentation(real, made, seed), "similarity": similarity})

    def _augmentation(self, real, made, seed):
        """Rows per training set: mean and std of accuracy, precision and recall over restarts."""
        sets = {"real": real} | {f"{name} only": found for name, found in made.items()}
        sets |= {f"real + {name}": joined(real, found) for name, found in made.items()}
        sets = {name: found.pair for name, found in sets.items()}
        tests = {part: self.connectomes(part).pair for part in ("test", "validation")}
        seeds = [seed + k for k in range(self.config.restarts)]
        classifier = graph_classifier(self.config)
        how = (tests["validation"], tests, seeds, len(self.config.classes), "matrices")
        return augmentation_rows(classifier, sets, *how)

    def export_module(self):
        """Its `sample(seed, labels)` gives `matrices` `(n, d, d)` float32 in [0, 1] of the classes asked for."""
        model = self.model
        takes = [tf.TensorSpec((), tf.int64, "seed"), tf.TensorSpec((None,), tf.int32, "labels")]
        return ExportModule(
            [model], {"sample": (lambda seed, labels: {"matrices": sampled(model, labels, seed)}, takes)}
        )


METHOD = BrainNetGANMethod
