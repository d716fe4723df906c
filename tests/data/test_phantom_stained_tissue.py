"""The phantom of stained tissue: a band that can be taken away, and brown that is none."""

import numpy as np
import pytest

from tfmed.data import phantoms, sources
from tfmed.data.phantoms import stained_tissue
from tfmed.errors import DataError, UserError
from tfmed.ops.colour import separate_stains

pytestmark = pytest.mark.one_stack
COLOURS = ("red", "green", "blue")


def colours(made, prefix=""):
    return np.stack([getattr(made, prefix + name).array[0] for name in COLOURS], -1)


def test_repeats_and_differs():
    one, again, other = (stained_tissue(seed, (48, 64)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(colours(one), colours(again))
    assert (colours(one) != colours(other)).any() and one.labels.array.shape == (1, 48, 64)
    assert one.red.array.dtype == np.int16 and one.red.array.min() >= 0 and one.red.array.max() <= 255


def test_the_band_is_all_that_differs_from_the_clean_picture():
    for seed in range(6):
        made, bare = stained_tissue(seed, unspecific=0.5), stained_tissue(seed, band=0, unspecific=0.5)
        mask = made.labels.array[0] > 0
        assert 0.05 < mask.mean() < 0.17 and not bare.labels.array.any()
        np.testing.assert_array_equal(colours(made, "clean_"), colours(bare))
        change = np.abs(colours(made) - colours(bare)).sum(-1)
        assert change[mask].mean() > 150 > 10 > change[~mask].mean()
        dab = np.asarray(separate_stains(colours(made) / 255))[..., 2]
        assert dab[mask].mean() > 3 * dab[~mask].mean()


def test_brown_that_sticks_elsewhere():
    """Without it the picture without a band has next to no DAB."""
    brown = [np.asarray(separate_stains(colours(stained_tissue(1, band=0, unspecific=u)) / 255))[..., 2]
             for u in (0.0, 1.0)]  # fmt: skip
    assert np.percentile(brown[1], 98) > 1.5 * np.percentile(brown[0], 98)


def test_the_source_deals_classes_and_slides_in_turn():
    cases = sources.open("phantom_stained_tissue", cases=6, shape=(32, 32), slides=4, unlabelled=1, clean=True)
    assert [case.meta["class"] for case in cases] == ["negative", "positive"] * 3
    assert [case.group for case in cases] == [f"slide-{k:07d}" for k in (0, 1, 2, 3, 0, 1)]
    assert [case.label is None for case in cases] == [False] * 5 + [True] and len(cases[0].images) == 6
    found = [phantoms.read(case.label).array.any() for case in cases[:5]]
    assert found == [False, True, False, True, False]
    assert len({case.group for case in sources.open("phantom_stained_tissue", cases=6)}) == 6
    with pytest.raises(DataError, match="even in number"):
        sources.open("phantom_stained_tissue", slides=3)
    for bad in ({"shape": (8, 8)}, {"band": 2}, {"unspecific": 3}, {"noise": 99}):
        with pytest.raises(UserError, match="phantom stained_tissue"):
            stained_tissue(0, **bad)
