"""`tfmed predict`: whole volumes translated slice by slice, on their own grid."""

import pathlib

import numpy as np

from tfmed.data import preprocess
from tfmed.data.cache import read_address
from tfmed.engine import segmenting
from tfmed.errors import DataError, UserError
from tfmed.io import file_of, write_volume


def predict(method, words, out):
    """Write `<name>_ct.nii.gz` (int16 HU) or `<name>_mr.nii.gz` (float32) per input; gives the paths, one at a time.

    Raises:
        UserError: an input is not there, or would be overwritten: at once; that it is damaged: when its turn has come.
        DataError: likewise, it has channels, values that are not finite, or cannot be preprocessed.
    """
    source, target = method.config.source, method.config.target
    found = [(paths[source], pathlib.Path(out) / f"{name}_{target}.nii.gz")
             for name, paths in segmenting.inputs(words, (source,))]  # fmt: skip
    for path, _ in found:
        if pathlib.Path(file_of(path)).resolve() in {result.resolve() for _, result in found}:
            raise UserError(f"{path}: is an input that a result would overwrite; choose another --out")
    return _predicted(method, found)


def _predicted(method, found):
    for path, result in found:
        image = read_address(path)
        segmenting.check_grids([image], [path])
        try:
            translation = translated(method, image)
        except DataError as error:  # of a preprocessing step, which does not know the file
            raise DataError(f"{path}: {error}") from None
        result.parent.mkdir(parents=True, exist_ok=True)
        write_volume(translation, result)
        yield result


def translated(method, image):
    """The translation of a Volume on its own grid: int16 HU, or float32 on the scale of the training MRs."""
    steps = method.preprocessing()
    if method.config.source == "mr":
        steps = (*steps[:-1], method.mr_scale)
    prepared = preprocess.run(steps, image)
    made = method.translate(prepared)
    if method.config.target == "mr":
        values = (made + 1) * np.float32(method.mr_white() / 2)
        return _on_grid(prepared.replace(array=values), image, 0.0)
    hu = _on_grid(prepared.replace(array=method.window.invert(made)), image, method.config.window_hu[0])
    return hu.replace(array=np.rint(hu.array).astype(np.int16))


def _on_grid(volume, image, fill):
    """A volume on the grid of an image; `fill` where it does not reach."""
    if volume.shape == image.shape and np.allclose(volume.affine, image.affine, atol=1e-6):
        return volume
    moved = preprocess.onto_grid(volume.replace(array=volume.array - np.float32(fill)), image.shape, image.affine)
    return moved.replace(array=moved.array + np.float32(fill))
