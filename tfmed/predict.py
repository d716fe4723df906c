"""python -m tfmed.predict RUN_OR_SAVEDMODEL INPUT... --out DIR: apply a trained model to volumes."""

import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from tfmed import cli
from tfmed.errors import UserError
from tfmed.files import PathLike, expanded

if TYPE_CHECKING:
    from tfmed.engine.run import Run


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("predict", "Apply a trained model to volumes.")
    parser.add_argument("run", metavar="model", help="run directory, or a SavedModel that 'tfmed export' wrote")
    parser.add_argument(
        "inputs",
        nargs="+",
        help="volumes: files, folders of DICOM series; for several modalities t1=FILE,t2=FILE, or a folder with files "
        "that end in _t1, _t2",
    )
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument(
        "--outputs",
        "--maps",
        metavar="NAME,NAME",
        help="what to write: of segmentation labels,probabilities,entropy (default: all), of MR to CT ct,low,high "
        "(default: ct)",
    )
    parser.add_argument(
        "--format",
        choices=("nifti", "dicom-seg"),
        default="nifti",
        help="dicom-seg: write the labels of a segmented DICOM series as a DICOM Segmentation that refers to it; the "
        "patient's and study's fields of the series are copied into it",
    )
    arguments = parser.parse_args(argv)
    outputs = None if arguments.outputs is None else arguments.outputs.split(",")
    cli.start_tensorflow()
    from tfmed.engine import use

    paths = _paths(pathlib.Path(arguments.run), arguments.inputs, arguments.out, outputs, arguments.format)
    use.new_folder(arguments.out)
    for path in paths:
        print(path)


def _paths(
    model: "Run | PathLike", inputs: PathLike | Sequence[PathLike], out: PathLike, outputs: Sequence[str] | None,
    form: str,
) -> Iterator[pathlib.Path]:  # fmt: skip
    from tfmed import registry
    from tfmed.engine import use
    from tfmed.engine.abilities import CanPredict
    from tfmed.engine.run import Run
    from tfmed.tasks import exported

    if not isinstance(model, Run) and (expanded(model) / "saved_model.pb").is_file():
        predictor = exported.open_model(expanded(model))
        return use.predictions(predictor, inputs, out, _chosen(outputs, predictor.outputs, form))
    run = use.opened(model, CanPredict)
    outputs = _chosen(outputs, registry.method_class(run.method_name).outputs, form)
    return use.predictions(run.restored(), inputs, out, outputs)


def _chosen(outputs: Sequence[str] | None, known: Sequence[str], form: str) -> Sequence[str] | None:
    """The outputs that were asked for, or None."""
    if form == "dicom-seg":
        from tfmed.tasks.prediction import DICOM_SEG

        if "labels" not in known or outputs not in (None, ["labels"]):
            raise UserError("--format dicom-seg: is for the labels of a segmentation; leave it out")
        return [DICOM_SEG]
    for name in outputs or ():
        if name not in known:
            raise UserError(f"--outputs: no output {name!r}; known: {', '.join(known) or 'none, leave it out'}")
    return outputs


def _predict(
    model: "Run | PathLike",
    inputs: PathLike | Sequence[PathLike],
    out: PathLike,
    outputs: Sequence[str] | None = None,
    format: Literal["nifti", "dicom-seg"] = "nifti",
) -> list[pathlib.Path]:
    """Apply a trained model to images, and write what it makes of each below a folder.

    Args:
        model: Run, its directory, or a SavedModel that `tfmed.export` wrote.
        inputs: a file or folder of a DICOM series, or several; `t1=FILE,t2=FILE` for several modalities.
        out: folder to write.
        outputs: which of the method's outputs; None: the usual ones.
        format: "dicom-seg" writes the labels of a segmented DICOM series as a DICOM Segmentation.

    Returns:
        The files.
    """
    return list(_paths(model, inputs, out, outputs, format))


if __name__ == "__main__":
    sys.exit(cli.run(main))
cli.callable_module(__name__, _predict)
