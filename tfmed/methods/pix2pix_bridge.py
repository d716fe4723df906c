"""pix2pix M->C and C->M: translation between MR and CT that were never taken of the same patient at once.

Paper: A. Paavilainen, S. U. Akram, J. Kannala, "Bridging the Gap Between Paired and Unpaired Medical Image
Translation", DGM4MICCAI 2021.

Task: MR to CT and back without real pairs; pix2pix, pix2pixHD, CycleGAN.

Idea: A scanner makes up a CT from its MR ("MRCAT"): aligned with it, but with few grey values, no gas and no couch. MR
to CT is anchored to it by an L1 loss, while a critic compares with real CTs of other patients. CT to MR learns, by the
toss of a coin, from real CTs (a critic of MRs) or from MRCATs (L1 and a critic of pairs), and is used on real CTs.

Reproduces: Tables 2 to 5 (MR to CT: FID 34.3, Dice 0.88; CT to MR: 45.3, 0.83), on private data of 51 pairs and 220
CTs; `python -m tfmed.evaluate RUN --compare RUN ...`. The paper names no hardware.

Deviates: what the paper leaves open follows the public pix2pix code. MR is scaled by the 99.5th percentile of its
voxels above 0. The paper's segmenter is a product; here structures are found by threshold, or by segmentation runs of
this suite (`--segmenters`). The learning rate falls with every step and not with every epoch. pix2pixHD compares no
features of photographs' classifiers.
"""

from typing import Literal

import pydantic
import tensorflow as tf
from pydantic import Field, PositiveInt

from tfmed.config import Interval, MethodConfig
from tfmed.data.sampling import Stream
from tfmed.losses.adversarial import js_critic, js_generator
from tfmed.nn.adam import Adam
from tfmed.nn.translation import global_generator, patch_critic, unet_generator
from tfmed.tasks.slice_translation import SliceTranslationMethod
from tfmed.training.cyclegan import CycleGANModel
from tfmed.training.pix2pix import Pix2PixHDModel, SliceTranslator
from tfmed.training.schedules import Schedule

_COIN = Stream("pix2pix_bridge.coin", 0xC014)


class Config(MethodConfig):
    """Numbers of M->C and C->M: [P] the paper, [C] the public pix2pix code, the others are left open by both."""

    architecture: Literal["pix2pix", "pix2pixhd", "cyclegan"] = "pix2pix"  # [P] the others are baselines
    direction: Literal["m2c", "c2m"] = "m2c"
    # losses
    unpaired_critic: bool = True  # [P] of real images; M->C: CTs, C->M: MRs
    paired_critic: bool = False  # [P] of C->M; [C] of pix2pix
    anchor_weight: float = Field(50.0, ge=0)  # [P] lambda of the L1 loss; C->M: 100
    coin: float = Field(0.5, ge=0, le=1)  # [P] C->M: chance that a step begins with real CTs and not with MRCATs
    cycle_weight: float = Field(10.0, ge=0)  # [C] of CycleGAN
    identity_weight: float = Field(5.0, ge=0)  # [C] of CycleGAN
    history: int = Field(50, ge=0)  # [C] of CycleGAN: older translations kept for the critics; 0: none
    feature_weight: float = Field(10.0, ge=0)  # [C] of pix2pixHD: feature matching
    # networks
    downs: int = Field(9, ge=1, le=10)  # [P] unet_512; pix2pixHD: 4
    blocks: int = Field(9, ge=1, le=100)  # [P] pix2pixHD's residual blocks
    critic_scales: int = Field(2, ge=1, le=4)  # [P] pix2pixHD's critics, each of images half as large as the one before
    generator_first: PositiveInt = 64  # [C] channels
    dropout: float = Field(0.5, ge=0, lt=1)  # [C] middle levels of the decoder, in training
    critic_layers: int = Field(3, ge=1, le=6)  # [P] 3, 4, 5: patches of 70, 142, 286 pixels
    critic_first: PositiveInt = 64  # [C] channels
    # intensities
    window_hu: Interval = (-1000.0, 1000.0)  # HU mapped to [-1, 1]
    mr_percentile: float = Field(99.5, gt=0, le=100)  # of an MR's voxels above 0, mapped to 1; 0 to -1
    # augmentation
    size: PositiveInt = 512  # pixels per side of what the networks are trained on
    zoom: tuple[float, float] = (0.6, 1.4)  # [P]
    flip: float = Field(0.5, ge=0, le=1)  # chance of a flip left-right
    # optimisation
    learning_rate: float = Field(2e-4, gt=0)  # [P]
    beta_1: float = Field(0.5, ge=0, lt=1)  # [C]
    beta_2: float = Field(0.999, ge=0, lt=1)  # [C]

    @pydantic.model_validator(mode="after")
    def _fits(self):
        if self.size % 2**self.downs:
            raise ValueError(f"size: {self.size} pixels cannot be halved {self.downs} times; change size or downs")
        halvings = self.critic_scales - 1 if self.architecture == "pix2pixhd" else 0
        if self.size < 2 ** (self.critic_layers + 2 + halvings):
            raise ValueError(f"critic_layers: too many for {self.size} pixels; lower critic_layers, or raise size")
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError("zoom: the lower bound comes first, and is above 0")
        if self.architecture == "cyclegan":
            return self
        if self.architecture == "pix2pixhd" and self.critics != ("paired_critic",):
            raise ValueError("architecture: pix2pixhd learns from pairs alone: set paired_critic to true, and "
                             "unpaired_critic to false (m2c) or coin to 0 (c2m)")  # fmt: skip
        if self.architecture != "pix2pixhd" and self.downs < 2:
            raise ValueError("downs: a U-Net halves at least twice; set it to 2 or more")
        alone = self.unpaired_critic if self.direction == "m2c" else False
        if self.uses_pairs and not (alone or self.paired_critic or self.anchor_weight):
            raise ValueError("anchor_weight: pairs have no loss; set it above 0, or paired_critic, or (c2m) coin to 1")
        if self.uses_ct and not self.unpaired_critic:
            raise ValueError("unpaired_critic: real CTs have no loss without it; set it to true, or coin to 0")
        return self

    @property
    def uses_ct(self):
        """Whether training looks at unpaired CTs."""
        if self.architecture == "cyclegan":
            return True
        return self.unpaired_critic if self.direction == "m2c" else self.coin > 0

    @property
    def uses_pairs(self):
        """Whether some step begins with a pair."""
        return self.direction == "m2c" or self.coin < 1

    @property
    def uses_anchor(self):
        """Whether there is an L1 loss."""
        return self.uses_pairs and self.anchor_weight > 0

    @property
    def critics(self):
        """Names of the critics that some step trains."""
        paired = self.paired_critic and self.uses_pairs
        return (("critic",) if self.uses_ct else ()) + (("paired_critic",) if paired else ())

    @property
    def source(self):
        """The modality that is translated."""
        return "mr" if self.direction == "m2c" else "ct"

    @property
    def target(self):
        """The modality that it becomes."""
        return "ct" if self.direction == "m2c" else "mr"


def build_network(config, name, seed=0):
    """A bare network: "generator", "critic" (sees an image) or "paired_critic" (sees a source and its translation)."""
    if name == "generator" and config.architecture == "pix2pixhd":
        return global_generator(config.downs, config.blocks, 1, 1, config.generator_first)
    if name == "generator":
        return unet_generator(config.downs, 1, 1, config.generator_first, config.dropout, seed)
    return patch_critic(config.critic_layers, 2 if name == "paired_critic" else 1, config.critic_first, name)


def coin(seed, step, chance):
    """Whether a step of C->M takes the CT path: a pure function of the run's seed and the step."""
    return bool(_COIN(seed, step).random() < chance)


class Translator(SliceTranslator):
    """A generator, a critic of real images and a critic of pairs; those that the config's losses need.

    A path is a way through the losses: "paired" begins with an image of a pair; "unpaired" (only C->M) with a real CT.

    Args:
        config: the method's `Config`.
        rate: learning rate or `Schedule`; default the config's.

    A training batch holds `mr` and `mrcat`, a pair, and `ct`, of another patient, each `(b, size, size, 1)` in [-1, 1].
    """

    def __init__(self, config, rate=None, seed=0, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.config, self.multiple = config, 2**config.downs
        rate = config.learning_rate if rate is None else rate
        networks = {name: build_network(config, name, seed) for name in ("generator", *config.critics)}
        for name, network in networks.items():
            setattr(self, name, network)
        logged = [f"{name}_loss" for name in config.critics]
        logged += [f"generator_{name}" for name in config.critics] + (["l1"] if config.uses_anchor else [])
        self.finish_building({name: (self._adam(name, rate), [net]) for name, net in networks.items()}, logged)

    def _adam(self, name, rate):
        """Adam; a network that is updated on some steps only goes through the schedule in as few updates as it gets."""
        c = self.config
        if isinstance(rate, Schedule) and c.direction == "c2m" and name != "generator":
            rate = rate.scaled(1.0, c.coin if name == "critic" else 1.0 - c.coin)
        return _adam(c, rate)

    # --- which way a step goes --------------------------------------------------------------------------------------

    def phases_of(self, step):
        """The one path of a training step."""
        unpaired = self.config.direction == "c2m" and coin(self.noise_seed, step, self.config.coin)
        return ("unpaired" if unpaired else "paired",)

    def ends(self, path):
        """Names of (source, its aligned target or None) of a path."""
        if self.config.direction == "m2c":
            return "mr", "mrcat"
        return ("ct", None) if path == "unpaired" else ("mrcat", "mr")

    def critics_of(self, path):
        """Names of the critics that a path trains, and is trained by."""
        if self.config.direction == "m2c":
            return self.config.critics
        wanted = "critic" if path == "unpaired" else "paired_critic"
        return tuple(name for name in self.config.critics if name == wanted)

    @property
    def turns(self):
        """All critics, and then the generator, on the paired path."""
        losses = {"critic": self.critic_loss, "paired_critic": self.paired_critic_loss}
        return {name: losses[name] for name in self.config.critics} | {"generator": self.generator_loss}

    def train_step(self, batch, path="paired"):
        losses = {name: loss for name, loss in self.turns.items() if name in self.critics_of(path)}
        losses["generator"] = lambda micro_batch, fake: self.generator_loss(micro_batch, fake, path)
        return self.log(self.update_in_turn(lambda micro_batch: self.made(micro_batch, path), losses, batch))

    def made(self, batch, path="paired"):
        """Translations of a path's sources."""
        return self.generator(batch[self.ends(path)[0]], training=True)

    # --- losses -----------------------------------------------------------------------------------------------------

    def critic_loss(self, batch, fake):
        """Real images of the target modality, of any patient, against translations (Eq. 1, 4)."""
        real = batch["ct" if self.config.direction == "m2c" else "mr"]
        loss = _halved(self.critic(real, training=True), self.critic(fake, training=True))
        return loss, {"critic_loss": loss}

    def paired_critic_loss(self, batch, fake):
        """(source, target) against (source, translation) (Eq. 5)."""
        source, target = (batch[name] for name in self.ends("paired"))
        scores = (self.paired_critic(tf.concat([source, image], -1), training=True) for image in (target, fake))
        loss = _halved(*scores)
        return loss, {"paired_critic_loss": loss}

    def generator_loss(self, batch, fake, path="paired"):
        """The adversarial terms of a path, and lambda times the L1 distance to what the source is aligned with."""
        source, target = self.ends(path)
        total, logs = 0.0, {}
        for name in self.critics_of(path):
            shown = tf.concat([batch[source], fake], -1) if name == "paired_critic" else fake
            value = tf.reduce_mean(js_generator(getattr(self, name)(shown, training=True)))
            total, logs[f"generator_{name}"] = total + value, value
        if target and self.config.uses_anchor:
            logs["l1"] = tf.reduce_mean(tf.abs(batch[target] - fake))
            total += self.config.anchor_weight * logs["l1"]
        return total, logs


def _halved(real, fake):
    """Half of a critic's loss, as in the public code: critics learn half as fast."""
    return 0.5 * tf.reduce_mean(js_critic(real, fake))


# --- baselines --------------------------------------------------------------------------------------------------------


class Pix2PixHD(Pix2PixHDModel):
    """pix2pixHD with the config's networks; a training batch holds `mr` and `mrcat`, a pair."""

    def __init__(self, config, rate=None, seed=0, **kwargs):
        ends = ("mr", "mrcat") if config.direction == "m2c" else ("mrcat", "mr")
        super().__init__(*ends, config.feature_weight, seed=seed, **kwargs)
        self.config, self.multiple = config, 2**config.downs
        rate = config.learning_rate if rate is None else rate
        self.generator = build_network(config, "generator", seed)
        self.critics = [
            patch_critic(config.critic_layers, 2, config.critic_first, f"critic{i}", features=True)
            for i in range(config.critic_scales)
        ]
        networks = {"critic": self.critics, "generator": [self.generator]}
        self.finish_building({name: (_adam(config, rate), found) for name, found in networks.items()}, self.logged)


class CycleGAN(SliceTranslator, CycleGANModel):
    """CycleGAN with the config's networks; a training batch holds `mr` and `ct`, of different patients."""

    def __init__(self, config, rate=None, seed=0, **kwargs):
        weights = (config.cycle_weight, config.identity_weight)
        super().__init__(config.source, config.target, *weights, seed=seed, **kwargs)
        self.config, self.multiple = config, 2**config.downs
        rate = config.learning_rate if rate is None else rate
        self.generator, self.back_generator = (build_network(config, "generator", seed + 7 * k) for k in range(2))
        self.critic, self.back_critic = (build_network(config, "critic") for _ in range(2))
        self.finish_cycle([_adam(config, rate) for _ in range(2)], config.history, (config.size, config.size, 1))


def _adam(config, rate):
    return Adam(rate, config.beta_1, config.beta_2, 1e-8)


class BridgeMethod(SliceTranslationMethod):
    """Translation of slices between MR and CT."""

    Config = Config
    without_cts = ", or set model.unpaired_critic=false, coin=0"

    def stages(self):
        """One stage."""
        models = {"pix2pix": Translator, "pix2pixhd": Pix2PixHD, "cyclegan": CycleGAN}
        yield self.stage("translator", models[self.config.architecture], self.samples, self.config.learning_rate)


METHOD = BridgeMethod
