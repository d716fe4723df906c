"""What methods of image translation share: volumes of another modality, on the grids of the inputs."""

import dataclasses
import pathlib

import numpy as np

from tfmed.data import preprocess
from tfmed.data.readers import read_address
from tfmed.engine.abilities import CanEvaluate, CanExport, CanPredict, CanPreview, CanView
from tfmed.engine.method import Method
from tfmed.errors import DataError
from tfmed.io import write_volume
from tfmed.tasks import prediction, views


@dataclasses.dataclass(frozen=True)
class Output:
    """How one result of a translation is written.

    Args:
        outside: its value where it does not reach on the input's grid.
        hounsfield: int16 HU; otherwise float32.
    """

    outside: float = 0.0
    hounsfield: bool = True


class VolumeTranslator:
    """Translates Volumes of one modality, whoever computes: a trained model or a SavedModel.

    Args:
        modality: of the inputs, as a word of the command may give it (`mr=FILE`).
        steps: preprocessing before `compute`.
        outputs: {name: Output}.
        compute: float32 array `(z, y, x)` -> {name: array in its own values}.
        usual: names that are written when none are asked for; default all.
    """

    def __init__(self, modality, steps, outputs, compute, usual=None):
        self.modality, self.steps, self.compute = modality, tuple(steps), compute
        self.kinds, self.outputs, self.usual = outputs, tuple(outputs), usual or tuple(outputs)

    def __call__(self, image):
        """{name: Volume on the grid of an input Volume}.

        Raises:
            DataError: the image is constant, or cannot be preprocessed.
        """
        if image.array.min() == image.array.max():
            what = self.modality.upper()
            raise DataError(f"every voxel is {image.array.flat[0]:g}; the image is empty, give {article(what)} {what}")
        prepared = preprocess.run(self.steps, image)
        found = {}
        for name, values in self.compute(preprocess.as_float32(prepared.array)).items():
            kind = self.kinds[name]
            made = on_grid(prepared.replace(array=np.asarray(values, np.float32)), image, kind.outside)
            found[name] = whole_hu(made) if kind.hounsfield else made
        return found

    def predict(self, words, out, outputs=None):
        """Translate the inputs and write `<name>_<output>.nii.gz`, one path at a time.

        Raises:
            UserError: an input is not there, or would be overwritten: at once; that it is damaged: when its turn comes.
            DataError: likewise, it has channels, values that are not finite, or cannot be preprocessed.
        """
        kinds = outputs or self.usual
        found = [(paths[self.modality], {kind: pathlib.Path(out) / f"{name}_{kind}.nii.gz" for kind in kinds})
                 for name, paths in prediction.inputs(words, (self.modality,))]  # fmt: skip
        prediction.refuse_overwriting(
            (path for path, _ in found), (path for _, targets in found for path in targets.values())
        )
        return self._predicted(found)

    def _predicted(self, found):
        for path, targets in found:
            image = read_address(path)
            prediction.check_grids([image], [path])
            try:
                made = self(image)
            except DataError as error:  # of a preprocessing step, which does not know the file
                raise DataError(f"{path}: {error}") from None
            for kind, target in targets.items():
                target.parent.mkdir(parents=True, exist_ok=True)
                write_volume(made[kind], target)
                yield target

    def note(self, signatures, inside=0):
        """What stands beside a SavedModel of it, see `tfmed.tasks.exported`.

        Args:
            signatures: {output: signature that gives it}; the value in its answer has the output's name.
            inside: how many of the last steps the graph does itself.
        """
        steps = self.steps[: len(self.steps) - inside]
        return {
            "task": "translation",
            "modality": self.modality,
            "steps": [step.model_dump(mode="json") for step in steps],
            "outputs": {name: dataclasses.asdict(kind) for name, kind in self.kinds.items()},
            "signatures": signatures,
            "usual": list(self.usual),
        }


class TranslationMethod(Method, CanPredict, CanPreview, CanView, CanEvaluate, CanExport):
    """Base of methods that translate between modalities; a subclass says how, by `translator`."""

    def translator(self):
        """The `VolumeTranslator` of the trained model."""
        raise NotImplementedError

    def predict(self, words, out, outputs=None):
        """Write `<name>_<output>.nii.gz` of each input, one path at a time; see `VolumeTranslator.predict`."""
        return self.translator().predict(words, out, outputs)

    @property
    def direction(self):
        """(name of the images that are translated, name of the real ones on their grids)."""
        return "mr", "ct"

    def views(self, methods, part="test"):
        """Source, target, translations and differences of each pair; see `tasks.views`."""
        return views.translated(methods, part, *self.direction)


def article(word):
    """The indefinite article of an abbreviation."""
    return "an" if word[0] in "AEFHILMNORSX" else "a"


def on_grid(volume, image, fill=0.0):
    """A volume on the grid of an image; `fill` where it does not reach."""
    if volume.shape == image.shape and np.allclose(volume.affine, image.affine, atol=1e-6):
        return volume
    moved = preprocess.onto_grid(volume.replace(array=volume.array - np.float32(fill)), image.shape, image.affine)
    return moved.replace(array=moved.array + np.float32(fill))


def whole_hu(volume):
    """A Volume of HU as int16, rounded."""
    return volume.replace(array=np.rint(volume.array).astype(np.int16))
