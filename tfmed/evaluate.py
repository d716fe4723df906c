"""python -m tfmed.evaluate RUN [--compare RUN ...]: score a trained model; writes RUN/evaluation.csv and the report."""

import csv
import sys

from tfmed import cli
from tfmed.errors import RunError, UserError
from tfmed.files import atomic_path


def main(argv):
    parser = cli.parser("evaluate", "Score a trained model; 'tfmed evaluate RUN --help' shows a run's options.")
    parser.add_argument("run", help="run directory")
    parser.add_argument("--compare", nargs="*", default=[], metavar="RUN", help="further runs, such as a baseline's")
    arguments, first, method, (options,) = cli.trained(parser, argv, "CanEvaluate", ("evaluate",))
    from tfmed.engine import previews, report
    from tfmed.engine.run import load_run
    from tfmed.engine.terminal import print_definitions, print_table

    runs = [first, *(load_run(path) for path in arguments.compare)]
    for run in runs:
        if run.method_name != first.method_name:
            raise RunError(
                f"{run.path}: is a run of {run.method_name}, not {first.method_name}; compare like with like"
            )
    methods = [method, *(run.restored() for run in runs[1:])]
    names = _names([run.path for run in runs])
    found = method.evaluate(dict(zip(names, methods, strict=True)), **options)
    for name, rows in found.items():
        _write(first.path / f"{name}.csv", rows)
    previews.write(found.pictures, first.path, None)
    print_table([report.joined({key: str(value) for key, value in row.items()}) for row in found["evaluation"]])
    print_definitions(found["evaluation"])
    print(f"table: {first.path / 'evaluation.csv'}\nreport: {report.write(first)}")


def _names(paths):
    """What tables call the runs: their folders' names, or the paths where two have one name."""
    names = [path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path.resolve()) for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--compare: {name} is there twice; name each run once")
    return names


def _write(path, rows):
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(cli.run(main))
