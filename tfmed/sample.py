"""python -m tfmed.sample RUN -n 8 --out DIR [--seed 0]: write what a generator makes as files."""

import sys
from collections.abc import Sequence

from tfmed import cli


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("sample", "Write what a generator makes; 'tfmed sample RUN --help' shows a run's options.")
    parser.add_argument("run", help="run directory")
    parser.add_argument("-n", "--count", type=cli.at_least(1), default=1, help="number of items (default: 1)")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--seed", type=cli.at_least(0), default=0, help="of the items (default: 0)")
    arguments, _, method, (options, writing) = cli.trained(parser, argv, "CanSample", ("sample", "write_sample"))
    out = cli.new_folder(arguments.out)
    for index, item in enumerate(method.sample(arguments.count, arguments.seed, **options)):
        print(method.write_sample(item, out, f"sample-{index:04d}", **writing))


if __name__ == "__main__":
    sys.exit(cli.run(main))
