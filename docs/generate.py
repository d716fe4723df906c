"""Writes what the documentation takes from the source: README's table, the methods' pages, the glossary, CITATION.cff.

python docs/generate.py            write
python docs/generate.py --check    exit status 1 if anything that is written here is out of date
"""

import ast
import functools
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tfmed import registry  # noqa: E402
from tfmed.metrics import definitions  # noqa: E402
from tfmed.settings import annotated  # noqa: E402

BEGIN, END = "<!-- methods: written by docs/generate.py -->", "<!-- end of methods -->"
REFERENCES = "references:  # written by docs/generate.py\n"
CITED = re.compile(r'(?P<authors>.+?), "(?P<title>[^"]+)",(?P<where>.*?) (?P<year>(?:19|20)[0-9]{2})\b')
SECTIONS = ("Paper", "Idea", "Reproduces", "Deviates")
HEADINGS = {"Reproduces": "The paper says", "Deviates": "Where this differs from the paper"}
RESULTS = {"generators": "gan_eval"}  # pages of results that are named otherwise than the method they are about
RESULT_OF = {method: page for page, method in RESULTS.items()}


def main(words):
    """Write, or check, all files; returns the exit status."""
    wanted = {ROOT / "README.md": readme()}
    wanted[ROOT / "CITATION.cff"] = citation()
    wanted |= {ROOT / "docs" / "methods" / f"{row.name}.md": page(row) for row in ready()}
    wanted[ROOT / "docs" / "methods" / "README.md"] = overview()
    wanted[ROOT / "docs" / "glossary.md"] = glossary()
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
    lines = ["| method | title | task | paper |", "|---|---|---|---|"]
    for row in ready():
        task = row.task if row in registry.catalog() else task_of(row)
        paper = row.paper if len(row.paper) < 60 else row.paper.partition(",")[0]
        lines.append(f"| [`{row.name}`](docs/methods/{row.name}.md) | {row.title} | {task} | {paper} |")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}" + rest.split(END)[1]


def task_of(row):
    """What a method does, as its docstring says it at length."""
    return registry.described(row.name).get("Task", row.task).rstrip(".")


def overview():
    """The page that leads to the methods: a picture of each where there is one, and a table."""
    lines = [
        "# Methods",
        "",
        "Each page has the paper, its settings with their comments, the variants, and what was measured.",
        "",
    ]
    lines += ["Pictures are what demo runs drew (`make gallery`): phantoms, not patients.", ""]
    lines += ['<div class="gallery" markdown>', ""]
    for row in ready():
        if picture(row.name).exists():
            lines += [f"[![{row.title}](../gallery/{row.name}.jpg)<br>{row.title}]({row.name}.md)", ""]
    lines += ["</div>", "", "| method | title | task | variants | measured |", "|---|---|---|---|---|"]
    for row in ready():
        count = len(variants(row.name))
        shown = f"[{count}](../../configs/{row.name})" if count else ""
        said = measured().get(row.name, ("", "not yet"))[1]
        lines.append(f"| [`{row.name}`]({row.name}.md) | {row.title} | {task_of(row)} | {shown} | {cell(said)} |")
    return "\n".join(lines) + "\n"


def picture(name):
    """Where `make gallery` keeps the picture of a method."""
    return ROOT / "docs" / "gallery" / f"{name}.jpg"


@functools.cache
def measured():
    """{method: (what was asked, the answer in short)}, from the index of results."""
    text = (ROOT / "docs" / "results" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[\w+\]\((\w+)\.md\) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    return {RESULTS.get(name, name): (asked, answer) for name, asked, answer in rows}


GLOSSARY = {  # heading -> (name of the term, the function whose docstring says what it is)
    "Overlap of masks": (
        ("Dice", "segmentation.dice"), ("Jaccard, IoU", "segmentation.jaccard"), ("mean IoU", "segmentation.mean_iou"),
        ("precision", "segmentation.precision"), ("recall, sensitivity", "segmentation.recall"),
        ("volume error", "segmentation.relative_volume_error"), ("equivariance Dice", "segmentation.equivariance_dice"),
        ("bridging coefficient", "segmentation.bridging_coefficient"), ("instances", "instances.instance_scores"),
    ),
    "Uncertainty": (
        ("entropy", "uncertainty.predictive_entropy"), ("mutual information", "uncertainty.mutual_information"),
        ("PAvPU", "uncertainty.pavpu"), ("calibration error, ECE", "uncertainty.expected_calibration_error"),
    ),
    "Generated images": (
        ("FID, Frechet distance (FD)", "generative.frechet_distance"),
        ("KID, kernel distance", "generative.kernel_distance"), ("MMD", "generative.mmd"),
        ("IS, inception score", "generative.inception_score"), ("MS-SSIM", "ms_ssim.ms_ssim"),
        ("precision and recall of a generator", "manifold.precision_recall"),
        ("density and coverage", "manifold.density_coverage"), ("Mahalanobis distance", "mahalanobis.mahalanobis"),
        ("two-sample test", "two_sample.two_sample_test"), ("CIFC", "disentanglement.cross_image_consistency"),
    ),
    "Pairs of images": (
        ("MAE", "image_quality.mae"), ("PSNR", "image_quality.psnr"), ("SSIM", "image_quality.ssim"),
        ("edge correlation", "image_quality.edge_correlation"),
    ),
    "Points, boxes, lesions": (
        ("points matched within a radius", "landmarks.match"), ("failure rate", "landmarks.failure_rate"),
        ("AP, AP50, AP50:95", "detection.average_precision"), ("FROC", "lesions.froc"),
        ("lesions matched", "lesions.match"), ("equivalent diameter", "lesions.equivalent_diameters"),
    ),
    "Groups": (
        ("NMI", "clustering.nmi"), ("purity", "clustering.purity"),
        ("assignment accuracy", "clustering.assignment_accuracy"),
    ),
    "Statistics": (
        ("interval", "aggregate.bootstrap_interval"), ("Wilcoxon", "aggregate.wilcoxon"),
        ("kappa", "agreement.cohen_kappa"), ("Bland-Altman", "agreement.bland_altman"),
    ),
}  # fmt: skip
AMBIGUOUS = ("HD mm", "HD95 mm", "ASSD mm", "MSD mm", "NSD 2 mm", "FID", "FID pooled", "Dice std")


def glossary():
    """The page that says which of several definitions a score has; every line is the source's own."""
    lines = [
        "# Glossary",
        "",
        "Which HD95, which ASSD, which KID: the definitions that the code computes, in its own words.",
        "",
    ]
    lines += [
        "## Where more than one definition is in use",
        "",
        "Also printed below every table that has such a column.",
        "",
    ]
    lines += ["| column | what it is |", "|---|---|"]
    for line in definitions.of_columns(AMBIGUOUS):
        term, _, text = line.partition(": ")
        shown = f"{term}, of sets of volumes" if term.startswith("FID") else term
        lines.append(f"| {cell(shown)} | {cell(text)} |")
    surface = docstring("surface")
    lines += ["", "Surfaces and empty masks:", "", *(f"{text}\n" for text in surface.split("\n\n")[1:3])]
    for heading, terms in GLOSSARY.items():
        lines += [f"## {heading}", "", "| term | what it is | in `tfmed.metrics` |", "|---|---|---|"]
        for term, where in terms:
            said = " ".join(docstring(*where.split(".")).split("\n\n")[0].split())
            lines.append(f"| {term} | {cell(said)} | `{where}` |")
        lines += [""]
    return "\n".join(lines)


def docstring(module, name=None):
    """Of a module of `tfmed.metrics`, or of a function or class in it; nothing is imported."""
    tree = ast.parse((ROOT / "tfmed" / "metrics" / f"{module}.py").read_text(encoding="utf-8"))
    found = [node for node in tree.body if getattr(node, "name", None) == name] if name else [tree]
    if not found:
        raise SystemExit(f"docs/generate.py: tfmed.metrics.{module} has no {name}; mend GLOSSARY")
    return ast.get_docstring(found[0])


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
    config = f"configs/{row.name}.yaml"
    lines = [f"# {row.title}", "", said[""], "", f"- task: {task_of(row)}", f"- paper: {row.paper}"]
    lines += [f"- train: `tfmed fit {row.name} --profile demo`"]
    lines += [f"- settings: [`{config}`](../../{config})", f"- source: [`{link}`](../../{link})"]
    if picture(row.name).exists():
        lines += [
            "",
            f"![What a demo run of {row.title} drew](../gallery/{row.name}.jpg)",
            "",
            "*Drawn by a demo run: phantoms, not patients.*",
        ]
    for section in SECTIONS:
        if section in said:
            lines += ["", f"## {HEADINGS.get(section, section)}", "", said[section][0].upper() + said[section][1:]]
        if section == "Reproduces":
            lines += ["", "## We measured", "", figures(row.name)]
    lines += ["", "## Settings", "", "Of the section `model`, beside those of its task.", ""]
    lines += ["| setting | type | default | |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(cell(part) for part in field)} |" for field in fields(row.name)]
    if found := variants(row.name):
        lines += ["", "## Variants", ""]
        lines += [f"- [`{path.stem}`](../../{path.relative_to(ROOT)}): {first_comment(path)}" for path in found]
    return "\n".join(lines) + "\n"


def figures(name):
    """What was measured of a method, in a line."""
    if name not in measured():
        return "Nothing yet."
    asked, answer = measured()[name]
    link = f"../results/{RESULT_OF.get(name, name)}.md"
    return f"{asked[:1].upper()}{asked[1:]}: {answer}. [All figures, and why they differ]({link})"


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
