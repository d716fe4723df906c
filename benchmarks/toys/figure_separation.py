"""Panels of compound figures: do the side loss, figures of one class and kept proportions each help?

Run: python -m benchmarks.toys.figure_separation --out DIR [--seeds 0 1 2] [--arms NAME ...] [key=value ...]

The demo profile of configs/figure_separation.yaml: 400 phantom pictures of four classes, 2500 simulated figures of 96 x
96 pixels, a small YOLOv8, 400 steps. Figures that are scored are simulated of held-out pictures, with kept proportions.
Prints AP and the overshoot of panels that are right, in pixels over the four sides. Asked: the side loss lowers the
overshoot, and no arm has a higher AP50:95 than the whole method. Repeat the command to go on where it was broken off.
"""

import argparse
import pathlib
import statistics

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "figure_separation.yaml"
SHARED = ("train.preview_every=100000", "train.tensorboard=false", "train.steps=400", "train.validate_every=400")
ARMS = {
    "whole method": (),
    "without the side loss": ("model.side_ratio=0",),
    "no figures of one class": ("model.mode_counts={mixed: 2000, intra_class: 0, single: 500}",),
    "stretched panels": ("model.layout.keep_ratio=false",),
}
SCORES = ("AP50:95", "AP50", "AP75", "overshoot_px")


def main(argv=None):
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("overrides", nargs="*")
    words = parser.parse_intermixed_args(argv)
    print(f"| seed | arm | {' | '.join(SCORES)} |\n|{'---|' * (2 + len(SCORES))}")
    found = {arm: [] for arm in words.arms}
    for seed in words.seeds:
        for arm in words.arms:
            settings = tfmed.load_config(CONFIG, [*SHARED, *ARMS[arm], f"seed={seed}", *words.overrides], "demo")
            run = tfmed.fit(settings, words.out / f"{arm.replace(' ', '-')}-{seed}", resume=True)
            row = run.evaluate()["evaluation"][0]
            found[arm].append([float(row[name]) for name in SCORES])
            print(f"| {seed} | {arm} | {' | '.join(f'{value:.3f}' for value in found[arm][-1])} |", flush=True)
    for arm, rows in found.items():
        cells = [f"{statistics.mean(one):.3f} ± {statistics.stdev(one) if len(one) > 1 else 0:.3f}"
                 for one in zip(*rows, strict=True)]  # fmt: skip
        print(f"| mean | {arm} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
