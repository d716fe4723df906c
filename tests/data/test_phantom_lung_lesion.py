"""The phantom of lung tumours: repeatable, the same at every resolution, two classes that differ as they say."""

import numpy as np
import pytest

from tfmed.data import phantoms, sources
from tfmed.data.phantoms.lung_lesion import lung_lesion
from tfmed.errors import DataError, UserError

pytestmark = pytest.mark.current


def test_types_values_and_repetition():
    one, again, other = (lung_lesion(seed, slice=1) for seed in (3, 3, 4))
    assert one.volume.array.dtype == np.int16 and one.volume.shape == (1, 80, 80) and one.volume.spacing[1:] == (1, 1)
    np.testing.assert_array_equal(one.volume.array, again.volume.array)
    assert not np.array_equal(one.volume.array, other.volume.array)
    inside = one.volume.array[one.labels.array > 0]
    assert -20 < np.median(inside) < 90 and np.percentile(one.volume.array, 20) < -750


def test_anatomy_does_not_depend_on_the_resolution():
    for seed in range(6):
        coarse, fine = (lung_lesion(seed, (1, n, n), noise_hu=0.0) for n in (40, 160))
        blocks = fine.volume.array[0].reshape(40, 4, 40, 4).mean(axis=(1, 3))
        assert np.corrcoef(blocks.ravel(), coarse.volume.array[0].ravel())[0, 1] > 0.95
        shares = [made.labels.array.mean() for made in (coarse, fine)]
        assert shares[0] == pytest.approx(shares[1], rel=0.1)


def test_a_shrunk_tumour_is_smaller_and_slices_of_a_patient_are_alike():
    sizes = {k: [lung_lesion(seed, shrunk=k).labels.array.sum() for seed in range(20)] for k in (0, 1)}
    assert max(sizes[1]) < min(sizes[0])
    for seed in range(5):
        first, second, other = (lung_lesion(s, slice=z).labels.array > 0 for s, z in ((seed, 0), (seed, 1), (50, 0)))

        def dice(a, b):
            return 2 * (a & b).sum() / (a.sum() + b.sum())

        assert dice(first, second) > max(0.85, dice(first, other))


def test_source():
    cases = sources.open("phantom_lung_lesion", cases=10, slices=4, shape=[1, 16, 16], unlabelled=3)
    assert len(cases) == 10 and len({case.group for case in cases}) == 3
    assert [case.meta["class"] for case in cases] == ["non-adaptive"] * 4 + ["adaptive"] * 4 + ["non-adaptive"] * 2
    assert [case.label is None for case in cases] == [False] * 7 + [True] * 3
    assert phantoms.read(cases[5].images["ct"]).shape == phantoms.read(cases[5].label).shape == (1, 16, 16)
    assert cases[:7] == sources.open("phantom_lung_lesion", cases=7, slices=4, shape=(1, 16, 16))


@pytest.mark.parametrize("options, said", [
    ({"slices": 8}, "slices must be an integer from 1 to 7"), ({"cases": 0}, "cases must be an integer from 1"),
])  # fmt: skip
def test_bad_options_of_the_source(options, said):
    with pytest.raises(DataError, match=said):
        sources.open("phantom_lung_lesion", **options)


@pytest.mark.parametrize("options, said", [
    ({"shape": (2, 80, 80)}, "shape is 1,y,x"), ({"shape": (1, 8, 80)}, "shape is 1,y,x"), ({"slice": 9}, "slice must"),
    ({"shrunk": 2}, "shrunk must be 0 or 1"), ({"seed": -1}, "seed must"), ({"noise_hu": -1}, "noise_hu must"),
])  # fmt: skip
def test_bad_arguments(options, said):
    with pytest.raises(UserError, match=said):
        lung_lesion(**{"seed": 0, **options})
