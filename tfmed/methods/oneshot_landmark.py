"""One-shot landmarks: a few points of a large CT, from one annotated example.

Paper: Wang, Vandersteen, Raffaelli, Guevara, Patou & Delingette, "One-Shot Learning for Landmarks Detection", DALI
(MICCAI workshop) 2021.

Task: named landmarks from one annotated volume, 3-D

Idea: a shallow 2-D U-Net learns the structure of interest from turned and shifted slices of the one reference. Its
maps along three axes are multiplied, and the centre of the product is looked at again until it stays. The product's
axes give the rotation, and a registration of both patches, which are small by then, carries the landmarks over.

Reproduces: errors over 20 temporal-bone CTs, 0.58 +- 0.19 mm (centre of the cochlea), 0.73 +- 0.39 (top) and 0.79 +-
0.36 (round window), against 0.60, 0.40 and 0.84 between two manual sets and 11.84, 9.95 and 6.66 of a registration of
whole images. Training under an hour on one GPU of 2016, 30 s per volume; the images are private.

Deviates: the printed loop would stop at once, and goes on here until the centre moves by 1 mm or less. The paper trains
on slices along one axis and uses three: `train_axes: z` is that, `all` trains on all. Eigenvectors have no sign:
`sign: skewness`, the default, chooses among four rotations, or the patches' correlation does, as they lie (`ncc`) or
once they are registered rigidly (`registration`). The first two fail where the map shows part of the structure, as on
the phantoms; the demo profile takes the third. A rate of 0.1 kills ReLUs under Adam: 1e-3, which falls. Slices come in
batches of 16. Open in the paper and chosen here: ranges of the turns and shifts, pooling and the depth below it, the
rigid fit, histogram matching, and when a structure counts as missing (`least_score`).
"""

import functools
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field, PositiveInt, field_validator

from tfmed.config import Voxels
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import Stream, shuffled
from tfmed.data.turned_patches import TurnedPatch
from tfmed.engine.exporting import ExportModule
from tfmed.errors import DataError
from tfmed.io.geometry import spacing_of
from tfmed.nn.adam import Adam
from tfmed.nn.blocks import norm_layer
from tfmed.ops import moments as axes_of
from tfmed.ops.three_views import LEAST, Combine, centre_of_mass, combined, view_maps
from tfmed.tasks.one_reference import WAYS, Locator
from tfmed.tasks.volume_landmarks import FULL, VolumeLandmarkMethod, VolumeLandmarksConfig, to_voxels
from tfmed.training.single_network import SingleNetworkModel

_MOVES, _LIGHT = Stream("oneshot_landmark.moves"), Stream("oneshot_landmark.light")


class Config(VolumeLandmarksConfig):
    """The paper's numbers are [P]; it leaves the others open."""

    # slices and network
    side: Voxels = 100  # [P] voxels of a patch, and of its slices, along each axis
    widths: tuple[PositiveInt, PositiveInt] = (64, 128)  # [P] of the two levels
    norm: Literal["none", "batch"] = "none"
    shift_mm: float = Field(5.0, ge=0, le=1000)  # of the reference, along each axis
    turn_degrees: float = Field(30.0, ge=0, le=180)  # about each axis
    train_axes: Literal["all", "z", "y", "x"] = "all"  # z: [P]
    near_mm: float | None = Field(None, gt=0, le=1e4)  # slices that far from the patch's middle train alone; null: all
    positive_weight: float = Field(1.0, gt=0, le=1e6)  # of the structure's pixels in the cross-entropy; 1: [P]
    intensity: float = Field(0.0, ge=0, lt=1)  # slices are made brighter or darker by up to this share
    learning_rate: float = Field(1e-3, gt=0)  # of Adam; [P] 0.1
    # localisation
    localise: bool = True  # false: registration of whole images, the paper's baseline
    start: Literal["reference", "scan"] = "reference"  # the reference's place [P], or where a coarse grid shows most
    combine: Combine = "product"  # [P]; first, second and third: slices along z, y, x alone
    tolerance_mm: float = Field(1.0, gt=0, le=1000)  # [P] by which a centre may move that stays
    most_iterations: int = Field(10, ge=1, le=1000)
    least_score: float = Field(0.3, ge=0, le=1)  # sum of the map's squares over the reference's; less: nothing found
    slices: int = Field(16, ge=1, le=4096)  # that the network sees at a time
    # rotation
    sign: Literal["skewness", "ncc", "registration", "none"] = "skewness"  # none: the patch is not turned
    max_turn_deg: float | None = Field(None, ge=0, le=180)  # rotations by more are left out; 90: heads lie alike
    most_degrees: float = Field(60.0, ge=0, le=180)  # of a turn where two axes are nearly as long as each other
    # registration
    registration: bool = True  # false: landmarks move rigidly
    demons_iterations: int = Field(50, ge=1, le=10_000)  # on each of three levels
    smoothing: float = Field(1.5, gt=0, le=20)  # voxels, of the displacement
    match_histograms: bool = True
    # scores
    ways: tuple[Literal["reg_only", "one_pass", "no_rotation", "no_registration"], ...] = Field((), max_length=4)

    @field_validator("side")
    @classmethod
    def _side_is_even(cls, side):
        if side % 2 or side < 8:
            raise ValueError(f"{side} must be even, and 8 or more, to be pooled and registered")
        return side


def build_network(config, seed=0):
    """Slices `(n, side, side, 1)` -> logits of the structure, likewise; one level of pooling, 3 x 3 convolutions."""
    rng = np.random.default_rng(seed)

    def convolutions(x, widths, name):
        for number, width in enumerate(widths):
            start = keras.initializers.HeNormal(seed=int(rng.integers(2**31)))
            x = keras.layers.Conv2D(width, 3, padding="same", kernel_initializer=start, name=f"{name}{number}")(x)
            x = norm_layer(config.norm)(x) if config.norm != "none" else x
            x = keras.layers.ReLU()(x)
        return x

    first, second = config.widths
    inputs = keras.Input((None, None, 1))
    fine = convolutions(inputs, [first] * 4, "encoder")
    coarse = convolutions(keras.layers.MaxPooling2D(name="pool")(fine), [second] * 4, "bottom")
    joined = keras.layers.Concatenate(name="joined")([fine, keras.layers.UpSampling2D(name="up")(coarse)])
    x = convolutions(joined, [first] * 4, "decoder")
    start = keras.initializers.GlorotUniform(seed=int(rng.integers(2**31)))
    logits = keras.layers.Conv2D(1, 3, padding="same", kernel_initializer=start, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="slices")


class SliceUNet(SingleNetworkModel):
    """f_omega: the probability of each pixel of a slice to be of the structure.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.

    A batch holds `image` and `label`, `(n, side, side)`.
    """

    def __init__(self, config, rate=None, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.network = build_network(config, self.noise_seed)
        adam = Adam(config.learning_rate if rate is None else rate)
        self.finish_building({"network": (adam, [self.network])}, ["loss"])

    def call(self, images, training=False):
        """Slices `(n, side, side, 1)` -> probabilities, likewise."""
        return tf.sigmoid(self.network(images, training=training))

    def network_loss(self, batch):
        """Binary cross-entropy, mean over the pixels of slices."""
        logits = tf.cast(self.network(batch["image"][..., None], training=True)[..., 0], tf.float32)
        target = tf.cast(batch["label"], tf.float32)
        each = tf.nn.weighted_cross_entropy_with_logits(target, logits, self.config.positive_weight)
        loss = tf.reduce_mean(each)
        return loss, {"loss": loss}


# --- the method -------------------------------------------------------------------------------------------------------


class OneShotLandmarkMethod(VolumeLandmarkMethod):
    """Training on slices of the reference, and everything that needs it later."""

    Config = Config

    @property
    def reference(self):
        """The one training case.

        Raises:
            DataError: there are several, or it lacks a mask or landmarks.
        """
        cases = self.cases["train"]
        if len(cases) != 1:
            raise DataError(
                f"{len(cases)} cases would train, and one-shot learning has one reference; name the part of each case "
                "(train, validation, test) in its table, and set data.split.given"
            )
        lacks = "label map" if cases[0].label is None else "landmarks" if not cases[0].meta.get("landmarks") else ""
        if lacks:
            raise DataError(f"{cases[0].id}: is the reference and has no {lacks}; give one, or name another reference")
        return cases[0]

    @property
    def names(self):
        return tuple(self.reference.meta["landmarks"])

    def prepared(self, part, progress=None):
        """As `Method.prepared`; the reference's mask must hold something, and its patch the landmarks."""
        cases = super().prepared(part, progress)
        if part == "train":
            made = self.open(self.reference)
            if not np.asarray(made.label).any():
                raise DataError(f"{self.reference.id}: its label map is empty; the reference must show the structure")
            held = self.patch_of(made).holds(to_voxels(self.true_points(self.reference), made.affine))
            if not held.all():
                name = self.names[int(np.flatnonzero(~held)[0])]
                raise DataError(f"{self.reference.id}: landmark {name} lies outside of the patch; raise model.side")
            if self.cases["validation"]:
                self.prepared("validation", progress)
        return cases

    def patch_of(self, made, rotation=None, shift_mm=(0.0, 0.0, 0.0)):
        """The `TurnedPatch` about the middle of a Prepared case's mask."""
        spacing = spacing_of(made.affine)
        middle = np.argwhere(np.asarray(made.label)).mean(0) + np.asarray(shift_mm) / spacing
        turn = np.eye(3) if rotation is None else rotation
        return TurnedPatch(middle, self.config.side, spacing, self.config.spacing_mm, turn)

    def stages(self):
        yield self.stage("slices", SliceUNet, self.samples, self.config.learning_rate, validation=self.validation)

    def samples(self):
        """Samples `image` and `label` `(side, side)`: one volume after another, turned and shifted, each slice once."""
        config, seed = self.config, self.settings.seed
        self.prepared("train")
        made = self.open(self.reference)
        image, label = np.asarray(made.image[..., 0], np.float32), np.asarray(made.label)
        middle = self.patch_of(made).centre
        slices = slices_that_train(config)

        def read(index):
            volume, number = index // len(slices), shuffled(seed, index, len(slices))
            draw = _MOVES(seed, volume)
            turn = axes_of.euler(draw.uniform(-1, 1, 3) * config.turn_degrees)
            shift = draw.uniform(-1, 1, 3) * config.shift_mm / spacing_of(made.affine)
            patch = TurnedPatch(middle + shift, config.side, spacing_of(made.affine), config.spacing_mm, turn)
            axis, at = slices[number]
            seen = patch.slice(image, axis, at, fill=float(image.min()))
            light = 1 + config.intensity * _LIGHT(seed, index).uniform(-1, 1)
            return {"image": seen * np.float32(light), "label": patch.slice(label, axis, at, order=0)}

        shape = (config.side, config.side)
        return Samples(read, {"image": (shape, "float32"), "label": (shape, "uint8")}, self.settings.train.batch_size)

    # --- validation ---------------------------------------------------------------------------------------------------

    def validated(self):
        return ("loss",)

    def validation_cases(self):
        return [case for case in self.cases["validation"] if case.label is not None]

    def validation(self, model):
        """{"loss"}: cross-entropy of the validation cases' slices along all axes, around their structures."""
        losses = []
        for case in self.validation_cases():
            self.prepared("validation")
            made = self.open(case)
            if not np.asarray(made.label).any():
                continue
            patch = self.patch_of(made)
            image = np.asarray(made.image[..., 0], np.float32)
            mask = patch.read(np.asarray(made.label), order=0) > 0
            views = self.along_axes(model.network)(patch.read(image, fill=float(image.min()))).numpy()
            likely = np.clip(np.where(mask, views, 1 - views), 1e-7, 1).astype(np.float64)
            losses.append(-(np.where(mask, self.config.positive_weight, 1.0) * np.log(likely)).mean())
        return {"loss": float(np.mean(losses))} if losses else {}

    # --- use ----------------------------------------------------------------------------------------------------------

    def along_axes(self, network):
        """Function of a cube -> its probabilities along three axes `(3, side, side, side)`."""
        spec = [tf.TensorSpec((self.config.side,) * 3, tf.float32)]
        call = functools.partial(_views, network, batch=self.config.slices)
        return self.compiled("views", network, call, spec)

    def looking(self, combine):
        """`views` of a Locator, with the trained network."""
        views = self.along_axes(self.model.network)

        def look(cube):
            found = views(cube)
            one = combined(found, combine)
            at, mass = centre_of_mass(one)
            mean, weight = centre_of_mass(tf.reduce_mean(found, 0))
            return one, at, mass, tf.where(weight > LEAST, mean, np.nan)

        return look

    def locators(self):
        """{way: Locator}: the settings' own, and those of `ways`."""
        made, points = self.open(self.reference), self.true_points(self.reference)
        ways = {FULL: self.config}
        ways |= {name: self.config.model_copy(update=WAYS[name]) for name in self.config.ways}
        return {name: Locator(config, self.looking(config.combine), made, points) for name, config in ways.items()}

    def export_module(self):
        """Of a cube `patch` `(side, side, side)` it gives `product` (the combined map), `centre` and `mass` (Eq. 1, 2).

        The patch is at `spacing_mm`, axes towards superior, anterior and right, values as in files. The reference, the
        rotation and the registration are not part of it.
        """
        config, (*steps, window) = self.config, self.preprocessing()
        network = self.model.network

        def look(patch):
            found = combined(_views(network, window.graph(patch), config.slices), config.combine)
            centre, mass = centre_of_mass(found)
            return {"centre": centre, "mass": mass, "product": found}

        takes = [tf.TensorSpec((config.side,) * 3, tf.float32, "patch")]
        told = {"patch": f"float32 {(config.side,) * 3} (z, y, x), voxels of {config.spacing_mm:g} mm, as in the file"}
        made = {"centre": "float32 (3,), voxels (z, y, x)", "mass": "float32", "product": "float32 (z, y, x) in [0, 1]"}
        note = {
            "task": "volume_landmarks",
            "modalities": list(config.modalities),
            "signatures": {"serving_default": {"inputs": told} | made},
            "steps": [step.model_dump(mode="json") for step in steps],
            "steps_inside": [window.model_dump(mode="json")],
        }
        return ExportModule([network], {"serving_default": (look, takes)}, note)


def _views(network, cube, batch):
    return view_maps(lambda images: tf.sigmoid(tf.cast(network(images, training=False), tf.float32)), cube, batch)


def slices_that_train(config):
    """[(axis, number)] of the slices of a patch."""
    axes = {"all": (0, 1, 2), "z": (0,), "y": (1,), "x": (2,)}[config.train_axes]
    away = np.abs(np.arange(config.side) - (config.side - 1) / 2) * config.spacing_mm
    near = np.flatnonzero(away <= (np.inf if config.near_mm is None else max(config.near_mm, config.spacing_mm)))
    return [(axis, int(number)) for axis in axes for number in near]


METHOD = OneShotLandmarkMethod
