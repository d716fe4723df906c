"""python -m tfmed.export RUN [--out DIR]: write the trained model as a SavedModel that works without tfmed."""

import sys
from collections.abc import Sequence

from tfmed import cli


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("export", "Write a trained model as a SavedModel that works without tfmed.")
    parser.add_argument("run", help="run directory")
    parser.add_argument("--out", help="folder to write (default: RUN/export)")
    arguments = parser.parse_args(argv)
    cli.start_tensorflow()
    from tfmed.engine.exporting import export
    from tfmed.engine.run import load_run

    run = load_run(arguments.run)
    print(f"SavedModel: {export(run, arguments.out or run.path / 'export')}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
