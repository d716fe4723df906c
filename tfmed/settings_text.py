"""YAML without surprises: what a settings file or the command line says becomes plain values.

No tags, no aliases, bounded size and depth. Numbers are those of YAML 1.2: `0100` is no octal number, `1:30` no number
of base 60, `2026-01-31` no date; all three are text, and `1e-4` is a number.
"""

import re
from typing import Any

import yaml

from tfmed.errors import ConfigError
from tfmed.files import PathLike

MAX_BYTES, MAX_DEPTH = 1 << 18, 24
_STRUCTURED = ("[", "{", '"', "'")


_NUMBERS = (
    (int, re.compile(r"[-+]?(?:0|[1-9][0-9]*)")),
    (lambda text: int(text, 16), re.compile(r"0x[0-9a-fA-F]+")),
    (float, re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")),
    (lambda text: float(text.lower().replace(".", "")), re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")),
)
_WORDS = {"": None, "~": None, "null": None, "true": True, "yes": True, "on": True, "false": False, "no": False,
          "off": False}  # fmt: skip


def scalar(text: str) -> Any:
    """The value of a word without quotes: a number, a truth value, None, or the text itself.

    Raises:
        ValueError: a number of more digits than Python reads.

    Example:
        >>> scalar("1e-4"), scalar("yes"), scalar("0100")
        (0.0001, True, '0100')
    """
    if text.lower() in _WORDS and text in (text.lower(), text.capitalize(), text.upper()):
        return _WORDS[text.lower()]
    return next((make(text) for make, pattern in _NUMBERS if pattern.fullmatch(text)), text)


def parse_value(text: str, where: str) -> Any:
    """The value of one `key=value` word: a list, mapping or quoted text as YAML, anything else as it stands.

    So a path may hold ` #`, and a pattern may begin with `*`.

    Raises:
        ConfigError: YAML that is broken, or a line break.
    """
    text = text.strip()
    if text.startswith(_STRUCTURED):
        values, _ = parse(f"value: {text}", where)
        if len(values) > 1:
            raise ConfigError(f"{where}: holds more than one setting; give each an argument of its own")
        return values["value"]
    if "\n" in text:
        raise ConfigError(f"{where}: holds more than one setting; give each an argument of its own")
    try:
        return scalar(text)
    except ValueError as error:
        raise ConfigError(f"{where}: holds a value that cannot be read ({error}); fix it") from None


def read_yaml(file: PathLike) -> tuple[dict[str, Any], dict[tuple, str]]:
    """Plain values of a YAML file, and "file:line" of each key path. No tags, no aliases; bounded size and depth."""
    try:
        with open(file, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); check its permissions") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{file}: is larger than {MAX_BYTES >> 10} KiB; is this the right file?")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: is not UTF-8 text; give a YAML settings file") from None
    return parse(text, str(file))


def parse(text: str, file: str) -> tuple[dict[str, Any], dict[tuple, str]]:
    """(plain values, {path of a key: "file:line"}) of YAML text that holds a mapping."""
    try:
        _check_events(text, file)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            raise ConfigError(f"{file}: is empty; start from one of the files in configs/")
        places: dict[tuple, str] = {}
        _collect_places(node, (), places, file)
        values = _values(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
        raise ConfigError(
            f"{file}{line}: is not valid YAML: {problem}; fix that line (text that begins with one of *&!%@` or holds "
            "': ' or ' #' stands in quotes)"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{file}: holds a value that cannot be read ({error}); fix it") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{file}:1: must hold 'key: value' lines; start from one of the files in configs/")
    return values, places


def _check_events(text: str, file: str) -> None:
    """Refuse aliases (a few lines can expand to gigabytes), tags and absurd nesting before anything is built."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            line = event.start_mark.line + 1
            raise ConfigError(
                f"{file}:{line}: YAML aliases (*{event.anchor}) are not allowed; write the value out, or in quotes"
            )
        if getattr(event, "tag", None) is not None:
            line = event.start_mark.line + 1
            raise ConfigError(f"{file}:{line}: YAML tags ({event.tag}) are not allowed; write a plain value")
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
            if depth > MAX_DEPTH:
                line = event.start_mark.line + 1
                raise ConfigError(f"{file}:{line}: nested more than {MAX_DEPTH} levels deep; flatten it")
        if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1


def _values(node: yaml.Node) -> Any:
    """The plain values of a node."""
    if isinstance(node, yaml.MappingNode):
        return {_values(key): _values(value) for key, value in node.value if isinstance(key, yaml.ScalarNode)}
    if isinstance(node, yaml.SequenceNode):
        return [_values(item) for item in node.value]
    return scalar(node.value) if node.style is None else node.value


def _collect_places(node: yaml.Node, path: tuple, places: dict[tuple, str], file: str) -> None:
    places[path] = f"{file}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(_values(key), str) or key.value == "<<":
                shown = key.value if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise ConfigError(f"{file}:{line}: {shown}: is not a word and so no key; put it in quotes if it is one")
            if key.value in seen:
                raise ConfigError(f"{file}:{line}: {key.value}: stands twice; keep one of them")
            seen.add(key.value)
            _collect_places(value, (*path, key.value), places, file)
            places[(*path, key.value)] = f"{file}:{line}"
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _collect_places(value, (*path, index), places, file)
