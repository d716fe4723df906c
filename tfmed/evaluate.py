"""python -m tfmed.evaluate RUN [--compare RUN ...]: score a trained model; writes RUN/evaluation.csv and the report."""

import csv
import sys

from tfmed import cli
from tfmed.errors import RunError, UserError


def main(argv):
    parser = cli.parser("evaluate", "Score a trained model.")
    parser.add_argument("run", help="run directory")
    parser.add_argument("--compare", nargs="*", default=[], metavar="RUN", help="further runs, such as a baseline's")
    parser.add_argument(
        "--features",
        default="random:0",
        help="random:SEED (default random:0), inception:WEIGHTS_FILE or savedmodel:FOLDER",
    )
    parser.add_argument("-n", "--count", type=int, default=16, help="volumes per source (default: 16)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    cli.start_tensorflow()
    if arguments.count < 2:
        raise UserError(f"--count: {arguments.count} is too few to compare; give at least 2")
    from tfmed.engine import report
    from tfmed.engine.run import load_run
    from tfmed.files import atomic_path

    runs = [load_run(path) for path in (arguments.run, *arguments.compare)]
    for run in runs:
        if run.method_name != runs[0].method_name:
            raise RunError(
                f"{run.path}: is a run of {run.method_name}, not {runs[0].method_name}; compare like with like"
            )
    methods = [run.restored() for run in runs]
    if not hasattr(methods[0], "evaluate"):
        raise RunError(f"{runs[0].path}: method {runs[0].method_name!r} has no evaluation")
    names = [run.path.name for run in runs]
    rows = methods[0].evaluate(
        dict(zip(names, methods, strict=True)), count=arguments.count, seed=arguments.seed, features=arguments.features
    )
    path = runs[0].path / "evaluation.csv"
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    _show(rows)
    print(f"table: {path}\nreport: {report.write(runs[0])}")


def _show(rows):
    from rich.table import Table

    from tfmed.engine.terminal import output

    table = Table(*rows[0], box=None)
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    output.print(table)


if __name__ == "__main__":
    sys.exit(cli.run(main))
