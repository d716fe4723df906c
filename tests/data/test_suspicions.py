"""Warnings about cases: each fault is planted into a good set and found, and good sets raise none."""

import numpy as np
import pytest

from tfmed.data import census, sources
from tfmed.data.case import Case
from tfmed.data.suspicions import suspicions
from tfmed.io import Volume

pytestmark = pytest.mark.current

COUNT, SHAPE = 7, (24, 48, 48)
GOOD = {
    "phantom_liver_ct": {"cases": COUNT, "shape": SHAPE},
    "phantom_left_atrium": {"cases": COUNT, "shape": SHAPE},
    "phantom_brain_tumour": {"cases": COUNT, "shape": SHAPE},
    "phantom_pelvis": {"cases": COUNT, "cts": COUNT, "shape": SHAPE},
    "phantom_chest_ct": {"cases": COUNT, "shape": SHAPE},
}


@pytest.fixture(scope="module")
def livers():
    """[(Case, {name: Volume}, label map)] of phantoms of the liver."""
    cases = sources.open("phantom_liver_ct", cases=COUNT, shape=SHAPE)
    return [(case, *census.look(case, ["ct"])) for case in cases]


@pytest.mark.parametrize("source", GOOD)
def test_good_sets_raise_no_warning(source):
    cases = sources.open(source, **GOOD[source])
    facts = [census.facts(case, *census.look(case, list(case.images))) for case in cases]
    assert suspicions(facts, training={case.id for case in cases}) == []


# --- faults: what is done to case 3, the kind of warning, words of it -------------------------------------------------


def image(change):
    return lambda case, images, label: (case, {"ct": change(images["ct"], label)}, label)


def labels(change):
    return lambda case, images, label: (case, images, change(label))


def values(change):
    return image(lambda ct, _: ct.replace(array=change(ct.array.astype(np.float32))))


def sized(factor):
    affine = np.diag([factor, factor, factor, 1.0])
    return lambda case, images, label: (case, {"ct": images["ct"].replace(affine=images["ct"].affine @ affine)},
                                        label.replace(affine=label.affine @ affine))  # fmt: skip


def slices_twice_as_far(case, images, label):
    affine = np.diag([1.0, 1.0, 2.5, 1.0])
    return case, {"ct": images["ct"].replace(affine=images["ct"].affine @ affine)}, label


def mirrored(axis, also_label=True):
    def change(case, images, label):
        flipped = label.replace(array=np.flip(label.array, axis)) if also_label else label
        return case, {"ct": images["ct"].replace(array=np.flip(images["ct"].array, axis))}, flipped

    return change


FAULTS = {
    "label map as image": (image(lambda ct, label: label), "mask as image", "ct holds"),
    "mask as image": (image(lambda ct, label: label.replace(array=(label.array > 0) * np.uint8(255))), "mask as image",
                      "2 whole numbers, 0 to 255"),
    "spacing unlike the others": (slices_twice_as_far, "other spacing", "the others of about"),
    "labels outside of the body": (
        labels(lambda label: label.replace(array=np.eye(48, dtype="u1")[None, :, ::-1] * np.ones((24, 1, 1), "u1") *
                                           (np.arange(48) < 5))), "label outside", "another case, or moved"),
    "in centimetres": (sized(0.1), "length unit", "in cm?"),
    "in metres": (sized(0.001), "length unit", "in metres?"),
    "in micrometres": (sized(1000.0), "length unit", "in micrometres?"),
    "HU + 1024": (values(lambda ct: ct + 1024), "intensity unit", "HU + 1024"),
    "scaled to 0 .. 1": (values(lambda ct: (ct - ct.min()) / np.ptp(ct)), "intensity unit", "between 0 and 1"),
    "left and right": (mirrored(2), "mirrored", "seems to be mirrored, left and right"),
    "up and down": (mirrored(0), "mirrored", "seems to be mirrored, up and down"),
    "front and back": (mirrored(1), "mirrored", "ct seems to be mirrored, front and back"),
    "label map alone mirrored": (labels(lambda label: label.replace(array=label.array[..., ::-1])), "mirrored",
                                 "the label map seems to be mirrored, left and right"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_nothing_else(name, livers):
    change, kind, words = FAULTS[name]
    facts = [census.facts(*(change(*one) if index == 3 else one)) for index, one in enumerate(livers)]
    found = suspicions(facts)
    assert [(one.kind, one.cases) for one in found] == [(kind, (livers[3][0].id,))], found
    assert words in found[0].text


def test_a_scan_alone_is_told_by_what_it_holds(livers):
    """Where there are no others: HU by the image's name, or by the settings."""
    case, images, label = livers[0]
    moved = images["ct"].replace(array=images["ct"].array.astype(np.float32) + 1024)
    assert [one.kind for one in suspicions([census.facts(case, {"ct": moved}, label)])] == ["intensity unit"]
    plain = Case("a", "a", {"image": case.images["ct"]})
    facts = [census.facts(plain, {"image": moved}, None)]
    assert suspicions(facts) == []
    assert [one.kind for one in suspicions(facts, in_hounsfield=True)] == ["intensity unit"]


def test_a_class_that_no_training_case_has(livers):
    facts = [census.facts(*one) for one in livers]
    present = set(facts[0].labels)
    training = {one.id for one in facts[1:]}
    assert suspicions(facts, classes=present, training=training) == []
    (found,) = suspicions(facts, classes={*present, 9}, training=training)
    assert (found.kind, found.cases) == ("class missing", ()) and "label 9 in no training case" in found.text
    case, images, label = livers[0]
    array = label.array.copy()
    array[0, :3, :3] = 7
    only_tested = [census.facts(case, images, label.replace(array=array)), *facts[1:]]
    (found,) = suspicions(only_tested, training=training)
    assert (found.kind, found.cases) == ("class missing", (case.id,)) and case.id in found.text


# --- patients ---------------------------------------------------------------------------------------------------------


def patients(*groups, seed=0):
    """A case of noise for each group, each with voxels of its own."""
    for number, group in enumerate(groups):
        array = np.random.default_rng(seed + number).normal(0, 100, (8, 12, 12)).astype("f4")
        case = Case(f"case-{number}", group, {"mr": f"{number}.nii"})
        yield census.facts(case, {"mr": Volume(array, np.eye(4))}, None)


@pytest.mark.parametrize("groups, told", [
    (("p1_visit1", "p1_visit2", "p2_visit1"), [("case-0", "case-1")]),
    (("p1", "p1_followup", "p2"), [("case-0", "case-1")]),
    (("p1_left", "p1_right", "p2_left", "p2_right"), [("case-0", "case-1"), ("case-2", "case-3")]),
    (("p1", "p1", "p2"), []),
    (("benign_01", "benign_02", "malignant_01"), []),
    (("scan1", "scan2", "scan3"), []),
    (tuple(f"site_scan{k}" for k in range(20)), []),
])  # fmt: skip
def test_visits_of_one_patient_by_their_names(groups, told):
    assert [one.cases for one in suspicions(list(patients(*groups)))] == told


def test_the_same_voxels_under_two_names():
    first, second, _ = patients("a", "b", "c")
    array = np.random.default_rng(0).normal(0, 100, (8, 12, 12))
    copy = census.facts(Case("copy", "d", {"mr": "x.nrrd"}), {"mr": Volume(array.astype("f4"), np.eye(4))}, None)
    (found,) = suspicions([first, second, copy])
    assert (found.kind, found.cases) == ("patient split", ("case-0", "copy")) and "same voxels" in found.text


# --- what is measured -------------------------------------------------------------------------------------------------


def test_a_thumbnail_does_not_depend_on_how_voxels_are_stored():
    """Axes turned, the same places in the world: the same cells; values scaled by its own mean and deviation."""
    from tfmed.io import reorient

    volume = Volume(np.random.default_rng(0).normal(5, 2, (24, 36, 48)), np.diag([1.0, 1.0, 2.0, 1.0]))
    found = census.thumbnail(volume)
    assert found.shape == (census.CELLS,) * 3 and abs(found.mean()) < 1e-6 and found.std() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(census.thumbnail(reorient(volume, "PSL")), found, atol=1e-5)
    cells = volume.array.reshape(12, 2, 12, 3, 12, 4).mean((1, 3, 5))
    np.testing.assert_allclose(found, (cells - cells.mean()) / cells.std(), atol=1e-5)


def test_thin_volumes_have_thumbnails():
    found = census.thumbnail(Volume(np.arange(30.0).reshape(1, 5, 6), np.eye(4)))
    assert found.shape == (census.CELLS,) * 3 and np.isfinite(found).all()
    assert not census.thumbnail(Volume(np.ones((3, 3, 3)), np.eye(4))).any()


def test_facts_stay_small(livers):
    """However large a case is, some kilobytes are kept of it: memory does not grow with the data."""
    facts = census.facts(*livers[0])
    arrays = [*(one.thumbnail for one in facts.images.values()), facts.thumbnail]
    assert sum(array.nbytes for array in arrays) < 20_000


def test_labels_inside_the_body_may_lie_in_air():
    """Airways and lungs are as dark as the air outside, but enclosed."""
    image = np.full((4, 40, 40), -1000.0)
    image[:, 5:35, 5:35] = 50
    image[:, 15:25, 15:25] = -1000
    inside, outside = np.zeros(image.shape, "u1"), np.zeros(image.shape, "u1")
    inside[:, 16:24, 16:24], outside[:, 1:4, 1:30] = 1, 1
    volume = Volume(image, np.eye(4))
    assert census.outside_body(volume, volume.replace(array=inside)) == 0
    assert census.outside_body(volume, volume.replace(array=outside)) == 1
