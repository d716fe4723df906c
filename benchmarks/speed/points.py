"""Heatmaps of points and their decoding, beside what one would write first.

Run: python -m benchmarks.speed.points [--rounds 20]

Rendering: 12 points in each of 8 maps of 288 x 512, sigma 2, in a graph; the other side is a numpy loop that adds up
whole Gaussians by maximum. Decoding: local maxima of 64 such maps; the other side is scipy's maximum_filter, then label
and centres of mass. Both sides find the same.
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import argparse

import numpy as np
import scipy.ndimage
import tensorflow as tf

from benchmarks.support.turns import in_turn, report
from tfmed.ops.heatmaps import peaks, render

SIZE, SIGMA = (288, 512), 2.0


def loop(points):
    """Whole Gaussians, one after another."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    maps = np.zeros((len(points), *SIZE), np.float32)
    for heatmap, here in zip(maps, points, strict=True):
        for px, py in here:
            np.maximum(heatmap, np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * SIGMA**2)), out=heatmap)
    return maps


def filtered(heatmap, threshold=0.5):
    """Centres of the places that a maximum filter leaves as they are."""
    found = (scipy.ndimage.maximum_filter(heatmap, 3) == heatmap) & (heatmap > threshold)
    parts, count = scipy.ndimage.label(found)
    return np.array(scipy.ndimage.center_of_mass(found, parts, range(1, count + 1)))[:, ::-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    points = np.random.default_rng(0).uniform([5, 5], [506, 282], (8, 12, 2)).astype(np.float32)
    graph = tf.function(lambda p: render(p, SIZE, SIGMA))
    times, made = in_turn({"loop": lambda: loop(points), "render": lambda: graph(points).numpy()[..., 0]}, rounds)
    print("largest difference", float(np.abs(made["loop"] - made["render"]).max()))
    report("numpy loop", times["loop"])
    report("render", times["render"], times["loop"], "loop")
    many = [one + np.float32(1e-4) * np.random.default_rng(k).random(SIZE, np.float32)
            for k, one in enumerate(np.tile(made["render"], (8, 1, 1)))]  # fmt: skip
    times, made = in_turn(
        {"scipy": lambda: [filtered(one) for one in many], "peaks": lambda: [peaks(one) for one in many]}, rounds
    )
    same = all(
        sorted(map(tuple, a)) == sorted(map(tuple, b)) for a, b in zip(made["scipy"], made["peaks"], strict=True)
    )
    print("the same points:", same)
    report("maximum_filter, label", times["scipy"])
    report("peaks", times["peaks"], times["scipy"])


if __name__ == "__main__":
    main()
