"""HPI on layered speckle: does it fill holes as well as fast marching, and with more of the true texture than L2?

Run: python -m benchmarks.toys.us_inpaint --out DIR [--seeds 0 1 2] [--arms NAME ...] [key=value ...]

The demo profile of configs/us_inpaint.yaml: phantoms of 64 x 64 pixels, free-form holes, 96 pictures to train on and 12
to test. Prints scores of the box around the holes (the first of ten completions), how far the texture is from the
truth's (Gram matrices of random VGG features), the completions' spread in the hole, and the divergence of posterior and
prior on the validation pictures. Repeat the command to go on where it was broken off.
"""

import argparse
import csv
import pathlib

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

ROOT = pathlib.Path(__file__).resolve().parents[2] / "configs"
SHARED = ("train.preview_every=100000", "train.tensorboard=false")
ARMS = {"HPI": "us_inpaint.yaml"} | {
    name: f"us_inpaint/{file}.yaml"
    for name, file in (
        ("HPI-woVI", "wovi"), ("HPI-woVI, L2", "wovi_l2"), ("DF", "deep_fusion"), ("DF, L2", "deep_fusion_l2"),
        ("PConv", "partial_conv"), ("PConv, L2", "partial_conv_l2"),
    )
}  # fmt: skip


def scored(arm, seed, folder, overrides):
    """(rows of the evaluation, the last divergence or None) of a run, which is made first if need be."""
    run = tfmed.fit(tfmed.load_config(ROOT / ARMS[arm], [*SHARED, f"seed={seed}", *overrides], profile="demo"),
                    folder, resume=True)  # fmt: skip
    table = folder / "evaluation.csv"
    if not table.exists():
        run.evaluate(seed=seed)
    metrics = run.metrics()
    known = metrics["divergence"].dropna() if "divergence" in metrics else []
    return list(csv.DictReader(table.open(encoding="utf-8"))), known.iloc[-1] if len(known) else None


def main(argv=None):
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["HPI", "HPI-woVI, L2"])
    parser.add_argument("overrides", nargs="*")
    words = parser.parse_args(argv)
    columns = ("seed", "filled by", "L1", "PSNR", "PSNR, best", "SSIM", "texture", "spread", "divergence")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for seed in words.seeds:
        for number, arm in enumerate(words.arms):
            folder = words.out / f"{arm.replace(', ', '-')}-{seed}"
            rows, divergence = scored(arm, seed, folder, words.overrides)
            for row in rows[: 1 if number else None]:
                texture = next(
                    float(value) for name, value in row.items() if name.startswith("texture") and "mean" in name
                )
                cells = [f"{float(row[f'{name} mean']):.3f}" for name in ("L1", "PSNR", "PSNR, best", "SSIM")]
                cells += [f"{texture:.3f}", f"{float(row['spread mean']):.3f}"]
                own = row["run"] == folder.name
                cells.append(f"{divergence:.2g}" if own and divergence is not None else "")
                print(f"| {seed} | {arm if own else row['run']} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
