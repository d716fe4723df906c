"""Uncertainty slice sampling where it should matter: a tenth of the volumes carry an organ of a rare shape.

Run: python -m benchmarks.toys.uss --out DIR [--seeds 0 1 2] [--strategies uss rss] [--rounds 5] [--steps 200]
     [key=value ...]

Volumes of 24 x 32 x 32 voxels with a bright ellipsoid; in a tenth of them it is hollow: a wall as bright as other
ellipsoids around a dark middle, which belongs to it. Of the pool of 50 five are annotated at the start;
each round asks for 20 more slices (rss: 20 that show the ellipsoid) and trains an au-net from scratch. Prints Dice over
40 test volumes, 4 of them rare, per strategy and round, and then: with how many slices that show the ellipsoid uss
reaches the last Dice of rss, and by how much its 5th percentile is ahead after each round. Repeat the command to go on
where it was broken off.
"""

import argparse
import pathlib

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

import numpy as np

from tfmed.io import Volume, write_volume

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "uss.yaml"
SHAPE = (24, 32, 32)
PARTS = {"pool": 50, "validation": 10, "test": 40}
RARE = 10  # one in so many
SHARED = (
    "data.source=paired_folder",
    "data.options={modality: mr, validation_folder: validation, test_folder: test}",
    "data.split={given: true}",
    "data.preprocess=[{step: zscore}]",
    "train.schedule={kind: cosine}",
    "train.batch_size=4",
    "train.log_every=100",
    "train.validate_every=1000",
    "train.early_stopping=null",
    "train.preview_every=100000",
    "train.tensorboard=false",
    "model.modalities=[mr]",
    "model.merge=[]",
    "model.regions={organ: [1]}",
    "model.patch=[8, 32, 32]",
    "model.network={name: aunet, widths: [8, 16, 32], dropout: 0.25}",
    "model.learning_rate=0.003",
    "model.initial_volumes=5",
    "model.slices=20",
    "model.distance=5",
    "model.query_passes=5",
    "model.epochs=100000",
)


def toy_volume(seed, rare):
    """(image `SHAPE` float32, labels uint8: 1 in the ellipsoid and what it encloses)."""
    rng = np.random.default_rng([seed, 59])
    places = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in SHAPE], indexing="ij"), -1)
    angle, centre = rng.uniform(0, np.pi), rng.uniform(-4, 4, 3)
    z, y, x = np.moveaxis(places - centre, -1, 0)
    u, v = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
    distance = np.sqrt((z / rng.uniform(5, 7)) ** 2 + (u / rng.uniform(7, 10)) ** 2 + (v / rng.uniform(6, 8)) ** 2)
    organ = distance < 1
    bright = organ & (distance > 0.7) if rare else organ
    waves = sum(np.cos(places @ rng.uniform(-0.4, 0.4, 3) + rng.uniform(0, 6)) for _ in range(4))
    image = rng.uniform(1.2, 1.8) * bright + 0.2 * waves + rng.normal(0, 0.5, SHAPE)
    return image.astype(np.float32), organ.astype(np.uint8)


def write_toy(folder):
    """The volumes of all parts, `<part>/<number>_image.nii.gz` and `..._label.nii.gz`; those there already stay."""
    for part, (name, count) in enumerate(PARTS.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            rare = number % RARE == RARE - 1
            for kind, array in zip(("image", "label"), toy_volume(1000 * part + number, rare), strict=True):
                path = folder / name / f"{name}{number:02}_{kind}.nii.gz"
                if not path.exists():
                    write_volume(Volume(array, np.eye(4)), path)


def measured(out, strategies=("uss", "rss"), seeds=(0, 1, 2), rounds=5, steps=200, overrides=()):
    """{strategy: rows of the table "rounds" of each seed}."""
    write_toy(out / "volumes")
    rows = {}
    for seed in seeds:
        for strategy in strategies:
            own = (f"model.rounds={rounds}", f"train.steps={steps}", f"seed={seed}", f"model.strategy={strategy}")
            words = (*SHARED, f"data.root={out / 'volumes'}", *own, *overrides)
            method = tfmed.fit(CONFIG, out / f"{strategy}-{seed}", resume=True, overrides=words).restored()
            rows.setdefault(strategy, []).append(method.evaluate({strategy: method})["rounds"])
    return rows


def print_rounds(rows):
    """A line per strategy and round."""
    print("| strategy | round | slices | with organ | Dice, mean (each seed) | Dice, 5th percentile (each seed) |")
    print("|---|---|---|---|---|---|")
    for strategy, seeds in rows.items():
        for each in zip(*seeds, strict=True):
            slices, shown, dice, tail = (
                np.array([row[key] for row in each]) for key in ("slices", "liver slices", "Dice", "Dice, 5 %")
            )
            print(f"| {strategy} | {each[0]['stage']} | {slices.mean():.0f} | {shown.mean():.1f} |", end=" ")
            print(" | ".join(f"{v.mean():.3f} ({', '.join(f'{x:.3f}' for x in v)})" for v in (dice, tail)), "|")


def answers(uss, rss):
    """(share of the slices of rss by which uss reaches its last Dice, how far the 5th percentile is ahead by round).

    Of means over the seeds; the share is infinite where uss does not reach it.
    """

    def mean(rows, key):
        return np.array([[row[key] for row in rounds] for rounds in rows]).mean(0)

    reached = mean(uss, "Dice") >= mean(rss, "Dice")[-1]
    shares = mean(uss, "liver slices") / mean(rss, "liver slices")[-1]
    return np.min(shares, where=reached, initial=np.inf), mean(uss, "Dice, 5 %") - mean(rss, "Dice, 5 %")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--strategies", nargs="+", default=["uss", "rss"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200, help="of each round")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    arguments = parser.parse_intermixed_args()
    rows = measured(**vars(arguments))
    print_rounds(rows)
    if {"uss", "rss"} <= rows.keys():
        share, ahead = answers(rows["uss"], rows["rss"])
        print(f"uss reaches the last Dice of rss with {share:.2f} of its slices with organ")
        print("5th percentile of Dice, uss - rss, by round:", ", ".join(f"{value:+.3f}" for value in ahead))


if __name__ == "__main__":
    main()
