"""3D-StyleGAN on volumes of 8 x 8 x 12 voxels that show an ellipsoid of any size, place and brightness.

Run: python -m benchmarks.toys.stylegan3d [--seeds 0 1 2] [--steps 600] [--out toy_stylegan3d.csv]

Trains with base 2 x 2 x 3, three levels and 16 channels, and compares 64 generated volumes with as many that were not
trained on: squared batch-wise MMD before and after (the distance of the mean volumes), and the mean squared difference
between two generated volumes, as a share of that between real ones (0: all are the same). Projects 4 volumes that
were not trained on, with the term of pooled volumes and without it: mean squared error in grey values of 0 .. 255, at
the mean style and after 200 steps. `tests/methods/test_stylegan3d_behaviour.py` has its thresholds from here.
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import functools

import keras
import numpy as np
import tensorflow as tf

from benchmarks.support import tables
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import shuffled
from tfmed.methods.stylegan3d import Config, StyleGAN3D
from tfmed.metrics.generative import batch_mmd
from tfmed.tasks.projection import Projector

SHAPE = (8, 8, 12)  # voxels (z, y, x)
CASES, UNSEEN, PROJECTED = 256, 64, 4
BATCH, STEPS = 8, 600
NETWORKS = dict(
    base_shape=(2, 2, 3), levels=3, filter_depth=16, latent_size=16, mapping_layers=4, minibatch_group=4,
    learning_rate=2e-3, ema_half_life_images=200,
)  # fmt: skip
COLUMNS = ("bMMD^2 before", "after", "spread", "error of the mean style", "projected", "without pooled term")


def toy_volume(seed):
    """A volume `SHAPE` in [-1, 1]: a soft-edged ellipsoid on black."""
    rng = np.random.default_rng([seed, 31])
    places = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in SHAPE], indexing="ij"), -1)
    centre, radii = rng.uniform(-1, 1, 3), rng.uniform((2, 2, 3), (3.5, 3.5, 5))
    distance = np.sqrt((((places - centre) / radii) ** 2).sum(-1)) - 1
    return (-0.9 + rng.uniform(0.8, 1.7) / (1 + np.exp(8 * distance))).astype(np.float32)


def unseen():
    """Volumes `(UNSEEN, *SHAPE)` that are not trained on."""
    return np.stack([toy_volume(CASES + k) for k in range(UNSEEN)])


def generated(model, count=UNSEEN):
    """Volumes `(count, *SHAPE)` in [-1, 1]."""
    return np.stack([2 * model.sample(0, index) - 1 for index in range(count)])


def train(seed, steps):
    """(an untrained model, the same after `steps` steps)."""

    def built():
        keras.utils.set_random_seed(seed)
        return StyleGAN3D(Config(**NETWORKS), seed=seed, per_step=BATCH)

    volumes = np.stack([toy_volume(k) for k in range(CASES)])[..., None]
    batches = Samples(
        lambda index: {"volume": volumes[shuffled(seed, index, CASES)]}, {"volume": ((*SHAPE, 1), "float32")}, BATCH
    )
    model = built()
    run = functools.cache(lambda phase: tf.function(functools.partial(model.train_step, phase=phase)))
    for step, batch in enumerate(batches.batches(0, steps)):
        for phase in model.phases_of(step):
            run(phase)(batch)
    return built(), model


def spread(volumes):
    """Mean squared difference between two of the volumes, per voxel."""
    return 2 * float(volumes.var(0, ddof=1, dtype=np.float64).mean())


def projection_error(model, pooled_weight):
    """(at the mean style, after 200 steps) mean over volumes that were not trained on."""
    errors = []
    for target in unseen()[:PROJECTED]:
        found = Projector(model, target, steps=200, pooled_weight=pooled_weight).run()
        errors.append((found.losses[0]["mse"], np.mean((127.5 * (found.array - target)) ** 2)))
    return np.mean(errors, 0)


def trained_and_scored(seed, _, steps):
    """A value for each of COLUMNS."""
    real, (untrained, model) = unseen(), train(seed, steps)
    first, last = (batch_mmd(generated(m), real) for m in (untrained, model))
    start, error = projection_error(model, 1.0)
    return first, last, spread(generated(model)) / spread(real), start, error, projection_error(model, 0.0)[1]


if __name__ == "__main__":
    tables.make(__doc__, ["3D-StyleGAN"], STEPS, "toy_stylegan3d.csv", COLUMNS, 2, trained_and_scored)
