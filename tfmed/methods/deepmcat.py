"""DeepMCAT: an archive of scans sorted by sequence and view, by clustering what a network itself makes of them.

Paper: T. Kart, W. Bai, B. Glocker, D. Rueckert, "DeepMCAT: Large-Scale Deep Clustering for Medical Image
Categorization", DALI 2021; after M. Caron et al., "Deep Clustering for Unsupervised Learning of Visual Features",
ECCV 2018.

Task: deep clustering: unlabelled series, volumes and pictures sorted into groups that a person then names.

Idea: k-means on a network's features gives each image the number of a cluster, the network learns to tell these
numbers, and so on by turns. There are eight times as many clusters as kinds of images, images are drawn so that all
clusters are seen alike, and a new last layer begins after each grouping, whose numbers mean nothing to the one before.

Reproduces: the table of three sets of UK Biobank's cardiac MR (47,637 images of 3 views; 192,272 and 23,943 of 13
sequences): purity 0.997, 0.991 and 0.994, NMI with the labels 0.519, 0.605 and 0.609, NMI of one epoch's clusters with
the last 0.675, 0.782 and 0.745, after 200 epochs. The paper names neither hardware nor time.

Deviates: open in the paper and chosen here: 224 pixels, one channel, rotations up to 15 degrees, crops and the learning
rate's schedule (none) as in DeepCluster's code; places beyond an image have its least value. k-means is scikit-learn's
Lloyd on one thread, so that a run repeats itself. What counts is a last grouping, with the weights of the last epoch.
"""

import keras
import tensorflow as tf
from pydantic import Field, model_validator

from tfmed.config import Layers
from tfmed.losses.classification import chosen_class, cross_entropy
from tfmed.nn.adaptive_pool import AdaptiveAveragePooling2D
from tfmed.nn.dropout import Dropout
from tfmed.nn.sgd import SGD
from tfmed.nn.standardize import Standardize, StandardizeEach
from tfmed.nn.vgg import CONVOLUTIONS, normalised_vgg
from tfmed.tasks.clustering import ClusteringConfig, ClusteringMethod
from tfmed.training.clustering import GroupingModel, renew_dense

_LARGEST = 3.4e38  # no value of an image is cut


class Config(ClusteringConfig):
    """DeepMCAT's numbers; [P] is stated in the paper, [C] read from DeepCluster's code. Those of images and clusters
    are the task's: 13 kinds and a multiplier of 8, z-scores by image, augmented views and no reduction are [P]."""

    # network
    width: int = Field(64, ge=1, le=4096)  # [P] channels of the first block: VGG-16
    convolutions: Layers = Field(CONVOLUTIONS["vgg16"], min_length=1)  # [P] of each block
    avgpool: int = Field(7, ge=1, le=1024)  # side of what is left of the plane; 1: its mean
    hidden: Layers = Field((4096, 4096), min_length=1)  # [C] units of dense layers; the last one's are the features
    dropout: float = Field(0.5, ge=0, lt=1)  # [C] behind hidden layers, not behind the features
    dense_deviation: float = Field(0.01, gt=0)  # [C] of dense layers' first weights
    sobel: bool = False  # edges along x and y in place of values, as DeepCluster has it
    # training
    learning_rate: float = Field(0.05, gt=0)  # [P] of SGD
    momentum: float = Field(0.9, ge=0, lt=1)  # [P]
    head_momentum: float = Field(0.0, ge=0, lt=1)  # [C] of the last layer
    weight_decay: float = Field(1e-5, ge=0)  # [P] as an L2 penalty: passes through the momentum

    @model_validator(mode="after")
    def _fits(self):
        if self.image_size < 2 ** len(self.convolutions):
            raise ValueError(
                f"image_size: {self.image_size} pixels are nothing after {len(self.convolutions)} halvings; raise it, "
                "or give fewer convolutions"
            )
        if self.sobel and self.channels != 1:
            raise ValueError("sobel: edges are two channels already; leave channels at 1")
        return self


@keras.utils.register_keras_serializable("tfmed")
class Sobel(keras.layers.Layer):
    """Sobel's edges of one channel along x and y, `(n, y, x, 1)` -> `(n, y, x, 2)`; zeros lie around the image."""

    def call(self, images):
        """As the class says."""
        along_x = tf.constant([[1, 0, -1], [2, 0, -2], [1, 0, -1]], images.dtype)
        kernel = tf.stack([along_x, tf.transpose(along_x)], -1)[:, :, None]
        return tf.nn.conv2d(images, kernel, 1, "SAME")

    def compute_output_shape(self, input_shape):
        """Two channels."""
        return (*input_shape[:3], 2)


def build_network(config, intensities=None, seed=0):
    """Images `(n, size, size, 1)` -> features `(n, hidden[-1])` float32: scaled values, VGG, pooling, dense layers.

    Args:
        config: the method's `Config`.
        intensities: (mean, deviation) by which values are scaled; None: each image by its own.
        seed: of the dropout masks.
    """
    x = inputs = keras.Input((config.image_size, config.image_size, 1))
    x = Standardize(-_LARGEST, _LARGEST, *intensities)(x) if intensities else StandardizeEach()(x)
    if config.sobel:
        x = Sobel(name="sobel")(x)
    elif config.channels == 3:
        x = keras.layers.Concatenate(name="channels")([x, x, x])
    x = normalised_vgg(x, config.width, config.convolutions)
    x = AdaptiveAveragePooling2D(config.avgpool, name="pooled")(x)
    x = keras.layers.Flatten(name="flat")(x)
    for i, units in enumerate(config.hidden[:-1]):
        x = keras.layers.Dense(units, "relu", kernel_initializer=_normal(config), name=f"hidden{i + 1}")(x)
        x = Dropout(config.dropout, seed=1024 * seed + i, name=f"dropout{i + 1}")(x)
    x = keras.layers.Dense(config.hidden[-1], kernel_initializer=_normal(config), dtype="float32", name="features")(x)
    return keras.Model(inputs, x, name="trunk")


def build_head(config):
    """Features -> scores `(n, clusters)` float32: a ReLU and the top layer."""
    inputs = keras.Input((config.hidden[-1],))
    x = keras.layers.ReLU(dtype="float32")(inputs)
    x = keras.layers.Dense(config.clusters, kernel_initializer=_normal(config), dtype="float32", name="top")(x)
    return keras.Model(inputs, x, name="head")


def _normal(config):
    return keras.initializers.RandomNormal(stddev=config.dense_deviation)


class DeepMCAT(GroupingModel):
    """A network that learns which cluster its training images are in.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.
        count: how many training images there are.
        intensities: see `build_network`.

    A training batch holds `image` `(n, size, size, 1)` and `label` `(n,)`, numbers of clusters.
    """

    def __init__(self, config, rate=None, count=1, intensities=None, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.network, self.head = build_network(config, intensities, self.noise_seed), build_head(config)
        self.begin_grouping(count, config.clusters, config.hidden[-1], config.pca)
        rate = config.learning_rate if rate is None else rate
        trunk, top = (SGD(rate, momentum, config.weight_decay) for momentum in (config.momentum, config.head_momentum))
        self.finish_building({"trunk": (trunk, [self.network]), "top": (top, [self.head])}, ["loss", "accuracy"])

    def call(self, images, training=False):
        """Images `(n, size, size, 1)` -> scores `(n, clusters)`."""
        return self.head(self.network(images, training=training), training=training)

    def features(self, images):
        """Features `(n, width)` float32 at inference."""
        return self.network(images, training=False)

    def forward(self, batch):
        """Features of a batch's images, in training."""
        return self.network(batch["image"], training=True)

    @property
    def objectives(self):
        """One cross-entropy lowers both, each by an optimizer of its own."""
        return {"trunk": lambda batch: self.trunk_loss(batch, self.forward(batch)), "top": self.top_loss}

    def trunk_loss(self, batch, features):
        """(mean cross-entropy of the clusters' numbers, what to log)."""
        scores = self.head(features, training=True)
        loss = tf.reduce_mean(cross_entropy(scores, batch["label"]))
        right = tf.cast(chosen_class(scores) == tf.cast(batch["label"], tf.int32), tf.float32)
        return loss, {"loss": loss, "accuracy": tf.reduce_mean(right)}

    def top_loss(self, batch, features=None):
        """The same, and nothing to log."""
        return self.trunk_loss(batch, self.forward(batch) if features is None else features)[0], {}

    def train_step(self, batch):
        """One update of both by one pass, from the same weights of the top layer."""
        losses = {"top": self.top_loss, "trunk": self.trunk_loss}
        return self.log(self.update_in_turn(self.forward, losses, batch, judged_first=True))

    def renew_head(self, draw):
        """A new top layer, and no momentum of the old one."""
        renew_dense(self.head.get_layer("top"), self.top_optimizer, self.config.dense_deviation, draw)


class DeepMCATMethod(ClusteringMethod):
    """One stage of grouping and learning by turns."""

    Config = Config

    @classmethod
    def check(cls, settings):
        if settings.data.labelled_share != 1:
            raise ValueError("data.labelled_share means nothing here: no label is used")

    def stages(self):
        found = self.clustering_stage("clusters", DeepMCAT, self.config.learning_rate)
        if found is not None:
            yield found


METHOD = DeepMCATMethod
