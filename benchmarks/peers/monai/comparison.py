"""Sides of a task, each a process of its own, set up, compared and timed in turn: a table of times and memory."""

import argparse
import datetime
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks.peers.monai import checks, inputs
from benchmarks.support.processes import REPOSITORY, Side

THREADS = "2"
PEER_PACKAGES = ("torch==2.13.0", "monai==1.6.1", "scipy", "nibabel")

# task -> what it does, sides beside tfmed's and MONAI's: their name -> their name in ours.py
TASKS = {
    "elastic2d": ("elastic + affine 224 x 224 x 4, label",
                  {"imgaug, both": "imgaug-both", "imgaug, one coordinate grid": "imgaug-grid"}),
    "elastic3d": ("elastic + affine 96^3, label", {}),
    "affine3d": ("affine 96^3, label", {}),
    "resample": ("resample 64 x 192 x 192 to 1.5 mm", {"SimpleITK": "resample-simpleitk"}),
    "train_step": ("3-D U-Net training step 1 x 64^3", {}),
    "windows": ("windows 64^3 over 192 x 192 x 96, same net", {}),
    "surface": ("HD95 + ASSD", {}),
    "epoch": ("epoch of 20 cached volumes, crop 64^3, flip, noise", {}),
    "frechet": ("Frechet distance, 1000 x 2048 features", {}),
    "ms_ssim": ("MS-SSIM of volumes of 80 x 96 x 112, 3 scales", {}),
    "pix2pix_step": ("pix2pix training step, 1 x 256 x 256", {}),
    "pix2pix_volume": ("pix2pix, a slice of a volume of 256 x 256", {}),
}  # fmt: skip
PLAIN = ("pix2pix_step", "pix2pix_volume")  # the peer is PyTorch alone


def started(name, python, module, side, folder):
    """A Side of `ours` or `peer`, with two threads; `file` is where its results lie."""
    file = folder / f"{module}-{side}.npz"
    command = [python, "-m", f"benchmarks.peers.monai.{module}", side, str(folder), file.name]
    threads = {f"{kind}_NUM_THREADS": THREADS for kind in ("OMP", "OPENBLAS", "MKL")}
    found = Side(name, command, threads, folder / f"{module}-{side}.log")
    found.file, found.versions = file, found.first["versions"]
    return found


def peer_python(folder):
    """The Python of MONAI's environment, made if it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    if subprocess.run([python, "-c", "import monai, torch, scipy, nibabel"], capture_output=True).returncode:
        print(f"installing {', '.join(PEER_PACKAGES)} into {folder}", flush=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PEER_PACKAGES], check=True)
    return str(python)


def spread(values):
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    digits = 1 if middle < 0.1 else 0
    return f"{1e3 * middle:.{digits}f} ({1e3 * low:.{digits}f}-{1e3 * high:.{digits}f})"


def ratio(side, ours, key):
    return statistics.median(a / b for a, b in zip(side.values(key), ours.values(key), strict=True))


def measure(task, options, python):
    """Rows of the table, and the versions met."""
    title, others = TASKS[task]
    with tempfile.TemporaryDirectory() as folder:
        options.folder = folder = pathlib.Path(folder)
        given = inputs.MAKERS[task](task, options)
        np.savez(folder / "inputs.npz", **given)
        peer = "PyTorch" if task in PLAIN else "MONAI"
        sides = {peer: started(peer, python, "peer", task, folder)}  # first: its initial weights are used by all
        for name, side in {"tfmed": task, **others}.items():
            sides[name] = started(name, sys.executable, "ours", side, folder)
        found = {name: dict(np.load(side.file, allow_pickle=False)) for name, side in sides.items()}
        for line in checks.CHECKS[task](given, found):
            print(f"{task}: {line}", flush=True)
        del found, given
        for number in range(options.rounds):
            turn = list(sides.values())
            for side in turn if number % 2 else turn[::-1]:
                side.round()
        for side in sides.values():
            side.stop()
    ours, rows = sides["tfmed"], []
    for name in ("tfmed", peer, *others):
        side = sides[name]
        peak, rise = (max(side.values(key)) / 2**20 for key in ("peak", "rise"))
        times = "" if side is ours else f"{ratio(side, ours, 'wall'):.2f} / {ratio(side, ours, 'cpu'):.2f}"
        rows.append(f"| {title} | {name} | {spread(side.values('wall'))} | {spread(side.values('cpu'))} | {times} "
                    f"| {peak:.0f} ({rise:+.0f}) |")  # fmt: skip
    return rows, [sides["tfmed"].versions, sides[peer].versions]


def main(description, tasks):
    """The command: measure the named tasks, or those that its arguments choose, and print the table."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    beside = REPOSITORY.parent / "shared" / "data"
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(tasks), metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--environment", type=pathlib.Path, default=cache / "tfmed-vs-monai", help="of MONAI")
    parser.add_argument("--data", type=pathlib.Path, default=beside if beside.is_dir() else None,
                        help="folder with real data sets (la2018); without it masks are ellipsoids")  # fmt: skip
    options = parser.parse_args()
    python = peer_python(options.environment)
    table, versions = [], []
    for task in options.only:
        rows, versions = measure(task, options, python)
        table += rows
        print(*rows, f"load average {os.getloadavg()[0]:.1f}", sep="\n", flush=True)
    print(f"\n{datetime.date.today()}; {os.cpu_count()} cores; {options.rounds} rounds")
    for name, packages in zip(("tfmed", "peer"), versions, strict=True):
        print(f"{name}:", ", ".join(f"{package} {version}" for package, version in packages.items()))
    print("\n| task | side | wall ms (quartiles) | processor ms | times tfmed's wall / processor | peak MiB (rise) |")
    print("|---|---|---|---|---|---|", *table, sep="\n")
