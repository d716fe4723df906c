"""Options of a method's abilities on the command line: declared by annotated arguments, checked as settings are."""

import argparse
import dataclasses
import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any

import pydantic

from tfmed.errors import UserError, nearest

GREATEST = 2**31 - 1  # of a number; neither counts nor seeds are ever larger


@dataclasses.dataclass(frozen=True)
class Option:
    """How an argument is given on the command line.

    Args:
        flag: its name there, without dashes.
        help: one line.
        short: a second, short flag.
        many: takes several words.
    """

    flag: str
    help: str
    short: str | None = None
    many: bool = False


@dataclasses.dataclass(frozen=True)
class _Declared:
    name: str
    option: Option
    kind: object
    default: object

    @property
    def help(self) -> str:
        shown = "" if self.default in (None, (), inspect.Parameter.empty) else f" (default: {self.default})"
        return self.option.help + shown


def declared(*functions: Callable[..., Any]) -> dict[str, _Declared]:
    """The options of functions, by flag: their arguments that are annotated with an `Option`."""
    found = {}
    for function in functions:
        hints = typing.get_type_hints(function, include_extras=True)
        for name, parameter in inspect.signature(function).parameters.items():
            option = next((m for m in getattr(hints.get(name), "__metadata__", ()) if isinstance(m, Option)), None)
            if option:
                found[option.flag] = _Declared(name, option, hints[name], parameter.default)
    return found


def add(parser: argparse.ArgumentParser, functions: Sequence[Callable[..., Any]]) -> None:
    """Give an `argparse` parser the options of functions; words stay text until `given` checks them."""
    for flag, one in declared(*functions).items():
        names = [f"--{flag}", *([one.option.short] if one.option.short else [])]
        parser.add_argument(*names, dest=one.name, nargs="+" if one.option.many else None, help=one.help)


def given(arguments: argparse.Namespace, function: Callable[..., Any]) -> dict[str, Any]:
    """{argument: value} of the options of a function that stand in parsed arguments.

    Raises:
        UserError: a value is not what the option takes.
    """
    found = {}
    for flag, one in declared(function).items():
        word = getattr(arguments, one.name, None)
        if word is not None:
            found[one.name] = _checked(flag, one.kind, word)
    return found


def _checked(flag: str, kind: Any, word: Any) -> Any:
    try:
        value = pydantic.TypeAdapter(kind).validate_python(word)
        if isinstance(value, (int, float)) and not abs(value) <= GREATEST:
            raise UserError(f"--{flag}: {word:.40} is beyond reason; give a number of at most {GREATEST:g}")
        return value
    except pydantic.ValidationError as error:
        problem = error.errors(include_url=False)[0]
        message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
        raise UserError(f"--{flag}: {str(word)[:200]} {message}") from None


def parse(
    parser: argparse.ArgumentParser, argv: Sequence[str], functions: Sequence[Callable[..., Any]], method_name: str
) -> argparse.Namespace:
    """Arguments of a verb with the options of a method's functions; UserError for any other."""
    add(parser, functions)
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        flags = [word for word in unknown if word.startswith("-")] or unknown
        flag, known = flags[0].partition("=")[0], [f"--{flag}" for flag in declared(*functions)]
        raise UserError(f"{flag}: means nothing for method {method_name!r}{nearest(flag, known) or '; leave it out'}")
    return arguments
