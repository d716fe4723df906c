"""Rated nodules of LIDC-IDRI in a miniature tree of the true layout."""

import numpy as np
import pytest

from tests.support.lidc import UID, rated, readers_xml, square, write_series
from tfmed.data import nodule_ratings, sources
from tfmed.data.case import Case
from tfmed.data.classes import conditions_of
from tfmed.errors import DataError
from tfmed.io import read_volume

pytestmark = pytest.mark.one_stack

RATINGS = dict(subtlety=4, internalStructure=1, calcification=6, sphericity=3, margin=4, lobulation=1, spiculation=1,
               texture=5, malignancy=4)  # fmt: skip
NAMES = ("malignancy", "calcification", "margin", "sphericity", "subtlety", "texture")


def scan(root, number, *sessions):
    """A patient with one CT of random voxels, 4 slices of 32 x 32; returns the voxels."""
    series = root / f"LIDC-IDRI-{number:04d}" / "study" / "series"
    array = np.random.default_rng(number).integers(-1000, 400, (4, 32, 32), np.int16)
    write_series(series, f"{UID}{1000 + number}", array=array)
    (series / "readers.xml").write_text(readers_xml(*sessions), encoding="utf-8")
    return array


def nodule(name="n", low=10, high=14, z=-96.0, **changes):
    return rated(name, square(z, low, high), **RATINGS | changes)


def opened(root, **options):
    return sources.open("lidc_nodules", root, **dict(pixels=8, matrix=32) | options)


def test_nodules_that_three_readers_rated(tmp_path):
    """Of one scan: one that three agree on, one of two readers, one of undecided malignancy, one without ratings."""
    far, middle, empty = dict(low=1, high=5, z=-100.0), dict(low=22, high=30, z=-94.0), square(-98.0, 1, 5)
    array = scan(
        tmp_path, 899,
        [nodule(texture=1), nodule(**far), nodule(**middle, malignancy=3), rated("bare", empty)],
        [nodule(texture=5), nodule(**far), nodule(**middle, malignancy=1), rated("bare", empty)],
        [nodule(low=10, high=16, texture=4, calcification=5), nodule(**middle, malignancy=5), rated("bare", empty)],
    )  # fmt: skip
    scan(tmp_path, 898, *[[nodule(malignancy=2)]] * 4)
    other, case = opened(tmp_path)
    assert (other.id, other.group, other.meta["part"]) == ("LIDC-IDRI-0898-1", "LIDC-IDRI-0898", "train")
    assert (case.group, case.meta["part"], case.meta["readers"]) == ("LIDC-IDRI-0899", "test", 3)
    assert case.meta["medians"]["texture"] == 4 and case.meta["medians"]["calcification"] == 6
    assert case.meta["condition"] == dict(malignancy=1, calcification=1, margin=1, sphericity=0, subtlety=1, texture=1)
    assert other.meta["condition"]["malignancy"] == 0 and other.meta["readers"] == 4
    side = 0.7 * np.array([4, 4, 6])
    diameter = (2 * side / np.sqrt(np.pi)).mean()
    assert case.meta["diameter_mm"] == pytest.approx(diameter) and case.meta["class"] == "2-4"
    patch = read_volume(case.images["ct"], series_uid=case.meta["series_uid"])
    first = 9  # of 8 pixels whose middle, 12.5, is nearest to the mean of 12, 12 and 13
    np.testing.assert_array_equal(patch.array[0], array[2, first : first + 8, first : first + 8])
    whole = read_volume(case.images["ct"].partition("::")[0])
    np.testing.assert_allclose(patch.affine[:3, 3], (whole.affine @ [first, first, 2, 1])[:3], atol=1e-3)
    assert [len(opened(tmp_path, readers=readers)) for readers in (2, 3, 4)] == [3, 2, 1]
    assert opened(tmp_path, first_test=898)[0].meta["part"] == "test"
    assert opened(tmp_path, thresholds={"texture": 4.5})[1].meta["condition"] == {"texture": 0}
    assert opened(tmp_path, sizes_mm=[1, 2, 3.5])[1].meta["class"] == "2-3.5"


def test_the_seventeen_numbers():
    conditions = [dict(zip(NAMES, bits, strict=True)) for bits in ((0, 0, 0, 0, 0, 0), (1, 0, 1, 0, 0, 1))]
    sizes = [nodule_ratings.size_class(mm) for mm in (2.5, 11)]
    cases = [Case(str(k), "p", {}, None, {"class": size, "condition": one})
             for k, (size, one) in enumerate(zip(sizes, conditions, strict=True))]  # fmt: skip
    found = conditions_of(cases, ("2-4", "4-6", "6-8", "8-10", "10-12"), NAMES)
    np.testing.assert_array_equal(found, [
        [1, 0, 0, 0, 0] + [1, 0] * 6,
        [0, 0, 0, 0, 1] + [0, 1, 1, 0, 0, 1, 1, 0, 1, 0, 0, 1],
    ])  # fmt: skip
    with pytest.raises(DataError, match=r"0: its source does not say whether 'lobulation' is 0 or 1; it tells malig"):
        conditions_of(cases, ("2-4", "10-12"), ("lobulation",))


@pytest.mark.parametrize("options, said", [
    ({"thresholds": {"colour": 3}}, "thresholds are of subtlety, internalStructure"),
    ({"thresholds": {}}, "thresholds must be a section"),
    ({"thresholds": {"margin": "4"}}, "the threshold of margin must be a number"),
    ({"sizes_mm": [4, 2, 8]}, "sizes_mm must be at least three rising numbers"),
    ({"readers": 0}, "readers must be above 0"),
    ({"pixels": 33}, "pixels from 1 to matrix"),
    ({"readers": 5}, "no nodule was rated by 5 readers"),
])  # fmt: skip
def test_bad_options(tmp_path, options, said):
    scan(tmp_path, 1, *[[nodule()]] * 4)
    with pytest.raises(DataError, match=said) as caught:
        opened(tmp_path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rating", ["7", "-1", "many", "²", "1.5"])
def test_a_rating_that_is_none(tmp_path, rating):
    scan(tmp_path, 1, *[[nodule(margin=rating)]] * 3)
    with pytest.raises(DataError, match=r"readers.xml: margin is rated '.*', and not 1 to 6; copy the file again"):
        opened(tmp_path)


def test_small_nodules_have_ratings_of_zero(tmp_path):
    scan(tmp_path, 1, [nodule(), nodule("small", 20, 24, z=-94.0, margin=0)], *[[nodule()]] * 2)
    marks = sources.open("lidc_idri", tmp_path)[0].meta["nodules"]
    assert [len(mark["ratings"]) for mark in marks] == [9, 8, 9, 9] and marks[0]["ratings"] == RATINGS
