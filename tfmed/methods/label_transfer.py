"""Label transfer: cells that a segmenter misses in one image take their labels from the same cells on another day.

Paper: Liu, Aguilera, Liu & Tam, "Automated Iterative Label Transfer Improves Segmentation of Noisy Cells in Adaptive
Optics Retinal Images", DALI (MICCAI workshop) 2021.

Task: segmentation of cells from clean labelled images and noisy unlabelled pairs, 2-D

Idea: the same cells are imaged at two visits, and noise hides some of them at one visit but not at the other. Cells of
a pair are matched by what they look like and by how their neighbours lie; good masks replace those of unusual size, and
are copied to where a cell is missing. The network is trained again with these labels, and so on.

Reproduces: Table 1, Dice of cells in 148 images of cones: 74.0 % of the first U-Net, 77.2, 80.7, 82.0, 85.3 and 85.9 %
after iterations 1 to 5 (AP 62.6 to 79.2 %). The paper names neither hardware nor time; its images are private.

Deviates: the printed energy is least without any match, so each term has a weight and one-to-one is a hard constraint,
solved by iterated assignment (`data.matching`; the paper's solver is given by reference alone). The affine transform is
fitted by L-BFGS, not by a network. Left open by the paper and chosen here: widths, optimiser, steps, disc radius, Otsu,
sizes judged by cells clear of the border, donors of usual size, copies dropped where they lose 30 % of their area,
removed cells left out of the loss, a warm start, predictions made anew in each iteration, and all pixels of a pair in
the loss (`loss_mask: transferred_only` for those near what came in). `transfer: none` is self-training, the control
that the paper lacks.
"""

import functools
import logging
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field, NonNegativeInt, PositiveInt

from tfmed.data import matching, registration, transfer
from tfmed.data.instances import centres_of, packed, unpacked
from tfmed.data.transfer import CHANGES, Transferred
from tfmed.errors import DataError
from tfmed.losses import maps as losses
from tfmed.nn.adam import Adam
from tfmed.nn.transfer import start_from
from tfmed.ops.reflect import to_multiple
from tfmed.pictures.transfers import Pair, Transfers, Visit
from tfmed.tasks.instances import MAPS, InstanceConfig, InstanceMethod
from tfmed.training.single_network import SingleNetworkModel

log = logging.getLogger("tfmed")
_SHOWN = 2  # pairs of a picture
_VISITS = ("first", "second")


class Config(InstanceConfig):
    """The paper's numbers are [P]; it leaves the others open."""

    iterations: NonNegativeInt = Field(5, le=1000)  # [P] of predicting, matching, transferring and training again
    iteration_steps: PositiveInt | None = None  # of each; null: train.steps, as for the first training
    start: Literal["warm", "scratch"] = "warm"  # weights with which an iteration begins
    learning_rate: float = Field(1e-3, gt=0)  # of Adam
    # matching
    matching: Literal["topology", "features", "distance", "mutual"] = "topology"  # topology: [P], with features
    radius: float = Field(30.0, gt=0, le=10_000)  # [P] px that a cell may lie from its partner
    neighbours: int = Field(6, ge=1, le=1000)  # [P] nearest cells
    feature_window: int = Field(16, ge=1, le=256)  # [P] px, of the last convolution's features around a cell
    topology: float = Field(1.0, ge=0, allow_inf_nan=False)  # weight of the neighbourhood's terms
    unmatched: float = Field(1.0, ge=0, allow_inf_nan=False)  # cost of a cell without partner
    registration: Literal["own", "simpleitk"] = "own"
    least_correlation: float = Field(0.2, ge=-1, lt=1)  # of a pair's grey values once they are registered
    # transfer
    transfer: Literal["both", "first", "second", "none"] = "both"  # [P] both; none: plain self-training
    sigmas: float = Field(2.0, ge=0, allow_inf_nan=False)  # [P] standard deviations within which a size is usual
    usual_size: Literal["mean", "median"] = "mean"  # [P]; median: with the median deviation, which failures cannot move
    most_lost: float = Field(0.3, ge=0, le=1)  # share of a copy's area that may lie under other cells
    ignore_removed: bool = True  # where a cell was taken away and nothing came, pixels do not count
    loss_mask: Literal["all", "transferred_only"] = "all"  # of pairs: all pixels, or those around what came in
    loss_margin: int = Field(8, ge=0, le=10_000)  # px around it


def build_network(config, seed=0):
    """Images `(n, y, x, 1)` -> logits `(n, y, x, 2)` of the centroid map and the region map."""
    return config.network.build(1, MAPS, 2, seed)


def with_features(network):
    """The same network, images -> (logits, `features` `(n, y, x, width)`: the input of its last convolution)."""
    decoder = network.get_layer("decoder")
    both = keras.Model(decoder.inputs, [decoder.output, decoder.get_layer("head0").input])
    inputs = keras.Input((None, None, 1))
    return keras.Model(inputs, both(network.get_layer("encoder")(inputs)))


class LabelTransfer(SingleNetworkModel):
    """The network of both maps.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.
        trained: network whose weights it begins with, or None.

    A batch holds `image` `(n, *patch, 1)`, `maps` `(n, *patch, 2)` and `weight` `(n, *patch)`.
    """

    def __init__(self, config, rate=None, *, trained=None, **kwargs):
        super().__init__(**kwargs)
        self.network = build_network(config, self.noise_seed)
        if trained is not None:
            start_from(self.network, trained, head=0)
        rate = config.learning_rate if rate is None else rate
        self.finish_building({"network": (Adam(rate), [self.network])}, ["loss", "dice", "cross_entropy"])

    def network_loss(self, batch):
        """L = sum over both maps of (1 - (2 sum p y + 1) / (sum p + sum y + 1)) + BCE(p, y), mean over the samples."""
        logits = self.network(batch["image"], training=True)
        terms = [loss(logits, batch["maps"], batch["weight"]) for loss in (losses.dice, losses.binary_cross_entropy)]
        dice, entropy = (tf.reduce_mean(tf.reduce_sum(term, -1)) for term in terms)
        return dice + entropy, {"loss": dice + entropy, "dice": dice, "cross_entropy": entropy}


class LabelTransferMethod(InstanceMethod):
    """The loop: a network of the labelled images, and then of these and of pairs with labels that were exchanged."""

    Config = Config

    # --- pairs --------------------------------------------------------------------------------------------------------

    def __init__(self, settings):
        super().__init__(settings)
        self._fits = {}  # pair -> its registration
        self._looked = None, None

    def prepared(self, part, progress=None):
        """As `InstanceMethod.prepared`; pairs that do not belong together are told before the first step."""
        cases = super().prepared(part, progress)
        if part == "train" and self.config.iterations and self.split_record is None:
            self._check(self.pairs_among(self.labelled_of(cases), cases))
        return cases

    @functools.cached_property
    def pairs(self):
        """{name: (Case, Case)} of the pairs of which an image is unlabelled."""
        return self.pairs_among(*self.training_cases)

    def pairs_among(self, labelled, cases):
        """{name: (Case, Case)} of the pairs of which an image is not among the labelled ones.

        Raises:
            DataError: an unlabelled image has no partner.
        """
        known, visits, pairs = {case.id for case in labelled}, {}, {}
        for case in cases:
            if "pair" in case.meta:
                visits.setdefault(case.meta["pair"], {})[case.meta["visit"]] = case
            elif case.id not in known:
                raise DataError(f"{case.id}: has neither a label map nor a partner; give one, or remove the case")
        for name, found in visits.items():
            if not {case.id for case in found.values()} <= known:
                if set(found) != {1, 2}:
                    raise DataError(f"{name}: visit {3 - min(found)} is missing; add it, or remove visit {min(found)}")
                pairs[name] = found[1], found[2]
        return pairs

    def _check(self, pairs):
        """DataError where there are no pairs, or the images of one do not belong together."""
        if not pairs:
            raise DataError("no pair of unlabelled images to learn from; add some, or set model.iterations to 0")
        for name, cases in pairs.items():
            one, other = (self.open(case)[0].shape for case in cases)
            if one != other:
                raise DataError(
                    f"{cases[1].id}: has {other[0]} x {other[1]} pixels, and its partner {cases[0].id} has {one[0]} x "
                    f"{one[1]}; is it of another place? Give both visits one size"
                )
            there = self.config.least_correlation if self.config.transfer == "none" else self.fit(name, cases)
            if there < self.config.least_correlation:
                raise DataError(
                    f"{name}: its images do not fit together (correlation {there:.2f} where they fit best); check "
                    "which belong to it, or lower model.least_correlation"
                )

    def fit(self, name, cases):
        """The correlation of a pair's images once they are registered; what is trained plays no role in it."""
        if name not in self._fits:
            images = [self.open(case)[0] for case in cases]
            self._fits[name] = registration.fit_affine(*images, self.config.registration)
        return self._fits[name].correlation

    @functools.cached_property
    def affines(self):
        """{name of a pair: transform `(2, 3)` from its first image to its second one}."""
        found = self.records.recall("affines", self._register, _are_affines)
        return {name: np.array(rows, np.float64) for name, rows in found.items()}

    def _register(self):
        for name, cases in self.pairs.items():
            self.fit(name, cases)
        return {name: self._fits[name].affine.tolist() for name in self.pairs}

    # --- loop ---------------------------------------------------------------------------------------------------------

    def stages(self):
        config = self.config
        rate = config.learning_rate
        yield self.stage("clean", LabelTransfer, self.labelled_samples, rate, validation=self.validation)
        for number in range(1, config.iterations + 1):
            before = list(self.models)[-1]
            model = functools.partial(LabelTransfer, trained=self._start(before))
            samples = functools.partial(self.all_samples, number, before)
            steps = config.iteration_steps
            yield self.stage(f"iteration{number}", model, samples, rate, steps=steps, validation=self.validation)

    def _start(self, stage):
        return self.models[stage].network if self.config.start == "warm" else None

    def labelled_items(self):
        """Functions that give what is learnt of each labelled image."""
        return [functools.partial(self._labelled, case) for case in self.training_cases[0]]

    def _labelled(self, case):
        return self.learnt(*self.open(case))

    def labelled_samples(self):
        """Samples of the labelled images."""
        return self.samples(self.labelled_items())

    def all_samples(self, number, before):
        """Samples of the labelled images, and of the pairs with the labels of an iteration."""
        found = self.exchanged(number, before)
        return self.samples([*self.labelled_items(), *(functools.partial(self._of_pair, found, case)
                                                       for case in self.receivers())])  # fmt: skip

    def receivers(self):
        """The unlabelled images of all pairs."""
        labelled = {case.id for case in self.training_cases[0]}
        return [case for pair in self.pairs.values() for case in pair if case.id not in labelled]

    def _of_pair(self, found, case):
        one, config = found[case.id], self.config
        counted = transfer.around(one, config.loss_margin) if config.loss_mask == "transferred_only" else True
        return self.learnt(self.open(case)[0], one.labels, counted & ~(one.ignored & config.ignore_removed))

    def exchanged(self, number, before=None):
        """{id of an image: its `Transferred`} of an iteration, made with the network of the stage before; or None."""
        found = self.records.recall(f"iteration{number}", lambda: self._exchange(before), _are_exchanges)
        return found and {name: Transferred.of_plain(value) for name, value in found["images"].items()}

    def _exchange(self, before):
        """Predict, match and transfer, as plain values."""
        network = self.models[before].network
        images, matches = {}, {}
        for name, pair in self.pairs.items():
            labels, made, match = self.exchange_of(name, network)
            for case, before_it, one in zip(pair, labels, made, strict=True):
                images[case.id] = one.as_plain() | {"before": packed(before_it)}
            matches[name] = match.pairs.tolist()
        counts = {kind: sum(len(one[kind]) for one in images.values()) for kind in ("replaced", "copied", "removed")}
        log.info("labels of %d pairs: %s cells", len(matches), ", ".join(f"{n} {kind}" for kind, n in counts.items()))
        return {"images": images, "matches": matches}

    def exchange_of(self, name, network):
        """(instance maps, `Transferred` of both, `Match`) of a pair, by what a network finds; given labels stay."""
        config, pair = self.config, self.pairs[name]
        labelled = {case.id for case in self.training_cases[0]}
        looked = self.looking(network)
        labels, features = [], []
        for case in pair:
            image, own = self.open(case)
            maps, found = (tensor[0].numpy() for tensor in looked(tf.constant(image[None, ..., None])))
            labels.append(own if case.id in labelled else self.instances_of(maps))
            features.append(matching.windows(found, centres_of(labels[-1])[1], config.feature_window))
        if config.transfer == "none":
            return labels, [transfer.unchanged(one) for one in labels], matching.mutual_nearest([], [])
        affine = self.affines[name]
        match = self.matched([centres_of(one)[1] for one in labels], features, affine)
        made = list(transfer.exchange(*labels, affine, match.pairs, config.sigmas, config.most_lost, config.usual_size))
        for k, case in enumerate(pair):
            if case.id in labelled or config.transfer not in ("both", _VISITS[k]):
                made[k] = transfer.unchanged(labels[k])
        return labels, made, match

    def maps(self, image):
        """As `InstanceMethod.maps`, by the graph that gives the features too."""
        return self.looking(self.network)(tf.constant(np.asarray(image, np.float32)[None, ..., None]))[0][0].numpy()

    def matched(self, centres, features, affine):
        """The `Match` of the cells of two images."""
        config = self.config
        first = matching.moved(centres[0], affine)
        if config.matching == "mutual":
            return matching.mutual_nearest(first, centres[1], config.radius)
        used = None if config.matching == "distance" else features
        topology = config.topology if config.matching == "topology" else 0.0
        return matching.match(first, centres[1], used, config.radius, config.neighbours, topology, config.unmatched)

    def looking(self, network):
        """Images `(1, y, x, 1)` -> (probabilities of both maps, features), a graph."""
        if self._looked[0] is not network:
            both = with_features(network)

            def look(images):
                size = tf.shape(images)
                logits, features = both(to_multiple(images, self.multiples), training=False)
                maps = tf.sigmoid(tf.cast(logits, tf.float32))
                return [tf.cast(one, tf.float32)[:, : size[1], : size[2]] for one in (maps, features)]

            self._looked = network, tf.function(look, autograph=False)
        return self._looked[1]

    # --- pictures -----------------------------------------------------------------------------------------------------

    def previews(self):
        """Of up to two pairs what the last iteration exchanged; before that, of none."""
        done = [name for name in self.models if name != "clean"]
        found = self.records.recall(done[-1], valid=_are_exchanges) if done else None
        if not found:
            return {}
        shown = []
        for name, pair in list(self.pairs.items())[:_SHOWN]:
            visits = [self._visit(case, found["images"][case.id]) for case in pair]
            centres = [centres_of(visit.before)[1] for visit in visits]
            matches = np.array(found["matches"][name], np.int64).reshape(-1, 2)
            lines = np.stack([own[side] for own, side in zip(centres, matches.T, strict=True)], 1)
            shown.append(Pair(name, *visits, lines))
        return {"transfers": Transfers(tuple(shown))}

    def _visit(self, case, value):
        one = Transferred.of_plain(value)
        changes = {name: getattr(one, name) for name in CHANGES}
        return Visit(self.open(case)[0], unpacked(value["before"]), one.labels, changes)


def _are_exchanges(value):
    """Whether a record holds what an iteration exchanged."""
    try:
        matches = [np.array(pairs, np.int64).reshape(-1, 2) for pairs in value["matches"].values()]
        maps = [Transferred.of_plain(one).labels for one in value["images"].values()]
        return len(maps) == 2 * len(matches) and all(one.ndim == 2 for one in maps)
    except (TypeError, ValueError, KeyError, AttributeError):
        return False


def _are_affines(value):
    """Whether a record is {pair: two rows of three numbers}."""
    try:
        return all(np.array(rows, np.float64).shape == (2, 3) for rows in value.values())
    except (TypeError, ValueError, AttributeError):
        return False


METHOD = LabelTransferMethod
