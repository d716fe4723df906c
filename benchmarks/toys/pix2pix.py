"""pix2pix M->C on slices whose truth is known: does the anchor to made-up CTs and the critic of real ones pay?

Run: python -m benchmarks.toys.pix2pix [--seeds 0 1 2] [--steps 1600] [--methods NAME ...] [--out toy_pix2pix.csv]

A slice of 32 x 32 pixels shows a body with two bones. Its MR has dark bones; its made-up CT has three values, smooth
edges and no couch; real CTs, of other bodies, have texture, grey values of their own and a couch. Trains a U-Net of 4
levels and 16 channels from 64 pairs and 64 CTs: towards the made-up CT (pix2pix), by the critic of real CTs alone
(gan), and by both (m2c). Prints for each seed, over 64 test bodies: squared maximum mean discrepancy (unbiased) between
means and standard deviations of blocks of 4 x 4 pixels of synthetic and of other bodies' real CTs; Dice of bone found
by threshold; the value where the couch should be (real about -0.3). The last lines are means.

Runs that stand in the table --out are not made again, so that a run that was broken off goes on.
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import keras
import numpy as np
import tensorflow as tf
from scipy import ndimage

from benchmarks.support import tables
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import shuffled
from tfmed.methods.pix2pix_bridge import Config, Translator
from tfmed.metrics.generative import mmd
from tfmed.metrics.segmentation import dice

SIDE, TRAIN, TEST, BATCH = 32, 64, 64, 8
SOFT, BONE, COUCH = 0.0, 0.7, -0.3
COUCH_PLACE = (slice(29, 30), slice(5, 27))
SHARED = dict(size=SIDE, downs=4, generator_first=16, critic_layers=2, critic_first=16, learning_rate=1e-3)
METHODS = {
    "pix2pix": {"unpaired_critic": False, "paired_critic": True},
    "gan": {"anchor_weight": 0.0},
    "m2c": {},
}


def toy_body(seed):
    """{"mr", "mrcat", "ct", "bone"} of one body: float32 `(SIDE, SIDE)` in [-1, 1], and a mask."""
    rng = np.random.default_rng([seed, 41])
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    y, x = y - rng.uniform(-3, -1), x - rng.uniform(-2, 2)
    body = (y / rng.uniform(8, 11)) ** 2 + (x / rng.uniform(11, 13.5)) ** 2 < 1
    apart, radius = rng.uniform(4.5, 6.5), rng.uniform(1.8, 3.2)
    bone = ((y - rng.uniform(-2, 2)) ** 2 + (np.abs(x) - apart) ** 2 < radius**2) & body
    mr = np.select([bone, body], [-0.4, rng.uniform(0.2, 0.6)], -1.0) + 0.05 * rng.normal(size=body.shape)
    mrcat = ndimage.gaussian_filter(np.select([bone, body], [BONE, SOFT], -1.0), 0.5)
    texture = ndimage.gaussian_filter(rng.normal(size=body.shape), 0.7) * 0.12
    ct = np.select([bone, body], [BONE + rng.uniform(-0.1, 0.2), SOFT + rng.uniform(-0.15, 0.1)], -1.0)
    ct = ct + texture * body
    ct[COUCH_PLACE] = np.maximum(ct[COUCH_PLACE], COUCH + 0.03 * rng.normal())
    images = {"mr": mr, "mrcat": mrcat, "ct": ct}
    return {name: np.clip(image, -1, 1).astype(np.float32) for name, image in images.items()} | {"bone": bone}


def train(changes, seed, steps):
    """A trained Translator."""
    pairs, others = ([toy_body(10_000 * seed + start + k) for k in range(TRAIN)] for start in (0, TRAIN))

    def read(index):
        pair, other = pairs[shuffled(2 * seed, index, TRAIN)], others[shuffled(2 * seed + 1, index, TRAIN)]
        return {name: body[name][..., None] for name, body in (("mr", pair), ("mrcat", pair), ("ct", other))}

    samples = Samples(read, {name: ((SIDE, SIDE, 1), "float32") for name in ("mr", "mrcat", "ct")}, BATCH)
    keras.utils.set_random_seed(seed)
    model = Translator(Config(**SHARED, **changes), seed=seed, per_step=BATCH)
    step = tf.function(model.train_step)
    for number, batch in enumerate(samples.batches(0, steps)):
        step(batch, *model.phases_of(number))
    return model


def features(images):
    """Means and standard deviations of blocks of 4 x 4 pixels, `(n, 128)`."""
    blocks = np.stack(images).reshape(len(images), SIDE // 4, 4, SIDE // 4, 4)
    return np.concatenate([f(blocks, (2, 4)).reshape(len(images), -1) for f in (np.mean, np.std)], 1)


def scores(translate):
    """(MMD^2, Dice of bone, value of the couch) of test bodies; `translate` is a function of MRs `(n, y, x)`."""
    bodies = [toy_body(900_000 + k) for k in range(2 * TEST)]
    inputs, real = bodies[:TEST], np.stack([body["ct"] for body in bodies[TEST:]])
    made = translate(np.stack([body["mr"] for body in inputs]))
    overlap = np.mean([dice(image > (SOFT + BONE) / 2, body["bone"]) for image, body in zip(made, inputs, strict=True)])
    return float(mmd(features(made), features(real))), float(overlap), float(made[(slice(None), *COUCH_PLACE)].mean())


def main():
    columns = ("MMD^2", "Dice of bone", "couch")
    tables.make(__doc__, METHODS, 1600, "toy_pix2pix.csv", columns, 3, trained_and_scored)
    tables.print_row("", "other real CTs", (*scores(real_cts), 0), 3)


def trained_and_scored(seed, name, steps):
    """Scores of a method."""
    model = train(METHODS[name], seed, steps)
    return scores(lambda mr: model.translated(mr).numpy())


def real_cts(mr):
    """The test bodies' own CTs, for scale."""
    return np.stack([toy_body(900_000 + k)["ct"] for k in range(len(mr))])


if __name__ == "__main__":
    main()
