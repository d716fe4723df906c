"""From pictures on disk to files of boxes, whoever computes them."""

import functools
import pathlib

import numpy as np
from PIL import Image

from tfmed.data import preprocess
from tfmed.data.objects import between_images, inward, within
from tfmed.data.readers import read_address
from tfmed.errors import DataError
from tfmed.files import atomic_path, safe_name
from tfmed.io import file_of
from tfmed.io.objects import Objects, write_boxes_csv, write_coco, write_voc
from tfmed.pictures.objects import BoxedImage, BoxedImages
from tfmed.pictures.style import save
from tfmed.tasks.point_finder import shown
from tfmed.tasks.prediction import check_grids, inputs, names_in_tables, refuse_overwriting

OUTPUTS = ("boxes", "picture", "voc", "crops")
USUAL = ("boxes", "picture")


class BoxFinder:
    """Finds objects in images, whoever computes the boxes: a trained detector or a SavedModel.

    Args:
        modalities: names of the images, in the order of the network's channels.
        steps: preprocessing of a case's images.
        classes: their names.
        compute: function of float32 `(1, y, x, channel)` in [0, 255] -> {"boxes", "classes", "scores", "count"} as of
            `tfmed.ops.boxes.suppressed`, arrays.
        usual: outputs where none are asked for.
    """

    outputs = OUTPUTS

    def __init__(self, modalities, steps, classes, compute, usual=USUAL):
        self.modalities, self.steps, self.classes = tuple(modalities), tuple(steps), tuple(classes)
        self.compute, self.usual = compute, usual

    def __call__(self, images):
        """The `Objects` with scores in a list of Volumes, in pixels of these."""
        if images[0].shape[0] != 1:
            raise DataError(f"it has {images[0].shape[0]} slices, and objects are looked for in one; give a picture")
        prepared, _ = preprocess.run_together(self.steps, images)
        stack = np.concatenate([v.array if v.array.ndim == 4 else v.array[..., None] for v in prepared], -1)
        found = self.objects(self.compute(np.rint(stack).astype(np.float32)))
        boxes = between_images(found.boxes, prepared[0].affine, images[0].affine)
        boxes, kept = within(boxes, images[0].shape[:0:-1])
        names = tuple(name for name, one in zip(found.names, kept, strict=True) if one)
        return Objects(boxes[kept], names, found.scores[kept])

    def objects(self, found):
        """The first image's `Objects` of what `compute` gives."""
        count = int(found["count"][0])
        names = tuple(self.classes[k] for k in found["classes"][0][:count])
        boxes, scores = (np.asarray(found[name][0][:count], np.float64) for name in ("boxes", "scores"))
        return Objects(boxes, names, scores)

    def predict(self, words, out, outputs=None):
        """Find objects in each input; write `boxes.json` (COCO) and `boxes.csv` of all, `<name>_boxes.png` (the image
        with its boxes), and where that is asked for `<name>.xml` (Pascal VOC, without scores) and `crops`: the objects
        cut out, `<name>_<number>_<class>.png`, the best one first, without a pixel beyond their boxes.

        Raises:
            UserError: an input is wrong, or would be overwritten.
            DataError: it is damaged, or cannot be preprocessed.
        """
        outputs, cases, out = outputs or self.usual, inputs(words, self.modalities), pathlib.Path(out)
        endings = {"picture": "_boxes.png", "voc": ".xml"}
        targets = [out / f"{name}{endings[kind]}" for name, _ in cases for kind in outputs if kind in endings]
        given = [path for _, paths in cases for path in paths.values()]
        refuse_overwriting(given, targets)
        return self._predicted(cases, out, outputs, endings, given)

    def _predicted(self, cases, out, outputs, endings, given):
        table, file_names = {}, names_in_tables(cases, self.modalities[0])
        for name, paths in cases:
            addresses = [paths[modality] for modality in self.modalities]
            images = [read_address(address) for address in addresses]
            check_grids(images, addresses)
            try:
                found = self(images)
            except DataError as error:  # of a preprocessing step, which does not know the file
                raise DataError(f"{addresses[0]}: {error}") from None
            file, size = pathlib.Path(file_of(addresses[0])), images[0].shape[:0:-1]
            table[file_names[name]] = size, found
            write = {
                "picture": functools.partial(_write_picture, images=images, found=found, title=name),
                "voc": functools.partial(write_voc, objects=found, size=size, image=file.name),
            }
            for kind in (kind for kind in outputs if kind in endings):
                path = out / f"{name}{endings[kind]}"
                write[kind](path)
                yield path
            if "crops" in outputs:
                for path, crop in _crops(out, name, images, found):
                    refuse_overwriting(given, [path])
                    with atomic_path(path) as temporary:
                        Image.fromarray(crop).save(temporary, format="PNG")
                    yield path
        if "boxes" in outputs:
            write_coco(out / "boxes.json", table, self.classes)
            yield out / "boxes.json"
            write_boxes_csv(out / "boxes.csv", {name: found for name, (_, found) in table.items()})
            yield out / "boxes.csv"


def _crops(out, name, images, found):
    """(file, uint8 `(y, x, 3)`) of each object that covers a pixel, the best one first."""
    picture = np.stack([np.clip(np.rint(image.array[0]), 0, 255).astype(np.uint8) for image in images], -1)
    picture = picture if picture.shape[-1] == 3 else np.repeat(picture[..., :1], 3, -1)
    for number, (box, kind) in enumerate(zip(inward(found.boxes), found.names, strict=True), 1):
        x0, y0, x1, y1 = box
        if x1 > x0 and y1 > y0:
            yield out / f"{name}_{number:02d}_{safe_name(kind)}.png", picture[y0:y1, x0:x1]


def _write_picture(path, images, found, title):
    picture = BoxedImages((BoxedImage(title, shown([image.array for image in images]), found),))
    with atomic_path(path) as temporary:
        save(picture, temporary)
