"""Cross-domain heatmaps: frames of a simulator help to find points in frames of surgery, in one of three ways.

Paper: Wang et al., "Cross-Domain Landmarks Detection in Mitral Regurgitation", DGM4MICCAI 2021.

Task: landmarks without identity, any number per image, 2-D

Idea: an HRNet learns one heatmap of all points by squared errors. Frames of the simulator, of which there are many,
train beside those of surgery in one loss (`joint`); or a critic that sees the heatmaps shall not tell the two domains
apart (`adversarial`); or each domain has a network of its own, and each learns from the other what it says of the
other's frames (`collaborative`). Points are the map's local maxima; how many is decided by a rule, `old` or `new`.

Reproduces: F1 of 0.6619 (sensitivity 0.6010, precision 0.7367) on 524 frames of a surgery that was left out, jointly
and by the new rule; by the old rule 0.5230, 0.5516 and 0.5632 with simulator weights of 0, 0.5 and 1. Adversarially
0.5842, collaboratively 0.4481, most likely by the old rule. One GPU with 11 GB; the paper names no times.

Deviates: `evaluate` scores both rules, as the paper's three ways cannot be compared across them. Eq. 6 is no divergence
of one sigmoid channel: negative where the student is higher, and it raises every pixel; `kl: bernoulli` is, and
`kl: paper_literal` is as printed. The text has the critic see features, Eq. 3 outputs (`disc_input`). Open in the paper
and chosen here: HRNet-W32 without trained weights, sigmoid outputs, errors summed over pixels (`mse`), full-size maps,
flips and light, a batch of 4 + 4, the cosine schedule, the critic, a window of 11 pixels, the threshold of 0.1; and a
first heatmap of 0.01 (`network.prior`), for from 0.5 the first step of summed errors empties the map for good. The
paper's "relation heatmap" is nowhere defined. DeepLabv3+, of which it gives no figures, is left out.
"""

from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from tfmed.config import Layers
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import Stream, shuffled
from tfmed.losses.adversarial import js_critic, js_generator
from tfmed.losses.divergence import bernoulli_kl, one_sided_kl
from tfmed.nn.adam import Adam
from tfmed.nn.sgd import SGD
from tfmed.nn.translation import map_critic
from tfmed.ops.heatmaps import render
from tfmed.tasks.backbones import HRNet, Network
from tfmed.tasks.landmark_sets import TwoSetLandmarkMethod, coloured, moved, sample_spec
from tfmed.tasks.landmark_settings import ImageSet, LandmarksConfig, PeakDecoding
from tfmed.training.adversarial import SharedForwardModel
from tfmed.training.single_network import SingleNetworkModel

_MOVES = Stream("adaptor_crossdomain.moves")


class Config(LandmarksConfig):
    """The paper's numbers; [C] of HRNet's public code, [O] open in both."""

    mode: Literal["joint", "adversarial", "collaborative"] = "joint"
    simulator: ImageSet | None = None  # annotated frames of the other domain; must be given
    network: Network = HRNet(prior=0.01)  # [C] W32; [O] prior
    sigma: float = Field(5.0, gt=0.1, le=100)  # px, of the Gaussians
    reach_px: float = Field(24.0, gt=0, le=1000)  # along each axis; beyond it a Gaussian is 0
    output: Literal["sigmoid", "linear"] = "sigmoid"  # [O] the heatmap is the logits', or is the logits
    decoding: PeakDecoding = PeakDecoding()
    # losses
    mse: Literal["sum", "pixel_mean"] = "sum"  # [O] of squared errors, over an image's pixels
    sim_weight: float = Field(1.0, ge=0, le=1e6)  # of the simulator's errors; 0: its frames train nothing (joint)
    adv_weight: float = Field(1.0, ge=0, le=1e6)  # of what the critic says of the simulator's frames
    disc_input: Literal["output", "features"] = "output"  # what the critic sees: heatmaps, or what the head reads
    disc_widths: Layers = Field((64, 128, 256, 512), min_length=1)  # [O] maps of its convolutions
    kl_weight: float = Field(0.1, ge=0, le=1e6)  # of what the other domain's network teaches
    kl: Literal["bernoulli", "paper_literal"] = "bernoulli"
    # optimizers
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = Field(5e-5, gt=0)  # 1e-5 in the modes adversarial and collaborative
    momentum: float = Field(0.9, ge=0, lt=1)  # of SGD
    weight_decay: float = Field(1e-4, ge=0, le=1)  # of SGD, within its gradients
    disc_rate: float = Field(1e-5, gt=0)  # of the critic's Adam
    # augmentation
    flip: float = Field(0.5, ge=0, le=1)  # [O] chance of each flip
    colour_chance: float = Field(0.5, ge=0, le=1)  # [O] of other brightness and contrast
    colour_strength: float = Field(0.2, ge=0, le=0.5)  # [O] of each, either way


def build_network(config, seed=0):
    """The detector: frames `(n, y, x, channels)` -> logits `(n, y, x, 1)`."""
    return config.network.build(len(config.modalities), 1, 2, seed)


def halves(values):
    """(of surgery, of the simulator) of a batch, in which these take turns."""
    return values[0::2], values[1::2]


class Joint(SingleNetworkModel):
    """Method 1: one network, and the errors of both domains, weighted (Eqs. 1, 2 and 7).

    Args:
        config: the method's `Config`.
        rates: learning rates or schedules of the networks and of a critic; default the config's.

    A batch holds `image` `(n, y, x, channel)` in [0, 1], `points` `(n, most, 2)` and `there` `(n, most)`; samples of
    surgery and of the simulator take turns.
    """

    logged: tuple[str, ...] = ("loss", "real", "simulated")

    def __init__(self, config, rates=None, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.network = build_network(config, self.noise_seed)
        self.finish_building(self.optimizers(*(rates or (config.learning_rate, config.disc_rate))), self.logged)

    def optimizers(self, rate, disc_rate):
        """{name: (optimizer, networks)}."""
        return {"network": (self.optimizer_of_networks(rate), [self.network])}

    def optimizer_of_networks(self, rate):
        """What lowers a detector's loss."""
        c = self.config
        return SGD(rate, c.momentum, c.weight_decay) if c.optimizer == "sgd" else Adam(rate)

    def network_loss(self, batch):
        """The weighted errors; without weight the simulator's frames are not even seen, by norms for example."""
        if not self.config.sim_weight:
            batch = {name: halves(value)[0] for name, value in batch.items()}
            loss = tf.reduce_mean(self.errors(self.network(self.images(batch), training=True), batch))
            return loss, {"loss": loss, "real": loss, "simulated": tf.constant(0.0)}
        return self.weighted(self.network(self.images(batch), training=True), batch)

    def images(self, batch):
        """A batch's images in other light."""
        c = self.config
        return coloured(
            batch["image"], batch["index"], self.noise_seed, c.colour_chance, c.colour_strength, jitter=False
        )

    def errors(self, logits, batch):
        """Squared errors of the heatmaps, `(n,)`."""
        c = self.config
        target = render(batch["points"], c.size, c.sigma, batch["there"], c.overlap, c.reach_px)
        reduce = tf.reduce_sum if c.mse == "sum" else tf.reduce_mean
        return reduce(tf.square(as_heatmap(logits, c.output) - target), (1, 2, 3))

    def weighted(self, logits, batch):
        """(mean errors on surgery and, weighted, on the simulator; {name: scalar to log})."""
        real, simulated = (tf.reduce_mean(half) for half in halves(self.errors(logits, batch)))
        loss = real + self.config.sim_weight * simulated
        return loss, {"loss": loss, "real": real, "simulated": simulated}


def as_heatmap(logits, output):
    """The heatmap that a network's logits say, float32; see `Config.output`."""
    logits = tf.cast(logits, tf.float32)
    return tf.sigmoid(logits) if output == "sigmoid" else logits


class Adversarial(SharedForwardModel, Joint):
    """Method 2: a critic tells surgery (1) from the simulator (0), whose frames shall look like surgery (Eqs. 3 and 4).

    In a step both domains go forward once; the detector is updated, then the critic on what the detector had made.
    """

    judged_first = True
    logged = (*Joint.logged, "adversarial", "critic_loss")

    def optimizers(self, rate, disc_rate):
        seen = self.network.output
        if self.config.disc_input == "features":
            seen = self.network.get_layer("head").input
            self.with_features = keras.Model(self.network.inputs, [self.network.output, seen])
        self.critic = map_critic(seen.shape[-1], self.config.disc_widths)
        return super().optimizers(rate, disc_rate) | {"critic": (Adam(disc_rate), [self.critic])}

    def made(self, batch):
        """(logits, what the critic sees) of both domains."""
        if self.config.disc_input == "features":
            return self.with_features(self.images(batch), training=True)
        logits = self.network(self.images(batch), training=True)
        return logits, as_heatmap(logits, self.config.output)

    @property
    def turns(self):
        """The detector is last: the one whose gradients go back through what was made."""
        return {"critic": self.critic_loss, "network": self.network_loss}

    def critic_loss(self, batch, made):
        """Cross-entropy of the domain, the sum of both domains' means."""
        loss = tf.reduce_mean(js_critic(*halves(self.critic(made[1], training=True))))
        return loss, {"critic_loss": loss}

    def network_loss(self, batch, made):
        """The weighted errors, and how well the critic knows the simulator's frames."""
        loss, logs = self.weighted(made[0], batch)
        fooled = tf.reduce_mean(js_generator(self.critic(halves(made[1])[1], training=True)))
        loss += self.config.adv_weight * fooled
        return loss, logs | {"loss": loss, "adversarial": fooled}


class Collaborative(Joint):
    """Method 3: a network for each domain, which teach one another on their own domain's frames (Eqs. 5 and 6).

    Both see both domains; `network` is that of surgery. Both are updated at once, by what was before the step.
    """

    logged = (*Joint.logged, "lesson_to_real", "lesson_to_simulated")

    def optimizers(self, rate, disc_rate):
        self.simulator_network = build_network(self.config, self.noise_seed + 1)
        return {"network": (self.optimizer_of_networks(rate), [self.network, self.simulator_network])}

    def network_loss(self, batch):
        """Each network's errors on its own domain, and the divergence from the other one's heatmaps on the other."""
        images, c = self.images(batch), self.config
        by_real, by_simulated = (network(images, training=True) for network in (self.network, self.simulator_network))
        own = tf.reshape(tf.stack([by_real[0::2], by_simulated[1::2]], 1), tf.shape(by_real))
        real, simulated = (tf.reduce_mean(half) for half in halves(self.errors(own, batch)))
        divergence = bernoulli_kl if c.kl == "bernoulli" else one_sided_kl
        to_real = tf.reduce_mean(divergence(by_real[1::2], by_simulated[1::2]))
        to_simulated = tf.reduce_mean(divergence(by_simulated[0::2], by_real[0::2]))
        loss = real + simulated + c.kl_weight * (to_real + to_simulated)
        lessons = {"lesson_to_real": to_real, "lesson_to_simulated": to_simulated}
        return loss, {"loss": loss, "real": real, "simulated": simulated} | lessons


MODELS = {"joint": Joint, "adversarial": Adversarial, "collaborative": Collaborative}


class AdaptorCrossdomainMethod(TwoSetLandmarkMethod):
    """Detection of suture points in surgery, with a simulator's frames."""

    Config = Config

    @classmethod
    def check(cls, settings):
        config, train = settings.model, settings.train
        shares = 2 * (train.replicas or 1) * train.gradient_accumulation
        if config.simulator is None:
            raise ValueError(
                "model.simulator: frames of the other domain are needed; name a set, as in "
                "simulator: {source: adaptor, root: FOLDER}"
            )
        if train.batch_size % shares:
            raise ValueError(
                f"train.batch_size {train.batch_size} must be a multiple of {shares}: half of each share of a step's "
                "samples are of surgery, half of the simulator"
            )
        if config.output == "linear" and config.mode != "joint":
            raise ValueError(f"model.output: linear is of mode joint; mode {config.mode} needs sigmoid")
        features = config.mode == "adversarial" and config.disc_input == "features"
        if features and config.network.name not in ("hrnet", "unet_resnext50"):
            raise ValueError(
                f"model.disc_input: features of network {config.network.name} have no name; take network hrnet, or "
                "disc_input output"
            )

    def as_probabilities(self, logits):
        return tf.clip_by_value(as_heatmap(logits, self.config.output), 0.0, 1.0)

    def decodings(self):
        """The rule of the settings, and the paper's two beside it."""
        own = self.config.decoding
        return {rule: own.model_copy(update={"rule": rule}) for rule in dict.fromkeys((own.rule, "old", "new"))}

    def stages(self):
        config = self.config
        rates = config.learning_rate, config.disc_rate
        yield self.stage("detector", MODELS[config.mode], self.samples, rates, validation=self.validation)

    def samples(self):
        """Samples `image`, `points` and `there`, of surgery and the simulator in turns, each set in its own order."""
        sets, config, seed = (self.annotated(self.prepared("train")), self.simulated), self.config, self.settings.seed

        def read(index):
            pair, domain = divmod(index, 2)
            case = sets[domain][shuffled(seed + domain, pair, len(sets[domain]))]
            image = np.asarray(self.open(case).image[0], np.float32)
            return moved(image, self.points(case), config.most_points, _MOVES(seed, index), config.flip)

        return Samples(read, sample_spec(config), self.settings.train.batch_size)


METHOD = AdaptorCrossdomainMethod
