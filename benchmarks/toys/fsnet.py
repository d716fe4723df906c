"""FS-Net on blobs: does another labelled set help where the target has six volumes?

Run: python -m benchmarks.toys.fsnet [--seeds 0 1 2] [--steps 150] [--methods NAME ...] [--out toy_fsnet.csv]

Target: 6 volumes of 6 x 24 x 24 voxels, each with bright round blobs that are to be found, and rods as bright that are
not. Auxiliary set: 60 volumes with dark boxes to be found, and dark rods. Every arm is trained by the same steps of 4
whole volumes per set; printed is the Dice of the blobs in 40 other volumes of the target, all voxels together.

Runs that stand in the table --out are not made again, so that a run that was broken off goes on.
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import functools

import keras
import numpy as np
import tensorflow as tf
from scipy import ndimage

from benchmarks.support import tables
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import shuffled
from tfmed.data.several_sets import set_weights
from tfmed.data.streams import Mixture
from tfmed.methods.fsnet import Config, FSNet
from tfmed.metrics.segmentation import GlobalDice
from tfmed.tasks.backbones import UNet
from tfmed.tasks.several_sets import AuxiliarySet

SHAPE, EACH, TEST, STEPS = (6, 24, 24), 4, 40, 150
COUNTS = {"target": 6, "boxes": 60}
METHODS = {  # settings that differ from FS-Net's
    "target only": {"training": "target", "features": 0},
    "pretrain": {"training": "pretrain", "features": 0},
    "naive joint": {"channel_coding": "shared", "features": 0, "target_weight": 0.5},
    "fsnet": {},
    "no channel coding": {"channel_coding": "shared"},
    "no features": {"features": 0},
    "equal weights": {"target_weight": 0.5},
}


@functools.cache
def volume(seed, boxes):
    """(image `(*SHAPE, 1)` float32, label uint8) of the target (blobs) or of the other set."""
    rng = np.random.default_rng([seed, 21, boxes])
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1).astype(np.float32)
    found, rods = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    for _ in range(3):
        away = np.abs(grid - rng.uniform(0, SHAPE)) / rng.uniform((1.5, 3, 3), (3, 6, 6))
        found |= away.max(-1) < 0.85 if boxes else (away**2).sum(-1) < 1
        start, way = rng.uniform(0, SHAPE), rng.normal(0, (0.4, 1, 1))
        way /= np.linalg.norm(way)
        gap = grid - start
        rods |= np.linalg.norm(gap - (gap @ way)[..., None] * way, axis=-1) < rng.uniform(1, 2)
    ground = ndimage.gaussian_filter(rng.normal(0, 1, SHAPE), 2, mode="wrap")
    image = 0.5 * ground / ground.std() + (-1 if boxes else 1) * rng.uniform(0.8, 1.3) * (found | rods)
    image = (image + rng.normal(0, 0.4, SHAPE)) * rng.uniform(0.7, 1.4)
    return ((image - image.mean()) / image.std()).astype(np.float32)[..., None], found.astype(np.uint8)


def config_of(name):
    """The settings of an arm."""
    unet = UNet(widths=(8, 16), factors=(1, 2, 2), norm="batch", upsample="transposed", transposed_kernel=3,
                decoder_convolutions=1)  # fmt: skip
    usual = {"patch": SHAPE, "network": unet, "features": 8, "label_values": (0, 1), "learning_rate": 3e-3,
             "auxiliary": {"boxes": AuxiliarySet(source="phantom_cardiac")}}  # fmt: skip
    return Config(**usual | METHODS[name])


def trained(config, sets, seed, steps, start=None):
    """The model after its steps on some sets."""
    keras.utils.set_random_seed(seed)
    coding, mixture = config.coding(sets), Mixture((EACH,) * len(sets))
    weights = set_weights(config.target_weight if "target" in sets else 1 / len(sets), len(sets) - 1)

    def read(index):
        stream, number = mixture.place(index)
        name = sets[stream]
        image, label = volume(1000 * seed + shuffled(seed, number, COUNTS[name]), name == "boxes")
        return {"image": coding.image(image, stream), "label": coding.label(label, stream)}

    spec = {"image": ((*SHAPE, coding.total_channels), "float32"), "label": (SHAPE, "int32")}
    samples = Samples(read, spec, mixture.per_step)
    model = FSNet(config, sets=sets, mixture=mixture, weights=weights, trained=start, seed=seed,
                  per_step=mixture.per_step)  # fmt: skip
    step = tf.function(model.train_step, autograph=False)
    for batch in samples.batches(0, steps):
        step(batch)
    return model


def score(seed, name, steps):
    """(Dice,) of the blobs in all test volumes together."""
    config = config_of(name)
    if config.training == "joint":
        model = trained(config, ("target", "boxes"), seed, steps)
    else:
        first = trained(config, ("boxes",), seed, steps).shared if config.training == "pretrain" else None
        model = trained(config, ("target",), seed, steps, first)
    total = GlobalDice()
    for k in range(0, TEST, 8):
        images, labels = zip(*(volume(900_000 + number, False) for number in range(k, k + 8)), strict=True)
        total.add(np.argmax(model.network(np.stack(images), training=False), -1), np.stack(labels))
    return (total.value(),)


def main():
    tables.make(__doc__, METHODS, STEPS, "toy_fsnet.csv", ("Dice",), 3, score)


if __name__ == "__main__":
    main()
