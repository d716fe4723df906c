"""Bundles: a trained run as one folder that can be passed on, verified, used and trained from."""

import hashlib
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pydantic

from tfmed import config as configuration
from tfmed.engine.run import MANIFEST, Run
from tfmed.errors import RunError
from tfmed.files import PathLike, damage, expanded, is_regular, own_bytes, plain_json, sha256_of

CARD, SETTINGS, ENVIRONMENT, SEEN = "MODEL_CARD.md", "settings.yaml", "environment.json", "learnt_from.json"
MODEL, WEIGHTS, EXAMPLE, RECORDS = "saved_model", "weights", "example", "records"
FORMAT = 1
_LONGEST = 1 << 24  # bytes of a manifest
_VARIABLES = r"variables\.(index|data-\d+-of-\d+)"
_INSIDE = r"[^/\\\0-\x1f.][^/\\\0-\x1f]*"
_MAY_HOLD = re.compile(
    rf"{re.escape(CARD)}|{SETTINGS}|{ENVIRONMENT}|{SEEN}|clusters\.csv|{RECORDS}/{_INSIDE}\.json|"
    rf"{MODEL}/(saved_model\.pb|fingerprint\.pb|tfmed\.json|variables/{_VARIABLES})|"
    rf"{WEIGHTS}/{_INSIDE}/(state\.json|{_VARIABLES})|{EXAMPLE}/(input|answer)\.\w{{1,100}}\.npy"
)
_SEEN = pydantic.TypeAdapter(dict[Literal["train", "validation"], list[str]])
_Name = Annotated[str, pydantic.Field(pattern=r"^\w{1,100}$")]
_Line = Annotated[str, pydantic.Field(max_length=2000)]


class File(pydantic.BaseModel):
    """What a manifest says of a file."""

    sha256: Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, pydantic.Field(ge=0)]


class Example(pydantic.BaseModel):
    """An input of the SavedModel, whose answer lies beside it: `example/input.<name>.npy`, `example/answer.<name>.npy`.

    `kind`: "made" from a seed, a "phantom" case of the run, or a "case" of its data set.
    """

    signature: _Name
    kind: Literal["made", "phantom", "case"]
    inputs: list[_Name]
    answers: Annotated[list[_Name], pydantic.Field(min_length=1)]


class Manifest(pydantic.BaseModel):
    """bundle.json."""

    tfmed_bundle: int
    tfmed: _Line
    method: _Line
    stack: Literal["addons", "current"]
    example: Example
    needs_data: _Line | None  # why it cannot be loaded as a run without the data of its training; None: it can
    left_out: list[_Line]  # records of the run that name its cases
    files: dict[str, File]


class Bundle:
    """A bundle whose files are those of its manifest.

    Args:
        path: the folder.
        manifest: of it.
        sha256: digest of bundle.json, and so of the whole bundle.
    """

    def __init__(self, path: pathlib.Path, manifest: Manifest, sha256: str) -> None:
        self.path, self.manifest, self.sha256 = path, manifest, sha256

    @property
    def model(self) -> pathlib.Path:
        """The SavedModel."""
        return self.path / MODEL

    def run(self) -> "BundledRun":
        """The run that was bundled, without what told of its data.

        Raises:
            RunError, ConfigError: its settings are damaged, or of another method.
        """
        path = self.path / SETTINGS
        settings = configuration.validate(*configuration.read_yaml(path), path)
        if settings.method != self.manifest.method:
            raise RunError(f"{path}: is of method {settings.method!r}, and the bundle of {self.manifest.method!r}")
        return BundledRun(self, settings)


class BundledRun(Run):
    """A run out of a bundle: it is used as any other, and nothing is written into it.

    Args:
        bundle: the Bundle.
        settings: its settings.
    """

    settings_file = SETTINGS

    def __init__(self, bundle: Bundle, settings: Any) -> None:
        super().__init__(bundle.path, settings)
        self.bundle = bundle

    @property
    def checkpoints(self) -> Any:
        """Where its trained weights lie."""
        from tfmed.engine.checkpoint import Checkpoints

        return Checkpoints(self.path / WEIGHTS, method=self.method_name)

    def learnt(self) -> dict[str, frozenset[str]]:
        """{"train", "validation": digests of the images that it has seen}."""
        path = self.path / SEEN
        try:
            found = _SEEN.validate_python(plain_json(path))
        except (OSError, ValueError) as error:
            raise RunError(damage(path, error)) from None
        return {role: frozenset(digests) for role, digests in found.items()}

    def check_writable(self, way_on: str) -> None:
        """RunError: nothing is written into a bundle; `way_on` says what to do instead."""
        raise RunError(f"{self.path}: is a bundle, into which nothing is written; {way_on}")

    def restored(self, best: bool = True) -> Any:
        """The Method with its trained models.

        Raises:
            RunError: the method needs the data of its training for that.
        """
        if self.bundle.manifest.needs_data is not None:
            raise RunError(
                f"{self.path}: cannot be loaded as a run without the data of its training "
                f"({self.bundle.manifest.needs_data}); its SavedModel, {self.bundle.model}, can be used"
            )
        return super().restored(best)


def opened(path: PathLike) -> Bundle:
    """The bundle in a folder, once all of its files are those of its manifest.

    Raises:
        RunError: it is none, or a file is missing, changed or additional; all of them are named.
    """
    path = expanded(path)
    manifest, sha256 = _manifest(path)
    if problems := differences(path, manifest):
        more = f" and {len(problems) - 50} more" if len(problems) > 50 else ""
        raise RunError(f"{path}: is not as it was made: {', '.join(problems[:50])}{more}; copy the bundle anew")
    return Bundle(path, manifest, sha256)


def _manifest(path: pathlib.Path) -> tuple[Manifest, str]:
    """(what bundle.json says, its digest)."""
    file = path / MANIFEST
    try:
        if file.is_symlink():
            raise ValueError(f"{file}: is a symbolic link")
        text = own_bytes(file, _LONGEST)
        values = json.loads(text)
        if isinstance(values, dict) and isinstance(values.get("tfmed_bundle"), int) and values["tfmed_bundle"] > FORMAT:
            raise ValueError(f"{file}: is of a newer tfmed; install that")
        manifest = Manifest.model_validate_json(text, strict=True)
    except FileNotFoundError:
        raise RunError(
            f"{path}: is no bundle (it has no {MANIFEST}); give one of 'tfmed export --format bundle'"
        ) from None
    except (OSError, ValueError, RecursionError) as error:  # also what pydantic and json raise
        told = error if isinstance(error, OSError) or str(error).startswith(str(file)) else ValueError()
        raise RunError(f"{damage(file, told)}; copy the bundle anew") from None
    for name in manifest.files:
        if not _MAY_HOLD.fullmatch(name):
            raise RunError(f"{file}: names {name[:100]!r}, which is no file of a bundle; do not use what is in there")
    needed = [CARD, SETTINGS, SEEN, f"{MODEL}/saved_model.pb", *example_files(manifest.example)]
    if missing := [name for name in needed if name not in manifest.files]:
        raise RunError(f"{file}: does not name {missing[0]!r}; copy the bundle anew")
    return manifest, hashlib.sha256(text).hexdigest()


def example_files(example: Example) -> list[str]:
    """Names of the files of an Example, in a bundle."""
    kinds = ("input", example.inputs), ("answer", example.answers)
    return [f"{EXAMPLE}/{kind}.{name}.npy" for kind, names in kinds for name in names]


def changes(path: pathlib.Path) -> list[str]:
    """What of a bundle's files is not as its manifest says, a text each."""
    return differences(path, _manifest(path)[0])


def differences(path: pathlib.Path, manifest: Manifest) -> list[str]:
    """As `changes`, with the manifest."""
    found = dict(_found(path))
    missing = [f"{name!r} is missing" for name in manifest.files if name not in found]
    more = [f"{name!r} is additional" for name in found if name not in manifest.files and name != MANIFEST]
    changed = [
        line for name, told in manifest.files.items() if name in found and (line := _change(found[name], name, told))
    ]
    return [*missing, *changed, *more]


def _found(folder: pathlib.Path, inside: str = "") -> Iterator[tuple[str, pathlib.Path]]:
    """(name in the bundle, path) of all that lies there; what a link leads to is not looked at."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise RunError(damage(folder, error)) from None
    for path in paths:
        name = f"{inside}{path.name}"
        if path.is_dir() and not path.is_symlink():
            below = list(_found(path, f"{name}/"))
            yield from below or [(name, path)]
        else:
            yield name, path


def _change(path: pathlib.Path, name: str, told: File) -> str | None:
    if path.is_symlink() or not is_regular(path):
        return f"{name!r} is no plain file"
    try:
        if path.stat().st_size != told.bytes or sha256_of(path) != told.sha256:
            return f"{name!r} is changed"
    except OSError as error:
        return f"{name!r} cannot be read ({error.strerror})"
    return None


def listed(folder: pathlib.Path) -> dict[str, File]:
    """{name: File} of all files of a new bundle."""
    return {name: File(sha256=sha256_of(path), bytes=path.stat().st_size) for name, path in _found(folder)}
