"""python -m tfmed.plan FOLDER [--minutes 20] [--out plan.yaml] [key=value ...]: what `fit segmentation` would do."""

import sys

from tfmed import cli


def main(argv):
    parser = cli.parser("plan", "Look at a folder of scans and label maps, and say how a segmenter for it would be.")
    parser.add_argument(
        "folder", help="images and label maps; see docs/how-to/own-data.md for the layouts that are found"
    )
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="settings that are to stay so")
    parser.add_argument("--minutes", type=cli.number, default=20, help="of training (default: 20)")
    parser.add_argument("--out", help="write the settings as a file for `tfmed fit`")
    arguments = parser.parse_intermixed_args(argv)
    cli.start_tensorflow()
    from rich.table import Column, Table
    from rich.text import Text

    from tfmed.config import load_config
    from tfmed.data import sources
    from tfmed.data.fingerprint import described, fingerprint
    from tfmed.engine.terminal import output, progress
    from tfmed.files import write_text
    from tfmed.methods import segmentation
    from tfmed.tasks import planning

    words = [f"data.root={arguments.folder}", f"model.minutes={arguments.minutes:g}", *arguments.overrides]
    settings = segmentation.with_source(load_config("segmentation", words))
    data = settings.data
    cases = sources.open(data.source, data.root, **data.options)
    found = fingerprint(cases, progress)
    output.print(f"{data.source}: {found.cases} cases of {found.patients} patients, {found.labelled} with a label map")
    for line in described(found):
        output.print(line)
    for one in found.warnings:
        output.print(Text(f"warning: {', '.join(one.cases[:3])}: {one.text}"))
    choices = segmentation.METHOD.choices(settings, progress, found)
    table = Table("setting", Column("value", overflow="fold"), Column("because", overflow="fold"), box=None)
    for choice in choices:
        table.add_row(choice.key, Text(planning.inline(choice.value)), Text(choice.reason))
    output.print(table)
    if arguments.out:
        write_text(arguments.out, segmentation.as_file(settings, choices))
        output.print(f"settings: {arguments.out}; train with: tfmed fit {arguments.out}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
