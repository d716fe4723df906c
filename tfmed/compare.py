"""python -m tfmed.compare CONFIG CONFIG ... --out DIR [--seeds N] [key=value ...]: train, score and compare methods."""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfmed import cli
from tfmed.errors import UserError
from tfmed.files import PathLike

if TYPE_CHECKING:
    from tfmed.engine.study import Comparison


def main(argv: Sequence[str]) -> int | None:
    parser = cli.parser("compare", "Train several settings files with several seeds each, and compare their scores.")
    parser.add_argument(
        "words", nargs="+", metavar="CONFIG", help="settings files, the baseline first, and key=value for all of them"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of runs, tables, pictures and report")
    parser.add_argument(
        "--seeds", type=cli.at_least(1, 10_000), metavar="N", help="seeds 0 .. N - 1 (default: 3; with --folds 1)"
    )
    parser.add_argument(
        "--folds", type=cli.at_least(2, 1000), metavar="K", help="cross-validation: every case is tested once"
    )
    parser.add_argument(
        "--bridge", metavar="CONFIG", help="which of the files has all labels: how much of the gap to it each closes"
    )
    parser.add_argument("--profile", default="paper", help="named set of changes, e.g. demo (default: paper)")
    parser.add_argument("--part", choices=("test", "validation", "train"), default="test", help="cases to score")
    cli.add_json(parser)
    arguments = parser.parse_intermixed_args(argv)
    configs = [word for word in arguments.words if "=" not in word or os.path.exists(word)]
    overrides = [word for word in arguments.words if word not in configs]
    if len(configs) < (1 if arguments.folds else 2):
        raise UserError(
            f"compare: needs at least two settings files, or one and --folds, got {len(configs)}; see 'tfmed compare "
            "--help'"
        )
    cli.start_tensorflow()
    from tfmed.engine.terminal import print_definitions, print_table

    how = {"overrides": overrides, "profile": arguments.profile, "part": arguments.part}
    how |= {"folds": arguments.folds, "bridge": arguments.bridge}
    comparison, failed = _trained(configs, arguments.out, arguments.seeds, **how)
    if comparison.scored():
        rows, files = comparison.table(), {"table": comparison.out / "comparison.csv", "report": comparison.write()}
        if arguments.json:
            cli.print_json({"comparison": rows, **files})
        else:
            print_table(rows)
            print_definitions(rows)
            for name, path in files.items():
                print(f"{name}: {path}")
    if failed:
        raise UserError(_failure(comparison, failed))
    return 0


def _trained(
    configs: Sequence[PathLike], out: PathLike, seeds: int | None, **how: Any
) -> "tuple[Comparison, list[str]]":
    """(the Comparison, what failed of it) of so many seeds."""
    from tfmed.engine.study import Comparison

    comparison = Comparison(configs, out, range(seeds or (1 if how.get("folds") else 3)), **how)
    return comparison, comparison.train_and_score()


def _failure(comparison: "Comparison", failed: list[str]) -> str:
    return f"{len(failed)} of {comparison.count} runs failed ({failed[0]}); fix it and repeat the command"


def _compare(configs: Sequence[PathLike], out: PathLike, seeds: int | None = None, **how: Any) -> list[dict[str, Any]]:
    """Train settings files with several seeds each, and compare their scores; what is done is not done again.

    Args:
        configs: settings files, or names of methods; the first is what the others are compared with.
        out: folder of runs, tables, pictures and report.
        seeds: how many, from 0; default 3, with `folds` 1.
        how: `overrides`, `profile`, `part`, `folds` and `bridge`, as of `tfmed.engine.study.Comparison`.

    Returns:
        The rows of the table, which also stands in `out/comparison.csv`.

    Raises:
        UserError: settings are wrong, or runs failed.
    """
    comparison, failed = _trained(configs, out, seeds, **how)
    if failed:
        raise UserError(_failure(comparison, failed))
    comparison.write()
    return comparison.table()


if __name__ == "__main__":
    sys.exit(cli.run(main))
cli.callable_module(__name__, _compare)
