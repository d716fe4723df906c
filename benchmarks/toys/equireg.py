"""EquiReg on images whose truth is known: an ellipse, and a rectangle that is mostly brighter.

Run: python -m benchmarks.toys.equireg [--seeds 0 1 2] [--steps 600] [--unlabelled 4] [setting=value ...]

Trains a shallow FC-DenseNet on 4 of 8 labelled images per step, and with EquiReg on 4 of 200 unlabelled ones as well
(--unlabelled 0: the supervised baseline), and prints for each seed Dice and equivariance Dice of 100 test images, mean
of both shapes.
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import argparse
import time

import keras
import numpy as np
import tensorflow as tf
import yaml

from tfmed.augment.paired import sample_grid
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import generator, shuffled
from tfmed.data.streams import Streams
from tfmed.methods.equireg import Config, EquiReg, moved_both_ways, transforms
from tfmed.metrics.segmentation import dice, equivariance_dice
from tfmed.ops.warp import warp_array
from tfmed.tasks.backbones import FCDenseNet
from tfmed.training.schedules import Schedule

SIDE, LABELLED, UNLABELLED, TEST, STEPS = 64, 8, 200, 100, 600
CONFIG = Config(
    modalities=("image",), label_values=(0, 1, 2), regions={}, patch=(SIDE, SIDE), learning_rate=2e-3,
    network=FCDenseNet(growth=6, first=8, encoder_layers=(2, 2), bottom_layers=2, decoder_layers=(2, 2), dropout=0.1),
    elastic_alpha=60.0, elastic_sigma=7.0, fill="edge",
)  # fmt: skip


def toy_image(seed):
    """(image `(SIDE, SIDE, 1)` float32, labels uint8: 1 ellipse, 2 rectangle)."""
    rng = np.random.default_rng([seed, 64])
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    labels, image = np.zeros((SIDE, SIDE), np.uint8), np.full((SIDE, SIDE), 0.35, np.float32)
    sides = rng.permutation(2)
    for label in (1, 2):
        centre = np.array([rng.uniform(18, 46), 17 + 30 * sides[label - 1] + rng.uniform(-4, 4)])
        angle, (a, b) = rng.uniform(0, np.pi), rng.uniform(8, 12, 2)
        u = (y - centre[0]) * np.cos(angle) + (x - centre[1]) * np.sin(angle)
        v = (x - centre[1]) * np.cos(angle) - (y - centre[0]) * np.sin(angle)
        inside = (u / a) ** 2 + (v / b) ** 2 < 1 if label == 1 else np.maximum(abs(u / a), abs(v / b)) < 0.87
        labels[inside] = label
        image[inside] = rng.uniform(*((0.5, 0.7) if label == 1 else (0.65, 0.85)))
    waves = sum(np.cos(rng.uniform(-0.5, 0.5) * y + rng.uniform(-0.5, 0.5) * x + rng.uniform(0, 6)) for _ in range(4))
    image += 0.05 * waves + rng.normal(0, 0.12, image.shape)
    return np.maximum(image, 1e-3)[..., None].astype(np.float32), labels


def samples(seed, streams):
    """Batches as the method makes them: weakly moved images with labels, and the grids of strong transforms."""
    labelled = [toy_image(1000 * seed + i) for i in range(LABELLED)]
    pool = labelled + [toy_image(1000 * seed + 100 + i) for i in range(UNLABELLED)]

    def read(index):
        is_labelled, number = streams.place(index)
        items = labelled if is_labelled else pool
        image, label = items[shuffled(seed + 7 * is_labelled, number, len(items))]
        seeds = generator(seed, index, 1).integers(2**31, size=2)
        weak = sample_grid(seeds[0], (SIDE, SIDE), "weak")
        image, label = warp_array(image, weak, 1, "edge"), warp_array(label[..., None], weak, 0, "edge")[..., 0]
        strong = sample_grid(seeds[1], (SIDE, SIDE), transforms(CONFIG))
        return {"image": image, "label": label * is_labelled, "grid": strong}

    shape = (SIDE, SIDE)
    spec = {"image": ((*shape, 1), "float32"), "label": (shape, "int32"), "grid": ((*shape, 2), "float32")}
    return Samples(read, spec, streams.per_step)


def train(seed, steps=STEPS, unlabelled=4, config=CONFIG):
    """A trained model; without unlabelled images the baseline."""
    streams = Streams(4, unlabelled)
    keras.utils.set_random_seed(seed)
    model = EquiReg(config, Schedule(config.learning_rate, steps, "cosine"), streams=streams, seed=seed)
    step = tf.function(model.train_step)
    for batch in samples(seed, streams).batches(0, steps):
        step(batch)
    return model


def scores(model):
    """(Dice, equivariance Dice) of the test images, mean of the two shapes."""
    images, labels = zip(*(toy_image(90_000 + i) for i in range(TEST)), strict=True)
    images, labels = np.stack(images), np.stack(labels)
    network = tf.function(lambda x: tf.argmax(model(x), -1))

    def segment(stack):
        return np.concatenate([network(part).numpy() for part in np.array_split(stack, 4)]).astype(np.uint8)

    found = segment(images)
    ours, theirs = moved_both_ways(segment, images, 2, policy=transforms(CONFIG, "strong"))
    each = [np.mean([dice(a == k, b == k) for a, b in zip(found, labels, strict=True)]) for k in (1, 2)]
    return float(np.mean(each)), float(np.mean([equivariance_dice(ours == k, theirs == k) for k in (1, 2)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--unlabelled", type=int, default=4, help="per step; 0: the baseline")
    parser.add_argument("settings", nargs="*", default=[], metavar="key=value")
    arguments = parser.parse_intermixed_args()
    own = {key: yaml.safe_load(value) for key, _, value in (text.partition("=") for text in arguments.settings)}
    config = Config.model_validate(CONFIG.model_dump() | own)
    print(f"{arguments.unlabelled} unlabelled, {own}\n| seed | Dice | equivariance Dice | seconds |\n|---|---|---|---|")
    rows = []
    for seed in arguments.seeds:
        start = time.monotonic()
        rows.append(scores(train(seed, arguments.steps, arguments.unlabelled, config)))
        shown = [f"{v:.3f} |" for v in rows[-1]]
        print(f"| {seed} |", *shown, f"{time.monotonic() - start:.0f} |", flush=True)
    print("| mean |", " | ".join(f"{v:.3f}" for v in np.mean(rows, axis=0)), "| |")


if __name__ == "__main__":
    main()
