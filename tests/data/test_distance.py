"""Signed distance maps against brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmed.data.distance import signed_distance, signed_distances

pytestmark = pytest.mark.current


def by_hand(mask):
    """For each voxel the distance to the nearest voxel of the other side, then border and scale as defined."""
    points = np.array(list(np.ndindex(mask.shape)))
    inside = mask.reshape(-1)
    squares = ((points[:, None] - points) ** 2).sum(-1)
    nearest = np.array([np.sqrt(row[inside != own].min()) for row, own in zip(squares, inside, strict=True)])
    result = np.where(inside, -nearest / nearest[inside].max(), nearest / nearest[~inside].max())
    border = [own and nearest[k] == 1 for k, own in enumerate(inside)]
    return np.where(border, 0.0, result).reshape(mask.shape)


@given(seed=st.integers(0, 10**6), axes=st.integers(1, 3), share=st.floats(0.1, 0.9))
@settings(max_examples=40, deadline=None)
def test_equals_brute_force(seed, axes, share):
    mask = np.random.default_rng(seed).random((4, 5, 6)[:axes]) < share
    if mask.any() and not mask.all():
        found = signed_distance(mask)
        np.testing.assert_allclose(found, by_hand(mask), atol=1e-6)
        assert found.max() == 1 and found.dtype == np.float32


def test_a_cube():
    """Of 5^3 voxels: 0 on its surface, -1 in its middle, 1 in the farthest corner."""
    mask = np.zeros((9, 9, 9), bool)
    mask[2:7, 2:7, 2:7] = True
    found = signed_distance(mask)
    shell = mask.copy()
    shell[3:6, 3:6, 3:6] = False
    assert (found[shell] == 0).all() and found[4, 4, 4] == -1 and found[0, 0, 0] == 1
    assert (found[3:6, 3:6, 3:6] < 0).all() and (found[~mask] > 0).all()
    for axes in itertools.permutations(range(3)):
        np.testing.assert_array_equal(found.transpose(axes), found)


def test_regions_that_nothing_borders():
    assert (signed_distance(np.zeros((2, 3))) == 1).all() and (signed_distance(np.ones((2, 3))) == -1).all()


def test_one_map_for_each_foreground_class():
    labels = np.random.default_rng(0).integers(0, 3, (3, 4, 5))
    found = signed_distances(labels, 4)
    assert found.shape == (3, 4, 5, 3) and (found[..., 2] == 1).all()
    for number in (1, 2):
        np.testing.assert_array_equal(found[..., number - 1], signed_distance(labels == number))
