"""The symmetries of the square: a group of eight, exact."""

import itertools

import numpy as np
import pytest

from tfmed.augment.dihedral import NAMES, dihedral

pytestmark = pytest.mark.one_stack
IMAGE = np.random.default_rng(0).random((5, 5, 2))


def test_they_are_a_group_of_eight():
    images = [dihedral(IMAGE, k) for k in range(8)]
    assert all(not np.array_equal(a, b) for a, b in itertools.combinations(images, 2))
    for one, other in itertools.product(range(8), repeat=2):
        both = dihedral(dihedral(IMAGE, one), other)
        assert sum(np.array_equal(both, image) for image in images) == 1


def test_each_is_what_its_name_says():
    corners = {name: dihedral(np.array([[1, 2], [3, 4]]), k).ravel().tolist() for k, name in enumerate(NAMES)}
    assert corners == {
        "identity": [1, 2, 3, 4], "quarter": [2, 4, 1, 3], "half": [4, 3, 2, 1], "three_quarters": [3, 1, 4, 2],
        "left_right": [2, 1, 4, 3], "up_down": [3, 4, 1, 2], "transpose": [1, 3, 2, 4], "transverse": [4, 2, 3, 1],
    }  # fmt: skip


def test_what_cannot_be_turned_is_refused():
    with pytest.raises(ValueError, match="image is 2 x 3"):
        dihedral(np.zeros((2, 3)), 1)
    with pytest.raises(ValueError, match="which is 8"):
        dihedral(IMAGE, 8)
