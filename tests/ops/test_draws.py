"""Maps of noise: marginally standard normal, and alike in space as asked."""

import numpy as np
import pytest

from tfmed.ops.draws import normal_maps

pytestmark = pytest.mark.one_stack
SHAPES = [(6, 5, 40), (3, 2, 80)]


@pytest.mark.parametrize("spatial, together", [("iid", 0.0), ("constant", 1.0), ("mixed", 0.3)])
def test_numbers_are_standard_normal_and_shared_as_asked(spatial, together):
    for maps, shape in zip(normal_maps(SHAPES, 3, range(50), spatial, share=0.3), SHAPES, strict=True):
        found = maps.numpy()
        assert found.shape == (50, *shape)
        assert abs(found.mean()) < 0.06 and abs(found.var() - 1) < 0.06
        one, other = found[:, 0, 0].ravel(), found[:, -1, -1].ravel()
        assert abs((one * other).mean() - together) < 0.08


def test_each_is_a_function_of_its_index():
    for spatial in ("iid", "constant", "mixed", "scalar"):
        many, one = normal_maps(SHAPES, 3, range(4), spatial), normal_maps(SHAPES, 3, [2], spatial)
        for all_of_them, alone in zip(many, one, strict=True):
            np.testing.assert_array_equal(all_of_them[2:3], alone)
            assert not np.isclose(all_of_them[1:2], alone).any()


def test_a_scalar_is_one_number_and_scales_differ_otherwise():
    (fine, coarse), (one, other) = (
        normal_maps(SHAPES, 0, [0], "scalar"),
        normal_maps([(2, 2, 4)] * 2, 0, [0], "constant"),
    )
    assert len({*fine.numpy().ravel(), *coarse.numpy().ravel()}) == 1
    assert not np.isclose(one, other).any()
    with pytest.raises(ValueError, match="may be iid, constant, mixed or scalar"):
        normal_maps(SHAPES, 0, [0], "smooth")
