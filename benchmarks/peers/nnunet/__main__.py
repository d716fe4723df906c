"""Run it from a checkout: python -m benchmarks.peers.nnunet SET FOLDER --python NNUNET_PYTHON --out DIR [--minutes 10]

SET is `la2018` (FOLDER holds `<id>_image.nii.gz` and `<id>_label.nii.gz` in `train_labelled` and `test`) or `nuclei`
(FOLDER holds `images/*.png` and `instances/*.png`; every fifth picture in the order of their names is tested).
NNUNET_PYTHON is the interpreter of an environment with nnunetv2. Both sides plan, prepare and train within the same
wall time on the same two cores, one after the other, and then predict the same test cases; validation cases are those
that tfmed drew. Dice, HD95 and ASSD of both are computed by tfmed.metrics on the original grids. A side that is done
is not run again: remove its folder to repeat it.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
from PIL import Image

import tfmed
from benchmarks.support.processes import REPOSITORY
from tfmed.io import read_volume, write_volume
from tfmed.metrics.segmentation import dice
from tfmed.metrics.surface import distances

NUMBER = {"la2018": 501, "nuclei": 502}
CONFIGURATIONS = {"la2018": ("3d_fullres", "2d"), "nuclei": ("2d",)}


# --- the same files for both ------------------------------------------------------------------------------------------


def prepare(name, folder, out):
    """Lay the cases out as nnU-Net's raw data, and as folders for tfmed; returns (raw folder, tfmed's folder)."""
    raw, ours = out / "raw" / f"Dataset{NUMBER[name]}_{name}", out / "folders"
    if (raw / "dataset.json").exists():
        return raw, ours
    for place in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        (raw / place).mkdir(parents=True, exist_ok=True)
    write = write_atria if name == "la2018" else write_nuclei
    channels, ending, count = write(folder, raw)
    for ours_name, theirs in (("images", "imagesTr"), ("labels", "labelsTr")):
        (ours / ours_name).mkdir(parents=True, exist_ok=True)
        for path in (raw / theirs).iterdir():
            (ours / ours_name / path.name.replace("_0000", "")).symlink_to(path.resolve())
    note = {"channel_names": channels, "labels": {"background": 0, "object": 1}, "numTraining": count,
            "file_ending": ending}  # fmt: skip
    (raw / "dataset.json").write_text(json.dumps(note), encoding="utf-8")
    return raw, ours


def write_atria(folder, raw):
    count = 0
    for source, end in (("train_labelled", "Tr"), ("test", "Ts")):
        for path in sorted((folder / source).glob("*_image.nii.gz")):
            case = path.name.removesuffix("_image.nii.gz")
            shutil.copyfile(path, raw / f"images{end}" / f"{case}_0000.nii.gz")
            label = read_volume(path.with_name(f"{case}_label.nii.gz"))
            label = label.replace(array=(np.asarray(label.array) > 0).astype(np.uint8))
            write_volume(label, raw / f"labels{end}" / f"{case}.nii.gz")
            count += end == "Tr"
    return {"0": "MR"}, ".nii.gz", count


def write_nuclei(folder, raw):
    count = 0
    for number, path in enumerate(sorted((folder / "images").glob("*.png"))):
        end = "Ts" if number % 5 == 4 else "Tr"
        Image.open(path).convert("RGB").save(raw / f"images{end}" / f"{path.stem}_0000.png")
        mask = (np.asarray(Image.open(folder / "instances" / path.name)) > 0).astype(np.uint8)
        Image.fromarray(mask).save(raw / f"labels{end}" / path.name)
        count += end == "Tr"
    return {"0": "R", "1": "G", "2": "B"}, ".png", count


# --- the two sides ----------------------------------------------------------------------------------------------------


class Watched:
    """A process and its children: seconds, and the largest memory that they had together (PSS, in MiB)."""

    def __init__(self, command, environment, log):
        self.peak = 0.0
        with open(log, "w", encoding="utf-8") as stream:
            begun = time.monotonic()
            process = subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, **environment}, encoding="utf-8",
                                       stdout=subprocess.PIPE, stderr=stream)  # fmt: skip
            watcher = threading.Thread(target=self._watch, args=(process.pid,), daemon=True)
            watcher.start()
            self.said = process.stdout.read().splitlines()
            status = process.wait()
        self.seconds = time.monotonic() - begun
        if status:
            raise SystemExit(f"{command[:6]} ended with status {status}; see {log}")

    def _watch(self, pid):
        while psutil.pid_exists(pid):
            try:
                family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
                self.peak = max(self.peak, sum(one.memory_full_info().pss for one in family) / 2**20)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                pass
            time.sleep(5)  # reading the map of a large process takes a quarter of a second


def tfmed_side(minutes, raw, ours, out):
    """{"minutes", "predict", "peak", ...} of tfmed, with its predictions below `out`."""
    words = ["segmentation", f"data.root={ours}", f"model.minutes={minutes}", f"data.cache_dir={out / 'cache'}",
             "data.split.test=0", "data.split.validation=0.2", "train.tensorboard=false"]  # fmt: skip
    command = [sys.executable, "-m", "tfmed.fit", *words, "--run-dir", str(out / "run")]
    fit = Watched(command, {}, out / "fit.log")
    images = sorted(map(str, (raw / "imagesTs").iterdir()))
    command = [sys.executable, "-m", "tfmed.predict", str(out / "run"), *images, "--out", str(out / "predictions")]
    predict = Watched(command, {}, out / "predict.log")
    for path in (out / "predictions").glob("*_labels.*"):
        path.rename(path.with_name(path.name.replace("_0000_labels", "").replace("_labels", "")))
    return {"minutes": fit.seconds / 60, "predict": predict.seconds / len(images), "peak": fit.peak,
            "peak predict": predict.peak}  # fmt: skip


def nnunet_side(python, name, configuration, minutes, raw, validation, out):
    """The same of nnU-Net."""
    environment = {"nnUNet_raw": str(raw.parent), "nnUNet_preprocessed": str(out / "preprocessed"),
                   "nnUNet_results": str(out / "results"), "nnUNet_n_proc_DA": "2", "OMP_NUM_THREADS": "2"}  # fmt: skip
    peer = pathlib.Path(__file__).with_name("peer.py")
    command = [python, str(peer), "--dataset", str(NUMBER[name]), "--configuration", configuration, "--minutes",
               str(minutes), "--validation", *validation, "--images", str(raw / "imagesTs"), "--out",
               str(out / "predictions")]  # fmt: skip
    run = Watched(command, environment, out / "log")
    said = json.loads(next(line for line in reversed(run.said) if line.startswith("@"))[1:])
    cases = len(list((raw / "labelsTs").iterdir()))
    return said | {"minutes": (said["prepare"] + said["train"]) / 60, "predict": said["predict"] / cases,
                   "peak": run.peak}  # fmt: skip


def label_map(path):
    """Class numbers of a file; of a picture its values."""
    return read_volume(f"{path}::numbers" if path.suffix == ".png" else path)


def scores(raw, predictions):
    """(Dice, HD95 mm, ASSD mm) of each test case."""
    rows = []
    for path in sorted((raw / "labelsTs").iterdir()):
        right, found = label_map(path), label_map(predictions / path.name)
        right_mask, mask = np.asarray(right.array) > 0, np.asarray(found.array) > 0
        measured = distances(mask, right_mask, right.spacing)
        rows.append((dice(mask, right_mask), measured.hd95, measured.assd))
    return np.array(rows)


def once(folder, make):
    """What `make` gives, kept in the folder."""
    kept = folder / "done.json"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        found = make()
        kept.write_text(json.dumps(found), encoding="utf-8")
    return json.loads(kept.read_text(encoding="utf-8"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=NUMBER)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--python", required=True, help="interpreter of an environment with nnunetv2")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--configurations", nargs="+", choices=("2d", "3d_fullres"), help="of nnU-Net; all by default")
    arguments = parser.parse_args()
    out = arguments.out.resolve() / arguments.set
    raw, ours = prepare(arguments.set, arguments.folder, out)
    sides = out / f"{arguments.minutes:g}min"
    done = {"tfmed": once(sides / "tfmed", lambda: tfmed_side(arguments.minutes, raw, ours, sides / "tfmed"))}
    validation = [case.id for case in tfmed.load_run(sides / "tfmed" / "run").method().cases["validation"]]
    for configuration in arguments.configurations or CONFIGURATIONS[arguments.set]:
        name = f"nnU-Net {configuration}"
        folder = sides / configuration
        done[name] = once(folder, lambda c=configuration, f=folder: nnunet_side(
            arguments.python, arguments.set, c, arguments.minutes, raw, validation, f))  # fmt: skip
    print("| side | Dice | HD95 mm | ASSD mm | minutes | s per case | peak MiB |\n|---|---|---|---|---|---|---|")
    for name, found in done.items():
        folder = sides / ("tfmed" if name == "tfmed" else name.removeprefix("nnU-Net "))
        rows = scores(raw, folder / "predictions")
        shown = " | ".join(f"{a:.3f} ± {b:.3f}" for a, b in zip(rows.mean(0), rows.std(0, ddof=1), strict=True))
        print(f"| {name} | {shown} | {found['minutes']:.1f} | {found['predict']:.1f} | {found['peak']:.0f} |")


if __name__ == "__main__":
    main()
