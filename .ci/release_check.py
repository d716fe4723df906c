"""Ready to be released? Version and changelog; wheel and sdist, each installed and tried in environments of their own.

python .ci/release_check.py [--pythons 3.11 3.13] [--kinds wheel sdist] [--tag v0.2.0]

Of Pythons 3.10 to 3.13 (found as python3.10 and so on) each gets a fresh environment per kind, which never sees the
checkout: installed with the stack's constraints, it trains the smallest demo, samples and exports, and a process that
cannot import tfmed runs the SavedModel. A Python that the machine lacks is named as not checked; the exit status is 1.
"""

import argparse
import ast
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
KINDS = {"wheel": "*.whl", "sdist": "*.tar.gz"}
ADDONS = ("3.10", "3.11")  # Pythons whose default stack is `addons`
INSTALLED = """
import pathlib, sys, tfmed
assert pathlib.Path(tfmed.__file__).is_relative_to(sys.prefix), tfmed.__file__
assert tfmed.__version__ == sys.argv[1], tfmed.__version__
"""
SAVED_MODEL = """
import sys
sys.modules["tfmed"] = None
import numpy as np, tensorflow as tf
model = tf.saved_model.load("run/export")
answer = model.sample(seed=tf.constant(7, tf.int64), n=tf.constant(1))
volumes = answer["volumes"].numpy()
assert np.isfinite(volumes).all() and volumes.shape[0] == 1 and volumes.ndim == 4, volumes.shape
"""


def main(words):
    """Check all that is asked for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pythons", nargs="+", choices=PYTHONS, default=PYTHONS, help="default: all four")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=tuple(KINDS), help="default: both")
    parser.add_argument("--tag", help="of the release, such as v0.2.0: version and changelog have to be of it")
    arguments = parser.parse_args(words)
    if problems := said_of_itself(arguments.tag):
        print(*problems, sep="\n", file=sys.stderr)
        return 1
    rows = []
    with tempfile.TemporaryDirectory(prefix="release-check-") as folder:
        built = build(pathlib.Path(folder), arguments.kinds)
        for python in arguments.pythons:
            for kind in arguments.kinds:
                rows.append((python, kind, *outcome(python, built[kind], pathlib.Path(folder) / f"{python}-{kind}")))
                print("{:5} {:6} {:12} {}".format(*rows[-1]), flush=True)
    passed = sum(row[2] == "passed" for row in rows)
    print(
        f"{passed} of {len(rows)} passed"
        + "".join(f"; {row[0]} {row[1]} {row[2]}" for row in rows if row[2] != "passed")
    )
    return 0 if passed == len(rows) else 1


def version():
    """The version, as the source says it."""
    for node in ast.parse((ROOT / "tfmed" / "startup.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "VERSION":
            return node.value.value
    raise SystemExit("tfmed/startup.py: no VERSION")


def said_of_itself(tag):
    """What is wrong with version and changelog, a line each."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    heading, _, entries = sections[0].partition("\n") if sections else ("", "", "")
    named = heading.split()[0] if heading.split() else ""
    problems = []
    if not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version()):
        problems.append(f"tfmed/startup.py: version {version()!r} is not of the form 1.2.3")
    if named not in ("Unreleased", version()):
        problems.append(f"CHANGELOG.md: begins with {heading!r}; it has to begin with 'Unreleased' or '{version()}'")
    if not re.search(r"^- ", entries, re.MULTILINE):
        problems.append(f"CHANGELOG.md: {heading!r} says of no change")
    if tag and tag.removeprefix("v") != version():
        problems.append(f"tag {tag}: tfmed/startup.py says {version()}")
    if tag and named != version():
        problems.append(f"CHANGELOG.md: begins with {heading!r}; a release has to name itself, '{version()}'")
    return problems


def build(folder, kinds):
    """{kind: the file}, built from what git tracks alone."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, encoding="utf-8"
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "source" / name)
    words = [f"--{kind}" for kind in kinds]
    command = [sys.executable, "-m", "build", *words, "--outdir", folder / "dist", folder / "source"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise SystemExit(f"release_check: the build failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    shutil.rmtree(folder / "source")
    return {kind: next((folder / "dist").glob(KINDS[kind])) for kind in kinds}


def outcome(python, archive, folder):
    """("passed" | "failed" | "not checked", how long each part took, or why)."""
    found = shutil.which(f"python{python}")
    asked = [found, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    if not found or subprocess.run(asked, capture_output=True, encoding="utf-8").stdout.strip() != python:
        return "not checked", f"no python{python} on this machine"
    folder.mkdir()
    try:
        return "passed", ", ".join(f"{name} {seconds:.0f} s" for name, seconds in tried(found, python, archive, folder))
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout or "").strip().splitlines()
        said = [line for line in lines if "WARNING" not in line][-12:]
        shown = " ".join(str(word) for word in error.cmd)[:300]
        return "failed", "\n  ".join([f"{shown}: exit status {error.returncode}", *said])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def tried(found, python, archive, folder):
    """Install and try; yields (what, seconds)."""
    stack = "addons" if python in ADDONS else "current"
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    own |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TFMED_CACHE": str(folder / "cache")}
    place = folder / "empty"
    place.mkdir()

    def run(*words):
        subprocess.run(words, cwd=place, env=own, check=True, capture_output=True, encoding="utf-8", timeout=1800)

    def timed(name, *calls):
        start = time.monotonic()
        for words in calls:
            run(*map(str, words))
        return name, time.monotonic() - start

    tool = folder / "venv" / "bin"
    wanted = f"{archive}[addons]" if stack == "addons" else str(archive)
    pip = [tool / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    yield timed(
        f"installed ({stack})",
        [found, "-m", "venv", "--upgrade-deps", folder / "venv"],  # pip of 2023 names no reasons for conflicts
        [*pip, "-c", ROOT / "constraints" / f"{stack}.txt", wanted],
        [tool / "python", "-c", INSTALLED, version()],
    )
    yield timed("listed", [tool / "tfmed", "--version"], [tool / "tfmed", "catalog"])
    demo = ["ctsgan", "--profile", "demo", "train.steps=3", "data.options.cases=4", "--run-dir", "run"]
    yield timed(
        "trained",
        [tool / "tfmed", "fit", *demo],
        [tool / "tfmed", "sample", "run", "-n", "1", "--out", "volumes"],
        [tool / "tfmed", "export", "run"],
    )
    yield timed("SavedModel alone", [tool / "python", "-c", SAVED_MODEL])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
