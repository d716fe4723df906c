"""`tfmed predict` of image translation: volumes of another modality, on the grids of the inputs."""

import pathlib

import numpy as np

from tfmed.data import preprocess
from tfmed.data.readers import read_address
from tfmed.errors import DataError, UserError
from tfmed.io import file_of, write_volume
from tfmed.tasks import prediction


def predict(translate, modality, kinds, words, out):
    """Translate the inputs and write `<name>_<kind>.nii.gz`, one path at a time.

    Args:
        translate: function of a Volume -> {kind: Volume on its grid}.
        modality: name of the input image, as a word may give it (`mr=FILE`).
        kinds: which of its results to write.
        words: of the command; see `prediction.inputs`.
        out: folder.

    Raises:
        UserError: an input is not there, or would be overwritten: at once; that it is damaged: when its turn has come.
        DataError: likewise, it has channels, values that are not finite, or cannot be preprocessed.
    """
    found = [(paths[modality], {kind: pathlib.Path(out) / f"{name}_{kind}.nii.gz" for kind in kinds})
             for name, paths in prediction.inputs(words, (modality,))]  # fmt: skip
    results = {path.resolve() for _, targets in found for path in targets.values()}
    for path, _ in found:
        if pathlib.Path(file_of(path)).resolve() in results:
            raise UserError(f"{path}: is an input that a result would overwrite; choose another --out")
    return _predicted(translate, found)


def _predicted(translate, found):
    for path, targets in found:
        image = read_address(path)
        prediction.check_grids([image], [path])
        try:
            made = translate(image)
        except DataError as error:  # of a preprocessing step, which does not know the file
            raise DataError(f"{path}: {error}") from None
        for kind, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            write_volume(made[kind], target)
            yield target


def on_grid(volume, image, fill=0.0):
    """A volume on the grid of an image; `fill` where it does not reach."""
    if volume.shape == image.shape and np.allclose(volume.affine, image.affine, atol=1e-6):
        return volume
    moved = preprocess.onto_grid(volume.replace(array=volume.array - np.float32(fill)), image.shape, image.affine)
    return moved.replace(array=moved.array + np.float32(fill))


def whole_hu(volume):
    """A Volume of HU as int16, rounded."""
    return volume.replace(array=np.rint(volume.array).astype(np.int16))
