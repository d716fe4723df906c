"""python -m tfmed.export RUN [--out DIR] [--format onnx]: write a trained model so that it works without tfmed."""

import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from tfmed import cli
from tfmed.files import PathLike

if TYPE_CHECKING:
    from tfmed.engine.run import Run


NAMES = {"savedmodel": "SavedModel", "onnx": "ONNX"}


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("export", "Write a trained model as a SavedModel that works without tfmed.")
    parser.add_argument("run", help="run directory")
    parser.add_argument("--out", help="folder, of ONNX the file, to write (default: RUN/export, RUN/model.onnx)")
    parser.add_argument(
        "--format",
        choices=NAMES,
        default="savedmodel",
        help="onnx: the network alone, on what has been prepared; needs pip install 'tfmed[onnx]'",
    )
    arguments = parser.parse_args(argv)
    cli.start_tensorflow()
    print(f"{NAMES[arguments.format]}: {_export(arguments.run, arguments.out, arguments.format)}")


def _export(
    run: "Run | PathLike", out: PathLike | None = None, format: Literal["savedmodel", "onnx"] = "savedmodel"
) -> pathlib.Path:
    """Write a trained run's model so that it works without tfmed: as a SavedModel folder, or its network as ONNX.

    Args:
        run: Run, or its directory.
        out: folder, or ONNX file, to write; default `export` or `model.onnx` in the run's directory.
        format: "savedmodel", or "onnx" for the network alone, on what has been prepared.

    Returns:
        What was written.
    """
    from tfmed.engine.exporting import export
    from tfmed.engine.run import Run, load_run

    run = run if isinstance(run, Run) else load_run(run)
    if format == "onnx":
        from tfmed.engine.onnx import export_onnx

        return export_onnx(run, out or run.path / "model.onnx")
    return export(run, out or run.path / "export")


if __name__ == "__main__":
    sys.exit(cli.run(main))
cli.callable_module(__name__, _export)
