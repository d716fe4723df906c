"""Every declared package can be imported on this stack, and every imported package is declared."""

import ast
import configparser
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import tfmed
from tfmed import registry
from tfmed.compat import STACK

pytestmark = pytest.mark.current

REPOSITORY = pathlib.Path(__file__).parents[1]
MODULES = {  # distribution -> what it is imported as, where the names differ
    "simpleitk": "SimpleITK", "scikit-image": "skimage", "scikit-learn": "sklearn", "imbalanced-learn": "imblearn",
    "pyyaml": "yaml", "jinja2": "jinja2", "keras-cv": "keras_cv", "tensorflow-addons": "tensorflow_addons",
    "tensorflow-gan": "tensorflow_gan", "tensorflow-probability": "tensorflow_probability",
    "tensorflow-metadata": "tensorflow_metadata", "protobuf": "google.protobuf", "pillow": "PIL",
    "opencv-python": "cv2", "pytest-xdist": "xdist", "bctpy": "bct", "mlflow-skinny": "mlflow",
}  # fmt: skip


def declared():
    """Group of setup.cfg -> modules: "base" and the extras."""
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    groups = {"base": setup["options"]["install_requires"], **setup["options.extras_require"]}
    found = {}
    for group, text in groups.items():
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        names = [re.match(r"[A-Za-z0-9_.-]+", line.strip())[0].lower() for line in lines]
        found[group] = {MODULES.get(name, name) for name in names}
    return found


DECLARED = declared()
IMPORT_ALL = """
import importlib, sys
from tfmed.compat import import_imgaug
import_imgaug()
failed = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = f"{type(error).__name__}: {str(error)[:200]}"
print(failed)
sys.exit(bool(failed))
"""


def python(code, *arguments):
    """Run code in a fresh process of its own."""
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, encoding="utf-8", timeout=400,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}, cwd=REPOSITORY,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]
    return result.stdout


def test_setup_cfg_is_understood():
    assert {"tensorflow", "keras", "skimage", "yaml", "SimpleITK"} <= DECLARED["base"]
    assert {"tensorflow_addons", "tensorflow_gan", "tensorflow_probability"} <= DECLARED["addons"]


def test_every_declared_package_can_be_imported():
    """All of this stack's packages together, in one process."""
    wanted = DECLARED["base"] | DECLARED["test"] | (DECLARED["addons"] if STACK == "addons" else DECLARED["notebooks"])
    python(IMPORT_ALL, *sorted(wanted))


def third_party(files):
    """Top-level modules that files import, less the standard library and ourselves."""
    names = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"tfmed", "tests", "benchmarks"}


def test_everything_that_the_package_imports_is_declared():
    imported = third_party((REPOSITORY / "tfmed").rglob("*.py")) - {"mpl_toolkits"}  # a part of matplotlib
    assert {"tensorflow", "keras", "numpy", "yaml"} <= imported
    extras = ("onnx", "mlflow", "wandb", "completion", "view")  # whose absence is told where they are asked for
    assert imported - DECLARED["base"].union(*(DECLARED[extra] for extra in extras)) == set()


@pytest.mark.parametrize(
    "folder, extras", [("tests", ("test", "addons", "notebooks", "wandb")), ("benchmarks", ("bench", "test", "addons"))]
)
def test_everything_that_other_code_imports_is_declared(folder, extras):
    own = {path.stem for path in (REPOSITORY / folder).iterdir()}
    own |= {"nnunetv2", "batchgenerators", "pygmtools", "pythae"}  # of a peer's process, in an environment of its own
    imported = third_party((REPOSITORY / folder).rglob("*.py")) - own
    assert imported and imported - DECLARED["base"].union(*(DECLARED[extra] for extra in extras)) == set()


@pytest.mark.parametrize("stack", ["addons", "current"])
def test_constraints_pin_every_declared_package(stack):
    lines = (REPOSITORY / "constraints" / f"{stack}.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    groups = ("base", "test", "addons") if stack == "addons" else ("base", "test", "notebooks")
    modules = {MODULES.get(name, name) for name in pinned}
    assert set().union(*(DECLARED[group] for group in groups)) - modules == set()


@pytest.mark.one_stack
def test_a_wheel_holds_every_method_and_settings_file(tmp_path):
    """As built from a copy, and read by an interpreter that has no checkout."""
    source = tmp_path / "source"
    for name in ("tfmed", "configs"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md"):
        shutil.copy(REPOSITORY / name, source)
    words = ["wheel", ".", "--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", *words], cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    assert held >= {f"tfmed/{p.relative_to(REPOSITORY)}" for p in (REPOSITORY / "configs").rglob("*.yaml")}
    assert held >= {str(p.relative_to(REPOSITORY)) for p in (REPOSITORY / "tfmed").rglob("*.py")}
    assert "tfmed/engine/templates/report.html" in held
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    code = "import tfmed; from tfmed.config import find_config; print(tfmed.__file__, find_config('configs/uamt.yaml'))"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "installed", capture_output=True, text=True)
    assert found.stdout.count(str(tmp_path)) == 2, found.stderr


@pytest.mark.one_stack
def test_a_source_distribution_holds_the_tests(tmp_path):
    source = tmp_path / "source"
    names = ("tfmed", "configs", "tests", "docs", "constraints", "notebooks", "benchmarks")
    for name in names:
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in REPOSITORY.iterdir():
        if path.is_file() and not path.name.startswith(".git"):
            shutil.copy(path, source)
    words = ["setup.py", "-q", "sdist", "-d", str(tmp_path)]
    subprocess.run([sys.executable, *words], cwd=source, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        held = {name.partition("/")[2] for name in opened.getnames()}
    wanted = {
        str(path.relative_to(source)) for name in names for path in (source / name).rglob("*.*") if path.is_file()
    }
    assert wanted - held == set() and {"Makefile", "LICENSE", "CITATION.cff", "CHANGELOG.md", "setup.cfg"} <= held


def test_a_method_is_found_by_its_file(tmp_path, monkeypatch):
    """Nothing but the file makes it known: its row is read off its docstring."""
    text = '"""Toy: two lines of a paper.\\n\\nPaper: A. Author, 2021.\\n\\nTask: to be found.\\n"""\nMETHOD = 7\n'
    (tmp_path / "toy_of_this_test.py").write_text(text.replace("\\n", "\n"), encoding="utf-8")
    monkeypatch.setattr(tfmed.methods, "__path__", [*tfmed.methods.__path__, str(tmp_path)])
    assert registry.method_class("toy_of_this_test") == 7 and "toy_of_this_test" in registry.names()
    row = registry.info("toy_of_this_test")
    assert (row.title, row.task, row.paper, row.status) == ("Toy", "to be found.", "A. Author, 2021.", "ready")


def test_completion_shows_what_there_is():
    """In an interpreter that has imported nothing below."""
    code = "import tfmed; print(*dir(tfmed), *dir(tfmed.metrics), *dir(tfmed.methods), *dir(tfmed.io))"
    shown = set(python(code).split())
    assert shown >= {"fit", "load_config", "metrics", "surface", "two_sample", "ctsgan", "read_volume", "Volume"}
    assert not shown & {"submodules", "importlib"}


def test_importing_tfmed_is_light():
    code = "import sys, tfmed; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = set(python(code).split())
    assert not loaded & {"tensorflow", "keras", "numpy", "pydantic", "yaml", "SimpleITK", "rich", "matplotlib"}


def test_listing_the_methods_needs_no_tensorflow():
    code = "import sys, tfmed; assert len(tfmed.catalog()) == 30; print('tensorflow' in sys.modules)"
    assert python(code).strip() == "False"


IMPORT_TFMED = """
import importlib, pkgutil, sys, tfmed
for module in pkgutil.walk_packages(tfmed.__path__, "tfmed."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def test_the_package_itself_works_without_the_packages_of_the_other_stack():
    """No module of tfmed imports, when it is imported, what exists on stack addons only."""
    loaded = set(python(IMPORT_TFMED).split())
    assert "tensorflow" in loaded
    assert not loaded & {"tensorflow_addons", "tensorflow_gan", "tensorflow_probability", "imgaug", "keras_cv"}


def test_the_stack_is_what_is_installed():
    assert (importlib.util.find_spec("tensorflow_addons") is not None) == (STACK == "addons")
