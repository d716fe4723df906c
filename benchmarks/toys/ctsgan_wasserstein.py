"""What of CT-SGAN's Wasserstein settings learns on toy volumes, and what does not: one thing changed at a time.

Run: python -m benchmarks.toys.ctsgan_wasserstein [NAME ...] [--seeds 0 1] [--steps 300]

The volumes and networks are those of `benchmarks.toys.ctsgan`. Rows begin from one of two settings: `CARD`, the
defaults of the method (Wasserstein, R1 with weight 10, sum, Adam(1e-4, 0, 0.9)), and `TOY`, with which the
Jensen-Shannon loss learns these volumes. Besides movement and brightness a row tells how the slab critic's slope at
generated slabs compares with that at real ones, where alone R1 holds it.
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import argparse
import time

import numpy as np
import tensorflow as tf

from benchmarks.toys import ctsgan as toy
from tfmed.losses.adversarial import squared_gradient_norm

CARD = dict(loss="wasserstein", gp_weight=10.0, slice_reduction="sum", learning_rate=1e-4, beta_2=0.9, ema_decay=0.0)
TOY = dict(loss="wasserstein")
FAST = CARD | {"learning_rate": 1e-3}

EXPERIMENTS = {  # name: (settings, why)
    "card": (CARD, "the defaults"),
    "card, rate 1e-3": (FAST, "300 steps of 1e-4 move a weight by 0.03 at most"),
    "card, gamma 1": (CARD | {"gp_weight": 1.0}, "is the penalty too strong?"),
    "card, gamma 0.01": (CARD | {"gp_weight": 0.01}, "as if squared slopes were averaged over voxels, not summed"),
    "fast, beta2 0.99": (FAST | {"beta_2": 0.99}, "Adam's scale over 100 steps, not 10: gradients here grow and fall"),
    "fast, gamma 100": (FAST | {"gp_weight": 100.0}, "the other way: a critic that stays flatter"),
    "fast, mean": (FAST | {"slice_reduction": "mean"}, "the slice critic weighs 8 times the slab critic in the sum"),
    "fast, 5 critic steps": (FAST | {"critic_steps": 5}, "a Wasserstein critic has to be near its optimum"),
    "fast, WGAN-GP": (FAST | {"gp": "wgan-gp"}, "a penalty that bounds the slope between real and generated, too"),
    "fast, JS": (FAST | {"loss": "js"}, "is it the loss?"),
    "toy, Wasserstein": (TOY, "the loss alone, in settings that learn with the other"),
    "toy, 5 critic steps": (TOY | {"critic_steps": 5}, "both: what the other rows say is missing"),
    "toy, JS": ({"loss": "js"}, "the reference"),
}


def slopes(model, seed):
    """(at real slabs, at generated ones): root mean square of the slab critic's gradient, its Euclidean norm."""
    batch = next(iter(toy.samples(model.config, seed + 1000).batches(0, 1)))
    real = tf.convert_to_tensor(batch["slab"])[:, 1:-1, ..., None]  # without the two neighbours
    fake = model.generate_slab(batch, 99)[..., 1, None]  # the middle one of three slices
    return [float(np.sqrt(np.mean(squared_gradient_norm(model.judge_slab, x)))) for x in (real, fake)]


def row(name, seed, volumes, truth, extra=("", "")):
    """One printed line of the table."""
    within, between = toy.brightness_spreads(volumes)
    off = np.abs(volumes.mean(0) - truth.mean(0)).mean()
    cells = [f"{toy.roughness(volumes) / toy.roughness(truth):.2f}", f"{within:.4f}", f"{between:.4f}", f"{off:.3f}"]
    print("| " + " | ".join([name, str(seed), *cells, *extra]) + " |", flush=True)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(EXPERIMENTS), metavar="NAME", help=", ".join(EXPERIMENTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=toy.STEPS)
    options = parser.parse_args()
    if unknown := set(options.names) - set(EXPERIMENTS):
        parser.error(f"no experiment {min(unknown)!r}; choose of {', '.join(EXPERIMENTS)}")
    truth = toy.real()
    print(
        "| settings | seed | movement / real | within | between | mean volume off by | slopes real, generated | CPU s |"
    )
    print("|" + 8 * "---|")
    row("real, held out", "-", truth, truth)
    row("real, trained on", "-", np.stack([toy.toy_volume(k) for k in range(toy.CASES)]), truth)
    for name in options.names:
        for seed in options.seeds:
            begun = time.process_time()
            model = toy.train(seed, options.steps, **EXPERIMENTS[name][0])
            volumes = toy.generated(model)
            found = ", ".join(f"{slope:.3g}" for slope in slopes(model, seed))
            row(name, seed, volumes, truth, (found, f"{time.process_time() - begun:.0f}"))


if __name__ == "__main__":
    main()
