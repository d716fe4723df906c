"""Do the tests of a module notice when its code is wrong? A sample of small changes, each run against those tests.

python -m benchmarks.support.mutants losses metrics augment [--share 0.1] [--least 12] [--seed 0] [--out mutants.jsonl]

TensorFlow is imported once; each mutant runs in a fork of its own, which imports the mutated module in place of the
real one and stops at the first test that fails. Tests of `tfmed/<room>/<name>.py` are `tests/<room>/test_<name>.py` and
the files beside it that name the module; where there are none, the tests of the modules of its room that import it;
and the examples in its docstrings.
What is known already is not run again, so that a run can be broken off; `--again` runs the survivors anew, after tests
were added. Printed are a row for each module, and the survivors.

A mutant changes one place: a comparison, an arithmetic or boolean operator, a number or truth value, a condition, what
is returned, or it leaves a statement out. Left alone are annotations, decorators, texts, the arguments of what is
raised, and the `strict` of `zip`, whose lengths agree in every right program.
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import argparse
import ast
import collections
import copy
import dataclasses
import gc
import hashlib
import importlib.abc
import importlib.util
import json
import math
import os
import pathlib
import random
import signal
import sys
import tempfile
import time

import pytest

from benchmarks.support.processes import REPOSITORY

COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
NEGATED_BY_ITS_OPERATOR = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)
LEFT_ALONE = {"annotation", "returns", "decorator_list", "exc", "cause", "type_params", "msg"}
SHARED = ("tensorflow", "keras", "scipy.stats", "sklearn.svm", "skimage", "imgaug", "pandas", "matplotlib.pyplot",
          "statsmodels.api", "networkx", "hypothesis", "nibabel", "SimpleITK")  # fmt: skip  # imported before the forks
SLOW = 10  # a mutant that needs this many times the seconds of the unchanged module (and a minute more) hangs


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change of a module: where (line, column), of which kind, the code before and after, the module's source."""

    module: str
    line: int
    column: int
    kind: str
    before: str
    after: str
    source: str = dataclasses.field(repr=False)

    @property
    def key(self):
        """What identifies the mutant as long as the module's code stays as it is."""
        return hashlib.sha256(f"{self.module}|{self.source}".encode()).hexdigest()[:16]


def mutants(module, source):
    """All mutants of a module.

    Args:
        module: its full name.
        source: its text.

    Returns:
        List of Mutant in the order of the text; none has the code of the module itself.
    """
    tree, found = ast.parse(source), []
    for number, (holder, key) in enumerate(_places(tree)):
        node = _get(holder, key)
        for kind, new in _changes(node):
            other = ast.parse(source)
            _set(*_places(other)[number], new)
            text = ast.unparse(ast.fix_missing_locations(other))
            found.append(Mutant(module, node.lineno, node.col_offset, kind, ast.unparse(node), ast.unparse(new), text))
    return sorted(found, key=lambda one: (one.line, one.column, one.kind))


def _places(node):
    """(node or list, name or index) of every node below this one that may be changed, always in the same order."""
    places = []
    for name, value in ast.iter_fields(node):
        if name in LEFT_ALONE or isinstance(node, ast.JoinedStr):
            continue
        holders = [(value, i) for i in range(len(value))] if isinstance(value, list) else [(node, name)]
        for holder, key in holders:
            child = _get(holder, key)
            if isinstance(child, ast.AST) and not (isinstance(child, ast.keyword) and child.arg == "strict"):
                places += [(holder, key), *_places(child)]
    return places


def _get(holder, key):
    return holder[key] if isinstance(holder, list) else getattr(holder, key)


def _set(holder, key, value):
    if isinstance(holder, list):
        holder[key] = value
    else:
        setattr(holder, key, value)


def _changes(node):
    """(kind, node to stand in its place) for each change of one node."""
    match node:
        case ast.Compare(ops=[operator]):
            yield "comparison", _with(node, ops=[COMPARISONS[type(operator)]()])
        case ast.BinOp(op=operator):
            yield "arithmetic", _with(node, op=ARITHMETIC[type(operator)]())
        case ast.AugAssign(op=operator):
            yield "arithmetic", _with(node, op=ARITHMETIC[type(operator)]())
            yield "deleted", ast.Pass()
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            yield "arithmetic" if isinstance(node.op, ast.USub) else "boolean", node.operand
        case ast.BoolOp(op=operator):
            yield "boolean", _with(node, op=ast.Or() if isinstance(operator, ast.And) else ast.And())
        case ast.Constant(value=bool() as value):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield "constant", ast.Constant(value + 1)
        case ast.If() | ast.While() | ast.IfExp() if not _negated_elsewhere(node.test):
            yield "condition", _with(node, test=ast.UnaryOp(ast.Not(), node.test))
        case ast.Return(value=ast.AST()):
            yield "return", ast.Return(ast.Constant(None))
        case ast.Expr(value=value) if not isinstance(value, ast.Constant | ast.Yield):
            yield "deleted", ast.Pass()
        case ast.Raise() | ast.Continue() | ast.Break():
            yield "deleted", ast.Pass()


def _with(node, **fields):
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _negated_elsewhere(test):
    """Whether the opposite of a condition is a mutant of the condition's own operator already."""
    match test:
        case ast.Compare(ops=[operator]):
            return isinstance(operator, NEGATED_BY_ITS_OPERATOR)
        case ast.UnaryOp(op=ast.Not()):
            return True
    return False


class _Instead(importlib.abc.MetaPathFinder):
    """Imports one module from another file."""

    def __init__(self, module, file):
        self.module, self.file = module, file

    def find_spec(self, name, path=None, target=None):
        """The file in place of the module's own."""
        return importlib.util.spec_from_file_location(name, self.file) if name == self.module else None


def outcome(tests, mutant, limit):
    """("killed", "survived" or "slow", seconds) of a mutant, or of the unchanged module where `mutant` is None."""
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        _run(tests, mutant)
    while time.monotonic() - begun < limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            survived = os.waitstatus_to_exitcode(status) == 0
            return ("survived" if survived else "killed"), time.monotonic() - begun
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "slow", limit


def _run(tests, mutant):
    """What the fork does: it ends with the exit status of the tests."""
    os.setsid()
    silent = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(silent, number)
    status = 1
    with tempfile.TemporaryDirectory() as folder:
        try:
            if mutant:
                file = pathlib.Path(folder, mutant.module.rpartition(".")[2] + ".py")
                file.write_text(mutant.source, encoding="utf-8")  # a file: autograph reads functions from it
                sys.meta_path.insert(0, _Instead(mutant.module, file))
            status = pytest.main(["-x", "-q", "-m", "not long", "--basetemp", f"{folder}/tests", *tests])
        finally:
            os._exit(_cleared(folder, status))


def _cleared(folder, status):
    for path in sorted(pathlib.Path(folder).rglob("*"), reverse=True):
        path.unlink() if path.is_symlink() or not path.is_dir() else path.rmdir()
    return int(status)


def tests_of(room, name):
    """Files of tests of `tfmed/<room>/<name>.py`, its own first."""
    folder = REPOSITORY / "tests" / room
    own = folder / f"test_{name}.py"
    named = [file for file in sorted(folder.glob("test_*.py")) if file != own and _names(file, room, name)]
    if not (own.exists() or named):
        users = [file.stem for file in (REPOSITORY / "tfmed" / room).glob("*.py") if _names(file, room, name)]
        named = [folder / f"test_{user}.py" for user in sorted(users)]
    found = [str(file) for file in [own, *named] if file.exists()]
    source = (REPOSITORY / "tfmed" / room / f"{name}.py").read_text(encoding="utf-8")
    examples = f"{REPOSITORY}/tests/test_docstrings.py::test_examples[tfmed.{room}.{name}]"
    return [*found, *([examples] if found and ">>> " in source else [])]


def _names(file, room, name):
    text = file.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if f"tfmed.{room}" in line]
    return any(f"tfmed.{room}.{name}" in line or f" {name}" in line.partition(" import")[2] for line in lines)


def interval(killed, count):
    """Wilson's 95 % interval of a share."""
    z, share = 1.96, killed / count
    middle, width = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2))
    return tuple((middle + sign * width) / (1 + z * z / count) for sign in (-1, 1))


def sample(found, share, least, seed):
    """A seeded sample of mutants: a share of them, at least some number of them where there are as many."""
    size = min(len(found), max(least, round(share * len(found))))
    drawn = random.Random(f"{seed} {found[0].module}").sample(range(len(found)), size)
    return [found[i] for i in sorted(drawn)]


def main():
    """See the module."""
    arguments = _arguments()
    os.environ["CI"] = "1"  # hypothesis draws the same examples each time
    for name in SHARED:
        importlib.import_module(name)
    gc.freeze()
    known = _known(arguments.out)
    rows = collections.defaultdict(list)
    for word in arguments.rooms:
        room, _, name = word.partition("/")
        for file in sorted((REPOSITORY / "tfmed" / room).glob(f"{name or '*'}.py")):
            found = mutants(f"tfmed.{room}.{file.stem}", file.read_text(encoding="utf-8"))
            if found and (tests := tests_of(room, file.stem)):
                drawn = sample(found, arguments.share, arguments.least, arguments.seed)
                rows[room] += [(file.stem, len(found), _answers(drawn, tests, known, arguments))]
    _print(rows)


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="+", help="folders of tfmed (losses) or modules (metrics/surface)")
    parser.add_argument("--share", type=float, default=0.1, help="of a module's mutants that is run")
    parser.add_argument("--least", type=int, default=12, help="mutants of a module to run, where it has as many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="run survivors and slow ones anew")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("mutants.jsonl"))
    return parser.parse_args()


def _answers(drawn, tests, known, arguments):
    """[(Mutant, outcome)] of the mutants of a module; what was not known is run and kept."""
    ready = {"killed"} if arguments.again else {"killed", "slow", "survived"}
    missing = [one for one in drawn if known.get(one.key) not in ready]
    if missing:
        said, seconds = outcome(tests, None, 600)
        if said != "survived":
            raise SystemExit(f"{missing[0].module}: its tests fail without any change: {' '.join(tests)}")
    for one in missing:
        known[one.key], taken = outcome(tests, one, SLOW * seconds + 60)
        kept = {**dataclasses.asdict(one), "key": one.key, "outcome": known[one.key], "seconds": round(taken, 1)}
        del kept["source"]
        with open(arguments.out, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(kept) + "\n")
    return [(one, known[one.key]) for one in drawn]


def _known(file):
    """{key: outcome}, the last one of each."""
    if not file.exists():
        return {}
    lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return {line["key"]: line["outcome"] for line in lines}


def _print(rows):
    print("| module | mutants | run | killed | slow | survived | noticed | 95 % interval |", "|---" * 8 + "|", sep="\n")
    for room, modules in rows.items():
        for name, count, answers in modules:
            _print_row(f"{room}.{name}", count, answers)
        _print_row(f"**{room}**", sum(row[1] for row in modules), [one for row in modules for one in row[2]])
    for one, said in (pair for modules in rows.values() for row in modules for pair in row[2]):
        if said == "survived":
            before, after = one.before.splitlines()[0], one.after.splitlines()[0]
            print(f"{one.module}:{one.line}:{one.column} {one.kind}: {before} -> {after}")


def _print_row(name, count, answers):
    counts = collections.Counter(said for _, said in answers)
    noticed = counts["killed"] + counts["slow"]
    low, high = interval(noticed, len(answers))
    print(f"| {name} | {count} | {len(answers)} | {counts['killed']} | {counts['slow']} | {counts['survived']} "
          f"| {noticed / len(answers):.0%} | {low:.0%} to {high:.0%} |")  # fmt: skip


if __name__ == "__main__":
    main()
