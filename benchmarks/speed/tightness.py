"""The tightness loss of `tfmed.losses.constraints` against a loop over stripes.

Run: python -m benchmarks.speed.tightness [--rounds 15] [--slices 8] [--side 256] [--width 5]

All sides give the loss of a batch of slices with one box each, and its gradient. The loop is written as the loss is
usually told: for each slice and each stripe of its box, cut the stripe out, sum it, and add its barrier; eagerly, since
boxes differ from batch to batch, and a graph of it would be traced again for each. Another side sums stripes with a
stack of masks, one of the whole slice per stripe. Sides take turns in one process; the table gives medians (fastest -
slowest) of milliseconds and the ratio of each round (median, quartiles).
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import argparse
import time

import numpy as np
import tensorflow as tf

from benchmarks.support.tables import ratios, spread
from tfmed.losses import constraints

T = 5.0


def data(slices, side, rng):
    """(probabilities, boxes) of a batch; boxes of a quarter to three quarters of a side."""
    sides = rng.integers(side // 4, 3 * side // 4, (slices, 2))
    first = rng.integers(0, side - sides)
    boxes = np.stack([first, first + sides], -1).reshape(slices, 1, 4)
    return tf.constant(rng.random((slices, side, side)), tf.float32), tf.constant(boxes, tf.int32)


def looped(probabilities, boxes, width):
    """Per sample, stripe by stripe."""
    found = []
    for p, (y0, y1, x0, x1) in zip(tf.unstack(probabilities), boxes[:, 0].numpy().tolist(), strict=True):
        terms = []
        for y in range(y0, y1, width):
            stripe = p[y : min(y + width, y1), x0:x1]
            terms.append(constraints.extended_log_barrier(stripe.shape[0] - tf.reduce_sum(stripe), T))
        for x in range(x0, x1, width):
            stripe = p[y0:y1, x : min(x + width, x1)]
            terms.append(constraints.extended_log_barrier(stripe.shape[1] - tf.reduce_sum(stripe), T))
        found.append(tf.add_n(terms))
    return tf.stack(found)


def masked(probabilities, boxes, width):
    """Per sample, by a stack of masks."""
    found = []
    for p, (y0, y1, x0, x1) in zip(tf.unstack(probabilities), boxes[:, 0].numpy().tolist(), strict=True):
        rows, columns = range(y0, y1, width), range(x0, x1, width)
        masks = np.zeros((len(rows) + len(columns), *p.shape), np.float32)
        least = [min(width, y1 - y) for y in rows] + [min(width, x1 - x) for x in columns]
        for mask, y in zip(masks, rows, strict=False):
            mask[y : min(y + width, y1), x0:x1] = 1
        for mask, x in zip(masks[len(rows) :], columns, strict=True):
            mask[y0:y1, x : min(x + width, x1)] = 1
        z = np.array(least, np.float32) - tf.reduce_sum(masks * p, (1, 2))
        found.append(tf.reduce_sum(constraints.extended_log_barrier(z, T)))
    return tf.stack(found)


def with_gradient(loss):
    """The loss's sum and gradient, as a function of (probabilities, boxes)."""

    def both(probabilities, boxes):
        with tf.GradientTape() as tape:
            tape.watch(probabilities)
            value = tf.reduce_sum(loss(probabilities, boxes))
        return value, tape.gradient(value, probabilities)

    return both


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("rounds", 15), ("slices", 8), ("side", 256), ("width", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    o = parser.parse_args()
    ours = with_gradient(lambda p, b: constraints.tightness(p, b, T, o.width))
    sides = {
        "tfmed": tf.function(ours, autograph=False),
        "tfmed, without a graph": ours,
        "loop over stripes": with_gradient(lambda p, b: looped(p, b, o.width)),
        "stack of masks": with_gradient(lambda p, b: masked(p, b, o.width)),
    }
    rng = np.random.default_rng(0)
    taken = {name: [] for name in sides}
    for number in range(o.rounds + 1):
        batch, values = data(o.slices, o.side, rng), {}
        for name, side in sides.items():
            begun = time.perf_counter()
            value, slope = side(*batch)
            values[name] = float(value), slope.numpy()
            if number:  # the first round traces
                taken[name].append(1e3 * (time.perf_counter() - begun))
        for value, slope in values.values():
            np.testing.assert_allclose(value, values["tfmed"][0], rtol=1e-3)
            np.testing.assert_allclose(slope, values["tfmed"][1], rtol=1e-3, atol=1e-4)
    print(f"{o.slices} slices of {o.side} x {o.side}, stripes of {o.width}; {o.rounds} rounds, loss and gradient\n")
    print("| side | ms | times tfmed's (quartiles) |\n|---|---|---|")
    for name, times in taken.items():
        print(f"| {name} | {spread(times, 1)} | {ratios(times, taken['tfmed'], 1)} |")


if __name__ == "__main__":
    main()
