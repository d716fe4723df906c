"""python -m tfmed.configs [NAME] [--out FILE]: list the settings files of tfmed, show one, or copy it out."""

import pathlib
import sys

from tfmed import cli
from tfmed.config import find_config, shipped_folders
from tfmed.errors import RunError
from tfmed.files import expanded, write_text


def main(argv):
    parser = cli.parser("configs", "List the settings files that come with tfmed, show one, or copy it out.")
    parser.add_argument("name", nargs="?", help="such as segmentation or equireg/volumes")
    parser.add_argument("--out", help="file to copy it to")
    cli.add_json(parser)
    arguments = parser.parse_args(argv)
    if arguments.name is None and arguments.json:
        cli.print_json(shipped())
        return
    if arguments.name is None:
        found = shipped()
        wide = max(map(len, found))
        for name, line in found.items():
            print(f"{name:{wide}}  {line}")
        return
    file = find_config(arguments.name)
    text = file.read_text(encoding="utf-8")
    if arguments.out is None:
        print(text, end="")
        return
    out = expanded(arguments.out)
    if out.exists():
        raise RunError(f"{out}: exists; choose another --out")
    write_text(out, _standing_alone(text, file))
    print(out)


def shipped():
    """{name: what the file says of itself in its first line} of all settings files."""
    folder = next(folder for folder in shipped_folders() if folder.is_dir())
    files = {file.relative_to(folder).with_suffix("").as_posix(): file for file in folder.rglob("*.yaml")}
    first = {name: file.read_text(encoding="utf-8").partition("\n")[0] for name, file in files.items()}
    return {name: first[name].removeprefix("#").strip() for name in sorted(first)}


def _standing_alone(text, file):
    """The text with the path of its base made absolute: a copy lies elsewhere."""
    lines = text.splitlines(keepends=True)
    for index, line in enumerate(lines):
        if line.startswith("base:"):
            base = line.partition(":")[2].partition("#")[0].strip()
            lines[index] = f"base: {pathlib.Path(file.parent, base).resolve()}\n"
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(cli.run(main))
