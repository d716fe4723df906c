"""Scores slice by slice, pair by pair."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfmed.metrics.features import open_features
from tfmed.metrics.generative import frechet_distance, inception_score
from tfmed.metrics.slicewise import (
    frechet_distances,
    halves,
    inception_scores,
    pooled_distance,
    score_row,
    slice_features,
)

pytestmark = pytest.mark.current


def described(count=4, slices=12, d=5, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=(slices, d)) + shift, rng.dirichlet(np.ones(7), slices)) for _ in range(count)]


@given(st.integers(0, 50), st.integers(0, 1000))
def test_halves_are_disjoint_and_cover_everything(count, seed):
    one, other = halves(count, seed)
    assert sorted([*one, *other]) == list(range(count))
    assert len(other) - len(one) in (0, 1)
    np.testing.assert_array_equal(one, halves(count, seed)[0])


def test_halves_depend_on_the_seed():
    assert len({tuple(sorted(halves(20, seed)[0])) for seed in range(5)}) == 5


def test_one_inception_score_per_volume():
    volumes = described()
    np.testing.assert_array_equal(inception_scores(volumes), [inception_score(p) for _, p in volumes])


def test_distances_are_of_single_volumes_and_repeat():
    ours, reference = described(3), described(2, seed=1)
    every = {frechet_distance(a, b) for a, _ in ours for b, _ in reference}
    found = frechet_distances(ours, reference, pairs=40, seed=3)
    assert found.shape == (40,) and set(found) == every  # 40 draws meet all 6 pairs
    np.testing.assert_array_equal(found, frechet_distances(ours, reference, pairs=40, seed=3))
    assert (found != frechet_distances(ours, reference, pairs=40, seed=4)).any()


def test_a_row_tells_mean_and_spread_under_honest_names():
    network = open_features("random:0")
    ours, reference = described(4), described(3, seed=1, shift=2.0)
    row = score_row("model", ours, reference, network, pairs=10, seed=2)
    distances, scores = frechet_distances(ours, reference, 10, 2), inception_scores(ours)
    assert row == {
        "source": "model", "volumes": 4, "pairs": 10,
        "IS[random-0] mean": scores.mean(), "IS[random-0] std": scores.std(ddof=1),
        "FD[random-0] mean": distances.mean(), "FD[random-0] std": distances.std(ddof=1),
        "FD[random-0] pooled": pooled_distance(ours, reference),
    }  # fmt: skip
    single = score_row("one", ours[:1], reference, network, pairs=1)
    assert np.isnan(single["IS[random-0] std"]) and np.isnan(single["FD[random-0] std"])  # of one value there is none


def test_slices_of_a_volume_are_described_each():
    network = open_features("random:0")
    volume = np.random.default_rng(0).uniform(-1, 1, (6, 16, 16))
    features, probabilities = slice_features(volume, network)
    np.testing.assert_allclose(features[2], slice_features(volume[2:3], network)[0][0], rtol=1e-4, atol=1e-5)
    assert probabilities.shape[0] == 6


def test_worse_volumes_score_worse():
    """Volumes like the reference are nearer to it than noise is."""
    network = open_features("random:0")
    rng = np.random.default_rng(0)
    ramp = np.linspace(-1, 1, 24)[None, None, :] * np.linspace(-1, 1, 24)[None, :, None]
    smooth = [np.clip(ramp + 0.05 * rng.normal(size=(8, 24, 24)), -1, 1) for _ in range(4)]
    noise = [rng.uniform(-1, 1, (8, 24, 24)) for _ in range(2)]
    like, reference, unlike = ([slice_features(v, network) for v in part] for part in (smooth[:2], smooth[2:], noise))
    near, far = (frechet_distances(part, reference, 4).max() for part in (like, unlike))
    assert 5 * near < far
