"""python -m tfmed.catalog: the table of methods."""

import sys
from collections.abc import Sequence

from tfmed import cli, registry


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("catalog", "List the methods, then further experiments.")
    cli.add_json(parser)
    arguments = parser.parse_args(argv)
    columns = ("name", "title", "task", "paper", "status")
    found = (*registry.catalog(), *registry.experiments())
    rows = [{column: getattr(row, column) for column in columns} for row in found]
    if arguments.json:
        cli.print_json(rows)
        return
    from tfmed.engine.terminal import print_table

    print_table(rows)


if __name__ == "__main__":
    sys.exit(cli.run(main))
cli.callable_module(__name__, registry.catalog)
