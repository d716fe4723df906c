"""python -m tfmed.prepare CONFIG [key=value ...]: check every case and fill the cache; lists all problems at once."""

import sys

from tfmed import cli
from tfmed.errors import DataError


def main(argv):
    parser = cli.parser("prepare", "Check every case and fill the preprocessing cache.")
    parser.add_argument("config", help="settings file")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    parser.add_argument("--profile", default="paper")
    arguments = parser.parse_intermixed_args(argv)
    cli.start_tensorflow()
    from rich.table import Column, Table

    from tfmed import registry
    from tfmed.config import load_config
    from tfmed.data import sources
    from tfmed.engine.terminal import output, progress

    settings = load_config(arguments.config, arguments.overrides, arguments.profile)
    kind = registry.method_class(settings.method)
    settings = kind.planned(settings, None, progress)
    method, data = kind(settings), settings.data
    cases = sources.open(data.source, data.root, **data.options)
    table, problems = Table("case", Column("problem", overflow="fold"), box=None), 0
    for case in progress(cases, "Checking cases"):
        found = method.problems(method.as_used(case))
        problems += len(found)
        for problem in found:
            table.add_row(case.id, problem)
    parts = {name: len(part) for name, part in method.cases.items()}
    labelled = sum(case.label is not None for case in cases)
    counts = ", ".join(f"{count} {name}" for name, count in parts.items())
    output.print(f"{len(cases)} cases ({counts}), {labelled} with a label, {len({c.group for c in cases})} patients")
    for line in _not_used(sources.unused(data.root, cases), method, cases):
        output.print(line)
    if problems:
        output.print(table)
        raise DataError(f"{problems} problem(s) in the table above; fix or remove these cases")
    output.print(f"all can be used; prepared in {method.cache.folder}")


def _not_used(files, method, cases, longest=20):
    """Lines about images that the method has no use for, and about files that belong to no case."""
    others = sorted({name for case in cases for name in case.images} - set(method.image_names))
    if others:
        yield f"not used by {method.settings.method}: the images {', '.join(others)}"
    for reason in dict.fromkeys(reason for _, reason in files):
        paths = [str(path) for path, why in files if why == reason]
        yield f"{len(paths)} file(s) not used, {reason}:"
        yield from (f"  {path}" for path in paths[:longest])
        if len(paths) > longest:
            yield f"  and {len(paths) - longest} more"


if __name__ == "__main__":
    sys.exit(cli.run(main))
