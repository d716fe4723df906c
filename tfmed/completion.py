"""python -m tfmed.completion bash|zsh|tcsh: what makes a shell complete verbs, options and files of tfmed.

For bash: `tfmed completion bash > ~/.local/share/bash-completion/completions/tfmed`.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from tfmed import cli
from tfmed.errors import UserError

_FILES = (
    "bundles",
    "config",
    "run",
    "inputs",
    "volume",
    "words",
    "folder",
    "out",
    "run_dir",
    "compare",
    "rows",
    "columns",
)


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("completion", "Print what makes a shell complete verbs, options and files of tfmed.")
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    arguments = parser.parse_args(argv)
    try:
        import shtab
    except ImportError:
        raise UserError("completion needs a further package; pip install 'tfmed[completion]'") from None
    print(shtab.complete(whole(shtab), arguments.shell))


def whole(shtab: Any) -> argparse.ArgumentParser:
    """One parser that has those of all verbs."""
    found = argparse.ArgumentParser(prog="tfmed")
    found.add_argument("--version", action="store_true")
    verbs = found.add_subparsers(dest="verb")
    for verb in cli.VERBS:
        own = cli.parser_of(verb)
        for action in own._actions:
            if action.dest in _FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        verbs.add_parser(verb, parents=[own], add_help=False, help=own.description, description=own.description)
    return found


if __name__ == "__main__":
    sys.exit(cli.run(main))
