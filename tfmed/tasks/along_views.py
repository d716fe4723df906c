"""Segmentation of volumes by a network of planes that sees them from several sides, and of cubes for comparison."""

import functools
from typing import Literal

import numpy as np
import pydantic
import tensorflow as tf
from pydantic import Field, PositiveInt

from tfmed.data.sampling import Stream
from tfmed.errors import DataError
from tfmed.ops import planes
from tfmed.tasks.prediction import Segmenter
from tfmed.tasks.segmentation import SegmentationMethod
from tfmed.tasks.segmentation_export import numbers_of_classes
from tfmed.tasks.segmentation_settings import SegmentationConfig
from tfmed.training.fusion import fit_fusion

CUBIC = 1.1  # the longest side of a voxel may be so many times its shortest
_VIEWS, _POINTS = Stream("along_views.views"), Stream("along_views.points")
_POINTS_EACH = 4096  # voxels of a case by which a fusion is fitted


class AlongViewsConfig(SegmentationConfig):
    """Of a patch of two numbers: how volumes are seen from several sides. Patches of three are windows of volumes."""

    views: PositiveInt = Field(3, le=64)  # K, of which a prediction is made
    view_orientations: Literal["random", "spread", "axes"] = "random"  # spread: far from one another
    fusion: Literal["mean", "learned"] = "mean"  # learned: weights of views and classes, fitted after training
    fill: float = 0.0  # what lies outside of a volume, after data.preprocess; 0: the median behind robust_scale
    slices: PositiveInt = Field(4, le=1024)  # that the network sees at a time when it goes through a volume

    @pydantic.model_validator(mode="after")
    def _views_fit(self):
        if len(self.patch) == 2 and self.flips:
            raise ValueError("flips: networks of planes predict along views; set views instead")
        if len(self.patch) == 2 and self.mc_passes:
            raise ValueError("mc_passes: networks of planes predict along views, without dropout; set it to 0")
        if self.view_orientations == "axes" and self.views > 3:
            raise ValueError(f"views: {self.views} views along axes are no more than 3; lower it")
        return self


class CubicSegmenter(Segmenter):
    """Refuses images whose voxels are no cubes."""

    def on_grid(self, stack, affine):
        """Probabilities of a prepared image whose voxels lie as `affine` says."""
        if problem := not_cubic(affine):
            raise DataError(problem)
        return super().on_grid(stack, affine)


def not_cubic(affine):
    """What is wrong with voxels that are no cubes, in a line without the case's name, or None."""
    sides = np.linalg.norm(np.asarray(affine, np.float64)[:3, :3], axis=0)[::-1]
    if sides.max() <= CUBIC * sides.min():
        return None
    said, wanted = " x ".join(f"{side:.3g}" for side in sides), ", ".join([f"{sides.min():.3g}"] * 3)
    return (
        f"its voxels of {said} mm (z, y, x) after data.preprocess are no cubes, which planes at any angle need; add "
        f"{{step: resample, spacing_mm: [{wanted}]}} to data.preprocess"
    )


class AlongViewsMethod(SegmentationMethod):
    """Base of methods whose networks see planes at any angle; a subclass gives `stages`."""

    Config = AlongViewsConfig
    segmenter_class = CubicSegmenter
    fused: tuple[np.ndarray, np.ndarray] | None = None  # weights `(views, classes)` and biases, once they are fitted
    _traced = (None, None)

    def prepared(self, part, progress=None):
        """As `SegmentationMethod.prepared`; voxels must be cubes."""
        cases = super().prepared(part, progress)
        for case in cases:
            if problem := not_cubic(self.open(case).affine):
                raise DataError(f"{case.id}: {problem}")
        return cases

    @functools.cached_property
    def view_frames(self):
        """The frames `(views, 3, 3)` along which volumes are seen: the same for all volumes of a run."""
        config, rng = self.config, _VIEWS(self.settings.seed)
        if config.view_orientations == "axes":
            return planes.frames(planes.axis_normals(config.views))
        draw = planes.uniform_normals if config.view_orientations == "random" else planes.spread_normals
        return planes.frames(draw(config.views, rng), rng.uniform(0, 2 * np.pi, config.views))

    def plane_probabilities(self, images):
        """Planes `(n, rows, columns, channel)` -> class probabilities of their pixels."""
        return tf.nn.softmax(tf.cast(self.network(images, training=False), tf.float32))

    def seen(self, volume, frames, weights=None):
        """A prepared image as a tensor -> what the network says of it along some views."""
        config = self.config
        multiple = max(config.network.multiple(2))
        return planes.along_views(
            self.plane_probabilities, volume, frames, config.classes, weights, config.fill, multiple, config.slices
        )

    def seen_together(self, volume):
        """The same along all views, joined."""
        weights, bias = self.fused or (None, None)
        found = self.seen(volume, self.view_frames, weights)
        return found if bias is None else tf.nn.softmax(found + bias)

    def probabilities(self, image, finish=None):
        """Class probabilities `(z, y, x, class)` float32 of a prepared image `(z, y, x, channel)`."""
        if len(self.config.patch) == 3:
            return super().probabilities(image, finish)
        key = (id(self.network), self.fused is None)
        if self._traced[0] != key:
            spec = tf.TensorSpec((None, None, None, len(self.config.modalities)), tf.float32)
            self._traced = (key, tf.function(self.seen_together, input_signature=[spec], autograph=False))
        found = self._traced[1](tf.constant(image, tf.float32)).numpy()
        return found if finish is None else finish(found)

    def volume_graphs(self):
        """(prepared image -> probabilities, prepared image -> class numbers), as functions of tensors."""
        if len(self.config.patch) == 3:
            return super().volume_graphs()
        return self.seen_together, lambda image: numbers_of_classes(self.seen_together(image))

    def fitted_fusion(self, labelled):
        """[weights, biases] of views, as lists, fitted to voxels whose class is known; [] where there are none.

        Args:
            labelled: [(case, class numbers `(z, y, x)`, bool `(z, y, x)`: where they are known)].
        """
        spec = tf.TensorSpec((None, None, None, len(self.config.modalities)), tf.float32)

        def view_of(frame):
            return tf.function(lambda volume: self.seen(volume, frame[None]), [spec], autograph=False)

        views = [view_of(frame) for frame in self.view_frames]
        points, classes = [], []
        for number, (case, label, known) in enumerate(labelled):
            chosen = np.flatnonzero(known)
            if len(chosen) > _POINTS_EACH:
                chosen = np.sort(_POINTS(self.settings.seed, number).choice(chosen, _POINTS_EACH, replace=False))
            image = tf.constant(self.open(case).image, tf.float32)
            found = [view(image).numpy().reshape(-1, self.config.classes)[chosen] for view in views]
            points.append(np.stack(found, 1))
            classes.append(np.asarray(label).ravel()[chosen])
        if not sum(map(len, classes)):
            return []
        return [array.tolist() for array in fit_fusion(np.concatenate(points), np.concatenate(classes))]
