"""python -m tfmed.plan FOLDER [--method NAME] [--minutes 20] [--out plan.yaml] [key=value ...]: settings for a folder.

Without a method: what `fit segmentation` would do. With one: its paper's settings, with what depends on the data chosen
anew.
"""

import sys

from tfmed import cli
from tfmed.errors import UserError

_MINUTES = 20


def main(argv):
    parser = cli.parser("plan", "Look at a folder of scans and label maps, and say how a segmenter for it would be.")
    parser.add_argument(
        "folder", help="images and label maps; see docs/how-to/own-data.md for the layouts that are found"
    )
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="settings that are to stay so")
    parser.add_argument(
        "--method",
        help="settings of this method of few labels, such as gbdl, equireg/volumes or uss, for the folder "
        "(default: segmentation, which chooses all of them)",
    )
    parser.add_argument("--minutes", type=cli.number, help=f"of training, by segmentation (default: {_MINUTES})")
    parser.add_argument("--out", help="write the settings as a file for `tfmed fit`")
    arguments = parser.parse_intermixed_args(argv)
    of_paper = arguments.method not in (None, "segmentation")
    if of_paper and arguments.minutes is not None:
        raise UserError(
            f"--minutes: is for segmentation, which sets its steps by it; {arguments.method} has its paper's, "
            "set train.steps"
        )
    cli.start_tensorflow()
    from rich.table import Column, Table
    from rich.text import Text

    from tfmed.data import sources
    from tfmed.data.fingerprint import described, fingerprint
    from tfmed.engine.terminal import output, progress
    from tfmed.files import write_text
    from tfmed.tasks import planning

    settings, choose = (_of_paper if of_paper else _segmentation)(arguments)
    data = settings.data
    cases = sources.open(data.source, data.root, **data.options)
    found = fingerprint(cases, progress)
    output.print(f"{data.source}: {found.cases} cases of {found.patients} patients, {found.labelled} with a label map")
    for line in described(found):
        output.print(line)
    for one in found.warnings:
        output.print(Text(f"warning: {', '.join(one.cases[:3])}: {one.text}"))
    choices, settings = choose(found, progress)
    table = Table("setting", Column("value", overflow="fold"), Column("because", overflow="fold"), box=None)
    for choice in choices:
        table.add_row(choice.key, Text(planning.inline(choice.value)), Text(choice.reason))
    output.print(table)
    if arguments.out:
        write_text(arguments.out, planning.as_file(settings, choices))
        output.print(f"settings: {arguments.out}; train with: tfmed fit {arguments.out}")


def _segmentation(arguments):
    """(settings that leave everything open, function that chooses: (fingerprint, progress) -> (choices, settings))"""
    from tfmed.config import load_config
    from tfmed.methods import segmentation

    minutes = _MINUTES if arguments.minutes is None else arguments.minutes
    words = [f"data.root={arguments.folder}", f"model.minutes={minutes:g}", *arguments.overrides]
    settings = segmentation.with_source(load_config("segmentation", words))

    def choose(found, progress):
        choices = segmentation.METHOD.choices(settings, progress, found)
        return choices, segmentation.made(settings, choices)

    return settings, choose


def _of_paper(arguments):
    """The same of a paper's settings, of which those change that depend on the data."""
    from tfmed.tasks import own_data

    settings = own_data.settings_for(arguments.method, arguments.folder, arguments.overrides)
    return settings, lambda found, progress: own_data.planned(settings, found, arguments.overrides)


if __name__ == "__main__":
    sys.exit(cli.run(main))
