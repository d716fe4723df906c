"""The phantom of pelves: what each image shows and hides, and the list of pairs and unpaired CTs."""

import numpy as np
import pytest

from tfmed.data import phantoms, sources
from tfmed.data.phantoms.pelvis import LABELS, pelvis
from tfmed.errors import DataError, UserError

pytestmark = pytest.mark.current


def of(labels, *names):
    return np.isin(labels, [LABELS[name] for name in names])


def test_each_image_shows_what_it_should():
    for seed in range(4):
        made = pelvis(seed, (3, 96, 96))
        labels, ct, mrcat, mr = (v.array for v in (made.labels, made.ct, made.mrcat, made.mr))
        outside = of(labels, "background")
        assert set(np.unique(labels)) >= {0, 1, 2, 3, 4, 5}
        assert len(np.unique(mrcat)) <= 6 and len(np.unique(ct)) > 300  # few values; a real CT's
        assert (ct[outside] > -600).mean() > 0.01  # the couch, below the back
        assert np.flatnonzero((ct[1] > -600)[:, 48] & outside[1, :, 48]).max() < 48
        assert (mrcat[outside] > -600).mean() < 0.02 and (mr[outside] > 150).mean() < 0.02
        assert np.median(ct[of(labels, "cortex")]) > 350 > 120 > np.median(ct[of(labels, "muscle")]) > 0
        assert np.median(ct[of(labels, "fat")]) < -40
        bone, muscle, fat = (np.median(mr[of(labels, name)]) for name in ("cortex", "muscle", "fat"))
        assert bone < muscle < fat


def test_gas_is_in_the_ct_alone():
    made = next(p for p in (pelvis(seed, (3, 128, 128)) for seed in range(20)) if of(p.labels.array, "gas").sum() > 20)
    gas = of(made.labels.array, "gas")
    assert np.median(made.ct.array[gas]) < -500 and np.median(made.mrcat.array[gas]) > -100


def test_repeats_and_differs():
    one, again, other = (pelvis(seed, (2, 32, 32)) for seed in (3, 3, 4))
    for name in ("mr", "mrcat", "ct", "labels"):
        first, second, third = (getattr(made, name).array for made in (one, again, other))
        np.testing.assert_array_equal(first, second)
        assert (first != third).any()
    assert one.ct.spacing == (5.0, 12.5, 12.5) and np.array_equal(one.ct.affine, one.mr.affine)


def test_the_source_lists_pairs_and_cts_of_other_people():
    cases = sources.open("phantom_pelvis", cases=5, cts=7, shape=[2, 16, 16], unlabelled=2)
    pairs = [case for case in cases if "mr" in case.images]
    others = [case for case in cases if "mr" not in case.images]
    assert [list(case.images) for case in pairs] == [["mr", "mrcat", "ct"]] * 5
    assert [list(case.images) for case in others] == [["ct"]] * 7
    assert len({case.group for case in cases}) == len({case.meta["seed"] for case in cases}) == 12
    assert sum(case.label is None for case in pairs) == 2
    volumes = [phantoms.read(address) for address in pairs[0].images.values()]
    assert len({v.shape for v in volumes}) == 1 and (volumes[0].array != volumes[2].array).any()
    assert not any("mr" not in c.images for c in sources.open("phantom_pelvis", cases=1, cts=0))


def test_the_source_knows_every_option_of_its_phantom():
    own = phantoms.parse(sources.open("phantom_pelvis", cases=1, cts=0)[0].images["mr"])[1]
    assert {**own, "seed": 0} == phantoms.options("pelvis")


@pytest.mark.parametrize("options, said", [
    ({"cts": -1}, "cts must be an integer from 0"), ({"cases": 0}, "cases must be an integer from 1"),
    ({"shape": "a,b"}, "shape must be"), ({"ctss": 1}, "did you mean 'cts'?"),
])  # fmt: skip
def test_bad_options_get_one_line(options, said):
    with pytest.raises((DataError, UserError)) as caught:
        sources.open("phantom_pelvis", **options)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("arguments", [{"seed": -1}, {"seed": 0, "shape": (0, 32, 32)}, {"seed": 0, "bias": 2.0}])
def test_bad_arguments(arguments):
    with pytest.raises(UserError, match="phantom pelvis"):
        pelvis(**arguments)
