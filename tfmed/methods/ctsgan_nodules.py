"""CT-SGAN's downstream experiment: does a detector of lung nodules learn more from synthetic CTs?

Paper: A. Pesaranghader, Y. Wang, M. Havaei, "CT-SGAN: Computed Tomography Synthesis GAN", DGM4MICCAI 2021, Sect. 3 and
Appendix B; injector and eraser after Jin et al., MICCAI 2018 (simulated lung nodules).

Task: nodules injected and erased; a classifier from real, synthetic, or synthetic and then real scans.

Idea: Scans with nodules and scans without come from different scanners, so a classifier could tell them by their noise.
A nodule injector (3-D conditional GAN, fills in the masked middle of a cube of voxels) puts nodules into half of the
healthy scans; an eraser, taught on injected nodules, removes those of half of the others. With that, a 3D-SqueezeNet
learns whether a volume has nodules: from real scans, from synthetic ones, or from both, one after the other.

Reproduces: Fig. 3b, a bar chart without numbers: 10,000 synthetic CTs beat 900 real ones, clearly so for nodules of 14
and 16, and both together are best. `python -m tfmed.evaluate RUN` writes table and chart. No hardware is named.

Deviates: layers and losses of injector and eraser, the size of cubes, the classifier's layout, its batch and its number
of steps are open in the paper; the size of a nodule is taken for a diameter in mm. Synthetic volumes are those of a
CT-SGAN run, of a folder, or, by default, other phantoms.
"""

from typing import Literal

import numpy as np
import pydantic
import tensorflow as tf
from pydantic import Field, PositiveFloat, PositiveInt

from tfmed.config import Interval, MethodConfig, PathText, Voxels
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import Stream
from tfmed.data.unbiased import ERASE, KEEP, deal, mixed, unbiased
from tfmed.engine.abilities import CanEvaluate, CanExport, CanPreview, Evaluation, Split
from tfmed.engine.exporting import ExportModule
from tfmed.engine.method import Stage
from tfmed.engine.terminal import progress
from tfmed.errors import DataError
from tfmed.nn.adam import Adam
from tfmed.nn.squeezenet3d import squeezenet3d
from tfmed.nn.translation import patch_critic, unet_generator
from tfmed.pictures.charts import Bars
from tfmed.tasks.classification import mean_row
from tfmed.tasks.nodules import NoduleEditing
from tfmed.tasks.synthesis import MoreCases
from tfmed.training.classifier import ClassifierModel
from tfmed.training.painter import PainterModel, hidden

REGIMES = {"real": "real only", "synthetic": "synthetic only", "finetuned": "synthetic, then real"}

_COUNT = Stream("ctsgan_nodules.count", 0xC047)
_SYNTHETIC = 0x5F7  # tells the places in synthetic scans from those in real ones


class Config(MethodConfig):
    """Numbers of the experiment; [P] is stated in the paper, the others it leaves open."""

    volume_shape: tuple[Voxels, Voxels, Voxels] = (224, 224, 224)  # [P] voxels (z, y, x)
    window_hu: Interval = (-1000.0, 400.0)  # mapped to [-1, 1], for the classifier to [0, 1] [P]
    healthy: MoreCases | None = None  # scans without nodules ([P] NLST); null: those of data.source that have none
    synthetic: MoreCases = MoreCases(options={"seed": 2, "cases": 10_000})  # volumes without nodules, in files
    synthetic_run: PathText | None = None  # run directory of a CT-SGAN that makes synthetic volumes in their place
    synthetic_volumes: PositiveInt = 10_000  # [P] that `synthetic_run` makes
    # volumes of interest
    voi: PositiveInt = 64  # voxels per side
    mask_scale: float = Field(1.25, ge=1)  # radius of the mask: so many times the nodule's,
    mask_margin: float = Field(2.0, ge=1)  # and so many voxels more
    blend: float = Field(2.0, ge=0)  # voxels inside the mask's rim over which what is pasted fades in
    # injector and eraser
    downs: int = Field(5, ge=2, le=8)  # levels of the U-Nets
    generator_first: PositiveInt = 32  # channels
    dropout: float = Field(0.5, ge=0, lt=1)  # middle levels of the decoder, in training
    critic_layers: int = Field(3, ge=1, le=6)
    critic_first: PositiveInt = 32  # channels
    l1_weight: float = Field(100.0, ge=0)  # of the whole cube
    mask_l1_weight: float = Field(100.0, ge=0)  # of the mask, on top of that
    learning_rate: float = Field(2e-4, gt=0)  # of Adam
    beta_1: float = Field(0.5, ge=0, lt=1)
    beta_2: float = Field(0.999, ge=0, lt=1)
    flip: bool = True  # cubes and volumes left-right, half of the time
    # classifier
    classifier_first: PositiveInt = 64  # channels of SqueezeNet's first convolution
    fires: tuple[tuple[PositiveInt, PositiveInt], ...] = Field(
        ((16, 64), (32, 128), (48, 192), (64, 256)), max_length=64
    )
    classifier_strides: tuple[PositiveInt, PositiveInt, PositiveInt] = (2, 2, 2)  # of it; for films (1, 2, 2)
    classifier_dropout: float = Field(0.5, ge=0, lt=1)
    classifier_batch: int = Field(8, ge=2)
    classifier_learning_rate: float = Field(1e-4, gt=0)  # [P] of Adam with 0.9, 0.999
    classifier_steps: PositiveInt = 5000  # at most
    finetune_steps: PositiveInt | None = None  # of the third regime, after the second; null: classifier_steps
    # the experiment
    nodule_sizes_mm: tuple[PositiveFloat, ...] = Field((6, 8, 10, 12, 14, 16), min_length=1)  # [P] six; diameters
    seeds: PositiveInt = 3  # [P] of weights, and of the places and numbers of nodules in synthetic volumes
    regimes: tuple[Literal["real", "synthetic", "finetuned"], ...] = tuple(
        REGIMES
    )  # [P]; []: injector and eraser alone

    @pydantic.model_validator(mode="after")
    def _fits(self):
        if self.voi % 2**self.downs:
            raise ValueError(f"voi: {self.voi} voxels cannot be halved {self.downs} times; change voi or downs")
        if self.voi < 2 ** (self.critic_layers + 2):
            raise ValueError(f"critic_layers: too many for a voi of {self.voi} voxels; lower it, or raise voi")
        if self.l1_weight + self.mask_l1_weight == 0:
            raise ValueError("l1_weight: with no mask_l1_weight either nothing says what to fill in; set one above 0")
        if len(set(self.nodule_sizes_mm)) < len(self.nodule_sizes_mm):
            raise ValueError("nodule_sizes_mm: name each size once")
        if len(set(self.regimes)) < len(self.regimes):
            raise ValueError("regimes: name each once")
        if "finetuned" in self.regimes and "synthetic" not in self.regimes:
            raise ValueError("regimes: finetuned goes on with what synthetic learnt; add synthetic")
        return self

    @property
    def uses_synthetic(self):
        """Whether a classifier learns from synthetic volumes."""
        return "synthetic" in self.regimes


def build_network(config, name, seed=0):
    """A bare network: "generator" (cube -> cube), "critic" (two cubes -> logits) or "classifier" (volume -> logit)."""
    c = config
    if name == "generator":
        return unet_generator(c.downs, 1, 1, c.generator_first, c.dropout, seed, dims=3)
    if name == "critic":
        return patch_critic(c.critic_layers, 2, c.critic_first, dims=3)
    return squeezenet3d(1, 1, c.classifier_first, c.fires, c.classifier_strides, c.classifier_dropout, seed)


class Painter(PainterModel):
    """A painter of the config's networks.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.
    """

    def __init__(self, config, rate=None, seed=0, **kwargs):
        rate = config.learning_rate if rate is None else rate
        networks = (build_network(config, name, seed) for name in ("generator", "critic"))
        adam = [Adam(rate, config.beta_1, config.beta_2) for _ in range(2)]
        super().__init__(*networks, adam, config.l1_weight, config.mask_l1_weight, seed=seed, **kwargs)
        self.config = config


class Injector(Painter):
    """Cubes around real nodules; the generator is shown them with the nodule hidden."""

    def shown(self, batch):
        """The cubes, 0 in their masks."""
        return hidden(batch["voi"], batch["mask"])


class Eraser(Painter):
    """Healthy cubes; the generator is shown them with an injected nodule.

    Args:
        inject: hidden cubes -> cubes with nodules; a function, so that the injector's weights are none of this model's.
    """

    def __init__(self, *arguments, inject, **kwargs):
        super().__init__(*arguments, **kwargs)
        self.inject = inject

    def shown(self, batch):
        """The cubes with nodules pasted into them as into a scan."""
        made = tf.stop_gradient(self.inject(hidden(batch["voi"], batch["mask"])))
        return batch["voi"] + batch["weight"] * (made - batch["voi"])


class Classifier(ClassifierModel):
    """3D-SqueezeNet with binary cross-entropy: has a volume `(z, y, x, 1)` in [0, 1] nodules?

    Args:
        config: the method's `Config`.
        start: weights to go on from, as `network.get_weights()` gives them; None for new ones.
    """

    def __init__(self, config, seed=0, start=None, **kwargs):
        network = build_network(config, "classifier", seed)
        if start is not None:
            network.set_weights(start)
        super().__init__(network, Adam(config.classifier_learning_rate, 0.9, 0.999), "volume", seed=seed, **kwargs)


class NodulesMethod(NoduleEditing, CanPreview, CanEvaluate, CanExport):
    """Injector, eraser, then a classifier for each size of nodules, seed and regime."""

    Config = Config

    # --- training -----------------------------------------------------------------------------------------------------

    def stages(self):
        """ "injector", "eraser", and "<regime>-<size>mm-<seed>" for every classifier."""
        config = self.config
        yield self._painter("injector", Injector, self.real_cubes)
        injector = self.models["injector"]

        def inject(cubes):
            return injector.generator(cubes, training=False)

        yield self._painter("eraser", Eraser, self.healthy_cubes, inject=inject)
        for size in config.nodule_sizes_mm:
            for seed in range(config.seeds):
                for regime in config.regimes:
                    yield self._classifier(regime, size, seed)

    def _painter(self, name, kind, samples, **options):
        return self.stage(name, kind, samples, self.config.learning_rate, **options)

    def _classifier(self, regime, size, seed):
        config = self.config
        before = self.models[stage_name("synthetic", size, seed)] if regime == "finetuned" else None

        def model():
            start = before.network.get_weights() if before else None
            return Classifier(config, self.settings.seed + seed, start, per_step=config.classifier_batch)

        def samples():
            self.prepared("train")
            scans = self.synthetic_scans(seed) if regime == "synthetic" else self.scans("train")
            return self.volumes(scans, self.edits(self.editor, scans, size, seed), self.settings.seed + seed)

        steps = config.finetune_steps if regime == "finetuned" and config.finetune_steps else config.classifier_steps
        return Stage(stage_name(regime, size, seed), model, samples, steps, lambda m: self.validate(m, size))

    def validated(self):
        """Names of what `validate` gives."""
        return ("loss", "accuracy")

    def validation_cases(self):
        """The scans with nodules; there are as many without."""
        return self.origins["nodules"]["validation"]

    def validate(self, model, size):
        """{"loss", "accuracy"} of a classifier on the validation scans; {} where there are none."""
        if not self.validation_cases():
            return {}
        logits, labels, _ = self.judged(model, "validation", size)
        loss = np.logaddexp(0, np.where(labels == 1, -logits, logits))
        return {"loss": float(loss.mean()), "accuracy": float(((logits > 0) == (labels == 1)).mean())}

    def judged(self, model, part, size):
        """(logits, labels, origins), arrays over the scans of a part of the split with nodules of a size."""
        scans, edits = self._edited(part, size)
        logits, batch = [], self.config.classifier_batch
        for first in range(0, len(scans), batch):
            volumes = [self.shown(scan, edits[scan.case.id]) for scan in scans[first : first + batch]]
            logits.append(model.scores(np.stack(volumes)).numpy()[:, 0])
        return np.concatenate(logits), np.array([s.label for s in scans]), np.array([s.origin for s in scans])

    def _edited(self, part, size):
        if getattr(self, "_last_edited", (None,))[0] != (part, size):  # validations ask for one part after another
            self.prepared(part)
            scans = self.scans(part)
            self._last_edited = ((part, size), scans, self.edits(self.editor, scans, size, 0))
        return self._last_edited[1:]

    # --- samples of the classifier ------------------------------------------------------------------------------------

    def scans(self, part):
        """The unbiased `Scan`s of a part of the split."""
        return unbiased(*(self.origins[name][part] for name in ("nodules", "healthy")), self.settings.seed)

    def synthetic_scans(self, seed):
        """Synthetic `Scan`s: half of them get nodules."""
        return mixed(self.synthetic, "synthetic", self.settings.seed + 7919 * (seed + 1))

    def edits(self, editor, scans, size_mm, seed):
        """The patches of scans, {case id: list}; injected nodules are `size_mm` in diameter.

        Args:
            editor: the Editor.
            scans: list of Scan.
            seed: of the number and places of nodules in synthetic scans; real scans' are the same for all seeds.
        """
        found = {}
        for scan in progress(scans, f"Editing scans, {size_mm:g} mm"):
            key = _SYNTHETIC + seed if scan.origin == "synthetic" else 0
            found[scan.case.id] = self._patches(editor, scan, size_mm, key)
        return found

    def _patches(self, editor, scan, size_mm, key):
        case, volume = scan.case, self.volume(scan.case)
        if scan.edit == ERASE:
            return self._once("erased", case, lambda: editor.patches("erase", volume, self.nodules(case)))
        if scan.origin == "synthetic" and self._told(case):
            raise DataError(f"{case.id}: synthetic scans must have no nodules; set nodules of the source to 0")
        if scan.edit == KEEP:
            return []
        places = self.places(case)
        count = int(_COUNT(self.settings.seed, places.key, key).choice(self.counts))
        return editor.patches("inject", volume, places.draw([size_mm / 2] * count, key, _COUNT.number))

    def _told(self, case):
        try:
            return self.nodules(case)
        except DataError:  # a folder of volumes
            return []

    def shown(self, scan, patches):
        """The volume of a scan as the classifier is shown it: edited, `(z, y, x, 1)` float32 in [0, 1]."""
        array = np.array(self.volume(scan.case).array, np.float32)
        for patch in patches:
            patch.paste(array)
        return (0.5 * array + 0.5)[..., None]

    def volumes(self, scans, edits, seed):
        """Samples of the classifier: volumes with and without nodules in turn."""

        def read(index):
            scan = deal(scans, seed, index)
            volume = self.shown(scan, edits[scan.case.id])[..., 0]
            return {"volume": self._flipped(volume, index)[..., None], "label": np.float32(scan.label)}

        spec = {"volume": ((*self.config.volume_shape, 1), "float32"), "label": ((), "float32")}
        return Samples(read, spec, self.config.classifier_batch)

    # --- the table ----------------------------------------------------------------------------------------------------

    def evaluate(self, methods, part: Split = "test"):
        """{"evaluation": rows of Fig. 3b, one for each size and regime; "vois": how injector and eraser do}.

        Sensitivity is told for real and for injected nodules, specificity for scans that never had nodules and for
        erased ones. Writes the bar chart too.

        Args:
            methods: name of the run -> its Method, this one among them.
            part: of the split.
        """
        rows = [row for name, method in methods.items() for row in method.rows(name, part)]
        vois = [row for name, method in methods.items() for row in method.cube_rows(name, part)]
        return Evaluation({"evaluation": rows, "vois": vois}, {"accuracy": _chart(rows, part)})

    def rows(self, run, part):
        """Rows of one run: means over seeds, and their standard deviation."""
        found = []
        for size in self.config.nodule_sizes_mm:
            for regime in self.config.regimes:
                models = [self.models.get(stage_name(regime, size, seed)) for seed in range(self.config.seeds)]
                scores = [_scores(*self.judged(model, part, size)) for model in models if model]
                row = {"run": run, "nodules mm": size, "training data": REGIMES[regime], "seeds": len(scores)}
                found += [row | mean_row(scores)] if scores else []
        return found

    # --- pictures and export ------------------------------------------------------------------------------------------

    def export_module(self):
        """Signatures "erase" and "inject" of cubes, see `editing_calls`; "classify", of a run with classifiers:
        `volume` `(z, y, x)` float32 in HU -> `probability` () of the last one that it has nodules."""
        injector, eraser, *classifiers = self.models.values()

        def classify(volume):
            shown = (self.window.graph(volume) + 1.0) * 0.5
            logit = classifiers[-1].network(shown[None, ..., None], training=False)[0, 0]
            return {"probability": tf.sigmoid(tf.cast(logit, tf.float32))}

        volume = tf.TensorSpec((None, None, None), tf.float32, "volume")
        calls = self.editing_calls() | ({"classify": (classify, [volume])} if classifiers else {})
        return ExportModule([eraser, injector, *classifiers[-1:]], calls)


def stage_name(regime, size, seed):
    """The name of a classifier's stage."""
    return f"{regime}-{size:g}mm-{seed}"


def _scores(logits, labels, origins):
    found, real = logits > 0, origins == "nodules"
    kinds = {
        "accuracy": (found == (labels == 1), np.ones(len(labels), bool)),
        "sensitivity (real)": (found, (labels == 1) & real),
        "sensitivity (injected)": (found, (labels == 1) & ~real),
        "specificity (healthy)": (~found, (labels == 0) & ~real),
        "specificity (erased)": (~found, (labels == 0) & real),
    }
    return {name: float(right[which].mean()) for name, (right, which) in kinds.items() if which.any()}


def _chart(rows, part):
    runs = list(dict.fromkeys(row["run"] for row in rows))
    bars = {}
    for row in rows:
        title = row["training data"] if len(runs) == 1 else f"{row['run']}: {row['training data']}"
        bars.setdefault(title, {})[f"{row['nodules mm']:g}"] = (row["accuracy mean"], row["accuracy std"])
    text = (
        f"Accuracy on the {part} scans, half of which have nodules, by the size of injected nodules and by what the "
        "classifier was trained on: means over seeds, whiskers of one standard deviation. Dashed: guessing."
    )
    return Bars(bars, "diameter of injected nodules (mm)", "accuracy", 0.5, text)


METHOD = NodulesMethod
