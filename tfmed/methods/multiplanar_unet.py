"""Multi-planar U-Net from sparse annotation: how few annotated planes are enough to segment a volume?

Paper: Laprade, Perslev & Sporring, "How Few Annotations are Needed for Segmentation Using a Multi-planar U-Net?", DALI
(MICCAI) 2021; the network of planes is that of Perslev et al., "One Network to Segment Them All", MICCAI 2019.

Task: segmentation from sparse labels, 3-D by a 2-D network

Idea: a person annotates a few planes of a volume. Any number of other planes, at random angles, show where they cross
those as lines of labels. A 2-D network is trained on these planes, by the cross-entropy of the pixels on the lines
alone; a volume is then seen along several random views, and every voxel's probabilities are averaged.

Reproduces: Dice on mitochondria for (annotated, training) planes: 0.595 for (4, 0), 0.895 for (4, 512), 0.896 for
(16, 0), 0.923 for (16, 512); ln-linear growth with both numbers (`metrics.regression`), and a 3-D U-Net under the same
sparsity (configs/multiplanar_unet/unet3d.yaml). 1 h 05 (planes) and 3 h 20 (3-D) per training on one GPU.

Deviates: planes of 256 x 256 pixels, a voxel apart, are inferred: four of them are one cube of 64. The loss is divided
by the annotated pixels of a batch. Training planes that cross no annotated one are drawn again. Ranges of augmentation
are ours, as fractions of an image's range. Batch norm has this collection's momentum, 0.9. What lies outside of a
volume is its median. `fusion: learned` solves for the public code's layer instead of training it.
"""

import logging

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field, model_validator

from tfmed.augment import intensity
from tfmed.augment.paired import Policy, VolumePolicy, sample_grid
from tfmed.config import Voxels
from tfmed.data import sparse_planes as sparse
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import Stream, shuffled
from tfmed.data.sparse_planes import IGNORE
from tfmed.losses import segmentation as losses
from tfmed.metrics.segmentation import recall
from tfmed.nn.adam import Adam
from tfmed.nn.blocks import TwoClasses
from tfmed.ops.warp import warp_array
from tfmed.tasks.backbones import Network, UNet
from tfmed.tasks.sparse_planes import SparsePlanesConfig, SparsePlanesMethod
from tfmed.training.single_network import SingleNetworkModel

log = logging.getLogger("tfmed")
_MOVES, _CUBES = Stream("multiplanar_unet.moves"), Stream("multiplanar_unet.cubes")
WIDTHS = (64, 128, 256, 512, 1024)


class Config(SparsePlanesConfig):
    """The study's numbers; the data are the mitochondria's."""

    modalities: tuple[str, ...] = ("em",)
    regions: dict[str, tuple[int, ...]] = Field(default_factory=lambda: {"mitochondrion": (1,)})
    patch: tuple[Voxels, ...] = Field((256, 256), min_length=2, max_length=3)  # pixels of a plane; three: cubes, 3-D
    network: Network = UNet(
        widths=WIDTHS, norm="batch", upsample="nearest", up_kernel=2, activation_first=True
    )  # of one class 31,044,289 parameters
    augment: bool = True  # all of the following
    flip: bool = True  # along each axis, for half of the samples
    rotate_degrees: float = Field(180.0, ge=0, le=180)
    scale: tuple[float, float] = (0.9, 1.1)  # magnification
    brightness: float = Field(0.1, ge=0, le=1)  # fraction of an image's range, either way
    contrast: tuple[float, float] = (0.8, 1.2)
    gamma: tuple[float, float] = (0.7, 1.5)
    noise: float = Field(0.05, ge=0, le=1)  # largest standard deviation, fraction of an image's range
    learning_rate: float = Field(1e-5, gt=0)  # of Adam

    @model_validator(mode="after")
    def _ranges_are_in_order(self):
        for name in ("scale", "contrast", "gamma"):
            low, high = getattr(self, name)
            if not 0.05 <= low <= high <= 20:
                raise ValueError(f"{name}: {low:g}, {high:g} is no range, lower bound first, from 0.05 to 20")
        return self


def build_network(config, seed=0):
    """Planes `(n, rows, columns, channels)`, or cubes -> logits of all classes; of two, one is the network's own."""
    channels, axes = len(config.modalities), len(config.patch)
    network = config.network.build(channels, 1 if config.classes == 2 else config.classes, axes, seed)
    if config.classes > 2:
        return network
    inputs = keras.Input((*[None] * axes, channels))
    return keras.Model(inputs, TwoClasses(dtype="float32")(network(inputs)), name="two_classes")


class MultiPlanarUNet(SingleNetworkModel):
    """A network of planes (or cubes) trained where something is annotated.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.

    A batch holds `image` `(n, *patch, channel)` and `label` `(n, *patch)`, `IGNORE` where nothing is annotated.
    """

    def __init__(self, config, rate=None, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.network = build_network(config, self.noise_seed)
        rate = config.learning_rate if rate is None else rate
        self.finish_building({"network": (Adam(rate), [self.network])}, ["loss", "annotated"])

    def network_loss(self, batch):
        """L = -sum_i w_i log p_i(y_i) / max(sum_i w_i, 1), w_i = 1 where pixel i of the batch is annotated."""
        image, label = batch["image"], batch["label"]
        if self.config.augment:
            image = self.changed(image, batch["index"])
        annotated = tf.cast(label != IGNORE, tf.float32)
        logits = self.network(image, training=True)
        loss = losses.masked_cross_entropy(logits, label, annotated, self.sum_over_replicas)
        return loss, {"loss": loss, "annotated": tf.reduce_mean(annotated)}

    def changed(self, image, index):
        """Images with other brightness, contrast, gamma and noise, each by its own sample index and range."""
        config, axes = self.config, list(range(1, image.shape.rank))
        seeds = tf.stack([index, tf.fill(tf.shape(index), tf.cast(self.noise_seed, index.dtype))], 1)
        low = tf.reduce_min(image, axes, keepdims=True)
        span = tf.maximum(tf.reduce_max(image, axes, keepdims=True) - low, 1e-6)
        unit = intensity.brightness((image - low) / span, seeds, (-config.brightness, config.brightness))
        unit = intensity.gamma(intensity.contrast(unit, seeds, config.contrast), seeds, config.gamma)
        return low + span * intensity.noise(unit, seeds, (0.0, config.noise))


class MultiPlanarUNetMethod(SparsePlanesMethod):
    """What a sample is, of planes or of cubes, and what is scored."""

    Config = Config

    def stages(self):
        rate = self.config.learning_rate
        yield self.stage("segmenter", MultiPlanarUNet, self.samples, rate, validation=self.validation)
        if self.config.fusion == "learned" and len(self.config.patch) == 2:
            found = self.records.recall(f"fusion-{self.settings.train.steps}", self.fusion)
            self.fused = tuple(np.array(one, np.float32) for one in found) if found else None

    # --- samples ------------------------------------------------------------------------------------------------------

    def samples(self):
        """Samples `image` `(*patch, channel)` float32 and `label` `(*patch)` uint8, moved together."""
        shape, config, seed = self.config.patch, self.config, self.settings.seed
        read = self.planes() if len(shape) == 2 else self.cubes()
        policy = moves(config)

        def sample(index):
            image, label = read(index)
            if config.augment:
                grid = sample_grid(_MOVES(seed, index).integers(2**31), shape, policy)
                image = warp_array(image, grid, order=1, fill=config.fill)
                label = warp_array(label[..., None], grid, order=0, fill=IGNORE)[..., 0]
            return {"image": image, "label": label}

        spec = {"image": ((*shape, len(config.modalities)), "float32"), "label": (shape, "uint8")}
        return Samples(sample, spec, self.settings.train.batch_size)

    def planes(self):
        """index -> (image, label) of a training plane; all of them are in memory."""
        planes, seed = self.training, self.settings.seed
        sparse.check_memory(len(planes), self.plane_shape, len(self.config.modalities))
        full = self.config.training_planes == 0
        dense = {plane.volume: self.open(self.labelled[plane.volume]).label for plane in planes} if full else None
        images, labels = self.images_on(planes, self.labelled), self.labels_on(planes, dense or self.annotated)
        log.info("%d planes train; %.2f %% of their pixels are annotated", len(planes), 100 * (labels != IGNORE).mean())

        def read(index):
            k = shuffled(seed, index, len(planes))
            return images[k], labels[k]

        return read

    def cubes(self):
        """index -> (image, label) of a cube around an annotated voxel: of lines, or of planes where no plane trains."""
        labels, seed, shape = dict(self.annotated), self.settings.seed, self.config.patch
        if self.config.training_planes and self.config.annotation_planes:
            for k, label in labels.items():
                crossing = sparse.slabs(label.shape, [plane for plane in self.training if plane.volume == k])
                labels[k] = np.where(crossing, label, np.uint8(IGNORE))
        places = {k: np.flatnonzero(label != IGNORE) for k, label in labels.items()}
        numbers = [k for k, found in places.items() if len(found)]
        log.info("%d voxels of %d volumes are annotated", sum(map(len, places.values())), len(numbers))

        def read(index):
            k, draw = numbers[shuffled(seed, index, len(numbers))], _CUBES(seed, index)
            voxel = np.unravel_index(places[k][draw.integers(len(places[k]))], labels[k].shape)
            return sparse.cube_around(
                self.open(self.labelled[k]).image, labels[k], voxel, shape, draw, self.config.fill
            )

        return read

    def fusion(self):
        """Fits the weights of views to what is annotated of the training volumes."""
        return self.fitted_fusion([(self.labelled[k], label, label != IGNORE) for k, label in self.annotated.items()])

    def extra_scores(self, case, segmentation, reference, seed):
        """Sensitivity and specificity of each region."""
        scores, found = {}, segmentation.labels.array
        for name, classes in self.config.scored.items():
            ours, theirs = np.isin(found, classes), np.isin(reference, classes)
            scores[name] = {"sensitivity": recall(ours, theirs), "specificity": recall(~ours, ~theirs)}
        return scores


def moves(config):
    """How samples are moved: mirrored, turned and magnified."""
    turn = (-config.rotate_degrees, config.rotate_degrees)
    if len(config.patch) == 2:
        return Policy(flip=0.5 if config.flip else None, shift=None, rotate=turn, scale=config.scale)
    return VolumePolicy(flip=(0.5,) * 3 if config.flip else None, shift=None, rotate=turn, scale=config.scale)


METHOD = MultiPlanarUNetMethod
