"""What must never stand in the source, and which way imports go."""

import ast
import pathlib
import re
import subprocess

import pytest

from tfmed import cli

REPOSITORY = pathlib.Path(__file__).parents[1]
PACKAGE = sorted((REPOSITORY / "tfmed").rglob("*.py"))
TESTS = sorted((REPOSITORY / "tests").rglob("*.py"))


def name_of(file):
    """tfmed/data/cache.py -> tfmed.data.cache"""
    parts = file.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def trees(files):
    return [(name_of(file), ast.parse(file.read_text(encoding="utf-8"))) for file in files]


SOURCE = trees(PACKAGE)


def dotted(node):
    """a.b.c of a Name or Attribute, otherwise ''."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def imports(name, tree):
    """Full names of the modules that a module imports, also inside functions."""
    package = name if (REPOSITORY / name.replace(".", "/")).is_dir() else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{module}.{alias.name}"


IMPORTS = {name: sorted(set(imports(name, tree))) for name, tree in SOURCE}


def test_the_source_is_found():
    assert len(SOURCE) > 40 and "tfmed.config" in IMPORTS
    assert "tfmed.errors.ConfigError" in IMPORTS["tfmed.config"]
    assert "tfmed.data.phantoms.chest_ct.chest_ct" in IMPORTS["tfmed.data.phantoms"]


# --- nothing is executed or unpickled ---------------------------------------------------------------------------------

FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.load_all",
                   "yaml.full_load", "yaml.unsafe_load", "pandas.read_pickle", "pd.read_pickle"}  # fmt: skip
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
TRUE_KEYWORDS = {"allow_pickle", "shell"}


def dangers(tree):
    """Descriptions of everything forbidden in a module."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"import {name}" for name in names if name.split(".")[0] in FORBIDDEN_MODULES)
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func)
        if called in FORBIDDEN_CALLS or called.endswith((".extractall", ".enable_unsafe_deserialization")):
            yield f"line {node.lineno}: {called}"
        if called in ("np.load", "numpy.load") and "allow_pickle" not in {k.arg for k in node.keywords}:
            yield f"line {node.lineno}: {called} without allow_pickle=False"
        for keyword in node.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else "unknown"
            if keyword.arg in TRUE_KEYWORDS and value is not False:
                yield f"line {node.lineno}: {keyword.arg}={value}"
            if keyword.arg == "safe_mode" and value is not True:
                yield f"line {node.lineno}: safe_mode={value}"
            if keyword.arg == "Loader" and dotted(keyword.value) != "yaml.SafeLoader":
                yield f"line {node.lineno}: Loader={dotted(keyword.value)}"


@pytest.mark.parametrize("code", [
    "import pickle", "from pickle import loads", "import joblib.memory", "eval('1')", "exec(code)", "os.system('ls')",
    "yaml.load(x)", "yaml.load(x, Loader=yaml.SafeLoader)", "yaml.compose(x, Loader=yaml.Loader)", "tar.extractall(p)",
    "np.load(f)", "np.load(f, allow_pickle=True)", "np.load(f, allow_pickle=flag)", "subprocess.run(c, shell=True)",
    "keras.models.load_model(f, safe_mode=False)",
])  # fmt: skip
def test_the_search_finds_dangers(code):
    assert list(dangers(ast.parse(code)))


def test_nothing_dangerous_in_the_package():
    assert {name: found for name, tree in SOURCE if (found := list(dangers(tree)))} == {}


# --- imports go one way -----------------------------------------------------------------------------------------------

LEVELS = (  # the parts of tfmed from the top down; a part imports only itself, its level and those below
    ("methods",), ("tasks",), ("engine",), ("pictures",), ("data",), ("metrics", "augment", "io"),
    ("training", "nn", "losses", "ops", "config"),
    ("compat", "files", "errors", "registry", "startup", "half_precision", "settings_text", "_lazy"),
)  # fmt: skip
LEVEL = {part: level for level, parts in enumerate(LEVELS) for part in parts}
LOW = ("ops", "nn", "losses", "metrics", "augment", "io")  # functions of arrays and tensors, usable alone


def part_of(name):
    """tfmed.data.cache -> data"""
    return (name.split(".") + [""])[1]


def test_imports_go_one_way():
    wrong = [f"{name} imports {module}" for name, modules in IMPORTS.items() if part_of(name) in LEVEL
             for module in modules if module.startswith("tfmed.") and part_of(module) in LEVEL
             and LEVEL[part_of(module)] < LEVEL[part_of(name)]]  # fmt: skip
    assert wrong == []


def test_no_circle_through_importlib():
    """What is imported by name is a package of its own: nobody reaches up that way."""
    allowed = {"tfmed", "tfmed._lazy", "tfmed.methods", "tfmed.cli"}
    calls = {name for name, tree in SOURCE for node in ast.walk(tree) if isinstance(node, ast.Call)
             and dotted(node.func) == "importlib.import_module"
             and not (isinstance(node.args[0], ast.Constant) and "tfmed" not in node.args[0].value)}  # fmt: skip
    assert calls <= allowed


def test_nothing_below_the_verbs_imports_them():
    verbs = {*cli.VERBS, "cli", "__main__"}
    wrong = [f"{name} imports {module}" for name, modules in IMPORTS.items() if part_of(name) in LEVEL
             for module in modules if module.startswith("tfmed.") and part_of(module) in verbs]  # fmt: skip
    assert wrong == []


def test_every_part_has_its_rule():
    assert {part_of(name) for name in IMPORTS} - {*cli.VERBS, "cli", "__main__", ""} <= set(LEVEL)


def test_no_method_imports_another():
    wrong = [f"{name} imports {module}" for name, modules in IMPORTS.items() if name.startswith("tfmed.methods.")
             for module in modules if module.startswith("tfmed.methods.")
             and module.split(".")[2] != name.split(".")[2]]  # fmt: skip
    assert wrong == []


# --- methods stay short -----------------------------------------------------------------------------------------------

METHODS = REPOSITORY / "tfmed" / "methods"
LONGEST = 400  # lines of a file; a method whose files hold fewer is one file
ALIKE = 6  # lines


def files_of_methods():
    """{name: its files}."""
    found = {}
    for file in sorted(METHODS.rglob("*.py")):
        if file != METHODS / "__init__.py":
            found.setdefault(file.relative_to(METHODS).parts[0].removesuffix(".py"), []).append(file)
    return found


def lines_of(file):
    return file.read_text(encoding="utf-8").splitlines()


def normalised(text):
    """The lines of a module that do something: without imports, comments, empty lines and indentation."""
    imported = {number for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))
                for number in range(node.lineno, node.end_lineno + 1)}  # fmt: skip
    lines = [(number, " ".join(line.split())) for number, line in enumerate(text.splitlines(), 1)]
    return [line for number, line in lines if line and number not in imported and not line.startswith("#")]


def shared_runs(texts):
    """The first line of each run of `ALIKE` lines that two methods have: [(one, other, line)] of {method: texts}."""
    owner, found = {}, []
    for name, modules in texts.items():
        for lines in map(normalised, modules):
            for i in range(len(lines) - ALIKE + 1):
                other = owner.setdefault(tuple(lines[i : i + ALIKE]), name)
                found += [(other, name, lines[i])] if other != name else []
    return found


def test_no_file_of_a_method_is_long():
    long = {str(file.relative_to(METHODS)): len(lines_of(file)) for files in files_of_methods().values()
            for file in files if len(lines_of(file)) > LONGEST}  # fmt: skip
    assert long == {}


def test_a_folder_holds_what_one_file_cannot():
    folders = {name: sum(len(lines_of(file)) for file in files) for name, files in files_of_methods().items()
               if (METHODS / name).is_dir()}  # fmt: skip
    assert {name: count for name, count in folders.items() if count <= LONGEST} == {}


def test_what_two_methods_share_has_moved_down():
    texts = {name: [file.read_text(encoding="utf-8") for file in files] for name, files in files_of_methods().items()}
    assert len(texts) > 10 and shared_runs(texts) == []


def test_the_search_finds_what_two_methods_share():
    code = "import keras\ndef f():\n    # so\n" + "".join(f"    x = {k}\n" for k in range(ALIKE))
    moved = "from keras import layers\nclass A:\n" + "".join(f"\n        x = {k}" for k in range(ALIKE))
    assert shared_runs({"one": [code], "two": [moved]}) == [("one", "two", "x = 0")]
    assert shared_runs({"one": [code, code]}) == []
    assert shared_runs({"one": [code], "two": [moved.replace("x = 3", "x = 4")]}) == []


def test_functions_of_tensors_know_nothing_of_settings():
    wrong = [f"{name} imports {module}" for name, modules in IMPORTS.items() if part_of(name) in LOW
             for module in modules if module.split(".")[0] in ("yaml", "pydantic")]  # fmt: skip
    assert wrong == []


def test_heavy_packages_are_imported_where_they_are_used():
    heavy = {"keras_cv", "imgaug", "tensorflow_addons", "tensorflow_gan", "tensorflow_probability", "cv2"}
    for name, tree in SOURCE:
        top = ast.Module([n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))], [])
        assert not heavy & {module.split(".")[0] for module in imports(name, top)}, name


def test_one_spelling_for_both_stacks():
    """`import keras`, never tf.keras or keras.backend."""
    wrong = []
    for name, tree in SOURCE + trees(TESTS):
        used = {dotted(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)} | set(imports(name, tree))
        wrong += [f"{name}: {text}" for text in used
                  if text.startswith(("tf.keras", "tensorflow.keras", "keras.backend", "tf_keras"))]  # fmt: skip
    assert wrong == []


# --- one word, one meaning --------------------------------------------------------------------------------------------

SPLIT = (  # where `part` is the training, validation or test part of a split, as behind `--part`
    "tfmed.methods.", "tfmed.tasks.", "tfmed.data.sources.", "tfmed.data.splits", "tfmed.data.classes",
    "tfmed.engine.method", "tfmed.engine.made_cases", "tfmed.engine.split_record", "tfmed.engine.study",
    "tfmed.engine.lifecycle", "tfmed.engine.abilities", "tfmed.engine.use", "tfmed.prepare", "tfmed.view",
    "tfmed.data.phantoms",  # the option `part` of phantom addresses, which stand in settings and in records of runs
)  # fmt: skip
LAMBDAS = ("tfmed.data.splits",)  # elsewhere a lambda's `part` was a micro-batch


def with_autograph(tree):
    """Lines of `tf.function`s that are made with autograph, called or as decorators."""
    for node in ast.walk(tree):
        bare = [one for one in getattr(node, "decorator_list", ()) if dotted(one) == "tf.function"]
        yield from (one.lineno for one in bare)
        if isinstance(node, ast.Call) and dotted(node.func) == "tf.function":
            given = {word.arg: word.value for word in node.keywords}.get("autograph")
            if not (isinstance(given, ast.Constant) and given.value is False):
                yield node.lineno


def test_graphs_are_made_without_autograph():
    """Which takes half of the time of an export, and hides what a step does."""
    assert {name: found for name, tree in SOURCE if (found := list(with_autograph(tree)))} == {}


@pytest.mark.parametrize("code", ["@tf.function\ndef f(): pass", "f = tf.function(g)", "tf.function(g, autograph=True)",
                                  "@tf.function(jit_compile=True)\ndef f(): pass"])  # fmt: skip
def test_the_search_finds_autograph(code):
    assert list(with_autograph(ast.parse(code)))


def named_part(name, tree):
    """Line and identifier of each `part` in a module that must not have one, and of each argument of a lambda."""
    word = re.compile(r"(?:^|_)parts?(?:_|$)", re.IGNORECASE)
    lambdas = {id(arg) for node in ast.walk(tree) if isinstance(node, ast.Lambda) for arg in node.args.args}
    if word.search(name.rpartition(".")[2]):
        yield 0, name
    for node in ast.walk(tree):
        text = getattr(node, "id", None) or getattr(node, "arg", None) or getattr(node, "name", None)
        allowed = name.startswith(LAMBDAS if id(node) in lambdas else SPLIT)
        if not isinstance(node, (ast.keyword, ast.alias)) and text and word.search(text) and not allowed:
            yield node.lineno, text


def test_a_part_is_the_part_of_a_split():
    """Micro-batches, phases of a step, channels, components, slabs and pieces of an address have names of their own."""
    assert {name: found for name, tree in SOURCE if (found := list(named_part(name, tree)))} == {}


@pytest.mark.parametrize("name, code", [
    ("tfmed.io.new", "part = 1"), ("tfmed.ops.new", "def f(part): pass"), ("tfmed.nn.new", "def _parts(): pass"),
    ("tfmed.metrics.new", "[x for part_of_it in y]"), ("tfmed.methods.new", "lambda part: part"),
    ("tfmed.io.parts", ""),
])  # fmt: skip
def test_the_search_finds_other_parts(name, code):
    assert list(named_part(name, ast.parse(code)))


# --- what a reader and a stranger meet --------------------------------------------------------------------------------


def public(tree):
    """Public functions and classes of a module."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node


def test_every_module_and_every_public_name_has_a_docstring():
    bare = [name for name, tree in SOURCE if tree.body and not ast.get_docstring(tree)]
    bare += [f"{name}.{node.name}" for name, tree in SOURCE for node in public(tree)
             if not ast.get_docstring(node) and node.name != "main"]  # fmt: skip
    assert bare == []


def tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, encoding="utf-8")
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [REPOSITORY / name for name in listed.stdout.split("\0") if name]


def test_no_paths_of_a_machine():
    """Nothing points into somebody's home or scratch folder."""
    pattern = re.compile(r"(?<![\w.\-/~}])/(?:root|home|work|Users|mnt|tmp/\w+)/[\w.]")
    assert pattern.search("see " + "/home" + "/ann/x") and not pattern.search("runs" + "/work/x")
    found = []
    for file in tracked():
        if file.exists() and file.suffix not in (".png", ".jpg", ".gif", ".gz"):
            for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                if pattern.search(line) and file != pathlib.Path(__file__):
                    found.append(f"{file.relative_to(REPOSITORY)}:{number}: {line.strip()[:80]}")
    assert found == []


def test_no_file_is_huge():
    """Data sets and weights do not belong into the repository."""
    large = [file.name for file in tracked() if file.exists() and file.stat().st_size > 2 << 20]
    assert large == []


BENCHMARKS = [file for file in sorted((REPOSITORY / "benchmarks").rglob("*.py"))
              if file.name not in ("onednn.py", "unet.py", "__init__.py")]  # fmt: skip


@pytest.mark.parametrize("file", BENCHMARKS, ids=lambda file: file.name)
def test_benchmarks_import_tfmed_before_tensorflow(file):
    """TensorFlow's CPU kernels are chosen when it is imported: the other way round they would measure slower ones."""
    tops = [node for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.stmt)]
    found = [name.split(".")[0] for node in tops for name in imports("benchmarks", node)]
    first = next((name for name in found if name in ("tfmed", "tensorflow", "keras")), "tfmed")
    assert first == "tfmed"


@pytest.mark.parametrize("folder", ["speed", "peers", "toys", "real"])
def test_benchmarks_are_commands_that_say_how_they_are_run(folder):
    for file in sorted((REPOSITORY / "benchmarks" / folder).glob("*.py")):
        if file.name != "__init__.py":
            text = file.read_text(encoding="utf-8")
            assert f"python -m benchmarks.{folder}.{file.stem}" in ast.get_docstring(ast.parse(text)), file
            assert 'if __name__ == "__main__":' in text, file


def test_what_is_named_exists():
    """Scripts, files and modules that README, docs and docstrings name."""
    missing = []
    for file in [*PACKAGE, *REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *TESTS]:
        text = file.read_text(encoding="utf-8")
        named = {name.replace(".", "/") for name in re.findall(r"python -m (benchmarks(?:\.\w+)+)", text)}
        named |= {name.removesuffix(".py") for name in re.findall(r"\b(?:benchmarks|docs)/[\w/]+\.(?:py|md|png)", text)}
        for name in named:
            stem = REPOSITORY / name
            if not (stem.exists() or stem.with_suffix(".py").exists() or (stem / "__main__.py").exists()):
                missing.append(f"{file.relative_to(REPOSITORY)}: {name}")
    assert missing == []
