"""A paper's settings for a folder of one's own: what depends on the data is chosen anew, all else is the paper's."""

import numpy as np
import pytest

import tfmed
from tests.support.refusals import refused
from tests.tasks.test_planning_bad_input import AFFINE, OTHER, pictures, scans
from tfmed import cli, fit, plan
from tfmed.config import load_config

pytestmark = pytest.mark.current

FEW = scans(lambda number, mask: mask * np.uint8(7) if number < 4 else None, shape=(24, 70, 60), count=8)
TINY_GBDL = (
    "model.network={name: unet, widths: [4, 8], factors: [1, 2, 2], norm: instance, dropout: 0.3}",
    "model.latent_size=4", "model.latent_widths=[4, 8]", "model.samples=2", "model.mc_passes=2", "train.steps=2",
    "train.validate_every=2", "train.preview_every=2", "train.tensorboard=false",
)  # fmt: skip


def planned(root, name, *words):
    """The settings that `plan` writes for a method and a folder."""
    path = root.parent / "plan.yaml"
    assert cli.run(plan.main, [str(root), "--method", name, "--out", str(path), *words]) == 0
    return load_config(path)


@pytest.fixture
def folder(tmp_path):
    FEW(tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("name, patch", [
    ("gbdl", (24, 64, 32)), ("gbdl/uamt", (24, 64, 48)), ("equireg", (64, 32)), ("uss", (4, 68, 52)),
])  # fmt: skip
def test_what_depends_on_the_data_is_theirs_and_all_else_the_papers(folder, name, patch, capsys):
    settings, paper = planned(folder, name), load_config(name)
    assert (settings.data.source, settings.data.root) == ("nifti_folder", str(folder))
    assert [step.step for step in settings.data.preprocess] == ["orient", "resample", "zscore"]
    assert settings.data.labelled_share == 1  # four cases have no label map, and train without
    model = settings.model
    assert model.modalities == ("image",) and model.labels == {"label 7": 7} and model.label_values == (0, 7)
    assert model.regions == {"label 7": (7,)} and model.patch == patch
    assert settings.train == paper.train and settings.seed == paper.seed
    of_the_data = {"modalities", "labels", "label_values", "regions", "merge", "patch", "stride"}
    assert model.model_dump(exclude=of_the_data) == paper.model.model_dump(exclude=of_the_data)
    assert getattr(model, "stride", None) is None and getattr(model, "merge", ()) == ()
    said = capsys.readouterr().out
    assert "8 cases of 8 patients, 4 with a label map" in said and "made to fit the images" in said


def test_a_patch_is_no_larger_than_the_papers(tmp_path):
    scans(shape=(60, 200, 210), count=3)(tmp_path / "data")
    assert planned(tmp_path / "data", "gbdl").model.patch == load_config("gbdl").model.patch == (32, 128, 128)


def test_where_all_cases_have_labels_the_papers_share_of_them_counts(tmp_path, capsys):
    scans(count=10)(tmp_path / "data")
    assert planned(tmp_path / "data", "equireg").data.labelled_share == 0.1
    assert "the others train without" in capsys.readouterr().out


def test_pictures_are_slices(tmp_path):
    pictures()(tmp_path / "data")
    settings = planned(tmp_path / "data", "equireg")
    assert settings.data.source == "image_pairs" and settings.model.patch == (32, 64)
    assert settings.model.labels == {"label 255": 255}


def test_what_is_said_stays(folder):
    words = ("model.labels={organ: 7}", "model.patch=[8, 32, 32]", "model.stride=[4, 8, 8]", "data.labelled_share=0.5",
             "data.preprocess=[{step: zscore}]", "train.steps=7")  # fmt: skip
    settings = planned(folder, "gbdl", *words)
    model, data = settings.model, settings.data
    assert (model.labels, model.patch, model.stride) == ({"organ": 7}, (8, 32, 32), (4, 8, 8))
    assert data.labelled_share == 0.5 and [step.step for step in data.preprocess] == ["zscore"]
    assert settings.train.steps == 7


def test_the_file_trains(folder, tmp_path):
    settings = planned(folder, "gbdl", *TINY_GBDL, f"data.cache_dir={tmp_path / 'cache'}", "data.split.test=0.25")
    assert settings.model.patch == (24, 68, 60)
    words = [str(tmp_path / "plan.yaml"), "model.patch=[4,16,16]", "--run-dir", str(tmp_path / "run")]
    assert cli.run(fit.main, words) == 0
    assert set(tfmed.load_run(tmp_path / "run").metrics()["stage"]) == {"latent", "segmenter"}


@pytest.mark.parametrize("words, line", [
    (["--method", "ctsgan"], "do not follow from a folder of images and label maps"),
    (["--method", "gbld"], "did you mean 'gbdl'"),
    (["--method", "gbdl", "--minutes", "5"], "is for segmentation, which sets its steps by it"),
    (["--method", "gbdl", "model.patch=[5, 32, 33]"], "33 is no multiple of 16"),
    (["--method", "gbdl", "model.stride=[30, 8, 8]"], "windows would gape; what else is said has to fit the plan"),
])  # fmt: skip
def test_refused_in_one_line(folder, words, line, capsys):
    refused(capsys, plan.main, [folder, *words], line)


def test_a_scan_in_other_units_is_refused(tmp_path, capsys):
    scans(affine=lambda number: OTHER if number == 2 else AFFINE)(tmp_path / "data")
    refused(capsys, plan.main, [tmp_path / "data", "--method", "gbdl"], "p2: ", "1000 times as many")
