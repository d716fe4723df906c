"""Who annotates: a person, through a folder. Slices to annotate lie ready as NIfTI, finished ones are picked up."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from tfmed.data.cache import Prepared
from tfmed.data.case import Case
from tfmed.data.preprocess import class_labels
from tfmed.data.preprocess.geometry import boxed
from tfmed.errors import DataError, RunError
from tfmed.files import PathLike, safe_name
from tfmed.io import Volume, read_volume, write_volume
from tfmed.io.geometry import difference_of_grids, same_grid

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")


class SparseLabel:
    """Class numbers `(z, y, x)` of a volume of which only some slices are annotated; the others read as 0.

    Args:
        shape: of the volume.
        planes: slice -> class numbers `(y, x)` uint8.
    """

    dtype, ndim = np.dtype(np.uint8), 3

    def __init__(self, shape: Sequence[int], planes: dict[int, np.ndarray]) -> None:
        self.shape, self.planes = tuple(shape), planes

    def __getitem__(self, index: Any) -> np.ndarray:
        index = index if isinstance(index, tuple) else (index,)
        places = np.arange(self.shape[0])[index[0]]
        dense = np.zeros((len(places), *self.shape[1:]), self.dtype)
        for into, z in zip(dense, places.tolist(), strict=True):
            if z in self.planes:
                into[...] = self.planes[z]
        return dense[(slice(None), *index[1:])]

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


class Folder:
    """A person's desk: `<folder>/round<r>/todo` holds images and draft labels, `done` what came back.

    Of each slice (`<case>_z0123`), or of a whole volume (`<case>`), `todo` has an image per modality, as the network
    sees it, and `..._label.nii.gz`, which holds the network's own outline: open both in any viewer, correct the label,
    save it to `done` under the same name (any of `ENDINGS`). In a page, `tfmed.data.desks` does that.

    Args:
        path: the folder.
        modalities: names of the images.
        label_values: the number of each class in files.
    """

    def __init__(self, path: PathLike, modalities: Sequence[str], label_values: Sequence[int]) -> None:
        self.path, self.modalities, self.label_values = pathlib.Path(path), modalities, label_values

    def ask(
        self, number: int, case: Case, slices: Sequence[int], prepared: Prepared, draft: Callable[[], np.ndarray]
    ) -> None:
        """Lay out what is not there yet.

        Args:
            number: of the round.
            case: Case.
            slices: which of its slices are asked for.
            prepared: its Prepared.
            draft: function that gives the network's class numbers `(z, y, x)` of it; called if anything is missing.
        """
        todo = self.path / f"round{number}" / "todo"
        for name, span in _spans(case, slices, prepared):
            if (todo / f"{name}_label.nii.gz").exists():
                continue
            for channel, modality in enumerate(self.modalities):
                image = Volume(np.asarray(prepared.image[..., channel], np.float32), prepared.affine)
                write_volume(_cut(image, span), todo / f"{name}_{modality}.nii.gz")
            values = np.asarray(self.label_values)
            drawn = values.astype(np.min_scalar_type(values.max() if values.min() >= 0 else -abs(values).max()))
            label = Volume(drawn[draft()], prepared.affine)
            write_volume(_cut(label, span), todo / f"{name}_label.nii.gz")  # last: the images are there then

    def missing(self, number: int, case: Case, slices: Sequence[int], prepared: Prepared) -> list[str]:
        """Names of what has not come back yet."""
        names = [name for name, _ in _spans(case, slices, prepared)]
        return [name for name in names if self._found(number, name) is None]

    def answer(self, number: int, case: Case, slices: Sequence[int], prepared: Prepared) -> dict[int, np.ndarray]:
        """{slice: class numbers `(y, x)`} of what came back.

        Raises:
            ImageIntegrityError: a file is damaged, for example half saved.
            DataError: a file is not a label map of its slice.
        """
        planes: dict[int, np.ndarray] = {}
        for name, span in _spans(case, slices, prepared):
            path: Any = self._found(number, name)  # there is one, see `missing`
            label = read_volume(path)
            wanted = _cut(Volume(prepared.image[..., 0], prepared.affine), span)
            if label.array.ndim != 3 or not same_grid(wanted, label):
                raise DataError(
                    f"{path}: {difference_of_grids(label, wanted)} {name} in todo; save the corrected label of todo "
                    "under this name"
                )
            try:
                classes = class_labels(label, self.label_values).array
            except DataError as error:
                raise DataError(f"{path}: {error}") from None
            planes |= dict(zip(range(span.start, span.stop), classes, strict=True))
        return planes

    def refuse(self, number: int, missing: Sequence[str], total: int) -> NoReturn:
        """Raise the RunError that tells what is to be done."""
        raise RunError(
            f"{total - len(missing)} of {total} annotations of round {number} are finished ({missing[0]} is not); "
            f"correct the labels of {self.path / f'round{number}' / 'todo'}, save them to "
            f"{self.path / f'round{number}' / 'done'} (or draw in a page: tfmed annotate RUN), and go on with --resume"
        )

    def _found(self, number: int, name: str) -> pathlib.Path | None:
        done = self.path / f"round{number}" / "done"
        return next((path for e in ENDINGS if (path := done / f"{name}_label{e}").exists()), None)


def _spans(case: Case, slices: Sequence[int], prepared: Prepared) -> list[tuple[str, slice]]:
    """(name, slices as one `slice`) of each file: a whole volume is one, otherwise each slice is."""
    if len(slices) == prepared.image.shape[0]:
        return [(safe_name(case.id), slice(0, len(slices)))]
    return [(f"{safe_name(case.id)}_z{z:04d}", slice(z, z + 1)) for z in slices]


def _cut(volume: Volume, span: slice) -> Volume:
    return boxed(volume, (span.start, 0, 0), (span.stop - span.start, *volume.shape[1:]))
