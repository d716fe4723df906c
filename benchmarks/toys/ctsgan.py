"""CT-SGAN on volumes whose truth is known: an ellipse that drifts and tapers along z, as bright as its patient.

Run: python -m benchmarks.toys.ctsgan [--seeds 0 1 2 3] [--steps 300]

Trains CT-SGAN and its ablation (latents independent from slice to slice, no slab critic) equally long on the same
data, and prints for each seed how generated volumes move from slice to slice compared with real ones, and how their
brightness varies within and between volumes. `tests/methods/test_ctsgan_behaviour.py` has its thresholds from here.
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import argparse
import time

import keras
import numpy as np
import tensorflow as tf

from tfmed.data.pipeline import Samples
from tfmed.data.sampling import shuffled
from tfmed.methods.ctsgan import CTSGAN, Config
from tfmed.methods.ctsgan.model import draw_slab

SHAPE = (34, 32, 32)  # voxels (z, y, x)
CASES = 64
BATCH = 8
STEPS = 300
NETWORKS = dict(
    volume_shape=SHAPE, base_size=4, patient_noise_size=16, slice_noise_size=8, lstm_units=16, lstm_memory=34,
    generator_channels=(64, 32, 16), slice_critic_channels=(16, 32, 64), slab_critic_channels=(16, 32, 64),
    slab_length=10, slab_depth_kernel=3, slices_per_slab=8,
    loss="js", gp="r1", gp_weight=1.0, slice_reduction="mean", learning_rate=1e-3, beta_1=0.0, beta_2=0.99,
    ema_decay=0.98,
)  # fmt: skip
ABLATION = {"cell": "iid", "use_slab_critic": False}


def toy_volume(seed):
    """A volume `SHAPE` in [-1, 1]: a soft-edged ellipse that drifts and tapers along z; brightness, way, taper vary."""
    rng = np.random.default_rng([seed, 34])
    z, y, x = np.meshgrid(np.linspace(-1, 1, SHAPE[0]), np.arange(SHAPE[1]), np.arange(SHAPE[2]), indexing="ij")
    brightness = rng.uniform(-0.1, 0.9)
    angle, drift = rng.uniform(0, 2 * np.pi), rng.uniform(2.5, 5.0)  # radians, pixels from the middle to an end
    taper = rng.uniform(0.2, 0.45) * rng.choice([-1, 1])
    radii = rng.uniform(7.0, 9.0, 2)  # pixels, in the middle slice
    centre_y, centre_x = 15.5 + drift * np.sin(angle) * z, 15.5 + drift * np.cos(angle) * z
    scale = 1.0 + taper * z
    distance = np.hypot((y - centre_y) / radii[0], (x - centre_x) / radii[1]) - scale
    inside = 1.0 / (1.0 + np.exp(distance * 8.0))
    return (-0.8 + (brightness + 0.8) * inside).astype(np.float32)


def samples(config, seed):
    """The training samples of the toy volumes, drawn as the method draws its slabs."""
    volumes = [toy_volume(case) for case in range(CASES)]

    def read(index):
        start, chosen = draw_slab(seed, index, SHAPE[0], config.slab_length, config.slices_per_slab)
        volume = volumes[shuffled(seed, index, CASES)]
        return {"slab": volume[start - 1 : start + config.slab_length + 1], "start": start, "chosen": chosen}

    slab = ((config.slab_length + 2, *SHAPE[1:]), "float32")
    spec = {"slab": slab, "start": ((), "int32"), "chosen": ((config.slices_per_slab,), "int32")}
    return Samples(read, spec, BATCH * config.critic_steps)


def train(seed, steps, **changes):
    """A CTSGAN trained for `steps` steps on the toy volumes."""
    keras.utils.set_random_seed(seed)
    config = Config(**NETWORKS | changes)
    model = CTSGAN(config, seed=seed, per_step=BATCH * config.critic_steps)
    step = tf.function(model.train_step)
    for batch in samples(config, seed).batches(0, steps):
        step(batch)
    return model


def generated(model, count=32):
    """`count` generated volumes `(count, *SHAPE)`."""
    return np.stack([model.sample(seed=0, index=i) for i in range(count)])


def real(count=32):
    """`count` toy volumes that were not trained on."""
    return np.stack([toy_volume(CASES + i) for i in range(count)])


def roughness(volumes):
    """Mean |v[k + 1] - v[k]| over voxels and volumes, in units of the data's range of 2."""
    return float(np.abs(np.diff(volumes, axis=1)).mean())


def brightness(volumes):
    """Brightness of each slice `(volumes, slices)`: the mean of its 20 brightest pixels."""
    flat = np.sort(volumes.reshape(*volumes.shape[:2], -1), axis=2)
    return flat[..., -20:].mean(axis=2)


def brightness_spreads(volumes):
    """(within, between): standard deviation of brightness over a volume's slices, and of its mean over volumes."""
    values = brightness(volumes)
    return float(values.std(axis=1).mean()), float(values.mean(axis=1).std())


def row(name, seed, volumes, truth, seconds=0.0):
    """One printed line of the table."""
    moved, (within, between) = roughness(volumes), brightness_spreads(volumes)
    cells = [name, str(seed), f"{moved:.4f}", f"{moved / roughness(truth):.2f}"]
    cells += [f"{within:.3f}", f"{between:.3f}", f"{within / between:.2f}", f"{seconds:.0f}"]
    print("| " + " | ".join(cells) + " |", flush=True)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    truth = real()
    print("| volumes | seed | mean step | ratio to real | within | between | within / between | seconds |")
    print("|" + 8 * "---|")
    row("real", "-", truth, truth)
    for seed in options.seeds:
        for name, changes in (("CT-SGAN", {}), ("ablation", ABLATION)):
            begun = time.perf_counter()
            volumes = generated(train(seed, options.steps, **changes))
            row(name, seed, volumes, truth, time.perf_counter() - begun)


if __name__ == "__main__":
    main()
