"""Label transfer on phantom cells: do labels from another visit help where noise hides cells?

Run: python -m benchmarks.toys.label_transfer --out DIR [--seeds 0 1 2] [--arms NAME ...] [key=value ...]

Pictures of 144 x 144 pixels with cells 16 px apart, at two visits. Labelled are 12 pictures without noise; 24 pictures
(12 pairs) have noise and blur on 30 % of their cells, others each time, and no labels; 16 more of that kind are tested,
one at a time. Every arm trains the same network by as many steps. Prints mean Dice of the tested cells under noise and
of the clean ones, and the share of either that no found cell overlaps, after each stage. "self-training" learns what
the network itself found in the pairs: the control that the paper lacks. Repeat the command to go on where it was
broken off.
"""

import argparse
import pathlib

import tfmed  # isort: skip - before TensorFlow, for which it chooses oneDNN

import numpy as np

from tfmed.data import phantoms
from tfmed.metrics.instances import instance_scores

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "label_transfer.yaml"
SHAPE, CLEAN, PAIRS, TEST = (144, 144), 6, 12, 8
SHARED = (
    f"data.options={{pairs: {CLEAN + PAIRS + TEST}, clean: {CLEAN}, unlabelled: {PAIRS}, noisy: 0.3, "
    f"shape: [{SHAPE[0]}, {SHAPE[1]}], spacing: 16.0}}",
    "data.split={given: true, validation: 0}",
    "train.steps=200",
    "train.batch_size=4",
    "train.log_every=50",
    "train.validate_every=10000",
    "train.early_stopping=null",
    "train.preview_every=100000",
    "train.tensorboard=false",
    "train.schedule={kind: cosine}",
    "model.iterations=2",
    "model.iteration_steps=120",
    "model.patch=[96, 96]",
    "model.network={name: unet, widths: [8, 16, 32], norm: batch, upsample: transposed}",
    "model.disc_radius=2",
    "model.radius=15",
    "model.feature_window=8",
    "model.learning_rate=0.003",
)
ARMS = {
    "transfer": (),
    "transfer, median": ("model.usual_size=median",),
    "self-training": ("model.transfer=none",),
    "one direction": ("model.transfer=second", "model.usual_size=median"),
}


def scores(method):
    """(Dice under noise, Dice of clean cells, missed of both) over the test pictures."""
    dice, missed, ill = [], [], []
    for case in method.cases["test"]:
        made = phantoms.cell_pairs(**_options(case.images["cells"]))
        image, reference = method.open(case)
        found = instance_scores(method.labels(image), reference)
        dice.append(found.dice)
        missed.append(found.missed)
        ill.append(np.isin(found.reference, made.noisy))
    dice, missed, ill = map(np.concatenate, (dice, missed, ill))
    return dice[ill].mean(), dice[~ill].mean(), missed[ill].mean(), missed[~ill].mean()


def _options(address):
    """The phantom's own options, of an address."""
    name, options = phantoms.parse(address)
    assert name == "cell_pairs"
    return {key: value for key, value in options.items() if key != "part"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    print(
        "| seed | arm | stage | Dice, noisy | Dice, clean | missed, noisy | missed, clean |\n|---|---|---|---|---|---|---|"
    )
    for seed in arguments.seeds:
        for arm in arguments.arms:
            words = (*SHARED, f"seed={seed}", *ARMS[arm], *arguments.overrides)
            path = arguments.out / f"{arm.replace(', ', '-').replace(' ', '-')}-{seed}"
            method = tfmed.fit(CONFIG, path, resume=True, overrides=words).restored()
            for stage in method.models:
                found = " | ".join(f"{value:.3f}" for value in scores(method.at(stage)))
                print(f"| {seed} | {arm} | {stage} | {found} |", flush=True)


if __name__ == "__main__":
    main()
