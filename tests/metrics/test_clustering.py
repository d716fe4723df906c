"""Agreement of clusters: against brute force and closed forms; no renumbering changes anything."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmed.metrics.clustering import assignment_accuracy, contingency, nmi, nmi_ceiling, purity

pytestmark = pytest.mark.one_stack

PAIRS = st.integers(1, 40).flatmap(lambda n: st.tuples(*[st.lists(st.integers(-2, 5), min_size=n, max_size=n)] * 2))
SCORES = (nmi, purity, assignment_accuracy)


def by_hand(table):
    """2 I / (H + H) of a contingency table; 1 where both have one value alone."""
    joint = table / table.sum()
    one, two = joint.sum(1), joint.sum(0)
    own = [-sum(p * np.log(p) for p in shares) for shares in (one, two)]
    shared = sum(p * np.log(p / (one[i] * two[j])) for (i, j), p in np.ndenumerate(joint) if p)
    return 2 * shared / sum(own) if table.size > 1 else 1.0


@settings(max_examples=60)
@given(PAIRS, st.randoms(use_true_random=False))
def test_by_hand_and_whatever_the_numbers_are(pair, random):
    clusters, labels = map(np.array, pair)
    table = np.array(
        [[sum((clusters == a) & (labels == b)) for b in sorted(set(pair[1]))] for a in sorted(set(pair[0]))]
    )
    np.testing.assert_array_equal(contingency(clusters, labels), table)
    assert nmi(clusters, labels) == pytest.approx(by_hand(table), abs=1e-9)
    assert nmi(labels, clusters) == pytest.approx(nmi(clusters, labels), abs=1e-12)
    assert purity(clusters, labels) == pytest.approx(table.max(1).sum() / len(labels))
    share = np.unique(labels, return_counts=True)[1].max() / len(labels)
    assert share - 1e-12 <= purity(clusters, labels) <= 1
    other = list(range(100, 108))
    random.shuffle(other)
    renumbered = np.array(other)[clusters + 2]
    assert all(score(renumbered, labels) == pytest.approx(score(clusters, labels), abs=1e-12) for score in SCORES)


@settings(max_examples=30)
@given(st.integers(1, 12).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 3), min_size=n, max_size=n)] * 2)))
def test_accuracy_is_that_of_the_best_matching(pair):
    clusters, labels = map(np.array, pair)
    best = max(
        sum(names[one] == two for one, two in zip(*pair, strict=True)) for names in itertools.permutations(range(4))
    )
    assert assignment_accuracy(clusters, labels) == pytest.approx(best / len(labels))


def test_one_cluster_each_and_the_truth():
    labels = np.array([0, 0, 1, 1, 1, 2])
    assert all(score(labels, labels) == 1 for score in SCORES)
    assert purity(np.arange(6), labels) == 1 and assignment_accuracy(np.arange(6), labels) == 0.5
    assert purity(np.zeros(6), labels) == 0.5 and nmi(np.zeros(6), labels) == 0
    assert nmi(np.zeros(6), np.ones(6)) == 1  # neither says anything


@pytest.mark.parametrize("classes, each, ceiling", [(3, 8, 0.514), (13, 8, 0.712), (4, 4, 2 / 3)])
def test_the_ceiling_is_what_pure_clusters_of_one_size_reach(classes, each, ceiling):
    labels = np.repeat(np.arange(classes), 10 * each)
    clusters = np.repeat(np.arange(classes * each), 10)
    assert purity(clusters, labels) == 1
    assert nmi(clusters, labels) == pytest.approx(nmi_ceiling(labels, classes * each), abs=1e-9)
    assert nmi_ceiling(labels, classes * each) == pytest.approx(ceiling, abs=6e-4)
    assert nmi_ceiling(np.zeros(4), 1) == 1


@pytest.mark.parametrize("one, two", [([], []), ([1, 2], [1]), ([[1]], [[1]])])
def test_what_is_no_pair_of_vectors_is_refused(one, two):
    with pytest.raises(ValueError, match="vectors of one length"):
        nmi(one, two)
