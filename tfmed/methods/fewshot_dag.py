"""Few-shot DAG: landmarks of radiographs by graph networks, from a few labelled images and thousands of others.

Paper: Zhou et al., "Scalable Semi-supervised Landmark Localization for X-ray Images Using Few-Shot Deep Adaptive
Graph", DGM4MICCAI 2021.

Task: named landmarks, 2-D

Idea: all landmarks begin at their mean shape. Features of a convolutional network, read at each of them, and where the
others lie are what graph networks see: one moves all landmarks by one affine map, another one each by itself, a few
times. Trained so on the few labelled images, the network becomes student and teacher: the student sees images with
noise, and what the teacher (its moving average) finds in unlabelled ones is its truth; feature maps are held together
by the Jensen-Shannon divergence.

Reproduces: mean error of 18.45 px (std 30.69), 1.31 % failures on pelvis with 10 labelled images (DAG alone 25.89,
44.60, 4.29); hand 9.07 (19.67), 0.47 %, chest with 20 43.46 (47.22), 5.28 %. Private images; the paper names neither
hardware nor times.

Deviates: Eq. 3 as printed divides by the channels too (`js_reduction: paper`), which leaves at most 0.0027 of 256;
`per_pixel` does not. Open in the paper and chosen here: the encoder (HRNet-W18 with norms that do not mix images), the
layers of the graph networks, three steps with shared weights, margin, weights, decay of the average, noise, optimizer,
steps, augmentation, and that the teacher predicts; `evaluate` scores both. The text has 6 labelled hands, the tables
10. The baseline by heatmaps (Payer et al.) is left out.
"""

import functools
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field, PositiveInt

from tfmed.data.pipeline import Samples
from tfmed.data.sampling import Stream, shuffled
from tfmed.data.streams import BatchTurns
from tfmed.errors import DataError
from tfmed.losses.divergence import jensen_shannon
from tfmed.nn.adam import Adam
from tfmed.nn.graph import GlobalTransform, GraphNetwork
from tfmed.ops.vertices import as_pixels, sample_at
from tfmed.tasks.backbones import HRNet, Network
from tfmed.tasks.landmark_settings import NamedLandmarksConfig
from tfmed.tasks.named_landmarks import NamedLandmarkMethod
from tfmed.training import teacher
from tfmed.training.model import assign, move_average
from tfmed.training.single_network import SingleNetworkModel

_MOVES = Stream("fewshot_dag.moves")


class Config(NamedLandmarksConfig):
    """The paper's numbers; [O] open in it."""

    mode: Literal["dag", "pseudo_label", "pi_model", "temporal_ensemble", "fewshot", "fewshot_js"] = "fewshot_js"
    # network
    network: Network = HRNet(widths=(18, 36, 72, 144), norm="layer")  # [O]
    feature_maps: int = Field(256, gt=0, le=2**12)  # [O] channels of the map that is read at landmarks
    graph_width: int = Field(256, gt=0, le=2**12)  # [O] features of a vertex in graph layers
    graph_narrow: int = Field(32, gt=0, le=2**12)  # [O] in the last of them
    global_transform: Literal["affine", "perspective"] = "affine"
    local_steps: int = Field(3, gt=0, le=64)  # [O] how often the local network moves landmarks
    shared_steps: bool = True  # [O] by the same weights each time
    through_steps: bool = True  # [O] gradients go through the places of earlier steps
    # losses, in shares of the image
    margin: float = Field(0.01, ge=0, le=1)  # [O] of Eq. 1
    local_weight: float = Field(1.0, ge=0, le=1e6)  # [O] w1, of Eq. 2
    local_loss: Literal["final", "all"] = "final"  # [O] of the last step, or of all
    js_weight: float = Field(1.0, ge=0, le=1e6)  # [O] w2, of Eq. 3, in mode fewshot_js
    js_reduction: Literal["per_pixel", "paper"] = "per_pixel"
    # training
    learning_rate: float = Field(1e-4, gt=0)  # [O] of Adam, on labelled images
    student_steps: PositiveInt = 20_000  # [O] of the second stage
    student_rate: float = Field(1e-4, gt=0)  # [O]
    ratio: int = Field(100, ge=0, le=2**20)  # R: unlabelled batches for each labelled one
    decay: float = Field(0.99, ge=0, le=1)  # [O] alpha of the teacher's average
    noise: float = Field(0.05, ge=0, le=10)  # [O] deviation, of an image's range; of what the student sees
    ensemble: float = Field(0.6, ge=0, lt=1)  # [O] share of former predictions, in mode temporal_ensemble
    deploy: Literal["teacher", "student"] = "teacher"  # [O] which predicts, in the modes fewshot and fewshot_js
    move_unlabelled: bool = False  # augment unlabelled images too, for teacher and student alike


# --- networks ---------------------------------------------------------------------------------------------------------


@keras.utils.register_keras_serializable("tfmed")
class Cascade(keras.layers.Layer):
    """From the mean shape to landmarks: one map of all, then steps of each; in float32.

    Args:
        mean: the mean shape, `(landmarks, 2)` as shares of the image.
        transform: "affine" or "perspective".
        steps: of the local network.
        shared: one local network for all steps.
        through: gradients go through the places at which a step reads.
        width, narrow: of the graph networks.
    """

    def __init__(self, mean, transform="affine", steps=3, shared=True, through=True, width=256, narrow=32, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.arguments = {"mean": np.asarray(mean).tolist(), "transform": transform, "steps": steps, "shared": shared,
                          "through": through, "width": width, "narrow": narrow}  # fmt: skip
        count = len(mean)
        self.globally = GlobalTransform(count, transform, width, narrow, name="global", dtype="float32")
        self.locally = [GraphNetwork(count, 2, width, narrow, name=f"local{k}", dtype="float32")
                        for k in range(1 if shared else steps)]  # fmt: skip

    def build(self, maps_shape):
        """Weights of maps `(n, y, x, channel)`."""
        count = len(self.arguments["mean"])
        for network in (self.globally, *self.locally):
            network.build((None, count, maps_shape[-1] + 2 * count))
        self.built = True

    def call(self, maps):
        """Maps `(n, y, x, channel)` -> (landmarks after the global map `(n, landmarks, 2)`, after each local step
        `(n, steps, landmarks, 2)`), as shares of the image."""
        mean = tf.constant(self.arguments["mean"], tf.float32)
        points = tf.tile(mean[None], [tf.shape(maps)[0], 1, 1])
        moved = points = self.globally(vertex_features(maps, points), points)
        local = []
        for step in range(self.arguments["steps"]):
            network = self.locally[0 if self.arguments["shared"] else step]
            read_at = points if self.arguments["through"] else tf.stop_gradient(points)
            points = points + network(vertex_features(maps, read_at))
            local.append(points)
        return moved, tf.stack(local, 1)

    def compute_output_shape(self, maps_shape):
        """See `call`."""
        count = len(self.arguments["mean"])
        return (maps_shape[0], count, 2), (maps_shape[0], self.arguments["steps"], count, 2)

    def get_config(self):
        """The arguments."""
        return super().get_config() | self.arguments


def vertex_features(maps, points):
    """What the maps hold at points (shares of the image, `(n, vertices, 2)`), and where the others lie from each:
    `(n, vertices, channels + 2 vertices)`."""
    size = tf.shape(maps)[2:0:-1]
    shape = points[:, None] - points[:, :, None]
    shape = tf.reshape(shape, [-1, points.shape[1], 2 * points.shape[1]])
    return tf.concat([sample_at(maps, as_pixels(points, size)), shape], -1)


def build_network(config, mean, seed=0):
    """Images `(n, y, x, channels)` -> feature maps, landmarks after the global map, and after each local step."""
    inputs = keras.Input((None, None, len(config.modalities)))
    maps = config.network.features(len(config.modalities), config.feature_maps, seed)(inputs)
    cascade = Cascade(mean, config.global_transform, config.local_steps, config.shared_steps, config.through_steps,
                      config.graph_width, config.graph_narrow, name="cascade")  # fmt: skip
    return keras.Model(inputs, [maps, *cascade(maps)], name="dag")


# --- training ---------------------------------------------------------------------------------------------------------


def mean_l1(found, true, there, total=lambda value: value):
    """|found - true|, mean over batch, landmarks that are there, and x and y; a scalar.

    Args:
        found, true: `(n, ..., landmarks, 2)`.
        there: bool, `(n, ..., landmarks)`.
        total: makes sums over all replicas of this one's.
    """
    weight = tf.cast(there, tf.float32)[..., None] * tf.ones_like(found)
    return total(tf.reduce_sum(tf.abs(found - true) * weight)) / tf.maximum(total(tf.reduce_sum(weight)), 1.0)


class Dag(SingleNetworkModel):
    """DAG on labelled images (Eqs. 1 and 2).

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.
        mean: the mean shape.
        start, unlabelled: of the second stage alone, see `FewShot`.

    A batch holds `image` `(n, y, x, channel)`, `points` `(n, landmarks, 2)` and `there` `(n, landmarks)`.
    """

    logged: tuple[str, ...] = ("loss", "global", "local")

    def __init__(self, config, rate=None, mean=None, start=None, unlabelled=1, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.make_networks(mean, start, unlabelled)
        rate = config.learning_rate if rate is None else rate
        self.finish_building({"network": (Adam(rate), [self.trained])}, self.logged)

    def make_networks(self, mean, start, unlabelled):
        """Sets `network`, which predicts, and `trained`, which the optimizer updates."""
        self.network = self.trained = build_network(self.config, mean, self.noise_seed)

    def network_loss(self, batch):
        """The supervised loss."""
        return self.supervised(self.trained(batch["image"], training=True), batch["points"], batch["there"])

    def supervised(self, made, points, there):
        """(L_global + w1 L_local of what the network made, {name: scalar to log})."""
        c, (_, moved, local) = self.config, made
        first = tf.nn.relu(mean_l1(moved, points, there, self.sum_over_replicas) - c.margin)
        local = local if c.local_loss == "all" else local[:, -1:]
        last = mean_l1(local, points[:, None], there[:, None], self.sum_over_replicas)
        loss = first + c.local_weight * last
        return loss, {"loss": loss, "global": first, "local": last}


class FewShot(Dag):
    """The second stage: labelled and unlabelled batches in turns.

    Args:
        start: network of the first stage, from which student and teacher begin.
        unlabelled: number of unlabelled images, of the mode temporal_ensemble.
        others: see `Dag`.

    A batch holds `case` `(n,)` too, the number of an unlabelled image.
    """

    logged = ("labelled", "unlabelled", "js")

    def make_networks(self, mean, start, unlabelled):
        config = self.config
        self.network = self.trained = self.student = build_network(config, mean, self.noise_seed)
        if start is not None:
            self.student.set_weights(start.get_weights())
        if config.mode in ("fewshot", "fewshot_js", "pseudo_label"):
            self.teacher = build_network(config, mean, self.noise_seed)
            teacher.start(self.teacher, self.student)
        if config.mode.startswith("fewshot") and config.deploy == "teacher":
            self.network = self.teacher
        if config.mode == "temporal_ensemble":
            shape = (unlabelled, len(mean), 2)
            self.ensemble = self.add_weight(name="ensemble", shape=shape, initializer="zeros", trainable=False)
            self.visits = self.add_weight(name="visits", shape=shape[:1], initializer="zeros", trainable=False)

    def phases_of(self, step):
        """The kind of a step's batch."""
        return ("labelled" if BatchTurns(self.config.ratio, self.per_step).is_labelled(step) else "unlabelled",)

    @property
    def objectives(self):
        """Of unlabelled batches; those of `train_step` take turns."""
        return {"network": self.unlabelled_loss}

    def train_step(self, batch, phase="unlabelled"):
        """An update of the student, and of what teaches it."""
        if phase == "labelled":
            logs = self.update("network", self.labelled_loss, batch)
        else:
            if self.config.mode == "temporal_ensemble":
                batch = batch | {"points": self.ensembled(batch)}
            logs = self.update("network", self.unlabelled_loss, batch)
        if self.config.mode.startswith("fewshot"):
            move_average(self.teacher, self.student, self.config.decay, all_state=True)
        return self.log(logs)

    def noisy(self, batch):
        """The student's images: with Gaussian noise, in shares of each one's range."""
        image = batch["image"]
        span = tf.reduce_max(image, (1, 2, 3), keepdims=True) - tf.reduce_min(image, (1, 2, 3), keepdims=True)
        return image + self.config.noise * span * self.noise(batch, image.shape[1:], 0)

    def labelled_loss(self, batch):
        """L_sup of the student."""
        loss, _ = self.supervised(self.student(self.noisy(batch), training=True), batch["points"], batch["there"])
        return loss, {"labelled": loss}

    def unlabelled_loss(self, batch):
        """L'_global + w1 L'_local + w2 L_js, the truth being what the teacher finds last."""
        config, made = self.config, self.student(self.noisy(batch), training=True)
        if config.mode == "temporal_ensemble":
            truth = batch["points"]
        else:
            taught = (self.student if config.mode == "pi_model" else self.teacher)(batch["image"], training=False)
            truth = tf.stop_gradient(taught[2][:, -1])
        loss, _ = self.supervised(made, truth, tf.ones(tf.shape(truth)[:2], tf.bool))
        apart = tf.constant(0.0)
        if config.mode == "fewshot_js" and config.js_weight:
            apart = tf.reduce_mean(jensen_shannon(made[0], taught[0], config.js_reduction))
        return loss + config.js_weight * apart, {"unlabelled": loss, "js": apart}

    def ensembled(self, batch):
        """The mean of what was found in these images at all visits, later ones weighing more; this one counts too.

        Z <- a Z + (1 - a) prediction, divided by 1 - a^visits (Laine & Aila 2017), once per epoch and image.
        """
        share, case = self.config.ensemble, batch["case"]
        found = tf.stop_gradient(self.student(batch["image"], training=False)[2][:, -1])
        old, visits = tf.gather(self.ensemble, case), tf.gather(self.visits, case)
        change = (1.0 - share) * (found - old)
        total, hits = (self.sum_over_replicas(tf.scatter_nd(case[:, None], values, tf.shape(table, tf.int64)))
                       for values, table in ((change, self.ensemble), (tf.ones_like(visits), self.visits)))  # fmt: skip
        mean_change = total / tf.maximum(hits, 1.0)[:, None, None]  # an image may stand in a batch twice
        assign(self.ensemble, tf.convert_to_tensor(self.ensemble) + mean_change)
        assign(self.visits, tf.convert_to_tensor(self.visits) + tf.minimum(hits, 1.0))
        return (old + change) / (1.0 - share ** (visits + 1.0))[:, None, None]


# --- method -----------------------------------------------------------------------------------------------------------


class FewshotDagMethod(NamedLandmarkMethod):
    """DAG on the labelled images; and, unless that is the mode, a student on all."""

    Config = Config

    @classmethod
    def check(cls, settings):
        config = settings.model
        if config.labelled and settings.data.labelled_share != 1:
            raise ValueError("model.labelled: data.labelled_share is given too; leave one of the two out")
        if config.mode == "temporal_ensemble" and config.move_unlabelled:
            raise ValueError("model.move_unlabelled: temporal_ensemble remembers places in unmoved images; set it to "
                             "false")  # fmt: skip

    def found_by(self, network, images):
        return network(images, training=False)[2][:, -1]

    def networks(self):
        model = list(self.models.values())[-1]
        if not self.config.mode.startswith("fewshot") or not hasattr(model, "student"):
            return super().networks()
        both = {"teacher": model.teacher, "student": model.student}
        return dict(sorted(both.items(), key=lambda pair: pair[0] != self.config.deploy))

    def stages(self):
        config, mean = self.config, self.mean_shape
        if config.mode != "dag" and not self.unlabelled_cases:
            raise DataError(
                f"model.mode: {config.mode} learns from unlabelled images, and there are none; add some, lower "
                "model.labelled, or take mode dag"
            )
        make = functools.partial(Dag, mean=mean)
        yield self.stage("dag", make, self.labelled_samples, config.learning_rate, validation=self.validation)
        if config.mode != "dag":
            make = functools.partial(
                FewShot, mean=mean, start=self.models["dag"].network, unlabelled=len(self.unlabelled_cases)
            )
            yield self.stage("student", make, self.turned_samples, config.student_rate, steps=config.student_steps,
                             validation=self.validation)  # fmt: skip

    def labelled_samples(self):
        """Samples `image`, `points` and `there` of the labelled images."""
        return Samples(self.labelled, self.sample_spec(), self.settings.train.batch_size)

    def labelled(self, number):
        """A sample of a labelled image."""
        cases, seed = self.labelled_cases, self.settings.seed
        return self.sample(cases[shuffled(seed, number, len(cases))], _MOVES(seed, number))

    def turned_samples(self):
        """Likewise of labelled and unlabelled images, batches of which take turns; `case` is an unlabelled one's."""
        self.prepared("train")
        cases, seed, per_step = self.unlabelled_cases, self.settings.seed, self.settings.train.batch_size
        turns, moves = BatchTurns(self.config.ratio, per_step), self.config.move_unlabelled

        def read(index):
            is_labelled, number = turns.place(index)
            if is_labelled:
                return self.labelled(number) | {"case": 0}
            case = shuffled(seed + 1, number, len(cases))
            return self.sample(cases[case], _MOVES(seed, number, 1), False, moves) | {"case": case}

        return Samples(read, self.sample_spec() | {"case": ((), "int64")}, per_step)


METHOD = FewshotDagMethod
