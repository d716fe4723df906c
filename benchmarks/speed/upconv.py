"""Transposed convolutions 4 x 4, stride 2, of small maps by Keras and by `tfmed.nn.upconv`, without and with gradients.

Run: python -m benchmarks.speed.upconv [--rounds 9]
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import argparse
import statistics
import time

import keras
import tensorflow as tf

from tfmed import compat
from tfmed.nn.upconv import Doubling4

CASES = ((1, 512, 512), (2, 1024, 512), (4, 1024, 512), (8, 1024, 512))  # side of the map, channels in, out


def passes(layer, x):
    """(forward pass, forward pass and all gradients), compiled."""
    weights = [compat.tensor_variable(v) for v in layer.trainable_variables]

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x) ** 2)
        return tape.gradient(loss, [x, *weights])

    return tf.function(lambda: layer(x)), gradients


def wall(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}, {rounds} rounds\n")
    print("| map | Keras, ms | tfmed, ms | ratio (range) | with gradients: Keras | tfmed | ratio (range) |")
    print("|---|---|---|---|---|---|---|")
    for side, channels, filters in CASES:
        x = tf.random.stateless_normal((1, side, side, channels), (0, 0))
        layers = keras.layers.Conv2DTranspose(filters, 4, 2, "same"), Doubling4(filters)
        for layer in layers:
            layer.build(x.shape)
        sides = [passes(layer, x) for layer in layers]
        row = f"| {side} x {side}, {channels} to {filters} |"
        for theirs, ours in zip(*sides, strict=True):
            theirs(), ours()
            times = [(wall(theirs), wall(ours)) for _ in range(rounds)]
            ratios = [a / b for a, b in times]
            middle = [1e3 * statistics.median(side) for side in zip(*times, strict=True)]
            row += (f" {middle[0]:.1f} | {middle[1]:.1f} | {statistics.median(ratios):.1f} "
                    f"({min(ratios):.1f} - {max(ratios):.1f}) |")  # fmt: skip
        print(row, flush=True)


if __name__ == "__main__":
    main()
