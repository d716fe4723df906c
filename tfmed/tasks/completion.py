"""From pictures on disk with masks of what is missing to completions, whoever computes them."""

import pathlib

import numpy as np

from tfmed.data import preprocess
from tfmed.data.census import is_picture
from tfmed.data.checks import beyond_float32
from tfmed.data.readers import read_address
from tfmed.errors import DataError, UserError
from tfmed.files import atomic_path
from tfmed.io import write_volume
from tfmed.io.addresses import GREY
from tfmed.io.geometry import difference_of_grids, same_grid
from tfmed.io.stack import write_picture
from tfmed.pictures.images import ImageGrid
from tfmed.pictures.style import save
from tfmed.tasks.prediction import refuse_overwriting, told_apart
from tfmed.tasks.translation import on_grid

OUTPUTS = ("completion", "mean", "std", "samples", "picture")
USUAL = ("completion", "mean", "std", "picture")
_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
_SHOWN = 4  # completions of a picture
_HOW = "give image=FILE,mask=FILE, a picture with its NAME_mask.png beside it, or a folder of such"


class Completer:
    """Fills the holes of pictures, several times.

    Args:
        steps: preprocessing before `compute`.
        grey: values that networks see as 0 and 1.
        multiple: sides that `compute` takes are multiples of it.
        compute: function of (image `(y, x)` float32, mask `(y, x)` float32: 1 missing) -> completions `(n, y, x)`.
        seen_stays: seen pixels keep their values.
    """

    outputs = OUTPUTS

    def __init__(self, steps, grey, multiple, compute, seen_stays):
        self.steps, self.grey, self.multiple = tuple(steps), tuple(grey), multiple
        self.compute, self.seen_stays = compute, seen_stays

    def __call__(self, image, mask):
        """Completions `(n, y, x)` float32 of a Volume of one slice, on its grid, in its values.

        Args:
            image, mask: Volumes `(1, y, x)` of one grid; what is above half of the mask's maximum is missing.

        Raises:
            DataError: nothing or everything is missing, there are several slices, or a step cannot be done.
        """
        if image.shape[0] != 1:
            raise DataError(f"has {image.shape[0]} slices; holes are filled in single pictures, give one each")
        missing = missing_of(mask.array)
        (prepared,), holes = preprocess.run_together(self.steps, [image], mask.replace(array=missing))
        array = preprocess.as_float32(prepared.array)[0]
        found = np.asarray(self._padded(array, np.asarray(holes.array[0], np.float32)), np.float32)
        moved = np.stack([on_grid(prepared.replace(array=one[None]), image).array[0] for one in found])
        if self.seen_stays or prepared.shape != image.shape:
            moved = np.where(missing > 0, moved, image.array.astype(np.float32))
        return moved

    def _padded(self, image, holes):
        """`compute` of an image whose sides are made multiples by repeating its border."""
        sides = [(0, -side % self.multiple) for side in image.shape]
        found = self.compute(np.pad(image, sides, "edge"), np.pad(holes, sides, "edge"))
        return found[:, : image.shape[0], : image.shape[1]]

    def predict(self, words, out, outputs=None):
        """Fill the holes of the inputs and write `<name>_<output>`, one path at a time.

        "completion" (the first one) and their "mean" are pictures of the input's kind, "std" is their deviation from
        pixel to pixel as a NIfTI file, "samples" one that has all of them as slices, "picture" shows them side by side.

        Raises:
            UserError: an input is not there, has no mask, or would be overwritten: at once.
            DataError: an input is damaged, its mask has another size or marks nothing or all: when its turn comes.
        """
        cases = pairs(words)
        kinds = outputs or USUAL
        files = [[_target(out, name, kind, image) for kind in kinds] for name, image, _ in cases]
        refuse_overwriting((path for _, *both in cases for path in both), (file for each in files for file in each))
        return self._predicted(cases, kinds, files)

    def _predicted(self, cases, kinds, files):
        for (_, image_path, mask_path), targets in zip(cases, files, strict=True):
            image, mask = read_pair(image_path, mask_path)
            try:
                found = self(image, mask)
            except DataError as error:  # of one that does not know the file
                raise DataError(f"{image_path}: {error}") from None
            for kind, target in zip(kinds, targets, strict=True):
                target.parent.mkdir(parents=True, exist_ok=True)
                self._write(kind, target, found, image, missing_of(mask.array)[0])
                yield target

    def _write(self, kind, target, found, image, missing):
        if kind == "picture":
            with atomic_path(target) as temporary:
                save(overview(image.array[0], missing, found, self.grey), temporary)
            return
        made = {"completion": lambda: found[:1], "mean": lambda: found.mean(0, keepdims=True),
                "std": lambda: found.std(0, keepdims=True), "samples": lambda: found}[kind]()  # fmt: skip
        dtype = image.array.dtype
        if kind != "std" and dtype.kind in "iu":
            made = np.clip(np.rint(made), np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)
        if target.suffix == ".png":
            write_picture(made[0], target)
        else:
            write_volume(image.replace(array=made), target)

    def note(self, count):
        """What stands beside a SavedModel of it, see `tfmed.tasks.exported`; the graph does the last step itself."""
        return {
            "task": "inpainting",
            "steps": [step.model_dump(mode="json") for step in self.steps],
            "grey": list(self.grey),
            "multiple": self.multiple,
            "completions": count,
            "seen_stays": self.seen_stays,
        }


def missing_of(array):
    """Mask of an array, uint8: what is above half of its maximum.

    Raises:
        DataError: nothing or everything is.
    """
    missing = array > array.max() / 2
    if not missing.any():
        raise DataError("its mask marks no pixel as missing; there is nothing to fill")
    if missing.all():
        raise DataError("its mask marks every pixel as missing; leave some to go by")
    return missing.astype(np.uint8)


def read_pair(image_path, mask_path):
    """(image, mask), Volumes of one grid.

    Raises:
        UserError: a file is damaged; DataError: values that are not finite, channels, another grid.
    """
    image, mask = read_address(image_path), read_address(mask_path)
    for volume, path in ((image, image_path), (mask, mask_path)):
        if volume.array.ndim == 4:
            raise DataError(f"{path}: has {volume.array.shape[3]} channels where one is needed; give a grey one")
        if beyond_float32(volume.array):
            raise DataError(f"{path}: some pixels are NaN or infinite, or beyond float32; replace them first")
    if not same_grid(image, mask):
        raise DataError(f"{mask_path}: {difference_of_grids(mask, image)} {image_path}; give a mask of its pixels")
    return image, mask


def pairs(words):
    """[(name, image, mask)] of the command's words, addresses of files.

    A word is `image=FILE,mask=FILE`, a file with another beside it whose name ends in `_mask`, or a folder of such.

    Raises:
        UserError: a word is none of these, or two inputs are one.
    """
    found = [pair for word in words for pair in _pairs_of(word)]
    names = told_apart([_stem(image) for image, _ in found], [image for image, _ in found])
    return [(name, *map(_address, pair)) for name, pair in zip(names, found, strict=True)]


def _pairs_of(word):
    first, comma, second = str(word).partition(",mask=")
    if first.startswith("image=") and comma:
        found = [(pathlib.Path(first[len("image=") :]), pathlib.Path(second))]
    else:
        path = pathlib.Path(word)
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        images = [one for one in files if _stem(one) != one.name and not _stem(one).endswith("_mask")]
        found = [(image, mask) for image in images if (mask := _mask_of(image))]
        if path.exists() and not found:
            raise UserError(f"{word}: has no mask of what is missing; {_HOW}")
    for file in (file for pair in found for file in pair) if found else [pathlib.Path(word)]:
        if not file.exists():
            raise UserError(f"{file}: no such file; {_HOW}")
    return found


def _mask_of(image):
    """The file beside an image that is its mask, or None."""
    return next(
        (file for ending in _ENDINGS if (file := image.with_name(f"{_stem(image)}_mask{ending}")).exists()), None
    )


def _stem(path):
    name = pathlib.Path(path).name
    ending = next((ending for ending in _ENDINGS if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def _address(path):
    return f"{path}::{GREY}" if is_picture(str(path)) else str(path)


def _target(out, name, kind, image):
    """The file of an output; of a picture a picture, but for what has fractions or several slices."""
    pictured = kind == "picture" or (kind in ("completion", "mean") and is_picture(image))
    return pathlib.Path(out) / f"{name}_{kind}.{'png' if pictured else 'nii.gz'}"


def overview(image, mask, found, window):
    """An ImageGrid of a picture, its holes, some completions, their mean and how far they spread.

    Args:
        image: `(y, x)`; of a known one, what was hidden.
        mask: `(y, x)`, True where something is missing.
        found: completions `(n, y, x)`.
        window: (black, white).
    """
    return ImageGrid(*rows({"": (image, mask, found)}, window), CAPTION)


CAPTION = "From left: picture, what is seen, completions, their mean, and their standard deviation (white: a quarter)."


def rows(items, window):
    """({title: list of images}, window) of {title: (image, mask, completions)}, for an ImageGrid."""
    low, high = window
    found = {}
    for title, (image, mask, made) in items.items():
        hidden = np.where(mask > 0, high, image)
        spread = low + 4 * np.asarray(made).std(0)
        found[title] = [
            np.asarray(one, np.float32) for one in (image, hidden, *made[:_SHOWN], np.mean(made, 0), spread)
        ]
    return found, (low, high)
