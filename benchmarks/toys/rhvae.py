"""RHVAE on plain shapes: is a classifier better that learns from pictures sampled by the metric than by the prior?

Run: python -m benchmarks.toys.rhvae --out DIR [--seeds 0 1 2] [--arms NAME ...] [key=value ...]

The demo profile of configs/rhvae.yaml: 40 training pictures of each of three classes (discs, rings, squares of any
place, size and angle), 20 to stop by, 90 to test. A convolutional network is trained on 100 synthetic pictures per
class alone, or on all. Prints its accuracy on the test pictures, and how far synthetic pictures are from the nearest
training picture. Repeat the command to go on where it was broken off.
"""

import argparse
import csv
import pathlib

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

ROOT = pathlib.Path(__file__).resolve().parents[2] / "configs"
SHARED = (
    "train.preview_every=100000",
    "train.tensorboard=false",
    "model.classifier=cnn",
    "model.classifier_epochs=40",
    "model.restarts=2",
    "model.classic_copies=0",
)
ARMS = {"RHVAE": "rhvae.yaml", "RHVAE, exact": "rhvae/exact.yaml", "VAE": "rhvae/vae.yaml"}


def scored(arm, seed, folder, overrides):
    """{"evaluation": rows, "nearest": rows} of a run, which is made first if need be."""
    run = tfmed.fit(tfmed.load_config(ROOT / ARMS[arm], [*SHARED, f"seed={seed}", *overrides], profile="demo"),
                    folder, resume=True)  # fmt: skip
    tables = {name: folder / f"{name}.csv" for name in ("evaluation", "nearest")}
    if not all(path.exists() for path in tables.values()):
        run.evaluate(count=100, seed=seed)
    return {name: list(csv.DictReader(path.open(encoding="utf-8"))) for name, path in tables.items()}


def main(argv=None):
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["RHVAE", "VAE"])
    parser.add_argument("overrides", nargs="*")
    words = parser.parse_args(argv)
    columns = ("seed", "generator", "training data", "accuracy", "distance to the nearest training picture")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for seed in words.seeds:
        for arm in words.arms:
            name = f"{arm.replace(', ', '-')}-{seed}"
            found = scored(arm, seed, words.out / name, words.overrides)
            for row in found["evaluation"]:
                data, accuracy = row["training data"], float(row["test accuracy mean"])
                away = [float(one["mean"]) for one in found["nearest"] if one["pictures"] == data.removesuffix(" only")]
                mean = f"{sum(away) / len(away):.3f}" if away else ""
                print(f"| {seed} | {arm} | {data.replace(name, 'synthetic')} | {accuracy:.3f} | {mean} |", flush=True)


if __name__ == "__main__":
    main()
