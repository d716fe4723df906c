"""Small patches for aneurysms: rare, small lesions found by a plain U-Net, by the choice of what it sees.

Paper: Assis, Liao, Pierre, Anxionnat & Kerrien, "An Efficient Data Strategy for the Detection of Brain Aneurysms from
MRA with Deep Learning", DALI (MICCAI) 2021.

Task: detection of small lesions, 3-D

Idea: two clicks make a lesion's label, a sphere. A 3-D U-Net sees patches of 19 mm: each aneurysm 50 times, distorted
by splines, and per scan 200 patches without one, half of them on vessels, which can be taken for aneurysms.

Reproduces: 0.72 sensitivity at 0.14 false positives per case in five folds over 111 private scans (0.80 at 0.40), and
its ablations (configs/aneurysm/): focal loss, 5 copies, no distortion, half of the negatives. ADAM stands in.

Deviates: aneurysms of label maps count as spheres of their volume. Negatives are shifted too, and their labels computed
anew (`shift_negatives`). Distances between centres are Euclidean, as written, which lets patches overlap; `distance:
chebyshev` does not. Shifts of 10 mm push 12 % of the aneurysms' centres out of their patches; `keep_inside` does not.
The threshold is chosen on validation cases. Constants of the focal loss are Lin et al.'s. What "Dice" of the paper's
table is, is open: the Dice of masks, that of soft predictions by batch, and kappa are told apart.
"""

import logging
import zlib
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from tfmed.augment import lattice
from tfmed.data import lesion_patches as patches
from tfmed.data.far_points import Metric
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import Stream, shuffled
from tfmed.io.geometry import spacing_of
from tfmed.losses import segmentation as losses
from tfmed.metrics.agreement import cohen_kappa
from tfmed.nn.adam import Adam
from tfmed.nn.blocks import TwoClasses
from tfmed.tasks.backbones import Network, UNet
from tfmed.tasks.lesions import LesionConfig, LesionMethod
from tfmed.training.kappa import Kappa, confusion
from tfmed.training.single_network import SingleNetworkModel

log = logging.getLogger("tfmed")
_PLAN, _COPY, _MOVE = (Stream(f"aneurysm.{name}") for name in ("plan", "copy", "move"))


class Config(LesionConfig):
    """The paper's numbers; patches are at 0.4 mm."""

    modalities: tuple[str, ...] = ("tof",)
    regions: dict[str, tuple[int, ...]] = Field(default_factory=lambda: {"aneurysm": (1,)})
    network: Network = UNet(widths=(64, 128, 256, 512), norm="batch", upsample="nearest", widen="half")
    # which patches
    sampler: Literal["guided", "uniform", "regular"] = "guided"  # regular: side by side, without copies
    copies: PositiveInt = Field(50, le=10_000)  # of the patch of each aneurysm
    vessel_patches: NonNegativeInt = Field(100, le=10_000)  # per scan, around its brightest voxels
    other_patches: NonNegativeInt = Field(100, le=10_000)  # per scan, between the 20th and 80th percentile
    least_distance_mm: float = Field(20.0, ge=0, le=1000)  # between the centres of a scan's patches
    distance: Metric = "euclidean"  # chebyshev: patches do not overlap
    head_mask: bool = False  # centres and percentiles within the head alone
    # how they are changed
    distortion_mm: float = Field(4.0, ge=0, le=100)  # of control points, along each axis; copies of aneurysms alone
    rotate_degrees: float = Field(180.0, ge=0, le=180)  # about any axis; all patches
    shift_mm: float = Field(10.0, ge=0, le=100)  # along each axis
    keep_inside: bool = False  # shift less where an aneurysm would leave its patch
    shift_negatives: bool = True
    # training
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: float = Field(2.0, ge=0, le=10)
    focal_alpha: float = Field(0.25, ge=0, le=1)  # weight of aneurysms; 1 - alpha is that of the rest
    learning_rate: float = Field(1e-4, gt=0)  # of Adam

    @model_validator(mode="after")
    def _something_trains(self):
        if self.sampler != "regular" and self.vessel_patches + self.other_patches == 0:
            raise ValueError("other_patches: there is no patch without an aneurysm; give some")
        return self


def build_network(config, seed=0):
    """Patches `(n, z, y, x, channels)` -> logits of background and aneurysm; one logit is the network's own."""
    channels = len(config.modalities)
    network = config.network.build(channels, 1, 3, seed)
    inputs = keras.Input((None, None, None, channels))
    return keras.Model(inputs, TwoClasses(dtype="float32")(network(inputs)), name="two_classes")


class AneurysmUNet(SingleNetworkModel):
    """A U-Net trained on patches; Cohen's kappa of all voxels since the last line of the log tells when it converges.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.

    A batch holds `image` `(n, *patch, channel)` and `label` `(n, *patch)`.
    """

    def __init__(self, config, rate=None, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.network = build_network(config, self.noise_seed)
        optimizer = Adam(config.learning_rate if rate is None else rate)
        self.finish_building({"network": (optimizer, [self.network])}, ["loss", "soft_dice"])
        self.meters["kappa"] = Kappa()

    def network_loss(self, batch):
        """Binary cross-entropy, or focal loss, mean over voxels."""
        logits, label = self.network(batch["image"], training=True), batch["label"]
        loss = tf.reduce_mean(patch_loss(self.config, logits, label))
        found = tf.stop_gradient(logits)
        counts = self.sum_over_replicas(confusion(found[..., 1] > found[..., 0], label))
        soft = 1 - losses.batch_dice(found, label, smooth=1.0, total=self.sum_over_replicas)
        return loss, {"loss": loss, "soft_dice": soft, "kappa": counts}


def patch_loss(config, logits, label):
    """The loss of each patch `(n,)`: focal: -alpha_t (1 - p_t)^gamma log p_t."""
    if config.loss == "cross_entropy":
        return losses.cross_entropy(logits, label)
    weights = (1 - config.focal_alpha, config.focal_alpha)
    return losses.focal(logits, label, gamma=config.focal_gamma, class_weights=weights)


class AneurysmMethod(LesionMethod):
    """Which patches train, how they are changed, and scores of patches."""

    Config = Config

    def stages(self):
        rate = self.config.learning_rate
        yield self.stage("segmenter", AneurysmUNet, self.samples, rate, validation=self.validation)
        self.choose_threshold()

    # --- which patches ------------------------------------------------------------------------------------------------

    def opened(self, case):
        """(image `(z, y, x, channel)`, voxel size (z, y, x) in mm, lesions on its axes) of a case; the image stays on
        disk."""
        prepared = self.open(case)
        return (
            prepared.image,
            spacing_of(prepared.affine),
            patches.placed(self.lesions(case), prepared.affine),
        )

    def plan(self, case):
        """The patches of a case, a function of the seed and of the case's name."""
        config, (image, spacing, spheres) = self.config, self.opened(case)
        draw = _PLAN(self.settings.seed, _key(case))
        allowed = patches.head(image[..., 0], spacing) if config.head_mask else None
        vessels, others = config.vessel_patches, config.other_patches
        size, least = image.shape[:3], config.least_distance_mm
        room = patches.Room(size, spacing, spheres, config.patch, least, config.distance, allowed)
        if config.sampler == "uniform":
            return patches.uniform(room, draw, vessels + others)
        return patches.guided(room, image[..., 0], draw, vessels, others)

    def entries(self, cases, copies):
        """[(case, number of its lesion or -1, number of the copy, centre (z, y, x) in voxels)] of all patches."""
        found, wanted, reached = [], 0, 0
        for case in cases:
            if self.config.sampler == "regular":
                size = self.open(case).image.shape[:3]
                found += [(case, -1, 0, centre) for centre in patches.regular(size, self.config.patch)]
                continue
            plan = self.plan(case)
            found += [(case, lesion, copy, centre)
                      for lesion, centre in enumerate(plan.lesions) for copy in range(copies)]  # fmt: skip
            found += [(case, -1, 0, centre) for centre in plan.negatives]
            wanted += self.config.vessel_patches + self.config.other_patches
            reached += len(plan.negatives)
        if reached < wanted:
            log.info("%d of %d patches without an aneurysm have room in %d scans", reached, wanted, len(cases))
        return found

    # --- samples ------------------------------------------------------------------------------------------------------

    def samples(self):
        """Samples `image` `(*patch, channel)` float32 and `label` `(*patch)` uint8: each patch once per epoch."""
        config, seed = self.config, self.settings.seed
        entries = self.entries(self.training_cases[0], config.copies)
        positive = sum(lesion >= 0 for _, lesion, _, _ in entries)
        log.info("%d patches train, %d of them around aneurysms", len(entries), positive)

        def read(index):
            image, label = self.patch(entries[shuffled(seed, index, len(entries))], index)
            return {"image": image, "label": label}

        spec = {"image": ((*config.patch, len(config.modalities)), "float32"), "label": (config.patch, "uint8")}
        return Samples(read, spec, self.settings.train.batch_size)

    def patch(self, entry, index):
        """(image, label) of a training patch: one interpolation of the volume, turned and shifted by its index."""
        case, lesion, copy, centre = entry
        config, seed, (image, spacing, spheres) = self.config, self.settings.seed, self.opened(case)
        control = None
        if lesion >= 0 and config.distortion_mm:
            draw = _COPY(seed, _key(case), lesion, copy)  # a copy is distorted in one way for good
            control = lattice.draw_control(draw, config.distortion_mm)
        shift = config.shift_mm if lesion >= 0 or config.shift_negatives else 0.0
        move = patches.draw_move(_MOVE(seed, index), config.rotate_degrees, shift, control)
        if lesion >= 0 and config.keep_inside:
            move = patches.kept_inside(move, spheres[lesion].radius_mm, config.patch, spacing)
        return patches.read_patch(image, spacing, spheres, centre, config.patch, move)

    # --- scores of patches --------------------------------------------------------------------------------------------

    def validated(self):
        return ("cross_entropy", "dice", "soft_dice", "kappa")

    def validation(self, model):
        """{"cross_entropy", "dice", "soft_dice", "kappa"} of the validation cases' patches, as they lie, each once."""
        cases = self.validation_cases()
        if not cases:
            return {}
        self.prepared("validation")
        found = self.scores_of(cases, 0.5)
        return {name: found[name] for name in self.validated()}

    def patch_scores(self, part):
        """Of the patches of a part: how many are rightly and wrongly said to hold an aneurysm at the threshold in use,
        and scores of voxels, at a probability of a half."""
        found = self.scores_of(self.marked_cases(part), self.threshold)
        rows = {f"patch {name}": found[name] for name in ("TP", "FP", "FN", "TN")}
        rows |= {f"{said} of patches at 0.5": found[said.lower()] for said in ("Dice", "kappa")}
        return rows | {"soft Dice by batch": found["soft_dice"]}

    def scores_of(self, cases, threshold):
        """{"cross_entropy", "dice", "soft_dice", "kappa", "TP", "FP", "FN", "TN"}; capitals count patches, in which
        some voxel reaches the threshold or none does; voxels' scores are those at a probability of a half."""
        entries, batch = self.entries(cases, 1), self.settings.train.batch_size
        voxels, whole = np.zeros(4), np.zeros((2, 2), np.int64)
        entropy, soft = [], []
        for start in range(0, len(entries), batch):
            both = [self.as_it_lies(entry) for entry in entries[start : start + batch]]
            image, label = (np.stack(arrays) for arrays in zip(*both, strict=True))
            probability = self.patch_probabilities(image)[..., 1].astype(np.float64)
            mask, truth, shown = probability >= 0.5, label > 0, probability >= threshold
            voxels += [(mask & truth).sum(), (mask & ~truth).sum(), (~mask & truth).sum(), (~mask & ~truth).sum()]
            np.add.at(whole, (truth.any((1, 2, 3)).astype(int), shown.any((1, 2, 3)).astype(int)), 1)
            right = np.where(truth, probability, 1 - probability)
            entropy.append(-np.log(np.maximum(right, 1e-7)).mean((1, 2, 3)))
            soft.append((2 * probability[truth].sum() + 1) / (probability.sum() + truth.sum() + 1))
        tp, fp, fn, _ = voxels
        scores = {"cross_entropy": np.concatenate(entropy).mean(), "soft_dice": np.mean(soft)}
        scores |= {"dice": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0, "kappa": cohen_kappa(*voxels)}
        counts = {"TN": whole[0, 0], "FP": whole[0, 1], "FN": whole[1, 0], "TP": whole[1, 1]}
        return {name: float(value) for name, value in scores.items()} | {k: int(v) for k, v in counts.items()}

    def as_it_lies(self, entry):
        """(image, label) of a patch that is not moved."""
        case, _, _, centre = entry
        return patches.read_patch(*self.opened(case), centre, self.config.patch)

    def patch_probabilities(self, image):
        """Class probabilities of patches `(n, *patch, channel)`, an array."""
        spec = tf.TensorSpec((None, *self.config.patch, image.shape[-1]), tf.float32)
        found = self.compiled("patches", self.network, super(LesionMethod, self).of_windows, [spec])
        return found(tf.constant(image, tf.float32)).numpy()


def _key(case):
    return zlib.crc32(case.id.encode())


METHOD = AneurysmMethod
