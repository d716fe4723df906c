"""The phantom of five kinds of tissue."""

import numpy as np
import pytest

from tfmed.data import phantoms, sources
from tfmed.data.phantoms.histology import CLASSES, LOOKS, histology
from tfmed.errors import DataError, UserError

pytestmark = pytest.mark.one_stack


def colours(made):
    return np.stack([made.red.array[0], made.green.array[0], made.blue.array[0]], -1)


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_has_its_classes_and_they_can_be_seen(look):
    made = [histology(seed, (64, 80), look) for seed in range(8)]
    labels = np.concatenate([one.labels.array for one in made])
    assert set(np.unique(labels)) == set(range(CLASSES[look])) and labels.shape[1:] == (64, 80)
    again, other = histology(3, (64, 80), look), histology(4, (64, 80), look)
    np.testing.assert_array_equal(colours(made[3]), colours(again))
    assert (colours(again) != colours(other)).any()
    dark = np.concatenate([255 - colours(one)[..., 0] for one in made])  # haematoxylin takes red away
    assert dark[labels.reshape(dark.shape) > 0].mean() > dark[labels.reshape(dark.shape) == 0].mean()
    assert all(
        one.red.array.dtype == np.int16 and 0 <= one.red.array.min() <= one.red.array.max() <= 255 for one in made
    )


def test_the_source():
    cases = sources.open("phantom_histology", cases=3, look="cells", shape=(32, 32), unlabelled=1)
    assert [case.label is None for case in cases] == [False, False, True] and list(cases[0].images) == [
        "red",
        "green",
        "blue",
    ]
    assert phantoms.read(cases[0].label).array.max() <= 3
    with pytest.raises(DataError):
        sources.open("phantom_histology", cases=0)
    for bad in ({"shape": (8, 8)}, {"look": "bone"}, {"noise": 99}):
        with pytest.raises(UserError, match="phantom histology"):
            histology(0, **bad)
