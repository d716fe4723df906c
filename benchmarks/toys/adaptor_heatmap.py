"""Blobs on a textured ground, 0 to 8 to a frame: does a heatmap find them all, and none where there are none?

Run: python -m benchmarks.toys.adaptor_heatmap [--seeds 0 1 2] [--steps 300]
     python -m benchmarks.toys.adaptor_heatmap --domains [--seeds 0] [--steps 300] [--translator-steps 400]

The first trains the U-Net by Dice on frames of 64 x 64 and prints precision, sensitivity and F1 of 100 others (asked:
F1 above 0.9), the correlation of the number of points found with the true one (above 0.9), and the points found in 40
frames without any (none). The second has two colours of ground: many labelled frames of one ("simulator") and a few
of the other ("surgery"), on which it is tested; with the simulator's frames as they are, translated by a CycleGAN, and
without them.
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import argparse

import keras
import numpy as np
import tensorflow as tf

from tfmed.data.pipeline import Samples
from tfmed.data.sampling import shuffled
from tfmed.methods.adaptor_heatmap import Config, Detector, Translator, moved
from tfmed.metrics.landmarks import Counts, match
from tfmed.tasks.backbones import UNet
from tfmed.training.schedules import Schedule

SIDE, FRAMES, FEW, TEST, BATCH = 64, 96, 6, 100, 8
CONFIG = Config(
    size=(SIDE, SIDE), network=UNet(widths=(8, 16, 32, 64), norm="batch"), sigma=2.0, most_points=8, learning_rate=5e-3,
    decoding={"cut_ratio": 1.25}, translator_crop=64, translator_first=8, translator_blocks=3, translator_rate=1e-3,
)  # fmt: skip
GROUNDS = {"surgery": (0.55, 0.2, 0.2), "simulator": (0.35, 0.55, 0.75)}


def frame(seed, ground="surgery", fewest=0):
    """(image `(SIDE, SIDE, 3)` float32, points): bright blobs of radius 2, and darker ones that are none."""
    rng = np.random.default_rng([seed, len(ground)])
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    waves = sum(np.cos(rng.uniform(-0.4, 0.4) * y + rng.uniform(-0.4, 0.4) * x + rng.uniform(0, 6)) for _ in range(4))
    image = np.array(GROUNDS[ground]) + 0.06 * waves[..., None] + rng.normal(0, 0.05, (SIDE, SIDE, 3))
    points = []
    for _ in range(200):
        if len(points) >= 12:
            break
        point = rng.uniform(5, SIDE - 6, 2)
        if all(np.hypot(*(point - other)) > 9 for other in points):
            points.append(point)
    count = int(rng.integers(fewest, 9))
    for number, (px, py) in enumerate(points):
        blob = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 1.6**2))[..., None]
        image = image + (0.45 if number < count else -0.3) * blob
    return np.clip(image, 0, 1).astype(np.float32), np.array(points[:count]).reshape(-1, 2)


def samples(frames, seed):
    def read(index):
        image, points = frames[shuffled(seed, index, len(frames))]
        return moved(image, points, CONFIG, np.random.default_rng([seed, index]))

    spec = {"image": ((SIDE, SIDE, 3), "float32"), "points": ((8, 2), "float32"), "there": ((8,), "bool")}
    return Samples(read, spec, BATCH)


def trained(model, data, steps):
    step = tf.function(model.train_step, autograph=False)
    for batch in data.batches(0, steps):
        step(batch)
    return model


def detector(frames, seed, steps):
    keras.utils.set_random_seed(seed)
    model = Detector(CONFIG, Schedule(CONFIG.learning_rate, steps, "cosine"), seed=seed, per_step=BATCH)
    return trained(model, samples(frames, seed), steps)


def scores(model, frames):
    """(Counts, numbers found, true numbers)."""
    total, found, true = Counts(), [], []
    for image, points in frames:
        heatmap = tf.sigmoid(model.network(image[None], training=False))[0, ..., 0].numpy()
        here = CONFIG.decoding.points(heatmap)
        total += match(here, points, 6.0).counts
        found.append(len(here)), true.append(len(points))
    return total, found, true


def counting(seed, steps):
    model = detector([frame(1000 * seed + k) for k in range(FRAMES)], seed, steps)
    total, found, true = scores(model, [frame(90_000 + k) for k in range(TEST)])
    rest = [one for one in (frame(70_000 + k) for k in range(600)) if not len(one[1])][:40]
    _, empty, _ = scores(model, rest)
    return (total.precision, total.sensitivity, total.f1, float(np.corrcoef(found, true)[0, 1]), sum(empty), len(rest))


def domains(seed, steps, translator_steps):
    few = [frame(1000 * seed + k, fewest=1) for k in range(FEW)]
    many = [frame(5000 + 1000 * seed + k, "simulator", 1) for k in range(FRAMES)]
    unlabelled = [frame(7000 + 1000 * seed + k)[0] for k in range(FRAMES)]
    keras.utils.set_random_seed(seed)
    config = CONFIG.model_copy(update={"translator_steps": translator_steps})

    def read(index):
        pair = many[shuffled(seed, index, FRAMES)][0], unlabelled[shuffled(seed + 1, index, FRAMES)]
        return dict(zip(("sim", "real"), (2 * image - 1 for image in pair), strict=True))

    spec = {name: ((SIDE, SIDE, 3), "float32") for name in ("sim", "real")}
    translator = trained(Translator(config, seed=seed, per_step=1), Samples(read, spec, 1), translator_steps)
    made = [
        (np.clip(translator.generator(2 * image[None] - 1)[0].numpy() / 2 + 0.5, 0, 1), points)
        for image, points in many
    ]
    test = [frame(90_000 + k) for k in range(TEST)]
    sets = {"few frames of surgery": few, "and the simulator's": few + many, "and those translated": few + made}
    return {name: scores(detector(frames, seed, steps), test)[0] for name, frames in sets.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--domains", action="store_true")
    parser.add_argument("--translator-steps", type=int, default=400)
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        if arguments.domains:
            for name, one in domains(seed, arguments.steps, arguments.translator_steps).items():
                print(
                    f"seed {seed}, {name}: precision {one.precision:.3f}, sensitivity {one.sensitivity:.3f}, "
                    f"F1 {one.f1:.3f}",
                    flush=True,
                )
        else:
            p, s, f1, r, wrong, empty = counting(seed, arguments.steps)
            said = f"precision {p:.3f}, sensitivity {s:.3f}, F1 {f1:.3f}, correlation {r:.3f}"
            print(f"seed {seed}: {said}; {wrong} points in {empty} empty frames", flush=True)


if __name__ == "__main__":
    main()
