"""The running kappa: scikit-learn's over everything seen, in counts that float32 could not hold."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import cohen_kappa_score

from tfmed.training.kappa import Kappa, confusion

pytestmark = pytest.mark.current


def test_it_is_scikit_learns_over_all_steps():
    rng, metric, seen = np.random.default_rng(0), Kappa(), []
    assert float(metric.result()) == 1.0
    for _ in range(3):
        reference = rng.random((2, 6, 7)) < 0.2
        prediction = np.where(rng.random(reference.shape) < 0.8, reference, ~reference)
        metric.update_state(confusion(prediction, reference))
        seen.append((prediction, reference))
    prediction, reference = (np.concatenate(arrays).ravel() for arrays in zip(*seen, strict=True))
    assert float(metric.result()) == pytest.approx(cohen_kappa_score(prediction, reference), abs=1e-12)
    metric.reset_state()
    assert not tf.convert_to_tensor(metric.counts).numpy().any()


def test_counts_are_those_of_numpy():
    prediction, reference = np.array([1, 1, 1, 0, 0]), np.array([1, 1, 0, 1, 0])
    np.testing.assert_array_equal(confusion(prediction, reference), [2, 1, 1, 1])


def test_a_voxel_more_is_seen_among_very_many():
    metric = Kappa()
    metric.update_state([0.0, 2.0**30, 0.0, 2.0**40])
    metric.update_state([1.0, 0.0, 0.0, 0.0])
    assert float(metric.counts[0]) == 1 and float(metric.counts[1]) == 2.0**30
    assert 0 < float(metric.result()) < 1e-8
