"""A run keeps its split: what is added later is left out, what is missing or has changed is named."""

import json
import shutil

import numpy as np
import pytest

import tfmed
from tests.support.toy import settings
from tests.support.volumes import AFFINE
from tfmed.data import splits
from tfmed.data.case import Case
from tfmed.data.splits import Parts
from tfmed.engine.lifecycle import fit
from tfmed.engine.split_record import FILE
from tfmed.errors import RunError
from tfmed.io import Volume, write_volume

pytestmark = pytest.mark.current


def write(folder, name, seed):
    array = np.random.default_rng(seed).integers(-1000, 300, (10, 12, 14)).astype("int16")
    write_volume(Volume(array, AFFINE), folder / f"{name}.nii.gz")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with seven scans in scans/, and a run of two steps in run/."""
    folder = tmp_path_factory.mktemp("kept")
    for seed in range(7):
        write(folder / "scans", f"p{seed}", seed)
    fit(of(folder, "train.steps=2"), folder / "run")
    return folder


def of(folder, *overrides):
    return settings(
        "data.source=nifti_folder", f"data.root={folder / 'scans'}", "data.split={validation: 0.15, test: 0.3}",
        f"data.cache_dir={folder / 'cache'}", "train.preview_every=1000", *overrides,
    )  # fmt: skip


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of that folder; its run reads the scans in it."""
    shutil.copytree(trained, tmp_path / "copy")
    text = (trained / "run" / "config.yaml").read_text(encoding="utf-8")
    moved = text.replace(str(trained), str(tmp_path / "copy"))
    (tmp_path / "copy" / "run" / "config.yaml").write_text(moved, encoding="utf-8")
    return tmp_path / "copy"


def ids(folder):
    cases = tfmed.load_run(folder / "run").method().cases
    return {part: [case.id for case in cases[part]] for part in splits.PARTS}


def add_scans(folder):
    """Scans that would stand first, between and last: a split drawn anew is another one."""
    for seed, name in enumerate(("a0", "p3b", "q8", "q9"), 20):
        write(folder / "scans", name, seed)


class TestAddedCases:
    def test_stay_out_of_every_part_with_a_word(self, trained, copy):
        before = ids(trained)
        add_scans(copy)
        assert ids(copy) == before
        fresh = of(copy)
        drawn_anew = splits.split(tfmed.data.sources.open("nifti_folder", str(copy / "scans")), fresh.data.split, 0)
        assert {case.id for case in drawn_anew["train"]} & set(before["test"])

    def test_named(self, copy, capfd):
        add_scans(copy)
        ids(copy)
        assert "left out" in capfd.readouterr().err

    def test_resume_trains_on_the_same(self, copy):
        before = ids(copy)
        add_scans(copy)
        fit(of(copy, "train.steps=3"), copy / "run", resume=True)
        assert ids(copy) == before
        assert len(tfmed.load_run(copy / "run").metrics()) == 3

    def test_whose_names_make_ids_longer(self, copy):
        """A second scan of the name p0 would call the first one by its path."""
        before = ids(copy)
        write(copy / "scans" / "other", "p0", 30)
        assert ids(copy) == before


class TestChangedCases:
    def test_missing_one_is_named_where_it_is_needed(self, copy):
        train, test = ids(copy)["train"], ids(copy)["test"]
        (copy / "scans" / f"{train[0]}.nii.gz").unlink()
        cases = tfmed.load_run(copy / "run").method().cases
        assert [case.id for case in cases["test"]] == test
        assert cases.patients("train") == set(train)
        with pytest.raises(RunError, match=rf"{train[0]}\.nii\.gz: is missing"):
            cases["train"]

    def test_resume_without_a_training_case(self, copy):
        (copy / "scans" / f"{ids(copy)['train'][1]}.nii.gz").unlink()
        with pytest.raises(RunError, match="is missing"):
            fit(of(copy, "train.steps=3"), copy / "run", resume=True)

    def test_other_voxels_under_the_name_of_a_test_case(self, copy):
        test = ids(copy)["test"]
        write(copy / "scans", test[0], 99)
        cases = tfmed.load_run(copy / "run").method().cases
        with pytest.raises(RunError, match=rf"{test[0]}\.nii\.gz: has changed"):
            cases["test"]
        assert cases["train"]

    def test_damaged_record(self, copy):
        record = copy / "run" / FILE
        good = record.read_text(encoding="utf-8")
        others = json.loads(good)
        parts = others["kinds"]["cases"]
        parts["train"], parts["test"] = parts["test"], parts["train"]
        for text in ("", "[]", "{}", good[:-40], json.dumps(others), "[" * 10**5):
            record.write_text(text, encoding="utf-8")
            with pytest.raises(RunError, match=r"split\.json: is damaged"):
                tfmed.load_run(copy / "run").method()


def test_kinds_together_are_checked_too():
    """`joined` must not lose what a kind's parts would refuse."""

    def refuse(part):
        if part == "train":
            raise RunError("gone")

    case = Case("a", "a", {"ct": "a.nii"})
    kinds = {
        "x": Parts({part: [case] for part in splits.PARTS}, refuse),
        "y": Parts({part: [] for part in splits.PARTS}),
    }
    found = splits.joined(kinds).with_cases(list)
    assert found["test"] == [case]
    with pytest.raises(RunError):
        found["train"]
