"""python -m tfmed.sample RUN -n 8 --out DIR [--seed 0]: write what a generator makes as files."""

import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfmed import cli
from tfmed.files import PathLike

if TYPE_CHECKING:
    from tfmed.engine.run import Run


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("sample", "Write what a generator makes; 'tfmed sample RUN --help' shows a run's options.")
    parser.add_argument("run", help="run directory")
    parser.add_argument("-n", "--count", type=cli.at_least(1), default=1, help="number of items (default: 1)")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--seed", type=cli.at_least(0), default=0, help="of the items (default: 0)")
    arguments, _, method, (options, writing) = cli.trained(parser, argv, "CanSample", ("sample", "write_sample"))
    from tfmed.engine import use

    for path in use.samples(method, arguments.count, arguments.out, arguments.seed, options, writing):
        print(path)


def _sample(run: "Run | PathLike", count: int, out: PathLike, seed: int = 0, **options: Any) -> list[pathlib.Path]:
    """Write what a trained generator makes; the same as `tfmed.engine.use.sample`.

    Args:
        run: Run, or its directory.
        count: number of items.
        out: folder to write.
        seed: of the items.
        options: those of the method's `sample`; see `tfmed sample RUN --help`.

    Returns:
        The files.
    """
    from tfmed.engine import use

    return use.sample(run, count, out, seed, **options)


if __name__ == "__main__":
    sys.exit(cli.run(main))
cli.callable_module(__name__, _sample)
