"""python -m tfmed.evaluate RUN [--compare RUN ...]: score a trained model; writes RUN/evaluation.csv and the report."""

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
    parser.add_argument("run", help="run directory")
    parser.add_argument("--compare", nargs="*", default=[], metavar="RUN", help="further runs, such as a baseline's")
    cli.add_json(parser)
    arguments, run, method, (options,) = cli.trained(parser, argv, "CanEvaluate", ("evaluate",))
    from tfmed.engine import report, use
    from tfmed.engine.terminal import print_definitions, print_table

    found = use.evaluate_method(run, method, arguments.compare, options)
    files = {"table": run.path / "evaluation.csv", "report": run.path / "report.html"}
    if arguments.json:
        cli.print_json({**found, **files})
        return
    print_table([report.joined({key: str(value) for key, value in row.items()}) for row in found["evaluation"]])
    print_definitions(found["evaluation"])
    for name, path in files.items():
        print(f"{name}: {path}")


def _evaluate(run: "Run | PathLike", compare: Sequence["Run | PathLike"] = (), **options: Any) -> "Evaluation":
    """Score a trained run; the same as `tfmed.engine.use.evaluate`.

    Args:
        run: Run, or its directory.
        compare: further runs of the same method, such as a baseline's, for the same tables.
        options: those of the method, such as `part="validation"`; see `tfmed evaluate RUN --help`.

    Returns:
        {name of a table: list of rows}, "evaluation" first.
    """
    from tfmed.engine import use

    return use.evaluate(run, compare, **options)


if __name__ == "__main__":
    sys.exit(cli.run(main))
cli.callable_module(__name__, _evaluate)
