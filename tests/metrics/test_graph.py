"""Graph measures against hand cases, networkx and the definitions written out; distances of sets of graphs."""

import itertools

import networkx
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.peers import graph_measures as peers
from tfmed.metrics import graph
from tfmed.metrics.generative import mmd

pytestmark = pytest.mark.current


def weighted(regions, seed, density=0.5):
    return peers.random_graph(regions, density, seed)


def paths(matrix):
    """{(i, j): length} of the shortest paths, by networkx."""
    found = networkx.all_pairs_dijkstra_path_length(peers.as_networkx(matrix), weight="length")
    return {(i, j): length for i, row in found for j, length in row.items()}


def brute_global(matrix):
    n = len(matrix)
    return sum(1.0 / d for (i, j), d in paths(matrix).items() if i != j) / (n * (n - 1))


def brute_local(matrix):
    found = []
    for row in matrix:
        near = np.flatnonzero(row)
        lengths = paths(matrix[np.ix_(near, near)])
        total = sum(
            (row[near[j]] * row[near[h]] / lengths[j, h]) ** (1 / 3)
            for j, h in itertools.permutations(range(len(near)), 2)
            if (j, h) in lengths
        )
        found.append(total / (len(near) * (len(near) - 1)) if len(near) > 1 else 0.0)
    return found


def test_hand_cases():
    complete = np.ones((1, 5, 5)) - np.eye(5)
    star = np.zeros((1, 5, 5))
    star[0, 0, 1:] = star[0, 1:, 0] = 1
    assert graph.global_efficiency(complete)[0] == pytest.approx(1)
    np.testing.assert_allclose(graph.local_efficiency(complete), 1)
    np.testing.assert_array_equal(graph.local_efficiency(star), 0)
    assert graph.global_efficiency(star)[0] == pytest.approx((4 * 2 + 12 * 0.5) / 20)
    np.testing.assert_array_equal(graph.node_strength(star)[0], [4, 1, 1, 1, 1])
    for measure in graph.MEASURES.values():
        np.testing.assert_array_equal(measure(np.zeros((2, 4, 4))), 0)


@pytest.mark.parametrize("density", [0.15, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_efficiencies_are_their_definitions(seed, density):
    matrix = weighted(12, seed, density)
    assert graph.global_efficiency(matrix[None])[0] == pytest.approx(brute_global(matrix), rel=1e-9)
    np.testing.assert_allclose(graph.local_efficiency(matrix[None])[0], brute_local(matrix), rtol=1e-9)


@given(st.integers(0, 10**6), st.floats(0.1, 10))
@settings(max_examples=20)
def test_order_of_regions_and_scale(seed, factor):
    """Regions may be renamed; twice the weights are twice the efficiency."""
    matrix = weighted(9, seed)
    order = np.random.default_rng(seed).permutation(9)
    for name, measure in graph.MEASURES.items():
        ours, scaled = measure(matrix[None]), measure(factor * matrix[None])
        np.testing.assert_allclose(scaled, factor * ours, rtol=1e-9)
        if name in ("node strength", "local efficiency"):
            np.testing.assert_allclose(measure(matrix[None][:, order][:, :, order])[0], ours[0, order], rtol=1e-9)


def test_diagonals_do_not_count():
    matrix = weighted(8, 0)
    for measure in graph.MEASURES.values():
        np.testing.assert_array_equal(measure((matrix + np.eye(8))[None]), measure(matrix[None]))


def test_similarity_is_the_divergence_of_the_reference_from_what_is_judged():
    """KL(reference || generated), as scipy has it: with the sets in each other's place it is another number."""
    draw = np.random.default_rng(0)
    ours, theirs = (np.triu(draw.beta(a, 2, (20, 6, 6)), 1) for a in (2, 5))
    ours, theirs = (one + np.swapaxes(one, 1, 2) for one in (ours, theirs))
    q, p = (np.ravel(graph.MEASURES["edge weight"](one)) for one in (ours, theirs))
    span = min(p.min(), q.min()), max(p.max(), q.max())
    p, q = (np.histogram(values, 50, span)[0] / len(values) + 1e-10 for values in (p, q))
    found = graph.similarity(ours, theirs)["edge weight"].kl
    assert found == pytest.approx(scipy.stats.entropy(p, q), rel=1e-6)
    assert abs(found - scipy.stats.entropy(q, p)) > 0.1


def test_histogram_kl():
    draw = np.random.default_rng(0)
    values = draw.random(1000)
    assert graph.histogram_kl(values, values) == pytest.approx(0, abs=1e-12)
    p, q = np.repeat([0.0, 1.0], [30, 70]), np.repeat([0.0, 1.0], [50, 50])
    assert graph.histogram_kl(q, p, bins=2) == pytest.approx(0.3 * np.log(0.6) + 0.7 * np.log(1.4), abs=1e-6)
    with pytest.raises(ValueError, match="at least one value"):
        graph.histogram_kl([], values)


def test_histogram_mmd_is_the_mmd_of_the_numbers():
    """Against all pairs; a bin is a thousandth of the range, by which the median distance may be off."""
    draw = np.random.default_rng(0)
    for q, p in (
        (draw.normal(0, 1, 400), draw.normal(0.5, 2, 300)),
        (draw.exponential(1, 300), draw.exponential(3, 400)),
        (np.zeros(30), np.r_[np.zeros(20), draw.random(10)]),  # most alike
    ):
        expected = mmd(q[:, None], p[:, None], biased=True)
        assert expected > 0.01 and graph.histogram_mmd(q, p) == pytest.approx(expected, rel=0.02)
        assert graph.histogram_mmd(q, q) == pytest.approx(0, abs=1e-12)
    assert graph.histogram_mmd(np.full(9, 0.1 + 0.2), np.full(7, 0.3)) == 0
    assert graph.histogram_mmd(draw.random(10**6), draw.random(10**6)) < 1e-5  # no matrix of 10^12 pairs


def test_similarity_is_zero_for_one_set_and_grows():
    ours = np.stack([weighted(8, seed) for seed in range(10)])
    same, other = graph.similarity(ours, ours), graph.similarity(0.5 * ours, ours)
    for name in graph.MEASURES:
        assert same[name] == pytest.approx((0, 0, 0), abs=1e-9)
        assert other[name].kl > 0.1 and other[name].mmd > 0.01 and other[name].graph_mmd > 0.01


@pytest.mark.parametrize("matrices, message", [
    (np.zeros((3, 3)), r"\(n, d, d\)"), (np.zeros((2, 3, 4)), r"\(n, d, d\)"), (-np.ones((1, 3, 3)), "weights from 0"),
    (np.full((1, 3, 3), np.nan), "finite"),
])  # fmt: skip
def test_wrong_graphs(matrices, message):
    with pytest.raises(ValueError, match=message):
        graph.node_strength(matrices)


def test_a_constant_measure_is_not_apart():
    """Trees have no triangles: their local efficiency is 0 in both sets, and no bandwidth can be had from that."""
    trees = np.zeros((6, 5, 5))
    trees[:, 0, 1:] = trees[:, 1:, 0] = np.linspace(0.1, 0.9, 24).reshape(6, 4)
    found = graph.similarity(trees[:3], trees[3:])
    assert found["local efficiency"] == (0, 0, 0) and min(found["edge weight"]) > 0
    rounded = np.full(10, 0.1 + 0.2), np.full(10, 0.3)
    assert graph.histogram_kl(*rounded) == 0
    full = np.ones((3, 4, 4))
    assert set(graph.similarity(full, full[:2]).values()) == {(0, 0, 0)}


def test_a_collapsed_set_is_apart():
    """Most pairs of samples are alike, so that the median distance is 0: that of the other pairs is taken."""
    one, many = np.stack([weighted(6, 0)] * 12), np.stack([weighted(6, seed) for seed in range(3)])
    for apart in graph.similarity(one, many).values():
        assert np.isfinite(apart).all() and apart.graph_mmd > 0.1
