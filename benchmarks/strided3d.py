"""Strided and transposed 3-D convolutions over blocks (`tfmed.nn.strided3d`) against Keras' own layers.

A forward pass and the gradients of kernel and input, as a training step has them; the median of several repetitions in
turn, and the ratio with its quartiles.

    python benchmarks/strided3d.py [--repeats N]
"""

import argparse
import time

import keras
import numpy as np
import tensorflow as tf

from tfmed.nn.strided3d import StridedConv3D, StridedConv3DTranspose

CASES = {
    "conv 3, 1 -> 8, 40^3, batch 8": (StridedConv3D(8, 3, 2, "same"), keras.layers.Conv3D(8, 3, 2, "same"), 8, 40, 1),
    "conv 4, 1 -> 16, 32^3": (StridedConv3D(16, 4, 2, "same"), keras.layers.Conv3D(16, 4, 2, "same"), 4, 32, 1),
    "conv 4, 16 -> 32, 16^3": (StridedConv3D(32, 4, 2, "same"), keras.layers.Conv3D(32, 4, 2, "same"), 4, 16, 16),
    "conv 4, 64 -> 128, 16^3": (StridedConv3D(128, 4, 2, "same"), keras.layers.Conv3D(128, 4, 2, "same"), 4, 16, 64),
    "up 4, 16 -> 1, 16^3": (StridedConv3DTranspose(1), keras.layers.Conv3DTranspose(1, 4, 2, "same"), 4, 16, 16),
    "up 4, 64 -> 32, 8^3": (StridedConv3DTranspose(32), keras.layers.Conv3DTranspose(32, 4, 2, "same"), 4, 8, 64),
    "conv 2, 16 -> 32, 32^3": (StridedConv3D(32, 2, 2), keras.layers.Conv3D(32, 2, 2), 2, 32, 16),
    "up 2, 32 -> 16, 16^3": (StridedConv3DTranspose(16, 2, 2), keras.layers.Conv3DTranspose(16, 2, 2), 2, 16, 32),
    "up 2, 64 -> 32, 32^3": (StridedConv3DTranspose(32, 2, 2), keras.layers.Conv3DTranspose(32, 2, 2), 1, 32, 64),
    "up 2, 256 -> 128, 16^3": (StridedConv3DTranspose(128, 2, 2), keras.layers.Conv3DTranspose(128, 2, 2), 1, 16, 256),
}


def step(layer):
    """A function of a batch that gives all gradients of a layer."""

    @tf.function
    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.square(layer(x)))
        return tape.gradient(loss, [x, *layer.trainable_variables])

    return gradients


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    print(f"{'layer':32s} {'blocks, ms':>11s} {'Keras, ms':>11s} {'ratio (quartiles)':>22s}")
    for name, (ours, theirs, batch, side, channels) in CASES.items():
        x = tf.random.normal((batch, side, side, side, channels))
        steps, seconds = [step(ours), step(theirs)], ([], [])
        for run in steps:
            run(x)
        for _ in range(repeats):
            for run, times in zip(steps, seconds, strict=True):
                start = time.perf_counter()
                [value.numpy() for value in run(x)]
                times.append(time.perf_counter() - start)
        a, b = (np.array(times) * 1e3 for times in seconds)
        low, middle, high = np.quantile(b / a, (0.25, 0.5, 0.75))
        spread = f"{middle:9.1f} ({low:.1f} .. {high:.1f})"
        print(f"{name:32s} {np.median(a):11.1f} {np.median(b):11.1f} {spread}", flush=True)


if __name__ == "__main__":
    main()
