"""Scores of classifiers, by hand."""

import math

import numpy as np
import pytest
import sklearn.metrics

from tfmed.metrics.classification import accuracy_precision_recall, auc, confusion, scores

TWO = ("healthy", "ill")


def second(values):
    values = np.asarray(values, float)
    return np.stack([1 - values, values], -1)


def test_two_classes_by_hand():
    """Of four healthy three are right, of two ill one; 7 of 8 pairs are in order."""
    found = scores(second([0.1, 0.2, 0.3, 0.9, 0.4, 0.95]), [0, 0, 0, 0, 1, 1], TWO)
    assert found == pytest.approx({
        "accuracy": 4 / 6, "balanced accuracy": (3 / 4 + 1 / 2) / 2, "specificity": 3 / 4, "sensitivity": 1 / 2,
        "AUC": 7 / 8})  # fmt: skip


def test_a_class_that_does_not_occur_is_nan_and_not_zero():
    found = scores(second([0.1, 0.9]), [0, 0], TWO)
    assert math.isnan(found["sensitivity"]) and math.isnan(found["AUC"])
    assert found["balanced accuracy"] == found["specificity"] == 0.5


def test_more_classes():
    chosen, labels = np.array([0, 1, 2, 2, 0]), np.array([0, 1, 2, 1, 2])
    found = scores(np.eye(3)[chosen], labels, ("a", "b", "c"))
    assert found["recall a"] == 1 and found["recall b"] == found["recall c"] == 0.5
    assert found["accuracy"] == 0.6 and found["balanced accuracy"] == pytest.approx(2 / 3)
    assert auc(np.eye(3)[labels], labels) == 1
    assert confusion(labels, chosen, 3).tolist() == [[1, 0, 0], [0, 1, 1], [1, 0, 1]]


def test_auc_of_more_classes_is_the_mean_of_each_against_the_others():
    draw = np.random.default_rng(0)
    labels, probabilities = draw.integers(3, size=60), draw.dirichlet(np.ones(3), 60)
    expected = sklearn.metrics.roc_auc_score(labels, probabilities, multi_class="ovr")
    assert auc(probabilities, labels) == pytest.approx(expected)


def test_auc_of_ties_is_half():
    assert auc(second([0.5, 0.5, 0.5]), np.array([0, 1, 1])) == 0.5


def test_precision_and_recall_are_those_of_the_second_class():
    found = accuracy_precision_recall([0, 0, 1, 1, 1], [0, 1, 1, 1, 0], 2)
    assert found == pytest.approx({"accuracy": 0.6, "precision": 2 / 3, "recall": 2 / 3})
    assert accuracy_precision_recall([0, 1], [0, 0], 2)["precision"] == 0


@pytest.mark.parametrize("probabilities, labels, said", [
    (second([0.1]), [0, 1], "for 2 labels"), (second([]), [], "for 0 labels"), (second([np.nan]), [0], "NaN"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(probabilities, labels, said):
    with pytest.raises(ValueError, match=said):
        scores(probabilities, labels, TWO)
