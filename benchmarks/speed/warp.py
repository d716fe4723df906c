"""Elastic warp of a 96^3 volume at one dense grid, order 1: `tfmed.ops.warp` against `scipy.ndimage.map_coordinates`.

python -m benchmarks.speed.warp [--rounds 15] [--size 96]

The sides run in turn on the same image and the same grid; printed are medians (fastest - slowest), the ratio of each
round to scipy's, and the largest difference of the results. Drawing the grid, and the 2-D grid, are timed beside them.
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import argparse
import statistics
import time

import numpy as np
import tensorflow as tf
from scipy.ndimage import map_coordinates

from tfmed.augment.paired import VolumePolicy, sample_grid
from tfmed.ops.warp import warp

ELASTIC = VolumePolicy(flip=None, shift=None, rotate=(-20, 20), scale=(0.9, 1.1), elastic=6.0)


def seconds(function):
    begin = time.perf_counter()
    result = function()
    return time.perf_counter() - begin, result


def line(name, values, ratios=None):
    text = f"{name:24s} {1e3 * statistics.median(values):8.1f} ms ({1e3 * min(values):.1f} - {1e3 * max(values):.1f})"
    if ratios:
        text += f"   scipy / this {statistics.median(ratios):5.1f} ({min(ratios):.1f} - {max(ratios):.1f})"
    print(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--size", type=int, default=96)
    arguments = parser.parse_args()
    shape = (arguments.size,) * 3
    image = np.random.default_rng(0).random(shape, np.float32)
    grid = sample_grid(1, shape, ELASTIC)
    planes = np.ascontiguousarray(np.moveaxis(grid, -1, 0))
    images, grids = tf.constant(image[None, ..., None]), tf.constant(grid[None])
    plain = tf.function(lambda i, g: warp(i, g, 1, 0.0))
    compiled = tf.function(lambda i, g: warp(i, g, 1, 0.0, compiled=True))
    sides = {
        "scipy map_coordinates": lambda: map_coordinates(image, planes, order=1, mode="grid-constant"),
        "warp": lambda: plain(images, grids).numpy()[0, ..., 0],
        "warp, compiled": lambda: compiled(images, grids).numpy()[0, ..., 0],
        "sample_grid 3-D elastic": lambda: sample_grid(1, shape, ELASTIC),
        "sample_grid 224^2 strong": lambda: sample_grid(1, (224, 224), "strong"),
    }
    results = {name: side() for name, side in sides.items()}  # traces and compiles
    times = {name: [] for name in sides}
    for _ in range(arguments.rounds):
        for name, side in sides.items():
            times[name].append(seconds(side)[0])
    reference = times["scipy map_coordinates"]
    for name, values in times.items():
        compared = name.startswith("warp")
        line(name, values, [a / b for a, b in zip(reference, values, strict=True)] if compared else None)
        if compared:
            print(f"{'':24s} largest difference {np.abs(results[name] - results['scipy map_coordinates']).max():.1e}")


if __name__ == "__main__":
    main()
