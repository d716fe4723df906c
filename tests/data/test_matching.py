"""Matching of cells: closed forms, brute force over all one-to-one choices, lattices as in the study."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from tfmed.data import matching
from tfmed.data.matching import candidates, match, mutual_nearest, mutual_neighbours

pytestmark = pytest.mark.one_stack

SEEDS = st.integers(0, 2**31)


def lattice(seed, shift, drop, noise=2.0, jitter=3.0, side=11, spacing=30.0):
    """Points, features and kept cells of two visits of a jittered hexagonal lattice; the second visit is shuffled."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((side, side)).reshape(2, -1)
    first = spacing * np.stack([0.75**0.5 * y, x + 0.5 * (y % 2)], axis=1) + rng.normal(0, jitter, (side**2, 2))
    angle = rng.uniform(0, 2 * np.pi)
    second = first + shift * np.array([np.sin(angle), np.cos(angle)]) + rng.normal(0, noise, first.shape)
    signal = rng.standard_normal((side**2, 32))
    kept = [np.flatnonzero(rng.random(side**2) >= drop) for _ in range(2)]
    kept[1] = rng.permutation(kept[1])
    features = [signal[which] + 2.5 * rng.standard_normal((len(which), 32)) for which in kept]
    return first[kept[0]], second[kept[1]], features, kept


def rates(found, kept):
    """(precision, recall) of a match."""
    right = np.count_nonzero(kept[0][found.pairs[:, 0]] == kept[1][found.pairs[:, 1]])
    return right / max(1, len(found.pairs)), right / len(np.intersect1d(*kept))


def some_points(seed, most=7):
    rng = np.random.default_rng(seed)
    one, other = (rng.uniform(0, 60, (rng.integers(0, most), 2)) for _ in range(2))
    return one, other, [rng.standard_normal((len(points), 3)) for points in (one, other)]


# --- candidates, neighbours and their support -------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(2, 3))
def test_candidates_and_neighbours_are_those_of_brute_force(seed, axes):
    rng = np.random.default_rng(seed)
    one, other = (rng.integers(0, 9, (rng.integers(0, 14), axes)).astype(float) for _ in range(2))
    one, other = (np.unique(points, axis=0) for points in (one, other))
    near = [(i, j) for i, a in enumerate(one) for j, b in enumerate(other) if np.linalg.norm(a - b) <= 3]
    assert candidates(one, other, 3.0).tolist() == [list(pair) for pair in near]
    away = np.linalg.norm(one[:, None] - one[None], axis=-1)
    expected = np.zeros(away.shape, bool)
    for i, row in enumerate(away):  # as far as the fourth nearest, ties included
        others = np.sort(np.delete(row, i))
        expected[i] = row <= (others[min(3, len(others) - 1)] + 1e-9 if len(others) else -1)
    np.fill_diagonal(expected, False)
    np.testing.assert_array_equal(mutual_neighbours(one, 4).toarray(), expected & expected.T)


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_supports_are_those_of_their_definition(seed):
    one, other, _ = some_points(seed, 12)
    found, graphs = candidates(one, other), [mutual_neighbours(points, 3) for points in (one, other)]
    near = [graph.toarray() for graph in graphs]
    expected = [[a, b] for a, b in itertools.combinations(range(len(found)), 2)
                if near[0][found[a, 0], found[b, 0]] and near[1][found[a, 1], found[b, 1]]]  # fmt: skip
    assert matching.supports(found, *graphs).tolist() == expected


def test_inside_a_hexagonal_lattice_there_are_six_neighbours():
    y, x = np.indices((7, 7)).reshape(2, -1)
    points = 30 * np.stack([0.75**0.5 * y, x + 0.5 * (y % 2)], axis=1)
    assert mutual_neighbours(points, 6)[24].sum() == 6  # the middle one
    assert mutual_neighbours([[0, 0], [0, 1], [0, 2.5]], 1).toarray().astype(int).tolist() == [
        [0, 1, 0], [1, 0, 0], [0, 0, 0]]  # fmt: skip


# --- the terms of the energy ------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.floats(0.01, 100), st.floats(0, 2 * np.pi))
def test_delta_and_gamma(seed, scale, turn):
    a, b = np.random.default_rng(seed).normal(0, 10, (2, 2))
    delta, gamma = matching.length_difference(a, b), matching.angle_between(a, b)
    assert 0 <= delta <= 1 and 0 <= gamma <= np.pi
    assert delta == matching.length_difference(b, a) and gamma == matching.angle_between(b, a)
    assert matching.length_difference(a, a) == matching.angle_between(a, a) == 0
    np.testing.assert_allclose(matching.angle_between(scale * a, b), gamma, atol=1e-12)
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    np.testing.assert_allclose(gamma, np.arccos(np.clip(cosine, -1, 1)), atol=1e-7)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    np.testing.assert_allclose(matching.angle_between(a, a @ rotation.T), min(turn, 2 * np.pi - turn), atol=1e-9)
    np.testing.assert_allclose(matching.length_difference(a, scale * a), abs(scale - 1) / (scale + 1), atol=1e-12)


def test_edges_without_length_and_tiny_angles():
    zero, edge = np.zeros(2), np.array([3.0, 4.0])
    assert matching.length_difference(zero, zero) == 0 and matching.length_difference(zero, edge) == 1
    assert matching.angle_between(zero, edge) == 0 and matching.angle_between(edge, -edge) == np.pi
    np.testing.assert_allclose(matching.angle_between([1.0, 0.0], [1.0, 1e-9]), 1e-9, rtol=1e-6)


def test_pair_terms_in_closed_form():
    first, second = np.array([[0, 0], [0, 10.0]]), np.array([[5, 5], [5 - 30.0, 5]])  # three times as long, turned 90
    found, pairs = np.array([[0, 0], [1, 1]]), np.array([[0, 1]])
    exact = np.expm1(0.5**2) + np.expm1((np.pi / 2) ** 2)
    np.testing.assert_allclose(matching.pair_terms(first, second, found, pairs, np.inf), [exact])
    np.testing.assert_allclose(matching.pair_terms(second, first, found, pairs, np.inf), [exact])
    assert matching.pair_terms(first, second, found, pairs).tolist() == [3.0]
    assert np.expm1(np.deg2rad(67) ** 2) < 3 < np.expm1(np.deg2rad(68) ** 2)  # what the cap's comment says


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 9))
def test_windows_are_those_of_a_padded_map(seed, size):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((*rng.integers(10, 20, 2), 3)).astype(np.float32)
    centres = rng.uniform(0, np.array(features.shape[:2]) - 1, (5, 2))
    padded = np.pad(features, ((size, size), (size, size), (0, 0)), mode="reflect")
    starts = np.rint(centres).astype(int) - size // 2 + size
    expected = [padded[y : y + size, x : x + size].ravel() for y, x in starts]
    np.testing.assert_array_equal(matching.windows(features, centres, size), expected)


def test_windows_of_the_study_have_4096_values():
    assert matching.windows(np.zeros((333, 333, 16), np.float32), [[0, 0], [332, 332]]).shape == (2, 4096)
    assert matching.windows(np.zeros((333, 333, 16), np.float32), np.zeros((0, 2))).shape == (0, 4096)


def test_feature_costs_have_median_one_and_come_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((9, 5)), rng.standard_normal((7, 5))
    found = candidates(rng.uniform(0, 30, (9, 2)), rng.uniform(0, 30, (7, 2)), 25)
    away = np.array([np.abs(one[i] - other[j]).mean() for i, j in found])
    np.testing.assert_allclose(matching.feature_costs(one, other, found), away / np.median(away))
    monkeypatch.setattr(matching, "_BLOCK", 12)
    np.testing.assert_allclose(matching.feature_costs(one, other, found), away / np.median(away))
    assert matching.feature_costs(one, one, np.array([[0, 0], [1, 1], [0, 1]]))[2] > 0  # though the median is 0


# --- assignment and energy --------------------------------------------------------------------------------------------


def choices(found):
    """All one-to-one choices of candidates."""
    for count in range(len(found) + 1):
        for chosen in itertools.combinations(range(len(found)), count):
            picked = found[list(chosen)]
            if len(set(picked[:, 0])) == len(set(picked[:, 1])) == count:
                yield list(chosen)


def with_dummies(found, costs, shape, unmatched):
    """The square assignment with a dummy for each cell."""
    total = sum(shape)
    square = np.full((total, total), unmatched)
    square[: shape[0], : shape[1]] = 1e6
    square[tuple(found.T)] = costs
    square[shape[0] :, shape[1] :] = 0
    rows, columns = linear_sum_assignment(square)
    return square[rows, columns].sum()


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.floats(0.1, 2))
def test_assignment_equals_that_with_dummies_and_brute_force(seed, unmatched):
    one, other, _ = some_points(seed, 5)
    shape = len(one), len(other)
    found = candidates(one, other, 40)[:9]
    costs = np.random.default_rng(seed).uniform(0, 3, len(found))
    chosen = matching.assign(found, costs, shape, unmatched)

    def value(some):
        return costs[some].sum() + unmatched * (sum(shape) - 2 * len(some))

    np.testing.assert_allclose(value(chosen), with_dummies(found, costs, shape, unmatched))
    np.testing.assert_allclose(value(chosen), min(value(list(some)) for some in choices(found)))
    picked = found[chosen]
    assert len(set(picked[:, 0])) == len(set(picked[:, 1])) == len(picked)


def test_the_matcher_comes_near_the_least_energy_of_all_matches():
    """Exact on most small problems, and never below what brute force finds."""
    equal = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        one = rng.uniform(0, 70, (5, 2))
        other = one[:4] + rng.normal(0, 6, (4, 2))
        features = [rng.standard_normal((n, 4)) for n in (5, 4)]
        found = candidates(one, other, 30)[:14]
        if len(candidates(one, other, 30)) > 14:
            continue
        pairs = matching.supports(found, mutual_neighbours(one), mutual_neighbours(other))
        terms, costs = matching.pair_terms(one, other, found, pairs), matching.feature_costs(*features, found)
        least = min(matching.energy(some, costs, pairs, terms, (5, 4)) for some in choices(found))
        ours = match(one, other, features, 30).energy
        assert ours >= least - 1e-9
        equal.append(ours <= least * 1.02 + 1e-9)
    assert len(equal) > 15 and np.mean(equal) > 0.6


def test_energy_of_two_matches_by_hand():
    costs, pairs, terms = np.array([0.5, 0.7, 0.9]), np.array([[0, 1], [0, 2]]), np.array([0.4, 3.0])
    assert matching.energy([], costs, pairs, terms, (3, 4)) == 7
    assert matching.energy([2], costs, pairs, terms, (3, 4)) == pytest.approx(0.9 + 5)
    assert matching.energy([0, 1], costs, pairs, terms, (3, 4)) == pytest.approx(1.2 + 2 * 0.4 + 3)
    assert matching.energy([0, 1], costs, pairs, terms, (3, 4), 0.5, 2.0) == pytest.approx(1.2 + 0.4 + 6)


def test_the_printed_energy_is_least_without_any_match():
    one, other, features, _ = lattice(0, 9, 0.08)
    found = candidates(one, other)
    pairs = matching.supports(found, mutual_neighbours(one), mutual_neighbours(other))
    terms = matching.pair_terms(one, other, found, pairs, np.inf)
    sums = np.array([np.abs(features[0][i] - features[1][j]).sum() for i, j in found])
    shape = len(one), len(other)
    nothing = matching.printed_energy([], sums, pairs, terms, shape)
    assert nothing == 1
    alone = [matching.printed_energy([k], sums, pairs, terms, shape) for k in range(len(found))]
    assert min(alone) > 1 + sums.min() - 2 / min(shape) > 30
    whole = matching.assign(found, np.zeros(len(found)), shape)
    assert matching.printed_energy(whole, sums, pairs, terms, shape) > min(alone)


# --- what must hold of matches ----------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.booleans())
def test_matches_are_one_to_one_candidates_and_leave_the_rest(seed, with_features):
    one, other, features = some_points(seed, 12)
    for found in (match(one, other, features if with_features else None, 20), mutual_nearest(one, other, 20)):
        i, j = found.pairs.T
        assert len(set(i)) == len(set(j)) == len(found.pairs) and list(i) == sorted(i)
        assert (np.linalg.norm(one[i] - other[j], axis=1) <= 20).all()
        assert sorted([*i, *found.lost]) == list(range(len(one)))
        assert sorted([*j, *found.new]) == list(range(len(other)))


@pytest.mark.parametrize("one, other", [([], []), ([], [[1.0, 2.0]]), ([[1.0, 2.0]], []), ([[0, 0.0]], [[90, 0.0]])])
def test_where_there_is_nothing_to_match(one, other):
    for found in (match(one, other), mutual_nearest(one, other), match(one, other, topology=0)):
        assert found.pairs.shape == (0, 2)
        assert (len(found.lost), len(found.new)) == (len(one), len(other))


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_other_numbers_for_the_cells_change_nothing_else(seed):
    one, other, features, _ = lattice(seed, 12, 0.1, side=6)
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(points)) for points in (one, other)]
    plain = match(one, other, features)
    again = match(one[orders[0]], other[orders[1]], [f[o] for f, o in zip(features, orders, strict=True)])
    named = np.stack([orders[0][again.pairs[:, 0]], orders[1][again.pairs[:, 1]]], axis=1)
    assert sorted(map(tuple, named)) == list(map(tuple, plain.pairs))
    assert again.energy == pytest.approx(plain.energy)


def test_swapping_the_images_swaps_the_match():
    for seed in range(5):
        one, other, features, _ = lattice(seed, 12, 0.1)
        there, back = match(one, other, features), match(other, one, features[::-1])
        assert sorted(map(tuple, back.pairs[:, ::-1])) == list(map(tuple, there.pairs))


def test_identical_points_match_themselves():
    one, _, features, _ = lattice(4, 0, 0)
    for found in (match(one, one), match(one, one, (features[0], features[0])), mutual_nearest(one, one)):
        np.testing.assert_array_equal(found.pairs, np.arange(len(one))[:, None].repeat(2, 1))
        assert not len(found.lost) and not len(found.new)


@pytest.mark.parametrize("shift", [5.0, 10.0, 14.0])
def test_a_translation_below_half_the_spacing_is_seen_through(shift):
    """Without any features, by distances and topology."""
    recalls = []
    for seed in range(10):
        one, other, _, kept = lattice(seed, shift, 0.0, noise=0.0)
        recalls.append(rates(match(one, other), kept)[1])
    assert np.mean(recalls) >= 0.99


TABLE = {  # shift px, dropped: (precision, recall) by distance, by features, by features and topology
    (9, 0.08): ((0.93, 0.96), (0.64, 0.67), (0.98, 0.99)),
    (16, 0.08): ((0.65, 0.67), (0.68, 0.71), (0.97, 0.98)),
    (16, 0.2): ((0.52, 0.60), (0.52, 0.60), (0.80, 0.85)),
}


@pytest.mark.parametrize("shift, drop", TABLE)
def test_the_table_of_toy_lattices(shift, drop):
    rows = []
    for seed in range(20):
        one, other, features, kept = lattice(seed, shift, drop)
        found = (match(one, other, topology=0), match(one, other, features, topology=0), match(one, other, features))
        rows.append([rates(each, kept) for each in found])
    means = np.mean(rows, axis=0)
    np.testing.assert_allclose(means, TABLE[shift, drop], atol=0.09)
    assert (means[2] >= np.array(TABLE[shift, drop][2]) - 0.03).all()
    if shift == 16:
        assert means[2, 1] >= means[0, 1] + 0.2


def test_an_affine_transform_first_spares_the_topology_a_turn():
    one, _, _, _ = lattice(1, 0, 0)
    turn = np.deg2rad(12)
    matrix = 1.05 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    affine = np.concatenate([matrix, [[40.0], [-7.0]]], axis=1)
    other = matching.moved(one, affine)
    np.testing.assert_allclose(other, [matrix @ point + [40, -7] for point in one])
    assert len(match(other, other).pairs) == len(one) > len(match(one, other).pairs)


def test_three_axes():
    rng = np.random.default_rng(0)
    one = 30 * np.stack(np.indices((4, 4, 4)).reshape(3, -1), axis=1) + rng.normal(0, 3, (64, 3))
    found = match(one, one[::-1] + [6.0, 6.0, -6.0])
    np.testing.assert_array_equal(found.pairs, np.stack([np.arange(64), np.arange(64)[::-1]], axis=1))


def test_a_thousand_cells_take_no_table_of_candidates_by_candidates():
    one, other, features, kept = lattice(0, 9, 0.05, side=34)
    start = time.process_time()
    found = match(one, other, features)
    assert time.process_time() - start < 5 and rates(found, kept)[1] > 0.95


@pytest.mark.parametrize("call, said", [
    (lambda: match([[0, np.nan]], [[0, 0]]), "first are finite numbers"),
    (lambda: match([[0, 0]], [[0, 0, 0]]), "as many axes"),
    (lambda: match([[0, 0]], [[0, 0]], ([[1]], [[1], [2]])), "need as many features"),
    (lambda: match([[0, 0]], [[0, 0]], ([[1]], [[1, 2]])), "as many values"),
    (lambda: match([[0, 0]], [[0, 0]], radius=-1), "radius of candidates"),
    (lambda: match([[0, 0]], [[0, 0]], rounds=0), "rounds are 1"),
    (lambda: mutual_neighbours([[0, 0]], 0), "neighbours are 1"),
    (lambda: matching.moved([[0, 0]], np.eye(2)), "affine matrix with a shift"),
    (lambda: matching.windows(np.zeros((4, 4)), [[0, 0]]), "windows of 16 px need"),
])  # fmt: skip
def test_bad_arguments(call, said):
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
