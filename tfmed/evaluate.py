"""python -m tfmed.evaluate RUN [--compare RUN ...]: score a trained model; writes RUN/evaluation.csv and the report."""

import csv
import inspect
import sys

from tfmed import cli
from tfmed.errors import RunError, UserError
from tfmed.files import atomic_path


def main(argv):
    parser = cli.parser("evaluate", "Score a trained model.")
    parser.add_argument("run", help="run directory")
    parser.add_argument("--compare", nargs="*", default=[], metavar="RUN", help="further runs, such as a baseline's")
    parser.add_argument(
        "--features",
        help="of generated images: random:SEED (default random:0), inception:WEIGHTS_FILE or savedmodel:FOLDER",
    )
    parser.add_argument("-n", "--count", type=int, help="generated volumes per source (default: 16)")
    parser.add_argument("--part", choices=("test", "validation", "train"), help="cases to segment (default: test)")
    parser.add_argument("--seed", type=int, help="of random choices (default: 0)")
    parser.add_argument(
        "--segmenters",
        nargs="+",
        metavar="RUN",
        help="of translations: segmentation runs that find structures in them, one per modality (default: thresholds)",
    )
    arguments = parser.parse_args(argv)
    cli.start_tensorflow()
    if arguments.count is not None and arguments.count < 2:
        raise UserError(f"--count: {arguments.count} is too few to compare; give at least 2")
    from tfmed.engine import previews, report
    from tfmed.engine.run import load_run
    from tfmed.engine.terminal import print_table

    runs = [load_run(path) for path in (arguments.run, *arguments.compare)]
    for run in runs:
        if run.method_name != runs[0].method_name:
            raise RunError(
                f"{run.path}: is a run of {run.method_name}, not {runs[0].method_name}; compare like with like"
            )
    methods = [run.restored() for run in runs]
    if not hasattr(methods[0], "evaluate"):
        raise RunError(f"{runs[0].path}: method {runs[0].method_name!r} has no evaluation")
    names = _names([run.path for run in runs])
    options = _options(methods[0], arguments, runs[0].method_name)
    tables = methods[0].evaluate(dict(zip(names, methods, strict=True)), **options)
    for name, rows in tables.items():
        _write(runs[0].path / f"{name}.csv", rows)
    previews.write(getattr(methods[0], "evaluation_pictures", {}), runs[0].path, None)
    print_table([report.joined({key: str(value) for key, value in row.items()}) for row in tables["evaluation"]])
    print(f"table: {runs[0].path / 'evaluation.csv'}\nreport: {report.write(runs[0])}")


def _names(paths):
    """What tables call the runs: their folders' names, or the paths where two have one name."""
    names = [path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path.resolve()) for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--compare: {name} is there twice; name each run once")
    return names


def _options(method, arguments, name):
    """The options that were given; each must be one that the method's evaluation has."""
    given = {key: getattr(arguments, key) for key in ("features", "count", "part", "seed", "segmenters")}
    given = {key: value for key, value in given.items() if value is not None}
    known = inspect.signature(method.evaluate).parameters
    for key in given:
        if key not in known:
            raise UserError(f"--{key}: means nothing for method {name!r}; leave it out")
    if "segmenters" in given:
        from tfmed.tasks.structures import open_segmenters

        given["segmenters"] = open_segmenters(given["segmenters"])
    return given


def _write(path, rows):
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(cli.run(main))
