"""Images that are unlike those that a model was trained on are told from those that are like them."""

import numpy as np
import pytest

from tfmed.data.trained_on import TrainedOn, facts, is_note
from tfmed.io import Volume

pytestmark = [pytest.mark.current, pytest.mark.one_stack]


def image(low, high, spacing=(1.0, 1.0, 1.0)):
    array = np.linspace(low, high, 60).reshape(3, 4, 5)
    return Volume(array, np.diag([*spacing[::-1], 1.0]))


def seen(low, high, spacings=((1.0, 1.0, 1.0),), picture=False):
    return TrainedOn.of([facts({"scan": image(low, high, one)}, picture) for one in spacings])


CT, MR = seen(-1024, 1500), seen(0, 900, ((2.0, 1.0, 1.0), (4.0, 0.5, 0.5)))


@pytest.mark.parametrize("trained_on, low, high, spacing, picture, wanted", [
    (CT, -1000, 2000, (5.0, 0.7, 0.7), False, ["voxels of 5 x 0.7 x 0.7 mm"]),
    (CT, -1000, 2000, (2.5, 0.7, 0.7), False, []),
    (CT, 0, 2500, (1.0, 1.0, 1.0), False, ["has no value below 0"]),
    (CT, -1024, 2000, (1.0, 1.0, 1.0), True, ["is a picture"]),
    (MR, 0, 4000, (3.0, 0.8, 0.8), False, []),
    (MR, -3.0, 4.0, (3.0, 0.8, 0.8), False, []),
    (MR, -1024, 2000, (3.0, 0.8, 0.8), False, ["looks like CT"]),
    (MR, -1024, 2000, (3.0, 9.0, 9.0), False, ["looks like CT", "2 x 0.5 x 0.5 to 4 x 1 x 1 mm"]),
    (seen(0, 255, picture=True), 0, 255, (1.0, 1.0, 1.0), True, []),
    (seen(0, 255, picture=True), 0, 900, (1.0, 1.0, 1.0), False, ["is a volume"]),
])  # fmt: skip
def test_what_is_unlike_is_said(trained_on, low, high, spacing, picture, wanted):
    found = trained_on.unlike("scan", facts({"scan": image(low, high, spacing)}, picture))
    assert len(found) == len(wanted) and all(part in text for part, text in zip(wanted, found, strict=True)), found


def test_a_note_gives_the_same_again():
    for one in (CT, MR, seen(0, 255, picture=True)):
        assert is_note(one.as_note()) and TrainedOn.from_note(one.as_note()) == one
    assert is_note(None) and TrainedOn.of([None]) is None and TrainedOn.of([]) is None


@pytest.mark.parametrize("wrong", [[], "text", {}, {"lowest": {}, "highest": {}, "spacing_mm": [[1, 1], [2, 2]]},
                                   {"lowest": [1], "highest": {}, "spacing_mm": None}])  # fmt: skip
def test_what_is_no_note_is_known(wrong):
    assert not is_note(wrong)
