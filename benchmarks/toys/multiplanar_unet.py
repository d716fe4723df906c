"""Few annotated planes of ellipsoids in noise: what random training planes through them add.

Run: python -m benchmarks.toys.multiplanar_unet [--seeds 0 1 2] [--annotated 4] [--training 0 128] [--steps 400]
         [--network 2d 3d] [--out rows.csv]

Volumes of 48^3 voxels hold ellipsoids on a textured ground with others that are as bright and too small to count. A
small U-Net is trained on (annotated, training) planes of four of them as the method does, and predicts two others along
three views: their Dice, voxels together, a row each; then the mean and standard deviation over the seeds, the
difference that training planes make, and, where the grid allows it, the study's law Dice = a_a ln n_a + a_t ln n_t + b
with its F-tests. Rows that stand in the file already are not run again.
"""

import tfmed  # isort: skip

import argparse
import csv
import itertools
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

from tfmed.data.case import Case
from tfmed.io import Volume, write_volume
from tfmed.metrics.regression import scaling_by_planes
from tfmed.metrics.segmentation import GlobalDice

SIDE, TRAIN, TEST = 48, 4, 2
NETWORKS = {
    "2d": ("model.patch=[48, 48]", "model.network={name: unet, widths: [8, 16, 32], norm: batch, upsample: nearest, "
           "up_kernel: 2, activation_first: true}", "train.batch_size=8"),
    "3d": ("model.patch=[32, 32, 32]", "model.network={name: unet, widths: [8, 16, 32], norm: batch, widen: half, "
           "upsample: transposed_same}", "train.batch_size=1"),
}  # fmt: skip


def toy_volume(seed):
    """(image float32, label uint8), `(SIDE,) * 3`."""
    rng = np.random.default_rng([seed, 20])
    grid = np.stack(np.meshgrid(*(np.arange(SIDE, dtype=np.float32),) * 3, indexing="ij"), -1)
    image, label = np.zeros((SIDE,) * 3, np.float32), np.zeros((SIDE,) * 3, np.uint8)
    for count, low, high in ((6, 4.5, 9.0), (30, 1.5, 2.8)):
        for _ in range(count):
            turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
            away = (grid - rng.uniform(0, SIDE, 3)) @ turn / rng.uniform(low, high, 3)
            inside = (away**2).sum(-1) <= 1
            image[inside] = 1
            if low > 3:
                label[inside] = 1
    waves = sum(np.cos(grid @ rng.uniform(-0.4, 0.4, 3) + rng.uniform(0, 6)) for _ in range(5))
    return image + 0.25 * waves + rng.normal(0, 0.45, image.shape).astype(np.float32), label


def cases_of(folder, seed):
    """Cases with files: training ones, then testing ones."""
    found = []
    for k in range(TRAIN + TEST):
        name = f"v{seed}-{k}"
        paths = [folder / f"{name}_{kind}.nii.gz" for kind in ("image", "label")]
        if not paths[1].exists():
            for array, path in zip(toy_volume(100 * seed + k), paths, strict=True):
                write_volume(Volume(array.astype(np.float32 if path is paths[0] else np.uint8), np.eye(4)), path)
        found.append(Case(name, name, {"em": str(paths[0])}, str(paths[1])))
    return found


def score(seed, annotated, training, network="2d", steps=400, folder=None):
    """(Dice of the testing volumes' voxels together, annotated pixels of all that trains)."""
    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(folder or made)
        overrides = (*NETWORKS[network], f"model.annotation_planes={annotated}", f"model.training_planes={training}",
                     f"seed={seed}", f"train.steps={steps}", "model.learning_rate=0.002", f"data.cache_dir={folder}",
                     "train.schedule={kind: cosine}", "train.early_stopping=null")  # fmt: skip
        settings = tfmed.load_config("configs/multiplanar_unet.yaml", overrides)
        method = tfmed.registry.method_class(settings.method)(settings)
        cases = cases_of(folder, seed)
        method.__dict__["cases"] = {"train": cases[:TRAIN], "validation": [], "test": cases[TRAIN:]}
        keras.utils.set_random_seed(seed)
        stage = next(iter(method.stages()))
        model = method.models["segmenter"] = stage.model()
        step = tf.function(model.train_step, autograph=False)
        samples = stage.train()
        for batch in samples.batches(0, steps):
            step(batch)
        total = GlobalDice()
        for case in cases[TRAIN:]:
            prepared = method.open(case)
            total.add(method.labels(prepared.image) == 1, np.asarray(prepared.label) == 1)
        shown = method.labels_on(method.training, method.annotated) if network == "2d" else None
        return total.value(), 0 if shown is None else int((shown != 255).sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--annotated", type=int, nargs="+", default=[4])
    parser.add_argument("--training", type=int, nargs="+", default=[0, 128])
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=["2d"])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=pathlib.Path, default=None, help="CSV of rows, of which none is run twice")
    arguments = parser.parse_args()
    rows = _known(arguments.out)
    grid = itertools.product(arguments.network, arguments.annotated, arguments.training, arguments.seeds)
    with tempfile.TemporaryDirectory() as folder:
        for network, annotated, training, seed in grid:
            key = (network, annotated, training, seed, arguments.steps)
            if key not in rows:
                rows[key] = score(seed, annotated, training, network, arguments.steps, folder)[0]
                _keep(arguments.out, key, rows[key])
            print(*key, f"{rows[key]:.4f}", flush=True)
    _summary(rows, arguments)


def _known(path):
    if path is None or not path.exists():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        return {(network, *map(int, numbers)): float(value) for network, *numbers, value in csv.reader(file)}


def _keep(path, key, value):
    if path is not None:
        with open(path, "a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow([*key, value])


def _summary(rows, arguments):
    print("\n| network | annotated | training | Dice, each seed | mean | std |\n|---|---|---|---|---|---|")
    for network, annotated, training in itertools.product(arguments.network, arguments.annotated, arguments.training):
        found = [rows[network, annotated, training, seed, arguments.steps] for seed in arguments.seeds]
        each = ", ".join(f"{value:.3f}" for value in found)
        spread = np.std(found, ddof=1) if len(found) > 1 else float("nan")
        print(f"| {network} | {annotated} | {training} | {each} | {np.mean(found):.3f} | {spread:.3f} |")
    for network in arguments.network:
        chosen = [(a, t, rows[network, a, t, s, arguments.steps]) for a in arguments.annotated
                  for t in arguments.training if t for s in arguments.seeds]  # fmt: skip
        if len({a for a, _, _ in chosen}) > 1 and len({t for _, t, _ in chosen}) > 1:
            fit = scaling_by_planes(*zip(*chosen, strict=True))
            print(f"{network}: " + ", ".join(f"a({k}) {v:.4f}" for k, v in fit.coefficients.items()), end="")
            print(f", b {fit.constant:.3f}")
            for names in (["annotated"], ["training"], ["annotated", "training"]):
                test = fit.without(names)
                print(
                    f"  without {' and '.join(names)}: F {test.f:.2f}, p {test.p:.2g} ({test.dropped}, {test.freedom})"
                )


if __name__ == "__main__":
    main()
