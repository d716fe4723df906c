"""python -m tfmed.sample RUN -n 8 --out DIR [--seed 0]: write what a generator makes as files."""

import inspect
import sys

from tfmed import cli
from tfmed.errors import UserError


def main(argv):
    parser = cli.parser("sample", "Write volumes of a trained generator.")
    parser.add_argument("run", help="run directory")
    parser.add_argument("-n", "--count", type=int, default=1, help="number of volumes (default: 1)")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same volumes (default: 0)")
    parser.add_argument("--length", type=int, help="slices per volume (default: as trained)")
    parser.add_argument("--chunk", type=int, help="slices decoded at a time (default: 32)")
    parser.add_argument("--psi", type=float, help="truncation of styles: 0 the mean one, 1 none (default: 1)")
    parser.add_argument(
        "--fix", choices=("patient", "slices", "style", "noise"), help="keep this the same in all volumes"
    )
    parser.add_argument("--format", choices=("nii.gz", "nii", "mha", "nrrd"), help="of volumes (default: nii.gz)")
    arguments = parser.parse_args(argv)
    cli.start_tensorflow()
    for name, lowest in (("count", 1), ("chunk", 1), ("seed", 0)):
        if getattr(arguments, name) is not None and getattr(arguments, name) < lowest:
            raise UserError(f"--{name}: {getattr(arguments, name)} is less than {lowest}")
    method = cli.restored(arguments.run, "sample", "generates nothing; use 'tfmed predict'")
    options = _options(method, arguments)
    out = cli.new_folder(arguments.out)
    for index, item in enumerate(method.sample(arguments.count, arguments.seed, **options)):
        print(method.write_sample(item, out, f"sample-{index:04d}", arguments.format))


def _options(method, arguments):
    """The options that were given; each must be one that the method knows."""
    from tfmed.engine.terminal import log

    given = {"length": arguments.length, "chunk": arguments.chunk, "psi": arguments.psi, "fixed": arguments.fix}
    given = {name: value for name, value in given.items() if value is not None}
    name, known = method.settings.method, inspect.signature(method.sample).parameters
    for key in given:
        if key not in known:
            raise UserError(f"--{key.replace('fixed', 'fix')}: means nothing for method {name!r}; leave it out")
    if arguments.fix and arguments.fix not in method.fixable:
        raise UserError(f"--fix: method {name!r} can fix {' or '.join(method.fixable)}, not {arguments.fix}")
    if arguments.length is not None and arguments.length != method.config.volume_shape[0]:
        if arguments.length < 3:
            raise UserError(f"--length: {arguments.length} is less than 3 slices")
        log.warning("--length: trained on %d slices; other lengths are a guess", method.config.volume_shape[0])
    return given


if __name__ == "__main__":
    sys.exit(cli.run(main))
