"""CaCL on phantoms of stained tissue: is the pattern found from image classes better than where a classifier looks?

Run: python -m benchmarks.toys.cacl --out DIR [--seeds 0 1 2] [--arms NAME ...] [key=value ...]

The demo profile of configs/cacl.yaml: 300 training pictures of 64 x 64 pixels, half of them with a brown band over
about 10 % of the picture, 30 to validate, 30 to test. Prints for each way to segment Dice, recall and precision over
the test pictures, with the standard deviation over pictures; what share of the pixels has a code of the pattern in
pictures of either class, beside the true share; and the error of what is decoded with the pattern and without it,
within the band, against the same tissue without a band. Repeat the command to go on where it was broken off.
"""

import argparse
import csv
import pathlib

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

ROOT = pathlib.Path(__file__).resolve().parents[2] / "configs"
SHARED = ("train.preview_every=100000", "train.tensorboard=false")
ARMS = {
    "CaCL": (),
    "CaCL, loss as printed": ("model.disc_mode=repo",),
    "without the mapping loss": ("model.map_weight=0",),
    "shared channels": ("model.disjoint=false",),
    "plain VQ-VAE": ("model.routing=none", "model.disjoint=false"),
}


def scored(arm, seed, folder, overrides):
    """{"evaluation": rows, "codes": rows} of a run, which is made first if need be."""
    own = () if arm == "CaCL" else ("model.baselines=[]",)
    words = [*SHARED, *own, *ARMS[arm], f"seed={seed}", *overrides]
    run = tfmed.fit(tfmed.load_config(ROOT / "cacl.yaml", words, profile="demo"), folder, resume=True)
    tables = {name: folder / f"{name}.csv" for name in ("evaluation", "codes")}
    if not all(path.exists() for path in tables.values()):
        run.evaluate()
    return {name: list(csv.DictReader(path.open(encoding="utf-8"))) for name, path in tables.items()}


def main(argv=None):
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["CaCL"])
    parser.add_argument("overrides", nargs="*")
    words = parser.parse_args(argv)
    for seed in words.seeds:
        for arm in words.arms:
            found = scored(arm, seed, words.out / f"{arm.replace(', ', '-').replace(' ', '-')}-{seed}", words.overrides)
            for row in found["evaluation"]:
                scores = [f"{row[f'{s} mean']:.5} ± {row[f'{s} std']:.5}" for s in ("Dice", "recall", "precision")]
                print(f"| {seed} | {arm} | {row['segmentation']} | {' | '.join(scores)} |", flush=True)
            for row in found["codes"]:
                errors = [row.get(f"error of {name} in it") or "" for name in ("R_P", "R_N")]
                print(f"  {row['class']}: true area {row['true area']:.6}, of its codes {row['area of class codes']:.6}"
                      f", errors of R_P and R_N {' and '.join(e[:7] for e in errors)}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
