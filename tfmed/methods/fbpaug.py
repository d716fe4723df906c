"""FBPAug: a segmenter of CT learns from virtual reconstruction kernels, and then agrees with itself on real ones.

Paper: Saparov et al., "Zero-Shot Domain Adaptation in CT Segmentation by Filtered Back Projection Augmentation",
DART (MICCAI workshop) 2021, arXiv:2107.08543.

Task: segmentation across CT kernels, 2-D

Idea: scanners reconstruct one scan with smooth or with sharp kernels, and networks trained on one kernel fail on the
other. In training a slice is projected, filtered by |w| (1 + a |w|^b) with random a and b, and projected back: a
virtual kernel. No image of the other kernel is needed.

Reproduces: Table 1, training on Mosmed-1110 by three folds: Dice of lesions 0.59 (baseline 0.56, gamma 0.61, noise
0.56, windowing 0.59), and Dice of the predictions for two kernels of one scan 0.92 (baseline 0.54, gamma 0.68, noise
0.79, windowing 0.63). 46 of the 96 masks and all 189 pairs are private. About 5 h on one GPU of 40 GB for all.

Deviates: `route: fourier` by default, one isotropic filter of the slice's spectrum, hundreds of times faster than
`radon`, the paper's; docs/results/fbpaug.md says how near both are. All trainings see [0, 1] from the window -1350 to
150 HU (the public code z-scores, then cuts to [0, 1] where it adds noise). Slices are cut or filled with air to one
size. N(0, s) is read as a standard deviation. Of the paper's loss nothing is known; the code's cross-entropy is taken.
Slices are turned before they are reconstructed: kernels commute with that.
"""

import dataclasses
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from tfmed.augment import intensity
from tfmed.augment import kernels as virtual
from tfmed.config import Interval, Voxels
from tfmed.data.pipeline import Samples
from tfmed.data.preprocess import Hounsfield
from tfmed.data.readers import read_case
from tfmed.data.sampling import Stream
from tfmed.engine.abilities import Seed, Split
from tfmed.losses import segmentation as losses
from tfmed.metrics.aggregate import mean_and_std, wilcoxon
from tfmed.metrics.agreement import bland_altman
from tfmed.metrics.segmentation import dice
from tfmed.nn.adam import Adam
from tfmed.nn.blocks import TwoClasses
from tfmed.pictures.images import ImageGrid
from tfmed.tasks.backbones import Network, SummedUNet
from tfmed.tasks.segmentation import SegmentationMethod
from tfmed.tasks.segmentation_settings import SegmentationConfig
from tfmed.training.single_network import SingleNetworkModel

_TURNS, _LESIONS = Stream("fbpaug.turns"), Stream("fbpaug.lesions")
_SHOWN = {"reconstructed": (0.0, 1.0), "sharp (30, 3)": (30.0, 3.0), "smooth (-1, 0.7)": (-1.0, 0.7)}


class Config(SegmentationConfig):
    """FBPAug's own numbers; the data are Mosmed-1110's."""

    modalities: tuple[str, ...] = ("ct",)
    regions: dict[str, tuple[int, ...]] = Field(default_factory=lambda: {"lesion": (1,)})
    patch: tuple[Voxels, ...] = Field((384, 384), min_length=2, max_length=2)  # pixels (y, x) of a slice
    network: Network = SummedUNet()
    augmentation: Literal["none", "fbp", "gamma", "noise", "windowing"] = "fbp"
    share: float = Field(0.5, ge=0, le=1)  # of the slices that the augmentation changes
    kernels: virtual.Kind = "both"  # virtual kernels that are drawn
    route: virtual.Route = "fourier"  # of virtual kernels: fourier, or by views: radon (the paper's), gridding
    views_per_pixel: float = Field(0.5, gt=0, le=4)  # angles per pixel of a slice's side; the code's training has 0.5
    residual: bool = False  # add only what a kernel changes, without the blur of projections
    gamma_deviation: float = Field(0.2, ge=0, le=10)  # of log g ~ N(0, s)
    noise_deviation: float = Field(0.1, ge=0, le=10)  # on the scale 0 to 1
    window_centre_hu: tuple[float, float] = (-700.0, -500.0)  # of random windows
    window_width_hu: tuple[float, float] = (1300.0, 1700.0)
    window_hu: Interval = (-1350.0, 150.0)  # what networks see as 0 and 1
    lesion_slices: float = Field(0.5, ge=0, le=1)  # share of samples drawn from slices with a lesion alone
    turned: float = Field(
        0.5, ge=0, le=1
    )  # share of samples that are turned by quarters, and of those that are flipped
    pair: str = "ct_sharp"  # name of a case's image by another kernel, for consistency; cases without are not paired
    learning_rate: float = Field(1e-3, gt=0)  # of Adam


def build_network(config, seed=0):
    """Slices on the scale 0 to 1, `(n, y, x, 1)` -> the lesion's logit `(n, y, x, 1)`."""
    return config.network.build(len(config.modalities), 1, len(config.patch), seed)


@keras.utils.register_keras_serializable("tfmed")
class WindowHU(keras.layers.Layer):
    """HU -> 0 to 1 by a window (low, high), cut at its ends."""

    def __init__(self, window, **kwargs):
        super().__init__(**kwargs)
        self.window = tuple(window)

    def call(self, hu):
        """The same shape."""
        low, high = self.window
        return tf.clip_by_value((hu - low) / (high - low), 0, 1)

    def compute_output_shape(self, input_shape):
        """The input's."""
        return input_shape

    def get_config(self):
        """Arguments, for saving."""
        return {**super().get_config(), "window": self.window}


class FBPAug(SingleNetworkModel):
    """A segmenter of slices trained by cross-entropy on augmented ones.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.

    A batch holds `image` `(n, y, x, 1)` in HU and `label` `(n, y, x)`.
    """

    def __init__(self, config, rate=None, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.windowed = build_network(config, self.noise_seed)
        window, two = WindowHU(config.window_hu, name="window", dtype="float32"), TwoClasses(dtype="float32")
        inputs = keras.Input((None, None, len(config.modalities)))
        self.window = window
        self.network = keras.Model(inputs, two(self.windowed(window(inputs))), name="from_hu")
        rate = config.learning_rate if rate is None else rate
        self.finish_building({"network": (Adam(rate), [self.network])}, ["loss"])

    def network_loss(self, batch):
        """Cross-entropy of sigmoid(logit), mean over the pixels of all slices."""
        logit = self.windowed(self.augmented(batch["image"], batch["index"]), training=True)
        logits = tf.concat([tf.zeros_like(logit), logit], -1)
        loss = tf.reduce_mean(losses.cross_entropy(logits, batch["label"]))
        return loss, {"loss": loss}

    def augmented(self, hu, index):
        """Slices in HU -> on the scale 0 to 1, a share of them changed, each by its own sample index.

        Kernels come before the window, gamma and noise after it, and random windows take its place.
        """
        config = self.config
        seeds = tf.stack([index, tf.fill(tf.shape(index), tf.cast(self.noise_seed, index.dtype))], 1)
        plain = self.window(hu)
        if config.augmentation == "none":
            return plain
        return intensity.chosen(seeds, config.share, self.changed(hu, plain, seeds), plain)

    def changed(self, hu, plain, seeds):
        """What the augmentation makes of slices, given in HU and on the scale 0 to 1."""
        config = self.config
        if config.augmentation == "fbp":
            return self.window(virtual_kernels(config, hu, *virtual.drawn(seeds, config.kernels)))
        if config.augmentation == "gamma":
            return intensity.gamma(plain, seeds, deviation=config.gamma_deviation)
        if config.augmentation == "noise":
            noisy = intensity.noise(plain, seeds, (config.noise_deviation, config.noise_deviation))
            return tf.clip_by_value(noisy, 0, 1)
        return intensity.window(hu, seeds, config.window_centre_hu, config.window_width_hu)


def virtual_kernels(config, hu, a, b):
    """Slices `(n, y, x, 1)` in HU as the kernels (a, b), `(n,)` each, reconstruct them."""
    views = max(1, round(config.views_per_pixel * max(config.patch)))
    return virtual.reconstructed(hu[..., 0], a, b, config.route, views, config.residual)[..., None]


class FBPAugMethod(SegmentationMethod):
    """Segmentation of lesions in CT slices; pairs of kernels are scored where cases have them."""

    Config = Config

    @classmethod
    def check(cls, settings):
        config = settings.model
        if len(config.modalities) != 1 or config.classes != 2:
            raise ValueError("fbpaug tells one class in one CT: give model.modalities one name and two label_values")
        for step in settings.data.preprocess:
            if step.step not in ("orient", "resample", "crop", "crop_foreground", "hounsfield"):
                raise ValueError(
                    f"data.preprocess: step {step.step} leaves no HU, which kernels work on; take it out "
                    "(model.window_hu scales the slices)"
                )
            if step.step == "crop" and step.fill > -900:
                raise ValueError(f"data.preprocess: step crop fills with {step.fill:g} HU; set fill: -1000, air")
        for name, (low, high), least in (
            ("window_centre_hu", config.window_centre_hu, -np.inf), ("window_width_hu", config.window_width_hu, 1.0),
        ):  # fmt: skip
            if not least <= low <= high:
                raise ValueError(
                    f"model.{name}: {low:g}, {high:g} is no range, lower bound first; widths begin at 1 HU"
                )

    def preprocessing(self):
        return (*super().preprocessing(), Hounsfield())

    def stages(self):
        yield self.stage("segmenter", FBPAug, self.samples, self.config.learning_rate, validation=self.validation)

    def samples(self):
        """Samples `image` `(y, x, 1)` float32 in HU and `label` `(y, x)` int32, turned together."""
        config, seed = self.config, self.settings.seed
        labelled, _ = self.training_cases
        slices = {case.id: np.flatnonzero(np.asarray(self.open(case).label).any((1, 2))) for case in labelled}
        with_lesion = [case for case in labelled if len(slices[case.id])]
        everywhere = self.patches(labelled)
        lesions = self.patches(with_lesion, 1, slices=slices)

        def read(index):
            lesion = _LESIONS(seed, index).random() < config.lesion_slices
            image, label, _ = (lesions if lesion else everywhere)(index)
            return turned(self.flat(image).astype(np.float32), self.flat(label), _TURNS(seed, index), config.turned)

        spec = {"image": ((*config.patch, 1), "float32"), "label": (config.patch, "int32")}
        return Samples(read, spec, self.settings.train.batch_size)

    def pair_of(self, case):
        """The Case by its other kernel, or None."""
        name = self.config.modalities[0]
        other = case.images.get(self.config.pair)
        return None if other is None else dataclasses.replace(case, images={name: other})

    def extra_scores(self, case, segmentation, reference, seed):
        """Of a case with two kernels: Dice of both predictions, their volumes, and Dice of the other one."""
        pair = self.pair_of(case)
        if pair is None:
            return {}
        images, label = read_case(pair, self.case_spec)
        first, second = segmentation.labels.array > 0, self.segmenter()(images).labels.array > 0
        litres = abs(np.linalg.det(images[0].affine)) / 1e3
        return {name: {
            "consistency": dice(first, second),
            "other kernel's Dice": dice(second, label.array != 0),
            "ml": float(first.sum() * litres),
            "other kernel's ml": float(second.sum() * litres),
        } for name in self.config.scored}  # fmt: skip

    def evaluate(self, methods, part: Split = "test", seed: Seed = 0):
        """As `SegmentationMethod.evaluate`, with a table "pairs" of what two kernels of one scan agree in."""
        found = super().evaluate(methods, part, seed)
        rows = [row for row in found["cases"] if "consistency" in row]
        if rows:
            found["pairs"] = pairs_table(rows, list(methods))
        return found

    def previews(self):
        """As usual, and a slice with its virtual kernels."""
        cases = [case for part in ("validation", "train") for case in self.cases[part]][:2]
        window = self.config.window_hu
        rows = {case.id: self.kernels_of(case) for case in cases}
        caption = (
            f"Slices from {window[0]:g} to {window[1]:g} HU: as they are, and as virtual kernels (a, b) show them."
        )
        notes = {name: ["as it is", *_SHOWN] for name in rows}
        return super().previews() | {"kernels": ImageGrid(rows, window, caption, notes)}

    def kernels_of(self, case):
        """[a patch of the case's middle slice, the same by each kernel that is shown], HU `(y, x)`."""
        number = self.open(case).image.shape[0] // 2
        image = self.flat(self.patches([case], 2, slices={case.id: [number]})(0)[0]).astype(np.float32)
        a, b = (tf.constant(column) for column in zip(*_SHOWN.values(), strict=True))
        made = virtual_kernels(self.config, tf.repeat(image[None], len(_SHOWN), 0), a, b)
        return [image[..., 0], *made[..., 0].numpy()]


def turned(image, label, draw, share):
    """A sample, for a share of draws turned by quarters, and for as many flipped; image and label alike."""
    quarters, axis, (turns, flips) = int(draw.integers(4)), int(draw.integers(2)), draw.random(2) < share
    if turns:
        quarters = quarters if image.shape[0] == image.shape[1] else quarters // 2 * 2
        image, label = np.rot90(image, quarters), np.rot90(label, quarters)
    if flips:
        image, label = np.flip(image, axis), np.flip(label, axis)
    return {"image": np.ascontiguousarray(image), "label": np.ascontiguousarray(label)}


def pairs_table(rows, runs):
    """A row per run: consistency, Dice of both kernels, Bland-Altman of volumes, and the first run's lead.

    p is one-sided (Wilcoxon), for the first run's consistency above another's, times the number of the others.
    """
    table, first = [], None
    for run in runs:
        mine = [row for row in rows if row["run"] == run]
        columns = {
            name: np.array([row[name] for row in mine]) for name in mine[0] if name not in ("run", "case", "region")
        }
        bias, low, high = bland_altman(columns["ml"], columns["other kernel's ml"])
        first = columns["consistency"] if first is None else first
        p = "" if run == runs[0] else min(1.0, wilcoxon(first, columns["consistency"], "greater").p * (len(runs) - 1))
        table.append(
            {"run": run, "pairs": len(mine)}
            | mean_and_std("consistency", columns["consistency"])
            | mean_and_std("Dice", columns["Dice"])
            | mean_and_std("other kernel's Dice", columns["other kernel's Dice"])
            | {"ml bias": bias, "ml 95 % limits": f"{low:.1f} .. {high:.1f}", "p (Wilcoxon, Bonferroni)": p}
        )
    return table


METHOD = FBPAugMethod
