"""Blobs on two colours of ground: do 200 frames of the one help to find the blobs on the other, of which there are 16?

Run: python -m benchmarks.toys.adaptor_crossdomain [--seeds 0 1 2] [--steps 200] [--methods NAME ...] [--out FILE]

Frames of 64 x 64 pixels with 1 to 8 bright blobs, and darker ones that are none. Every arm is a small HRNet (the
collaborative ones have two) by the same steps of 4 + 4 frames; printed are precision, sensitivity and F1 on 100 other
frames of the first ground by both rules, a point within 6 pixels, and the mean of the heatmaps. Asked: joint training
with weight 1 has a higher F1 than with 0; the new rule has more precision and no more sensitivity than the old one, as
there are always fewer than ten blobs; Eq. 6 as printed has a higher mean and less precision than the divergence.

Runs that stand in the table --out are not made again, so that a run that was broken off goes on.
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import functools

import keras
import numpy as np
import tensorflow as tf

from benchmarks.support import tables
from benchmarks.toys.adaptor_heatmap import SIDE, frame
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import shuffled
from tfmed.methods.adaptor_crossdomain import MODELS, Config
from tfmed.metrics.landmarks import Counts, match
from tfmed.tasks.backbones import HRNet
from tfmed.tasks.landmark_sets import moved, sample_spec

FEW, MANY, TEST, STEPS = 16, 200, 100, 200
METHODS = {  # settings that differ from the joint training's
    "joint, weight 0": {"sim_weight": 0.0},
    "joint, weight 0.5": {"sim_weight": 0.5},
    "joint, weight 1": {},
    "adversarial": {"mode": "adversarial", "adv_weight": 1e-3, "disc_widths": (8, 16, 32), "disc_rate": 1e-4},
    "collaborative": {"mode": "collaborative"},
    "collaborative, Eq. 6 as printed": {"mode": "collaborative", "kl": "paper_literal"},
}


def config_of(name):
    """The settings of an arm."""
    network = HRNet(widths=(8, 16, 32, 64), modules=(1, 1, 1), blocks=1, prior=0.01)
    usual = {"size": (SIDE, SIDE), "network": network, "sigma": 2.0, "reach_px": 10.0, "most_points": 8,
             "mse": "pixel_mean", "optimizer": "adam", "learning_rate": 1e-3}  # fmt: skip
    return Config(**usual | METHODS[name])


@functools.cache
def frames(seed):
    """The two training sets: few frames of the ground that is tested, many of the other."""
    few = [frame(1000 * seed + k, fewest=1) for k in range(FEW)]
    return few, [frame(5000 + 1000 * seed + k, "simulator", 1) for k in range(MANY)]


@functools.cache
def tested_frames():
    """Of the ground that is tested."""
    return [frame(90_000 + k, fewest=1) for k in range(TEST)]


def trained(config, seed, steps):
    """The model after its steps."""
    sets = frames(seed)
    keras.utils.set_random_seed(seed)
    model = MODELS[config.mode](config, seed=seed, per_step=8)

    def read(index):
        pair, domain = divmod(index, 2)
        image, points = sets[domain][shuffled(seed + domain, pair, len(sets[domain]))]
        return moved(image, points, config.most_points, np.random.default_rng([seed, index]), config.flip)

    step = tf.function(model.train_step, autograph=False)
    for batch in Samples(read, sample_spec(config), 8).batches(0, steps):
        step(batch)
    return model


def score(seed, name, steps):
    """Precision, sensitivity and F1 by the new rule, then by the old one; and the mean of the heatmaps."""
    config = config_of(name)
    model = trained(config, seed, steps)
    rules = [config.decoding.model_copy(update={"rule": rule}) for rule in ("new", "old")]
    totals, means = [Counts(), Counts()], []
    for image, points in tested_frames():
        heatmap = tf.sigmoid(model.network(image[None], training=False))[0, ..., 0].numpy()
        means.append(heatmap.mean())
        totals = [total + match(rule.points(heatmap), points, 6.0).counts
                  for total, rule in zip(totals, rules, strict=True)]  # fmt: skip
    return (*(value for one in totals for value in (one.precision, one.sensitivity, one.f1)), np.mean(means))


def main():
    columns = [f"{score} ({rule})" for rule in ("new", "old") for score in ("precision", "sensitivity", "F1")]
    tables.make(__doc__, METHODS, STEPS, "toy_adaptor_crossdomain.csv", (*columns, "mean p"), 3, score)


if __name__ == "__main__":
    main()
