"""Elastic warp of a 96^3 volume at one dense grid, order 1: `tfmed.ops.warp` against `scipy.ndimage.map_coordinates`.

python -m benchmarks.speed.warp [--rounds 15] [--size 96]

The sides run in turn on the same image and the same grid; printed are medians (fastest - slowest), the ratio of each
round to scipy's, and the largest difference of the results. Drawing the grid, and the 2-D grid, are timed beside them.
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import argparse

import numpy as np
import tensorflow as tf
from scipy.ndimage import map_coordinates

from benchmarks.support.turns import in_turn, report
from tfmed.augment.paired import VolumePolicy, sample_grid
from tfmed.ops.warp import warp

ELASTIC = VolumePolicy(flip=None, shift=None, rotate=(-20, 20), scale=(0.9, 1.1), elastic=6.0)


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
    times, results = in_turn(sides, arguments.rounds)
    reference = times["scipy map_coordinates"]
    for name, values in times.items():
        compared = name.startswith("warp")
        report(name, values, reference if compared else None)
        if compared:
            print(f"{'':28s} largest difference {np.abs(results[name] - results['scipy map_coordinates']).max():.1e}")


if __name__ == "__main__":
    main()
