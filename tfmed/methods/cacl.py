"""CaCL: a diffuse pattern segmented from images with and without it, by the codes that only images with it may use.

Paper: R. Deng, Q. Liu, S. Bao, A. Jha, C. Chang, B. A. Millis, M. J. Tyska, Y. Huo, "CaCL: Class-Aware Codebook
Learning for Weakly Supervised Segmentation on Diffuse Image Patterns", DGM4MICCAI 2021.

Task: segmentation from the classes of images, 2-D

Idea: a VQ-VAE whose codebook has shared codes and codes of the class with the pattern. Decoded with all codes an image
may show the pattern; decoded with the shared ones alone it must pass for one without, before a classifier that tells
real from made of both classes. Pixels that choose a code of the class are the mask.

Reproduces: Table 1, brush border in the Human Protein Atlas: Dice 0.623, with masks 1 px wider 0.703 (colour
deconvolution 0.347, CAM 0.065, Grad-CAM 0.061). Its columns recall and precision are exchanged. The paper names neither
hardware nor time.

Deviates: the classifier's losses are cross-entropies (the paper prints them without a minus) and it is trained every
ten steps, as in the released code (the paper says epochs). Batches of 8, as batch normalisation of one image is none;
the generator's step has the classifier at inference statistics. Counts of codes begin at 1, not 0: see `nn.quantize`.
`disc_mode: repo` is the paper's discriminative loss, whose gradient is exactly zero; `encoder` gives it one. Cutout,
which the released code has, is off. `routing: none` is the plain VQ-VAE: its mask are those codes that images with the
pattern use most, against images without.
"""

from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from tfmed.compat import tensor_variable
from tfmed.nn.adam import Adam
from tfmed.nn.quantize import Codebook, disjoint_channels, straight_through
from tfmed.nn.resnet import resnet18
from tfmed.nn.vqvae import residual_decoder, residual_encoder
from tfmed.ops.reflect import to_multiple
from tfmed.tasks.weak_segmentation import WeakSegmentationConfig, WeakSegmentationMethod, scores
from tfmed.training.image_pool import ImagePool
from tfmed.training.model import TrainingModel

NEGATIVE, POSITIVE, FAKE_NEGATIVE, FAKE_POSITIVE = range(4)  # classes of the classifier
POOL, WHICH, RESTART = 0, 1, 2  # tags of noise
STEP, WITH_CLASSIFIER = "generator", "both"  # phases
_SURE = 40.0  # logit of a mask, whose probabilities are 0 and 1


class Config(WeakSegmentationConfig):
    """CaCL's numbers; [P] is stated in the paper, [C] read from the released code."""

    # codebook
    shared_codes: PositiveInt = Field(27, le=4096)  # [P]
    class_codes: PositiveInt = Field(5, le=4096)  # [P]
    code_size: PositiveInt = Field(64, le=4096)  # [P]
    disjoint: bool = True  # [P] codes of each kind have channels of their own
    decay: float = Field(0.98, ge=0, lt=1)  # [P] of the codes' moving averages
    ema_rule: Literal["paper", "repo"] = "paper"  # negatives move shared codes alone; [C] all codes
    restart_every: NonNegativeInt = Field(0, le=10**9)  # steps; codes that nothing chose start anew; 0: never
    routing: Literal["class", "none"] = "class"  # [P]; none: a plain VQ-VAE
    # networks
    width: PositiveInt = Field(128, le=4096)  # [C] of encoder and decoder
    narrow_width: PositiveInt = Field(32, le=4096)  # [C] within their residual blocks
    residual_blocks: NonNegativeInt = Field(2, le=64)  # [C]
    critic_width: PositiveInt = Field(64, le=1024)  # [P] ResNet-18
    critic_blocks: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (2, 2, 2, 2)  # [P] of its stages
    critic_norm: Literal["batch", "instance", "none"] = "batch"  # [C]
    # losses
    map_weight: float = Field(1.0, ge=0, allow_inf_nan=False)  # [P] made images pass for real ones; 0: without
    map_negative: float = Field(1.0, ge=0, allow_inf_nan=False)  # of R_P of negatives; 3: [C]
    commitment_weight: float = Field(0.25, ge=0, allow_inf_nan=False)  # [P]
    reconstruction_weight: float = Field(100.0, ge=0, allow_inf_nan=False)  # [P]
    disc_weight: float = Field(50.0, ge=0, allow_inf_nan=False)  # [P] of the discriminative loss
    disc_mode: Literal["repo", "encoder", "off"] = "repo"
    disc_window: PositiveInt = 32  # [C] pixels of the code map that are averaged before
    margin: float | None = Field(None, gt=0, allow_inf_nan=False)  # beyond which positives gain nothing; null: [P]
    # training
    history: NonNegativeInt = Field(64, le=100_000)  # [P] made images of each class that are kept; 0: none
    critic_every: PositiveInt = 10  # [C] steps
    learning_rate: float = Field(3e-4, gt=0)  # [P] of Adam
    critic_rate: float = Field(1e-4, gt=0)  # [P] of Adam

    @model_validator(mode="after")
    def _codes_fit(self):
        if self.disjoint and self.code_size % 2:
            raise ValueError(f"code_size: {self.code_size} channels are not shared equally by two kinds of codes; "
                             "give an even number, or disjoint: false")  # fmt: skip
        if any(side % 2 for side in self.size):
            raise ValueError(f"size: {self.size} is halved on the way to the codes; give even numbers")
        return self


def build_network(config, name):
    """A bare network: "encoder" (images -> features `(n, y / 2, x / 2, code_size)`), "decoder" (codes -> images), or
    "critic" (images -> logits `(n, 4)` of real negative, real positive, made negative, made positive)."""
    if name == "critic":
        return resnet18(config.channels, 4, config.critic_width, config.critic_norm, blocks=config.critic_blocks)
    make = {"encoder": residual_encoder, "decoder": residual_decoder}[name]
    return make(config.channels, config.width, config.narrow_width, config.residual_blocks, config.code_size, name=name)


class PatternNetwork(keras.Model):
    """Images `(n, y, x, channel)` in [0, 1] -> logits `(n, y, x, 2)`: what chooses a code of the pattern is the mask.

    Args:
        config: the method's `Config`.
        seed: of the first codes.
    """

    def __init__(self, config, seed=0, **kwargs):
        super().__init__(**kwargs)
        groups = config.shared_codes, config.class_codes
        mask = disjoint_channels(groups, config.code_size) if config.disjoint else None
        self.encoder = build_network(config, "encoder")
        self.codebook = Codebook(groups, config.code_size, mask, config.decay, seed=seed)
        pattern = np.repeat([0.0, 1.0], groups).astype(np.float32)
        self.pattern = self.add_weight(name="pattern", shape=pattern.shape, initializer="zeros", trainable=False)
        self.pattern.assign(pattern)
        self.built = True

    def numbers(self, images):
        """Numbers `(n, y / 2, x / 2)` of the nearest codes: of the shared ones, and of all."""
        return self.codebook.nearest(self.encoder(to_multiple(images, (2, 2)), training=False))

    def call(self, images, training=False):
        """Logits; an edge of odd length is mirrored."""
        chosen = tf.gather(tensor_variable(self.pattern), self.numbers(images)[1])
        mask = tf.repeat(tf.repeat(chosen, 2, 1), 2, 2)[:, : tf.shape(images)[1], : tf.shape(images)[2]]
        return _SURE * tf.stack([1.0 - 2.0 * mask, 2.0 * mask - 1.0], -1)


class CaCL(TrainingModel):
    """Encoder, codebook and decoder, and the classifier of real and made images.

    Args:
        config: the method's `Config`.
        rate: (of encoder and decoder, of the classifier): learning rates or schedules; default the config's.

    A batch holds `image` `(n, y, x, channel)` in [0, 1] and `label` `(n,)`, 1 with the pattern.
    """

    def __init__(self, config, rate=None, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.network = PatternNetwork(config, self.noise_seed, name="pattern")
        self.encoder, self.codebook = self.network.encoder, self.network.codebook
        self.decoder, self.critic = build_network(config, "decoder"), build_network(config, "critic")
        self.class_channels = np.flatnonzero(self.codebook.mask[config.shared_codes])
        if config.history:
            self.pool = ImagePool(config.history, (*config.size, config.channels), self, POOL, kinds=2, name="pool")
        rate, critic_rate = rate or (config.learning_rate, config.critic_rate)
        optimizers = {"critic": (Adam(critic_rate), [self.critic]),
                      "generator": (Adam(rate), [self.encoder, self.decoder])}  # fmt: skip
        self.finish_building(optimizers, ["loss", "reconstruction", "commitment", "disc", "map", "critic_loss"])

    def call(self, images, training=False):
        """Images -> logits of the mask."""
        return self.network(images, training=training)

    # --- forward --------------------------------------------------------------------------------------------------

    def made(self, batch):
        """(z_e, numbers and codes of the shared lookup "N", of the full one "P", R_N, R_P)."""
        features = self.encoder(batch["image"], training=True)
        numbers = self.codebook.nearest(features)
        codes = [self.codebook.look_up(one) for one in numbers]
        through = tf.concat([straight_through(features, one) for one in codes], 0)
        return features, *numbers, *codes, *tf.split(self.decoder(through, training=True), 2)

    def with_pattern(self, batch):
        """Whether each image takes the full lookup, bool `(n,)`."""
        return batch["label"] > (0 if self.config.routing == "class" else -1)

    @property
    def objectives(self):
        """Of both optimizers, without what a step keeps."""
        return {"critic": lambda batch: self.critic_loss(batch, self.made(batch), keep=False),
                "generator": lambda batch: self.generator_loss(batch, self.made(batch))}  # fmt: skip

    def phases_of(self, step):
        """Whether the classifier learns in a step."""
        return (WITH_CLASSIFIER if step % self.config.critic_every == 0 else STEP,)

    def train_step(self, batch, phase=WITH_CLASSIFIER):
        """One step: codes follow their features, made images are kept, and on some steps the critic learns."""

        def generator(batch, made):
            found = self.generator_loss(batch, made)
            self.follow(batch, made)
            if phase == STEP and self.config.history:
                self.shown(batch, made)
            return found

        turns = {"critic": self.critic_loss} if phase == WITH_CLASSIFIER else {}
        return self.log(self.update_in_turn(self.made, turns | {"generator": generator}, batch))

    # --- losses ---------------------------------------------------------------------------------------------------

    def generator_loss(self, batch, made):
        """L = L_map + 0.25 L_commit + 100 L_rec + 50 L_dc (Eq. 7); (its mean, what to log)."""
        c, positive = self.config, self.with_pattern(batch)
        features, _, _, shared, full, removed, shown = made
        target = tf.cast(batch["image"], tf.float32)
        each = {
            "reconstruction": tf.where(positive, _squares(target - shown), _squares(target - removed)),
            "commitment": tf.where(positive, _squares(features - full), _squares(features - shared)),
            "disc": self.discriminative(features, shared, full, positive),
            "map": self.mapping(batch, removed, shown),
        }
        logs = {name: tf.reduce_mean(value) for name, value in each.items()}
        weights = {"reconstruction": c.reconstruction_weight, "commitment": c.commitment_weight,
                   "disc": c.disc_weight, "map": c.map_weight}  # fmt: skip
        loss = tf.add_n([weights[name] * value for name, value in logs.items()])
        return loss, logs | {"loss": loss}

    def discriminative(self, features, shared, full, positive):
        """K ||e_N - e_P||^2 of each image (Eq. 4), K = 1 without the pattern, -1 with it; in the class's channels."""
        c = self.config
        if c.disc_mode == "off" or c.routing == "none":
            return tf.zeros_like(features[:, 0, 0, 0])
        ours, theirs = straight_through(features, shared), straight_through(features, full)
        if c.disc_mode == "encoder":
            ours, theirs = tf.stop_gradient(shared), features
        away = _squares(self._pooled(ours) - self._pooled(theirs))
        gain = away if c.margin is None else -tf.nn.relu(c.margin - away)
        return tf.where(positive, -gain, away)

    def _pooled(self, maps):
        """The class's channels, averaged over windows."""
        size = [min(self.config.disc_window, side) for side in maps.shape[1:3]]
        return tf.nn.avg_pool2d(tf.gather(maps, self.class_channels, axis=-1), size, size, "VALID")

    def mapping(self, batch, removed, shown):
        """CE(Cls(R_P), the image's class) + CE(Cls(R_N), without), of each image (Eq. 6): made ones pass for real."""
        c = self.config
        if not c.map_weight or c.routing == "none":
            return tf.zeros_like(removed[:, 0, 0, 0])
        logits = self.critic(tf.concat([shown, removed], 0), training=False)
        targets = tf.concat([batch["label"], tf.zeros_like(batch["label"])], 0)
        of_shown, of_removed = tf.split(_cross_entropy(logits, targets), 2)
        return tf.where(batch["label"] > 0, 1.0, c.map_negative) * of_shown + of_removed

    def critic_loss(self, batch, made, keep=True):
        """Cross-entropy of the four classes (Eq. 5): a real and a made image for each of the batch."""
        fakes, kinds = self.shown(batch, made) if keep and self.config.history else self.fakes(batch, made)
        images = tf.concat([tf.cast(batch["image"], tf.float32), tf.stop_gradient(fakes)], 0)
        classes = tf.concat([batch["label"], kinds + FAKE_NEGATIVE], 0)
        loss = tf.reduce_mean(_cross_entropy(self.critic(images, training=True), classes))
        return loss, {"critic_loss": loss}

    def fakes(self, batch, made):
        """(R_P of images with the pattern, R_N or R_P by the toss of a coin of those without; their labels)."""
        *_, removed, shown = made
        coin = self.noise(batch, (), WHICH, tf.random.stateless_uniform) < 0.5
        take = tf.reshape((batch["label"] == 0) & coin, (-1, 1, 1, 1))
        return tf.where(take, removed, shown), batch["label"]

    def shown(self, batch, made):
        """As `fakes`, through the pool of each class, which keeps them."""
        fakes, kinds = self.fakes(batch, made)
        return self.pool.shown(fakes, batch, self, kinds), kinds

    # --- codes ----------------------------------------------------------------------------------------------------

    def follow(self, batch, made):
        """Move the codes: with the pattern all that it chose, without it the shared ones (or, `repo`, all)."""
        c, positive = self.config, self.with_pattern(batch)
        features, shared, full, *_ = made
        by_full = positive | (c.ema_rule == "repo")
        self.codebook.follow(features, tf.where(by_full[:, None, None], full, shared), self)
        if c.restart_every:
            due = self.step_of(batch) % c.restart_every == c.restart_every - 1
            seed = tf.stack([tf.constant(self.noise_seed, tf.int64), 1024 * self.step_of(batch) + RESTART])
            draws = tf.random.stateless_uniform((c.shared_codes + c.class_codes,), seed)
            unused = (tensor_variable(self.codebook.counts) < 1.0) & due
            self.codebook.restart(self.of_all_replicas(features), unused, draws)

    # --- inference ------------------------------------------------------------------------------------------------

    def reconstructed(self, images):
        """(R_P, R_N) `(n, y, x, channel)` in [0, 1] of images with even sides."""
        codes = [self.codebook.look_up(one) for one in self.network.numbers(images)]
        removed, shown = tf.split(self.decoder(tf.concat(codes, 0), training=False), 2)
        return tf.clip_by_value(shown, 0.0, 1.0), tf.clip_by_value(removed, 0.0, 1.0)

    def class_of(self, images):
        """1 where the classifier sees the pattern, whether in a real or in a made image, int32 `(n,)`."""
        return tf.argmax(self.critic(images, training=False), -1, tf.int32) % 2


def _squares(difference):
    """Mean square of each image, `(n,)`."""
    return tf.reduce_mean(tf.cast(difference, tf.float32) ** 2, (1, 2, 3))


def _cross_entropy(logits, classes):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(classes, tf.cast(logits, tf.float32))


class CaCLMethod(WeakSegmentationMethod):
    """The codebook, and the classifier of the baselines."""

    Config = Config

    def stages(self):
        c = self.config
        rates = c.learning_rate, c.critic_rate
        yield self.stage("codebook", CaCL, self.samples, rates, validation=self.validation)
        yield from self.classifier_stages()

    @property
    def model(self):
        """The trained model."""
        return self.models["codebook"]

    @property
    def network(self):
        """Images -> logits of the mask."""
        return self.model.network

    # --- validation -----------------------------------------------------------------------------------------------

    def validated(self):
        """Names of what `validation` gives."""
        return ("dice", "recall", "precision", "bce", "reconstruction", "use_negative", "use_positive", "accuracy")

    def validation(self, model):
        """Scores of the masks, error of what is decoded, share of the pixels with a code of the pattern in images of
        either class, and accuracy of the classifier; NaN where nothing is known."""
        if self.config.routing == "none":
            self.choose_codes(model)
        cases = self.prepared("validation") if self.validation_cases() else []
        rows = [self._row(model, case, number) for case, number in zip(cases, self.classes_of(cases), strict=True)]
        found = {name: [row[name] for row in rows if name in row] for name in self.validated()} if rows else {}
        return {name: float(np.mean(values)) if values else float("nan") for name, values in found.items()}

    def _row(self, model, case, number):
        """What an image adds to `validation`."""
        self.models.setdefault("codebook", model)
        image, reference = self.image(case), self.reference(case)
        mask, shown = self.mask(image), self.decoded(image)[0 if number else 1]
        row = {"reconstruction": np.square(shown - image).mean()}
        row["use_positive" if number else "use_negative"] = mask.mean()
        row["accuracy"] = float(self.class_found(image) == number)
        if reference is not None:
            row |= {name.lower(): value for name, value in scores(mask, reference).items()}
        return row

    def choose_codes(self, model):
        """Of a plain VQ-VAE: as many codes as a class has, those that images with the pattern use most, relative to
        images without."""
        cases, c = self.prepared("train"), self.config
        used = np.full((2, c.shared_codes + c.class_codes), 1e-6)
        for case, number in zip(cases, self.classes_of(cases), strict=True):
            chosen = model.network.numbers(tf.constant(self.image(case)[None]))[1]
            used[number] += np.bincount(chosen.numpy().ravel(), minlength=used.shape[1])
        shares = used / used.sum(1, keepdims=True)
        pattern = np.zeros(used.shape[1], np.float32)
        pattern[np.argsort(shares[1] / (shares[0] + 1e-4))[-c.class_codes :]] = 1
        model.network.pattern.assign(pattern)

    # --- for pictures and tables ----------------------------------------------------------------------------------

    def decoded(self, image):
        """(R_P, R_N) `(y, x, channel)` in [0, 1] of a prepared image."""
        takes = [tf.TensorSpec((None, None, None, self.config.channels), tf.float32)]

        def decode(images):
            return self.model.reconstructed(to_multiple(images, (2, 2)))

        found = self.compiled("decoded", self.network, decode, takes)(tf.constant(image[None]))
        return [one[0, : image.shape[0], : image.shape[1]].numpy() for one in found]

    def class_found(self, image):
        """1 where the classifier sees the pattern in a prepared image."""
        takes = [tf.TensorSpec((None, None, None, self.config.channels), tf.float32)]
        return int(self.compiled("classes", self.network, self.model.class_of, takes)(tf.constant(image[None]))[0])


METHOD = CaCLMethod
