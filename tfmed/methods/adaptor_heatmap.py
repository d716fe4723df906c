"""Heatmap landmarks: all points of a frame, however many, in one channel; simulator frames made to look real help.

Paper: Yao et al., "Improved Heatmap-Based Landmark Detection", DGM4MICCAI 2021.

Task: landmarks without identity, any number per image, 2-D

Idea: points where sutures enter or leave the tissue are Gaussians in one heatmap, which a U-Net learns by the Dice
loss. Otsu's threshold, an opening, and a cut through blobs that are too large turn the map into points. A CycleGAN that
has seen frames of the training surgeries alone translates frames of a simulator into more training data.

Reproduces: F1 of 55.79 +- 4.15 % on frames of surgery (AdaptOR 2021, four folds by surgery, a point within 6 pixels;
baseline 35.78), 74.31 +- 6.69 % on frames of the simulator (five folds, without translation; 69.78). The paper names
neither hardware nor times.

Deviates: the paper names a plain U-Net and a ResNeXt encoder; configs/adaptor_heatmap/resnext50 is the second. Open in
it and chosen here: sigma, smoothing, strengths of augmentation, and Adam with a rate that falls linearly instead of
waiting for a plateau. An image whose map stays below 0.5 has no points (`decoding.guard`). `decoding.cut_ratio: 1` is
the paper's rule, which cuts about half of all ordinary blobs; 1.25 is better. Brightness is added, not multiplied.
The baseline `stern_unet` drops whole channels at each level.
"""

import functools
import logging
from typing import Literal

import numpy as np
import tensorflow as tf
from pydantic import Field, PositiveInt

from tfmed.data.pipeline import Samples
from tfmed.data.sampling import Stream, shuffled
from tfmed.losses import segmentation as losses
from tfmed.nn.adam import Adam
from tfmed.nn.translation import global_generator, patch_critic
from tfmed.ops.heatmaps import render
from tfmed.pictures.images import ImageGrid
from tfmed.tasks import landmark_sets
from tfmed.tasks.backbones import Network, UNet
from tfmed.tasks.landmark_sets import TwoSetLandmarkMethod, coloured, sample_spec
from tfmed.tasks.landmark_settings import Decoding, ImageSet, LandmarksConfig
from tfmed.training.cyclegan import CycleGANModel
from tfmed.training.schedules import Schedule
from tfmed.training.single_network import SingleNetworkModel

log = logging.getLogger("tfmed")
_MOVES, _CROPS = Stream("adaptor_heatmap.moves"), Stream("adaptor_heatmap.crops")


class Config(LandmarksConfig):
    """The paper's numbers; [C] of the challenge's and CycleGAN's public code, [O] open in both."""

    network: Network = UNet(widths=(16, 32, 64, 128, 256, 512), norm="batch")
    decoding: Decoding = Decoding()
    loss: Literal["dice", "mse", "mse+dice"] = "dice"
    dice_form: Literal["linear", "squared"] = "linear"  # of the denominator; linear makes maps nearly binary
    smooth: float = Field(1.0, gt=0, le=1e6)  # [C] of Dice
    learning_rate: float = Field(1e-3, gt=0)  # [C] of Adam
    # augmentation
    flip: float = Field(0.5, ge=0, le=1)  # chance of each flip
    rotate_degrees: float = Field(40.0, ge=0, le=180)  # either way
    rotate_chance: float = Field(0.5, ge=0, le=1)  # [O]
    colour_chance: float = Field(0.5, ge=0, le=1)  # of jitter, and of brightness and contrast
    colour_strength: float = Field(0.2, ge=0, le=0.5)  # [O] of each, either way
    # frames of a simulator
    simulator: ImageSet | None = None  # annotated frames that train too
    translate: Literal["none", "sim2real"] = "none"  # how they look: as they are, or like surgery
    translator_steps: PositiveInt = 200_000  # [C] 200 epochs of about 1000 images
    translator_batch: int = Field(1, gt=0, le=2**10)  # [C]
    translator_crop: int = Field(256, ge=32, le=2**12)  # [C] px
    translator_first: int = Field(64, gt=0, le=2**10)  # [C] maps of the first convolutions
    translator_blocks: int = Field(9, gt=0, le=64)  # [C] residual blocks
    translator_rate: float = Field(2e-4, gt=0)  # [C] of Adam, beta_1 0.5; falls to 0 from half of the steps on
    cycle_weight: float = Field(10.0, ge=0)  # [C]
    identity_weight: float = Field(5.0, ge=0)  # [C]
    history: int = Field(50, ge=0, le=10_000)  # [C] older translations kept for the critics; 0: none


def build_network(config, seed=0):
    """The detector: frames `(n, y, x, channels)` -> logits `(n, y, x, 1)`."""
    return config.network.build(len(config.modalities), 1, 2, seed)


class Detector(SingleNetworkModel):
    """The U-Net of heatmaps.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.

    A batch holds `image` `(n, y, x, channel)` in [0, 1], `points` `(n, most, 2)` and `there` `(n, most)`.
    """

    def __init__(self, config, rate=None, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.network = build_network(config, self.noise_seed)
        self.finish_building(
            {"network": (Adam(config.learning_rate if rate is None else rate), [self.network])}, ["loss"]
        )

    def network_loss(self, batch):
        """The loss of the rendered heatmaps."""
        c = self.config
        heatmap = render(batch["points"], c.size, c.sigma, batch["there"], c.overlap)
        logits = self.network(self.coloured(batch["image"], batch["index"]), training=True)
        loss = heatmap_loss(logits, heatmap, c.loss, c.dice_form == "squared", c.smooth, self.sum_over_replicas)
        return loss, {"loss": loss}

    def coloured(self, image, index):
        """Images in other colours and light, each by its own draws."""
        c = self.config
        return coloured(image, index, self.noise_seed, c.colour_chance, c.colour_strength)


def heatmap_loss(logits, heatmap, kind="dice", squared=False, smooth=1.0, total=None):
    """Dice and squared errors of sigmoid(logits) and a heatmap, both `(n, y, x, 1)`; a scalar.

    Args:
        kind: "dice", "mse" or "mse+dice".
        squared: Dice's denominator; with it p = heatmap is the best map, without it a disc of 1.51 sigma is.
        smooth: added to both sides of Dice's fraction.
        total: makes sums over all replicas of this one's; None: its own alone count.
    """
    loss = 0.0
    if "dice" in kind:
        logits = tf.cast(logits, tf.float32)
        two, target = tf.concat([tf.zeros_like(logits), logits], -1), tf.concat([1.0 - heatmap, heatmap], -1)
        loss += losses.batch_dice(two, target, squared=squared, smooth=smooth, total=total)
    if "mse" in kind:
        loss += tf.reduce_mean(tf.square(tf.sigmoid(tf.cast(logits, tf.float32)) - heatmap))
    return loss


class Translator(CycleGANModel):
    """CycleGAN between frames of the simulator and of surgery, by its public code's networks.

    A batch holds `sim` and `real`, `(n, crop, crop, channel)` in [-1, 1].
    """

    def __init__(self, config, rate=None, **kwargs):
        super().__init__("sim", "real", config.cycle_weight, config.identity_weight, **kwargs)
        channels, first = len(config.modalities), config.translator_first
        shape = (config.translator_crop, config.translator_crop, channels)
        self.generator, self.back_generator = (
            global_generator(2, config.translator_blocks, channels, channels, first, name) for name in ("there", "back")
        )
        self.critic, self.back_critic = (patch_critic(3, channels, first, name) for name in ("critic", "back_critic"))
        rate = Schedule(config.translator_rate, config.translator_steps, "linear", decay_from=0.5)
        self.finish_cycle([Adam(rate, 0.5, 0.999, 1e-8) for _ in range(2)], config.history, shape)


class AdaptorHeatmapMethod(TwoSetLandmarkMethod):
    """Detection of suture points; with `translate` a CycleGAN is trained first, for the simulator's frames."""

    Config = Config

    @classmethod
    def check(cls, settings):
        config, shares = settings.model, settings.train.replicas or 1
        if config.translate == "none":
            return
        if config.simulator is None:
            raise ValueError(
                "model.translate: sim2real needs frames; name a set, as in simulator: {source: adaptor, root: FOLDER}"
            )
        if config.translator_batch % shares:
            raise ValueError(
                f"model.translator_batch {config.translator_batch} must be a multiple of {shares} replicas"
            )
        if config.translator_crop % 4 or config.translator_crop > min(config.size):
            raise ValueError(
                f"model.translator_crop: {config.translator_crop} must be a multiple of 4, and no more than a side of "
                f"model.size {config.size}"
            )
        if any(side % 4 for side in config.size):
            raise ValueError(f"model.size: {config.size} cannot be translated; give multiples of 4")

    # --- data ---------------------------------------------------------------------------------------------------------

    def stages(self):
        config = self.config
        if config.translate == "sim2real":
            yield self.stage(
                "translator", Translator, self.pairs, config.translator_rate, steps=config.translator_steps,
                per_step=config.translator_batch, gradient_accumulation=1,
            )  # fmt: skip
        yield self.stage("detector", Detector, self.samples, config.learning_rate, validation=self.validation)

    def pairs(self):
        """Samples `sim` and `real`: crops of frames of the simulator and of the training surgeries."""
        real, side, seed = self.prepared("train"), self.config.translator_crop, self.settings.seed
        sets = {"sim": self.simulated, "real": real}

        def read(index):
            draw, made = _CROPS(seed, index), {}
            for number, (name, cases) in enumerate(sets.items()):
                image = self.open(cases[shuffled(seed + number, index, len(cases))]).image[0]
                y, x = (int(draw.integers(0, length - side + 1)) for length in image.shape[:2])
                crop = image[y : y + side, x : x + side]
                made[name] = 2.0 * (crop[:, ::-1] if draw.random() < 0.5 else crop) - 1.0
            return made

        shape = (side, side, len(self.config.modalities))
        return Samples(read, {name: (shape, "float32") for name in sets}, self.config.translator_batch)

    def translated(self, case):
        """A simulator's frame `(y, x, channel)` in [0, 1] as it trains: as it is, or like surgery."""
        image = np.asarray(self.open(case).image[0], np.float32)
        if self.config.translate == "none":
            return image
        made = self._translate(tf.constant(2.0 * image[None] - 1.0))[0].numpy()
        return np.clip(0.5 * made + 0.5, 0.0, 1.0)

    @functools.cached_property
    def _translate(self):
        generator = self.models["translator"].generator
        return tf.function(lambda image: generator(image, training=False), autograph=False)

    def samples(self):
        """Samples `image`, `points` and `there`; each epoch shows every frame, real or simulated, once."""
        real, config, seed = self.annotated(self.prepared("train")), self.config, self.settings.seed
        frames = [*real, *self.simulated]
        if self.simulated and config.translate != "none":
            log.info("translating %d frames of the simulator", len(self.simulated))
        # As whole numbers, so that thousands of frames are in memory at once; real ones stay on the disk.
        others = [np.rint(255 * self.translated(case)).astype(np.uint8) for case in self.simulated]

        def read(index):
            k = shuffled(seed, index, len(frames))
            image = self.open(frames[k]).image[0] if k < len(real) else others[k - len(real)] / np.float32(255)
            return moved(np.asarray(image, np.float32), self.points(frames[k]), config, _MOVES(seed, index))

        return Samples(read, sample_spec(config), self.settings.train.batch_size)

    def previews(self):
        """Points and heatmaps; and, with a translator, frames of the simulator and what it makes of them."""
        found = super().previews() if "detector" in self.models else {}
        if "translator" not in self.models or len(self.config.modalities) not in (1, 3):
            return found
        before = [self.open(case).image[0] for case in self.simulated[:4]]
        rows = {"simulator": before, "translated": [self.translated(case) for case in self.simulated[:4]]}
        rows |= {"surgery": [self.open(case).image[0] for case in self.cases["train"][:4]]}
        rows = {name: [np.squeeze(image) for image in images] for name, images in rows.items()}
        said = "Frames of the simulator, what the translator makes of them, and frames of training surgeries."
        return found | {"translation": ImageGrid(rows, (0.0, 1.0), said)}


def moved(image, points, config, draw):
    """A frame and its points mirrored and turned as the settings say: see `landmark_sets.moved`."""
    turns = config.rotate_degrees and draw.random() < config.rotate_chance
    turn = (-config.rotate_degrees, config.rotate_degrees) if turns else None
    return landmark_sets.moved(image, points, config.most_points, draw, config.flip, turn)


METHOD = AdaptorHeatmapMethod
