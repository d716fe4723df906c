"""`tfmed prepare`: what it says of good and of faulty data, to people, to machines, and in pictures."""

import json
import shutil
import tracemalloc

import numpy as np
import PIL.Image
import pytest

from tests.test_bad_input import truncate
from tfmed import cli, prepare
from tfmed.data import sources
from tfmed.data.readers import read_address
from tfmed.io import Volume, read_volume, write_volume
from tfmed.pictures.contact_sheet import Cell, outlines

pytestmark = pytest.mark.current

COUNT, SHAPE = 7, (12, 40, 40)
SETTINGS = ("model.plan=false", "model.labels={liver: 1, tumour: 2}", "model.modalities=[ct]",
            "model.patch=[8, 16, 16]", "model.network={name: unet, widths: [4, 8, 8]}",
            "data.preprocess=[{step: zscore}]", "data.split={validation: 0.2, test: 0.2, seed: 1}")  # fmt: skip


@pytest.fixture(scope="module")
def livers(tmp_path_factory):
    """Scans of livers of phantoms, as files."""
    place = tmp_path_factory.mktemp("livers")
    for case in sources.open("phantom_liver_ct", cases=COUNT, shape=SHAPE):
        write_volume(read_address(case.images["ct"]), place / "images" / f"{case.id}.nii.gz")
        write_volume(read_address(case.label), place / "labels" / f"{case.id}.nii.gz")
    return place


@pytest.fixture
def folder(tmp_path, livers):
    """Such a folder of a test's own."""
    return shutil.copytree(livers, tmp_path / "scans")


def run(folder, capsys, *words):
    """(exit status, standard output, standard error)."""
    source = ("data.source=nifti_folder", f"data.root={folder}", f"data.cache_dir={folder.parent / 'cache'}")
    capsys.readouterr()
    status = cli.run(prepare.main, ["segmentation", *SETTINGS, *source, *words])
    said = capsys.readouterr()
    return status, said.out, said.err


def scan(folder, number, kind="images"):
    return folder / kind / f"liver-{number:07d}.nii.gz"


def moved_by_1024(folder):
    path = scan(folder, 3)
    volume = read_volume(path)
    write_volume(volume.replace(array=volume.array + 1024), path)


def test_in_words(folder, capsys):
    status, out, _ = run(folder, capsys)
    assert status == 0
    rows = {words[0]: " ".join(words) for line in out.splitlines() if (words := line.split())}
    volume, label = read_volume(scan(folder, 0)), read_volume(scan(folder, 0, "labels"))
    row = rows["liver-0000000"]
    ml = (label.array == 1).sum() * np.prod(label.spacing) / 1000
    spacing = " x ".join(f"{size:.3g}" for size in volume.spacing)
    for words in ("ct 12 x 40 x 40", spacing, f"liver: {ml:.3g} ml", f"{volume.array.min():.5g} to"):
        assert words in row, row
    assert f"{COUNT} cases (5 train, 1 validation, 1 test), {COUNT} with a label, {COUNT} patients" in out
    assert "0 with a warning, 0 with a problem" in out and "all can be used" in out and "warning(s) above" not in out


def test_a_warning_is_no_refusal(folder, capsys):
    moved_by_1024(folder)
    status, out, _ = run(folder, capsys)
    assert status == 0 and "1 with a warning" in out and "1 warning(s) above" in out
    (line,) = (line for line in out.splitlines() if "HU + 1024" in line)
    assert line.split()[0] == "liver-0000003"


def test_for_machines(folder, capsys):
    """Standard output is one JSON document with all numbers, and nothing else."""
    moved_by_1024(folder)
    scan(folder, 6, "labels").unlink()
    status, out, _ = run(folder, capsys, "--json")
    found = json.loads(out)
    assert status == 0 and len(found["cases"]) == COUNT
    volume, label = read_volume(scan(folder, 0)), read_volume(scan(folder, 0, "labels"))
    first, *_, last = found["cases"]
    seen = first["images"]["ct"]
    assert first["id"] == first["patient"] == "liver-0000000" and first["problems"] == []
    assert seen["shape"] == list(SHAPE) and seen["spacing_mm"] == pytest.approx(volume.spacing)
    assert seen["range"] == [volume.array.min(), volume.array.max()] and len(seen["orientation"]) == 3
    for one in first["labels"]:
        voxels = int((label.array == one["number"]).sum())
        assert one["voxels"] == voxels and one["ml"] == pytest.approx(voxels * np.prod(label.spacing) / 1000)
    assert last["labels"] is None
    summary = {"cases": COUNT, "labelled": COUNT - 1, "patients": COUNT, "outliers": ["liver-0000003"], "problems": 0}
    assert {key: found["summary"][key] for key in summary} == summary
    assert [(one["kind"], one["cases"]) for one in found["warnings"]] == [("intensity unit", ["liver-0000003"])]


def test_problems_are_in_the_document_too(folder, capsys):
    truncate(scan(folder, 2))
    status, out, err = run(folder, capsys, "--json", "--out", str(folder.parent / "sheets"))
    found = json.loads(out)
    assert status == 2 and "1 problem" in err and "Traceback" not in err
    (case,) = (case for case in found["cases"] if case["problems"])
    assert case["id"] == "liver-0000002" and scan(folder, 2).name in case["problems"][0] and case["images"] == {}
    assert [path[-11:] for path in found["sheets"]] == ["cases-1.png"]


def test_contact_sheets(folder, capsys):
    """A page with a cell per case; the name of the one with a warning is red."""
    moved_by_1024(folder)
    status, out, _ = run(folder, capsys, "--out", str(folder.parent / "sheets"))
    assert status == 0 and "sheet: " in out
    (path,) = (folder.parent / "sheets").iterdir()
    with PIL.Image.open(path) as picture:
        assert f"{COUNT} of {COUNT} cases." in picture.text["Description"]
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 120) & (pixels[..., 2] < 120)
    top = pixels.shape[0] // 2  # the fourth of six in the first of two rows
    assert red[:top, pixels.shape[1] // 2 : 2 * pixels.shape[1] // 3].sum() > 20 and not red[top:].any()


def test_a_cell_shows_the_slice_with_most_labels(folder):
    image, label = read_volume(scan(folder, 0)), read_volume(scan(folder, 0, "labels"))
    most = int((label.array != 0).sum((1, 2)).argmax())
    cell = Cell.of("one", image, label)
    assert (cell.labels != 0).sum() == (label.array[most] != 0).sum()
    assert sorted(cell.pixels.ravel()) == sorted(image.array[most].ravel().astype("f4"))


def test_outlines():
    labels = np.zeros((7, 7), int)
    labels[1:6, 1:6] = 1
    labels[3, 3] = 2
    found = outlines(labels)
    assert found.sum() == 16 + 1 + 4 and not found[0].any() and found[3, 3] and not found[2, 2]


def test_many_cases_are_a_sample_that_holds_those_with_warnings():
    class Named:
        def __init__(self, name):
            self.id = name

    cases = [Named(f"c{number}") for number in range(500)]
    chosen = [case.id for case in prepare._chosen(cases, {"c7": [], "c499": []}, 96)]
    assert len(chosen) == 96 and {"c7", "c499"} <= set(chosen)
    assert [case.id for case in prepare._chosen(cases[:5], {}, 96)] == [f"c{number}" for number in range(5)]


def test_memory_does_not_grow_with_the_number_of_cases(tmp_path, capsys):
    """Cases are looked at one at a time: twelve more of 2 MB each cost less than one of them does."""
    folder = tmp_path / "large"
    rng = np.random.default_rng(0)

    def peak(count):
        for number in range(count):
            large = Volume(rng.integers(-1000, 500, (40, 160, 160)).astype("i2"), np.eye(4))
            label = large.replace(array=(large.array > 400).astype("u1") + (large.array > 450).astype("u1"))
            write_volume(large, folder / "images" / f"p{number}.nii")
            write_volume(label, folder / "labels" / f"p{number}.nii")
        tracemalloc.start()
        assert run(folder, capsys)[0] == 0
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    words = peak(4), peak(16)
    assert words[1] - words[0] < 1e6, words
