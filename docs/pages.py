"""What the site has beyond the files in docs/, for mkdocs, which calls the functions `on_...` while it builds.

README, CONTRIBUTING and CHANGELOG are pages of the site; so are each method's source and settings files, the notebooks
with what they showed, and the API. Links that lead out of docs/ in the repository lead to those pages here.
"""

import ast
import json
import pathlib
import posixpath
import re

from mkdocs.structure.files import File
from nbconvert import MarkdownExporter

ROOT = pathlib.Path(__file__).resolve().parents[1]
WHOLE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
API = {
    "tfmed": "verbs as functions, and what they give",
    "io": "volumes from and to files",
    "data": "cases, splits, preparation, pipelines",
    "metrics": "functions of numpy arrays",
    "augment": "seeded, paired augmentation",
    "ops": "stateless operations on tensors",
    "nn": "layers and backbones",
    "losses": "functions of tensors",
    "pictures": "figures from arrays",
}
LINK = re.compile(r"(?P<text>\[(?:[^\[\]]|\[[^\]]*\])*\])\((?P<target>[^)\s]+)\)")
BADGE = re.compile(r"\[!\[([^]]*)\]\([^)]*\)\](\([^)]*\))")  # a picture from a network that is a link
FENCE = re.compile(r"^(```.*?^```)", re.MULTILINE | re.DOTALL)


def on_files(files, config):
    """Add the pages that have no file in docs/."""
    made = {site: moved((ROOT / name).read_text(encoding="utf-8"), name, site) for name, site in WHOLE.items()}
    made |= {"notebooks/index.md": notebooks()}
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        made |= notebook(file)
    made |= {f"source/{name}.md": source(name) for name in methods()}
    made |= {f"configs/{name}.md": settings(name) for name in methods()}
    made |= {f"api/{name}.md": api(name) for name in API} | {"api/index.md": api_index()}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown, page, **_):
    """Lead links of the repository to pages of the site."""
    if page.file.generated_by:
        return markdown
    return moved(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)


def moved(markdown, path, site):
    """The text of a repository's file as a page of the site: its links, outside of code, lead to pages."""

    def lead(match):
        target, _, anchor = match["target"].partition("#")
        if not target or ":" in target:
            return match[0]
        to = page_of(posixpath.normpath(posixpath.join(posixpath.dirname(path), target)))
        if to is None:
            return match["text"][1:-1]
        to, _, part = to.partition("#")
        anchor = anchor or part
        return (
            f"{match['text']}({posixpath.relpath(to, posixpath.dirname(site) or '.')}{'#' + anchor if anchor else ''})"
        )

    pieces = FENCE.split(markdown)
    return "".join(piece if piece.startswith("```") else LINK.sub(lead, piece) for piece in pieces)


def page_of(path):
    """The page, or file, of the site that shows a file of the repository; None where there is none."""
    first, _, rest = path.partition("/")
    if path in WHOLE:
        return WHOLE[path]
    if first == "docs" and (ROOT / path).is_dir():
        return f"{rest}/README.md"
    if first == "docs":
        return rest
    if first == "configs":
        name, _, variant = rest.removesuffix(".yaml").partition("/")
        return f"configs/{name}.md" + (f"#{variant}" if variant else "")
    if first == "notebooks":
        return f"notebooks/{pathlib.PurePath(rest).stem}.md" if rest else "notebooks/index.md"
    if path.startswith("tfmed/methods/"):
        return f"source/{path.split('/')[2].removesuffix('.py')}.md"
    return None


def methods():
    """Names of all methods."""
    found = (ROOT / "tfmed" / "methods").iterdir()
    return sorted(path.stem for path in found if not path.name.startswith("_"))


def source(name):
    """The page of a method's source."""
    single = ROOT / "tfmed" / "methods" / f"{name}.py"
    files = [single] if single.exists() else sorted((single.with_suffix("")).rglob("*.py"))
    lines = [f"# Source of {name}", "", f"[The method](../methods/{name}.md), [its settings](../configs/{name}.md)"]
    for file in files:
        lines += ["", f"## {file.relative_to(ROOT).as_posix()}", "", *block("python", file)]
    return plain("\n".join(lines))


def settings(name):
    """The page of a method's settings files."""
    lines = [f"# Settings of {name}", "", f"[The method](../methods/{name}.md), [its source](../source/{name}.md)"]
    for file in (ROOT / "configs" / f"{name}.yaml", *sorted((ROOT / "configs" / name).glob("*.yaml"))):
        shown = file.relative_to(ROOT / "configs").with_suffix("").as_posix()
        lines += ["", f"## {shown} {{ #{file.stem} }}", "", *block("yaml", file)]
    return plain("\n".join(lines))


def plain(text):
    """A page that the search leaves out: what it says is found on the method's own page."""
    return f"---\nsearch:\n  exclude: true\n---\n\n{text}\n"


def block(language, file):
    return [f"````{language}", file.read_text(encoding="utf-8").rstrip(), "````"]


def notebooks():
    """The list of the notebooks: of each its title and first paragraph."""
    lines = [
        "# Notebooks",
        "",
        "Each runs from top to bottom, in minutes on two CPU cores, as a test does; in `notebooks/`.",
    ]
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        said = BADGE.sub(r"[\1]\2", "".join(cells[0]["source"])).split("\n")
        paragraphs = "\n".join(said[1:]).strip().split("\n\n")
        text = "\n\n".join(paragraphs[: 2 if paragraphs[0].startswith("[") else 1])
        lines += ["", f"## [{said[0].lstrip('# ')}]({file.stem}.md)", "", text, "", f"`notebooks/{file.name}`"]
    return "\n".join(lines) + "\n"


def notebook(file):
    """The page of a notebook with its stored outputs, and its pictures, by their paths in the site."""
    text, resources = MarkdownExporter().from_filename(str(file))
    text = BADGE.sub(r"[\1]\2", text)
    text = re.sub(r"<style scoped>.*?</style>\n", "", text, flags=re.DOTALL)
    text = text.replace('<table border="1" class="dataframe">', "<table>")
    for name in resources["outputs"]:
        text = text.replace(f"]({name})", f"]({file.stem}/{name})")
    pictures = {f"notebooks/{file.stem}/{name}": data for name, data in resources["outputs"].items()}
    return {f"notebooks/{file.stem}.md": text, **pictures}


def api(name):
    """The page of a package: each module that has public names."""
    if name == "tfmed":
        shown = ["tfmed.config", "tfmed.engine.run", "tfmed.registry", "tfmed.errors"]
        lines = [
            "# tfmed",
            "",
            "`tfmed.load_config`, `tfmed.load_run`, `tfmed.fit`, `tfmed.catalog` and the errors.",
            "",
        ]
        return "\n".join(lines + [f"::: {module}\n" for module in shown])
    folder = ROOT / "tfmed" / name
    lines = [
        f"# tfmed.{name}",
        "",
        ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))),
        "",
    ]
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        if not any(part.startswith("_") for part in parts) and has_public_names(file):
            lines += [f"::: {'.'.join(parts)}", ""]
    return "\n".join(lines)


def has_public_names(file):
    nodes = ast.parse(file.read_text(encoding="utf-8")).body
    return any(isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.name.startswith("_") for n in nodes)


def api_index():
    lines = [
        "# API",
        "",
        "Functions and classes with their types, shapes, units and errors. Arrays of volumes are `(z, y, x)`.",
        "",
    ]
    lines += [f"- [tfmed{'' if name == 'tfmed' else '.' + name}]({name}.md): {text}" for name, text in API.items()]
    return "\n".join(lines) + "\n"
