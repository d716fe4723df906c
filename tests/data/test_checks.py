"""What is checked before training: one line per problem, with the file and the fix."""

import numpy as np
import pytest

from tfmed.data import phantoms
from tfmed.data.cache import Cache
from tfmed.data.case import Case
from tfmed.data.checks import CaseSpec, check_case, is_phantom, prepare_cases
from tfmed.data.preprocess import Window
from tfmed.errors import DataError
from tfmed.io import Volume, write_volume

pytestmark = pytest.mark.current

AFFINE = np.diag([0.8, 0.7, 2.5, 1.0])
BOTH = CaseSpec(label="required", label_values=(0, 1, 2))


def voxels(dtype="int16", shape=(5, 6, 7)):
    return np.random.default_rng(0).integers(-900, 900, shape).astype(dtype)


@pytest.fixture
def case(tmp_path):
    """A Case of an image and a label map, each good unless given otherwise."""

    def make(image=None, label=None, label_affine=AFFINE, name="case"):
        image = voxels() if image is None else image
        label = np.indices((5, 6, 7)).sum(axis=0).astype("uint8") % 3 if label is None else label
        for part, array, affine in (("image", image, AFFINE), ("label", label, label_affine)):
            write_volume(Volume(array, affine), tmp_path / f"{name}-{part}.nii")
        return Case(name, name, {"ct": str(tmp_path / f"{name}-image.nii")}, str(tmp_path / f"{name}-label.nii"))

    return make


def the_problem(case, case_spec=BOTH):
    """The only problem of a case; one line that ends with the fix."""
    (problem,) = check_case(case, case_spec)
    assert "\n" not in problem and ";" in problem
    return problem


def changed(array, value, where=(1, 2, 3)):
    array = array.copy()
    array[where] = value
    return array


def test_a_good_case_has_no_problem(case):
    assert check_case(case(), BOTH) == []
    assert check_case(case(), CaseSpec()) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(case, value):
    broken = case(changed(voxels("float32"), value))
    problem = the_problem(broken)
    assert problem == (f"{broken.images['ct']}: 1 voxels are NaN or infinite; "
                       "replace them (for CT by -1000 HU) or remove the case")  # fmt: skip


@pytest.mark.parametrize("image, words", [
    (np.full((5, 6, 7), -1000, "int16"), "every voxel is -1000; the image is empty"),
    (voxels(shape=(1, 6, 7)), "shape (1, 6, 7) is smaller than the 2 x 2 x 2 voxels needed"),
    (voxels(shape=(5, 6, 1)), "shape (5, 6, 1) is smaller than"),
    (voxels(shape=(5, 6, 7, 3)), "has 3 channels where one is needed; split it"),
], ids=["constant", "slices", "columns", "channels"])  # fmt: skip
def test_images_that_cannot_be_used(case, image, words):
    broken = case(image)
    problem = the_problem(broken, CaseSpec())
    assert problem.startswith(broken.images["ct"]) and words in problem


def test_the_method_says_how_many_slices_are_enough(case):
    assert "smaller than the 6 x 2 x 2 voxels" in the_problem(case(), CaseSpec(minimum_shape=(6, 2, 2)))
    assert check_case(case(), CaseSpec(minimum_shape=(5, 6, 7))) == []


def test_a_missing_modality(case):
    problem = the_problem(case(), CaseSpec(images=("mr",)))
    assert problem == "case: has no 'mr' image (has: ct); add it or remove the case"


def test_a_missing_label(case):
    made = case()
    bare = Case("bare", "bare", made.images)
    assert the_problem(bare) == "bare: has no label map; add one or remove the case"
    assert check_case(bare, CaseSpec(label="optional")) == []


@pytest.mark.parametrize("part", ["image", "label"])
def test_a_missing_file(case, tmp_path, part):
    made = case()
    (tmp_path / f"case-{part}.nii").unlink()
    assert the_problem(made).startswith(f"{tmp_path / f'case-{part}.nii'}: ")


@pytest.mark.parametrize("part", ["image", "label"])
def test_a_damaged_file(case, tmp_path, part):
    made, path = case(), tmp_path / f"case-{part}.nii"
    path.write_bytes(path.read_bytes()[:-5])
    assert the_problem(made).startswith(f"{path}: ")


def shifted(millimetres):
    affine = AFFINE.copy()
    affine[0, 3] = millimetres
    return affine


@pytest.mark.parametrize("options, words", [
    ({"label": np.ones((5, 6, 8), "uint8")}, "its shape (5, 6, 8) is not the (5, 6, 7) of"),
    ({"label_affine": np.diag([0.8, 0.7, 2.6, 1.0])}, "its corners lie up to"),
    ({"label_affine": shifted(3)}, "its corners lie up to"),
    ({"label_affine": np.diag([-0.8, 0.7, 2.5, 1.0])}, "its corners lie up to"),
    ({"label": np.full((5, 6, 7), 7, "uint8")}, "holds the label values [7] where [0, 1, 2] are expected"),
    ({"label": np.full((5, 6, 7), -1, "int16")}, "holds the label values [-1] where"),
    ({"label": np.full((5, 6, 7), 0.5, "float32")}, "holds values that are not whole numbers; is it a label map?"),
    ({"label": np.full((5, 6, 7), np.nan, "float32")}, "holds values that are not whole numbers"),
], ids=["shape", "spacing", "origin", "flip", "value", "negative", "fraction", "nan"])  # fmt: skip
def test_labels_that_do_not_fit(case, options, words):
    broken = case(**options)
    problem = the_problem(broken)
    assert problem.startswith(broken.label) and words in problem
    assert check_case(broken, CaseSpec()) == []  # who needs no labels does not mind


def test_rounding_of_the_geometry_is_forgiven(case):
    assert check_case(case(label_affine=shifted(0.005)), BOTH) == []


def test_whole_numbers_may_be_stored_as_floats(case):
    assert check_case(case(label=np.full((5, 6, 7), 2.0, "float32")), BOTH) == []
    assert check_case(case(label=np.full((5, 6, 7), 99.0, "float32")), CaseSpec(label="optional")) == []


def test_all_problems_of_a_case_are_listed(case):
    broken = case(changed(voxels("float32"), np.nan), np.full((5, 6, 7), 7, "uint8"))
    assert len(check_case(broken, BOTH)) == 2
    assert len(check_case(broken, CaseSpec(images=("ct", "mr"), label="required", label_values=(0,)))) == 3


# --- filling the cache ----------------------------------------------------------------------------------------------


def cached(folder):
    return len(list(folder.rglob("*.npy")))


def test_preparing_fills_the_cache_and_then_trusts_it(case, tmp_path):
    cases = [case(name=f"case{i}", image=voxels() + i) for i in range(3)]
    cache = Cache(tmp_path / "cache", (Window(),))
    prepare_cases(cases, cache, BOTH)
    assert cached(tmp_path / "cache") == 6
    assert all(cache.has(made, BOTH) for made in cases)
    again = Cache(tmp_path / "cache", (Window(),))
    prepare_cases(cases, again, BOTH)
    assert cached(tmp_path / "cache") == 6


def test_labels_are_prepared_only_where_they_are_used(case, tmp_path):
    prepare_cases([case()], Cache(tmp_path / "cache", ()), CaseSpec())
    assert cached(tmp_path / "cache") == 1


def test_the_first_problem_is_told_and_the_others_are_counted(case, tmp_path):
    cases = [case(name="good"), case(name="one", image=np.zeros((5, 6, 7), "int16")),
             case(name="two", image=voxels(shape=(1, 6, 7)))]  # fmt: skip
    cache = Cache(tmp_path / "cache", ())
    with pytest.raises(DataError, match=r"one-image\.nii: every voxel is 0.*and 1 more; 'tfmed prepare' lists"):
        prepare_cases(cases, cache, CaseSpec())
    assert cache.has(cases[0], CaseSpec())  # work that was done is kept
    assert not cache.has(cases[1], CaseSpec()) and not cache.has(cases[2], CaseSpec())


def test_a_prepared_case_that_was_damaged_since_is_noticed(case, tmp_path):
    made = case()
    prepare_cases([made], Cache(tmp_path / "cache", ()), CaseSpec())
    case(image=np.zeros((5, 6, 7), "int16"))
    with pytest.raises(DataError, match="every voxel is 0"):
        prepare_cases([made], Cache(tmp_path / "cache", ()), CaseSpec())


def test_no_case_at_all(tmp_path):
    with pytest.raises(DataError, match=r"no case to train on; check data\.root"):
        prepare_cases([], Cache(tmp_path, ()), CaseSpec())


def test_progress_counts_the_cases_in_files(case, tmp_path):
    address = phantoms.address("chest_ct", seed=1, shape=(16, 16, 16))
    phantom = Case("phantom", "phantom", {"ct": address})
    assert is_phantom(phantom) and not is_phantom(case())
    seen = []

    def progress(items, text):
        seen.extend(items)
        return items

    prepare_cases([phantom, case()], Cache(tmp_path / "cache", ()), CaseSpec(), progress)
    assert [made.id for made in seen] == ["case"]
    assert check_case(phantom, CaseSpec()) == []
