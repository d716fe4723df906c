"""The command line: one verb each, errors as one line, exit status 0, 2 (fix your input) or 128 + signal."""

import argparse
import contextlib
import functools
import importlib
import inspect
import json
import logging
import math
import os
import re
import signal
import sys
import traceback
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from tfmed.errors import Stopped, UserError, nearest, one_line
from tfmed.files import check_text, expanded

VERBS = (
    "fit", "evaluate", "compare", "predict", "sample", "mix", "interpolate", "project", "export", "verify", "prepare",
    "plan", "view", "annotate", "catalog", "configs", "settings", "completion",
)  # fmt: skip


def run(main: Callable[[list[str]], int | None], argv: Sequence[str] | None = None) -> int:
    """Call a verb's `main(argv)` and turn what happens into an exit status.

    Args:
        main: takes the argument list; returns None, or an exit status.
        argv: arguments; default those of the process.
    """
    from tfmed.engine.terminal import set_up_logging

    set_up_logging(logging.INFO)
    _print_what_the_terminal_can()
    _warn_in_one_line()
    try:
        with _told_to_end():
            return main(_words(sys.argv[1:] if argv is None else argv)) or 0
    except UserError as error:
        if logging.getLogger("tfmed").isEnabledFor(logging.DEBUG):
            traceback.print_exc()
        return _refused(error)
    except KeyboardInterrupt as stop:
        print(f"tfmed: interrupted; {getattr(stop, 'way_on', 'repeat the command')}", file=sys.stderr)
        return 128 + getattr(stop, "signum", signal.SIGINT)
    except BrokenPipeError:  # the reader of our output has gone, as in `tfmed catalog | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except MemoryError:
        return _refused("out of memory; lower train.batch_size or the volume's size")
    except OSError as error:  # whatever the file system refuses where nobody knew more to say
        if error.filename is None:
            raise
        return _refused(f"{error.filename}: {error.strerror}; check the path, its permissions and the disk")
    except Exception as error:
        if line := _refusal_of_tensorflow(error):
            return _refused(line)
        raise


@contextlib.contextmanager
def _told_to_end() -> Iterator[None]:
    """SIGTERM ends a verb as Ctrl-C does, so that what is half-written is taken away; a second one ends it at once."""

    def note(signum: int, frame: Any) -> NoReturn:
        signal.signal(signum, signal.SIG_DFL)
        raise Stopped(signum)

    try:
        before = signal.signal(signal.SIGTERM, note)
    except ValueError:  # not in the main thread: somebody else handles signals
        before = None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _refused(line: object) -> int:
    print(f"tfmed: {one_line(line)}", file=sys.stderr)
    return 2


_HOME = re.compile(r"(^|[=,:])(~[^/=,:]*)(?=/)|^(~[^/=,:]*)$")


def _words(argv: Sequence[str]) -> list[str]:
    """The arguments, `~` replaced where the shell leaves it alone: behind `--out=`, `t1=` and in quotes."""

    def home(found: re.Match[str]) -> str:
        return (found[1] or "") + str(expanded(found[2] or found[3]))

    return [_HOME.sub(home, check_text(word)) for word in argv]


def _refusal_of_tensorflow(error: Exception) -> str | None:
    """A line for what the file system or the memory refused to TensorFlow; None for any other error."""
    errors = getattr(sys.modules.get("tensorflow"), "errors", None)
    if errors is None or not isinstance(error, errors.OpError):
        return None
    what = str(error.message).splitlines()[0][:200]
    if isinstance(error, errors.ResourceExhaustedError):
        return f"out of memory or disk ({what}); lower train.batch_size or the model's size, or free some disk"
    files = errors.PermissionDeniedError, errors.NotFoundError, errors.FailedPreconditionError, errors.DataLossError
    return f"{what}; check the path, its permissions and the disk" if isinstance(error, files) else None


def _print_what_the_terminal_can() -> None:
    """Characters that the output's encoding lacks become question marks, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # streams of notebooks and test runners may not have it
            stream.reconfigure(errors="replace")


def _warn_in_one_line() -> None:
    """Our warnings are about a user's files: where in our code they were raised is nothing to a user."""
    usual, here = warnings.formatwarning, os.path.dirname(os.path.abspath(__file__))
    if getattr(usual, "in_one_line", False):
        return

    def one_line(message: Any, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
        if issubclass(category, UserWarning) and os.path.abspath(filename).startswith(here):
            return f"tfmed: warning: {' '.join(str(message).split())}\n"
        return usual(message, category, filename, lineno, line)

    one_line.in_one_line = True  # type: ignore[attr-defined]
    warnings.formatwarning = one_line


class _Asked(Exception):
    """Carries the parser of a verb that was only asked for it."""


class Parser(argparse.ArgumentParser):
    """Usage errors in one line, like all others."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if isinstance(args, _ParserAlone):
            raise _Asked(self)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see '{self.prog} --help'")


class _ParserAlone(list[str]):
    """Words by which a verb is asked for its parser alone."""


def parser_of(verb: str) -> Parser:
    """The parser that a verb's `main` makes; the verb does nothing."""
    try:
        importlib.import_module(f"tfmed.{verb}").main(_ParserAlone())
    except _Asked as answer:
        return answer.args[0]
    raise TypeError("the verb parses no words")


def start_tensorflow() -> None:
    """Import TensorFlow without the start-up messages that would hide ours."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        importlib.import_module("tensorflow")
        importlib.import_module("keras")
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def parser(verb: str, description: str) -> Parser:
    """An argument parser for a verb."""
    found = Parser(prog=f"tfmed {verb}", description=description, allow_abbrev=False)
    loud = found.add_mutually_exclusive_group()
    loud.add_argument("-q", "--quiet", action=_Loudness, const=logging.WARNING, help="say what is wrong, and no more")
    loud.add_argument("-v", "--verbose", action=_Loudness, const=logging.DEBUG, help="with tracebacks of what is wrong")
    return found


class _Loudness(argparse.Action):
    """Sets how much is said on standard error, at once: what is wrong with later words is told in that way."""

    def __init__(self, **options: Any) -> None:
        super().__init__(nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, *_: Any) -> None:
        from tfmed.engine import terminal

        terminal.set_up_logging(self.const)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Give a verb that prints a table the option to print it as JSON."""
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")


def print_json(document: Any) -> None:
    """A document on standard output; numbers that JSON does not have, NaN and infinities, are null."""
    print(json.dumps(_plain(document), indent=1, ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if hasattr(value, "item"):  # a number of numpy
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, os.PathLike) else value


def at_least(lowest: int, highest: int = 2**31 - 1) -> Callable[[str], int]:
    """What reads an argument that is a whole number from `lowest` to `highest`."""

    def number(word: str) -> int:
        try:
            value = int(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{word[:30]!r} is no whole number") from None
        if value < lowest:
            raise argparse.ArgumentTypeError(f"{word} is less than {lowest}")
        if value > highest:
            raise argparse.ArgumentTypeError(f"{word:.30} is more than {highest}")
        return value

    return number


def number(word: str) -> float:
    """What reads an argument that is a finite number."""
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not abs(value) <= 1e6:
        raise argparse.ArgumentTypeError(f"{word[:30]!r} is no number between -1e6 and 1e6")
    return value


def trained(
    parser: Parser,
    argv: Sequence[str],
    ability: str,
    functions: Sequence[str] = (),
    as_used: Callable[[argparse.Namespace, Any], Any] = lambda arguments, run: run,
) -> tuple[argparse.Namespace, Any, Any, list[dict[str, Any]]]:
    """(arguments, run, its Method with the trained weights, [{argument: value} of each function's options]) of a verb.

    The first run directory among the words says which method it is, and so which options there are.

    Args:
        parser: has the argument `run`.
        argv: the words.
        ability: name of a class of `tfmed.engine.abilities`.
        functions: names of its functions whose options the verb takes.
        as_used: function of the arguments and the run, before its weights are read -> the run as the verb uses it.

    Raises:
        UserError: an option that the method does not have, or a value that it does not take.
        RunError: no run, or its method lacks the ability.
    """
    if not any(_is_run(word) for word in argv):
        parser.parse_known_args(argv)  # --help, or what is missing, is told before TensorFlow is started
    start_tensorflow()
    from tfmed import registry
    from tfmed.engine import abilities, options, use

    path = next((word for word in argv if _is_run(word)), None) or parser.parse_known_args(argv)[0].run
    run = use.opened(path, getattr(abilities, ability))
    kind = registry.method_class(run.method_name)
    found = [getattr(kind, name) for name in functions]
    arguments = options.parse(parser, argv, found, run.method_name)
    given = [options.given(arguments, function) for function in found]
    run = run if arguments.run == path else use.opened(arguments.run, getattr(abilities, ability))
    run = as_used(arguments, run)
    return arguments, run, run.restored(), given


def _is_run(word: str) -> bool:
    return any(os.path.isfile(os.path.join(word, name)) for name in ("config.yaml", "bundle.json"))


def callable_module(name: str, function: Callable[..., Any]) -> None:
    """Make `tfmed.fit(...)` work although `tfmed.fit` is a module (so that `python -m tfmed.fit` works as well)."""

    class Verb(types.ModuleType):
        @functools.wraps(function)
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        __signature__ = inspect.signature(function)

    sys.modules[name].__class__ = Verb


def console_script() -> int:
    """`tfmed <verb> ...`."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print("usage: tfmed {" + ",".join(VERBS) + "} ...\n\n'tfmed <verb> --help' tells the rest.")
        return 0 if words else 2
    if words[0] in ("--version", "-V"):
        from tfmed.startup import VERSION

        print(f"tfmed {VERSION}")
        return 0
    if words[0] not in VERBS:
        print(f"tfmed: no verb {words[0]!r}{nearest(words[0], VERBS)}", file=sys.stderr)
        return 2
    return run(importlib.import_module(f"tfmed.{words[0]}").main, words[1:])
