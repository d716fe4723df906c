"""Sources of segmentation data sets, each against a miniature of its true layout; and their label values."""

import json
import pathlib

import h5py
import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import nibabel
import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk

from tests.io.test_io_addresses import DOWN, write_pictures, write_slices
from tfmed.data import sources
from tfmed.data.labels import relabel
from tfmed.errors import DataError, UserError
from tfmed.io import Volume, read_volume

pytestmark = pytest.mark.current


def nifti(path, value=0, shape=(5, 4, 3), dtype="i2"):
    """A NIfTI of one value, as nibabel writes it; `shape` is (x, y, z[, channel])."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.broadcast_to(np.asarray(value, dtype), shape).copy(), np.diag([1.0, 1, 2, 1]))
    nibabel.save(image, str(path))
    shadow(path)
    return path


def shadow(path):
    """What macOS puts beside a file into an archive."""
    (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7 Mac OS X")


def only(cases, key, value):
    return [case.id for case in cases if case.meta.get(key) == value]


def refused(name, root, said, **options):
    with pytest.raises(UserError) as caught:
        sources.open(name, root, **options)
    text = str(caught.value)
    assert said in text and "\n" not in text and (";" in text or "did you mean" in text), text
    return text


def label_of(case):
    """The label map of a case with its stored numbers made classes."""
    return relabel(read_volume(case.label), case.meta["label_values"], case.label).array


# --- BraTS ------------------------------------------------------------------------------------------------------------

BRATS = ("flair", "t1", "t1ce", "t2")


def brats(place, kinds=(*BRATS, "seg"), end=".nii.gz"):
    for number, kind in enumerate(kinds):
        nifti(place / f"{place.name}_{kind}{end}", [0, 4, 4, 0, 1] if kind == "seg" else number, (3, 4, 5))


def test_brats2019(tmp_path):
    root = tmp_path / "MICCAI_BraTS_2019_Data_Training"
    for grade, name in (("HGG", "BraTS19_CBICA_AAB_1"), ("HGG", "BraTS19_2013_2_1"), ("LGG", "BraTS19_TCIA10_449_1"),
                        ("LGG", "BraTS19_TCIA10_449_2")):  # fmt: skip
        brats(root / grade / name)
    (root / "name_mapping.csv").write_text("Grade\n", encoding="utf-8")
    cases = sources.open("brats2019", root)
    assert [case.group for case in cases] == ["BraTS19_2013_2", "BraTS19_CBICA_AAB"] + ["BraTS19_TCIA10_449"] * 2
    assert only(cases, "grade", "HGG") == [case.id for case in cases[:2]] and len(only(cases, "grade", "LGG")) == 2
    assert only(cases, "part", "train") == [case.id for case in cases]
    assert list(cases[0].images) == list(BRATS)
    assert [read_volume(cases[0].images[kind]).array[0, 0, 0] for kind in BRATS] == [0, 1, 2, 3]
    assert read_volume(cases[0].label).array[:, 0, 0].tolist() == [0, 4, 4, 0, 1]
    assert sources.open("brats2019", tmp_path) == cases
    hgg = sources.open("brats2019", root / "HGG")
    assert [case.meta.get("grade") for case in hgg] == ["HGG", "HGG"]


def test_brats_validation_and_later_releases(tmp_path):
    brats(tmp_path / "MICCAI_BraTS_2019_Data_Validation" / "BraTS19_CBICA_AAM_1", BRATS, ".nii")
    brats(tmp_path / "MICCAI_BraTS2020_TrainingData" / "BraTS20_Training_001")
    brats(tmp_path / "MICCAI_BraTS2020_TrainingData" / "BraTS20_Training_355", BRATS)
    nifti(tmp_path / "MICCAI_BraTS2020_TrainingData" / "BraTS20_Training_355" / "W39_1998.09.19_Segm.nii", 4)
    brats(tmp_path / "BraTS2021_00000")
    brats(tmp_path / "BraTS2021_00002")
    cases = {case.id: case for case in sources.open("brats2019", tmp_path)}
    flat = cases["BraTS19_CBICA_AAM_1"]
    assert flat.label is None and flat.meta == {"part": "validation"} and flat.group == "BraTS19_CBICA_AAM"
    assert cases["BraTS20_Training_355"].label.endswith("Segm.nii")
    assert cases["BraTS20_Training_001"].meta["part"] == "train" and "grade" not in cases["BraTS20_Training_001"].meta
    assert "part" not in cases["BraTS2021_00000"].meta
    assert len({case.group for case in cases.values()}) == len(cases) == 5


def test_brats_that_does_not_fit(tmp_path):
    brats(tmp_path / "a" / "BraTS19_X_Y_1", ("seg",))
    refused("brats2019", tmp_path, "a segmentation without images")
    brats(tmp_path / "a" / "BraTS19_X_Y_1", ("t1",))
    assert list(sources.open("brats2019", tmp_path)[0].images) == ["t1"]
    brats(tmp_path / "b" / "BraTS19_X_Y_1")
    refused("brats2019", tmp_path, "the same brats2019 case")
    brats(tmp_path / "b" / "BraTS19_X_Y_1", end=".nii")
    refused("brats2019", tmp_path / "b", "remove one of the two")


# --- KiTS19, LiTS -----------------------------------------------------------------------------------------------------


def test_kits19(tmp_path):
    for number in (0, 1, 210):
        nifti(tmp_path / "data" / f"case_{number:05d}" / "imaging.nii.gz", number)
    for number in (0, 1):
        nifti(tmp_path / "data" / f"case_{number:05d}" / "segmentation.nii.gz", 2)
    (tmp_path / "data" / "kits.json").write_text("[]", encoding="utf-8")
    cases = sources.open("kits19", tmp_path)
    assert [case.id for case in cases] == ["case_00000", "case_00001", "case_00210"] == [case.group for case in cases]
    assert [read_volume(case.images["ct"]).array[0, 0, 0] for case in cases] == [0, 1, 210]
    assert [case.label and pathlib.Path(case.label).parent.name for case in cases] == ["case_00000", "case_00001", None]
    assert sources.open("kits19", tmp_path / "data") == cases
    for number in (0, 1):
        (tmp_path / "data" / f"case_{number:05d}" / "imaging.nii.gz").unlink()
    text = refused("kits19", tmp_path, "has no imaging.nii.gz (2 cases are like this)")
    assert "case_00000" in text


def test_lits(tmp_path):
    for number in (0, 27):
        nifti(tmp_path / "Training Batch 1" / f"volume-{number}.nii", number)
        nifti(tmp_path / "Training Batch 1" / f"segmentation-{number}.nii", 1)
    nifti(tmp_path / "Training Batch 2" / "volume-28.nii.gz", 28)
    nifti(tmp_path / "test-volume-0.nii", 70)
    cases = sources.open("lits", tmp_path)
    assert [case.id for case in cases] == ["test-volume-000", "volume-000", "volume-027", "volume-028"]
    assert [case.meta["part"] for case in cases] == ["test", "train", "train", "train"]
    assert [read_volume(case.images["ct"]).array[0, 0, 0] for case in cases] == [70, 0, 27, 28]
    assert [case.label and pathlib.Path(case.label).name for case in cases] == [
        None, "segmentation-0.nii", "segmentation-27.nii", None]  # fmt: skip
    assert len(sources.open("lits", tmp_path / "Training Batch 1")) == 2
    nifti(tmp_path / "copy" / "volume-0.nii.gz")
    refused("lits", tmp_path, "the same lits case")
    (tmp_path / "copy" / "volume-0.nii.gz").unlink()
    (tmp_path / "Training Batch 1" / "volume-27.nii").unlink()
    assert "segmentation-27" in refused("lits", tmp_path, "a label without volume-27")


# --- Left Atrium 2018 -------------------------------------------------------------------------------------------------

SCANS = ("0RZDK210BSMWAA6467LU", "1D7CUD1955YZPGK8XHJX", "ZQ24RVM8GHS1XS2CGNQ5")


def nrrd(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.625, 0.625, 0.625))
    sitk.WriteImage(image, str(path), True)
    shadow(path)


def test_la2018_of_the_challenge(tmp_path):
    mask = np.zeros((3, 4, 5), np.uint8)
    mask[1, 2, 3] = 255
    for part, name in (("Training Set", SCANS[0]), ("Training Set", SCANS[1]), ("Testing Set", SCANS[2])):
        nrrd(tmp_path / part / name / "lgemri.nrrd", np.full((3, 4, 5), 7, np.uint8))
    nrrd(tmp_path / "Training Set" / SCANS[0] / "laendo.nrrd", mask)
    nrrd(tmp_path / "Training Set" / SCANS[0] / "lawall.nrrd", mask)
    cases = sources.open("la2018", tmp_path)
    assert tuple(case.id for case in cases) == SCANS and [case.label is None for case in cases] == [False, True, True]
    assert [case.meta["part"] for case in cases] == ["train", "train", "test"]
    assert read_volume(cases[0].images["mr"]).spacing == (0.625, 0.625, 0.625)
    label = label_of(cases[0])
    assert label.dtype == np.uint8 and np.argwhere(label).tolist() == [[1, 2, 3]] and label.max() == 1
    assert sources.open("la2018", tmp_path / "Training Set") == cases[:2]
    (tmp_path / "Training Set" / SCANS[0] / "lgemri.nrrd").unlink()
    refused("la2018", tmp_path, "a label without lgemri.nrrd")


@pytest.fixture
def ua_mt(tmp_path):
    """The derivative of the UA-MT experiments: three scans, and the lists above them."""
    for number, name in enumerate(SCANS):
        place = tmp_path / "data" / "2018LA_Seg_Training Set" / name
        place.mkdir(parents=True)
        with h5py.File(place / "mri_norm2.h5", "w") as file:
            file.create_dataset("image", data=np.full((6, 5, 4), number, "f4"), compression="gzip")
            file.create_dataset("label", data=np.eye(6, 5, dtype="u1")[..., None].repeat(4, 2), compression="gzip")
        shadow(place / "mri_norm2.h5")
    (tmp_path / "data" / "train.list").write_text(f"{SCANS[2]}\n{SCANS[0]}\n", encoding="utf-8")
    (tmp_path / "data" / "test.list").write_text(SCANS[1], encoding="utf-8")
    return tmp_path / "data"


def test_la2018_as_h5(ua_mt):
    cases = sources.open("la2018", ua_mt)
    assert tuple(case.id for case in cases) == SCANS
    assert [case.meta for case in cases] == [{"part": "train"}, {"part": "test"}, {"part": "train"}]
    image, label = read_volume(cases[2].images["mr"]), read_volume(cases[2].label)
    assert image.shape == label.shape == (4, 5, 6) and image.array[0, 0, 0] == 2
    np.testing.assert_array_equal(label.array[3], np.eye(6, 5).T)
    assert sources.open("la2018", ua_mt / "2018LA_Seg_Training Set") == cases
    (ua_mt / "train.list").unlink()
    assert only(sources.open("la2018", ua_mt), "part", None) == [SCANS[0], SCANS[2]]


def test_la2018_that_does_not_fit(ua_mt):
    (ua_mt / "test.list").write_text(f"{SCANS[1]}\nABSENT\n", encoding="utf-8")
    refused("la2018", ua_mt, "line 2 names 'ABSENT'")
    (ua_mt / "test.list").write_text(SCANS[0], encoding="utf-8")
    refused("la2018", ua_mt, "which another list has as well")
    (ua_mt / "test.list").write_bytes(b"\xff\xfe\x00")
    refused("la2018", ua_mt, "cannot be read as a list")
    nrrd(ua_mt / "Training Set" / SCANS[0] / "lgemri.nrrd", np.zeros((3, 4, 5), np.uint8))
    refused("la2018", ua_mt, "holds lgemri.nrrd and mri_norm2.h5")


# --- paired files -----------------------------------------------------------------------------------------------------


def test_paired_folder(tmp_path):
    for name in ("train_labelled/a_image", "train_labelled/a_label", "train_unlabelled/b_image", "test/c_image",
                 "test/c_label", "test/a_image"):  # fmt: skip
        nifti(tmp_path / f"{name}.nii.gz")
    cases = sources.open("paired_folder", tmp_path)
    assert [case.id for case in cases] == ["b", "c", "test-a", "train_labelled-a"]
    assert [case.label is None for case in cases] == [True, False, True, False]
    assert all(case.meta == {} for case in cases)
    assert cases[3].label == cases[3].images["image"].replace("_image", "_label")
    cases = sources.open("paired_folder", tmp_path, test_folder="test", validation_folder="train_unlabelled")
    assert [case.meta["part"] for case in cases] == ["validation", "test", "test", "train"]
    refused("paired_folder", tmp_path, "no image lies in a folder 'tests'", test_folder="tests")
    refused("paired_folder", tmp_path, "text other than", label_suffix="_image")
    refused("paired_folder", tmp_path, "holds no case", image_suffix="_ct")
    refused("paired_folder", tmp_path, "did you mean 'label_suffix'", label_sufix="_gt")
    nifti(tmp_path / "test" / "c_label.nii")
    refused("paired_folder", tmp_path, "the same paired_folder case")


def test_paired_folder_with_other_endings(tmp_path):
    for name in ("p1", "p1_gt", "p2", "p2_gt"):
        nifti(tmp_path / f"{name}.nii")
    cases = sources.open("paired_folder", tmp_path, image_suffix="", label_suffix="_gt", modality="mr")
    assert [case.id for case in cases] == ["p1", "p2"] and all(list(case.images) == ["mr"] for case in cases)
    assert [pathlib.Path(case.label).name for case in cases] == ["p1_gt.nii", "p2_gt.nii"]
    (tmp_path / "p2.nii").unlink()
    refused("paired_folder", tmp_path, "a label without image", image_suffix="", label_suffix="_gt")


@pytest.mark.realdata
def test_a_real_scan_as_h5(real_data, tmp_path):
    """The scans came from such h5 files, with axes (x, y, z): written back, they read as the NIfTI does."""
    case = sources.open("paired_folder", real_data / "la2018")[0]
    array = np.asarray(nibabel.load(case.images["image"]).dataobj)
    with h5py.File(tmp_path / "mri_norm2.h5", "w") as file:
        file.create_dataset("image", data=array, compression="gzip", compression_opts=1)
    derived, original = read_volume(f"{tmp_path / 'mri_norm2.h5'}::image"), read_volume(case.images["image"])
    np.testing.assert_array_equal(derived.array, original.array)
    np.testing.assert_allclose(derived.affine, original.affine)


@pytest.mark.realdata
def test_paired_folder_of_real_scans(real_data):
    cases = sources.open("paired_folder", real_data / "la2018", modality="mr", test_folder="test")
    parts = [(case.meta["part"], case.label is not None) for case in cases]
    assert [parts.count(key) for key in (("train", True), ("train", False), ("test", True))] == [10, 10, 6]
    image, label = read_volume(cases[0].images["mr"]), read_volume(cases[0].label)
    assert image.shape == label.shape and image.shape[0] == 88 and set(np.unique(label.array)) == {0, 1}


# --- Medical Segmentation Decathlon -----------------------------------------------------------------------------------


def decathlon(root, modality, training, test=(), **more):
    table = {
        "name": "X", "modality": modality, "labels": {"0": "background", "1": "organ"},
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in training],
        "test": [f"./imagesTs/{name}" for name in test], **more,
    }  # fmt: skip
    root.mkdir(exist_ok=True)
    (root / "dataset.json").write_text(json.dumps(table), encoding="utf-8")


@pytest.fixture
def spleen(tmp_path):
    root = tmp_path / "Task09_Spleen"
    decathlon(root, {"0": "CT"}, ["._spleen_2.nii.gz", "spleen_2.nii.gz", "spleen_10.nii.gz"], ["spleen_1.nii.gz"])
    for name in ("spleen_2", "spleen_10"):
        nifti(root / "imagesTr" / f"{name}.nii.gz", 5)
        nifti(root / "labelsTr" / f"{name}.nii.gz", 1)
    nifti(root / "imagesTs" / "spleen_1.nii.gz")
    return root


def test_msd(spleen):
    cases = sources.open("msd", spleen)
    assert [case.id for case in cases] == ["spleen_1", "spleen_10", "spleen_2"]
    assert [case.meta["part"] for case in cases] == ["test", "train", "train"]
    assert [case.label is None for case in cases] == [True, False, False]
    assert cases[0].meta["label_names"] == {0: "background", 1: "organ"}
    assert list(cases[0].images) == ["ct"] and read_volume(cases[1].images["ct"]).array[0, 0, 0] == 5
    packed = spleen / "labelsTr" / "spleen_2.nii.gz"
    nifti(packed.with_suffix(""), 1)
    packed.unlink()
    assert sources.open("msd", spleen)[2].label == str(packed.with_suffix(""))


def test_msd_with_several_modalities(tmp_path):
    """Keys of the JSON object in any order; channels in the order of their numbers."""
    decathlon(tmp_path, {"1": "T1w", "0": "FLAIR", "2": "t1gd"}, ["BRATS_001.nii.gz"])
    nifti(tmp_path / "imagesTr" / "BRATS_001.nii.gz", [10, 11, 12], (5, 4, 3, 3), "f4")
    nifti(tmp_path / "labelsTr" / "BRATS_001.nii.gz", 1)
    (case,) = sources.open("msd", tmp_path)
    assert list(case.images) == ["flair", "t1w", "t1gd"]
    for value, name in enumerate(case.images, 10):
        volume = read_volume(case.images[name])
        assert volume.shape == (3, 4, 5) and (volume.array == value).all() and volume.spacing == (2, 1, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"modality": None}, "'modality' is not an object"),
        ({"modality": {}}, "must number different names"),
        ({"modality": {"1": "CT"}}, "must number different names"),
        ({"modality": {"0": "T1", "1": "t1"}}, "must number different names"),
        ({"modality": {"0": 7}}, "'modality' is not an object"),
        ({"labels": ["a"]}, "'labels' is not an object"),
        ({"labels": {"a": "b"}}, "'labels' is not an object"),
        ({"training": "all"}, "entry 0 of its 'training'"),
        ({"training": [{"label": "x"}]}, "entry 0 of its 'training'"),
        ({"training": [{"image": "./imagesTr/spleen_2.nii.gz", "label": 3}]}, "entry 0 of its 'training'"),
        ({"training": [], "test": []}, "lists no case"),
        ({"test": ["../../etc/passwd"]}, "outside its folder"),
        ({"test": ["/etc/passwd"]}, "outside its folder"),
        ({"test": ["./imagesTs/new\nline.nii.gz"]}, "which is missing"),
        ({"test": ["x" * 5000]}, "which is missing"),
        ({"test": ["a\0b.nii"]}, "which is missing"),
        ({"test": ["./imagesTr/spleen_2.nii.gz"]}, "the same msd case"),
    ],
)
def test_msd_with_a_bad_index(spleen, change, said):
    table = json.loads((spleen / "dataset.json").read_text(encoding="utf-8")) | change
    (spleen / "dataset.json").write_text(json.dumps(table), encoding="utf-8")
    assert str(spleen) in refused("msd", spleen, said)


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff", "[" * 100_000, '{"training": NaN'])
def test_msd_with_a_damaged_index(spleen, text):
    (spleen / "dataset.json").write_bytes(text.encode("latin-1"))
    assert "dataset.json" in refused("msd", spleen, "copy it again")


def test_msd_label_without_image_and_no_index(spleen):
    (spleen / "imagesTr" / "spleen_10.nii.gz").unlink()
    refused("msd", spleen, "spleen_10.nii.gz', which is missing")
    (spleen / "dataset.json").unlink()
    refused("msd", spleen, "holds no dataset.json")


# --- CHAOS ------------------------------------------------------------------------------------------------------------


def chaos_ct(root, patient, positions, ground=True):
    names = [f"i{k:04d},0000b.dcm" for k in range(5)]
    write_slices(root / "CT" / patient / "DICOM_anon", positions, names)
    if ground:  # white where the slice lies at 6 mm or above
        values = [255 if z >= 6 else 0 for z in positions]
        write_pictures(root / "CT" / patient / "Ground", values, [f"liver_GT_{k:03d}.png" for k in range(5)])


def test_chaos_ct_is_not_mirrored(tmp_path):
    """Scans whose first file is the highest slice, and the lowest: image and label must agree in both."""
    chaos_ct(tmp_path / "Train_Sets", "1", DOWN)
    chaos_ct(tmp_path / "Train_Sets", "18", DOWN[::-1])
    chaos_ct(tmp_path / "Test_Sets", "3", DOWN, ground=False)
    cases = sources.open("chaos", tmp_path)
    assert [case.id for case in cases] == ["CT-1", "CT-18", "CT-3"] == [case.group for case in cases]
    assert [case.meta["part"] for case in cases] == ["train", "train", "test"] and cases[2].label is None
    for case in cases[:2]:
        image, label = read_volume(case.images["ct"]), read_volume(case.label)
        np.testing.assert_array_equal(label.affine, image.affine)
        np.testing.assert_array_equal(label_of(case)[:, 1, 2], image.array[:, 0, 0] >= 6)
    for picture in (tmp_path / "Train_Sets" / "CT" / "1" / "Ground").iterdir():  # 1 bit per pixel gives the same
        PIL.Image.open(picture).convert("1").save(picture)
    np.testing.assert_array_equal(label_of(cases[0]), label_of(cases[1]))
    upwards = sources.open("chaos", tmp_path / "Train_Sets" / "CT", ground_order="descending")
    assert label_of(upwards[1])[:, 1, 2].tolist() == [1, 1, 0, 0, 0] and len(upwards) == 2
    assert upwards[0].meta["part"] == "train"
    refused("chaos", tmp_path, "modality t2spir", modality="t2spir")


def chaos_mr(root, patient):
    t1, t2 = root / "MR" / patient / "T1DUAL", root / "MR" / patient / "T2SPIR"
    out, inside = ([f"IMG-0004-{k:05d}" for k in range(start, start + 10, 2)] for start in (1, 2))
    write_slices(t1 / "DICOM_anon" / "InPhase", DOWN, [f"{name}.dcm" for name in inside], modality="MR")
    write_slices(t1 / "DICOM_anon" / "OutPhase", DOWN, [f"{name}.dcm" for name in out], modality="MR")
    write_pictures(t1 / "Ground", [252, 189, 126, 63, 0], [f"{name}.png" for name in inside])
    write_slices(t2 / "DICOM_anon", DOWN[:3], [f"{name}.dcm" for name in inside[:3]], modality="MR")
    write_pictures(t2 / "Ground", [70, 241, 0], [f"{name}.png" for name in inside[:3]])


def test_chaos_mr(tmp_path):
    chaos_mr(tmp_path / "Train_Sets", "2")
    chaos_ct(tmp_path / "Train_Sets", "2", DOWN)
    (case,) = sources.open("chaos", tmp_path, modality="t1dual")
    assert (case.id, case.group, case.meta["part"]) == ("MR-2", "MR-2", "train")
    assert list(case.images) == ["t1_in", "t1_out"]
    for address in case.images.values():
        assert read_volume(address).array[:, 0, 0].tolist() == [0, 2, 4, 6, 8]
    assert label_of(case)[:, 1, 2].tolist() == [0, 1, 2, 3, 4]
    (case,) = sources.open("chaos", tmp_path, modality="t2spir")
    assert list(case.images) == ["t2"] and label_of(case)[:, 1, 2].tolist() == [0, 4, 1]
    assert [c.images.keys() for c in sources.open("chaos", tmp_path)] == [{"ct": ""}.keys()]


def test_chaos_that_does_not_fit(tmp_path):
    chaos_ct(tmp_path, "1", DOWN)
    refused("chaos", tmp_path, "modality must be one of ct", modality="mr")
    refused("chaos", tmp_path, "ground_order must be one of names", ground_order="down")
    for file in (tmp_path / "CT" / "1" / "DICOM_anon").iterdir():
        file.unlink()
    refused("chaos", tmp_path, "holds no DICOM slices")
    (tmp_path / "CT" / "1" / "DICOM_anon").rmdir()
    refused("chaos", tmp_path, "holds no DICOM slices")
    chaos_ct(tmp_path, "1", DOWN)
    for file in (tmp_path / "CT" / "1" / "Ground").iterdir():
        file.unlink()
    refused("chaos", tmp_path, "holds no PNG")


# --- CSV --------------------------------------------------------------------------------------------------------------


def table(tmp_path, text):
    for name in ("a", "b", "c"):
        nifti(tmp_path / "scans" / f"{name}.nii.gz")
    (tmp_path / "cases.csv").write_text(text, encoding="utf-8")
    return tmp_path / "cases.csv"


def test_csv_list(tmp_path):
    outside = nifti(tmp_path.parent / f"{tmp_path.name}-outside" / "x.nii.gz")
    path = table(tmp_path, "\ufeffid,group,t1, t2,label,part\n"
                 "one,Ann,scans/a.nii.gz,scans/b.nii.gz,scans/c.nii.gz,train\n"
                 f"two,Ann,{outside},,scans/c.nii.gz,unlabelled\n\n"
                 '"three, 3",,scans/a.nii.gz::0,,,test\n'
                 "four,Bob,scans,,,validation\n")  # fmt: skip
    cases = sources.open("csv_list", path)
    assert [case.id for case in cases] == ["four", "one", "three, 3", "two"]
    assert [case.group for case in cases] == ["Bob", "Ann", "three, 3", "Ann"]
    assert [case.meta["part"] for case in cases] == ["validation", "train", "test", "train"]
    assert [case.label is None for case in cases] == [True, False, True, True]
    assert list(cases[1].images) == ["t1", "t2"] and list(cases[3].images) == ["t1"]
    assert cases[3].images["t1"] == str(outside) and read_volume(cases[2].images["t1"]).shape == (3, 4, 5)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_tables_of_spreadsheets(tmp_path, mark):
    lines = [
        "# made by hand, 2026",
        "id,group,ct",
        "",
        "one,Jörg,scans/a.nii.gz",
        "# the second",
        "two,,scans/b.nii.gz",
    ]
    (tmp_path / "made").mkdir()
    text = "\r\n".join(line if line.startswith("#") else line.replace(",", mark) for line in lines)
    cases = sources.open("csv_list", table(tmp_path, text))
    assert [(case.id, case.group) for case in cases] == [("one", "Jörg"), ("two", "two")]


def test_names_that_look_alike_are_different_patients(tmp_path):
    names = ["李雷", "韩梅梅", "王芳", "张伟", "Müller", "Möller", "p 1", "p-1", "P-1", "p_1", "p/1"]
    rows = [f"{name},scans/{number}.nii.gz\n" for number, name in enumerate(names)]
    for number in range(len(names)):
        nifti(tmp_path / "scans" / f"{number}.nii.gz")
    cases = sources.open("csv_list", table(tmp_path, "id,ct\n" + "".join(rows)))
    assert {case.id for case in cases} == {case.group for case in cases} == set(names)


def test_csv_list_without_the_optional_columns(tmp_path):
    (case,) = sources.open("csv_list", table(tmp_path, "id,ct\none,scans/a.nii.gz\n"))
    assert (case.group, case.label, case.meta) == ("one", None, {})


def test_csv_list_of_pictures(tmp_path):
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    PIL.Image.fromarray(np.stack([pixels] * 3, -1)).save(tmp_path / "a.PNG")
    PIL.Image.fromarray(pixels // 6).save(tmp_path / "m.png")
    text = "id,us,red,label\none,a.PNG,a.PNG::red,m.png\n"
    (case,) = sources.open("csv_list", table(tmp_path, text))
    for address in case.images.values():
        np.testing.assert_array_equal(read_volume(address).array[0], pixels)
    np.testing.assert_array_equal(read_volume(case.label).array[0], pixels // 6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no column id"),
        ("ct\nscans/a.nii.gz\n", "has no column id"),
        ("id,label\none,scans/a.nii.gz\n", "has no column for an image"),
        ("id,ct,ct\n", "no name or another's"),
        ("id,ct,\n", "no name or another's"),
        ("id,ct\n", "lists no case"),
        ("id,ct\none,scans/a.nii.gz\n,scans/b.nii.gz\n", "cases.csv:3: has no id"),
        ("id,ct\none,\n", "cases.csv:2: 'one' has no image"),
        ("id,ct\none,scans/gone.nii.gz\n", "cases.csv:2: ct "),
        ("id,ct\none,scans/gone.nii.gz::1\n", "gone.nii.gz' does not exist"),
        ('id,ct\none,"scans/\ngone.nii.gz"\n', "cases.csv:3: ct "),
        ("id,ct,label\none,scans/a.nii.gz,gone\n", "cases.csv:2: label "),
        ("id,ct\none\n", "cases.csv:2: has more or fewer cells"),
        ("id,ct\none,scans/a.nii.gz,x\n", "cases.csv:2: has more or fewer cells"),
        ("id,ct\none,scans/a.nii.gz\none,scans/b.nii.gz\n", "cases.csv:3: the id one was in line 2"),
        (
            "id,ct\nMu\u0308ller,scans/a.nii.gz\nM\u00fcller,scans/b.nii.gz\n",
            "cases.csv:3: the id M\u00fcller was in line 2",
        ),
        ("id,ct\none,scans/a.nii.gz\ntwo,scans/a.nii.gz\n", "is the same file as"),
        ('id,ct\n"o\nne",scans/a.nii.gz\n', "control characters"),
        ("id,ct,part\none,scans/a.nii.gz,valid\n", "cases.csv:2: part is 'valid'"),
        ("id,ct,part\none,scans/a.nii.gz,test\ntwo,scans/a.nii.gz,\n", "cases.csv:3: part is ''"),
        (
            "id,ct,group,part\na,scans/a.nii.gz,p,train\nb,scans/b.nii.gz,p,test\n",
            "cases.csv:3: group p is in part test",
        ),
        ('id,ct\n"one,scans/a.nii.gz\n', "cannot be read as a table"),
    ],
)
def test_csv_lists_that_cannot_be_used(tmp_path, text, said):
    assert str(tmp_path) in refused("csv_list", table(tmp_path, text), said)


def test_csv_list_in_another_encoding(tmp_path):
    path = table(tmp_path, "")
    path.write_bytes("id,ct\nJosé,scans/a.nii.gz\n".encode("latin-1"))
    refused("csv_list", path, "save it as CSV in UTF-8")


# --- all of them ------------------------------------------------------------------------------------------------------

NAMES = ("brats2019", "chaos", "csv_list", "kits19", "la2018", "lits", "msd", "paired_folder")


@pytest.mark.parametrize("name", NAMES)
def test_roots_that_cannot_be_used(tmp_path, name):
    assert name in sources.names()
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "._volume-1.nii").touch()
    (tmp_path / "other" / "notes.txt").touch()
    for root in (None, tmp_path / "absent", tmp_path / "file", tmp_path / "empty", tmp_path / "other"):
        with pytest.raises(DataError) as caught:
            sources.open(name, root)
        text = str(caught.value)
        assert "\n" not in text and (root is None or str(root) in text)
        assert name in text or (name == "csv_list" and root == tmp_path / "file")
    with pytest.raises(DataError, match="has no option 'zzz'"):
        sources.open(name, tmp_path, zzz=1)


# --- label values -----------------------------------------------------------------------------------------------------


def volume(array):
    return Volume(np.asarray(array), np.diag([1.0, 2, 3, 1]))


@hypothesis.given(data=st.data())
def test_relabel_is_a_look_up(data):
    """Each voxel of each dtype against a dictionary."""
    dtype = np.dtype(data.draw(st.sampled_from(["bool", "u1", "i1", "i2", "u2", "i4", "i8", "u8", "f4", "f8"])))
    low, high = (0, 1) if dtype.kind == "b" else (-128 if dtype.kind != "u" else 0, 127)
    stored = st.integers(low, high)
    mapping = data.draw(st.dictionaries(stored, st.integers(0, 65535), max_size=5))
    known = sorted({0, *mapping})
    numbers = data.draw(hnp.arrays(np.int64, (2, 3, 2), elements=st.sampled_from(known)))
    result = relabel(volume(numbers.astype(dtype)), mapping)
    expected = [mapping.get(number, 0) for number in numbers.ravel().tolist()]
    assert result.array.ravel().tolist() == expected and result.array.shape == numbers.shape
    assert result.array.dtype == (np.uint8 if max(mapping.values(), default=0) < 256 else np.uint16)
    np.testing.assert_array_equal(result.affine, np.diag([1.0, 2, 3, 1]))


@pytest.mark.parametrize(
    ("array", "mapping", "said"),
    [
        (np.full((2, 2, 2), 3, "u1"), {1: 1, 2: 2, 4: 3}, "holds the label values 3 where only 0, 1, 2, 4 are known"),
        (np.full((2, 2, 2), 200, "u1"), {255: 1}, "holds the label values 200"),
        (np.arange(8, dtype="i2").reshape(2, 2, 2) - 2, {1: 1}, "holds the label values -2, -1 where"),
        (np.full((2, 2, 2), 1.5, "f4"), {1: 1, 2: 2}, "holds the label values 1.5"),
        (np.full((2, 2, 2), -0.5, "f4"), {1: 1}, "holds the label values -0.5"),
        (np.full((2, 2, 2), np.nan, "f4"), {1: 1}, "holds the label values nan"),
        (np.full((2, 2, 2), np.inf, "f8"), {1: 1}, "holds the label values inf"),
        (np.full((2, 2, 2), 2**63, "u8"), {1: 1}, "holds the label values 9.2"),
        (np.zeros((2, 2, 2), "u1"), {"1": 1}, "must map whole numbers"),
        (np.zeros((2, 2, 2), "u1"), {1: 0.5}, "must map whole numbers"),
        (np.zeros((2, 2, 2), "u1"), {1: -1}, "must map whole numbers"),
        (np.zeros((2, 2, 2), "u1"), {1: True}, "must map whole numbers"),
        (np.zeros((2, 2, 2), "u1"), {10**9: 1}, "must map whole numbers"),
    ],
)
def test_relabel_refuses_what_it_does_not_know(array, mapping, said):
    with pytest.raises(DataError) as caught:
        relabel(volume(array), mapping, "scan.nii")
    text = str(caught.value)
    assert said in text and text.startswith("scan.nii: ") and "\n" not in text


def test_relabel_keeps_zero_and_the_volume():
    before = volume(np.array([[[0, 255, 255]]], np.uint8))
    assert relabel(before, {255: 1}).array.tolist() == [[[0, 1, 1]]]
    assert relabel(before, {0: 9, 255: 0}).array.tolist() == [[[9, 0, 0]]]
    assert before.array.tolist() == [[[0, 255, 255]]]
