"""Style transfer between two probes' phantoms: does a picture take the other's look, and keep its own edges?

Run: python -m benchmarks.toys.us_style --out DIR [--seeds 0 1 2] [--arms NAME ...] [key=value ...]

The demo profile of configs/us_style.yaml: 120 pictures, in turn of two probes whose grain, contrast and gain differ. Of
pairs of test pictures of different probes it prints the Gram distance (VGG-16 with random weights) to the style over
that of the untransferred picture, the correlation of Sobel edges with the content and with the style, and how different
drawn styles look. Repeat the command to go on where it was broken off.
"""

import argparse
import csv
import pathlib

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

ROOT = pathlib.Path(__file__).resolve().parents[2] / "configs"
SHARED = ("train.preview_every=100000", "train.tensorboard=false")
ARMS = {
    "variational": "us_style.yaml",
    "paper's site and heads": "us_style/paper.yaml",
    "as released": "us_style/released.yaml",
    "not pretrained": "us_style/not_pretrained.yaml",
    "deterministic": "us_style/deterministic.yaml",
}


def scored(arm, seed, folder, overrides):
    """{"evaluation": rows, "diversity": rows or none} of a run, which is made first if need be."""
    settings = tfmed.load_config(ROOT / ARMS[arm], [*SHARED, f"seed={seed}", *overrides], profile="demo")
    run = tfmed.fit(settings, folder, resume=True)
    if not (folder / "evaluation.csv").exists():
        run.evaluate(count=12, seed=seed)
    tables = {name: folder / f"{name}.csv" for name in ("evaluation", "diversity")}
    return {name: list(csv.DictReader(path.open(encoding="utf-8"))) if path.exists() else []
            for name, path in tables.items()}  # fmt: skip


def main(argv=None):
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["variational", "deterministic"])
    parser.add_argument("overrides", nargs="*")
    words = parser.parse_args(argv)
    columns = (
        "seed",
        "arm",
        "Gram distance / untransferred",
        "edges with content",
        "edges with style",
        "drawn",
    )
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for seed in words.seeds:
        for arm in words.arms:
            found = scored(arm, seed, words.out / f"{arm.replace(' ', '-')}-{seed}", words.overrides)
            (gram,) = (name for name in found["evaluation"][0] if name.startswith("Gram distance to style"))
            before, after = found["evaluation"]
            differences = (f"{row['drawn']} {float(row['mean difference of two']):.3f}" for row in found["diversity"])
            drawn = ", ".join(differences)
            edges = (float(after[f"edges with {kind}"]) for kind in ("content", "style"))
            cells = (float(after[gram]) / float(before[gram]), *edges)
            print(f"| {seed} | {arm} | {' | '.join(f'{cell:.3f}' for cell in cells)} | {drawn} |", flush=True)


if __name__ == "__main__":
    main()
