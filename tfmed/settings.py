"""python -m tfmed.settings NAME [--profile demo]: every setting of a method with its value, type and meaning."""

import ast
import functools
import inspect
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, get_args, get_origin

import pydantic

from tfmed import cli


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("settings", "Show every setting of a method: its value, what it may be, and what it means.")
    parser.add_argument("name", help="a method, such as gbdl or equireg/volumes, or a settings file")
    parser.add_argument("words", nargs="*", default=[], metavar="TEXT", help="show those with this in their name alone")
    parser.add_argument("--profile", default="paper", help="named set of changes, e.g. demo (default: paper)")
    cli.add_json(parser)
    arguments = parser.parse_intermixed_args(argv)
    from tfmed.config import find_config

    find_config(arguments.name)  # a wrong name is told before TensorFlow is started
    cli.start_tensorflow()
    from rich.table import Column, Table
    from rich.text import Text

    from tfmed.config import load_config
    from tfmed.engine.terminal import output

    settings = load_config(arguments.name, (), arguments.profile)
    rows = [row for row in described(settings) if all(word in row["setting"] for word in arguments.words)]
    if arguments.json:
        cli.print_json(rows)
        return
    table = Table("setting", *(Column(name, overflow="fold") for name in ("value", "type", "meaning")), box=None)
    for row in rows:
        table.add_row(row["setting"], *(Text(str(row[name])) for name in ("value", "type", "meaning")))
    output.print(table)


def described(settings: pydantic.BaseModel, prefix: str = "") -> Iterator[dict[str, Any]]:
    """A row {"setting", "value", "type", "meaning"} for each setting, sections one level after the other."""
    kind = type(settings)
    sources = _sources(kind)
    for name, field in kind.model_fields.items():
        value = getattr(settings, name)
        written, meaning = sources.get(name, ("", ""))
        if isinstance(value, pydantic.BaseModel) and not _choices(field.annotation):
            yield from described(value, f"{prefix}{name}.")
            continue
        plain = settings.model_dump(mode="json", include={name})[name]
        yield {"setting": prefix + name, "value": plain, "type": written, "meaning": meaning}
        for tag, member in _choices(field.annotation).items():
            yield from _of_choice(f"{prefix}{name}", tag, member)


def _of_choice(name: str, tag: str, kind: type[pydantic.BaseModel]) -> Iterator[dict[str, Any]]:
    """Rows for what can be set where `name` is the choice `tag`."""
    for key, (written, meaning) in _sources(kind).items():
        field = kind.model_fields.get(key)
        if field is not None and key != _label(kind):
            value = None if field.is_required() else field.get_default(call_default_factory=True)
            yield {"setting": f"{name}{{{tag}}}.{key}", "value": value, "type": written, "meaning": meaning}


def _choices(annotation: Any) -> dict[str, type[pydantic.BaseModel]]:
    """{tag: class} of a setting, or of a list's entries, that is one of several sections."""
    for kind in _generics(annotation):
        inner = [get_args(one)[0] if get_origin(one) is Annotated else one for one in get_args(kind)]
        members = [one for one in inner if isinstance(one, type) and issubclass(one, pydantic.BaseModel)]
        if len(members) > 1:
            return {str(one.model_fields[_label(one)].default): one for one in members}
    return {}


def _label(kind: type[pydantic.BaseModel]) -> str:
    """The setting that says which of several sections is meant: `name: unet`, `step: resample`."""
    return "name" if "name" in kind.model_fields else next(iter(kind.model_fields))


def _generics(annotation: Any) -> Iterator[Any]:
    """An annotation, and the generic types within it at any depth."""
    yield annotation
    for inner in get_args(annotation):
        if get_origin(inner) is not None:
            yield from _generics(inner)


@functools.cache
def _sources(kind: type) -> dict[str, tuple[str, str]]:
    """{field: (type, comment)} as they stand in the source of a settings class and those that it derives from."""
    found: dict[str, tuple[str, str]] = {}
    for base in reversed(kind.__mro__):
        if not issubclass(base, pydantic.BaseModel) or base.__module__.startswith("pydantic"):
            continue
        try:
            text = textwrap.dedent(inspect.getsource(base))
        except (OSError, TypeError):  # made by pydantic: has no source, and no fields of its own
            continue
        for item, comment in annotated(text, ast.parse(text).body[0]):
            found[item.target.id] = ast.unparse(item.annotation), comment  # type: ignore[union-attr]
    return found


def annotated(text: str, node: ast.AST) -> Iterator[tuple[ast.AnnAssign, str]]:
    """(field, the comment behind it) of a class, a node of the parsed text."""
    lines = text.splitlines()
    for item in getattr(node, "body", ()):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            last = lines[(item.end_lineno or 1) - 1]
            yield item, last[item.end_col_offset or 0 :].partition("#")[2].strip()


if __name__ == "__main__":
    sys.exit(cli.run(main))
