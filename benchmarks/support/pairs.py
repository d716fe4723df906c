"""tfmed beside a peer that another interpreter has: sides set up, compared, and run in turn; a table of times."""

import argparse
import datetime
import importlib.metadata
import os
import pathlib
import platform
import sys
import tempfile

import numpy as np

from benchmarks.support.processes import Side, serve
from benchmarks.support.tables import ratios, spread

THREADS = "2"
_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS",
           "TF_NUM_INTEROP_THREADS")  # fmt: skip
_PACKAGES = ("tensorflow", "keras", "torch", "pythae", "imgaug", "numpy")


def main(description, cases, sides, check, peer=None):
    """The command of a script: measure its cases, or, in a process that it started, serve the side that is named.

    Args:
        description: the script's docstring.
        cases: {title: function that gives {name: array}, what both sides get}.
        sides: {name: function as `processes.serve` takes it}; they import what they need themselves. The first is
            tfmed's.
        check: (inputs, {side: {name: array}}) -> lines that say how well the answers agree, or AssertionError.
        peer: the side that the interpreter of --peer runs; it is set up first, and may leave weights for the others in
            the folder. None: all sides have this interpreter.
    """
    if len(sys.argv) > 1 and sys.argv[1] in sides:
        return serve(sides, _versions())
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=cases, default=list(cases), metavar="CASE", help="; ".join(cases))
    if peer:
        parser.add_argument("--peer", required=True, metavar="PYTHON", help=f"an interpreter that has {peer}")
    options = parser.parse_args()
    interpreters = {name: options.peer if name == peer else sys.executable for name in sides}
    rows, versions = [], {}
    for title in options.only:
        found, versions = _measured(cases[title](), interpreters, check, options.rounds, peer)
        rows += _rows(title, found)
        print(*rows[-len(found) :], f"load average {os.getloadavg()[0]:.1f}", sep="\n", flush=True)
    print(f"\n{datetime.date.today()}; {os.cpu_count()} cores, {THREADS} threads; {options.rounds} rounds in turn")
    for name, packages in versions.items():
        print(f"{name}: {', '.join(f'{package} {version}' for package, version in packages.items())}")
    print("\n| task | side | wall ms | processor ms | its wall / tfmed's |\n|---|---|---|---|---|", *rows, sep="\n")


def _measured(given, interpreters, check, rounds, peer):
    """({name: Side} after its rounds, {name: versions})."""
    module = sys.modules["__main__"].__spec__.name
    with tempfile.TemporaryDirectory() as folder:
        folder, found = pathlib.Path(folder), {}
        np.savez(folder / "inputs.npz", **given)
        for name in sorted(interpreters, key=lambda name: name != peer):
            command = [interpreters[name], "-m", module, name, str(folder), f"{name}.npz"]
            limits = dict.fromkeys(_LIMITS, THREADS) | {"TF_CPP_MIN_LOG_LEVEL": "3"}
            found[name] = Side(name, command, limits, folder / f"{name}.log")
        answers = {name: dict(np.load(folder / f"{name}.npz", allow_pickle=False)) for name in found}
        print(*check(given, answers), sep="\n", flush=True)
        found = {name: found[name] for name in interpreters}
        for number in range(rounds):
            for side in list(found.values())[:: 1 if number % 2 else -1]:
                side.round()
        for side in found.values():
            side.stop()
    return found, {name: side.first["versions"] for name, side in found.items()}


def _rows(title, sides):
    """A row of the table for each side: medians and ranges in ms, quartiles of the ratios round by round."""
    rows, ours = [], next(iter(sides.values()))
    for name, side in sides.items():
        wall, processor = ([1e3 * value for value in side.values(key)] for key in ("wall", "cpu"))
        digits = 2 if min(wall) < 10 else 0
        share = "" if side is ours else ratios(side.values("wall"), ours.values("wall"))
        rows.append(f"| {title} | {name} | {spread(wall, digits)} | {spread(processor, digits)} | {share} |")
    return rows


def _versions():
    found = {"Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def near(name, ours, theirs, tolerance):
    """A line with the largest difference, which must not exceed the tolerance."""
    difference = float(np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)).max())
    assert difference <= tolerance, f"{name}: differs by {difference:.2e}, allowed {tolerance:.0e}"
    return f"{name}: largest difference {difference:.1e} (allowed {tolerance:.0e})"
