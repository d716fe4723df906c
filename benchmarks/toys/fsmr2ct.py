"""Frequency-supervised MR-to-CT on heads whose truth is known: skin, a shell of bone, brain, in any pose.

Run: python -m benchmarks.toys.fsmr2ct [--seeds 0 1 2] [--steps 3000] [--out toy_fsmr2ct.csv]

Trains U-Nets of 6 channels and 2 levels on 60 pairs of 16^3 voxels, in batches of 2: alone (plain), with frequency
supervision (fs), with it and normalised refinement (fs_norm), and with the critic of high frequencies (fs_critic).
Prints for each seed the mean absolute error of 40 test pairs, in shares of the CT's range, over all voxels / over the
20 % with the largest high frequencies. The last lines are the means of all seeds, and the error of two predictions
that look at nothing: the mean of all voxels, and each voxel's median over the training CTs.

Runs that stand in the table --out are not made again, so that a run that was broken off goes on.
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import keras
import numpy as np
import tensorflow as tf

from benchmarks.support import tables
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import shuffled
from tfmed.methods.fsmr2ct import Config, Synthesizer
from tfmed.methods.fsmr2ct.method import lowpass
from tfmed.metrics.image_quality import mae

SIDE, TRAIN, TEST, BATCH, SIGMA = 16, 60, 40, 2, 3.0
SHARED = dict(patch=(SIDE,) * 3, widths=(6, 12), refine_size=5, refine_width=6, lowpass_size=SIGMA)
METHODS = {
    "plain": {"head": "plain", "adv": "none"},
    "fs": {"adv": "none"},
    "fs_norm": {"adv": "none", "refine_norm": "instance"},
    "fs_critic": {},
}


def toy_pair(seed):
    """(MR standardised, CT in [0, 1]), float32 `(SIDE, SIDE, SIDE)`: bone is as dark in MR as air, and bright in CT."""
    rng = np.random.default_rng([seed, 22])
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    places = np.stack(np.meshgrid(*[np.arange(SIDE) - (SIDE - 1) / 2] * 3, indexing="ij"), -1)
    places = (places - rng.uniform(-2, 2, 3)) @ rotation
    radii = rng.uniform(4.5, 7.5, 3)
    depth = (1 - np.linalg.norm(places / radii, axis=-1)) * radii.mean()  # voxels below the skin, about
    skin, bone = rng.uniform(0.6, 1.4), rng.uniform(1.0, 2.0)
    hole = np.linalg.norm(places - rng.uniform(-2, 2, 3), axis=-1) < rng.uniform(1.0, 2.0)  # a ventricle
    tissue = np.select([depth <= 0, depth <= skin, depth <= skin + bone, hole], [0, 1, 2, 3], 4)
    mr = np.array([0.0, 0.8, 0.1, 0.3, 0.6])[tissue] * (1 + 0.15 * places[..., 0] / SIDE)
    ct = np.array([0.0, 0.30, 0.85, 0.32, 0.36])[tissue] + 0.06 * (tissue == 2) * rng.normal()
    mr, ct = (image + rng.normal(0, noise, image.shape) for image, noise in ((mr, 0.05), (ct, 0.01)))
    return ((mr - mr.mean()) / mr.std()).astype(np.float32), np.clip(ct, 0, 1).astype(np.float32)


def train(changes, seed, steps):
    """A trained Synthesizer."""
    pairs = [toy_pair(1000 * seed + k) for k in range(TRAIN)]
    parts = [(mr, ct, ct - lowpass(ct, "gaussian", SIGMA)) for mr, ct in pairs]

    def read(index):
        return dict(zip(("mr", "ct", "high"), (x[..., None] for x in parts[shuffled(seed, index, TRAIN)]), strict=True))

    spec = {name: ((*[SIDE] * 3, 1), "float32") for name in ("mr", "ct", "high")}
    keras.utils.set_random_seed(seed)
    model = Synthesizer(Config(**SHARED, **changes), steps=steps, seed=seed, per_step=BATCH)
    step = tf.function(model.train_step)
    for number, batch in enumerate(Samples(read, spec, BATCH).batches(0, steps)):
        step(batch, *model.phases_of(number))
    return model


def errors(predict):
    """(mean absolute error, that over edges), means of the test pairs; `predict` is a function of an MR."""
    rows = []
    for k in range(TEST):
        mr, ct = toy_pair(900_000 + k)
        high = np.abs(ct - lowpass(ct, "gaussian", SIGMA))
        made = predict(mr)
        rows.append((mae(made, ct), mae(made, ct, high >= np.quantile(high, 0.8))))
    return np.mean(rows, axis=0)


def trained_and_scored(seed, name, steps):
    """Both errors of a method."""
    model = train(METHODS[name], seed, steps)
    network = tf.function(lambda x: model(x)[..., 0])
    return errors(lambda mr: network(mr[None, ..., None]).numpy()[0])


def blind(seeds):
    """Rows of the two predictions that look at nothing."""
    cts = np.stack([toy_pair(1000 * seed + k)[1] for seed in seeds for k in range(TRAIN)])
    guesses = {"mean": np.full(cts.shape[1:], cts.mean()), "median": np.median(cts, 0)}
    return {name: errors(lambda mr, guess=guess: guess) for name, guess in guesses.items()}


def main():
    columns = ("error", "error of edges")
    seeds = tables.make(__doc__, METHODS, 3000, "toy_fsmr2ct.csv", columns, 4, trained_and_scored)
    for name, found in blind(seeds).items():
        tables.print_row("", f"blind: {name}", (*found, 0), 4)


if __name__ == "__main__":
    main()
