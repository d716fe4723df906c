"""Writes what the documentation takes from the source: README's table of methods, and a page for each method.

python docs/generate.py            write
python docs/generate.py --check    exit status 1 if anything that is written here is out of date
"""

import ast
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tfmed import registry  # noqa: E402
from tfmed.settings import annotated  # noqa: E402

BEGIN, END = "<!-- methods: written by docs/generate.py -->", "<!-- end of methods -->"
REFERENCES = "references:  # written by docs/generate.py\n"
CITED = re.compile(r'(?P<authors>.+?), "(?P<title>[^"]+)",(?P<where>.*?) (?P<year>(?:19|20)[0-9]{2})\b')
SECTIONS = ("Paper", "Idea", "Reproduces", "Deviates")


def main(words):
    """Write, or check, all files; returns the exit status."""
    wanted = {ROOT / "README.md": readme()}
    wanted[ROOT / "CITATION.cff"] = citation()
    wanted |= {ROOT / "docs" / "methods" / f"{row.name}.md": page(row) for row in ready()}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if "--check" in words:
            print(f"{path.relative_to(ROOT)}: out of date; run 'make docs'")
            continue
        path.parent.mkdir(exist_ok=True)
        path.write_text(text := wanted[path], encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {len(text.splitlines())} lines")
    return 1 if stale and "--check" in words else 0


def ready():
    """Rows of the methods that can be trained."""
    return [row for row in (*registry.catalog(), *registry.experiments()) if row.status == "ready"]


def readme():
    """README.md with its table of methods made anew."""
    lines = ["| method | title | task | paper | variants |", "|---|---|---|---|---|"]
    for row in ready():
        task = registry.described(row.name).get("Task", row.task).rstrip(".")
        count = len(variants(row.name))
        shown = f"[{count}](configs/{row.name})" if count else ""
        lines.append(f"| [`{row.name}`](docs/methods/{row.name}.md) | {row.title} | {task} | {row.paper} | {shown} |")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}" + rest.split(END)[1]


def citation():
    """CITATION.cff with the papers of all methods, in the order of the table."""
    papers = {}
    for row in ready():
        found = CITED.match(registry.described(row.name)["Paper"])
        if not found:
            raise SystemExit(f'{row.name}: its Paper must read: Authors, "Title", where and year')
        papers.setdefault(found["title"], found)
    lines = []
    for title, found in papers.items():
        authors = [part for part in re.split(", | & ", found["authors"].replace(" et al.", " & others")) if part]
        lines += ["  - type: conference-paper" if "MICCAI" in found["where"] else "  - type: article"]
        lines += [f"    title: {yaml_text(title)}", "    authors:", *map(author, authors), f"    year: {found['year']}"]
        if where := found["where"].strip(" ,;"):
            lines += [f"    notes: {yaml_text(where)}"]
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    return text.split(REFERENCES)[0] + REFERENCES + "\n".join(lines) + "\n"


def author(name):
    """A line of an author: initials and family name, a family name alone, or the others."""
    if name == "others":
        return "      - name: others"
    given, family = re.match(r"((?:[A-Z]\. )*)(.+)", name).groups()
    line = f"      - family-names: {yaml_text(family)}"
    return line + (f"\n        given-names: {yaml_text(given.strip())}" if given else "")


def yaml_text(text):
    """A string of YAML."""
    return '"' + text.replace('"', '\\"') + '"'


def variants(name):
    """The settings files beside a method's own."""
    return sorted((ROOT / "configs" / name).glob("*.yaml"))


def source_files(name):
    """The files of a method, its docstring's first."""
    single = ROOT / "tfmed" / "methods" / f"{name}.py"
    return [single] if single.exists() else sorted((ROOT / "tfmed" / "methods" / name).rglob("*.py"))


def page(row):
    """The page of a method, as Markdown."""
    said = registry.described(row.name)
    link = source_files(row.name)[0].relative_to(ROOT)
    lines = [f"# {row.title}", "", said[""], "", f"`tfmed fit configs/{row.name}.yaml`; source: [{link}](../../{link})"]
    for section in SECTIONS:
        if section in said:
            lines += ["", f"## {section}", "", said[section][0].upper() + said[section][1:]]
    lines += ["", "## Settings", "", "Of the section `model`, beside those of its task.", ""]
    lines += ["| setting | type | default | |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(cell(part) for part in field)} |" for field in fields(row.name)]
    if found := variants(row.name):
        lines += ["", "## Variants", ""]
        lines += [f"- [`{path.stem}`](../../{path.relative_to(ROOT)}): {first_comment(path)}" for path in found]
    return "\n".join(lines) + "\n"


def cell(text):
    """Text that fits into a cell of a table."""
    return text.replace("|", "\\|")


def fields(name):
    """(name, type, default, comment) of each field of a method's `Config`, as they stand in its source."""
    for path in source_files(name):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef) and node.name == "Config":
                return [field(item, comment) for item, comment in annotated(text, node)]
    return []


def field(item, comment):
    """The same of one annotated assignment."""
    default = "" if item.value is None else ast.unparse(item.value)
    match = re.match(r"Field\((default_factory=lambda: )?(?P<value>.+?)(, \w+=.+)?\)$", default)
    return (
        f"`{item.target.id}`",
        f"`{ast.unparse(item.annotation)}`",
        f"`{match['value'] if match else default}`",
        comment,
    )


def first_comment(path):
    """What a settings file says of itself."""
    lines = path.read_text(encoding="utf-8").splitlines()
    said = [line.lstrip("# ") for line in lines if line.startswith("#")]
    return said[0] if said else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
