"""python -m tfmed.evaluate RUN [data.root=FOLDER ... --out DIR] [--compare RUN ...]: score a trained model."""

import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfmed import cli
from tfmed.files import PathLike

if TYPE_CHECKING:
    from tfmed.engine.abilities import Evaluation
    from tfmed.engine.run import Run


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("evaluate", "Score a trained model; 'tfmed evaluate RUN --help' shows a run's options.")
    parser.add_argument("run", help="run directory, or a bundle")
    parser.add_argument(
        "data",
        nargs="*",
        metavar="data.key=value",
        help="other data, all of whose cases test: data.source, data.root, data.options; needs --out",
    )
    parser.add_argument("--out", help="folder to write to (default: the run directory)")
    parser.add_argument("--compare", nargs="*", default=[], metavar="RUN", help="further runs, such as a baseline's")
    cli.add_json(parser)
    data = [word for word in argv if word.startswith("data.") and "=" in word]
    words = [word for word in argv if word not in data] if data else argv  # wherever they stand, also behind --compare

    def as_used(arguments: Any, run: Any) -> Any:
        from tfmed.engine import use

        return use.to_be_scored(run, arguments.out, data)

    arguments, run, method, (options,) = cli.trained(parser, words, "CanEvaluate", ("evaluate",), as_used)
    from tfmed.engine import report, use
    from tfmed.engine.terminal import print_definitions, print_table

    found = use.evaluate_method(run, method, arguments.compare, options, arguments.out, data)
    folder = pathlib.Path(arguments.out or run.path)
    files = {"table": folder / "evaluation.csv", "report": folder / "report.html"}
    if arguments.json:
        cli.print_json({**found, **files})
        return
    print_table([report.joined({key: str(value) for key, value in row.items()}) for row in found["evaluation"]])
    print_definitions(found["evaluation"])
    for name, path in files.items():
        print(f"{name}: {path}")


def _evaluate(
    run: "Run | PathLike",
    compare: Sequence["Run | PathLike"] = (),
    out: PathLike | None = None,
    data: Sequence[str] = (),
    **options: Any,
) -> "Evaluation":
    """Score a trained run; the same as `tfmed.engine.use.evaluate`.

    Args:
        run: Run, its directory, or a bundle's.
        compare: further runs of the same method, such as a baseline's, for the same tables.
        out: another folder to write to; a bundle, and scores on other data, need one.
        data: `key=value` that say where other data lie: `data.source`, `data.root`, `data.options`; all cases test.
        options: those of the method, such as `part="validation"`; see `tfmed evaluate RUN --help`.

    Returns:
        {name of a table: list of rows}, "evaluation" first.
    """
    from tfmed.engine import use

    return use.evaluate(run, compare, out, data, **options)


if __name__ == "__main__":
    sys.exit(cli.run(main))
cli.callable_module(__name__, _evaluate)
