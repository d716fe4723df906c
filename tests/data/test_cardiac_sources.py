"""HVSMR 2016, M&Ms and the WMH challenge, each against a miniature of its true layout."""

import nibabel
import numpy as np
import pytest

from tests.data.test_segmentation_sources import label_of, nifti, refused, shadow
from tfmed.data import sources
from tfmed.data.cache import Cache
from tfmed.data.checks import CaseSpec, check_case
from tfmed.io import read_volume

pytestmark = pytest.mark.current

HEART = [0, 1, 2, 1]


# --- HVSMR ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hvsmr(tmp_path):
    root = tmp_path / "HVSMR2016"
    for number in (0, 1, 10):
        for pack in ("axial_full", "axial_crop", "sa_crop"):
            nifti(root / "Training dataset" / f"training_{pack}_pat{number}.nii.gz", number)
            nifti(root / "Ground truth" / f"training_{pack}_pat{number}-label.nii.gz", HEART, (5, 4, 4))
    nifti(root / "Test dataset" / "testing_axial_full_pat0.nii.gz", 3)
    return root


def test_hvsmr_packs(hvsmr):
    cases = sources.open("hvsmr2016", hvsmr)
    assert [case.id for case in cases] == ["test-pat0", "train-pat0", "train-pat1", "train-pat10"]
    assert [case.meta["part"] for case in cases] == ["test", "train", "train", "train"]
    assert cases[0].label is None and len({case.group for case in cases}) == 4
    assert all("axial_full" in case.images["mr"] and "axial_full" in case.label for case in cases[1:])
    assert [int(read_volume(case.images["mr"]).array[0, 0, 0]) for case in cases] == [3, 0, 1, 10]
    assert np.unique(read_volume(cases[1].label).array).tolist() == [0, 1, 2]
    crops = sources.open("hvsmr2016", hvsmr, pack="sa_crop")
    assert [case.id for case in crops] == ["train-pat0", "train-pat1", "train-pat10"] and "sa_crop" in crops[0].label


def test_hvsmr_repackaged_and_faults(hvsmr):
    for path in (hvsmr / "Ground truth").glob("training_axial_full*"):
        path.rename(path.with_name(path.name.replace("-label", "_label")))
    assert [case.label is not None for case in sources.open("hvsmr2016", hvsmr)] == [False, True, True, True]
    refused("hvsmr2016", hvsmr, "pack must be axial_full, axial_crop or sa_crop", pack="full")
    refused("hvsmr2016", hvsmr / "Ground truth", "holds no case")
    nifti(hvsmr / "Ground truth" / "training_axial_full_pat7_label.nii.gz")
    refused("hvsmr2016", hvsmr, "pat7_label.nii.gz: a label without its scan")
    nifti(hvsmr / "training_axial_full_pat7.nii.gz")
    nifti(hvsmr / "copy" / "training_axial_full_pat7.nii.gz")
    refused("hvsmr2016", hvsmr, "the same hvsmr2016 case")


# --- M&Ms -------------------------------------------------------------------------------------------------------------

TABLE = """,External code,VendorName,Vendor,Centre,ED,ES,Age,Pathology,Sex,Height,Weight
0,A0S9V9,Siemens,A,1,0,2,52,HCM,M,180,80
1,B1K4K7,Philips,B,2,3,1,40,NOR,F,170,60
2,C3P2P1,GE,C,3,1,2,61,DCM,M,175,70
"""


def cine(path, frames):
    """A 4-D NIfTI of a value per frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.broadcast_to(np.asarray(frames, "i2"), (5, 4, 3, len(frames)))
    nibabel.save(nibabel.Nifti1Image(array.copy(), np.diag([1.2, 1.2, 9, 1])), str(path))
    shadow(path)


def heart_labels(path, count, labelled):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((5, 4, 3, count), "i2")
    for frame in labelled:
        array[:4, ..., frame] = np.array([1, 2, 3, 2])[:, None, None]
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.2, 1.2, 9, 1])), str(path))


@pytest.fixture
def mnms(tmp_path):
    root = tmp_path / "OpenDataset"
    for code, phases in (("A0S9V9", (0, 2)), ("B1K4K7", (3, 1))):
        place = root / "Training" / "Labeled" / code
        cine(place / f"{code}_sa.nii.gz", [10, 11, 12, 13])
        heart_labels(place / f"{code}_sa_gt.nii.gz", 4, phases)
    cine(root / "Training" / "Unlabeled" / "C3P2P1" / "C3P2P1_sa.nii.gz", [20, 21, 22])
    (root / "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv").write_text(TABLE, encoding="utf-8")
    return root


def test_mnms_labelled_frames(mnms):
    cases = sources.open("mnms", mnms)
    assert [case.id for case in cases] == ["A0S9V9-ED", "A0S9V9-ES", "B1K4K7-ED", "B1K4K7-ES"]
    assert [case.group for case in cases] == ["A0S9V9"] * 2 + ["B1K4K7"] * 2
    assert [int(read_volume(case.images["mr"]).array[0, 0, 0]) for case in cases] == [10, 12, 13, 11]
    assert all(np.unique(read_volume(case.label).array).tolist() == [0, 1, 2, 3] for case in cases)
    assert cases[0].meta == {"phase": "ED", "part": "train", "vendor": "A", "centre": "1"}
    everything = sources.open("mnms", mnms, unlabelled=True)
    assert [(case.id, case.label) for case in everything if case.group == "C3P2P1"] == [("C3P2P1-ED", None)]


def test_mnms_is_prepared_frame_by_frame(mnms, tmp_path):
    case = sources.open("mnms", mnms)[0]
    spec = CaseSpec(("mr",), "optional", (0, 1, 2, 3), minimum_shape=(1, 1, 1), stack=True)
    problems = check_case(case, spec)
    assert len(problems) == 1 and "every voxel is 10" in problems[0]  # of the miniature, not of its four axes
    label = Cache(tmp_path / "cache", ()).get(case.label, is_label=True).array
    assert label.shape == (3, 4, 5)


def test_mnms_faults(mnms):
    table = next(mnms.glob("*.csv"))
    table.write_text(TABLE.replace("A,1,0,2", "A,1,,2"), encoding="utf-8")
    refused("mnms", mnms, "ED of A0S9V9 is ''; it must be the number of a frame")
    table.write_text(TABLE.replace("0,A0S9V9", "0,Z9Z9Z9"), encoding="utf-8")
    refused("mnms", mnms, "has no line of A0S9V9")
    table.write_text(TABLE + TABLE.splitlines()[1] + "\n", encoding="utf-8")
    refused("mnms", mnms, "line 5: the same mnms case as")
    table.write_text("code,ED\nA0S9V9,0\n", encoding="utf-8")
    refused("mnms", mnms, "no table (.csv) with the columns External code, ED, ES")
    refused("mnms", mnms / "Training" / "Unlabeled", "no scan has labels")
    (mnms / "Training" / "Labeled" / "B1K4K7" / "B1K4K7_sa.nii.gz").unlink()
    refused("mnms", mnms, "labels without B1K4K7_sa.nii.gz")


# --- WMH --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def wmh(tmp_path):
    for place in ("training/Utrecht/0", "training/Singapore/50", "training/Amsterdam/GE3T/100", "training/Utrecht/50"):
        for number, name in enumerate(("T1", "FLAIR", "3DT1")):
            for stage in ("pre", "orig"):
                nifti(tmp_path / place / stage / f"{name}.nii.gz", number + 10 * (stage == "orig"))
        nifti(tmp_path / place / "wmh.nii.gz", [0, 1, 2, 1], (5, 4, 4))
    nifti(tmp_path / "test" / "Utrecht" / "7" / "pre" / "T1.nii.gz")
    nifti(tmp_path / "test" / "Utrecht" / "7" / "pre" / "FLAIR.nii.gz")
    return tmp_path


def test_wmh(wmh):
    cases = sources.open("wmh2017", wmh)
    assert [case.id for case in cases] == ["0", "100", "7", "training-Singapore-50", "training-Utrecht-50"]
    assert [case.meta["site"] for case in cases] == ["Utrecht", "GE3T", "Utrecht", "Singapore", "Utrecht"]
    assert [case.meta["part"] for case in cases] == ["train", "train", "test", "train", "train"]
    assert list(cases[0].images) == ["flair", "t1"] and cases[2].label is None
    assert [int(read_volume(cases[0].images[kind]).array[0, 0, 0]) for kind in ("t1", "flair")] == [0, 1]
    assert np.unique(label_of(cases[0])).tolist() == [0, 1]
    both, one = label_of(sources.open("wmh2017", wmh, other="lesion")[0]), label_of(cases[0])
    assert both.sum() > one.sum() and both.max() == 1
    raw = sources.open("wmh2017", wmh, stage="orig")
    assert len(raw) == 4 and int(read_volume(raw[0].images["t1"]).array[0, 0, 0]) == 10


def test_wmh_faults(wmh):
    refused("wmh2017", wmh, "stage must be pre or orig", stage="post")
    refused("wmh2017", wmh, "other background or lesion", other="ignore")
    refused("wmh2017", wmh / "test" / "Utrecht" / "7" / "pre", "holds no case")
    nifti(wmh / "training" / "Utrecht" / "1" / "wmh.nii.gz")
    refused("wmh2017", wmh, "labels without pre/T1 and FLAIR")
