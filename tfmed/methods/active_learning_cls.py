"""Active learning of classes: which images to label next, where some classes are rare?

Paper: J. Q. Chong et al., "Comparing Active Learning Strategies for Classification of Balanced and Unbalanced Image
Data", DALI 2021 (MICCAI workshop).

Task: active learning: which images to label next, by simulation or by a person through a table or a folder.

Idea: From a tenth of a pool of images, three rounds ask for another tenth each: by how informative images are (least
confidence, margin, expected model change) and by how they are chosen: the highest scores, these with some at random,
the neighbours of informative labelled images, or a core set that covers the pool. The claim: where classes are of
unequal size the highest scores do worse than random images, and strategies that look for diversity do not.

Reproduces: Table 1, test accuracy with 40 % labelled, CIFAR-10 and COVID-19 radiographs: random 73.53 and 86.99 %,
top-N by confidence 75.87 and 83.53, core set by confidence 81.29 and 90.87 (the majority class alone: 67.3). The
authors name neither hardware nor time; a round is 25 epochs of at most 4,848 radiographs.

Deviates: the released code takes the least informative images first and the core set in one shot
(`reproduce_released`); it scores images as training shows them, with dropout, and reports the best epoch on the test
images. Here they are scored as at inference, and the last epoch is tested, or the best on the validation cases by
`train.early_stopping`. Splits are stratified, 80:10:10; the code's test set is `test_per_class: 200` with
`data.split.given`. Training, K and the share of random images are the code's: the paper does not name them.
"""

import dataclasses
import functools
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from tfmed.config import Layers, Voxels
from tfmed.data.acquisition import cases as acquisition
from tfmed.data.preprocess.geometry import boxed_array
from tfmed.data.sampling import Stream
from tfmed.errors import DataError
from tfmed.io.addresses import COLOURS
from tfmed.losses import classification as losses
from tfmed.nn.dropout import Dropout
from tfmed.nn.mobilenet import mobilenet_v2
from tfmed.nn.resnet import resnet18, resnet20
from tfmed.nn.sgd import SGD
from tfmed.tasks.case_queries import CaseQueriesConfig, CaseQueryMethod
from tfmed.training.classifier import ClassifierModel, input_change
from tfmed.training.plateau import Plateau

_VIEWS = Stream("active_learning_cls.views")
_BODIES = {"resnet18_cifar": functools.partial(resnet18, stem="small"), "resnet20": resnet20}
_WIDTHS = {"resnet18_cifar": 64, "resnet20": 16}  # channels of the first stage
_SCORES = {"confidence": acquisition.confidence_scores, "margin": acquisition.margin_scores,
           "entropy": acquisition.entropy_scores}  # fmt: skip


class Config(CaseQueriesConfig):
    """The comparison's numbers; [P] is stated in the paper, [C] read from the released code."""

    classes: tuple[str, ...] = ("Normal", "COVID", "Viral Pneumonia")
    # images, prepared to values in [0, 1]
    colour: bool = False  # a case has images red, green and blue; otherwise the grey one counts for all three
    size: tuple[Voxels, Voxels] = (224, 224)  # [C] pixels (y, x) that are cut out: anywhere to train, else the middle
    padding: int = Field(0, ge=0, le=512)  # pixels of zeros around a normalised image before that; CIFAR-10: 4 [C]
    flips: bool = True  # [C] half of the training images are mirrored left-right
    mean: tuple[float, ...] = (0.5,)  # [C] of a channel (or each of three), taken away
    deviation: tuple[PositiveFloat, ...] = (0.5,)  # [C] by which it is then divided
    # network and training
    network: Literal["mobilenet_v2", "resnet18_cifar", "resnet20"] = "mobilenet_v2"  # [P]; the last one [C]
    width: float = Field(1.0, gt=0, le=4)  # by which the channels of all layers are multiplied
    blocks: Layers | None = None  # of each stage of a ResNet; null: as published
    embedding: int | None = Field(
        320, ge=1, le=2**16
    )  # [C] units of a linear layer before the scores; null: the pooled features
    dropout: float = Field(0.2, ge=0, lt=1)  # [C] of the pooled features
    learning_rate: float = Field(0.01, gt=0)  # [C]
    momentum: float = Field(0.0, ge=0, lt=1)  # [C]
    penalty: float = Field(0.0, ge=0)  # [C] of the squared weights, as PyTorch's weight decay
    plateau_patience: NonNegativeInt | None = 1  # [C] bad epochs (training accuracy) before one halves the rate
    plateau_factor: float = Field(0.5, gt=0, lt=1)  # [C]
    # what is asked for
    strategy: Literal["random", "top_n", "mixture", "k_nearest", "core_set", "buckets"] = "core_set"
    score: Literal["confidence", "margin", "entropy", "emc"] = "confidence"
    emc: Literal["input_l1", "last_layer_l2"] = "input_l1"  # [C] whose gradient tells how much a model would change
    emc_expected: bool = False  # over all labels by their probabilities; false: [C], the most probable label
    random_share: float | None = Field(None, ge=0, le=1)  # of a query, at random; null: mixture 0.2 [C], others 0
    neighbours: PositiveInt = 15  # [C] K of K-nearest
    metric: Literal["euclidean", "cosine", "manhattan"] = "euclidean"
    components: PositiveInt | None = None  # distances are of so many principal components; [C] knows 2
    weighted_by_score: bool = True  # [C] a core set's distances times the scores; false: as published by its authors
    reproduce_released: bool = False  # [C] least informative first; the core set in one shot

    @property
    def called(self):
        """Strategy and score in words."""
        return self.strategy if self.strategy == "random" else f"{self.strategy}, {self.score}"

    @model_validator(mode="after")
    def _fits(self):
        if len(self.mean) not in (1, 3) or len(self.deviation) not in (1, 3):
            raise ValueError("mean, deviation: give one number, or one for each of three channels")
        stages = self.blocks if self.blocks is not None else (1,)
        if not 0 < len(stages) <= 5 or sum(stages) > 200 or (self.blocks and self.network == "mobilenet_v2"):
            raise ValueError("blocks: are those of one to five stages of a ResNet, 200 at most")
        if self.network != "mobilenet_v2" and self.width * _WIDTHS[self.network] < 1:
            raise ValueError("width: leaves no channel; raise it")
        return self


def build_network(config):
    """Images `(n, y, x, 3)` -> scores `(n, classes)` float32; its layer "embedding" gives what distances are of."""
    if config.network == "mobilenet_v2":
        body = mobilenet_v2(config.width)
    else:
        blocks = {} if config.blocks is None else {"blocks": config.blocks}
        body = _BODIES[config.network](3, None, round(config.width * _WIDTHS[config.network]), **blocks)
    drop = Dropout(config.dropout, name="dropout")
    if config.embedding is None:
        found = keras.layers.Activation("linear", dtype="float32", name="embedding")(body.output)
        x = drop(found)
    else:
        x = found = keras.layers.Dense(config.embedding, dtype="float32", name="embedding")(drop(body.output))
    x = keras.layers.Dense(len(config.classes), dtype="float32", name="scores")(x)
    return keras.Model(body.input, x, name=config.network)


class ActiveLearningMethod(CaseQueryMethod):
    """Pictures, networks and strategies of the comparison; rounds are those of all methods that ask for classes."""

    Config = Config

    def model_made(self, config, rate, epoch=1, **options):
        """The ClassifierModel of a round."""
        patience = config.plateau_patience
        plateau = None if patience is None else Plateau(epoch, config.plateau_factor, patience)
        optimizer = SGD(rate if plateau is None else plateau.rate(rate), config.momentum, config.penalty)
        return ClassifierModel(build_network(config), optimizer, plateau=plateau, **options)

    # --- data ---------------------------------------------------------------------------------------------------------

    @property
    def modalities(self):
        """The grey image, or the three colours."""
        return COLOURS if self.config.colour else (self.config.image,)

    @property
    def case_spec(self):
        """One picture of each case."""
        return dataclasses.replace(super().case_spec, minimum_shape=(1, 8, 8))

    def plane(self, case):
        """A case's prepared picture, normalised, `(y, x, 3)`.

        Raises:
            DataError: it is no picture, smaller than `size`, or its values are not in [0, 1].
        """
        found, size = self.prepared_array(case), self.config.size
        if found.shape[0] != 1 or found.shape[1] < size[0] or found.shape[2] < size[1]:
            have = " x ".join(map(str, found.shape[:3]))
            raise DataError(f"{case.id}: has {have} pixels, and model.size asks for {size[0]} x {size[1]} of one "
                            "slice; add {step: resample, shape: [1, y, x]} to data.preprocess")  # fmt: skip
        if found.min() < 0 or found.max() > 1:
            raise DataError(f"{case.id}: has values from {found.min():g} to {found.max():g}, and [0, 1] is wanted; add "
                            "{step: window, window_hu: [0, 255], range: [0, 1]} to data.preprocess")  # fmt: skip
        return self._normalised(found)

    def _normalised(self, array):
        """`(1, y, x)` or `(1, y, x, 3)` -> `(y, x, 3)`; a tensor too."""
        mean, deviation = (np.broadcast_to(np.float32(v), 3) for v in (self.config.mean, self.config.deviation))
        return ((array if self.config.colour else array[..., None])[0] - mean) / deviation

    def array(self, case):
        """A case's picture as the network sees it at inference: its middle."""
        return _middle(self.plane(case), self.config.size)

    def shown(self, array):
        """Likewise, of a prepared array or tensor."""
        return _middle(self._normalised(array), self.config.size)

    def view(self, case, seed, index):
        """A case's picture as the network sees it in training: cut out anywhere, and mirrored or not."""
        plane, c, draw = self.plane(case), self.config, _VIEWS(seed, index)
        room = [n + 2 * c.padding - m for n, m in zip(plane.shape, c.size, strict=False)]
        y, x = (int(draw.integers(n + 1)) - c.padding for n in room)
        found = boxed_array(plane[None], (0, y, x), (1, *c.size))[0]
        return found[:, ::-1] if c.flips and draw.random() < 0.5 else found

    # --- what is asked for --------------------------------------------------------------------------------------------

    def chosen(self, cases, labelled, count, draw):
        """(places of the cases to ask for, scores of all cases); the latter None where none is needed."""
        if self.config.strategy == "random":
            return acquisition.random_cases(labelled, count, draw), None
        probabilities, embedding, *change = self.looked_at(cases)
        scores = self.informativeness(probabilities, embedding, *change)
        return self.picked(labelled, scores, embedding, count, draw), scores

    def looked_at(self, cases):
        """Probabilities `(n, classes)`, embedding `(n, d)` and, where its score is asked for, input change `(n,)`."""
        c, network = self.config, self.model.network
        both = keras.Model(network.input, [network.get_layer("embedding").output, network.output])

        def look(images):
            embedding, scores = both(images, training=False)
            found = [losses.probabilities(scores), embedding]
            by_input = c.score == "emc" and c.emc == "input_l1"
            return [*found, input_change(network, images, c.emc_expected)] if by_input else found

        graph = self.compiled("look", network, look, [tf.TensorSpec((None, *c.size, 3), tf.float32)])
        parts = [[part.numpy() for part in graph(images)] for images in self.batches(cases)]
        return [np.concatenate(one) for one in zip(*parts, strict=True)]

    def informativeness(self, probabilities, embedding, change=None):
        """How informative cases are, `(n,)`."""
        if self.config.score != "emc":
            return _SCORES[self.config.score](probabilities)
        expected = self.config.emc_expected
        return acquisition.last_layer_change(probabilities, embedding, expected) if change is None else change

    def picked(self, labelled, scores, embedding, count, draw):
        """Places of the cases to ask for, by the strategy of the settings."""
        c = self.config
        z = embedding if c.components is None else acquisition.reduced(embedding, c.components)
        low = c.reproduce_released
        pick = {
            "buckets": lambda known, n: acquisition.bucket_cases(known, scores, n, draw),
            "k_nearest": lambda known, n: acquisition.nearest_cases(
                known, scores, z, n, draw, c.neighbours, c.metric, low
            ),
            "core_set": lambda known, n: acquisition.core_set(
                known, z, n, scores if c.weighted_by_score else None, c.metric, low
            ),
        }.get(c.strategy, lambda known, n: acquisition.top_cases(known, scores, n, low))
        usual = 0.2 if c.strategy == "mixture" else 0.0
        return acquisition.mixed(labelled, pick, count, usual if c.random_share is None else c.random_share, draw)

    def batches(self, cases):
        """Pictures as at inference, `(train.batch_size, y, x, 3)` at a time."""
        size = self.settings.train.batch_size
        for start in range(0, len(cases), size):
            yield np.stack([self.array(case) for case in cases[start : start + size]])

    def probabilities(self, model, cases):
        """`(cases, classes)` of one trained model."""
        return np.concatenate([losses.probabilities(model.scores(one)).numpy() for one in self.batches(cases)])


def _middle(plane, size):
    """`(y, x, 3)` -> its middle of `size`; a tensor too."""
    high, wide = tf.unstack(tf.shape(plane))[:2] if tf.is_tensor(plane) else plane.shape[:2]
    y, x = (high - size[0]) // 2, (wide - size[1]) // 2
    return plane[y : y + size[0], x : x + size[1]]


METHOD = ActiveLearningMethod
