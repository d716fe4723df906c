"""Tables: methods trained with several seeds, each result kept as soon as it is known; medians and their spread."""

import argparse
import csv
import pathlib
import statistics
import time

import numpy as np


def make(doc, methods, steps, out, columns, digits, score):
    """Print a row for each seed and method, and their means; rows that stand in the table --out are not made again.

    Args:
        doc: description of the command.
        methods: names of the methods.
        steps: of a training, unless --steps says otherwise.
        out: CSV file, unless --out says otherwise.
        columns: names of the scores.
        digits: of a printed score after the point.
        score: function of (seed, method, steps) that returns the scores.

    Returns:
        The seeds.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--methods", nargs="+", choices=methods, default=list(methods))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(out))
    arguments = parser.parse_args()
    kept = _kept(arguments.out)
    print(f"| seed | method | {' | '.join(columns)} | seconds |\n|---|---|{'---|' * len(columns)}---|")
    for seed in arguments.seeds:
        for name in arguments.methods:
            key = (str(seed), name, str(arguments.steps))
            if key not in kept:
                start = time.monotonic()
                kept[key] = (*map(float, score(seed, name, arguments.steps)), time.monotonic() - start)
                with open(arguments.out, "a", newline="", encoding="utf-8") as stream:
                    csv.writer(stream).writerow([*key, *kept[key]])
            print_row(seed, name, kept[key], digits)
    for name in arguments.methods:
        rows = [kept[str(seed), name, str(arguments.steps)] for seed in arguments.seeds]
        print_row("mean", name, np.mean(rows, axis=0), digits)
    return arguments.seeds


def spread(values, digits=2):
    """Median and range of some numbers."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} .. {max(values):.{digits}f})"


def ratios(values, others, digits=2):
    """Median and quartiles of the ratios of two sides' numbers, round by round."""
    found = [one / other for one, other in zip(values, others, strict=True)]
    low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def print_row(seed, name, values, digits):
    """A row: scores, and seconds as the last value."""
    *scores, seconds = values
    print(f"| {seed} | {name} | {' | '.join(f'{x:.{digits}f}' for x in scores)} | {seconds:.0f} |", flush=True)


def _kept(path):
    """{(seed, method, steps): scores and seconds}."""
    if not path.exists():
        return {}
    with open(path, newline="", encoding="utf-8") as stream:
        return {tuple(row[:3]): tuple(map(float, row[3:])) for row in csv.reader(stream)}
