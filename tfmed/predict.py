"""python -m tfmed.predict RUN_OR_SAVEDMODEL INPUT... --out DIR: apply a trained model to volumes."""

import pathlib
import sys

from tfmed import cli
from tfmed.errors import UserError
from tfmed.files import write_error


def main(argv):
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
        help="what to write: of segmentation labels,probabilities,entropy (default: labels), of MR to CT ct,low,high "
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
    cli.start_tensorflow()
    out = pathlib.Path(arguments.out)
    paths = _predict(pathlib.Path(arguments.run), arguments.inputs, out, arguments.outputs, arguments.format)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(out, error) from error
    for path in paths:
        print(path)


def _predict(model, inputs, out, outputs, form):
    from tfmed import registry
    from tfmed.engine.abilities import CanPredict
    from tfmed.engine.run import load_run
    from tfmed.tasks import exported

    if (model / "saved_model.pb").is_file():
        predictor = exported.open_model(model)
        return predictor.predict(inputs, out, _chosen(outputs, predictor.outputs, form))
    run = load_run(model)
    kind = registry.method_class(run.method_name)
    cli.require(run, kind, CanPredict)
    outputs = _chosen(outputs, kind.outputs, form)
    return run.restored().predict(inputs, out, outputs)


def _chosen(text, known, form):
    """The outputs that were asked for, or None."""
    if form == "dicom-seg":
        from tfmed.tasks.prediction import DICOM_SEG

        if "labels" not in known or text not in (None, "labels"):
            raise UserError("--format dicom-seg: is for the labels of a segmentation; leave it out")
        return [DICOM_SEG]
    if text is None:
        return None
    for kind in text.split(","):
        if kind not in known:
            raise UserError(f"--outputs: no output {kind!r}; known: {', '.join(known) or 'none, leave it out'}")
    return text.split(",")


if __name__ == "__main__":
    sys.exit(cli.run(main))
