"""Every block of code in README and docs runs, or says why not; what is not run is checked as far as that is cheap."""

import ast
import contextlib
import dataclasses
import io
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

import tfmed
from tfmed import cli

REPOSITORY = pathlib.Path(__file__).parents[1]
# The pages whose blocks run, one after the other in one folder: the tour makes the scans and the run of the others.
RUN = ["tour", "how-to/own-data", "how-to/command-line", "how-to/python", "how-to/export", "how-to/resume"]
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<why>.+?) -->\n)?^(?P<fence>`{3,})(?P<language>\w*)\n(?P<code>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
# A network and a patch that are made in no time, in place of those that a plan would choose for minutes of training.
SMALL = ["model.network={name: unet, widths: [4, 8]}", "model.patch=[16, 32, 32]", "train.batch_size=1"]


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of code of a page; `why` says why it is not run, or is None."""

    page: str
    line: int
    language: str
    code: str
    why: str | None

    @property
    def commands(self):
        """The words of each command of a block of the shell."""
        lines = [
            shlex.split(line, comments=True) for line in self.code.replace("\\\n", " ").splitlines() if line.strip()
        ]
        return [line for words in lines for line in split_at_and(words)]


def split_at_and(words):
    """`a && b` is two commands."""
    while "&&" in words:
        at = words.index("&&")
        yield words[:at]
        words = words[at + 1 :]
    yield words


def blocks(file):
    text = file.read_text(encoding="utf-8")
    page = file.relative_to(REPOSITORY).with_suffix("").as_posix()
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("code")) + 1
        yield Block(page, line, found["language"], found["code"], found["why"])


PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
BLOCKS = [block for page in PAGES for block in blocks(page)]
NAMES = [f"{block.page}:{block.line}" for block in BLOCKS]


def verb_of(words):
    """(verb, its arguments) of `tfmed verb ...` and `python -m tfmed.verb ...`; (None, words) of another command."""
    if words[:1] == ["tfmed"]:
        return (words[1], words[2:]) if len(words) > 1 else (None, words)
    if words[:2] == ["python", "-m"] and words[2].startswith("tfmed."):
        return words[2].removeprefix("tfmed."), words[3:]
    return None, words


def said(*words):
    """What a command prints; it has to end well."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr("sys.argv", ["tfmed", *words])
        try:
            status = cli.console_script()
        except SystemExit as stop:
            status = stop.code or 0
    assert status == 0, f"tfmed {shlex.join(words)}: exit status {status}"
    return out.getvalue()


def test_the_blocks_are_found():
    assert len(BLOCKS) > 25 and {block.page for block in BLOCKS} >= {"README", *(f"docs/{page}" for page in RUN)}
    assert all(block.language for block in BLOCKS), [block.page for block in BLOCKS if not block.language]


def test_every_block_runs_or_says_why_not():
    run = {f"docs/{page}" for page in RUN}
    kinds = ("sh", "python")
    silent = [f"{b.page}:{b.line}" for b in BLOCKS if b.language in kinds and b.why is None and b.page not in run]
    assert silent == []


def test_the_search_finds_reasons_and_blocks():
    text = (
        "# A\n\n<!-- not run: dear -->\n```sh\ntfmed fit x && tfmed export runs/x  # so\n```\n\n```python\na = 1\n```\n"
    )
    found = [(match["why"], match["language"]) for match in BLOCK.finditer(text)]
    assert found == [("dear", "sh"), (None, "python")]
    block = Block("A", 1, "sh", next(BLOCK.finditer(text))["code"], None)
    assert block.commands == [["tfmed", "fit", "x"], ["tfmed", "export", "runs/x"]]


@pytest.fixture(scope="module")
def options():
    """{verb: its help}, and options that single methods add."""
    added = {
        found
        for file in (REPOSITORY / "tfmed").rglob("*.py")
        for found in re.findall(r'\bOption\("(\w+)"', file.read_text(encoding="utf-8"))
    }
    return {verb: said(verb, "--help") for verb in cli.VERBS}, added


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "sh"], ids=lambda b: f"{b.page}:{b.line}"
)
def test_commands_have_verbs_and_options_that_exist(block, options):
    helps, added = options
    for words in block.commands:
        verb, rest = verb_of(words)
        if verb is None or verb.startswith("-"):
            continue
        assert verb in cli.VERBS, words
        for word in rest:
            if re.fullmatch(r"--?[a-z][\w-]*", word):
                assert re.search(rf"(?<!\S){word}\b|\[{word}\b|, {word}\b", helps[verb]) or word[2:] in added, words


@pytest.mark.parametrize(
    "words",
    [
        words
        for block in BLOCKS
        if block.language == "sh" and block.why
        for words in block.commands
        if verb_of(words)[0] in ("fit", "prepare", "compare")
        and not verb_of(words)[1][0].startswith(("runs/", "mine-"))
    ],
    ids=shlex.join,
)
@pytest.mark.one_stack
def test_settings_of_commands_that_are_not_run(words):
    """Their files exist, and their settings are settings."""
    _, rest = verb_of(words)
    rest = [word for word in rest if word != "plan.yaml"]
    profile = rest[rest.index("--profile") + 1] if "--profile" in rest else "paper"
    valued = {rest.index(word) + 1 for word in rest if re.fullmatch("--(profile|run-dir|out|seeds|folds)", word)}
    plain = [word for at, word in enumerate(rest) if at not in valued and not word.startswith("-")]
    changes = [word for word in plain if "=" in word]
    for name in (word for word in plain if "=" not in word):
        tfmed.load_config(name, changes, profile)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=lambda b: f"{b.page}:{b.line}")
def test_python_is_python(block):
    ast.parse("\n".join(line for line in block.code.splitlines() if not line.startswith(("!", "%"))))


def shortened(verb, rest, steps):
    """The same command with a training of seconds: `steps` in place of minutes, a small network."""
    if verb in ("plan", "prepare"):
        return [*rest, f"train.steps={steps}", *SMALL]
    if verb != "fit":
        return rest
    rest = [word for word in rest if not word.startswith("train.steps=")]
    return [*rest, f"train.steps={steps}", *([] if "--resume" in rest else SMALL)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which all blocks run."""
    return tmp_path_factory.mktemp("docs")


@pytest.mark.one_stack
@pytest.mark.parametrize("page", RUN)
def test_pages_run_from_top_to_bottom(page, folder, monkeypatch):
    """In a folder that was empty before the tour; commands of trainings are shortened."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    names = {}
    for block in (block for block in BLOCKS if block.page == f"docs/{page}" and block.why is None):
        if block.language == "python":
            exec(compile(block.code, f"{page}:{block.line}", "exec"), names)
            continue
        for words in block.commands:
            verb, rest = verb_of(words)
            assert verb is not None, f"{page}:{block.line}: {shlex.join(words)} cannot be run here; say why not"
            said(verb, *shortened(verb, rest, 3 if "--resume" in words else 2))
    LEFT.get(page, lambda: None)()


def after_the_tour():
    """A report, and a prediction with what was asked for."""
    assert pathlib.Path("runs/tour/report.html").stat().st_size > 10_000
    assert pathlib.Path("predicted/atrium-0000003_entropy.nii.gz").is_file()


def after_resuming():
    """Steps of a run that went on."""
    last = pathlib.Path("runs/tour/metrics.csv").read_text(encoding="utf-8").splitlines()[-1]
    assert last.split(",")[1] == "3"


def after_exporting():
    """The label map of the SavedModel, in a folder of its own."""
    assert pathlib.Path("from-export/atrium-0000004_labels.nii.gz").is_file()


LEFT = {"tour": after_the_tour, "how-to/resume": after_resuming, "how-to/export": after_exporting}


@pytest.mark.one_stack
@pytest.mark.parametrize(
    "html, loads",
    [
        ('<script src="https://cdn.example/a.js"></script>', True),
        ("<link rel=stylesheet href=//fonts.example/b.css>", True),
        ("@font-face { src: url(https://fonts.example/c.woff) }", True),
        ('<a href="https://example.org/">read</a> <img src="../gallery/x.jpg"> <script src="assets/a.js">', False),
    ],
)
def test_what_a_page_would_load_from_a_network_is_found(html, loads, tmp_path):
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    done = subprocess.run([sys.executable, REPOSITORY / "docs" / "offline.py", tmp_path], capture_output=True)
    assert done.returncode == loads


def test_pictures_are_small():
    heavy = {path.name: path.stat().st_size for path in (REPOSITORY / "docs" / "gallery").iterdir()}
    assert len(heavy) > 10 and max(heavy.values()) <= 60_000
