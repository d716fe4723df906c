"""python -m tfmed.view FILE_OR_RUN ... [--out page.html]: volumes and their layers in one page, without a network."""

import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfmed import cli
from tfmed.errors import UserError
from tfmed.files import PathLike, expanded

if TYPE_CHECKING:
    from tfmed.engine.run import Run

PAGE = "view.html"  # of files and bundles, in the working directory; of a run in its own

_OF_RUNS = ("config.yaml", "bundle.json")  # what lies in a run, in a bundle


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("view", "Write one HTML page that shows volumes and pictures with what lies over them.")
    parser.add_argument(
        "words",
        nargs="+",
        metavar="file, run or bundle",
        help="images, label maps (x_labels, x_seg), x_probabilities and x_entropy on their grids; or image=FILE, "
        "labels=FILE, probabilities=FILE, entropy=FILE; or run directories of one method, whose cases are shown; or "
        "bundles, whose examples are",
    )
    parser.add_argument("--out", help=f"page to write (default: {PAGE} in the run, or here)")
    parser.add_argument("--part", choices=("test", "validation", "train"), default="test", help="cases of a run")
    parser.add_argument("-n", "--count", type=cli.at_least(1), help="cases of a run at most (default: all)")
    parser.add_argument("--spacing", type=cli.number, metavar="MM", help="show files in voxels of this size")
    parser.add_argument("--together", action="store_true", help="images of files on one grid side by side")
    arguments = parser.parse_args(argv)
    runs = [word for word in arguments.words if any((expanded(word) / name).is_file() for name in _OF_RUNS)]
    if runs and len(runs) < len(arguments.words):
        raise UserError("view: give files or runs, not both; predict the files first")
    if arguments.spacing is not None and (runs or arguments.spacing <= 0):
        raise UserError("--spacing: is a number of mm above 0, for files")
    if runs:
        print(_view(list(runs), arguments.out, arguments.part, arguments.count))
        return
    print(_view_files(arguments.words, arguments.out or PAGE, arguments.together, arguments.spacing))


def _view_files(words: Sequence[str], out: PathLike, together: bool, spacing: float | None) -> pathlib.Path:
    from tfmed.engine import view_page
    from tfmed.pictures import of_files

    path = expanded(out)
    view_page.write(
        of_files.views(words, together, spacing), path, ", ".join(pathlib.Path(word).name for word in words)
    )
    return path


def _view(
    runs: "Run | PathLike | list[Run | PathLike]",
    out: PathLike | None = None,
    part: str = "test",
    count: int | None = None,
) -> pathlib.Path:
    """Write a page that shows the cases of a trained run: reference, prediction, errors; of a generator, samples; of a
    bundle its example.

    Args:
        runs: Run, or its directory; of several runs of one method, what each makes of a case stands side by side. Or
            bundles of any methods.
        out: the page; default view.html in the run's directory, to which its report then links, of bundles here.
        part: "test", "validation" or "train".
        count: of cases at most; default all that have room.

    Returns:
        Path of the page.
    """
    cli.start_tensorflow()
    from tfmed.engine import report, use, view_page
    from tfmed.engine.bundle import BundledRun
    from tfmed.engine.run import Run, load_run
    from tfmed.tasks import example_views

    runs = [one if isinstance(one, Run) else load_run(one) for one in (runs if isinstance(runs, list) else [runs])]
    bundles = [one.bundle for one in runs if isinstance(one, BundledRun)]
    if bundles and len(bundles) < len(runs):
        raise UserError("view: give runs or bundles, not both; a bundle shows its example, and a run its cases")
    if bundles:
        path = expanded(PAGE if out is None else out)
        view_page.write(map(example_views.view, bundles), path, ", ".join(one.path.resolve().name for one in bundles))
        return path
    found, views = use.views(runs, part, count)
    path = found[0].path / report.VIEW if out is None else expanded(out)
    view_page.write(views, path, ", ".join(run.path.resolve().name for run in found))
    if out is None:
        report.write(found[0])
    return path


if __name__ == "__main__":
    sys.exit(cli.run(main))
cli.callable_module(__name__, _view)
