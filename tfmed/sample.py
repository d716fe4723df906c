"""python -m tfmed.sample RUN -n 8 --out DIR [--seed 0]: write generated volumes as files."""

import pathlib
import sys

from tfmed import cli
from tfmed.errors import RunError, UserError


def main(argv):
    parser = cli.parser("sample", "Write volumes of a trained generator.")
    parser.add_argument("run", help="run directory")
    parser.add_argument("-n", "--count", type=int, default=1, help="number of volumes (default: 1)")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same volumes (default: 0)")
    parser.add_argument("--length", type=int, help="slices per volume (default: as trained)")
    parser.add_argument("--chunk", type=int, default=32, help="slices decoded at a time (default: 32)")
    parser.add_argument("--fix", choices=("patient", "slices"), help="use the same noise of this kind in all volumes")
    parser.add_argument("--format", default="nii.gz", choices=("nii.gz", "nii", "mha", "nrrd"), help="default: nii.gz")
    arguments = parser.parse_args(argv)
    cli.start_tensorflow()
    for name, lowest in (("count", 1), ("chunk", 1), ("seed", 0)):
        if getattr(arguments, name) < lowest:
            raise UserError(f"--{name}: {getattr(arguments, name)} is less than {lowest}")
    from tfmed.engine.run import load_run
    from tfmed.engine.terminal import log
    from tfmed.files import write_error
    from tfmed.io import write_volume

    run = load_run(arguments.run)
    method = run.restored()
    if not hasattr(method, "sample"):
        raise RunError(f"{run.path}: method {run.method_name!r} generates nothing; use 'tfmed predict'")
    for name in ("length", "fix"):
        if getattr(arguments, name) is not None and not hasattr(method.config, "volume_shape"):
            raise UserError(f"--{name}: means nothing for method {run.method_name!r}; leave it out")
    if arguments.length is not None and arguments.length != method.config.volume_shape[0]:
        if arguments.length < 3:
            raise UserError(f"--length: {arguments.length} is less than 3 slices")
        log.warning("--length: trained on %d slices; other lengths are a guess", method.config.volume_shape[0])
    out = pathlib.Path(arguments.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(out, error) from error
    options = {"length": arguments.length, "chunk": arguments.chunk, "fixed": arguments.fix}
    for index, volume in enumerate(method.sample(arguments.count, arguments.seed, **options)):
        path = out / f"sample-{index:04d}.{arguments.format}"
        write_volume(volume, path)
        print(path)


if __name__ == "__main__":
    sys.exit(cli.run(main))
