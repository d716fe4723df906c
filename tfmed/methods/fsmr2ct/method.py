"""Frequencies of CTs, the training step of MR-to-CT synthesis (Eq. 1-3), and the method."""

import functools
from typing import Literal

import numpy as np
import tensorflow as tf
from scipy import ndimage

from tfmed.config import Strict
from tfmed.data.patches import Patches
from tfmed.data.pipeline import Samples
from tfmed.data.preprocess import Window, ZScore
from tfmed.engine.exporting import ExportModule
from tfmed.errors import DataError, UserError
from tfmed.losses.adversarial import relativistic_critic, relativistic_generator
from tfmed.methods.fsmr2ct.config import Config
from tfmed.methods.fsmr2ct.networks import build_network
from tfmed.nn.adam import Adam
from tfmed.ops.sliding_window import sliding_window, window_graph
from tfmed.tasks.ct_synthesis import CT, LOW, MR, CTSynthesisMethod
from tfmed.tasks.translation import Output, VolumeTranslator
from tfmed.training.adversarial import SharedForwardModel

PRETRAIN, ADVERSARIAL = "pretrain", "adversarial"


# --- frequencies ------------------------------------------------------------------------------------------------------


def lowpass(array, kind="gaussian", size=15.0):
    """The low frequencies of a volume `(z, y, x)`, float32.

    Args:
        array: any real dtype.
        kind: "gaussian" (cut off at 4 sigma; the border continues, so a constant stays as it is) or "box" (zeros
            beyond the border, as in the authors' code).
        size: sigma, or width of the box, in voxels.
    """
    array = np.asarray(array, np.float32)
    if kind == "gaussian":
        return ndimage.gaussian_filter(array, size, mode="nearest", truncate=4.0)
    if kind == "box":
        return ndimage.uniform_filter(array, round(size), mode="constant")
    raise ValueError(f"lowpass is {kind!r}; gaussian and box are available")


class PairTargets(Strict):
    """The last step of a pair's preparation: [MR, CT] -> [MR standardised, CT scaled, its low frequencies]."""

    step: Literal["mr_ct_targets"] = "mr_ct_targets"
    window_hu: tuple[float, float]
    range: tuple[float, float]
    lowpass: str
    size: float

    def together(self, images):
        """Three float32 Volumes of two.

        Raises:
            DataError: the MR, or the CT within the window, is constant.
        """
        mr, ct = images
        scaled = Window(window_hu=self.window_hu, range=self.range).apply(ct)
        for name, image in (("MR", mr), ("CT", scaled)):
            if image.array.min() == image.array.max():
                value = f"{image.array.flat[0]:g}"
                raise DataError(f"every voxel of the prepared {name} is {value}; is the CT in HU? Remove the case")
        low = lowpass(scaled.array, self.lowpass, self.size)
        return [ZScore().apply(mr), scaled, scaled.replace(array=low)]


def in_hu(channels, window, clip):
    """{"ct", and of a network with frequency supervision "low", "high"} in HU; arrays or tensors `(...)`.

    Args:
        channels: what the network answers, `(..., 1 or 3)`.
        window: the Window of the CT.
        clip: whether to clip the CT to it.
    """
    (low, high), (bottom, top) = window.window_hu, window.range
    width = (high - low) / (top - bottom)
    whole = channels[..., 0]
    if clip:
        limit = np.clip if isinstance(channels, np.ndarray) else tf.clip_by_value
        whole = limit(whole, bottom, top)
    made = {"ct": (whole - bottom) * width + low}
    if channels.shape[-1] == 3:
        made |= {"low": (channels[..., 1] - bottom) * width + low, "high": channels[..., 2] * width}
    return made


# --- training step ----------------------------------------------------------------------------------------------------


class Synthesizer(SharedForwardModel):
    """The synthesis network, and where the config says so a critic.

    Args:
        config: the method's `Config`.
        rate: learning rate or `Schedule`; default the config's.
        steps: training steps of the run; the first `pretrain_fraction` of them have no critic.

    A training batch holds `mr`, `ct` and `high` (the CT's high frequencies), each `(b, *patch, 1)`.
    """

    def __init__(self, config, rate=None, steps=1, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.pretraining = round(config.pretrain_fraction * steps)
        rate = config.learning_rate if rate is None else rate
        self.generator = build_network(config)
        networks = {"generator": self.generator}
        if config.adv != "none":
            self.critic = networks["critic"] = build_network(config, "critic")
        logged = ["reconstruction", "ct_l1"] + (["high_l1"] if config.head == "freq" else [])
        self.phases = {PRETRAIN: logged, ADVERSARIAL: [*logged, "critic_loss", "generator_critic"]}
        optimizers = {name: (Adam(rate, config.beta_1, config.beta_2, 1e-8), [network])
                      for name, network in networks.items()}  # fmt: skip
        self.finish_building(optimizers, self.phases[PRETRAIN if config.adv == "none" else ADVERSARIAL])

    def call(self, images, training=False):
        """MR `(n, z, y, x, 1)` -> `(n, z, y, x, k)`, see `build_network`."""
        return self.generator(images, training=training)

    def phases_of(self, step):
        """The phase of a training step."""
        return (PRETRAIN if step < self.pretraining or self.config.adv == "none" else ADVERSARIAL,)

    @property
    def turns(self):
        """The critic, where there is one, and the generator."""
        return {name: loss for name, loss in super().turns.items() if name in self.updaters}

    def train_step(self, batch, phase=ADVERSARIAL):
        losses = self.turns if phase == ADVERSARIAL else {}
        losses["generator"] = lambda micro_batch, made: self.generator_loss(micro_batch, made, phase)
        means = self.log(self.update_in_turn(self.made, losses, batch))
        return {name: means[name] for name in self.phases[phase]}

    def made(self, batch):
        """What the generator makes of a batch's MR."""
        return self.generator(batch["mr"], training=True)

    # --- losses -----------------------------------------------------------------------------------------------------

    def generator_loss(self, batch, made, phase=ADVERSARIAL):
        """L_rec (Eq. 1), and in the second phase the weighted adversarial term (Eq. 3)."""
        logs = {"ct_l1": _l1(made[..., :1], batch["ct"])}
        total = logs["ct_l1"]
        if self.config.head == "freq":
            logs["high_l1"] = _l1(made[..., 2:], batch["high"])
            total += logs["high_l1"]
        logs["reconstruction"] = total
        if phase == ADVERSARIAL and self.config.adv != "none":
            scores = self.scores(batch, made)
            logs["generator_critic"] = tf.reduce_mean(relativistic_generator(*scores))
            total += self.config.adv_weight * logs["generator_critic"]
        return total, logs

    def critic_loss(self, batch, made):
        """The critic's relativistic average loss (Eq. 2)."""
        loss = tf.reduce_mean(relativistic_critic(*self.scores(batch, made)))
        return loss, {"critic_loss": loss}

    def scores(self, batch, made):
        """(real, fake, mean of real, mean of fake) scores; the means are those over the whole batch."""
        real, fake = (self.score(batch, image) for image in self.judged(batch, made))
        return real, fake, self.shared_mean(tf.reduce_mean(real)), self.shared_mean(tf.reduce_mean(fake))

    def judged(self, batch, made):
        """(real, made) as the critic sees them: high frequencies alone, or whole CTs."""
        if self.config.adv == "high":
            return batch["high"], made[..., 2:]
        return batch["ct"], made[..., :1]

    def score(self, batch, image):
        """The critic's logits `(n, 1)` of images."""
        if self.config.d_condition == "channel":
            image = tf.concat([image, tf.cast(batch["mr"], image.dtype)], -1)
        return self.critic(image, training=True)


def _l1(made, real):
    return tf.reduce_mean(tf.abs(tf.cast(made, tf.float32) - real))


class FSMethod(CTSynthesisMethod):
    """Synthesis of CTs from MRs."""

    Config = Config
    outputs = ("ct", "low", "high")

    # --- data -------------------------------------------------------------------------------------------------------

    def preprocessing(self):
        """All steps; the last one makes the MR, the CT and its low frequencies of a pair."""
        c = self.config
        targets = PairTargets(window_hu=c.window_hu, range=c.range, lowpass=c.lowpass, size=c.lowpass_size)
        return (*self.geometry, targets)

    @property
    def window(self):
        """HU -> what the network gives."""
        return Window(window_hu=self.config.window_hu, range=self.config.range)

    def samples(self):
        """Samples `mr`, `ct` and `high` `(*patch, 1)`: a crop of a pair, rotated about z, MR and CT alike."""
        c, seed = self.config, self.settings.seed
        patches = Patches(self.open, self.prepared("train"), c.patch, seed, margin=self.margin)

        def read(index):
            image, _, case = patches(index)
            image = self.rotated(np.asarray(image, np.float32), self.open(case).affine, index)
            low = image[..., LOW]
            if c.domain == "crop":
                low = lowpass(image[..., CT], c.lowpass, c.lowpass_size)
            images = {"mr": image[..., MR], "ct": image[..., CT], "high": image[..., CT] - low}
            return {name: array[..., None] for name, array in images.items()}

        spec = {name: ((*c.patch, 1), "float32") for name in ("mr", "ct", "high")}
        return Samples(read, spec, self.settings.train.batch_size)

    # --- training ---------------------------------------------------------------------------------------------------

    def stages(self):
        """One stage, of one phase or two; see `Synthesizer`."""
        make = functools.partial(Synthesizer, steps=self.settings.train.steps)
        yield self.stage("synthesis", make, self.samples, self.config.learning_rate, validation=self.validation)

    # --- using a trained model --------------------------------------------------------------------------------------

    def synthesise(self, image):
        """{"ct": HU, and with frequency supervision "low", "high": HU}, float32 `(z, y, x)`.

        Args:
            image: a prepared MR, `(z, y, x, channel)`; only the first channel is looked at.
        """
        network = self.model.generator
        answer = self.compiled("windows", network, lambda windows: network(windows, training=False))
        channels = sliding_window(answer, np.asarray(image)[..., MR : MR + 1], **self.windows)
        return in_hu(channels, self.window, self.config.clip)

    def translator(self):
        """MR -> "ct", and with frequency supervision "low" and "high", on the MR's own grid, int16 HU."""
        air = Output(outside=self.config.window_hu[0])
        kinds = {"ct": air} | ({"low": air, "high": Output()} if self.config.head == "freq" else {})
        steps = (*self.geometry, ZScore())
        return VolumeTranslator("mr", steps, kinds, lambda mr: self.synthesise(mr[..., None]), usual=("ct",))

    def predict(self, words, out, outputs=None):
        """Write `<name>_ct.nii.gz`, and if asked for `_low` and `_high`, one path at a time."""
        if self.config.head != "freq" and set(outputs or ("ct",)) != {"ct"}:
            raise UserError(f"--outputs: a network with head {self.config.head} gives ct alone; leave --outputs out")
        return super().predict(words, out, outputs)

    def export_module(self):
        """Of an MR `image` `(z, y, x)` float32, as it is after the settings' preprocessing, axes towards RAS, it gives
        `ct` in HU, and with frequency supervision by "frequencies" `low` and `high`."""
        network, window, clip = self.model.generator, self.window, self.config.clip
        blended = window_graph(lambda windows: network(windows, training=False), **self.windows)

        def made(image):
            return in_hu(blended(ZScore().graph(image)[..., None]), window, clip)

        takes = [tf.TensorSpec((None, None, None), tf.float32, "image")]
        calls = {"serving_default": (lambda image: {"ct": made(image)["ct"]}, takes)}
        if self.config.head == "freq":
            calls["frequencies"] = (lambda image: {name: made(image)[name] for name in ("low", "high")}, takes)
        of = {name: "serving_default" if name == "ct" else "frequencies" for name in self.translator().outputs}
        return ExportModule([self.model], calls, self.translator().note(of, inside=1))
