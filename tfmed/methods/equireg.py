"""EquiReg: augmenting then segmenting must equal segmenting then augmenting.

Paper: Schölin, "Semi-Supervised Medical Image Segmentation with Equivariance Regularization", MSc thesis, Lund 2020.

Task: segmentation from few labels, 2-D and 3-D.

Idea: a network sees an image x and its strongly augmented copy A(x). Its prediction for A(x) is pulled towards the
augmented prediction for x, by the Kullback-Leibler divergence and without a gradient through the target. No labels
are needed for that, so unlabelled slices train too. One network, no teacher.

Reproduces: the comparison with supervised training at 1, 5, 10 and 100 % of the labelled patients of BraTS 2019
(configs/equireg and configs/equireg/supervised.yaml with data.labelled_share). The thesis shows plots; its one number
is a bridging coefficient of about 0.40 for the collective Dice at 10 %.

Deviates: `network.decoder_layers: code` builds the released code's decoder (the thesis' Table 2 prints other layers
than its widths need); dropout is the thesis' 0.2, not the code's 0; weak transforms of unlabelled images are drawn
afresh for each sample, where the released code drew one per run. `mask: false` averages over all pixels, as Eq. 9
does; by default only those count whose augmented input is not 0, as in all published runs.
"""

import dataclasses
import functools
from typing import Literal

import numpy as np
import pydantic
import tensorflow as tf
from pydantic import Field, NonNegativeInt

from tfmed.augment.paired import STRONG, STRONG_VOLUME, sample_grid
from tfmed.data.readers import read_case
from tfmed.losses import segmentation as losses
from tfmed.metrics.segmentation import equivariance_dice
from tfmed.nn.adam import Adam
from tfmed.ops.warp import warp, warp_array
from tfmed.tasks.backbones import FCDenseNet, Network
from tfmed.tasks.semi_supervised import SemiSupervisedConfig, SemiSupervisedMethod
from tfmed.training.single_network import SingleNetworkModel


class Config(SemiSupervisedConfig):
    """EquiReg's own numbers; the data are BraTS 2019's."""

    modalities: tuple[str, ...] = ("flair", "t1", "t1ce", "t2")  # in the order of sorted file names
    label_values: tuple[int, ...] = (0, 1, 2, 4)  # background, necrosis and non-enhancing core, oedema, enhancing core
    regions: dict[str, tuple[int, ...]] = Field(
        default_factory=lambda: {"whole": (1, 2, 4), "core": (1, 4), "enhancing": (4,)}
    )
    network: Network = FCDenseNet()
    weight: float = Field(1.0, ge=0)  # lambda of the consistency term
    rampup_steps: NonNegativeInt = 0  # steps over which it grows to that, by exp(-5 (1 - t)^2); 0: all of it at once
    consistency: Literal["kl", "mse"] = "kl"  # of target and prediction; mse: squared difference of probabilities
    mask: bool = True  # only pixels whose augmented input is not 0 in every channel, nor brought in from outside
    strong: Literal["strong", "weak"] = "strong"  # the transforms A
    elastic_alpha: float = Field(720.0, ge=0)  # of strong transforms of slices, for slices of 224 pixels; see Policy
    elastic_sigma: float = Field(24.0, gt=0)  # pixels
    elastic_voxels: float = Field(6.0, ge=0)  # of strong transforms of volumes: largest displacement of a control point
    elastic_knots: float = Field(32.0, gt=0)  # voxels between control points; nothing folds below 0.4 of it
    supervised: Literal["cross_entropy", "dice", "both"] = "cross_entropy"  # Dice is proposed as future work
    learning_rate: float = Field(1e-3, gt=0)  # of Adam

    @pydantic.model_validator(mode="after")
    def _volumes_do_not_fold(self):
        if self.elastic_voxels >= 0.4 * self.elastic_knots:
            raise ValueError(
                f"elastic_voxels: {self.elastic_voxels:g} folds volumes with elastic_knots {self.elastic_knots:g}; "
                f"stay below {0.4 * self.elastic_knots:g}"
            )
        return self


def build_network(config, channels=None, classes=None, seed=0):
    """The segmentation network: images `(n, *patch, channels)` -> logits `(n, *patch, classes)`."""
    channels = len(config.modalities) if channels is None else channels
    classes = config.classes if classes is None else classes
    return config.network.build(channels, classes, len(config.patch), seed)


class EquiReg(SingleNetworkModel):
    """One network, trained with labels (Eq. 7) and towards equivariance (Eq. 9).

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.
        streams: the `Streams` of a batch.
        network: images -> logits; default the config's.

    A batch holds `image` `(n, *patch, channel)`, `label` `(n, *patch)`, and, with unlabelled samples, `grid`
    `(n, *patch, axes)`, the transform A of each of them.
    """

    def __init__(self, config, rate=None, *, streams, network=None, **kwargs):
        super().__init__(**{**kwargs, "per_step": streams.per_step})
        self.config, self.streams = config, streams
        self.network = build_network(config, seed=self.noise_seed) if network is None else network
        optimizer = Adam(config.learning_rate if rate is None else rate)
        logged = ["loss", "supervised", *(["equivariance", "gradient_ratio"] if streams.unlabelled else [])]
        self.finish_building({"network": (optimizer, [self.network])}, logged)

    def network_loss(self, batch):
        """L = L_sup + lambda L_ER, on one forward pass over labelled, unlabelled and augmented images."""
        labelled, unlabelled = self.streams.divide(batch["image"])
        labels, _ = self.streams.divide(batch["label"])
        indices, others = self.streams.divide(batch["index"])
        labelled = self.altered(labelled, indices)
        if not self.streams.unlabelled:
            supervised = self.supervised(self.network(labelled, training=True), labels)
            return supervised, {"loss": supervised, "supervised": supervised}
        _, grid = self.streams.divide(batch["grid"])
        augmented = warp(unlabelled, grid, order=1, fill=self.config.fill)
        # One pass: batch normalisation sees all three together.
        seen = tf.concat([labelled, unlabelled, self.altered(augmented, others)], 0)
        together = self.network(seen, training=True)
        first, second = tf.shape(labels)[0], tf.shape(labels)[0] + tf.shape(unlabelled)[0]
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(together)
            logits, plain, moved = together[:first], together[first:second], together[second:]
            supervised = self.supervised(logits, labels)
            equivariance = tf.reduce_mean(self.equivariance(plain, moved, augmented, grid))
            weighted = self.weight(batch) * equivariance
        loss = supervised + weighted
        logs = {"loss": loss, "supervised": supervised, "equivariance": equivariance}
        return loss, logs | {"gradient_ratio": self.gradient_ratio(tape, together, weighted, supervised)}

    def altered(self, images, index):
        """Images of the samples `index` as the network sees them: targets are predicted from images as they are."""
        return self.config.appearance.altered(images, index, self.noise_seed)

    def weight(self, batch):
        """lambda at this step."""
        return self.config.weight * losses.sigmoid_rampup(self.step_of(batch), self.config.rampup_steps)

    def supervised(self, logits, labels):
        """L_sup, a scalar."""
        kinds = {"cross_entropy": [losses.cross_entropy], "dice": [losses.soft_dice]}
        chosen = kinds.get(self.config.supervised, [losses.cross_entropy, losses.soft_dice])
        return tf.add_n([tf.reduce_mean(loss(logits, labels)) for loss in chosen])

    def equivariance(self, plain, moved, augmented, grid):
        """L_ER of each image, `(n,)`.

        Args:
            plain: logits for x; their augmented copy is the target, and gets no gradient.
            moved: logits for A(x).
            augmented: A(x).
            grid: A.
        """
        mask = self.counted(augmented, grid) if self.config.mask else None
        target = augmented_logits(tf.stop_gradient(plain), grid)
        return (losses.kl_divergence if self.config.consistency == "kl" else losses.consistency)(target, moved, mask)

    def counted(self, augmented, grid):
        """The pixels of A(x) that are not 0, and that lie in x where something else than 0 surrounds it."""
        inside = tf.reduce_any(augmented != 0, -1)
        if self.config.fill == 0:
            return inside
        return inside & warp(tf.ones_like(inside[..., None]), grid, order=0, fill=False)[..., 0]


def augmented_logits(logits, grid):
    """A applied to a prediction: moved by nearest neighbour, which commutes with softmax; background comes in."""
    background = [100.0] + [-100.0] * (logits.shape[-1] - 1)
    return warp(tf.cast(logits, tf.float32), grid, order=0, fill=background)


def transforms(config, kind=None):
    """The policy of A (or of the named kind) for slices or volumes, as `sample_grid` takes it."""
    kind = kind or config.strong
    if kind != "strong":
        return kind
    if len(config.patch) == 2:
        return dataclasses.replace(STRONG, alpha=config.elastic_alpha, sigma=config.elastic_sigma)
    return dataclasses.replace(STRONG_VOLUME, elastic=config.elastic_voxels, knots=config.elastic_knots)


class EquiRegMethod(SemiSupervisedMethod):
    """Semi-supervised segmentation of slices (the paper) or volumes (patch of three numbers)."""

    Config = Config

    def stages(self):
        config = self.config
        strong = transforms(config) if self.streams.unlabelled else None
        samples = functools.partial(self.samples, strong=strong)
        options = {"streams": self.streams, "validation": self.validation}
        yield self.stage("segmenter", EquiReg, samples, config.learning_rate, **options)

    def extra_scores(self, case, segmentation, reference, seed):
        """Equivariance Dice: of A(segment(x)) and segment(A(x)), with a stored strong A per slice (or volume)."""
        images, _ = read_case(case, self.case_spec)
        _, stack = self.segmenter().prepared(images)
        strong = transforms(self.config, "strong")
        ours, theirs = moved_both_ways(self.labels, stack, len(self.config.patch), seed, strong, self.config.fill)
        return {
            name: {"equivariance Dice": equivariance_dice(np.isin(ours, classes), np.isin(theirs, classes))}
            for name, classes in self.config.scored.items()
        }


def moved_both_ways(segment, image, axes, seed=0, policy="strong", fill=0.0):
    """(A(segment(x)), segment(A(x))): class numbers `(z, y, x)`; A is strong, and a function of seed and slice alone.

    Args:
        segment: image `(z, y, x, channel)` -> class numbers `(z, y, x)`.
        image: `(z, y, x, channel)`.
        axes: 2: each slice has its own A; 3: the volume has one.
        seed: integer.
        policy: of A, see `sample_grid`.
        fill: what A brings in from outside of the image; "edge": image and labels go on.
    """
    plain = segment(image)
    regions = range(len(image)) if axes == 2 else [slice(None)]
    augmented, ours = np.empty_like(image), np.empty_like(plain)
    for number, region in enumerate(regions):
        grid = sample_grid((seed * 10007 + number) % 2**31, image[region].shape[:-1], policy)
        augmented[region] = warp_array(image[region], grid, 1, fill)
        ours[region] = warp_array(plain[region][..., None], grid, 0, "edge" if fill == "edge" else 0)[..., 0]
    return ours, segment(augmented)


METHOD = EquiRegMethod
