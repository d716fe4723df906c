"""From images on disk to instance maps, whoever computes the two maps of which they are made."""

import pathlib

import numpy as np

from tfmed.data import preprocess
from tfmed.data.census import is_picture
from tfmed.data.readers import read_address
from tfmed.errors import DataError
from tfmed.io import write_volume
from tfmed.io.stack import write_picture
from tfmed.tasks.prediction import check_grids, inputs, refuse_overwriting

OUTPUTS = ("labels", "centroids", "regions")  # instance maps, and the maps of probabilities
_MOST = 2**16 - 1  # objects that a file of 16 bits can number


class Finder:
    """Finds objects in images: preprocessing, maps, instances.

    Args:
        modality: name of the image.
        steps: preprocessing of an image, which moves no pixel.
        maps: function of a prepared image `(y, x)` float32 -> `(y, x, 2)`.
        instances_of: function of these -> instance map `(y, x)`.
    """

    outputs = OUTPUTS

    def __init__(self, modality, steps, maps, instances_of):
        self.modality, self.steps, self.maps, self.instances_of = modality, tuple(steps), maps, instances_of

    def __call__(self, image):
        """{output: array `(y, x)`} of a Volume of one slice; labels are uint16, the maps float32.

        Raises:
            DataError: it has several slices, or cannot be preprocessed, or shows too many objects.
        """
        if image.shape[0] != 1:
            raise DataError(f"has {image.shape[0]} slices; objects are found in single images, give one each")
        prepared, _ = preprocess.run_together(self.steps, [image])
        array = prepared[0].array
        maps = self.maps(preprocess.as_float32(array if array.ndim == 4 else array[..., None])[0, ..., 0])
        labels = self.instances_of(maps)
        if labels.max(initial=0) > _MOST:
            raise DataError(f"shows {labels.max()} objects, more than {_MOST} that a file can number; cut the image")
        return {"labels": labels.astype(np.uint16), "centroids": maps[..., 0], "regions": maps[..., 1]}

    def predict(self, words, out, outputs=None):
        """Write `<name>_labels.png` of pictures, `<name>_labels.nii.gz` of volumes of one slice: 16 bits, 0 background.

        `_centroids` and `_regions` where they are asked for; one path at a time.

        Raises:
            UserError: an input is wrong, or would be overwritten: at once; that it is damaged: when its turn has come.
            DataError: likewise, it is no single image.
        """
        cases = [(name, paths[self.modality]) for name, paths in inputs(words, (self.modality,))]
        outputs = outputs or OUTPUTS[:1]
        targets = [target(out, name, kind, path) for name, path in cases for kind in outputs]
        refuse_overwriting((path for _, path in cases), targets)
        return self._predicted(cases, out, outputs)

    def _predicted(self, cases, out, outputs):
        for name, path in cases:
            image = read_address(path)
            check_grids([image], [path])
            try:
                found = self(image)
            except DataError as error:  # of one that does not know the file
                raise DataError(f"{path}: {error}") from None
            for kind in outputs:
                file = target(out, name, kind, path)
                if file.suffix == ".png":
                    write_picture(found[kind], file)
                else:
                    write_volume(image.replace(array=found[kind][None]), file)
                yield file


def target(out, name, kind, path):
    """The file of an output; labels of a picture are a picture, what has fractions is none."""
    return pathlib.Path(out) / f"{name}_{kind}.{'png' if kind == 'labels' and is_picture(path) else 'nii.gz'}"
