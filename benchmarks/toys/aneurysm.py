"""Spheres on the walls of tubes: what copies, distortion and guided patches do for a small U-Net at equal steps.

Run: python -m benchmarks.toys.aneurysm [--seeds 0 1 2] [--models guided five ...] [--steps 200] [--out rows.csv]

Volumes of 48^3 voxels of 1 mm hold five bright winding tubes in noise, and one or two spheres, as bright, on their
walls. A U-Net of widths 4, 8, 16 is trained on patches of 32^3 voxels of 12 such volumes as the method does, chooses
its threshold on 4 others and is tested on 8 more. A row for each model and seed: sensitivity and false positives per
volume at that threshold, the same at the test volumes' own best one, area below their FROC curve up to one false
positive, and kappa and Dice (at a probability of a half) and soft Dice of the test volumes' patches. Rows that stand in
the file already are not run again.
What the card asks: "guided" (50 copies) has a sensitivity of at least 0.7 at no more than one false positive per
volume, and a kappa above that of "five"; "undistorted" is told and not judged.
"""

import tfmed  # isort: skip

import argparse
import csv
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf
from scipy import ndimage

from tfmed.data.case import Case
from tfmed.io import Volume, write_volume

SIDE, TRAIN, VALIDATION, TEST = 48, 12, 4, 8
MODELS = {
    "guided": (), "five": ("model.copies=5",), "undistorted": ("model.distortion_mm=0",),
    "focal": ("model.loss=focal",), "half": ("model.vessel_patches=5", "model.other_patches=5"),
    "uniform": ("model.sampler=uniform",), "regular": ("model.sampler=regular",),
}  # fmt: skip
OVERRIDES = (
    "data.preprocess=[{step: min_max}]", "train.batch_size=4", "train.early_stopping=null",
    "train.validate_every=100000",
    "train.schedule={kind: cosine}",
    "model.patch=[32, 32, 32]", "model.stride=16", "model.vessel_patches=10", "model.other_patches=10",
    "model.least_distance_mm=8", "model.network={name: unet, widths: [4, 8, 16], norm: batch, upsample: nearest, "
    "widen: half}", "model.keep_inside=true", "model.learning_rate=0.01",
)  # fmt: skip
COLUMNS = ("sensitivity", "FP per case", "sensitivity at best", "FP per case at best", "FROC area to 1 FP",
           "kappa of patches at 0.5", "Dice of patches at 0.5", "soft Dice by batch")  # fmt: skip


def toy_volume(seed):
    """(image float32, label uint8), `(SIDE,) * 3`."""
    rng = np.random.default_rng([seed, 22])
    line, walls = np.zeros((SIDE,) * 3, np.float32), []
    for _ in range(5):
        place, way = rng.uniform(8, SIDE - 8, 3), rng.normal(size=3)
        radius = rng.uniform(1.0, 1.8)
        for _ in range(90):
            way = way / np.linalg.norm(way) + 0.12 * rng.normal(size=3)
            place = place + 0.8 * way / np.linalg.norm(way)
            if (place < 3).any() or (place > SIDE - 4).any():
                break
            _ball(line, place, radius)
            walls.append((place, way / np.linalg.norm(way), radius))
    label = np.zeros((SIDE,) * 3, np.float32)
    for _ in range(rng.integers(1, 3)):
        place, way, radius = walls[rng.integers(len(walls))]
        out = np.cross(way, rng.normal(size=3))
        size = rng.uniform(3.5, 5.0)
        _ball(label, place + out / np.linalg.norm(out) * (0.6 * radius + size), size)
    bright = ndimage.gaussian_filter(np.maximum(line, label), 0.6)
    ground = ndimage.gaussian_filter(rng.normal(size=bright.shape), 3) * 2
    return (bright + 0.3 * ground + rng.normal(0, 0.12, bright.shape)).astype(np.float32), label.astype(np.uint8)


def _ball(volume, centre, radius):
    low = np.maximum(np.floor(centre - radius).astype(int), 0)
    box = tuple(slice(a, b) for a, b in zip(low, np.ceil(centre + radius).astype(int) + 1, strict=True))
    grid = np.meshgrid(*(np.arange(s.start, min(s.stop, SIDE)) - c for s, c in zip(box, centre, strict=True)),
                       indexing="ij")  # fmt: skip
    volume[box][sum(axis**2 for axis in grid) <= radius**2] = 1


def cases_of(folder, seed):
    """Cases with files: training, validation and testing ones in turn."""
    found = []
    for k in range(TRAIN + VALIDATION + TEST):
        name = f"v{seed}-{k}"
        paths = [folder / f"{name}_{kind}.nii.gz" for kind in ("image", "label")]
        if not paths[1].exists():
            for array, path in zip(toy_volume(100 * seed + k), paths, strict=True):
                write_volume(Volume(array, np.eye(4)), path)
        found.append(Case(name, name, {"tof": str(paths[0])}, str(paths[1])))
    return found


def score(seed, model, steps=200, folder=None):
    """{column: score} of one training."""
    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(folder or made)
        more = (f"seed={seed}", f"train.steps={steps}", f"data.cache_dir={folder}", *MODELS[model])
        settings = tfmed.load_config("configs/aneurysm.yaml", (*OVERRIDES, *more))
        method = tfmed.registry.method_class(settings.method)(settings)
        cases, ends = cases_of(folder, seed), (TRAIN, TRAIN + VALIDATION)
        parts = {"train": cases[: ends[0]], "validation": cases[ends[0] : ends[1]], "test": cases[ends[1] :]}
        method.__dict__["cases"] = _Parts(parts)
        keras.utils.set_random_seed(seed)
        stages = method.stages()
        stage = next(stages)
        network = method.models["segmenter"] = stage.model()
        step = tf.function(network.train_step, autograph=False)
        for number, batch in enumerate(stage.train().batches(0, steps)):
            logs = step(batch)
            if (number + 1) % 50 == 0:
                print("   ", number + 1, {name: round(float(value), 4) for name, value in logs.items()}, flush=True)
                for metric in network.metrics:
                    metric.reset_state()
        next(stages, None)
        (row,) = method.evaluate({"toy": method})["evaluation"]
        return {name: float(row[name]) for name in COLUMNS}


class _Parts(dict):
    def patients(self, part):
        return {case.group for case in self[part]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["guided", "five", "undistorted"])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=pathlib.Path, default=None, help="CSV of rows, of which none is run twice")
    arguments = parser.parse_args()
    rows = _known(arguments.out)
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seeds:
            for model in arguments.models:
                key = (model, seed, arguments.steps)
                if key not in rows:
                    rows[key] = score(seed, model, arguments.steps, folder)
                    _keep(arguments.out, key, rows[key])
                print(*key, {name: round(value, 3) for name, value in rows[key].items()}, flush=True)
    print(f"\n| model | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
    for model in arguments.models:
        found = [rows[model, seed, arguments.steps] for seed in arguments.seeds]
        print(f"| {model} | " + " | ".join(_cell([row[name] for row in found]) for name in COLUMNS) + " |")


def _cell(values):
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def _known(path):
    if path is None or not path.exists():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        return {(model, int(seed), int(steps)): dict(zip(COLUMNS, map(float, values), strict=True))
                for model, seed, steps, *values in csv.reader(file)}  # fmt: skip


def _keep(path, key, row):
    if path is not None:
        with open(path, "a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow([*key, *row.values()])


if __name__ == "__main__":
    main()
