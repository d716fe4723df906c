"""What generators share: their abilities, training samples of whole images, and the scale of what they make."""

import functools

import numpy as np

from tfmed.data.pipeline import Samples
from tfmed.data.preprocess import Window
from tfmed.data.sampling import shuffled
from tfmed.engine.abilities import CanEvaluate, CanExport, CanPreview, CanSample
from tfmed.engine.method import Method
from tfmed.errors import DataError


class GenerationMethod(Method, CanSample, CanPreview, CanEvaluate, CanExport):
    """Base of methods that generate images or volumes."""

    modality = "ct"  # which image of a case is learnt

    def real(self, case):
        """A case's prepared Volume, a memory map `(z, y, x)`."""
        return self.cache.get(case.images[self.modality], series_uid=case.meta.get("series_uid"))

    @functools.cached_property
    def training_cases(self):
        """The cases of the training part, checked, in the cache."""
        return self.prepared("train")

    def drawn(self, cases, index):
        """The case that a sample index stands for: each epoch shows every case once, in an order of its own."""
        return cases[shuffled(self.settings.seed, index, len(cases))]

    def whole_images(self, shape, per_step=None):
        """Samples `volume` `(*shape, 1)` float32: prepared training images as a whole."""

        def read(index):
            case = self.drawn(self.training_cases, index)
            return {"volume": np.asarray(self.training_array(case, index), np.float32)[..., None]}

        return Samples(read, {"volume": ((*shape, 1), "float32")}, per_step or self.settings.train.batch_size)

    def training_array(self, case, index):
        """The array of a case as the sample of an index shows it; a subclass may augment it."""
        return self.real(case).array


def sized_picture(case, found, size):
    """The picture `(y, x, channel)` of a prepared case `(1, y, x, channel)`.

    Raises:
        DataError: it has another size, or several slices.
    """
    have, want = " x ".join(map(str, found.shape[:3])), " x ".join(map(str, (1, *size)))
    if have != want:
        raise DataError(
            f"{case.id}: has {have} pixels where model.size asks for {want}; set model.size, or add {{step: "
            f"resample, shape: [1, {size[0]}, {size[1]}]}} to data.preprocess"
        )
    return found[0]


def unit_window(window_hu):
    """HU -> [-1, 1], which generators give by tanh."""
    return Window(window_hu=window_hu, range=(-1.0, 1.0))
