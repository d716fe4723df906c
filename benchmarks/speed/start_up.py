"""What a training of two steps costs, nearly all of it the making of graphs: as it is, and with autograph.

Run: python -m benchmarks.speed.start_up [--rounds 3] [--methods ctsgan gbdl ...]

Each measurement is a process of its own; both sides take turns. Settings are those of the methods' tests. Prints
seconds of processor time from before the method's settings are read to the end of the run: all rounds.
"""

import argparse
import importlib
import pathlib
import statistics
import tempfile
import time

from benchmarks.support import processes

METHODS = ("ctsgan", "gbdl", "stylegan3d", "fsmr2ct", "brainnetgan")


def measure(name, autograph):
    """Processor seconds of a run of two steps, in this process."""
    import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

    import tensorflow as tf

    if autograph:
        original = tf.function

        def with_autograph(func=None, **options):
            options["autograph"] = True
            return original(func, **options) if func is not None else lambda f: original(f, **options)

        tf.function = with_autograph
    harness = importlib.import_module(f"tests.methods.test_{name}").TestHarness()
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        tfmed.engine.lifecycle.fit(harness.settings("train.steps=2"), pathlib.Path(folder) / "run")
        return time.process_time() - begun


def fresh(name, autograph):
    """`measure` in a process of its own."""
    return processes.fresh(__spec__.name, "--one", name, int(autograph))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(measure(arguments.one[0], arguments.one[1] == "1"))
        return
    print("| method | tfmed, s | with autograph, s | ratio of medians |\n|---|---|---|---|")
    for name in arguments.methods:
        rounds = [(fresh(name, False), fresh(name, True)) for _ in range(arguments.rounds)]
        ours, theirs = (sorted(side) for side in zip(*rounds, strict=True))
        ratio = statistics.median(theirs) / statistics.median(ours)
        cells = (" ".join(f"{value:.1f}" for value in side) for side in (ours, theirs))
        print(f"| {name} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
