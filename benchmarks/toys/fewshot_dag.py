"""Phantom hands: does a student on 200 unlabelled images find landmarks better than DAG on the few labelled ones?

Run: python -m benchmarks.toys.fewshot_dag [--seeds 0 1 2] [--steps 240] [--methods NAME ...] [--out FILE]

Radiographs of 64 x 64 pixels with 8 landmarks (wrist, thumb, index), 10 of them labelled, and a small U-Net. DAG is
trained for the steps; from there every other arm goes on for five sixths of them, with 10 unlabelled batches for each
labelled one. Printed are the mean error in pixels and the share of errors above 5 % of the width, of 100 other images.
Asked: few-shot DAG has a smaller error than DAG, and no more failures, on average over the seeds; of the others it is
only told.

Runs that stand in the table --out are not made again, so that a run that was broken off goes on.
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import functools

import keras
import numpy as np
import tensorflow as tf

from benchmarks.support import tables
from tfmed.data.phantoms.radiograph import radiograph
from tfmed.data.pipeline import Samples
from tfmed.data.points import mean_shape
from tfmed.data.sampling import shuffled
from tfmed.data.streams import BatchTurns
from tfmed.methods.fewshot_dag import Config, Dag, FewShot
from tfmed.metrics.landmarks import errors, failure_rate
from tfmed.tasks.backbones import UNet

SIDE, LABELLED, UNLABELLED, TEST, STEPS, BATCH = 64, 10, 200, 100, 240, 4
METHODS = {  # settings that differ
    "dag": {"mode": "dag"},
    "pseudo label": {"mode": "pseudo_label"},
    "few-shot": {"mode": "fewshot"},
    "few-shot, JS": {"mode": "fewshot_js"},
    "Pi-model": {"mode": "pi_model"},
    "temporal ensemble": {"mode": "temporal_ensemble"},
}


def config_of(name):
    """The settings of an arm."""
    usual = {"size": (SIDE, SIDE), "network": UNet(widths=(8, 16, 32), norm="layer"), "feature_maps": 32,
             "graph_width": 64, "learning_rate": 1e-3, "student_rate": 3e-4, "ratio": 10, "noise": 0.1}  # fmt: skip
    return Config(**usual | METHODS[name])


@functools.cache
def hands(first, count):
    """(images `(n, y, x, 1)` of mean 0 and deviation 1, landmarks `(n, 8, 2)` as shares of them)."""
    made = [radiograph(first + k, (SIDE, SIDE), fingers=2) for k in range(count)]
    images = np.stack([one.volume.array[0] for one in made]).astype(np.float32)[..., None]
    images -= images.mean((1, 2, 3), keepdims=True)
    images /= images.std((1, 2, 3), keepdims=True)
    return images, np.stack([(one.points + 0.5) / SIDE for one in made]).astype(np.float32)


def run(model, steps, read, points):
    """Train a model."""
    kinds = {"image": ((SIDE, SIDE, 1), "float32"), "points": ((points, 2), "float32"), "there": ((points,), "bool"),
             "case": ((), "int64")}  # fmt: skip
    graphs = {}
    for step, batch in enumerate(Samples(read, kinds, BATCH).batches(0, steps)):
        for phase in model.phases_of(step):
            words = () if phase is None else (phase,)
            if phase not in graphs:
                graphs[phase] = tf.function(functools.partial(_stepped, model, words), autograph=False)
            graphs[phase](batch)
    return model


def _stepped(model, words, batch):
    return model.train_step(batch, *words)


@functools.lru_cache(1)
def pretrained(seed, steps):
    """(DAG on the labelled images, what it reads of a sample index)."""
    images, points = hands(10_000 * (seed + 1), LABELLED)
    everything = np.ones(points.shape[1], bool)

    def read(index):
        k = shuffled(seed, index, LABELLED)
        return {"image": images[k], "points": points[k], "there": everything, "case": 0}

    keras.utils.set_random_seed(seed)
    model = Dag(config_of("dag"), mean=mean_shape(points), seed=seed, per_step=BATCH)
    return run(model, steps, read, points.shape[1]), read


def score(seed, name, steps):
    """Mean error in px, and share of failures in %, of what predicts."""
    config, (model, labelled) = config_of(name), pretrained(seed, steps)
    points = hands(10_000 * (seed + 1), LABELLED)[1]
    if config.mode != "dag":
        others, _ = hands(10_000 * (seed + 1) + 1000, UNLABELLED)
        turns, none = BatchTurns(config.ratio, BATCH), np.zeros_like(points[0])

        def read(index):
            known, number = turns.place(index)
            if known:
                return labelled(number)
            k = shuffled(seed + 1, number, UNLABELLED)
            return {"image": others[k], "points": none, "there": none[:, 0] > 0, "case": k}

        start = {"start": model.network, "unlabelled": UNLABELLED, "mean": mean_shape(points)}
        model = FewShot(config, config.student_rate, **start, seed=seed, per_step=BATCH)
        run(model, steps * 5 // 6, read, points.shape[1])
    images, true = hands(900_000, TEST)
    found = np.concatenate([model.network(images[k : k + 20], training=False)[2][:, -1] for k in range(0, TEST, 20)])
    away = np.concatenate([errors(*pair) for pair in zip(found, true, strict=True)])
    return SIDE * away.mean(), 100 * failure_rate(away, 0.05)


def main():
    tables.make(__doc__, METHODS, STEPS, "toy_fewshot_dag.csv", ("error px", "failures %"), 2, score)


if __name__ == "__main__":
    main()
