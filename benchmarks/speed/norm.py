"""Instance norm: our layer against Keras' own, as graphs of the forward pass with all gradients.

Run: python -m benchmarks.speed.norm [--rounds 15]

Prints for each size the operations of the graph, seconds of processor time to make it, and milliseconds to run it:
median (range) of rounds in turn. Outputs and gradients must agree.
"""

import argparse
import statistics
import time

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import keras
import numpy as np
import tensorflow as tf

from tfmed.compat import tensor_variable
from tfmed.nn.instance_norm import InstanceNorm

SHAPES = ((1, 64, 64, 64, 16), (2, 32, 64, 64, 16), (4, 8, 32, 32, 8), (8, 16, 16, 64), (1, 256, 256, 64))


def graph(layer, images):
    """(compiled function: output, gradients of everything; seconds that its making took)."""
    layer.build(images.shape)
    weights = [tensor_variable(v) for v in layer.trainable_variables]

    @tf.function(autograph=False)
    def both_ways(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            made = layer(x)
            loss = tf.reduce_sum(tf.square(made) * tf.cos(made))
        return made, *tape.gradient(loss, [x, *weights])

    begun = time.process_time()
    return both_ways.get_concrete_function(images), time.process_time() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print("| size | layer | operations | making, s | running, ms |\n|---|---|---|---|---|")
    for shape in SHAPES:
        images = 1 + 2 * tf.random.stateless_normal(shape, (0, 0))
        layers = {"Keras": keras.layers.GroupNormalization(groups=-1, epsilon=1e-5),
                  "tfmed": InstanceNorm(epsilon=1e-5)}  # fmt: skip
        graphs = {name: graph(layer, images) for name, layer in layers.items()}
        for one, other in zip(*(made(images) for made, _ in graphs.values()), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3 * float(tf.reduce_max(tf.abs(one))))
        taken = {name: [] for name in graphs}
        for _ in range(rounds):
            for name, (made, _) in graphs.items():
                begun = time.process_time()
                made(images)
                taken[name].append(1000 * (time.process_time() - begun))
        for name, (made, seconds) in graphs.items():
            count = len(made.graph.get_operations())
            spread = f"{statistics.median(taken[name]):.2f} ({min(taken[name]):.2f} - {max(taken[name]):.2f})"
            print(f"| {' x '.join(map(str, shape))} | {name} | {count} | {seconds:.2f} | {spread} |")


if __name__ == "__main__":
    main()
