"""Names in folders of volumes: which files are images of one case, of one patient, or labels; none passes unseen."""

import pytest

from tests.data.test_sources import ids, write_volume
from tfmed.data import sources
from tfmed.errors import DataError
from tfmed.files import safe_name

pytestmark = pytest.mark.current


def volumes(root, *names):
    """Volumes under these names; suffixes in capitals, which writers do not know, are given afterwards."""
    for name in names:
        suffix = next(end for end in (".nii.gz", ".nii", ".nrrd") if name.lower().endswith(end))
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_volume(root / f"written{suffix}").rename(root / name)


def labels_of(cases):
    return {case.id: case.label and case.label.rsplit("/", 1)[-1] for case in cases}


class TestNiftiFolder:
    def test_suffixes_in_any_case(self, tmp_path):
        volumes(tmp_path, "images/p1.nii.gz", "images/p2.NII.GZ", "images/p3.Nii.gz", "labels/p1.NII.gz")
        assert labels_of(sources.open("nifti_folder", tmp_path)) == {"p1": "p1.NII.gz", "p2": None, "p3": None}

    def test_labels_under_other_names(self, tmp_path):
        names = ("p0", "p1", "p2", "p3_image", "s/p4")
        volumes(tmp_path, *(f"images/{name}.nii.gz" for name in names), "labels/p0.seg.nrrd", "labels/p1_seg.nii.gz",
                "labels/P2.nii.gz", "labels/p3_label.nii.gz", "labels/s/P4-mask.nii.gz")  # fmt: skip
        assert labels_of(sources.open("nifti_folder", tmp_path)) == {
            "p0": "p0.seg.nrrd", "p1": "p1_seg.nii.gz", "p2": "P2.nii.gz", "p3_image": "p3_label.nii.gz",
            "p4": "P4-mask.nii.gz",
        }  # fmt: skip

    def test_name_as_it_stands_comes_first(self, tmp_path):
        volumes(tmp_path, "images/p.nii.gz", "images/P.nii.gz", "labels/p.nii.gz", "labels/P.nii.gz")
        assert labels_of(sources.open("nifti_folder", tmp_path)) == {"P": "P.nii.gz", "p": "p.nii.gz"}

    @pytest.mark.parametrize("names, said", [
        (("images/p.nii.gz", "labels/q.nii.gz"), "no image has this name"),
        (("images/p.nii.gz", "labels/p.nii.gz", "labels/p_seg.nii.gz"), "two labels fit p"),
        (("images/p.nii.gz", "labels/p.nii.gz", "labels/p.nii"), "the same nifti_folder case"),
        (("images/p.nii.gz", "images/p.nrrd"), "the same nifti_folder case"),
        (("images/p.nii.gz", "images/P.nii.gz", "labels/p_seg.nii.gz"), "is a label"),
        (("images/p_0000.nii.gz", "images/p_0001.nii.gz"), "data.options.channels=t1,t2"),
        (("p_0000.nii.gz", "p_0001.nii.gz"), "data.options.channels=t1,t2"),
        (("p.nii.gz", "p_seg.nii.gz"), "label_suffix: _seg"),
        (("p.nrrd", "p.seg.nrrd"), "label_suffix: .seg"),
    ])  # fmt: skip
    def test_doubtful_names_are_refused(self, tmp_path, names, said):
        volumes(tmp_path, *names)
        with pytest.raises(DataError) as caught:
            sources.open("nifti_folder", tmp_path)
        assert said in str(caught.value) and "\n" not in str(caught.value)

    def test_channels(self, tmp_path):
        for patient in ("a", "b"):
            volumes(tmp_path, *(f"images/{patient}_000{c}.nii.gz" for c in range(3)), f"labels/{patient}.nii.gz")
        cases = sources.open("nifti_folder", tmp_path, channels="t1, t2,flair")
        assert labels_of(cases) == {"a": "a.nii.gz", "b": "b.nii.gz"}
        assert [path[-11:] for path in cases[1].images.values()] == ["0000.nii.gz", "0001.nii.gz", "0002.nii.gz"]
        assert list(cases[1].images) == ["t1", "t2", "flair"]
        for channels, said in (("t1,t2", "does not end in _0000 to _0001"), ("t1,t1,t2", "different names")):
            with pytest.raises(DataError, match=said):
                sources.open("nifti_folder", tmp_path, channels=channels)
        (tmp_path / "images" / "b_0001.nii.gz").unlink()
        with pytest.raises(DataError, match=r"has no b_0001 \(t2\)"):
            sources.open("nifti_folder", tmp_path, channels="t1,t2,flair")

    def test_numbered_patients(self, tmp_path):
        """Numbers from 0 on are patients where the user says so, and where no number 0 suggests channels."""
        volumes(tmp_path, *(f"case_{number:04d}.nii.gz" for number in range(3)))
        found = sources.open("nifti_folder", tmp_path, group_pattern="(.+)")
        assert len({case.group for case in found}) == 3
        (tmp_path / "case_0000.nii.gz").unlink()
        assert ids(sources.open("nifti_folder", tmp_path)) == ["case_0001", "case_0002"]

    def test_links_without_content_are_cases(self, tmp_path):
        volumes(tmp_path, "images/p1.nii.gz")
        (tmp_path / "labels").mkdir()
        for name in ("images/p2.nii.gz", "labels/p1.nii.gz", "labels/p2.nii.gz"):
            (tmp_path / name).symlink_to(tmp_path / "annex" / "gone")
        assert labels_of(sources.open("nifti_folder", tmp_path)) == {"p1": "p1.nii.gz", "p2": "p2.nii.gz"}


def test_bids_subjects_are_patients(tmp_path):
    names = ("sub-01/ses-1/anat/sub-01_ses-1_T1w", "sub-01/ses-2/anat/sub-01_ses-2_T1w", "sub-02/anat/sub-02_T1w")
    volumes(tmp_path, *(f"{name}.nii.gz" for name in names))
    assert [case.group for case in sources.open("nifti_folder", tmp_path)] == ["sub-01", "sub-01", "sub-02"]
    flat = tmp_path / "flat"
    volumes(flat, "sub-a_ses-1_image.nii.gz", "sub-a_ses-2_image.nii.gz", "sub-b_image.nii.gz")
    assert [case.group for case in sources.open("paired_folder", flat)] == ["sub-a", "sub-a", "sub-b"]


def test_one_file_under_two_names(tmp_path):
    volumes(tmp_path, "scans/p1.nii.gz")
    (tmp_path / "scans" / "p2.nii.gz").symlink_to(tmp_path / "scans" / "p1.nii.gz")
    with pytest.raises(DataError, match="the same file as"):
        sources.open("nifti_folder", tmp_path / "scans")
    assert len(sources.open("nifti_folder", tmp_path / "scans", group_pattern="(p)")) == 2


def test_names_that_are_no_text(tmp_path):
    volumes(tmp_path, "p1.nii.gz")
    (tmp_path / "p1.nii.gz").rename(str(tmp_path / "p") + "\udcff.nii.gz")
    with pytest.raises(DataError, match="not UTF-8"):
        sources.open("nifti_folder", tmp_path)


def test_file_names_of_ids():
    texts = [
        "李雷",
        "p 1",
        "p/1",
        "p-1",
        "p%201",
        ".p",
        "%2Ep",
        "p\\1",
        "p:1",
        "é",
        "x" * 300,
        "x" * 301,
        "日" * 90,
        "",
    ]
    names = [safe_name(text) for text in texts]
    assert len(set(names)) == len(texts)
    assert names[:2] == ["李雷", "p%201"]
    for name in names:
        assert "/" not in name and "\\" not in name and not name.startswith(".") and len(name.encode()) <= 120
