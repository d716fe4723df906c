"""USS: whether the slices that it asks for are worth more than random ones where a shape is rare."""

import pytest


@pytest.mark.long
def test_rare_shapes_cost_fewer_slices(tmp_path):
    """Means over three seeds, after five rounds.

    Measured on stack `current`: the last Dice of random slices with 0.66 of their number; 5th percentile + 0.028.
    """
    from benchmarks.toys import uss as toy

    rows = toy.measured(tmp_path)
    share, ahead = toy.answers(rows["uss"], rows["rss"])
    assert share <= 0.8
    assert ahead[-1] >= 0.01
