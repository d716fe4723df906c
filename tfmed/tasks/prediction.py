"""From scans on disk to label maps, probabilities and entropy on the scans' own grid, whoever computes them."""

import collections
import dataclasses
import os
import pathlib

import numpy as np

from tfmed.data import preprocess
from tfmed.data.census import is_picture
from tfmed.data.checks import beyond_float32
from tfmed.data.labels import only_largest
from tfmed.data.readers import read_address
from tfmed.data.trained_on import facts
from tfmed.engine.terminal import log
from tfmed.errors import DataError, UserError
from tfmed.files import write_text
from tfmed.io import Volume, file_of, write_volume
from tfmed.io.addresses import COLOURS, GREY
from tfmed.io.dicom_seg import check_source, write_segmentation
from tfmed.io.geometry import difference_of_grids, same_grid
from tfmed.io.label_tables import write_itksnap_labels, write_slicer_table
from tfmed.io.stack import write_picture
from tfmed.metrics.uncertainty import predictive_entropy

OUTPUTS = ("labels", "probabilities", "entropy")
TABLES = ("label_names.ctbl", "label_names.txt")  # names and colours of label maps, for 3D Slicer and for ITK-SNAP
FURTHER_TABLES = ("detections",)  # outputs of some segmenters that are tables
FURTHER_PICTURES = ("reconstruction", "removed", "difference")  # outputs of some segmenters that are pictures in colour
DICOM_SEG = "dicom-seg"  # the labels as a DICOM Segmentation of the series that they lie on


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """What a network says of a case, on the grid of its first image.

    Args:
        labels: Volume, class numbers uint8 `(z, y, x)`.
        probabilities: Volume float32 `(z, y, x, classes)`.
    """

    labels: Volume
    probabilities: Volume

    @property
    def entropy(self):
        """Predictive entropy in bits, a Volume float32 `(z, y, x)`."""
        entropy = predictive_entropy(self.probabilities.array, base=2)
        return self.labels.replace(array=entropy.astype(np.float32))


class Segmenter:
    """Segments cases: preprocessing, network, and back to the grid of the input.

    Args:
        modalities: names of the images, in the order of the network's channels.
        label_values: the number of each class in files.
        steps: preprocessing of a case's images.
        probabilities: function of float32 `(z, y, x, channel)` -> float32 `(z, y, x, class)`.
        single: numbers of classes of which the largest connected component alone stays in label maps.
        names: {number in files: name of the class}, of those that have a name.
        trained_on: what the training images were like: of others a word is said. None: not known.
        threshold: of two classes: the probability from which a voxel is of the second; None: the more probable one is.
    """

    outputs: tuple[str, ...] = OUTPUTS
    usual: tuple[str, ...] = ("labels",)  # what is written where nothing is asked for

    def __init__(
        self, modalities, label_values, steps, probabilities, single=(), names=None, trained_on=None, threshold=None
    ):
        self.single, self.names, self.trained_on = tuple(single), dict(names or {}), trained_on
        self.threshold = threshold
        self.modalities, self.label_values, self.steps = tuple(modalities), tuple(label_values), tuple(steps)
        self.probabilities = probabilities

    def __call__(self, images):
        """The Segmentation of a list of Volumes, one per modality, on one grid."""
        prepared, stack = self.prepared(images)
        found = prepared.replace(array=self.on_grid(stack, prepared.affine))
        found = back(found, images[0])
        return self.segmentation(found)

    def segmentation(self, found):
        """The Segmentation of a Volume of probabilities `(z, y, x, class)`."""
        return Segmentation(
            found.replace(array=only_largest(classes_of(found.array, self.threshold), self.single)), found
        )

    def on_grid(self, stack, affine):
        """Probabilities of a prepared image whose voxels lie as `affine` says."""
        return self.probabilities(stack)

    def predict(self, words, out, outputs=None):
        """Segment inputs and write `<name>_labels.nii.gz`, one path at a time; `_probabilities` and `_entropy` (bits)
        where they are asked for.

        Labels of a picture are a picture, `<name>_labels.png`. Of the output DICOM_SEG `<name>_labels.dcm`; the first
        image then is a DICOM series. Beside label maps whose classes have names lie these and their colours, as files
        for 3D Slicer and for ITK-SNAP.

        Raises:
            UserError: an input is wrong, or would be overwritten: at once; that it is damaged: when its turn has come.
            DataError: likewise, its images do not lie on one grid, or cannot be preprocessed.
        """
        outputs = outputs or self.usual
        cases = inputs(words, self.modalities)
        targets = [_target(out, name, kind, paths) for name, paths in cases for kind in outputs]
        refuse_overwriting((path for _, paths in cases for path in paths.values()), targets)
        if DICOM_SEG in outputs:
            for _, paths in cases:
                check_source(paths[self.modalities[0]])
        return self._predicted(cases, out, outputs)

    def _predicted(self, cases, out, outputs):
        values = np.asarray(self.label_values)
        values = values.astype(np.min_scalar_type(values.max() if values.min() >= 0 else -abs(values).max()))
        for name, paths in cases:
            images = [read_address(paths[modality]) for modality in self.modalities]
            check_grids(images, [paths[modality] for modality in self.modalities])
            self._tell_other_kind(images, [paths[modality] for modality in self.modalities])
            try:
                found = self(images)
            except DataError as error:  # of a preprocessing step, which does not know the file
                raise DataError(f"{paths[self.modalities[0]]}: {error}") from None
            volumes = {
                "labels": lambda found=found: found.labels.replace(array=values[found.labels.array]),
                "probabilities": lambda found=found: found.probabilities,
                "entropy": lambda found=found: found.entropy,
            }
            for kind in outputs:
                path = _target(out, name, kind, paths)
                if kind in FURTHER_TABLES:
                    write_text(path, self.table(kind, found))
                elif kind in FURTHER_PICTURES:
                    write_picture(self.picture(kind, images), path)
                elif path.suffix == ".png":
                    write_picture(volumes[kind]().array[0], path)
                elif kind == DICOM_SEG:
                    write_segmentation(volumes["labels"](), paths[self.modalities[0]], path, values[values != 0])
                else:
                    write_volume(volumes[kind](), path)
                yield path
        if self.names and "labels" in outputs:
            for name, write in zip(TABLES, (write_slicer_table, write_itksnap_labels), strict=True):
                write(self.names, pathlib.Path(out) / name)
                yield pathlib.Path(out) / name

    def table(self, kind, found):
        """The text of a table of `FURTHER_TABLES` of a Segmentation; a subclass with such outputs gives it."""
        raise NotImplementedError(kind)

    def picture(self, kind, images):
        """A picture `(y, x, 3)` uint8 of `FURTHER_PICTURES` of input Volumes; a subclass with such outputs gives it."""
        raise NotImplementedError(kind)

    def _tell_other_kind(self, images, paths):
        """Warn of images that are unlike those that the model was trained on."""
        if self.trained_on is None:
            return
        found = facts(dict(zip(self.modalities, images, strict=True)), all(map(is_picture, paths)))
        for name, path in zip(self.modalities, paths, strict=True):
            for text in self.trained_on.unlike(name, found):
                log.warning("%s: %s; do not trust what the model says of it", path, text)

    def prepared(self, images):
        """(first image, all images as channels float32) after preprocessing."""
        prepared, _ = preprocess.run_together(self.steps, images)
        arrays = [v.array if v.array.ndim == 4 else v.array[..., None] for v in prepared]
        return prepared[0], preprocess.as_float32(np.concatenate(arrays, -1))


class Ensemble(Segmenter):
    """Segments with the mean of several segmenters' probabilities, each with its own preprocessing.

    Args:
        members: the Segmenters, of the same images and classes. A class has its largest connected component alone
            where most of them have it so.

    Raises:
        UserError: they differ in images or classes.
    """

    def __init__(self, members):
        first = members[0]
        for number, member in enumerate(members[1:], 2):
            for name in ("modalities", "label_values"):
                ours, theirs = getattr(first, name), getattr(member, name)
                if ours != theirs:
                    raise UserError(
                        f"model {number}: its {name} are {list(theirs)}, those of the first {list(ours)}; average "
                        "models of the same images and classes"
                    )
        numbers = range(1, len(first.label_values))
        single = [k for k in numbers if 2 * sum(k in member.single for member in members) > len(members)]
        thresholds = [member.threshold for member in members if member.threshold is not None]
        threshold = float(np.mean(thresholds)) if thresholds else None
        named = (single, first.names, first.trained_on, threshold)
        super().__init__(first.modalities, first.label_values, (), None, *named)
        self.members = members

    def __call__(self, images):
        """The Segmentation of a list of Volumes, one per modality, on one grid."""
        total = np.zeros((*images[0].shape, len(self.label_values)), np.float32)
        for member in self.members:
            total += member(images).probabilities.array
        total /= len(self.members)
        return self.segmentation(Volume(total, images[0].affine))


def back(probabilities, image):
    """Probabilities on the grid of an image; class 0 where they do not reach.

    Args:
        probabilities: Volume `(z, y, x, class)`.
        image: Volume.
    """
    if probabilities.shape == image.shape and np.allclose(probabilities.affine, image.affine, atol=1e-6):
        return probabilities
    foreground = probabilities.replace(array=np.ascontiguousarray(probabilities.array[..., 1:]))
    foreground = preprocess.onto_grid(foreground, image.shape, image.affine)
    whole = np.empty((*image.shape, probabilities.array.shape[-1]), np.float32)
    whole[..., 1:] = foreground.array.reshape(whole[..., 1:].shape)
    np.subtract(1.0, whole[..., 1:].sum(axis=-1), out=whole[..., 0])
    np.maximum(whole[..., 0], 0.0, out=whole[..., 0])  # rounding
    return Volume(whole, image.affine)


def classes_of(probabilities, threshold=None):
    """Class numbers uint8 `(z, y, x)` of probabilities `(z, y, x, class)`, a plane at a time; see `Segmenter`."""
    if threshold is not None:
        return (probabilities[..., 1] >= threshold).astype(np.uint8)
    labels = np.empty(probabilities.shape[:-1], np.uint8)
    for into, plane in zip(labels, probabilities, strict=True):
        into[...] = plane.argmax(-1)
    return labels


# --- inputs and outputs of `tfmed predict` ----------------------------------------------------------------------------


def refuse_overwriting(paths, targets):
    """UserError where the file of an input, which may be a part of one, is among the files that are to be written."""
    written = {pathlib.Path(target).resolve() for target in targets}
    for path in paths:
        if pathlib.Path(file_of(path)).resolve() in written:
            raise UserError(f"{path}: is an input that a result would overwrite; choose another --out")


def names_in_tables(cases, modality):
    """{name of an input: how a table of all inputs calls it}: the name of its file; where files of several folders
    share one, its own name and the file's ending.

    Args:
        cases: as `inputs` gives them.
        modality: whose file is meant.
    """
    files = {name: pathlib.Path(file_of(paths[modality])) for name, paths in cases}
    often = collections.Counter(file.name for file in files.values())
    return {name: file.name if often[file.name] == 1 else f"{name}{file.suffix}" for name, file in files.items()}


def inputs(words, modalities):
    """[(name, {modality: path})] of the command's words.

    A word is a volume (networks of one modality), a picture (likewise, or of its three colours), a folder with one file
    per modality whose name ends in it (`x_flair.nii.gz`, `FLAIR.nii.gz`), or `t1=FILE,flair=FILE`. An input is called
    as its file; where two would have one name, the names of their folders are put before it (`p1/FLAIR.nii.gz` becomes
    `p1_FLAIR`).

    Raises:
        UserError: a word is none of these, or two are one.
    """
    found = [_input(word, modalities) for word in words]
    names = told_apart([name for name, _ in found], [paths[modalities[0]] for _, paths in found])
    return [(name, paths) for name, (_, paths) in zip(names, found, strict=True)]


def told_apart(names, paths):
    """The names, with as many names of folders before those that stand there twice as tell them apart.

    Raises:
        UserError: two are one.
    """
    folders = [pathlib.Path(os.path.abspath(file_of(path))).parts[:-1] for path in paths]
    folders = [folder[:-1] if folder[-1:] == (name,) else folder for name, folder in zip(names, folders, strict=True)]
    for depth in range(max(map(len, folders), default=0) + 1):
        longer = [name if names.count(name) == 1 else "_".join([*folder[len(folder) - depth :], name]).strip("/")
                  for name, folder in zip(names, folders, strict=True)]  # fmt: skip
        if len(set(longer)) == len(longer):
            return longer
    twice = next(name for name in names if names.count(name) > 1)
    raise UserError(f"{twice}: two inputs have this name; predict them into folders of their own")


def _input(word, modalities):
    pairs = [pair.partition("=") for pair in word.split(",")]
    if all(key in modalities and equals for key, equals, _ in pairs):
        images = {key: path for key, _, path in pairs}
        if len(images) < len(pairs):
            raise UserError(f"{word}: names an image twice; give {_wanted(modalities)}")
        missing = [name for name in modalities if name not in images]
        if missing:
            raise UserError(f"{word}: has no {missing[0]!r} image; this network needs {', '.join(modalities)}")
        return _stem(images[modalities[0]], modalities), images
    path = pathlib.Path(os.path.abspath(word))
    if not os.path.exists(file_of(word)):
        raise UserError(f"{word}: no such file; give {_wanted(modalities)}")
    if is_picture(word) and file_of(word) == word and (len(modalities) == 1 or set(modalities) == set(COLOURS)):
        channels = (GREY,) if len(modalities) == 1 else modalities
        return path.stem, {name: f"{word}::{channel}" for name, channel in zip(modalities, channels, strict=True)}
    if len(modalities) == 1:
        return _stem(word, modalities), {modalities[0]: word}
    if not path.is_dir():
        raise UserError(f"{word}: is one image where {len(modalities)} are needed; give {_wanted(modalities)}")
    images = {}
    for name in modalities:
        end = f"_{name}".lower()
        matches = [p for p in sorted(path.iterdir()) if f"_{_plain(p.name)}".lower().endswith(end) and p.name[0] != "."]
        if len(matches) != 1:
            raise UserError(f"{word}: has {len(matches)} files for {name!r}; give {_wanted(modalities)}")
        images[name] = str(matches[0])
    return path.name, images


def _wanted(modalities):
    if len(modalities) == 1:
        return "a volume, or a folder with a DICOM series"
    return f"{','.join(f'{name}=FILE' for name in modalities)}, or a folder with files that end so"


def _plain(name):
    for suffix in (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".dcm"):
        name = name[: -len(suffix)] if name.lower().endswith(suffix) else name
    return name


def _stem(path, modalities):
    path = pathlib.Path(os.path.abspath(file_of(path)))
    name = _plain(path.name)
    return name.removesuffix(f"_{modalities[0]}") if len(modalities) > 1 else name


def _target(out, name, kind, paths):
    """The file of an output of a case; labels of a picture are a picture, what has fractions is none."""
    if kind == DICOM_SEG:
        return pathlib.Path(out) / f"{name}_labels.dcm"
    if kind in FURTHER_TABLES:
        return pathlib.Path(out) / f"{name}_{kind}.csv"
    if kind in FURTHER_PICTURES:
        return pathlib.Path(out) / f"{name}_{kind}.png"
    pictured = kind == "labels" and all(is_picture(path) for path in paths.values())
    return pathlib.Path(out) / f"{name}_{kind}.{'png' if pictured else 'nii.gz'}"


def check_grids(images, paths):
    """Raise a DataError unless all images are finite, have one channel, and lie on one grid."""
    for image, path in zip(images, paths, strict=True):
        if image.array.ndim == 4:
            raise DataError(f"{path}: has {image.array.shape[3]} channels where one is needed; split it into files")
        if beyond_float32(image.array):
            raise DataError(f"{path}: some voxels are NaN or infinite, or beyond float32; replace them first")
        if not same_grid(images[0], image):
            raise DataError(
                f"{path}: {difference_of_grids(image, images[0])} {paths[0]}; resample it to that image's grid"
            )
