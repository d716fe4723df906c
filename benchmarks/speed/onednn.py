"""3-D convolutions with TensorFlow's oneDNN kernels and without: each side in processes of its own, in turn.

A forward pass and the gradient of its input. tfmed switches oneDNN on; TensorFlow's own default depends on the CPU.

    python -m benchmarks.speed.onednn [--repeats N]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

CASES = {  # -> (batch, side, channels, filters, kernel, stride, transposed)
    "conv 3, 16 -> 16, 32^3": (2, 32, 16, 16, 3, 1, False),
    "conv 3, stride 2, 1 -> 8, 40^3": (8, 40, 1, 8, 3, 2, False),
    "conv 4, stride 2, 16 -> 32, 16^3": (4, 16, 16, 32, 4, 2, False),
    "transposed 2, stride 2, 32 -> 16, 16^3": (2, 16, 32, 16, 2, 2, True),
    "transposed 4, stride 2, 64 -> 32, 8^3": (4, 8, 64, 32, 4, 2, True),
}


def measured():
    """{case: milliseconds}, with the kernels that this process' environment asks for."""
    import keras
    import tensorflow as tf

    found = {}
    for name, (batch, side, channels, filters, kernel, stride, transposed) in CASES.items():
        kind = keras.layers.Conv3DTranspose if transposed else keras.layers.Conv3D
        layer, x = kind(filters, kernel, stride, "same"), tf.random.normal((batch, side, side, side, channels))

        @tf.function
        def gradients(x, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(tf.square(layer(x)))
            return tape.gradient(loss, x), loss

        times = []
        for _ in range(4):
            start = time.perf_counter()
            [value.numpy() for value in gradients(x)]
            times.append(1e3 * (time.perf_counter() - start))
        found[name] = statistics.median(times[1:])
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measured()))
        return
    sides = {"1": [], "0": []}
    for _ in range(arguments.repeats):
        for side, found in sides.items():
            environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": side, "TF_CPP_MIN_LOG_LEVEL": "3"}
            words = [sys.executable, "-m", __spec__.name, "--measure"]
            done = subprocess.run(words, env=environment, capture_output=True, encoding="utf-8", check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    print("| layer | with oneDNN, ms | without, ms | ratio |\n|---|---|---|---|")
    for name in CASES:
        on, off = ([run[name] for run in sides[side]] for side in ("1", "0"))
        ratios = sorted(b / a for a, b in zip(on, off, strict=True))
        spread = f"{statistics.median(ratios):.3g} ({ratios[0]:.3g} - {ratios[-1]:.3g})"
        print(f"| {name} | {statistics.median(on):.3g} | {statistics.median(off):.3g} | {spread} |")


if __name__ == "__main__":
    main()
