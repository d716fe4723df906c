"""Measurements in processes of their own: single ones, and sides that run rounds in turn, told by lines of JSON."""

import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def timed(function):
    """(wall, processor) seconds of a call."""
    begun = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - begun[0], time.process_time() - begun[1]


def peak_mib():
    """Largest resident size of this process so far, in MiB."""
    return resident("VmHWM") / 2**20


def fresh(module, *words, check=True):
    """What `python -m MODULE WORDS` prints last, as JSON; None where it fails and `check` is false."""
    command = [sys.executable, "-m", module, *map(str, words)]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, encoding="utf-8", check=check)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


class Side:
    """A process that runs a round when it is told to; it answers by `serve`, or by `answer` alone.

    Args:
        name: in tables.
        command: list of words, run in the repository.
        environment: changes of it.
        log: file for what the process says of errors; default this process's own.
    """

    def __init__(self, name, command, environment=None, log=None):
        self.name, self.rounds, self.log = name, [], log
        self.errors = open(log, "w+", encoding="utf-8") if log else None  # noqa: SIM115 - as long as the process
        environment = {**os.environ, **(environment or {})}
        self.process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, encoding="utf-8", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.errors,
        )  # fmt: skip
        self.first = self.answer()

    def answer(self):
        """The process's next answer."""
        for line in self.process.stdout:
            if line.startswith("@"):
                return json.loads(line[1:])
        said = pathlib.Path(self.log).read_text(encoding="utf-8")[-3000:] if self.log else "its error stands above"
        raise SystemExit(f"{self.name} ended: {said}")

    def round(self):
        """Run one round."""
        self.process.stdin.write("round\n")
        self.process.stdin.flush()
        self.rounds.append(self.answer())

    def stop(self):
        """End the process."""
        self.process.communicate("stop\n")
        if self.errors:
            self.errors.close()

    def values(self, key):
        """A number of each round."""
        return [one[key] for one in self.rounds]


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
    """Tell the process that started this one."""
    print("@" + json.dumps(values), flush=True)  # libraries print to the same place
