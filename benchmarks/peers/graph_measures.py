"""Graph measures of connectomes: tfmed.metrics.graph against networkx, and bctpy where it is installed.

Run it from a checkout: `python -m benchmarks.peers.graph_measures [--regions 231] [--density 0.3] [--repeats 3]`.

Both sides get the same matrices, take turns in one process, and must agree to 1e-6 (of bctpy's two local efficiencies:
the "original"). The table gives medians of wall time (quartiles) and how many times less of it ours takes. `--data`
takes a folder of matrices (CSV or NPY) in place of random graphs; the first few are used.
"""

import argparse
import pathlib
import statistics
import time

import networkx
import numpy as np

from tfmed.io.connectome import read_connectome
from tfmed.metrics import graph

try:
    import bct
except ImportError:
    bct = None


def random_graph(regions, density, seed=0):
    """A symmetric matrix of weights in (0, 1), a share `density` of them not 0."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.uniform(0.05, 1, (regions, regions)) * (rng.random((regions, regions)) < density), 1)
    return upper + upper.T


def as_networkx(matrix):
    """The graph, whose edges have a `weight` and its inverse, a `length`."""
    found = networkx.from_numpy_array(matrix)
    for _, _, edge in found.edges(data=True):
        edge["length"] = 1.0 / edge["weight"]
    return found


def _inverse_distances(found):
    nodes = sorted(found)
    place = {node: i for i, node in enumerate(nodes)}
    inverse = np.zeros((len(nodes),) * 2)
    for node, lengths in networkx.all_pairs_dijkstra_path_length(found, weight="length"):
        for other, length in lengths.items():
            if other != node:
                inverse[place[node], place[other]] = 1.0 / length
    return inverse


def networkx_global(matrix):
    """Global efficiency with networkx' shortest paths."""
    return _inverse_distances(as_networkx(matrix)).sum() / (len(matrix) * (len(matrix) - 1))


def networkx_local(matrix):
    """Local efficiency of every region, likewise."""
    whole, efficiency = as_networkx(matrix), np.zeros(len(matrix))
    for i in range(len(matrix)):
        near = np.flatnonzero(matrix[i])
        if len(near) > 1:
            share = np.cbrt(matrix[i, near])
            inverse = np.cbrt(_inverse_distances(whole.subgraph(near.tolist())))
            efficiency[i] = share @ inverse @ share / (len(near) * (len(near) - 1))
    return efficiency


MEASURES = {
    "global efficiency": (lambda m: graph.global_efficiency(m[None])[0], networkx_global,
                          lambda m: bct.efficiency_wei(m)),
    "local efficiency": (lambda m: graph.local_efficiency(m[None])[0], networkx_local,
                         lambda m: bct.efficiency_wei(m, local="original")),
}  # fmt: skip


def timed(function, matrix):
    """(seconds, what the function gives)."""
    start = time.perf_counter()
    value = function(matrix)
    return time.perf_counter() - start, value


def shown(times):
    """Median and quartiles in ms."""
    low, middle, high = statistics.quantiles(times, n=4) if len(times) > 1 else (times[0],) * 3
    return f"{1e3 * middle:.3g} ({1e3 * low:.3g} - {1e3 * high:.3g})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--regions", type=int, default=231)
    parser.add_argument("--density", type=float, default=0.3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", help="folder of matrices")
    arguments = parser.parse_args()
    if arguments.data:
        files = sorted(path for path in pathlib.Path(arguments.data).rglob("*") if path.suffix in (".csv", ".npy"))
        matrices = [np.abs(np.nan_to_num(read_connectome(path))) for path in files[: arguments.repeats]]
        matrices = [np.triu(m, 1) + np.triu(m, 1).T for m in matrices]
    else:
        matrices = [random_graph(arguments.regions, arguments.density, seed) for seed in range(arguments.repeats)]
    density = np.mean([(m > 0).sum() / (len(m) * (len(m) - 1)) for m in matrices])
    print(f"{len(matrices)} graphs of {len(matrices[0])} regions, {density:.0%} of the edges; ms per graph")
    print("| measure | tfmed | peer | peer's | ratio |\n|---|---|---|---|---|")
    for name, (ours, *peers) in MEASURES.items():
        for peer, function in zip(("networkx", "bctpy"), peers, strict=True):
            if peer == "bctpy" and bct is None:
                continue
            ours(matrices[0])  # imports and buffers
            pairs = [(timed(ours, m), timed(function, m)) for m in matrices]
            for (_, value), (_, theirs) in pairs:
                np.testing.assert_allclose(value, theirs, rtol=1e-6, atol=1e-12)
            own, other = ([side[0] for side in column] for column in zip(*pairs, strict=True))
            ratio = statistics.median(b / a for a, b in zip(own, other, strict=True))
            print(f"| {name} | {shown(own)} | {peer} {shown(other)} | {ratio:.0f} |", flush=True)


if __name__ == "__main__":
    main()
