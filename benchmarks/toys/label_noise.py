"""Errors of annotators on images whose truth is known: a disc of radius 10 to 16 on a textured ground.

Run: python -m benchmarks.toys.label_noise [--seeds 0 1 2] [--steps 300] [--only warp ...]

Trains a small U-Net by soft Dice on corrupted masks of 64 images, and prints for each error the Dice of 100 clean test
images, all pixels together, and relative to that of clean training masks. A network that learns discs moved by 3 pixels
should find them moved by 3 pixels: that costs what plain geometry says (radius 13: 0.85 is left). One that learns them
moved by 3 pixels either way finds more than a disc, since soft Dice keeps what is labelled half of the time; where they
move by anything from -3 to 3 it finds them where they are.
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import argparse

import keras
import numpy as np
import tensorflow as tf

from tfmed.augment import corrupt
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import generator, shuffled
from tfmed.data.streams import Streams
from tfmed.methods.label_noise import Config
from tfmed.methods.label_noise.models import Segmenter
from tfmed.metrics.aggregate import relative
from tfmed.metrics.segmentation import GlobalDice
from tfmed.tasks.backbones import UNet
from tfmed.training.schedules import Schedule

SIDE, IMAGES, TEST, STEPS, BATCH, PIXELS = 64, 64, 100, 300, 8, 3
CONFIG = Config(modalities=("image",), patch=(SIDE, SIDE), network=UNet(widths=(8, 16, 32)), learning_rate=3e-3)


def toy_image(seed):
    """(image `(SIDE, SIDE, 1)` float32, mask uint8): a disc, brighter than most of what is around it."""
    rng = np.random.default_rng([seed, 25])
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    radius, centre = rng.uniform(10, 16), rng.uniform(22, SIDE - 22, 2)
    mask = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2
    waves = sum(np.cos(rng.uniform(-0.5, 0.5) * y + rng.uniform(-0.5, 0.5) * x + rng.uniform(0, 6)) for _ in range(4))
    image = 0.5 * mask + 0.08 * waves + rng.normal(0, 0.15, mask.shape)
    return image[..., None].astype(np.float32), mask.astype(np.uint8)


def shifted_disc(pixels, radius=13):
    """Dice of a disc with itself moved."""
    h = pixels / (2 * radius)
    return 2 / np.pi * (np.arccos(h) - h * np.sqrt(1 - h * h))


ERRORS = {  # (mask, Generator) -> mask
    "clean": lambda mask, draw: mask,
    "warp": lambda mask, draw: corrupt.warp(mask, 3.0, draw),
    "shift either way": lambda mask, draw: corrupt.shift(mask, PIXELS if draw.random() < 0.5 else -PIXELS),
    "shift up to": lambda mask, draw: corrupt.shift(mask, int(draw.integers(-PIXELS, PIXELS + 1))),
    "shift": lambda mask, draw: corrupt.shift(mask, PIXELS),
    "permute": lambda mask, draw: mask,
    "drop": lambda mask, draw: mask,
}


def samples(seed, error):
    """Batches whose masks are corrupted each time that they are read; half are permuted or dropped before."""
    data = [toy_image(1000 * seed + i) for i in range(IMAGES)]
    sources, used = np.arange(IMAGES), np.arange(IMAGES)
    if error == "permute":
        sources = corrupt.permutation(IMAGES, 0.5, generator(seed, 1))
    if error == "drop":
        used = np.delete(used, corrupt.chosen(IMAGES, 0.5, generator(seed, 1)))

    def read(index):
        number = used[shuffled(seed, index, len(used))]
        draw = corrupt.generator(seed, str(number), index // len(used))
        return {"image": data[number][0], "label": ERRORS[error](data[sources[number]][1], draw)}

    spec = {"image": ((SIDE, SIDE, 1), "float32"), "label": ((SIDE, SIDE), "uint8")}
    return Samples(read, spec, BATCH)


def score(seed, error, steps=STEPS):
    """Dice of all test images together, of a network trained on masks with an error."""
    keras.utils.set_random_seed(seed)
    rate = Schedule(CONFIG.learning_rate, steps, "cosine")
    model = Segmenter(CONFIG, rate, streams=Streams(BATCH), seed=seed, per_step=BATCH)
    step = tf.function(model.train_step, autograph=False)
    for batch in samples(seed, error).batches(0, steps):
        step(batch)
    total = GlobalDice()
    for k in range(0, TEST, 20):
        images, masks = zip(*(toy_image(90_000 + i) for i in range(k, k + 20)), strict=True)
        total.add(np.argmax(model(np.stack(images)), -1), np.stack(masks))
    return total.value()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--only", nargs="+", choices=ERRORS, default=list(ERRORS), metavar="ERROR")
    arguments = parser.parse_args()
    found = {}
    print("| labels | Dice, each seed | relative Dice | geometry |\n|---|---|---|---|")
    for error in ["clean", *(name for name in ERRORS if name in arguments.only and name != "clean")]:
        found[error] = [score(seed, error, arguments.steps) for seed in arguments.seeds]
        each, (ratio, _) = ", ".join(f"{value:.3f}" for value in found[error]), relative(found[error], found["clean"])
        geometry = f"{shifted_disc(PIXELS):.3f}" if error == "shift" else ""
        print(f"| {error} | {each} | {ratio:.3f} | {geometry} |", flush=True)


if __name__ == "__main__":
    main()
