"""From pictures on disk to files of points, whoever computes the heatmaps."""

import functools
import pathlib
from typing import ClassVar

import numpy as np

from tfmed.data import preprocess
from tfmed.data.points import along_affine, between_grids
from tfmed.data.readers import read_address
from tfmed.errors import DataError
from tfmed.files import atomic_path
from tfmed.io import file_of
from tfmed.io.points import write_markups, write_points_csv, write_points_json
from tfmed.io.stack import write_picture
from tfmed.pictures.points import PointedImage, PointedImages
from tfmed.pictures.style import save
from tfmed.tasks.prediction import check_grids, inputs, names_in_tables, refuse_overwriting

OUTPUTS = ("points", "picture", "heatmap")
_USUAL = ("points", "picture")


class PointFinder:
    """Finds points in images, whoever computes the heatmap: a trained network or a SavedModel.

    Args:
        modalities: names of the images, in the order of the network's channels.
        steps: preprocessing of a case's images.
        decoding: a `PointDecoding`.
        heatmap: function of float32 `(1, y, x, channel)` -> `(y, x)` in [0, 1].
    """

    outputs: tuple[str, ...] = OUTPUTS
    usual: tuple[str, ...] = _USUAL
    ends: ClassVar[dict[str, str]] = {"points": "points.json", "picture": "points.png", "heatmap": "heatmap.png"}
    table = "points.csv"

    def __init__(self, modalities, steps, decoding, heatmap):
        self.modalities, self.steps, self.decoding = tuple(modalities), tuple(steps), decoding
        self.heatmap = heatmap

    def __call__(self, images):
        """(points `(n, 2)` in pixels of the images, heatmap `(y, x)` of what the network saw) of a list of Volumes."""
        (points,), heatmap = self.decoded(images, [self.decoding])
        return points, heatmap

    def decoded(self, images, decodings):
        """As a call, with the points by each of several decodings: ([points], heatmap)."""
        stack, affines = self.prepared(images)
        heatmap = self.heatmap(stack)
        return [between_grids(decoding.points(heatmap), *affines) for decoding in decodings], heatmap

    def prepared(self, images):
        """(float32 `(1, y, x, channel)`, (its affine, that of the images)) of a list of Volumes.

        Raises:
            DataError: they have several slices, or a step cannot be done.
        """
        if images[0].shape[0] != 1:
            raise DataError(f"it has {images[0].shape[0]} slices, and points are looked for in one; give a picture")
        prepared, _ = preprocess.run_together(self.steps, images)
        stack = np.concatenate([v.array if v.array.ndim == 4 else v.array[..., None] for v in prepared], -1)
        return stack.astype(np.float32), (prepared[0].affine, images[0].affine)

    def predict(self, words, out, outputs=None):
        """Find points in each input, and write `<name>_points.json` (as AdaptOR takes submissions), `<name>_points.png`
        (the image with its points), `<name>_heatmap.png` (0 to 255) where it is asked for; and `points.csv` of all.

        Raises:
            UserError: an input is wrong, or would be overwritten.
            DataError: it is damaged, or cannot be preprocessed.
        """
        outputs, cases, out = outputs or self.usual, inputs(words, self.modalities), pathlib.Path(out)
        targets = [out / f"{name}_{self.ends[kind]}" for name, _ in cases for kind in outputs]
        refuse_overwriting((path for _, paths in cases for path in paths.values()), [*targets, out / self.table])
        return self._predicted(cases, out, outputs)

    def _predicted(self, cases, out, outputs):
        table, file_names = {}, names_in_tables(cases, self.modalities[0])
        for name, paths in cases:
            addresses = [paths[modality] for modality in self.modalities]
            images = [read_address(address) for address in addresses]
            check_grids(images, addresses)
            file = pathlib.Path(file_of(addresses[0]))
            try:
                table[file_names[name]], write = self.writers(images, file, name)
            except DataError as error:  # of a preprocessing step, which does not know the file
                raise DataError(f"{addresses[0]}: {error}") from None
            for kind in outputs:
                path = out / f"{name}_{self.ends[kind]}"
                write[kind](path)
                yield path
        write_points_csv(out / self.table, table)
        yield out / self.table

    def writers(self, images, file, title):
        """((names, points) of the table, {output: what writes it to a path}) of what is found in a list of Volumes."""
        points, heatmap = self(images)
        write = {
            "points": functools.partial(_write_json, points=points, image=images[0], file=file),
            "picture": functools.partial(write_pointed, points=points, images=images, title=title),
            "heatmap": lambda path: write_picture(np.rint(255 * heatmap).astype(np.uint8), path),
        }
        return ([""] * len(points), points), write


class LandmarkFinder(PointFinder):
    """Finds named landmarks in images, each once.

    Args:
        modalities, steps: as of a `PointFinder`.
        names: of the landmarks.
        places: function of float32 `(1, y, x, channel)` -> (x, y) of each in its pixels, `(landmarks, 2)`.
    """

    outputs = ("markups", "picture")
    usual = outputs
    ends: ClassVar[dict[str, str]] = {"markups": "landmarks.mrk.json", "picture": "landmarks.png"}
    table = "landmarks.csv"

    def __init__(self, modalities, steps, names, places):
        self.modalities, self.steps, self.names, self.places = tuple(modalities), tuple(steps), tuple(names), places

    def __call__(self, images):
        """The landmarks, float64 `(landmarks, 2)` in pixels of a list of Volumes."""
        stack, affines = self.prepared(images)
        return between_grids(np.asarray(self.places(stack), np.float64), *affines)

    def predict(self, words, out, outputs=None):
        """Find landmarks in each input, and write `<name>_landmarks.mrk.json` (for 3D Slicer), `<name>_landmarks.png`
        (the image with them); and `landmarks.csv` of all, in pixels.

        Raises:
            UserError, DataError: as of a `PointFinder`.
        """
        return super().predict(words, out, outputs)

    def writers(self, images, file, title):
        """See `PointFinder.writers`."""
        points = self(images)
        voxels = np.concatenate([points, np.zeros((len(points), 1))], 1)
        world = along_affine(voxels, images[0].affine)
        write = {
            "markups": functools.partial(write_markups, names=self.names, points=world),
            "picture": functools.partial(write_pointed, points=points, images=images, title=title),
        }
        return (self.names, points), write


def _write_json(path, points, image, file):
    """The names of AdaptOR's submissions: surgery, video and frame, of `<surgery>/<video>/images/<frame>`."""
    video = file.resolve().parent.parent
    write_points_json(path, points, image.shape[:0:-1], video.parent.name, video.name, file.name)


def write_pointed(path, points, images, title):
    """Write a picture of an image, a list of Volumes, and its points."""
    picture = PointedImages((PointedImage(title, shown([image.array for image in images]), points),))
    with atomic_path(path) as temporary:
        save(picture, temporary)


def shown(channels):
    """Channels, each `(1, y, x)`, as a picture `(y, x)` or `(y, x, 3)` in [0, 1]; what has other units is stretched."""
    stack = np.concatenate([np.asarray(one, np.float32).reshape(*one.shape[1:3], -1) for one in channels], -1)
    low, high = (0, 255) if stack.min() >= 0 and 1 < stack.max() <= 255 else (stack.min(), max(stack.max(), 1e-6))
    stack = np.clip((stack - low) / max(high - low, 1e-6), 0, 1)
    return stack if stack.shape[-1] == 3 else stack[..., 0]
