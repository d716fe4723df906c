"""The phantom of hearts: repeatable, one anatomy by two protocols, plausible parts."""

import numpy as np
import pytest
from scipy import ndimage

from tfmed.data import phantoms, sources
from tfmed.data.phantoms.cardiac import LABELS, PROTOCOLS
from tfmed.errors import DataError, UserError

pytestmark = pytest.mark.current

SHAPE = {"whole_heart": (32, 40, 40), "short_axis": (12, 40, 40)}


def made(seed, protocol, **options):
    return phantoms.cardiac(seed, options.pop("shape", SHAPE[protocol]), protocol, **options)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_repeats_and_differs(protocol):
    one, again, other = (made(seed, protocol) for seed in (3, 3, 4))
    for name in ("volume", "labels"):
        first, second, third = (getattr(scan, name).array for scan in (one, again, other))
        np.testing.assert_array_equal(first, second)
        assert (first != third).any()
    assert one.volume.array.dtype == np.int16 and one.volume.array.min() >= 0 and one.labels.array.dtype == np.uint8
    assert np.array_equal(one.volume.affine, one.labels.affine) and one.volume.shape == SHAPE[protocol]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_parts_are_whole_and_of_plausible_size(protocol):
    """In millilitres; a part is one piece but for crumbs, and its blood brighter than its muscle."""
    limits = {
        "myocardium": (60, 350),
        "blood_pool": (150, 900),
        "left_ventricle": (30, 250),
        "right_ventricle": (20, 250),
    }
    for seed in range(8):
        scan = made(seed, protocol)
        litres = np.prod(scan.labels.spacing) / 1000
        levels = {}
        for name, number in list(LABELS[protocol].items())[1:]:
            mask = scan.labels.array == number
            low, high = limits[name]
            assert low < mask.sum() * litres < high, (seed, name, mask.sum() * litres)
            sizes = np.bincount(ndimage.label(mask, np.ones((3, 3, 3)))[0].ravel())[1:]
            least = 0.5 if name == "blood_pool" else 0.93  # valves part chambers
            assert sizes.max() > least * sizes.sum(), (seed, name, sizes)
            levels[name] = np.median(scan.volume.array[mask])
        assert levels["myocardium"] < 0.9 * max(levels.values())
        touching = ndimage.binary_dilation(scan.labels.array == LABELS[protocol]["myocardium"])
        assert (touching & (scan.labels.array > 0)).sum() > 0.3 * (scan.labels.array > 0).sum()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_labels_depend_neither_on_noise_nor_much_on_the_shape(protocol):
    plain = made(2, protocol, noise=0.0, bias=0.0)
    np.testing.assert_array_equal(plain.labels.array, made(2, protocol).labels.array)
    fine = made(2, protocol, shape=tuple(2 * side for side in SHAPE[protocol])).labels.array > 0
    a, b, c = SHAPE[protocol]
    pooled = fine.reshape(a, 2, b, 2, c, 2).mean(axis=(1, 3, 5)) >= 0.5
    mask = plain.labels.array > 0
    assert 2 * (pooled & mask).sum() / (pooled.sum() + mask.sum()) > 0.93


def test_protocols_differ_in_contrast():
    """Muscle is darker beside blood in short-axis scans."""
    shares = {}
    for protocol in PROTOCOLS:
        scans = [made(seed, protocol, noise=0.0, bias=0.0) for seed in range(4)]
        number = LABELS[protocol]
        blood = "blood_pool" if protocol == "whole_heart" else "left_ventricle"
        shares[protocol] = np.mean([
            np.median(s.volume.array[s.labels.array == number["myocardium"]])
            / np.median(s.volume.array[s.labels.array == number[blood]]) for s in scans
        ])  # fmt: skip
    assert shares["short_axis"] < 0.5 < shares["whole_heart"] < 0.85


def test_source():
    cases = sources.open("phantom_cardiac", cases=4, seed=2, shape=[12, 16, 16], protocol="short_axis", unlabelled=1)
    assert [list(case.images) for case in cases] == [["mr"]] * 4
    assert [case.label is None for case in cases] == [False] * 3 + [True]
    assert phantoms.read(cases[0].images["mr"]).shape == (12, 16, 16)
    assert set(np.unique(phantoms.read(cases[0].label).array)) == {0, 1, 2, 3}
    with pytest.raises((DataError, UserError), match="protocol must be whole_heart or short_axis"):
        made(0, "whole_heart") and phantoms.cardiac(0, (8, 8, 8), "long_axis")
