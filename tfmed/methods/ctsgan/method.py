"""CTSGANMethod: settings, data, pictures, evaluation and export of CT-SGAN and its baseline."""

import functools
from typing import Annotated, Literal

import numpy as np
import pydantic
import tensorflow as tf
from pydantic import Field, PositiveInt

from tfmed.config import Interval, Layers, MethodConfig, Voxels
from tfmed.data.checks import CaseSpec
from tfmed.data.pipeline import Samples
from tfmed.data.preprocess import Orient, Resample, resample
from tfmed.data.sampling import flipped
from tfmed.engine.abilities import Count, Evaluation, Features, Seed
from tfmed.engine.exporting import ExportModule, one_by_one
from tfmed.engine.options import Option
from tfmed.engine.terminal import log
from tfmed.io import Volume
from tfmed.methods.ctsgan.model import CTSGAN, draw_slab
from tfmed.metrics import slicewise
from tfmed.metrics.features import open_features
from tfmed.nn.adam import Adam
from tfmed.nn.gan3d import dcgan3d_critic, dcgan3d_generator
from tfmed.ops.resize import linear_resize
from tfmed.pictures.volumes import Picture
from tfmed.tasks.generation import GenerationMethod, unit_window
from tfmed.training.volume_gan import VolumeGANModel

Length = Annotated[Annotated[int, Field(ge=3)] | None, Option("length", "slices per volume; by default as trained")]


class Config(MethodConfig):
    """CT-SGAN's own numbers. [P] is stated in the paper; the others are MoCoGAN's or follow from the design."""

    architecture: Literal["ctsgan", "3dgan"] = "ctsgan"  # [P] the latter is the paper's baseline
    volume_shape: tuple[Voxels, Voxels, Voxels] = (224, 224, 224)  # [P] voxels (z, y, x)
    window_hu: Interval = (-1000.0, 400.0)  # HU mapped to [-1, 1]
    # latents
    patient_noise_size: PositiveInt = 128  # z_pat
    slice_noise_size: PositiveInt = 64  # eps
    lstm_units: PositiveInt = 64  # per direction; z_slc has twice as many entries
    cell: Literal["bilstm", "gru", "iid"] = "bilstm"  # [P] bilstm; gru is MoCoGAN's, iid the ablation
    lstm_memory: PositiveInt | None = 224  # slices that cells remember when training starts; null: Keras' biases (4)
    patient_noise: bool = True  # [P] without it quality drops
    slice_noise: bool = True  # [P] without it quality drops
    # networks
    slice_channels: Literal[1, 3] = 3  # [P] three neighbouring slices at a time
    base_size: PositiveInt = 7  # pixels; the generator doubles it once per entry of generator_channels
    generator_channels: Layers = (512, 512, 256, 128, 64)
    generator_norm: Literal["batch", "instance", "none"] = "batch"
    slice_critic_channels: Layers = (64, 128, 256, 512, 512)
    slab_critic_channels: Layers = (64, 128, 256, 512)
    slab_depth_kernel: int = Field(4, ge=1, le=4)
    critic_norm: Literal["none", "instance", "layer"] = "none"
    position_conditioning: bool = True  # [P] "with respect to the slice position"
    use_slab_critic: bool = True  # [P]; false is an ablation
    slab_length: PositiveInt = 16  # T, slices
    slices_per_slab: PositiveInt = 8  # N, slices that D_slice sees of a slab
    # losses
    loss: Literal["wasserstein", "js"] = "wasserstein"  # [P]
    gp: Literal["r1", "r2", "wgan-gp", "none"] = "r1"  # [P] r1
    gp_weight: float = Field(10.0, ge=0)  # gamma (r1, r2) or lambda (wgan-gp)
    slice_reduction: Literal["sum", "mean"] = "sum"  # [P] Eq. 2 sums over the N slices
    # optimisation
    learning_rate: float = Field(1e-4, gt=0)
    beta_1: float = Field(0.0, ge=0, lt=1)
    beta_2: float = Field(0.9, ge=0, lt=1)
    critic_steps: int = Field(1, gt=0, le=1000)  # [P] alternating
    ema_decay: float = Field(0.0, ge=0, lt=1)  # of G_slice and R_v; 0: off
    left_right_flip: bool = False  # augmentation; the paper states none
    baseline_size: PositiveInt = 128  # [P] voxels per side that the 3dgan generates before resizing

    @pydantic.model_validator(mode="after")
    def _fits(self):
        length, height, width = self.volume_shape
        size = self.base_size * 2 ** len(self.generator_channels)
        if (height, width) != (size, size):
            raise ValueError(
                f"volume_shape: slices of {height} x {width} cannot be made; base_size * 2**len(generator_channels)"
                f" is {size}: change one of the three"
            )
        if not 3 <= self.slab_length + 2 <= length:
            raise ValueError(
                f"slab_length: {self.slab_length} slices and two neighbours do not fit into the {length} slices of "
                "volume_shape"
            )
        if self.slices_per_slab > self.slab_length:
            raise ValueError(f"slices_per_slab: {self.slices_per_slab} is more than slab_length {self.slab_length}")
        if self.loss == "wasserstein" and self.gp == "none":
            raise ValueError("gp: a Wasserstein critic is unbounded without a penalty; choose r1, r2 or wgan-gp")
        if self.baseline_size not in [4 * 2**n for n in range(1, 8)]:
            raise ValueError(
                f"baseline_size: the 3D GAN makes 8, 16, 32, ... 512 voxels per side, not {self.baseline_size}"
            )
        self._check_critics(size)
        return self

    def _check_critics(self, size):
        needed = (len(self.slab_critic_channels) + 1) * (self.slab_depth_kernel - 1) + 1
        if self.use_slab_critic and self.slab_length < needed:
            raise ValueError(
                f"slab_length: {self.slab_length} is too short for {len(self.slab_critic_channels)} "
                f"slab_critic_channels with slab_depth_kernel {self.slab_depth_kernel} (needs {needed}); lower one of "
                "the two"
            )
        if self.use_slab_critic and size >> len(self.slab_critic_channels) < 4:
            raise ValueError(f"slab_critic_channels: too many blocks for {size} pixels; the last map needs 4 per side")
        if size >> len(self.slice_critic_channels) < 1:
            raise ValueError(f"slice_critic_channels: too many blocks for {size} pixels")


class Vanilla3DGAN(VolumeGANModel):
    """The baseline of Table 1: a 3D DCGAN with the losses of the config, whose volumes are resized afterwards.

    Args:
        config: the method's `Config`; it generates `baseline_size`^3 voxels (4 * 2**n), and channels double from the
            widest resolution down, starting at 64.
        rate: learning rate or schedule; default the config's.
    """

    def __init__(self, config, rate=None, **kwargs):
        depth, known = int(np.log2(config.baseline_size // 4)), config.generator_channels
        widths = known[-depth:] if depth <= len(known) else (512,) * depth
        latent, rate = config.patient_noise_size, config.learning_rate if rate is None else rate
        make = functools.partial(dcgan3d_generator, latent, widths, norm=config.generator_norm)
        critic = functools.partial(dcgan3d_critic, config.baseline_size, widths[::-1])
        adam = [Adam(rate, config.beta_1, config.beta_2) for _ in range(2)]
        kwargs |= dict(critic_steps=config.critic_steps, ema_decay=config.ema_decay)
        super().__init__(make, critic, latent, adam, config.loss, (config.gp, config.gp_weight), **kwargs)
        self.config = config

    def sample(self, seed=0, index=0, length=None, chunk=32, fixed=None, convert=None, dtype="float32"):
        """One volume, resized trilinearly to the config's volume_shape; `chunk` and `fixed` have no meaning here."""
        small = Volume(self.generated(seed, index).numpy(), np.eye(4))
        wanted = (length or self.config.volume_shape[0], *self.config.volume_shape[1:])
        volume = resample(small, wanted).array
        return (convert(volume) if convert else volume).astype(dtype)

    def volume(self, seed, index, convert, dtype):
        """As `sample`, of tensors."""
        small = self.generated(seed, index)
        for axis, size in enumerate(self.config.volume_shape):
            small = linear_resize(small, axis, size)
        return convert(small)


class CTSGANMethod(GenerationMethod):
    """Unconditional generation of CT volumes."""

    Config = Config
    case_spec = CaseSpec(images=("ct",), minimum_shape=(8, 8, 8))
    made_to_size = True

    @property
    def window(self):
        """HU -> [-1, 1]."""
        return unit_window(self.config.window_hu)

    @property
    def trained_shape(self):
        """Voxels (z, y, x) of the volumes that the networks see."""
        if self.config.architecture == "3dgan":
            return (self.config.baseline_size,) * 3
        return self.config.volume_shape

    def preprocessing(self):
        return (*super().preprocessing(), Orient(to="RAS"), Resample(shape=self.trained_shape), self.window)

    def stages(self):
        model, samples = (Vanilla3DGAN, self.volumes) if self.config.architecture == "3dgan" else (CTSGAN, self.slabs)
        yield self.stage("gan", model, samples, self.config.learning_rate, per_step=self.per_step)

    @property
    def per_step(self):
        """Samples of a step: fresh ones for every critic update."""
        return self.settings.train.batch_size * self.config.critic_steps

    def slabs(self):
        """Samples: the slab of T slices with its two neighbours, where it starts, and which slices D_slice sees."""
        c = self.config
        slab_shape = (c.slab_length + 2, *c.volume_shape[1:])

        def read(index):
            start, chosen = draw_slab(self.settings.seed, index, c.volume_shape[0], c.slab_length, c.slices_per_slab)
            volume = self.training_array(self.drawn(self.training_cases, index), index)
            slab = volume[start - 1 : start + c.slab_length + 1].astype(np.float32)
            return {"slab": slab, "start": start, "chosen": chosen}

        spec = {"slab": (slab_shape, "float32"), "start": ((), "int32"), "chosen": ((c.slices_per_slab,), "int32")}
        return Samples(read, spec, self.per_step)

    def volumes(self):
        """Samples of the 3D GAN baseline: whole volumes."""
        return self.whole_images(self.trained_shape, self.per_step)

    def training_array(self, case, index):
        """In [-1, 1], perhaps mirrored."""
        array = self.real(case).array
        return flipped(array, self.settings.seed, index) if self.config.left_right_flip else array

    # --- using a trained model ----------------------------------------------------------------------------------

    def sample(
        self,
        count,
        seed=0,
        length: Length = None,
        chunk: Annotated[PositiveInt, Option("chunk", "slices decoded at a time")] = 32,
        fixed: Annotated[Literal["patient", "slices"] | None, Option("fix", "noise that all volumes share")] = None,
    ):
        """`count` Volumes int16 in HU, one at a time.

        Args:
            length: slices, default as trained.
            chunk: slices decoded at a time; memory besides the volume is that of a chunk.
            fixed: "patient" or "slices": that noise is the same in all volumes.
        """
        if length not in (None, self.config.volume_shape[0]):
            log.warning("--length: trained on %d slices; other lengths are a guess", self.config.volume_shape[0])
        for index in range(count):
            array = self.model.sample(
                seed, index, length, chunk, fixed, convert=lambda x: np.rint(self.window.invert(x)), dtype=np.int16
            )
            yield Volume(array, self.geometry(array.shape))

    def geometry(self, shape):
        """RAS affine that gives a generated volume the field of view of the first training case."""
        *view, slices = (
            self.records.recall("view", self._view, lambda found: len(found) == 4) or self._view()
        )  # needs no case after training
        spacing = np.array(view) / np.array((slices, *shape[1:]))
        return np.diag([*spacing[::-1], 1.0])

    def _view(self):
        """[mm along z, y, x; slices] of the first training case."""
        prepared = self.real(self.cases["train"][0])
        return [*map(float, np.array(prepared.spacing) * np.array(prepared.shape)), prepared.shape[0]]

    def previews(self):
        """Two generated volumes and two training volumes, lung window."""
        real = [self.real(case) for case in self.cases["train"][:2]]
        shown = {f"generated {i + 1}": v for i, v in enumerate(self.sample(2, seed=self.settings.seed))}
        shown |= {f"training {i + 1}": v.replace(array=self.window.invert(v.array)) for i, v in enumerate(real)}
        return {"volumes": Picture(shown, self.config.window_hu, "HU")}

    def evaluate(self, methods, count: Count = 16, seed: Seed = 0, features: Features = "random:0"):
        """{"evaluation": rows of the paper's Table 1}: half of the real data against the other, then each model.

        Args:
            methods: name of the run -> its Method, this one among them.
            count: most volumes per source, and pairs per distance; all sources have as many as half of the real data.
            features: see `tfmed.metrics.features`.
        """
        network = open_features(features)
        cases = [case for part in self.cases.values() for case in part][: 2 * count]
        real = [slicewise.slice_features(self.comparable(case), network) for case in cases]
        first, second = ([real[i] for i in half] for half in slicewise.halves(len(real), seed))
        rows = [slicewise.score_row("real data (two halves)", first, second, network, count, seed)]
        for name, method in methods.items():
            volumes = (self.window.apply(volume).array for volume in method.sample(len(first), seed))
            described = [slicewise.slice_features(volume, network) for volume in volumes]
            source = f"{name} ({method.config.architecture})"
            rows.append(slicewise.score_row(source, described, second, network, count, seed))
        return Evaluation({"evaluation": rows})

    def comparable(self, case):
        """A real volume as generated ones come: the config's volume_shape, in [-1, 1]."""
        return resample(self.real(case), self.config.volume_shape).array

    def export_module(self):
        """Its `sample(seed, n)` gives n `volumes` `(n, L, H, W)` int16 in HU, and their spacing (z, y, x) in mm."""
        model, window, shape = self.model, self.window, self.config.volume_shape
        spacing = np.abs(np.diag(self.geometry(shape)))[2::-1]

        def in_hu(values):
            return tf.cast(tf.round(window.invert(values)), tf.int16)

        def volume(seed, index):
            return model.volume(seed, index, in_hu, tf.int16)

        return ExportModule([model], {"sample": one_by_one(volume, "volumes", shape, tf.int16, spacing_mm=spacing)})
