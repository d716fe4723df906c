"""python -m tfmed.export RUN [--out DIR] [--format onnx|bundle]: write a trained model so that it works elsewhere."""

import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from tfmed import cli
from tfmed.errors import UserError
from tfmed.files import PathLike

if TYPE_CHECKING:
    from tfmed.engine.run import Run


NAMES = {"savedmodel": "SavedModel", "onnx": "ONNX", "bundle": "bundle"}


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("export", "Write a trained model as a SavedModel that works without tfmed.")
    parser.add_argument("run", help="run directory")
    parser.add_argument(
        "--out", help="folder, of ONNX the file, to write (default: export, model.onnx or bundle in RUN)"
    )
    parser.add_argument(
        "--format",
        choices=NAMES,
        default="savedmodel",
        help="onnx: the network alone, on what has been prepared; needs pip install 'tfmed[onnx]'. bundle: the "
        "SavedModel, settings, weights, a model card, hashes and an example, to pass on",
    )
    parser.add_argument(
        "--example",
        choices=("made", "case"),
        help="of a bundle: made from a seed, or the middle of a test or validation case, which then is passed on "
        "(default: a case where all are built-in phantoms, else made)",
    )
    parser.add_argument(
        "--licence", metavar="TEXT", help="of a bundle: what its model card says (default: to be filled in)"
    )
    arguments = parser.parse_args(argv)
    options = {"example": arguments.example, "licence": arguments.licence}
    if arguments.format != "bundle" and any(options.values()):
        raise UserError("--example and --licence are for bundles; add --format bundle, or leave them out")
    cli.start_tensorflow()
    print(f"{NAMES[arguments.format]}: {_export(arguments.run, arguments.out, arguments.format, **options)}")


def _export(
    run: "Run | PathLike",
    out: PathLike | None = None,
    format: Literal["savedmodel", "onnx", "bundle"] = "savedmodel",
    example: Literal["made", "case"] | None = None,
    licence: str | None = None,
) -> pathlib.Path:
    """Write a trained run's model so that it works elsewhere: a SavedModel folder, its network as ONNX, or a bundle.

    Args:
        run: Run, or its directory.
        out: folder, or ONNX file, to write; default `export`, `model.onnx` or `bundle` in the run's directory.
        format: "savedmodel"; "onnx" for the network alone, on what has been prepared; or "bundle" for a folder with
            all that belongs to the model, which can be verified, used as a run, and trained from.
        example: of a bundle: "made" from a seed, or of a "case" that the run tests or validates with; None: a case
            where all are built-in phantoms.
        licence: of a bundle: what its model card says.

    Returns:
        What was written.
    """
    from tfmed.engine.exporting import export
    from tfmed.engine.run import Run, load_run

    run = run if isinstance(run, Run) else load_run(run)
    if out is None:
        run.check_writable("give another folder by --out")
    if format == "bundle":
        from tfmed.engine import bundling
        from tfmed.tasks.exported import given

        return bundling.write(run, out or run.path / "bundle", given, example, licence)
    if format == "onnx":
        from tfmed.engine.onnx import export_onnx

        return export_onnx(run, out or run.path / "model.onnx")
    return export(run, out or run.path / "export")


if __name__ == "__main__":
    sys.exit(cli.run(main))
cli.callable_module(__name__, _export)
