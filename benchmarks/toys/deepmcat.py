"""DeepMCAT on textures: do clusters settle, and are they purer than those of k-means on pixels?

Run: python -m benchmarks.toys.deepmcat --out DIR [--seeds 0 1 2] [--arms NAME ...] [key=value ...]

The demo profile of configs/deepmcat.yaml: 400 noisy pictures of stripes, blobs and checkerboards, 16 clusters, 25
epochs; all four kinds alike, or shares of 60, 25, 9 and 6 %. Prints the NMI of each epoch's clusters with those before
(epochs 2 to 4, 8 to 10, the last), purity and NMI with the kinds, and the same of groupings that learn nothing. Repeat
the command to go on where it was broken off.
"""

import argparse
import csv
import pathlib

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

ROOT = pathlib.Path(__file__).resolve().parents[2] / "configs"
SHARED = ("train.preview_every=100000", "train.tensorboard=false")
UNBALANCED = "data.options={cases: 400, shares: [0.6, 0.25, 0.09, 0.06]}"
ARMS = {
    "balanced": ("deepmcat.yaml",),
    "unbalanced": ("deepmcat.yaml", UNBALANCED),
    "unbalanced, natural": ("deepmcat/natural_sampler.yaml", UNBALANCED),
    "clean view": ("deepmcat/clean_view.yaml",),
    "Sobel": ("deepmcat/sobel.yaml",),
    "whitened": ("deepmcat/whitened.yaml", "model.pca=32"),
    "classes": ("deepmcat/supervised.yaml",),
}


def rows_of(arm, seed, folder, overrides):
    """(NMI of each epoch's clusters with those before, rows of evaluation.csv) of a run, made first if need be."""
    file, *own = ARMS[arm]
    words = [*SHARED, *own, f"seed={seed}", *overrides]
    run = tfmed.fit(tfmed.load_config(ROOT / file, words, profile="demo"), folder, resume=True)
    table = folder / "evaluation.csv"
    if not table.exists():
        run.evaluate()
    settled = run.metrics()["nmi_previous"].dropna().to_numpy()
    return settled, list(csv.DictReader(table.open(encoding="utf-8")))


def main(argv=None):
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["balanced", "unbalanced"])
    parser.add_argument("overrides", nargs="*")
    words = parser.parse_args(argv)
    columns = ("seed", "arm", "grouping", "purity", "NMI kinds", "NMI before: epochs 2 - 4", "8 - 10", "last")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for seed in words.seeds:
        for arm in words.arms:
            settled, rows = rows_of(arm, seed, words.out / f"{arm.replace(', ', '-').replace(' ', '-')}-{seed}",
                                    words.overrides)  # fmt: skip
            for row in rows:
                path = [settled[:3].mean(), settled[6:9].mean(), settled[-1]] if row["grouping"] == "trained" else []
                numbers = [float(row["purity"]), float(row["NMI labels"]), *path]
                cells = [f"{number:.3f}" for number in numbers] + [""] * (5 - len(numbers))
                print(f"| {seed} | {arm} | {row['grouping']} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
