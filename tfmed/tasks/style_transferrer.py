"""Pictures, volumes and folders of them in the style of other pictures, whoever computes; labels are carried along."""

import functools
import pathlib
import shutil

import numpy as np

from tfmed.data import preprocess
from tfmed.data.census import is_picture
from tfmed.data.readers import read_address
from tfmed.errors import DataError, UserError
from tfmed.files import atomic_path, expanded
from tfmed.io import file_of, write_volume
from tfmed.io.stack import images_in, write_picture
from tfmed.tasks import prediction
from tfmed.tasks.translation import on_grid

_LABELS = ("_mask", "_label")  # what the name of a label beside a picture goes on with


class StyleTransferrer:
    """Shows Volumes in the style of others, or in drawn styles, whoever computes: a trained model or a SavedModel.

    A Volume of several slices is as many pictures.

    Args:
        modality: of the inputs, as a word of the command may give it.
        steps: preprocessing, the last of which is the window to [0, 1].
        size: pixels (y, x) after it.
        in_style: (contents, styles), float32 `(n, y, x, 1)` each in [0, 1] -> pictures `(n, y, x, 1)`.
        drawn: (contents, number of a style) -> likewise, all in one style; None where none are drawn.
    """

    outputs = ("transferred",)

    def __init__(self, modality, steps, size, in_style, drawn=None):
        self.modality, self.steps, self.size = modality, tuple(steps), tuple(size)
        self.in_style, self.drawn = in_style, drawn

    def prepared(self, image):
        """A Volume of one slice as networks take it."""
        if image.array.min() == image.array.max():
            raise DataError(f"every pixel is {image.array.flat[0]:g}; the picture is empty, give another")
        found = preprocess.run(self.steps, image)
        if found.shape != (1, *self.size):
            have, want = (" x ".join(map(str, shape)) for shape in (found.shape, (1, *self.size)))
            raise DataError(f"has {have} pixels where the model takes {want}; resample it to that size")
        return found

    def __call__(self, image, compute):
        """The Volume, in its own values and on its own grid, whose pictures are `compute` of its prepared ones."""
        found = []
        for plane in image.array:
            one = image.replace(array=plane[None])
            prepared = self.prepared(one)
            made = np.asarray(compute(preprocess.as_float32(prepared.array)[..., None]))[..., 0]
            values = np.asarray(self.steps[-1].invert(np.clip(made, 0, 1)), np.float32)
            found.append(on_grid(prepared.replace(array=values), one).array)
        return image.replace(array=np.concatenate(found).astype(np.float32))

    def predict(self, words, out, outputs=None):
        """Write `<name>_transferred.png` of pictures, `.nii.gz` of volumes, one path at a time.

        A word is a picture, a volume or a folder of pictures, shown in drawn styles, another for each; with a style it
        is `image=FILE_OR_FOLDER,style=FILE`. Labels that lie beside a picture (`<name>_mask.png`, `<name>_labels.png`)
        are copied as they are.

        Raises:
            UserError: an input is not there, or would be overwritten, or has no style: at once; that it is damaged:
                when its turn comes.
            DataError: likewise, it has channels, values that are not finite, or cannot be preprocessed.
        """
        pairs = [pair for word in words for pair in self._pairs(word)]
        if self.drawn is None and any(style is None for _, style in pairs):
            raise UserError("this model draws no styles; give image=FILE,style=FILE")
        named = prediction.inputs([path for path, _ in pairs], (self.modality,))
        work = [(name, paths[self.modality], style) for (name, paths), (_, style) in zip(named, pairs, strict=True)]
        out = pathlib.Path(out)
        targets = {
            name: out / f"{name}_transferred.{'png' if is_picture(path) else 'nii.gz'}" for name, path, _ in work
        }
        labels = {name: [(one, out / f"{name}_transferred{rest}") for one, rest in _labels_of(path)]
                  for name, path, _ in work}  # fmt: skip
        read = [path for _, *paths in work for path in paths if path] + [a for row in labels.values() for a, _ in row]
        prediction.refuse_overwriting(read, [*targets.values(), *(b for row in labels.values() for _, b in row)])
        return self._predicted(work, targets, labels)

    def _predicted(self, work, targets, labels):
        for number, (name, path, style) in enumerate(work):
            target = targets[name]
            target.parent.mkdir(parents=True, exist_ok=True)
            made = self._shown(path, functools.partial(self.drawn, number=number) if style is None else self._by(style))
            if is_picture(path):
                write_grey(made.array[0], target)
            else:
                write_volume(made, target)
            yield target
            for label, copy in labels[name]:
                with atomic_path(copy) as temporary:
                    shutil.copyfile(label, temporary)
                yield copy

    def _shown(self, path, compute):
        image = read_address(path)
        prediction.check_grids([image], [path])
        try:
            return self(image, compute)
        except DataError as error:  # of a preprocessing step, which does not know the file
            raise DataError(f"{path}: {error}") from None

    def _by(self, path):
        style = self.picture(path)
        return lambda contents: self.in_style(contents, style)

    def picture(self, path):
        """The prepared picture `(1, y, x, 1)` at a path.

        Raises:
            DataError: it has several slices, or cannot be preprocessed.
        """
        image = read_address(f"{path}::grey" if is_picture(path) and file_of(path) == str(path) else path)
        prediction.check_grids([image], [path])
        if image.shape[0] != 1:
            raise DataError(f"{path}: has {image.shape[0]} slices where a style is one picture; give one of them")
        try:
            return preprocess.as_float32(self.prepared(image).array)[..., None]
        except DataError as error:
            raise DataError(f"{path}: {error}") from None

    def _pairs(self, word):
        """[(path of an input, of its style or None)] of a word."""
        parts = dict(pair.partition("=")[::2] for pair in word.split(","))
        known = set(parts) <= {self.modality, "style"} and "style" in parts
        if known and self.modality not in parts:
            raise UserError(f"{word}: names a style alone; give {self.modality}=FILE,style=FILE")
        path, style = (parts[self.modality], parts["style"]) if known else (word, None)
        if style is not None:
            prediction.inputs([style], (self.modality,))  # it is there
        pictures = images_in(expanded(path)) if expanded(path).is_dir() else []
        inputs = [str(one) for one in pictures if not _is_label(one, pictures)] or [path]
        return [(one, style) for one in inputs]

    def note(self):
        """What stands beside a SavedModel of it, see `tfmed.tasks.exported`."""
        steps = [step.model_dump(mode="json") for step in self.steps]
        return {"task": "style_transfer", "modality": self.modality, "draws": self.drawn is not None, "steps": steps}


def _labels_of(path):
    """[(file of a label beside a picture, what its name adds to the picture's)]."""
    file = pathlib.Path(file_of(path))
    if not is_picture(path) or not file.parent.is_dir():
        return []
    return [(one, one.name[len(file.stem):]) for one in images_in(file.parent)
            if one.stem.startswith(tuple(file.stem + word for word in _LABELS))]  # fmt: skip


def _is_label(path, pictures):
    """Whether a picture is a label of another."""
    return any(path.stem.startswith(other.stem + word) for other in pictures for word in _LABELS if other != path)


def write_grey(values, path):
    """Write values of 0 to 255 as a grey PNG."""
    write_picture(np.rint(np.clip(values, 0, 255)).astype(np.uint8), path)
