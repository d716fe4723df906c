"""python -m tfmed.predict RUN_OR_SAVEDMODEL INPUT... --out DIR: apply a trained model to volumes."""

import pathlib
import sys

from tfmed import cli
from tfmed.errors import RunError, UserError
from tfmed.files import write_error


def main(argv):
    parser = cli.parser("predict", "Apply a trained model to volumes.")
    parser.add_argument("model", help="run directory, or a SavedModel that 'tfmed export' wrote")
    parser.add_argument(
        "inputs",
        nargs="+",
        help="volumes: files, folders of DICOM series; for several modalities t1=FILE,t2=FILE, or a folder with files "
        "that end in _t1, _t2",
    )
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument(
        "--maps", default="labels,probabilities,entropy", help="what to write (default: labels,probabilities,entropy)"
    )
    arguments = parser.parse_args(argv)
    cli.start_tensorflow()
    from tfmed.engine import segmenting

    maps = arguments.maps.split(",")
    for kind in maps:
        if kind not in segmenting.MAPS:
            raise UserError(f"--maps: no map {kind!r}; known: {', '.join(segmenting.MAPS)}")
    out = pathlib.Path(arguments.out)
    paths = _predict(pathlib.Path(arguments.model), arguments.inputs, out, maps)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(out, error) from error
    for path in paths:
        print(path)


def _predict(model, inputs, out, maps):
    from tfmed.engine import segmenting
    from tfmed.engine.run import load_run

    if (model / "saved_model.pb").is_file():
        return segmenting.predict(segmenting.exported(model), inputs, out, maps)
    run = load_run(model)
    method = run.restored()
    if not hasattr(method, "predict"):
        raise RunError(f"{run.path}: method {run.method_name!r} takes no input volumes; use 'tfmed sample'")
    return method.predict(inputs, out, maps)


if __name__ == "__main__":
    sys.exit(cli.run(main))
