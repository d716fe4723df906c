"""Segmentation of volumes of which a few planes, at any angle, are annotated."""

import functools
import logging

import numpy as np
import pydantic
import tensorflow as tf
from pydantic import Field

from tfmed.data import sparse_planes as sparse
from tfmed.data.sampling import Stream
from tfmed.data.sparse_planes import IGNORE
from tfmed.errors import DataError
from tfmed.pictures.planes import PlanesInVolume, Shown, polygon
from tfmed.tasks.along_views import AlongViewsConfig, AlongViewsMethod

log = logging.getLogger("tfmed")
_ANNOTATED, _TRAINING, _HELD = (Stream(f"sparse_planes.{name}") for name in ("annotated", "training", "held_out"))
_SHOWN = 3  # planes of a picture


class SparsePlanesConfig(AlongViewsConfig):
    """How many planes are annotated, and how many train."""

    annotation_planes: int | None = Field(8, ge=1, le=4096)  # n_a, of all training volumes; null: every voxel
    training_planes: int = Field(256, ge=0, le=2**16)  # n_t; 0: the annotated planes themselves, fully labelled
    validation_planes: int | None = Field(None, ge=1, le=4096)  # annotated for validation; null: half of n_a, or 8
    orientations: sparse.Orientations = "random"  # of annotated and of training planes; axes: across z, y or x

    @pydantic.model_validator(mode="after")
    def _something_is_seen(self):
        if self.annotation_planes is None and self.training_planes == 0:
            raise ValueError("training_planes: with every voxel annotated, say how many planes train; give a number")
        if self.classes > IGNORE:
            raise ValueError(
                f"label_values: has {self.classes} numbers; {IGNORE} are possible beside what is not known"
            )
        return self


class SparsePlanesMethod(AlongViewsMethod):
    """Which planes are annotated and which train, what is annotated on them, and Dice on planes held out."""

    Config = SparsePlanesConfig

    # --- planes -------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def labelled(self):
        """The training cases whose labels are used."""
        cases = self.training_cases[0]
        slices = sum(max(self.open(case).image.shape[:3]) for case in cases)
        if (self.config.annotation_planes or 0) > slices:
            raise DataError(
                f"model.annotation_planes: {self.config.annotation_planes} planes are more than the {slices} slices of "
                "all training volumes; give fewer, or null for every voxel"
            )
        return cases

    def drawn(self, stream, number, cases):
        """The plane of this number through one of some cases."""
        sizes = [self.open(case).image.shape[:3] for case in cases]
        return sparse.draw_plane(stream(self.settings.seed, number), sizes, self.config.orientations)

    @functools.cached_property
    def annotation(self):
        """The annotated planes; those of fewer are among those of more. Empty where every voxel is annotated."""
        return [self.drawn(_ANNOTATED, k, self.labelled) for k in range(self.config.annotation_planes or 0)]

    @functools.cached_property
    def annotated(self):
        """{number of a training case: its class numbers, `IGNORE` where no annotated plane passes}."""
        cases = self.labelled
        if self.config.annotation_planes is None:
            return {k: np.asarray(self.open(case).label) for k, case in enumerate(cases)}
        found = {
            k: sparse.sparse_label(self.open(cases[k]).label, [plane for plane in self.annotation if plane.volume == k])
            for k in sorted({plane.volume for plane in self.annotation})
        }
        seen = np.sum([np.bincount(label.ravel(), minlength=256) for label in found.values()], 0)[:IGNORE]
        if not seen[1:].any():
            raise DataError(
                f"model.annotation_planes: the {len(self.annotation)} annotated planes show background alone; annotate "
                "more planes, or choose another seed"
            )
        log.info("%d planes of %d volumes are annotated: %d voxels, %.1f %% of them not background",
                 len(self.annotation), len(found), seen.sum(), 100 * seen[1:].sum() / seen.sum())  # fmt: skip
        return found

    @functools.cached_property
    def training(self):
        """The planes that train, each of a volume with annotated voxels."""
        config = self.config
        if config.training_planes == 0:
            return self.annotation
        numbers = sorted(self.annotated)
        cases = [self.labelled[k] for k in numbers]

        def draw(number):
            plane = self.drawn(_TRAINING, number, cases)
            return sparse.Plane(numbers[plane.volume], plane.frame, plane.centre)

        def hits(planes):
            return (self.labels_on(planes, self.annotated) != IGNORE).any((1, 2))

        try:
            return sparse.draw_that_hit(config.training_planes, draw, hits)
        except DataError as error:
            raise DataError(f"model.training_planes: {error}") from None

    @property
    def plane_shape(self):
        """Pixels of a plane; of cubes' planes, their sides."""
        return self.config.patch[-2:]

    def labels_on(self, planes, labels):
        """Class numbers `(n, *plane_shape)` of planes, `IGNORE` outside of volumes."""
        return sparse.sampled(planes, lambda k: np.asarray(labels[k])[..., None], self.plane_shape, 0, IGNORE)[..., 0]

    def images_on(self, planes, cases):
        """Images `(n, *plane_shape, channel)` float32 of planes through cases."""

        def read(k):
            return np.asarray(self.open(cases[k]).image, np.float32)

        return sparse.sampled(planes, read, self.plane_shape, 1, self.config.fill)

    # --- validation, scores, pictures ---------------------------------------------------------------------------------

    @functools.cached_property
    def held_out(self):
        """(planes, labels, images) of the labelled validation cases, fully annotated."""
        cases, wanted = self.validation_cases(), self.config.validation_planes
        count = wanted or max(1, (self.config.annotation_planes or 16) // 2)
        planes = [self.drawn(_HELD, k, cases) for k in range(count)]
        labels = self.labels_on(planes, {plane.volume: self.open(cases[plane.volume]).label for plane in planes})
        return planes, labels, self.images_on(planes, cases)

    def validation(self, model):
        """{"cross_entropy", "dice", "dice_<region>"} over the pixels of the annotated validation planes together."""
        cases = self.validation_cases()
        if not cases:
            return {}
        self.prepared("validation")
        planes, labels, images = self.held_out
        if len(self.config.patch) == 2:
            found = np.concatenate([self.seen_by(image[None]) for image in images])
        else:
            volumes = {k: self.probabilities(self.open(cases[k]).image) for k in {plane.volume for plane in planes}}
            found = sparse.sampled(planes, volumes.__getitem__, self.plane_shape, 1, 0.0)
        inside = labels != IGNORE
        found, labels = found[inside], labels[inside]
        right = np.take_along_axis(found, labels[:, None].astype(np.int64), -1)
        dices = self.region_dice(found.argmax(-1), labels)
        entropy = -np.log(np.maximum(right, 1e-12), dtype=np.float64).mean()
        return {"cross_entropy": float(entropy), "dice": float(np.mean(list(dices.values())))} | dices

    def seen_by(self, images):
        """Class probabilities of planes, as an array."""
        return self.compiled("planes", self.network, self.plane_probabilities)(tf.constant(images)).numpy()

    def previews(self):
        """As usual, and planes: where they lie in a training volume, what is annotated on them, and what is found."""
        shown = super().previews()
        if len(self.config.patch) == 2:
            shown["planes"] = self.planes_picture()
        return shown

    def planes_picture(self):
        """Planes of the training volume that has most annotated ones."""
        self.training  # noqa: B018 - draws all planes
        volumes = [plane.volume for plane in (self.annotation or self.training)]
        k = max(sorted(set(volumes)), key=volumes.count)
        case, own = self.labelled[k], [plane for plane in self.training if plane.volume == k]
        picked = own[:_SHOWN]
        images = self.images_on(picked, self.labelled)
        labels, dense = (self.labels_on(picked, {k: one}) for one in (self.annotated[k], self.open(case).label))
        rows = tuple(
            Shown(f"plane {n + 1}", image[..., 0], label, np.where(inside, self.seen_by(image[None])[0].argmax(-1), 0))
            for n, (image, label, inside) in enumerate(zip(images, labels, dense != IGNORE, strict=True))
        )
        size = self.open(case).image.shape[:3]
        annotated = tuple(polygon(size, one.frame, one.centre) for one in self.annotation if one.volume == k)
        training = tuple(polygon(size, one.frame, one.centre) for one in picked)
        return PlanesInVolume(size, annotated, training, rows, IGNORE)
