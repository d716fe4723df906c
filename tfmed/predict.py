"""python -m tfmed.predict RUN INPUT... --out DIR: apply a trained model to volumes."""

import pathlib
import sys

from tfmed import cli
from tfmed.errors import RunError


def main(argv):
    parser = cli.parser("predict", "Apply a trained model to volumes.")
    parser.add_argument("model", help="run directory")
    parser.add_argument("inputs", nargs="+", help="volumes: files, or folders of DICOM series")
    parser.add_argument("--out", required=True, help="folder to write")
    arguments = parser.parse_args(argv)
    cli.start_tensorflow()
    from tfmed.engine.run import load_run

    run = load_run(arguments.model)
    method = run.restored()
    if not hasattr(method, "predict"):
        raise RunError(f"{run.path}: method {run.method_name!r} takes no input volumes; use 'tfmed sample'")
    for path in method.predict([pathlib.Path(p) for p in arguments.inputs], pathlib.Path(arguments.out)):
        print(path)


if __name__ == "__main__":
    sys.exit(cli.run(main))
