"""What a trained method can do beyond training: each ability is a base class, with its options as arguments.

A `Method` that can sample derives from `CanSample`; the verb `sample` asks for nothing else. Arguments that are
annotated with an `Option` (see `tfmed.engine.options`) are what the command line takes for that method.
"""

import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt

from tfmed.data.desks import ClassDesk, SliceDesk
from tfmed.engine.method import Method
from tfmed.engine.options import Option
from tfmed.files import PathLike
from tfmed.io import Volume, write_volume
from tfmed.pictures.layers import View

Split = Annotated[Literal["test", "validation", "train"], Option("part", "cases to score")]
Seed = Annotated[NonNegativeInt, Option("seed", "of random choices")]
Count = Annotated[int, Field(ge=2), Option("count", "generated images or volumes per source", short="-n")]
Features = Annotated[
    str, Option("features", "of generated images: random:SEED, inception:WEIGHTS_FILE or savedmodel:FOLDER")
]
Format = Annotated[Literal["nii.gz", "nii", "mha", "nrrd"] | None, Option("format", "of volumes; by default nii.gz")]


class Evaluation(dict):
    """Tables by name, each a list of rows {column: value}; "evaluation" is the main one.

    Args:
        tables: {name: rows}.
        pictures: {name: picture} to show beside them.
    """

    def __init__(self, tables: Mapping[str, list[dict[str, Any]]], pictures: Mapping[str, Any] | None = None) -> None:
        super().__init__(tables)
        self.pictures = pictures or {}


class CanPreview:
    """Shows pictures while it trains, and at the end."""

    def previews(self) -> dict[str, Any]:
        """{name: picture}."""
        raise NotImplementedError


class CanAsk:
    """Asks a person, who may answer in a page."""

    def desk_of(self, folder: pathlib.Path) -> SliceDesk | ClassDesk:
        """The desk of a run's directory, of a Method that need not be trained.

        Raises:
            RunError: the run asks nobody.
        """
        raise NotImplementedError


class CanView:
    """Has images of cases to look at, with what it makes of them."""

    def views(self, methods: Mapping[str, Method], part: str = "test") -> Iterator[View]:
        """A View of each case of a part of the split.

        Args:
            methods: name of the run -> its Method, this one first; what each makes of a case stands side by side.
            part: "test", "validation" or "train".
        """
        raise NotImplementedError


class CanEvaluate:
    """Scores trained models."""

    def evaluate(self, methods: Mapping[str, Method]) -> Evaluation:
        """An `Evaluation`.

        Args:
            methods: name of the run -> its Method, this one first.
        """
        raise NotImplementedError


class CanSample:
    """Generates."""

    def sample(self, count: int, seed: int = 0) -> Iterator[Any]:
        """`count` items, one at a time: Volumes, unless `write_sample` says otherwise; a function of (seed, number)."""
        raise NotImplementedError

    def write_sample(self, item: Any, folder: pathlib.Path, name: str, kind: Format = None) -> pathlib.Path:
        """Write an item of `sample` below a folder (a Path); returns its path."""
        path = folder / f"{name}.{kind or 'nii.gz'}"
        write_volume(item, path)
        return path


class CanPredict:
    """Takes images, and gives others of the same grid."""

    outputs: tuple[str, ...] = ()  # what `predict` can be asked to write

    def predict(self, words: Sequence[str], out: PathLike, outputs: Any = None) -> Iterator[pathlib.Path]:
        """Write what is made of each input below a folder, one path at a time.

        Args:
            words: of the command: files, folders, or `modality=file` (see `tfmed.tasks.prediction.inputs`).
            out: folder.
            outputs: which of `self.outputs` to write; None: the usual ones.
        """
        raise NotImplementedError


class CanAlter:
    """Shows an image otherwise, with everything where it was: labels stay true; `config.image` names which image."""

    def altered(self, image: Volume, seed: int) -> Volume:
        """A Volume in the values and on the grid of `image`; a function of (image, seed).

        Raises:
            DataError: the image cannot be altered.
        """
        raise NotImplementedError


class CanGenerateClasses:
    """Makes pictures of the classes that `config.classes` names."""

    def generated(self, name: str, count: int, seed: int) -> Iterator[Any]:
        """`count` pictures of a class, uint8 `(y, x)` or `(y, x, 3)`; the k-th is a function of (name, seed, k)."""
        raise NotImplementedError


class CanProject:
    """Finds what its generator makes a given volume of."""

    def project(
        self, path: PathLike, steps: int = 1000, seed: int = 0, progress: Callable[[Any], Any] = lambda steps: steps
    ) -> Any:
        """(what was found, the projected Volume, the Volume at the path)."""
        raise NotImplementedError


class CanInterpolate(CanSample):
    """Generates what lies between two latents, or styles; items are of the kind that `sample` gives."""

    def latents(self, word: str, psi: float = 1.0) -> Any:
        """The latents that a word of the command stands for: a seed, or a file; with a `name`."""
        raise NotImplementedError

    def interpolated(self, first: Any, second: Any, steps: int) -> dict[Any, Any]:
        """{name of a step: item} from one to another, `steps` items with both ends."""
        raise NotImplementedError

    def interpolation_picture(self, way: dict[Any, Any], first: Any, second: Any) -> Any:
        """A picture of what `interpolated` gave."""
        raise NotImplementedError


class CanMixStyles(CanInterpolate):
    """A generator of volumes whose styles can be mixed, too."""

    def mixtures(self, rows: Any, columns: Any, crossover: int | None = None) -> dict:
        """{row: {column: Volume}} of lists of latents: coarse layers of the rows', fine ones of the columns'."""
        raise NotImplementedError


class CanExport:
    """Gives a SavedModel that works without tfmed."""

    def export_module(self) -> Any:
        """An `ExportModule`."""
        raise NotImplementedError

    def onnx_function(self) -> tuple[Any, dict[str, Any]]:
        """(tf.function with an input signature that gives {name: tensor}, what a user must know of it as JSON).

        By default the SavedModel's "serving_default".
        """
        self.exported = module = self.export_module()  # kept: its functions hold it weakly
        return module.signatures()["serving_default"], {**(module.note or {})}


WITHOUT: dict[type, str] = {  # what is told of a method that lacks an ability
    CanEvaluate: "has no evaluation",
    CanSample: "generates nothing; use 'tfmed predict'",
    CanPredict: "takes no input volumes; use 'tfmed sample'",
    CanProject: "cannot project a volume; give a run of stylegan3d",
    CanInterpolate: "has no latents to go between; give a run of stylegan3d or us_style",
    CanMixStyles: "has no styles to mix; give a run of stylegan3d",
    CanExport: "exports nothing",
}
