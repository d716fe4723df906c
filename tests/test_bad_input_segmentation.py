"""Damaged and mistaken input of segmentation: exit status 2, one line with the place and the fix, nothing lost."""

import csv
import json
import pathlib
import shutil

import numpy as np
import pytest

import tfmed
from tests.test_bad_input import check, nifti, put, snapshot, truncate, with_bytes
from tfmed.engine.exporting import export
from tfmed.engine.lifecycle import fit as train
from tfmed.io import Volume, read_volume, write_volume

pytestmark = pytest.mark.current

CONFIG, GBDL = (str(pathlib.Path(__file__).parents[1] / "configs" / f"{name}.yaml") for name in ("equireg", "gbdl"))
QUICK = (
    "train.steps=1",
    "train.batch_size=2",
    "train.early_stopping=null",
    "train.tensorboard=false",
    "model.labelled_batch=1",
    "model.patch=[8, 16]",
    "model.network={name: unet, widths: [4, 8]}",
    "data.preprocess=[{step: zscore}]",
    "data.labelled_share=1",
)
PHANTOM = (
    "data.source=phantom_brain_tumour",
    "data.options={cases: 5, shape: [8, 32, 32]}",
    "model.modalities=[t1, t2]",
)
ONE = ("model.modalities=[mr]", "model.label_values=[0, 1, 4]", "model.regions={all: [1, 4]}")
SHAPE = (20, 18, 6)  # (x, y, z)


def image(seed=0, shape=SHAPE, value=None):
    array = np.random.default_rng(seed).integers(1, 900, shape).astype("float32")
    return array if value is None else np.full(shape, value, "float32")


def label(shape=SHAPE, values=(1, 4)):
    array = np.zeros(shape, "uint8")
    for k, value in enumerate(values):
        array[4 * k : 4 * k + 3, 2:8, : max(1, shape[2] // 2)] = value
    return array


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run, and its exported model in the run's folder."""
    settings = tfmed.load_config(CONFIG, [*QUICK, *PHANTOM, "data.split={validation: 0, test: 0.4}"])
    run = train(settings, tmp_path_factory.mktemp("trained") / "run")
    export(run, run.path / "export")
    return run.path


@pytest.fixture
def place(tmp_path, trained):
    """A run `run/`, a tree `scans/` of images and labels, and the images of a case to predict in `case/`."""
    shutil.copytree(trained, tmp_path / "run")
    for k in range(5):
        for folder, array in (("images", image(k)), ("labels", label())):
            (tmp_path / "scans" / folder).mkdir(parents=True, exist_ok=True)
            nifti(tmp_path / "scans" / folder / f"scan{k}.nii.gz", array)
    for k, name in enumerate(("t1", "t2")):
        write_volume(
            Volume(image(k, (5, 16, 17)), np.diag([1.0, 1.0, 3.0, 1.0])), tmp_path / "case" / f"x_{name}.nii.gz"
        )
    return tmp_path


def scan(place, kind="images", k=2):
    return place / "scans" / kind / f"scan{k}.nii.gz"


# --- data: what is done to the scans, the place that the line names, further words ---------------------------------


def labels_of(*values, shift=None):
    """Every label map with these values, or one of them moved."""

    def change(place):
        for k in range(5):
            nifti(scan(place, "labels", k), label(values=values))

    return change


def replaced(kind, make):
    return lambda place: make(scan(place, kind))


def moved(path):
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[0, 3] = 5
    nifti(path, label(), affine)


def nothing(place):
    pass


def zero_spacing(path):
    with_bytes(path, lambda raw: [put(80 + 4 * i, 0, "<f4")(raw) for i in range(3)])
    with_bytes(path, lambda raw: [put(280 + 4 * i, 0, "<f4")(raw) for i in range(12)])


DATA = {
    "strange label value": (replaced("labels", lambda p: nifti(p, label(values=(1, 3)))), (), "scan2", "[3]", "map"),
    "label of another shape": (
        replaced("labels", lambda p: nifti(p, label((20, 18, 7)))), (), "labels/scan2", "shape", "resample",
    ),
    "label in another place": (replaced("labels", moved), (), "labels/scan2", "its corners lie", "resample"),
    "label with channels": (
        replaced("labels", lambda p: nifti(p, np.ones((*SHAPE, 2), "uint8"))), (), "labels/scan2", "2 channels", "give",
    ),
    "damaged label": (replaced("labels", truncate), (), "labels/scan2"),
    "empty labels": (labels_of(), (), "labels of all training cases are empty", "model.label_values"),
    "a class that is nowhere": (labels_of(1), (), "label value 4 stands in no training case", "model.label_values"),
    "no labels at all": (
        lambda place: shutil.rmtree(place / "scans" / "labels"), (), "no patient has a label map", "data.root",
    ),
    "spacing of zero": (replaced("images", zero_spacing), (), "images/scan2", "affine"),
    "all NaN": (replaced("images", lambda p: nifti(p, image(value=np.nan))), (), "images/scan2", "NaN", "remove"),
    "constant": (replaced("images", lambda p: nifti(p, image(value=3))), (), "images/scan2", "empty", "remove"),
    "patch larger than the volume": (
        nothing, ("model.patch=[64, 64]",), "scan0", "less than half of model.patch", "lower model.patch",
    ),
    "slices for a 3-D patch": (
        replaced("images", lambda p: [nifti(p, image(shape=(20, 18, 1))),
                                      nifti(p.parents[1] / "labels" / p.name, label((20, 18, 1)))]),
        ("model.patch=[4, 8, 16]",), "scan2", "less than half of model.patch (4, 8, 16)", "lower model.patch",
    ),
    "one modality is missing": (nothing, ("model.modalities=[mr, t2]",), "has no 't2' image (has: mr)", "add it"),
    "nothing in the foreground": (
        nothing, ("data.preprocess=[{step: crop_foreground, above: 5000}]",), "scan0", "crop_foreground", "lower it",
    ),
    "float16 bursts": (
        replaced("images", lambda p: nifti(p, image() * 1000)), ("data.preprocess=[]", "data.cache_dtype=float16"),
        "scan2", "float16", "float32",
    ),
    "too few for a test": (nothing, ("data.split={validation: 0.7, test: 0.2}",), "cannot be split", "add cases"),
    "too many folds": (nothing, ("data.split={folds: 9}",), "cannot make 9 folds", "set data.split.folds lower"),
    "no given parts": (nothing, ("data.split={given: true}",), "names no validation or test cases", "false"),
}  # fmt: skip


@pytest.mark.parametrize("name", DATA)
def test_data(name, place, capsys):
    """Noticed before a run directory is made, so that the same command may be given again."""
    damage, overrides, *words = DATA[name]
    damage(place)
    source = ["data.source=nifti_folder", f"data.root={place / 'scans'}", "data.options={modality: mr}"]
    split = ["data.split={validation: 0, test: 0}"]
    argv = ["fit", CONFIG, *QUICK, *ONE, *source, *split, *overrides, "--run-dir", place / "new"]
    check(place, capsys, argv, *words)
    assert not (place / "new").exists()


def test_a_validation_case_is_checked_before_the_first_step(place, capsys):
    """And not after hours, when it is first used."""
    source = ["data.source=nifti_folder", f"data.root={place / 'scans'}", "data.options={modality: mr}"]
    argv = ["fit", CONFIG, *QUICK, *ONE, *source, "data.split={validation: 0.2, test: 0}"]
    held = tfmed.registry.method_class("equireg")(tfmed.load_config(CONFIG, argv[2:])).cases["validation"][0]
    truncate(pathlib.Path(held.images["mr"]))
    check(place, capsys, [*argv, "--run-dir", place / "new"], held.id)
    assert not (place / "new").exists()


def test_a_patient_in_two_parts_of_a_table(place, capsys):
    with open(place / "cases.csv", "w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["id", "group", "mr", "label", "part"])
        for k, (group, part) in enumerate([("a", "train"), ("b", "train"), ("c", "validation"), ("a", "test")]):
            rows.writerow([f"case{k}", group, scan(place, "images", k), scan(place, "labels", k), part])
    argv = ["fit", CONFIG, *QUICK, *ONE, "data.source=csv_list", f"data.root={place / 'cases.csv'}"]
    check(place, capsys, [*argv, "--run-dir", place / "new"], "cases.csv:5", "group a", "keep a patient's cases")
    assert not (place / "new").exists()


# --- labelled and unlabelled cases ------------------------------------------------------------------------------------


def test_no_case_is_left_without_a_label(place, capsys):
    source = ["data.source=nifti_folder", f"data.root={place / 'scans'}", "data.options={modality: mr}"]
    argv = ["fit", CONFIG, *QUICK, *ONE, *source, "data.split={validation: 0, test: 0}", "model.unlabelled_pool=rest"]
    words = "every training case is labelled", "model.unlabelled_pool: all"
    check(place, capsys, [*argv, "--run-dir", place / "new"], *words)
    assert not (place / "new").exists()


def test_a_patient_among_labelled_and_unlabelled_cases(place, capsys):
    with open(place / "cases.csv", "w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["id", "group", "mr", "label"])
        for k, group in enumerate("abca"):
            rows.writerow([f"case{k}", group, scan(place, "images", k), scan(place, "labels", k) if k < 3 else ""])
    argv = ["fit", CONFIG, *QUICK, *ONE, "data.source=csv_list", f"data.root={place / 'cases.csv'}"]
    argv += ["data.split={validation: 0, test: 0}", "model.unlabelled_pool=rest", "--run-dir", place / "new"]
    check(place, capsys, argv, "patient a", "labelled and unlabelled", "label all of them, or take those without out")
    assert not (place / "new").exists()


def test_more_latents_than_memory(tmp_path, capsys):
    argv = ["fit", GBDL, "model.samples=1000000000", "--profile", "demo", "--run-dir", tmp_path / "new"]
    check(tmp_path, capsys, argv, "model.samples: 1000000000 latents", "GiB", "lower it")
    assert not (tmp_path / "new").exists()


# --- settings ---------------------------------------------------------------------------------------------------------

SETTINGS = {
    "more labelled than there are": (("model.labelled_batch=3",), "labelled_batch 3", "lower it"),
    "streams that replicas cannot share": (
        ("train.batch_size=4", "model.labelled_batch=1", "train.strategy=mirrored", "train.replicas=2"),
        "1 labelled and 3 unlabelled", "multiples of 2",
    ),
    "streams that parts cannot share": (
        ("train.batch_size=4", "model.labelled_batch=3", "train.gradient_accumulation=2"), "multiples of 2",
    ),
    "2-D network, 3-D patch": (
        ("model.patch=[32, 32, 32]", "model.network={name: fc_densenet}"), "model", "fc_densenet is for 2-D patches",
    ),
    "3-D network, 2-D patch": (("model.network={name: vnet}",), "vnet is for 3-D patches", "give it 3"),
    "factors of another network": (
        ("model.network={name: unet, factors: [1, 2, 2]}",), "factors has 3 numbers", "give as many",
    ),
    "size that is no multiple": (("model.patch=[8, 15]",), "15 is no multiple of 2", "try 16"),
    "unknown network": (("model.network={name: unett}",), "unknown network 'unett'", "did you mean 'unet'"),
    "network without a name": (("model.network={name: null, widths: [4]}",), "network", "unet"),
    "misspelt key of a network": (
        ("model.network={name: unet, width: [4, 8]}",), "model.network.width", "did you mean 'widths'",
    ),
    "key of another network": (("model.network={name: unet, growth: 4}",), "model.network.growth", "unknown setting"),
    "network without levels": (("model.network={name: unet, widths: []}",), "model.network.widths"),
    "region of no class": (("model.regions={odd: [3]}",), "regions.odd", "[3]", "label_values"),
    "label value twice": (("model.label_values=[0, 1, 1]", "model.regions={}"), "label_values", "twice"),
    "too many classes": ((f"model.label_values={list(range(300))}", "model.regions={}"), "label_values", "256"),
    "flips of a slice": (("model.flips=[z]",), "flips", "axis z"),
    "fold that is none": (("data.split={folds: 5, fold: 5}",), "fold: 5 is none of 0 .. 4"),
    "share of nothing": (("data.labelled_share=0",), "data.labelled_share"),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name, tmp_path, capsys):
    overrides, *words = SETTINGS[name]
    check(tmp_path, capsys, ["fit", CONFIG, *QUICK, *PHANTOM, *overrides, "--run-dir", tmp_path / "new"], *words)
    assert not (tmp_path / "new").exists()


# --- prediction and evaluation ----------------------------------------------------------------------------------------


def note(place, **changes):
    file = place / "run" / "export" / "tfmed.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def one_nan(place):
    volume = read_volume(place / "case" / "x_t2.nii.gz")
    volume.array[1, 2, 3] = np.nan
    write_volume(volume, place / "case" / "x_t2.nii.gz")


def exported(place, name):
    return place / "run" / "export" / name


MODEL, RUN, INPUT = "{place}/run/export", "{place}/run", "{place}/case"
PREDICT = {
    "unknown output": (nothing, [RUN, INPUT, "--outputs", "nonsense"], "--outputs", "'nonsense'", "labels"),
    "no output": (nothing, [RUN, INPUT, "--maps", ""], "--outputs", "labels, probabilities, entropy"),
    "input that is not there": (nothing, [RUN, "{place}/nowhere"], "nowhere", "no such file", "t1=FILE,t2=FILE"),
    "file that is not there": (
        nothing, [RUN, "t1={place}/case/x_t1.nii.gz,t2={place}/case/x_t3.nii.gz"], "x_t3.nii.gz", "no such file",
    ),
    "modality that is not there": (
        lambda place: (place / "case" / "x_t2.nii.gz").unlink(), [MODEL, INPUT], "case", "0 files for 't2'", "give t1=",
    ),
    "one image of two": (nothing, [MODEL, "{place}/case/x_t1.nii.gz"], "x_t1.nii.gz", "2 are needed", "give t1=FILE"),
    "one twice": (nothing, [RUN, INPUT, INPUT], "two inputs have this name", "own"),
    "NaN": (one_nan, [RUN, INPUT], "x_t2.nii.gz", "NaN", "replace"),
    "damaged image": (lambda place: truncate(place / "case" / "x_t2.nii.gz"), [MODEL, INPUT], "x_t2.nii.gz"),
    "other grid": (
        lambda place: write_volume(Volume(image(0, (5, 16, 16)), np.eye(4)), place / "case" / "x_t2.nii.gz"),
        [RUN, INPUT], "x_t2.nii.gz", "grid", "resample",
    ),
    "note is missing": (lambda place: exported(place, "tfmed.json").unlink(), [MODEL, INPUT], "tfmed.json", "export"),
    "note is no JSON": (
        lambda place: exported(place, "tfmed.json").write_text("{"), [MODEL, INPUT], "tfmed.json", "export",
    ),
    "note is a list": (
        lambda place: exported(place, "tfmed.json").write_text("[]"), [MODEL, INPUT], "tfmed.json", "export",
    ),
    "note with an unknown step": (
        lambda place: note(place, steps=[{"step": "run", "command": "x"}]), [MODEL, INPUT], "tfmed.json", "export",
    ),
    "note of another model": (
        lambda place: note(place, modalities=["t1"]), [MODEL, "{place}/case/x_t1.nii.gz"], "tfmed.json", "1 images",
        "model has 2", "export",
    ),
    "note of other classes": (lambda place: note(place, label_values=[0, 1]), [MODEL, INPUT], "2 classes", "export"),
    "damaged model": (
        lambda place: exported(place, "saved_model.pb").write_bytes(b"half"), [MODEL, INPUT], "run/export", "again",
    ),
    "cut model": (
        lambda place: truncate(exported(place, "saved_model.pb")), [MODEL, INPUT], "run/export", "export the run again",
    ),
    "variables are missing": (
        lambda place: shutil.rmtree(exported(place, "variables")), [MODEL, INPUT], "run/export", "export the run again",
    ),
    "variables are cut": (
        lambda place: [truncate(p) for p in exported(place, "variables").glob("*.data*")], [MODEL, INPUT],
        "run/export", "export the run again",
    ),
    "neither run nor model": (nothing, [INPUT, INPUT], "case", "not a run directory", "config.yaml"),
}  # fmt: skip


@pytest.mark.parametrize("name", PREDICT)
def test_predict(name, place, capsys):
    damage, argv, *words = PREDICT[name]
    damage(place)
    argv = [word.replace("{place}", str(place)) for word in argv]
    check(place, capsys, ["predict", *argv, "--out", place / "out"], *words)
    assert not snapshot(place / "out")


EVALUATE = {
    "damaged test image": lambda place: truncate(scan(place, "images", 4)),
    "damaged test label": lambda place: truncate(scan(place, "labels", 4)),
    "label of another shape": lambda place: nifti(scan(place, "labels", 4), label((20, 18, 7))),
    "strange label value": lambda place: nifti(scan(place, "labels", 4), label(values=(1, 3))),
}


@pytest.fixture(scope="module")
def on_files(tmp_path_factory):
    """A run on a table of files, of which the last one is tested."""
    folder = tmp_path_factory.mktemp("files")
    with open(folder / "cases.csv", "w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["id", "mr", "label", "part"])
        for k in range(5):
            for kind, array in (("images", image(k)), ("labels", label())):
                (folder / "scans" / kind).mkdir(parents=True, exist_ok=True)
                nifti(scan(folder, kind, k), array)
            rows.writerow([f"scan{k}", scan(pathlib.Path("."), "images", k), scan(pathlib.Path("."), "labels", k),
                           "test" if k == 4 else "train"])  # fmt: skip
    source = ["data.source=csv_list", f"data.root={folder / 'cases.csv'}"]
    split = "data.split={given: true, validation: 0, test: 0}"
    return train(tfmed.load_config(CONFIG, [*QUICK, *ONE, *source, split]), folder / "run").path.parent


@pytest.mark.parametrize("name", EVALUATE)
def test_evaluate(name, on_files, tmp_path, capsys):
    """Test cases are looked at when they are scored."""
    shutil.copytree(on_files, tmp_path / "all")
    file = tmp_path / "all" / "run" / "config.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace(str(on_files), str(tmp_path / "all")), encoding="utf-8")
    EVALUATE[name](tmp_path / "all")
    check(tmp_path, capsys, ["evaluate", tmp_path / "all" / "run"], "scan4.nii.gz")
    assert not (tmp_path / "all" / "run" / "evaluation.csv").exists()
