"""Sliding windows with a network that does nothing: what cutting, weighting and adding up cost by themselves.

python -m benchmarks.speed.sliding_window [--rounds 5] [--shape 192 192 160] [--window 96] [--overlap 0.5]
       [--blend gaussian]

Each side runs in a process of its own: `tfmed.ops.sliding_window` on arrays, the same with planes finished as they get
complete (here to bytes), and `window_graph` in a `tf.function` for volumes of unknown size. Printed are medians
(fastest - slowest) of processor time and wall time, the largest difference from the volume itself, and how far the
process's resident memory rose while it ran, in multiples of the float32 answer (Linux; the network's own answers, and
for the graph the copy of the volume that becomes a tensor, are in it).
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np
import tensorflow as tf

from benchmarks.support.processes import REPOSITORY, resident
from tfmed.ops.sliding_window import sliding_window, window_graph

SIDES = ("arrays", "arrays, finished", "graph")


def identity(windows):
    return windows


def to_bytes(planes):
    return (planes[..., 0] * 255).astype(np.uint8)


def runner(side, arguments):
    """The function of a volume that is timed."""
    settings = (arguments.window, arguments.overlap, arguments.blend)
    if side == "graph":
        signature = [tf.TensorSpec((None, None, None), tf.float32)]
        graph = tf.function(window_graph(identity, *settings), input_signature=signature)
        return lambda volume: np.asarray(graph(volume))
    finish = to_bytes if side == "arrays, finished" else None
    return lambda volume: sliding_window(identity, volume, *settings, finish=finish)


def measure(side, arguments):
    """Run one side here; its figures."""
    volume = np.random.default_rng(0).random(arguments.shape, np.float32)
    run = runner(side, arguments)
    run(volume[: arguments.window, : arguments.window, : arguments.window])  # traces
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak starts from here
    before = resident("VmRSS")
    result = run(volume)
    rise = resident("VmHWM") - before
    scaled = result / 255.0 if result.dtype == np.uint8 else result
    figures = {"memory": rise / volume.nbytes, "cpu": [], "wall": []}
    figures["difference"] = float(np.abs(scaled - volume).max())
    del result, scaled
    for _ in range(arguments.rounds):
        begin = time.process_time(), time.perf_counter()
        run(volume)
        figures["cpu"].append(time.process_time() - begin[0])
        figures["wall"].append(time.perf_counter() - begin[1])
    return figures


def spread(values):
    return f"{1e3 * statistics.median(values):7.0f} ms ({1e3 * min(values):.0f} - {1e3 * max(values):.0f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", type=int, nargs=3, default=[192, 192, 160])
    parser.add_argument("--window", type=int, default=96)
    parser.add_argument("--overlap", type=float, default=0.5)
    parser.add_argument("--blend", default="gaussian")
    parser.add_argument("--side", choices=SIDES, help="measure this one only, in this process")
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments.side, arguments)))
        return
    for side in SIDES:
        command = [sys.executable, "-m", __spec__.name, *sys.argv[1:], "--side", side]
        output = subprocess.run(command, cwd=REPOSITORY, capture_output=True, encoding="utf-8", check=True).stdout
        figures = json.loads(output.splitlines()[-1])
        print(f"{side:18s} processor {spread(figures['cpu'])}   wall {spread(figures['wall'])}   "
              f"memory {figures['memory']:.2f} x answer   difference {figures['difference']:.1e}")  # fmt: skip


if __name__ == "__main__":
    main()
