"""python -m tfmed.catalog: the table of methods."""

import sys
from collections.abc import Sequence

from tfmed import cli, registry


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("catalog", "List the methods, then further experiments.")
    parser.parse_args(argv)
    from rich.table import Table

    from tfmed.engine.terminal import output

    table = Table("name", "title", "task", "paper", "status", box=None)
    for row in (*registry.catalog(), *registry.experiments()):
        table.add_row(row.name, row.title, row.task, row.paper, row.status)
    output.print(table)


if __name__ == "__main__":
    sys.exit(cli.run(main))
cli.callable_module(__name__, registry.catalog)
