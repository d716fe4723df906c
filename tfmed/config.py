"""From a YAML file to validated, typed settings: profiles, `key=value` overrides, errors that name file, line and key.

A settings file has the sections `method`, `seed`, `data`, `train`, `model`, and optionally `base` (another file that it
starts from) and `profiles` (named sets of changes; `paper` is the file as it stands).
"""

import difflib
import functools
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin

import pydantic

from tfmed import registry
from tfmed.errors import ConfigError, UserError, nearest
from tfmed.files import PathLike, expanded
from tfmed.settings_text import parse_value, read_yaml

Model = TypeVar("Model", bound=pydantic.BaseModel)
MAX_BASES = 5
GREATEST, GREATEST_REAL = 2**40, 1e30  # of whole and other numbers in settings; what is meant is never larger
TAG = "step:"  # what the tags of discriminated unions of settings begin with


def name_tag(value: Any) -> str:
    """The tag of settings that `name` tells apart; a bare name will do."""
    return TAG + str(value.get("name") if isinstance(value, dict) else getattr(value, "name", value))


FREE_NAMES = {"labels", "regions"}  # mappings whose keys are the user's own
DATA_SETS = {"auxiliary"}  # mappings of the user's own names to data sets, which are changed one by one


class Strict(pydantic.BaseModel):
    """Base of all settings: unknown keys are refused, values cannot be changed afterwards."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _numbers_within_reason(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """Such sizes, counts and values overflow, or work with them never comes to an end."""
        is_section = isinstance(value, dict) and _model_in(_annotation(cls, info))
        if not is_section and _beyond_reason(value):
            raise ValueError("holds a number beyond reason; give a smaller one")
        return value

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _numbers_are_not_truth_values(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """`steps: yes` is a slip and not one step."""
        annotation = _annotation(cls, info)
        kinds = {annotation, *get_args(annotation)}
        if isinstance(value, bool) and kinds & {int, float} and bool not in kinds:
            raise ValueError("must be a number")
        return value


def _annotation(cls: type[pydantic.BaseModel], info: pydantic.ValidationInfo) -> Any:
    """Of the field that is being validated."""
    return cls.model_fields[str(info.field_name)].annotation


def _beyond_reason(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_beyond_reason, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_beyond_reason, value))
    greatest = GREATEST if isinstance(value, int) else GREATEST_REAL
    return isinstance(value, (int, float)) and greatest < abs(value) < math.inf


def _path_text(value: Any) -> Any:
    try:
        return str(expanded(value)) if isinstance(value, (str, os.PathLike)) else value
    except UserError as error:
        raise ValueError(str(error)) from None


Voxels = Annotated[int, pydantic.Field(gt=0, le=2**16)]  # along one axis
SizeMm = Annotated[float, pydantic.Field(ge=1e-5, le=200)]  # of a voxel: from microscopes to the coarsest scans
Layers = Annotated[tuple[pydantic.PositiveInt, ...], pydantic.Field(max_length=64)]  # a number for each


def _in_order(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] >= bounds[1]:
        raise ValueError("the lower bound comes first and is smaller")
    return bounds


Interval = Annotated[tuple[float, float], pydantic.AfterValidator(_in_order)]
PathText = Annotated[str, pydantic.BeforeValidator(_path_text)]  # a path in settings; ~ is the user's home


class MethodConfig(Strict):
    """Base of a method's `Config` (the `model` section): every number of its paper, typed, with default and unit."""


def load_config(path: PathLike, overrides: Iterable[str] = (), profile: str = "paper") -> Any:
    """Read, merge and validate a settings file.

    Args:
        path: the YAML file; one that is not found from here is looked for among the files shipped with tfmed.
        overrides: `key=value` strings (dotted keys, YAML values); they win over the file and the profile.
        profile: name of an entry of `profiles`, or `"paper"` for the file as it stands.

    Returns:
        The method's `Settings` (sections `data`, `train`, `model`, and `method`, `seed`, `profile`).

    Raises:
        ConfigError: one line with file, line, key and how to fix it.

    Example:
        >>> import tfmed
        >>> settings = tfmed.load_config("configs/ctsgan.yaml", ["train.batch_size=2"], profile="demo")
        >>> settings.method, settings.train.batch_size
        ('ctsgan', 2)
    """
    file = find_config(expanded(path))
    values, places = _read_with_bases(file)
    profiles = values.pop("profiles", None) or {}
    _merge_profile(values, places, profiles, profile, file)
    layer: dict[str, Any] = {}
    for override in overrides:
        key, value = parse_override(override)
        _overlay(layer, functools.reduce(lambda inner, name: {name: inner}, reversed(key), value))
    _merge(values, layer, places, dict.fromkeys(_paths(layer), "command line"))
    return validate(values, places, file, profile)


def validate(values: dict[str, Any], places: dict[tuple, str], file: pathlib.Path, profile: str = "paper") -> Any:
    """Turn merged plain values into the method's `Settings`; `places` maps a key path to "file:line"."""
    name = values.get("method")
    if not isinstance(name, str):
        raise ConfigError(f"{file}: method: missing; write for example 'method: ctsgan' (tfmed catalog lists them)")
    try:
        settings_class = registry.settings_class(name)
    except KeyError:
        where = places.get(("method",), str(file))
        raise ConfigError(f"{where}: method: unknown method {name!r}{nearest(name, registry.names())}") from None
    try:
        return settings_class(**{"profile": profile, **values})
    except pydantic.ValidationError as error:
        raise ConfigError(_first_line(error, settings_class, places, file)) from None


def shipped_folders() -> list[pathlib.Path]:
    """Where the settings files that come with tfmed may lie: in a checkout, and in an installation."""
    return [pathlib.Path(__file__).parents[1] / "configs", pathlib.Path(__file__).parent / "configs"]


def find_config(path: PathLike) -> pathlib.Path:
    """The file itself, or the one of that relative path shipped with tfmed; ConfigError when there is none.

    A shipped variant whose name is the only one of its kind is found without its method's folder.
    """
    shipped = [folder.parent for folder in shipped_folders()]
    for candidate in (pathlib.Path(path), *(root / path for root in shipped)):
        if os.path.isfile(candidate):
            return candidate
    word = os.fspath(path)
    for root in shipped:  # `segmentation` and `equireg/volumes` are enough
        if not word.endswith(".yaml") and os.path.isfile(root / "configs" / f"{word}.yaml"):
            return root / "configs" / f"{word}.yaml"
    variants = [file for root in shipped for file in sorted((root / "configs").glob("*/*.yaml"))]
    named = [file for file in variants if pathlib.Path("configs", file.name) == pathlib.Path(path)]
    if len(named) == 1:  # configs/uamt.yaml is configs/gbdl/uamt.yaml
        return named[0]
    if os.path.isdir(path):
        raise ConfigError(f"{path}: is a folder; give a settings file such as configs/ctsgan.yaml")
    known = sorted({file.stem for root in shipped for file in (root / "configs").glob("*.yaml")})
    guess = difflib.get_close_matches(pathlib.Path(word).stem, known, n=1, cutoff=0.6)
    meant = f"did you mean {guess[0]!r}? " if guess else ""
    raise ConfigError(f"{path}: no such settings file; {meant}'tfmed catalog' lists the methods and their files")


def _read_with_bases(file: pathlib.Path, depth: int = 0) -> tuple[dict[str, Any], dict[tuple, str]]:
    if depth > MAX_BASES:
        raise ConfigError(f"{file}: more than {MAX_BASES} files build on each other through 'base'; is there a circle?")
    values, places = read_yaml(file)
    base = values.pop("base", None)
    if base is None:
        return values, places
    if not isinstance(base, str) or not os.path.isfile(file.parent / base):
        where = places[("base",)]
        raise ConfigError(f"{where}: base: no such file {base!r} beside {file.name}; name one that is there")
    base_values, base_places = _read_with_bases(file.parent / base, depth + 1)
    _merge(base_values, values, base_places, places)
    return base_values, base_places


def _merge_profile(
    values: dict[str, Any], places: dict[tuple, str], profiles: dict[str, Any], profile: str, file: pathlib.Path
) -> None:
    if not isinstance(profiles, dict):
        raise ConfigError(f"{places.get(('profiles',), file)}: profiles: must map names to settings")
    if profile == "paper":
        return
    if profile not in profiles:
        raise ConfigError(f"{file}: no profile {profile!r}{nearest(profile, ['paper', *profiles])}")
    layer = profiles[profile]
    if not isinstance(layer, dict):
        raise ConfigError(f"{places[('profiles', profile)]}: profiles.{profile}: must hold 'key: value' lines")
    prefix = ("profiles", profile)
    _merge(values, layer, places, {path[2:]: place for path, place in places.items() if path[:2] == prefix})


def _merge(
    below: dict[str, Any], above: dict[str, Any], places: dict[tuple, str], above_places: dict[tuple, str]
) -> None:
    """Lay `above` over `below` in place. Another data source brings its own options: the old one's are dropped."""
    new_source = _section(above, "data").get("source")
    if new_source is not None and _section(below, "data").get("source") != new_source:
        _section(below, "data").pop("options", None)
        for profile in _section(below, "profiles").values():
            if isinstance(profile, dict) and "source" not in _section(profile, "data"):
                _section(profile, "data").pop("options", None)
    _overlay(below, above)
    places.update(above_places)


def _is_another(key: str, old: Any, new: Any) -> bool:
    """Whether a mapping replaces the old one: a table of free names, or a thing of another name (a network) or source.

    The `data` section stays when its source changes: see `_merge`.
    """
    kinds = ("name",) if key == "data" else ("name", "source")
    return key in FREE_NAMES or any(kind in new and kind in old and new[kind] != old[kind] for kind in kinds)


def _section(values: dict[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def _overlay(below: dict[str, Any], above: dict[str, Any], data_sets: bool = False) -> None:
    """Lay `above` over `below`; `data_sets`: each entry is a data set, whose options are those of its source.

    Classes by name say anew which there are: the numbers of those below, and what was scored of them, are dropped.
    """
    if isinstance(above.get("labels"), dict):
        for name in ("label_values", "regions"):
            below.pop(name, None)
    for key, value in above.items():
        if not isinstance(value, dict) or not isinstance(below.get(key), dict):
            below[key] = value
        elif data_sets:
            if value.get("source", below[key].get("source")) != below[key].get("source"):
                below[key].pop("options", None)
            _overlay(below[key], value)
        elif _is_another(key, below[key], value):
            below[key] = value
        else:
            _overlay(below[key], value, data_sets=key in DATA_SETS)


def parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    """(names from the outermost section on, value) of a `key=value` word; ConfigError if it is none."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"{text!r}: an override is written key=value, for example train.batch_size=2")
    path = tuple(key.strip().split("."))
    if path[0] in ("base", "profiles"):
        raise ConfigError(f"{text!r}: '{path[0]}' cannot be overridden; use --profile or another file")
    return path, parse_value(value, f"command line {text!r}")


def _paths(layer: Any, path: tuple = ()) -> Iterator[tuple]:
    yield path
    if isinstance(layer, dict):
        for key, value in layer.items():
            yield from _paths(value, (*path, key))


def _first_line(
    error: pydantic.ValidationError, settings_class: type, places: dict[tuple, str], file: pathlib.Path
) -> str:
    # A misspelt key first: it is why another one is "required".
    problems = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return _describe(problems[0], settings_class, places, file) + more


def _describe(problem: Any, settings_class: type, places: dict[tuple, str], file: pathlib.Path) -> str:
    location = tuple(key for key in problem["loc"] if not _is_tag(key))
    dotted = ".".join(map(str, location)) or "settings"
    where = next((places[location[:n]] for n in range(len(location), 0, -1) if location[:n] in places), str(file))
    if problem["type"] == "extra_forbidden":
        known = _fields_at(settings_class, problem["loc"][:-1])
        return f"{where}: {dotted}: unknown setting{nearest(location[-1], known)}"
    if problem["type"] == "union_tag_invalid":
        known = [tag.strip(" '").removeprefix(TAG) for tag in problem["ctx"]["expected_tags"].split(",")]
        given = problem["ctx"]["tag"].removeprefix(TAG)
        kind = "step" if isinstance(location[-1], int) else location[-1]
        return f"{where}: {dotted}: unknown {kind} {given!r}{nearest(given, known)}"
    message = " ".join(problem["msg"].removeprefix("Value error, ").split())
    return f"{where}: {dotted}: {message[:1].lower() + message[1:]}{_shown(problem.get('input'))}"


def _shown(given: Any) -> str:
    if not isinstance(given, (str, int, float, list, tuple, type(None))):
        return ""
    try:
        text = repr(given)
    except ValueError:  # Python does not print integers of more than 4300 digits
        return ""
    return f" (got {text if len(text) <= 80 else text[:77] + '...'})"


def _is_tag(key: object) -> bool:
    """A discriminated union puts the tag of the chosen member into an error's location."""
    return isinstance(key, str) and key.startswith(TAG)


def _fields_at(settings_class: type, location: tuple) -> list[str]:
    """Names of the settings that are valid below `location`."""
    kind: Any = settings_class
    for key in location:
        if isinstance(key, int):
            kind = get_args(kind)[0]
        elif _is_tag(key):
            members = get_args(kind) if get_origin(kind) is not Annotated else get_args(get_args(kind)[0])
            kind = next(get_args(member)[0] for member in members if get_args(member)[1].tag == key)
        else:
            section: Any = _model_in(kind)
            named = get_origin(kind) is dict  # the key is the user's own
            kind = section if named else section.model_fields[key].annotation
    model = _model_in(kind)
    return list(model.model_fields) if model else []


def _model_in(annotation: Any) -> type[pydantic.BaseModel] | None:
    """A settings class inside an annotation such as `Early | None`, or a union of networks."""
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, pydantic.BaseModel) else None
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def with_values(settings: Model, values: Mapping[str, Any], without: Iterable[str] = ()) -> Model:
    """The settings with some values changed, and some back at their defaults (`without`), by their dotted names."""
    plain = settings.model_dump(mode="python", exclude_unset=True)
    for key in without:
        section, name = key.split(".")
        plain.get(section, {}).pop(name, None)
    for key, value in values.items():
        section, name = key.split(".")
        plain.setdefault(section, {})[name] = value
    return type(settings)(**plain)
