"""One side in a process of its own: it is told when to run a round, measures itself, and answers in lines of JSON."""

import json
import pathlib
import sys
import time

import numpy as np


def resident(name):
    """VmRSS (now) or VmHWM (highest so far) of this process in bytes."""
    lines = pathlib.Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def serve(sides, versions):
    """Set up the side that the command line names, then run a round for each line of the input.

    Args:
        sides: {name: function of the inputs and the folder for files that gives (run, results, samples)}: `run(k)` is
            round k, `results()` gives {name: array} for the comparison, `samples` is how many samples a round makes.
        versions: {package: version}, for the table.

    A round's answer holds seconds of wall and processor time (all threads) per sample, and how far the process's peak
    memory so far lies above what it held after the imports, with the inputs read; "stop" ends the process.
    """
    name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    with np.load(folder / "inputs.npz", allow_pickle=False) as stored:
        inputs = {key: stored[key] for key in stored}
    before = resident("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak counts from here
    run, results, samples = sides[name](inputs, folder)
    np.savez(folder / sys.argv[3], **results())
    run(0)  # warm
    answer(versions=versions)
    for number, line in enumerate(sys.stdin, 1):
        if line.strip() == "stop":
            break
        begin = time.perf_counter(), time.process_time()
        run(number)
        wall, cpu = time.perf_counter() - begin[0], time.process_time() - begin[1]
        answer(wall=wall / samples, cpu=cpu / samples, peak=resident("VmHWM"), rise=resident("VmHWM") - before)


def answer(**values):
    print("@" + json.dumps(values), flush=True)  # libraries print to the same place
