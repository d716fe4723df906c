"""python -m tfmed.export RUN [--out DIR]: write the trained model as a SavedModel that works without tfmed."""

import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfmed import cli
from tfmed.files import PathLike

if TYPE_CHECKING:
    from tfmed.engine.run import Run


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("export", "Write a trained model as a SavedModel that works without tfmed.")
    parser.add_argument("run", help="run directory")
    parser.add_argument("--out", help="folder to write (default: RUN/export)")
    arguments = parser.parse_args(argv)
    cli.start_tensorflow()
    print(f"SavedModel: {_export(arguments.run, arguments.out)}")


def _export(run: "Run | PathLike", out: PathLike | None = None) -> pathlib.Path:
    """Write a trained run's model as a SavedModel folder that works without tfmed.

    Args:
        run: Run, or its directory.
        out: folder to write; default `export` in the run's directory.

    Returns:
        The folder.
    """
    from tfmed.engine.exporting import export
    from tfmed.engine.run import Run, load_run

    run = run if isinstance(run, Run) else load_run(run)
    return export(run, out or run.path / "export")


if __name__ == "__main__":
    sys.exit(cli.run(main))
cli.callable_module(__name__, _export)
