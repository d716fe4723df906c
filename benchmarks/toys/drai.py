"""DRAI on coloured bars: are content (colour, the class) and style (place, angle) farther apart than in DAI?

Run: python -m benchmarks.toys.drai --out DIR [--seeds 0 1 2] [--arms NAME ...] [key=value ...]

The demo profile of configs/drai.yaml. Prints CIFC of test pictures, probes of one code from the other, the share of
generated pictures whose colour is that of the class asked for, and how much the place of generated bars varies over
that of real ones (variance, one class). Repeat the command to go on where it was broken off.
"""

import argparse
import csv
import json
import pathlib

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN
import numpy as np

from tfmed.data.phantoms.coloured_shape import COLOURS

ROOT = pathlib.Path(__file__).resolve().parents[2] / "configs"
SHARED = ("train.preview_every=100000", "train.tensorboard=false", "model.restarts=1", "model.classifier_epochs=1")
ARMS = {"DRAI": "drai.yaml", "DAI": "drai/dai.yaml", "self_reg": "drai/self_reg.yaml", "mi_reg": "drai/mi_reg.yaml",
        "feature_cycle": "drai/feature_cycle.yaml", "both": "drai/both.yaml", "D-cInfoGAN": "drai/d_cinfogan.yaml",
        "D-cAVAE": "drai/d_cavae.yaml", "cInfoGAN": "drai/cinfogan.yaml", "cAVAE": "drai/cavae.yaml"}  # fmt: skip


def bars(pictures):
    """(mean colour of the bar `(n, 3)`, its centre `(n, 2)` in pixels) of pictures on grey `(n, y, x, 3)`."""
    weight = np.clip(np.abs(pictures - 0.5).max(-1) - 0.12, 0, None)
    total = weight.sum((1, 2)) + 1e-6
    colour = (pictures * weight[..., None]).sum((1, 2)) / total[:, None]
    rows, columns = np.indices(weight.shape[1:])
    return colour, np.stack([(weight * axis).sum((1, 2)) / total for axis in (rows, columns)], 1)


def scored(arm, seed, folder, overrides):
    """What a run's codes and pictures are like; it is trained first if need be."""
    settings = tfmed.load_config(ROOT / ARMS[arm], [*SHARED, f"seed={seed}", *overrides], profile="demo")
    run, kept = tfmed.fit(settings, folder, resume=True), folder / "bars.json"
    if not kept.exists():
        run.evaluate(count=100, seed=seed)
        method = run.restored()
        known = np.array([COLOURS[name] for name in method.config.classes]) / 255
        right, spread = [], []
        for number in range(len(known)):
            colour, centre = bars(method.generate(200, number, seed))
            right.append(np.argmin(((colour[:, None] - known) ** 2).sum(-1), 1) == number)
            real = bars(method.of_class("train", number))[1]
            spread.append(centre.var(0).sum() / real.var(0).sum())
        kept.write_text(json.dumps({"colour": float(np.mean(right)), "variance of place": float(np.mean(spread))}))
    table, row = folder / "disentanglement.csv", {}
    if table.exists():  # not of rivals with one code
        (row,) = csv.DictReader(table.open(encoding="utf-8"))
    return {name: float(value) for name, value in row.items() if name != "run"} | json.loads(kept.read_text())


def main(argv=None):
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["DRAI", "DAI"])
    parser.add_argument("overrides", nargs="*")
    words = parser.parse_args(argv)
    columns = []
    for seed in words.seeds:
        for arm in words.arms:
            found = scored(arm, seed, words.out / f"{arm}-{seed}", words.overrides)
            if set(found) - set(columns):
                columns = list(found)
                print(f"| seed | arm | {' | '.join(columns)} |\n|{'---|' * (2 + len(columns))}")
            cells = [f"{found[name]:.3f}" if name in found else "" for name in columns]
            print(f"| {seed} | {arm} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
