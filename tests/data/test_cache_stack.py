"""Prepared cases of several images: channels in order, never stale, never half, one grid."""

import dataclasses
import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfmed.data import phantoms, preprocess
from tfmed.data.cache import Cache
from tfmed.data.case import Case
from tfmed.data.checks import CaseSpec, check_case, fill, prepare_cases
from tfmed.data.preprocess import Crop, CropForeground, Orient, ZScore
from tfmed.data.readers import read_case
from tfmed.errors import DataError
from tfmed.io import Volume, write_volume

pytestmark = pytest.mark.current

AFFINE = np.array([[-0.8, 0, 0, 91.5], [0, 0.7, 0, -120.25], [0, 0, 2.5, -310.0], [0, 0, 0, 1]])
STEPS = (CropForeground(), Orient(), Crop(shape=(None, 8, 9)))
NAMES = ("flair", "t1", "t2")
WANTS = CaseSpec(images=NAMES, label="optional", label_values=(0, 1, 2, 4), stack=True)


def scans(folder, seed=0, shape=(6, 10, 12)):
    """A case of three images and a label map that holds 0, 1, 2 and 4."""
    draw = np.random.default_rng(seed)
    for name in NAMES:
        array = draw.integers(-900, 900, shape).astype("int16")
        array[0] = 0
        write_volume(Volume(array, AFFINE), folder / f"{name}.nii")
    label = np.array([0, 1, 2, 4], "uint8")[draw.integers(0, 4, shape)]
    write_volume(Volume(label, AFFINE), folder / "label.nii")
    return Case("case", "case", {n: str(folder / f"{n}.nii") for n in NAMES}, str(folder / "label.nii"))


@pytest.fixture
def case(tmp_path):
    return scans(tmp_path)


def assert_fresh(cache, case, case_spec=WANTS):
    """What the cache gives equals what preprocessing gives now."""
    images, label = preprocess.run_together(cache.steps, *read_case(case, case_spec))
    found = cache.stack(case, case_spec)
    for k, image in enumerate(images):
        np.testing.assert_array_equal(found.image[..., k], image.array.astype(cache.image_dtype))
    np.testing.assert_array_equal(found.affine, images[0].affine)
    assert (found.label is None) == (label is None) == (found.voxels is None)
    if label is not None:
        classes = preprocess.class_labels(label, case_spec.label_values).array
        np.testing.assert_array_equal(found.label, classes)
        assert found.voxels == np.bincount(classes.ravel(), minlength=len(case_spec.label_values)).tolist()
    return found


def entries(folder):
    return len(list(pathlib.Path(folder).rglob("*.json")))


def test_channels_in_order_as_read_only_memory_maps(case, tmp_path):
    for _ in range(2):
        found = assert_fresh(Cache(tmp_path / "cache", STEPS), case)
    for array in (found.image, found.label):
        assert isinstance(array, np.memmap) and not array.flags.writeable
    assert found.image.shape == (*found.label.shape, 3) and found.label.dtype == np.uint8
    assert entries(tmp_path / "cache") == 1


@pytest.mark.parametrize("same_cache", [True, False], ids=["one object", "a new one"])
@pytest.mark.parametrize("change", [
    {"images": NAMES[::-1]}, {"images": NAMES[:1]}, {"images": ("t2", "t1")}, {"label": "none"},
    {"label_values": (4, 2, 1, 0)}, {"label_values": (0, 1, 2, 3, 4)}, {"label": "required"},
], ids=str)  # fmt: skip
def test_other_wants_never_read_a_stale_entry(case, tmp_path, change, same_cache):
    cache = Cache(tmp_path / "cache", STEPS)
    assert_fresh(cache, case)
    cache = cache if same_cache else Cache(tmp_path / "cache", STEPS)
    assert_fresh(cache, case, dataclasses.replace(WANTS, **change))
    assert_fresh(cache, case)


@pytest.mark.parametrize("steps, dtype", [
    (STEPS[1:], "float32"), (STEPS[::-1], "float32"), ((*STEPS, ZScore()), "float32"), (STEPS, "float16"),
    ((*STEPS[:2], Crop(shape=(None, 8, 9), fill=-1)), "float32"),
])  # fmt: skip
def test_other_steps_never_read_a_stale_entry(case, tmp_path, steps, dtype):
    assert_fresh(Cache(tmp_path / "cache", STEPS), case)
    assert_fresh(Cache(tmp_path / "cache", steps, dtype), case)
    assert entries(tmp_path / "cache") == 2


@pytest.mark.parametrize("file", [*(f"{name}.nii" for name in NAMES), "label.nii"])
def test_a_changed_file_is_noticed(case, tmp_path, file):
    assert_fresh(Cache(tmp_path / "cache", STEPS), case)
    data = bytearray((tmp_path / file).read_bytes())
    data[-1] ^= 1
    (tmp_path / file).write_bytes(data)
    cache = Cache(tmp_path / "cache", STEPS)
    assert not cache.has(case, WANTS)
    try:
        assert_fresh(cache, case)
    except DataError as error:  # the bit made a label that is none
        assert file == "label.nii" and "holds [" in str(error) and str(error).startswith("case: ")


def test_swapped_files_and_labels_are_noticed(case, tmp_path):
    cache = Cache(tmp_path / "cache", STEPS)
    assert_fresh(cache, case)
    images = dict(case.images) | {"t1": case.images["t2"], "t2": case.images["t1"]}
    for other in (
        dataclasses.replace(case, images=images),
        dataclasses.replace(case, label=None),
        dataclasses.replace(case, meta={"label_values": {1: 2, 2: 1, 4: 4}}),
        dataclasses.replace(case, meta={"label_values": {1: 1, 2: 1, 4: 1}}),
        case,
    ):
        assert_fresh(cache, other)
        assert_fresh(Cache(tmp_path / "cache", STEPS), other)
    assert entries(tmp_path / "cache") == 5


@pytest.mark.parametrize("lost", ["image", "label", "note"])
def test_half_an_entry_is_made_again(case, tmp_path, lost):
    Cache(tmp_path / "cache", STEPS).stack(case, WANTS)
    (note,) = (tmp_path / "cache").rglob("*.json")
    files = {"image": note.with_suffix(".npy"), "label": note.with_name(f"{note.stem}-label.npy"), "note": note}
    files[lost].unlink()
    if lost == "note":  # as a killed process leaves it: arrays first, the note last
        for name in ("image", "label"):
            files[name].write_bytes(files[name].read_bytes()[:50])
    cache = Cache(tmp_path / "cache", STEPS)
    assert not cache.has(case, WANTS)
    assert_fresh(cache, case)
    assert cache.has(case, WANTS)


def test_channels_of_one_file_are_different_images(tmp_path):
    array = np.random.default_rng(0).integers(1, 900, (5, 6, 7, 4)).astype("int16")
    write_volume(Volume(array, AFFINE), tmp_path / "all.nii.gz")
    file, cache = str(tmp_path / "all.nii.gz"), Cache(tmp_path / "cache", ())
    case_spec = CaseSpec(images=("a", "b"), stack=True)
    for a, b in ((0, 1), (1, 0), (2, 3), (0, 0)):
        chosen = Case("case", "case", {"a": f"{file}::{a}", "b": f"{file}::{b}"})
        assert check_case(chosen, case_spec) == []
        for made in (cache.stack(chosen, case_spec), Cache(tmp_path / "cache", ()).stack(chosen, case_spec)):
            np.testing.assert_array_equal(made.image, array[..., [a, b]])
    assert entries(tmp_path / "cache") == 4
    write_volume(Volume(array + 1, AFFINE), tmp_path / "all.nii.gz")
    np.testing.assert_array_equal(Cache(tmp_path / "cache", ()).stack(chosen, case_spec).image, array[..., [0, 0]] + 1)


def test_padding_is_background_whatever_its_number(tmp_path):
    label = np.array([[[5, 7], [7, 5]]], "uint8")
    for name, values in (("image", label * 2), ("label", label)):
        write_volume(Volume(values, AFFINE), tmp_path / f"{name}.nii")
    case = Case("case", "case", {"mr": str(tmp_path / "image.nii")}, str(tmp_path / "label.nii"))
    case_spec = CaseSpec(images=("mr",), label="optional", label_values=(5, 7), stack=True)
    found = Cache(tmp_path / "cache", (Crop(shape=(1, 4, 4)),)).stack(case, case_spec)
    np.testing.assert_array_equal(found.label[0], np.pad([[0, 1], [1, 0]], 1))
    assert found.voxels == [14, 2]


def test_phantoms_need_no_files(tmp_path):
    parts = {n: phantoms.address("brain_tumour", seed=3, shape=(16, 24, 24), part=n) for n in ("flair", "t1", "label")}
    label = parts.pop("label")
    case = Case("phantom", "phantom", parts, label)
    case_spec = dataclasses.replace(WANTS, images=("t1", "flair"))
    prepare_cases([case], Cache(tmp_path / "cache", STEPS), case_spec)
    assert_fresh(Cache(tmp_path / "cache", STEPS), case, case_spec)


def test_float16_refuses_what_it_cannot_hold(tmp_path):
    """Infinite voxels in the cache would spoil a run in silence."""
    for name, largest in (("fits", 65504), ("bursts", 65520), ("negative", -70000)):
        array = np.zeros((4, 5, 6), "float32")
        array[1, 2, 3] = largest
        write_volume(Volume(array, AFFINE), tmp_path / f"{name}.nii")
        case = Case(name, name, {"ct": str(tmp_path / f"{name}.nii")})
        for stack in (True, False):
            problems = fill(case, Cache(tmp_path / "cache", (), "float16"), CaseSpec(stack=stack))
            if name == "fits":
                assert problems == []
            else:
                (line,) = problems
                assert name in line and "data.cache_dtype float16" in line and "float32" in line


def test_problems_of_steps_are_listed_with_the_others(case, tmp_path):
    """`tfmed prepare` shows all of them; training the first one, with the case's name."""
    empty = dataclasses.replace(case, id="empty")
    cache = Cache(tmp_path / "cache", (CropForeground(above=1e6),))
    assert fill(empty, cache, WANTS) == [
        "empty: crop_foreground: no voxel is above 1e+06; lower it, or remove the case"
    ]
    with pytest.raises(DataError, match=r"^empty: crop_foreground.*and 1 more"):
        prepare_cases([empty, case], cache, WANTS)
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_a_label_map_has_no_channels(case, tmp_path):
    write_volume(Volume(np.ones((6, 10, 12, 2), "uint8"), AFFINE), tmp_path / "label.nii")
    (problem,) = check_case(case, WANTS)
    assert problem.startswith(case.label) and "2 channels where one is needed" in problem


def test_images_on_other_grids_are_refused(case, tmp_path):
    moved = AFFINE.copy()
    moved[0, 3] += 3
    write_volume(Volume(np.arange(720, dtype="int16").reshape(6, 10, 12), moved), tmp_path / "t1.nii")
    (problem,) = check_case(case, WANTS)
    assert problem.startswith(case.images["t1"]) and "its corners lie" in problem and "resample" in problem


@given(order=st.permutations(NAMES), values=st.permutations([0, 1, 2, 4]))
def test_any_order_of_images_and_values(order, values, shared):
    """One cache for all of them: every entry is its own."""
    case, cache = shared
    assert_fresh(cache, case, dataclasses.replace(WANTS, images=tuple(order), label_values=tuple(values)))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    return scans(folder), Cache(folder / "cache", (Orient(),))
