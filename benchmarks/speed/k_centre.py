"""A core set of 1,000 out of 10,000 embeddings of 512 numbers, beside code on scikit-learn's pairwise distances.

Run: python -m benchmarks.speed.k_centre [--rounds 3] [--count 1000] [--cases 10000] [--size 512] [--whole]

Here: `data.acquisition.cases.core_set`, which compares the thousand farthest cases with each new centre. Other
side: one call of `pairwise_distances` per centre, and the minimum of what is known and what is new. With `--whole` also
the matrix of all distances at once, which is what one would write first. Both have 1,000 labelled cases to be far from,
and choose the same cases. The embeddings are 20 clouds, as a network makes them of classes, or one (`--clouds 1`).
Memory is the greatest that one run of a side holds beyond the embeddings, by tracemalloc.
"""

import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN

import argparse
import tracemalloc

import numpy as np
from sklearn.metrics import pairwise_distances, pairwise_distances_argmin_min

from benchmarks.support.turns import in_turn, report
from tfmed.data.acquisition.cases import core_set


def pairwise(points, labelled, count):
    """One row of distances for each new centre."""
    free = np.flatnonzero(~labelled)
    least = pairwise_distances_argmin_min(points[free], points[labelled])[1]
    chosen = []
    for _ in range(count):
        chosen.append(int(least.argmax()))
        least = np.minimum(least, pairwise_distances(points[free], points[free[chosen[-1]]][None])[:, 0])
        least[chosen] = -np.inf
    return free[chosen]


def whole(points, labelled, count):
    """All distances first."""
    free = np.flatnonzero(~labelled)
    least, away = pairwise_distances(points[free], points[labelled]).min(1), pairwise_distances(points[free])
    chosen = []
    for _ in range(count):
        chosen.append(int(least.argmax()))
        least = np.minimum(least, away[chosen[-1]])
        least[chosen] = -np.inf
    return free[chosen]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--clouds", type=int, default=20)
    parser.add_argument("--whole", action="store_true", help="also the matrix of all distances")
    words = parser.parse_args()
    draw = np.random.default_rng(0)
    centres = 2 * draw.normal(size=(words.clouds, words.size))
    points = centres[draw.integers(words.clouds, size=words.cases)] + draw.normal(size=(words.cases, words.size))
    points = points.astype(np.float32)
    labelled = np.arange(words.cases) < words.cases // 10
    sides = {"one centre at a time": lambda: pairwise(points, labelled, words.count)}
    if words.whole:
        sides["all distances"] = lambda: whole(points, labelled, words.count)
    sides["core_set"] = lambda: core_set(labelled, points, words.count)
    times, made = in_turn(sides, words.rounds)
    for name, chosen in made.items():
        print(f"{name}: {len(np.intersect1d(chosen, made['core_set']))} of {words.count} cases are those of core_set")
        tracemalloc.start()
        sides[name]()
        print(f"{name}: {tracemalloc.get_traced_memory()[1] / 2**20:.0f} MiB")
        tracemalloc.stop()
    for name in list(times)[:-1]:
        report(name, times[name])
    for name in list(times)[:-1]:
        report("core_set", times["core_set"], times[name], name)


if __name__ == "__main__":
    main()
