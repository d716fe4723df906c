"""Uncertainty slice sampling: which slices should be annotated next?

Paper: G. Chlebus, A. Schenk, H. K. Hahn, B. van Ginneken, H. Meine, "Robust Segmentation Models Using an Uncertainty
Slice Sampling-Based Annotation Workflow", IEEE Access 10, 2022.

Task: active learning: which slices to annotate next, by simulation or by a person through a folder.

Idea: A 3-D network asks for single slices, those at the peaks of its own uncertainty (Monte Carlo dropout) along each
volume. A Dice loss that counts annotated slices alone lets it learn from them. Compared with asking for whole volumes
(UVS), and with volumes or slices at random (RVS, RSS).

Reproduces: Tables 2 and 4 - 9: after five rounds a mean Dice of 0.960 (5th percentile 0.936) from 4 % of the slices,
converged 0.964 (0.946), against 0.967 (0.945) with all slices; 484 abdominal CTs, most of them private. 12,000 to
139,000 steps per round, overnight on a GPU that the authors do not name.

Deviates: the widths of the network's levels stand in a figure that is not at hand (see `nn.aunet`). Open in the paper
and chosen here: HU window [-200, 250]; the organ mask of a volume's score is the network's own; an epoch has as many
patches as tile the annotated slices; "converged" means no better Jaccard for 50,000 steps; a round's network is judged
without dropout. Patches read real context and mirror only past a volume's border (the paper pads 4 slices by 20, which
cannot be mirrored).

With `model.annotations=FOLDER` a person answers: a run writes the slices to annotate as NIfTI with draft labels, ends,
and goes on with `--resume` once the corrected labels lie in the folder (`tfmed annotate RUN` is a page for that).
"""

import copy
import dataclasses
import functools
import math
import pathlib
from typing import Literal

import numpy as np
import tensorflow as tf
from pydantic import Field, NonNegativeInt, PositiveInt

from tfmed.config import PathText, Voxels
from tfmed.data.acquisition import slices as acquisition
from tfmed.data.annotation import Folder, SparseLabel
from tfmed.data.desks import SliceDesk
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import Stream
from tfmed.engine.abilities import CanAsk, Evaluation, Seed, Split
from tfmed.engine.records import Records
from tfmed.errors import DataError, RunError
from tfmed.losses import segmentation as losses
from tfmed.metrics import surface
from tfmed.metrics.segmentation import jaccard
from tfmed.metrics.uncertainty import predictive_entropy
from tfmed.nn import dropout
from tfmed.nn.adam import Adam
from tfmed.ops.sliding_window import sliding_window
from tfmed.tasks import active_learning
from tfmed.tasks.backbones import AUNet, Network
from tfmed.tasks.segmentation import SegmentationMethod
from tfmed.tasks.segmentation_export import window_probabilities
from tfmed.tasks.segmentation_settings import SegmentationConfig
from tfmed.training.single_network import SingleNetworkModel

_QUERIES = Stream("uss.queries", 0xAC7)

SMOOTH = 1e-7  # in both parts of the Dice: without it a batch without organ would divide 0 by 0


class Config(SegmentationConfig):
    """USS's own numbers; [P] is stated in the paper."""

    modalities: tuple[str, ...] = ("ct",)
    label_values: tuple[int, ...] = (0, 1)
    merge: tuple[tuple[int, int], ...] = ()  # label values in files that count as another: [[2, 1]]
    regions: dict[str, tuple[int, ...]] = Field(default_factory=lambda: {"liver": (1,)})
    patch: tuple[Voxels, ...] = (4, 180, 180)  # [P] voxels (z, y, x) that the network answers
    network: Network = AUNet()  # [P]
    pad: Literal["edge", "reflect"] = "reflect"  # [P]
    overlap: float = Field(0.0, ge=0, lt=1)  # windows tile the volume
    blend: Literal["gaussian", "constant"] = "constant"
    learning_rate: float = Field(1e-5, gt=0)  # [P] of Adam
    # active learning
    strategy: Literal["uvs", "rvs", "uss", "rss"] = "uss"
    initial_volumes: PositiveInt | None = 5  # [P] labelled as a whole from the start; null: all (the upper bound)
    rounds: NonNegativeInt = 5  # [P]
    volumes: PositiveInt = 5  # [P] k, that UVS and RVS ask for in a round
    slices: PositiveInt = 200  # [P] N_S, that USS asks for in a round; RSS: slices that show the organ
    slices_from: PathText | None = None  # run directory of UVS: N_S = its mean number of liver slices per round / 3
    distance: PositiveInt = 5  # [P] slices between two candidates of a volume
    query_passes: int = Field(20, gt=0, le=1000)  # [P] Monte Carlo passes of an uncertainty
    organ_only: bool = True  # [P] a volume's score counts voxels near the organ alone
    epochs: PositiveInt = 30  # [P] at most, in a round; one epoch has as many patches as tile the annotated slices
    converged_steps: NonNegativeInt = 0  # steps at most of a last training, until early stopping; 0: there is none
    annotations: PathText | None = None  # folder where a person annotates; null: the cases' labels answer


def build_network(config, channels=None, classes=None, seed=0):
    """The segmentation network: images `(n, *(patch + 2 * margin), channels)` -> logits `(n, *patch, classes)`."""
    channels = len(config.modalities) if channels is None else channels
    return config.network.build(channels, config.classes if classes is None else classes, len(config.patch), seed)


class USS(SingleNetworkModel):
    """A network that learns from the annotated slices of a patch (Eq. 2).

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.

    A batch holds `image` `(n, *(patch + 2 * margin), channel)`, `label` `(n, *patch)` and `annotated` `(n, z)`, 1 for
    slices whose labels are known and 0 for others.
    """

    def __init__(self, config, rate=None, **kwargs):
        super().__init__(**kwargs)
        self.network = build_network(config, seed=self.noise_seed)
        optimizer = Adam(config.learning_rate if rate is None else rate)
        self.finish_building({"network": (optimizer, [self.network])}, ["loss"])

    def network_loss(self, batch):
        """1 - 2 sum(w y p) / (sum(w y) + sum(w p)), sums over all voxels of the batch."""
        logits = self.network(batch["image"], training=True)
        weight = tf.broadcast_to(batch["annotated"][:, :, None, None], tf.shape(batch["label"]))
        loss = losses.batch_dice(logits, batch["label"], weight, smooth=SMOOTH, total=self.sum_over_replicas)
        return loss, {"loss": loss}


class USSMethod(SegmentationMethod, CanAsk):
    """Rounds of training, asking and annotating. What is annotated is a pool, see `tfmed.data.acquisition.slices`."""

    Config = Config
    takes_altered = False
    follows_folders = True

    @classmethod
    def check(cls, settings):
        config, train = settings.model, settings.train
        if len(config.patch) != 3:
            raise ValueError(f"model.patch: {list(config.patch)} is a slice; give (z, y, x), as 3-D networks need it")
        if settings.data.labelled_share != 1:
            raise ValueError("data.labelled_share means nothing here; set model.initial_volumes instead")
        if train.gradient_accumulation > 1:
            raise ValueError("train.gradient_accumulation: the Dice of a batch cannot be cut into parts; set it to 1")
        if config.annotations and config.strategy == "rss":
            raise ValueError("model.strategy: rss must know which slices show the organ, and with model.annotations "
                             "nobody does before they are annotated; choose uss, uvs or rvs")  # fmt: skip

    def __init__(self, settings):
        super().__init__(settings)
        self.answers = {}  # case -> {slice: class numbers}, of a person
        self.desk = None
        if self.config.annotations:
            self.desk = Folder(self.config.annotations, self.config.modalities, self.config.label_values)

    # --- data ---------------------------------------------------------------------------------------------------------

    def as_used(self, case):
        """As for all segmentation methods, label values merged."""
        case, merge = super().as_used(case), dict(self.config.merge)
        if not merge:
            return case
        mapping = case.meta.get("label_values")
        known = {value: value for value in self.config.label_values} | merge
        mapping = known if mapping is None else {k: merge.get(v, v) for k, v in mapping.items()}
        return dataclasses.replace(case, meta={**case.meta, "label_values": mapping})

    @functools.cached_property
    def pool_cases(self):
        """{id: Case} of the training cases."""
        return {case.id: case for case in self.training_cases[1]}

    def open(self, case):
        """The Prepared case; its label is a person's where a person annotated it."""
        prepared = super().open(case)
        if case.id not in self.answers:
            return prepared
        return dataclasses.replace(prepared, label=SparseLabel(prepared.image.shape[:3], self.answers[case.id]))

    def shown(self, case, slices):
        """Which of these slices show the organ, bool, by their labels."""
        label = self.open(case).label
        return np.array([bool(np.any(label[z : z + 1])) for z in slices], bool)

    def pool(self, asked):
        """The pool: {case: bool (slices,)}, True where one of the asked ({case: slices}) is."""
        pool = {}
        for name, case in self.pool_cases.items():
            pool[name] = np.zeros(self.open(case).image.shape[0], bool)
            for one in asked:
                pool[name][one.get(name, [])] = True
        return pool

    def shown_in(self, pool):
        """{case: bool (slices,)}, the annotated slices that show the organ."""
        shown = {}
        for name, annotated in pool.items():
            shown[name] = np.zeros(len(annotated), bool)
            known = np.flatnonzero(annotated)
            shown[name][known] = self.shown(self.pool_cases[name], known)
        return shown

    def effort(self, pool):
        """What the annotations of a pool cost."""
        return acquisition.effort(pool, self.shown_in(pool))

    def samples(self, pool):
        """Patches that hold an annotated slice each; every second one is centred on the organ in such a slice."""
        shown = self.shown_in(pool)
        if not any(mask.any() for mask in shown.values()):
            raise DataError("no annotated slice shows the organ; raise model.initial_volumes, or check the labels")
        streams = [self._patches(pool, 0, 0.0), self._patches(shown, 1, 1.0)]
        shape, margin = self.config.patch, self.margin
        seen = tuple(side + 2 * edge for side, edge in zip(shape, margin, strict=True))

        def read(index):
            patches, number = streams[index % 2 == 0], index // 2
            image, label, case = patches(number)
            first = patches.place(number)[1][0]
            inside = [0 <= z < len(pool[case.id]) and pool[case.id][z] for z in range(first, first + shape[0])]
            return {"image": image, "label": label, "annotated": inside}

        spec = {
            "image": ((*seen, len(self.config.modalities)), "float32"),
            "label": (shape, "int32"),
            "annotated": (shape[:1], "float32"),
        }
        return Samples(read, spec, self.settings.train.batch_size)

    def _patches(self, mask, stream, foreground):
        """Patches around the slices of a mask; a case comes as often as patches tile its slices."""
        cases = [self.pool_cases[name] for name in mask for _ in range(self._tiles(name, mask[name]))]
        slices = {name: np.flatnonzero(mask[name]) for name in mask if mask[name].any()}
        return self.patches(cases, stream, foreground, slices)

    def _tiles(self, name, annotated):
        depth, *plane = self.config.patch
        size = self.open(self.pool_cases[name]).image.shape[1:3]
        return acquisition.tiles(annotated, depth) * math.prod(-(-n // m) for n, m in zip(size, plane, strict=True))

    # --- rounds -------------------------------------------------------------------------------------------------------

    def stages(self):
        config = self.config
        asked = [self.first_volumes()] if not self.records.frozen else []
        yield self._stage("initial", asked)
        for number in range(1, config.rounds + 1):
            make = functools.partial(self.query, number, asked)
            found = self.records.recall(f"query{number}", make, acquisition.is_query)
            if found is None:  # a run that is only looked at ends where nothing has been asked for yet
                return
            asked = [*asked, found["asked"]]
            yield self._stage(f"round{number}", asked)
        if config.converged_steps:
            yield self._stage("converged", asked, config.converged_steps)

    def _stage(self, name, asked, steps=None):
        """Training from scratch on what was asked for."""
        train = self.settings.train
        if steps is None and not self.records.frozen:
            patches = sum(self._tiles(case, annotated) for case, annotated in self.pool(asked).items())
            steps = min(train.steps, -(-self.config.epochs * patches // train.batch_size))

        def samples():
            self.collect(asked)
            pool = self.pool(asked)
            self.records.recall(f"effort_{name}", functools.partial(self.effort, pool), acquisition.is_effort)
            return self.samples(pool)

        return self.stage(name, USS, samples, self.config.learning_rate, steps=steps, validation=self.validation)

    def first_volumes(self):
        """{case: all slices} of the volumes that are labelled from the start."""
        labelled = sorted(name for name, case in self.pool_cases.items() if case.label is not None)
        count = len(labelled) if self.desk is not None else self.config.initial_volumes or len(labelled)
        if count > len(labelled):
            raise DataError(f"{len(labelled)} training cases have labels; set model.initial_volumes to that or lower")
        order = _QUERIES(self.settings.seed, 0).permutation(len(labelled))[:count]
        names = sorted(labelled[i] for i in order)
        return {name: list(range(self.open(self.pool_cases[name]).image.shape[0])) for name in names}

    def query(self, number, asked):
        """{"asked": {case: slices}, and "profiles" or "scores" by which they were chosen}, with the newest model."""
        config, draw, pool = self.config, _QUERIES(self.settings.seed, number), self.pool(asked)
        if self.desk is None:  # nobody could answer for a case without a label
            pool = {name: annotated for name, annotated in pool.items() if self.pool_cases[name].label is not None}
        if config.strategy == "rvs":
            return {"asked": acquisition.random_volumes(pool, config.volumes, draw)}
        if config.strategy == "rss":
            shown = {name: self.shown(self.pool_cases[name], range(len(pool[name]))) for name in pool}
            return {"asked": acquisition.random_slices(pool, shown, self.budget(), draw)}
        maps = ((name, self.uncertainty(self.open(self.pool_cases[name]).image)) for name in pool)
        if config.strategy == "uvs":
            free = ((name, found) for name, found in maps if not pool[name].any())
            scores = {
                name: acquisition.volume_score(u, mask if config.organ_only else None) for name, (u, mask) in free
            }
            return {"asked": acquisition.uncertain_volumes(pool, scores, config.volumes), "scores": scores}
        profiles = {name: acquisition.slice_scores(u).round(6).tolist() for name, (u, _) in maps}
        asked = acquisition.uncertain_slices(pool, profiles, self.budget(), config.distance)
        return {"asked": asked, "profiles": profiles}

    def uncertainty(self, image):
        """(predictive entropy in nats (Eq. 1), organ) `(z, y, x)` float32 and bool, of a prepared image."""
        config = self.config.model_copy(update={"mc_passes": self.config.query_passes})
        passes = self.compiled("passes", self.network, functools.partial(window_probabilities, self.network, config))

        def finish(planes):
            organ = (planes.argmax(-1) != 0).astype(np.float32)
            return np.stack([predictive_entropy(planes, base=math.e), organ], -1)

        with dropout.from_the_start(self.network):
            found = sliding_window(passes, image, finish=finish, **self.windows_of(image))
        return found[..., 0], found[..., 1] > 0

    def budget(self):
        """N_S."""
        if self.config.slices_from is None:
            return self.config.slices
        path = pathlib.Path(self.config.slices_from)
        records, counts = Records(path / "records", frozen=True), []
        for name in ("initial", *(f"round{number}" for number in range(1, 100))):
            found = records.recall(f"effort_{name}", valid=acquisition.is_effort)
            if found is None:
                break
            counts.append(found["liver slices"])
        if len(counts) < 2:
            raise RunError(f"{path}: has no finished round; model.slices_from needs a run of strategy uvs")
        return max(1, round((counts[-1] - counts[0]) / (len(counts) - 1) / 3))

    def collect(self, asked):
        """Pick up what a person annotated; ask for what is missing.

        Raises:
            RunError: something is missing, ImageIntegrityError or DataError: a file is damaged or does not fit.
        """
        for number, one in enumerate(asked) if self.desk is not None else ():
            if number == 0:
                continue
            found, missing, total = [(self.pool_cases[name], slices) for name, slices in one.items()], [], 0
            for case, slices in found:
                prepared = super().open(case)
                draft = functools.cache(lambda prepared=prepared: self.draft().labels(prepared.image))
                self.desk.ask(number, case, slices, prepared, draft)
                missing += self.desk.missing(number, case, slices, prepared)
                total += 1 if len(slices) == prepared.image.shape[0] else len(slices)
            if missing:
                self.desk.refuse(number, missing, total)
            for case, slices in found:
                answer = self.desk.answer(number, case, slices, super().open(case))
                self.answers[case.id] = self.answers.get(case.id, {}) | answer

    def desk_of(self, folder):
        """The desk at which a person answers in a page."""
        c = self.config
        if not c.annotations:
            raise RunError(f"{folder}: asks nobody, its labels answer; train one with model.annotations=FOLDER")
        return SliceDesk(c.annotations, c.modalities, c.label_values, c.class_names)

    def draft(self):
        """This method with the last model that is trained: the newest one has just been made."""
        return self.at(list(self.models)[-2])

    # --- what verbs ask for -------------------------------------------------------------------------------------------

    def at(self, stage):
        """This method as it was after a stage."""
        other = copy.copy(self)
        other.models = {stage: self.models[stage]}
        return other

    def region_dice(self, prediction, reference):
        """As for all methods, and {"jaccard_<region>"}, by which the paper chooses the best model."""
        scores = super().region_dice(prediction, reference)
        for name, classes in self.config.scored.items():
            value = jaccard(np.isin(prediction, classes), np.isin(reference, classes))
            scores[f"jaccard_{name.replace(' ', '_')}"] = value
        return scores

    def extra_scores(self, case, segmentation, reference, seed):
        """The unclipped Hausdorff distance; what the paper names MSD is the column ASSD."""
        scores, spacing = {}, segmentation.labels.spacing
        for name, classes in self.config.scored.items():
            pair = np.isin(segmentation.labels.array, classes), np.isin(reference, classes)
            scores[name] = {"HD mm": surface.distances(*pair, spacing).hd}
        return scores

    def evaluate(self, methods, part: Split = "test", seed: Seed = 0):
        """As for all methods, and "rounds", "wilcoxon" and "quantile_regression"; see `tasks.active_learning`."""
        found = super().evaluate(methods, part, seed)
        return Evaluation(found | active_learning.all_tables(methods, found["cases"], part, seed), found.pictures)

    def previews(self):
        """As for all methods, and the profiles by which the last slices were chosen."""
        return super().previews() | active_learning.profiles(self)


METHOD = USSMethod
