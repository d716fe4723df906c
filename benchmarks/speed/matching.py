"""Matching the cells of two images: tfmed.data.matching against the graph matchers of pygmtools, on the CPU.

Run it from a checkout, with pygmtools beside tfmed: `python -m benchmarks.speed.matching [--sides 6 11] [--rounds 3]`.

The cells are lattices of side x side (jittered, 9 px residual shift, 8 % of the cells dropped at each visit, features
with noise of 2.5 times their signal). Every side gets the same features' costs and pair terms in float64. pygmtools is
timed from its affinity matrix on, which is made before the clock starts; tfmed from points and features, candidates and
graph included. pygmtools' results become one-to-one by its Hungarian method; what is no candidate is left out. Sides
take turns, with the same lattice in each round; before the rounds each has run once on a small lattice. Printed are
medians of processor time (all threads) with their range, the ratio to tfmed, precision and recall of the matches, and
the size of the affinity matrix, which pygmtools holds whole.
"""

import argparse
import time

import numpy as np
import pygmtools

from benchmarks.support.tables import spread
from tfmed.data import matching


def lattice(seed, side, spacing=30.0, shift=9.0, dropped=0.08):
    """(points, features, kept cells), each a list of both visits."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((side, side)).reshape(2, -1)
    first = spacing * np.stack([0.75**0.5 * y, x + 0.5 * (y % 2)], axis=1) + rng.normal(0, 3, (side**2, 2))
    angle = rng.uniform(0, 2 * np.pi)
    second = first + shift * np.array([np.sin(angle), np.cos(angle)]) + rng.normal(0, 2, first.shape)
    signal = rng.standard_normal((side**2, 32))
    kept = [rng.permutation(np.flatnonzero(rng.random(side**2) >= dropped)) for _ in range(2)]
    features = [signal[which] + 2.5 * rng.standard_normal((len(which), 32)) for which in kept]
    return [points[which] for points, which in zip((first, second), kept, strict=True)], features, kept


def affinity(points, features):
    """(candidates, affinity matrix as pygmtools lays it out: cells of the first image run fastest)."""
    found = matching.candidates(*points)
    pairs = matching.supports(found, *map(matching.mutual_neighbours, points))
    place = found[:, 1] * len(points[0]) + found[:, 0]
    total = len(points[0]) * len(points[1])
    matrix = np.zeros((total, total))
    matrix[place, place] = np.exp(-matching.feature_costs(*features, found))
    likeness = np.exp(-matching.pair_terms(*points, found, pairs))
    for a, b in (pairs.T, pairs.T[::-1]):
        matrix[place[a], place[b]] = likeness
    return found, matrix


def ours(points, features, found, matrix):
    """Pairs of indices by tfmed, from points and features."""
    return matching.match(*points, features).pairs


def by_pygmtools(solver):
    """Pairs of indices by a solver of pygmtools, from the affinity matrix."""

    def solve(points, features, found, matrix):
        soft = solver(matrix, n1=len(points[0]), n2=len(points[1]), backend="numpy")
        chosen = np.argwhere(pygmtools.hungarian(soft, backend="numpy") > 0)
        known = {tuple(pair) for pair in found}
        return np.array([pair for pair in chosen if tuple(pair) in known]).reshape(-1, 2)

    return solve


SIDES = {"tfmed": ours, "pygmtools RRWM": by_pygmtools(pygmtools.rrwm), "pygmtools IPFP": by_pygmtools(pygmtools.ipfp)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[6, 11])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    warm = lattice(0, 4)
    for solve in SIDES.values():
        solve(*warm[:2], *affinity(*warm[:2]))
    print("| cells | side | CPU ms | side / tfmed | precision | recall | affinity MiB |\n|---|---|---|---|---|---|---|")
    for side in arguments.sides:
        rows = {name: [] for name in SIDES}
        for seed in range(arguments.rounds):
            points, features, kept = lattice(seed, side)
            found, matrix = affinity(points, features)
            common = len(np.intersect1d(*kept))
            for name, solve in SIDES.items():
                start = time.process_time()
                pairs = solve(points, features, found, matrix)
                taken = 1e3 * (time.process_time() - start)
                right = np.count_nonzero(kept[0][pairs[:, 0]] == kept[1][pairs[:, 1]])
                rows[name].append((taken, right / max(1, len(pairs)), right / common))
        for name, values in rows.items():
            taken, precision, recall = zip(*values, strict=True)
            ratio = [t / other[0] for t, other in zip(taken, rows["tfmed"], strict=True)]
            print(f"| {side**2} | {name} | {spread(taken, 1)} | {spread(ratio, 1)} | {np.mean(precision):.3f} "
                  f"| {np.mean(recall):.3f} | {matrix.nbytes / 2**20:.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
