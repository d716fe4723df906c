"""StyleGAN3DMethod: settings, data, pictures, evaluation, projection and export of 3D-StyleGAN."""

from typing import Annotated, Literal

import numpy as np
import pydantic
import tensorflow as tf
from pydantic import Field, PositiveFloat, PositiveInt

from tfmed import compat
from tfmed.config import MethodConfig, SizeMm, Voxels
from tfmed.data.checks import CaseSpec
from tfmed.data.preprocess import Crop, Orient, PercentileScale, Resample
from tfmed.engine.abilities import Count, Evaluation, Features, Seed
from tfmed.engine.exporting import ExportModule, one_by_one
from tfmed.engine.options import Option
from tfmed.io import Volume, reorient
from tfmed.methods.stylegan3d.model import StyleGAN3D
from tfmed.metrics import volume_sets
from tfmed.metrics.features import open_features
from tfmed.ops.styles import to_unit
from tfmed.pictures.volume_grids import interpolation_picture, mixing_picture
from tfmed.pictures.volumes import Picture
from tfmed.tasks.styles import StyleMethod


class Config(MethodConfig):
    """3D-StyleGAN's own numbers. [P] is stated in the paper, [C] read from its code; the others are StyleGAN2's."""

    # volumes
    base_shape: tuple[Voxels, Voxels, Voxels] = (5, 6, 7)  # [P] voxels; the size of all else follows
    levels: int = Field(5, ge=2, le=8)  # [P] volumes have base_shape * 2**(levels - 1) voxels: 5 for 2 mm, 6 for 1 mm
    spacing_mm: tuple[SizeMm, SizeMm, SizeMm] = (2.0, 2.0, 2.0)  # [P] along the network's axes
    orientation: str = Field("ASR", pattern="^[RLAPSI]{3}$")  # (x, y, z): the network's axes are right, up, front
    modality: str = "t1"  # [P] which of a case's images
    white_percentile: float = Field(99.9, gt=0, le=100)  # of voxels above 0; it becomes 1, and 0 becomes -1
    most_cut: float = Field(0.1, ge=0, le=1)  # share of an image's brightness that may lie outside of the volume
    # networks
    filter_depth: PositiveInt = 96  # [P] channels at every level
    latent_size: PositiveInt = 96  # [P] entries of z, w and the mapping's hidden layers
    mapping_layers: int = Field(8, ge=1, le=100)  # [P]
    generator_architecture: Literal["orig", "skip", "resnet"] = "orig"  # [P]
    critic_architecture: Literal["resnet", "orig"] = "resnet"  # [P]
    noise: bool = True  # [P] false: no noise in the generator
    resample_kernel: tuple[float, ...] = (1.0, 3.0, 3.0, 1.0)  # [C] has (1, 3, 3, 3, 1), which makes a lattice
    minibatch_group: PositiveInt = 4  # samples that the critic compares; the volumes on a device are a multiple
    checkpointing: bool = False  # compute inner values again in the backward pass: less memory, more time
    # losses
    path_length_weight: float = Field(2.0, ge=0)  # [C] 0: no path-length penalty
    path_length_decay: float = Field(0.01, gt=0, le=1)  # [C] of the running mean length a
    g_reg_interval: PositiveInt = 16  # [P] steps between path-length penalties; [C] 4
    d_reg: Literal["none", "r1", "r2"] = "none"  # [P]
    d_reg_gamma: float = Field(10.0, gt=0)  # weight of R1 or R2
    d_reg_interval: PositiveInt = 16  # steps between them
    style_mixing: float = Field(0.9, ge=0, le=1)  # probability of two styles in a training sample
    # optimisation
    learning_rate: float = Field(0.002, gt=0)  # [C] the mapping network's is 0.01 of it
    beta_1: float = Field(0.0, ge=0, lt=1)  # [C]
    beta_2: float = Field(0.99, ge=0, lt=1)  # [C]
    epsilon: float = Field(1e-8, gt=0)  # [C]
    ema_half_life_images: PositiveFloat = 10_000.0  # [C] images after which half of the averaged weights is new
    w_average_decay: float = Field(0.995, ge=0, lt=1)  # [C] of the running mean w
    # projection
    projection_pooled: float = Field(0.0, ge=0)  # weight of the pooled squared error; [P] 1: errors rose with it

    @pydantic.model_validator(mode="after")
    def _fits(self):
        if not 2 <= len(self.resample_kernel) <= 9 or sum(self.resample_kernel) <= 0:
            raise ValueError("resample_kernel: give 2 to 9 numbers whose sum is above 0, such as [1, 3, 3, 1]")
        return self

    @pydantic.field_validator("base_shape")
    @classmethod
    def _can_be_doubled(cls, shape):
        if max(shape) > 2**9:
            raise ValueError("volumes have base_shape * 2**(levels - 1) voxels; the paper's base_shape is 5 x 6 x 7")
        return shape

    @property
    def volume_shape(self):
        """Voxels (z, y, x) of the volumes, in the network's orientation."""
        return tuple(size * 2 ** (self.levels - 1) for size in self.base_shape)


class StyleGAN3DMethod(StyleMethod):
    """Unconditional generation of volumes whose styles can be mixed, interpolated and fitted to a real volume."""

    Config = Config
    made_to_size = True

    @property
    def modality(self):
        """Which image of a case is learnt."""
        return self.config.modality

    @property
    def case_spec(self):
        """One image per case."""
        return CaseSpec(images=(self.config.modality,), minimum_shape=(4, 4, 4))

    @classmethod
    def check(cls, settings):
        train, group = settings.train, settings.model.minibatch_group
        share = train.batch_size // ((train.replicas or 1) * train.gradient_accumulation)
        if share % group:
            raise ValueError(
                f"model.minibatch_group: groups of {group} do not fit into the {share} volumes that a device sees at a "
                "time; choose a divisor, or another train.batch_size"
            )

    @property
    def scale(self):
        return PercentileScale(percentile=self.config.white_percentile, range=(-1.0, 1.0))

    def preprocessing(self):
        c = self.config
        trim = Crop(shape=c.volume_shape, most_cut=c.most_cut)
        return (*super().preprocessing(), Orient(to=c.orientation), Resample(spacing_mm=c.spacing_mm), trim, self.scale)

    def stages(self):
        yield self.stage("gan", StyleGAN3D, self.volumes, self.config.learning_rate)

    def volumes(self):
        """Samples: whole volumes, in [-1, 1] and the network's orientation."""
        return self.whole_images(self.config.volume_shape)

    # --- using a trained model ----------------------------------------------------------------------------------

    @property
    def affine(self):
        """Of a generated array: its spacing and orientation, with the origin in its middle."""
        c = self.config
        inverse = reorient(Volume(np.zeros((2, 2, 2), np.int8), np.eye(4)), c.orientation).affine[:3, :3]
        affine = np.eye(4)
        affine[:3, :3] = np.sign(np.rint(inverse)) * np.array(c.spacing_mm[::-1])
        affine[:3, 3] = -affine[:3, :3] @ (np.array(c.volume_shape[::-1]) - 1) / 2
        return affine

    def as_volume(self, array):
        """Volume in RAS of a generated array `(d, h, w)`."""
        return reorient(Volume(np.asarray(array, np.float32), self.affine), "RAS")

    def sample(
        self,
        count,
        seed=0,
        psi: Annotated[float, Field(allow_inf_nan=False), Option("psi", "truncation: 0 the mean style, 1 none")] = 1.0,
        fixed: Annotated[Literal["style", "noise"] | None, Option("fix", "what all volumes share")] = None,
    ):
        """`count` Volumes float32 in [0, 1] (0 is black, 1 the white of a scan), one at a time.

        Args:
            psi: truncation, 0 (the mean style) to 1 (none).
            fixed: "style" or "noise": that is the same in all volumes.
        """
        for index in range(count):
            yield self.as_volume(self.model.sample(seed, index, psi, fixed))

    def previews(self):
        """Generated and training volumes, a mixing grid, and the way between two styles."""
        shown = {f"generated {i + 1}": v for i, v in enumerate(self.sample(2, seed=self.settings.seed))}
        for i, case in enumerate(self.cases["train"][:2]):
            real = self.real(case)
            shown[f"training {i + 1}"] = real.replace(array=to_unit(np.asarray(real.array, np.float32)).numpy())
        one, two, three, four = (self.latents(self.settings.seed + i) for i in range(1, 5))
        return {
            "volumes": Picture(shown, (0.0, 1.0)),
            "mixing": mixing_picture(self.mixtures([one, two], [three, four])),
            "interpolation": interpolation_picture(self.interpolated(one, two, 5), one, two),
        }

    def evaluate(self, methods, count: Count = 16, seed: Seed = 0, features: Features = "random:0"):
        """{"evaluation": rows of the paper's Table 2}: training volumes, then each model's, against unseen volumes.

        Args:
            methods: name of the run -> its Method, this one among them.
            count: most volumes per source.
            features: of the distances between slices; see `tfmed.metrics.features`.
        """
        network = open_features(features)
        unseen = [self.comparable(case) for case in self.cases["test"][:count]]
        known = [self.comparable(case) for case in self.cases["train"][: len(unseen)]]
        rows = [volume_sets.row("training volumes", known, unseen, network, seed)]
        for name, method in methods.items():
            made = [volume.array for volume in method.sample(len(unseen), seed)]
            rows.append(volume_sets.row(name, made, unseen, network, seed))
        return Evaluation({"evaluation": rows})

    def comparable(self, case):
        """A real volume as generated ones come: RAS, in [0, 1]."""
        return to_unit(np.asarray(reorient(self.real(case), "RAS").array, np.float32)).numpy()

    def export_module(self):
        """Its signatures use the averaged networks.

        `sample(seed, n)`: n `volumes` `(n, d, h, w)` float32 in [0, 1], the same as `Run.sample` gives for that seed
        (there turned to RAS), and their `affine`. `map(z)`: `w` `(n, latent)`. `synthesise(w, seed)`: `volumes` of w
        `(n, layers, latent)`, one w per style layer, with the noise of (seed, 0).
        """
        model, shape = self.model, self.config.volume_shape
        mapping, synthesis, w_average = model.average_mapping, model.average_synthesis, model.w_average

        def volume(seed, index):
            styles = model.styles(mapping(model.latent(seed, index)))
            return to_unit(synthesis(styles, model.noise_maps(seed, index)))[0, ..., 0]

        def map_(z):
            return {"w": mapping(z), "w_average": tf.identity(compat.tensor_variable(w_average))}

        def synthesise(w, seed):
            noise = [tf.repeat(noise, tf.shape(w)[0], axis=0) for noise in model.noise_maps(seed, 0)]
            return {"volumes": to_unit(synthesis(w, noise))[..., 0]}

        latent = self.config.latent_size
        w = tf.TensorSpec((None, model.layers_w, latent), tf.float32, "w")
        calls = {
            "sample": one_by_one(volume, "volumes", shape, tf.float32, affine=self.affine),
            "map": (map_, [tf.TensorSpec((None, latent), tf.float32, "z")]),
            "synthesise": (synthesise, [w, tf.TensorSpec((), tf.int64, "seed")]),
        }
        return ExportModule([mapping, synthesis, w_average], calls)
