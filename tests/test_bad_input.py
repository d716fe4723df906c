"""Damaged and mistaken input: exit status 2, one line that names the file and the fix, nothing written lost."""

import gzip
import hashlib
import json
import os
import pathlib
import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from tests.methods.test_ctsgan import SIMPLE
from tests.support.refusals import refused
from tfmed import catalog, cli, evaluate, export, fit, predict, prepare, sample
from tfmed.engine.lifecycle import fit as train
from tfmed.io import Volume, write_volume

pytestmark = pytest.mark.current
CONFIG = str(pathlib.Path(__file__).parents[1] / "configs" / "ctsgan.yaml")
QUICK = (*SIMPLE, "train.steps=1", "train.tensorboard=false")
FILES = tuple(word for word in QUICK if not word.startswith("data.options"))  # those are the phantom's
MODULES = {
    "fit": fit,
    "sample": sample,
    "evaluate": evaluate,
    "export": export,
    "predict": predict,
    "prepare": prepare,
    "catalog": catalog,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    import tfmed

    return train(tfmed.load_config(CONFIG, QUICK), tmp_path_factory.mktemp("trained") / "run").path


@pytest.fixture
def place(tmp_path, trained):
    """A folder with a good scan tree `scans/`, a good run `run/`, and room for damage."""
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "scans").mkdir()
    for i in range(4):
        array = np.random.default_rng(i).integers(-1000, 400, (20, 24, 24)).astype("int16")
        write_volume(Volume(array, np.diag([2.0, 2.0, 3.0, 1.0])), tmp_path / "scans" / f"scan{i}.nii.gz")
    return tmp_path


def snapshot(folder):
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def check(place, capsys, argv, *words):
    """Run a verb, and look at how it refuses."""
    before = snapshot(place)
    refused(capsys, MODULES[argv[0]].main, argv[1:], *words)
    after = snapshot(place)
    assert {name: after.get(name) for name in before} == before, "something that had been written was changed"


# --- settings files: text of the file, words of the message --------------------------------------------------------

HEAD = "method: ctsgan\n"
SETTINGS = {
    "empty": ("", "empty"),
    "binary": (b"\x93NUMPY\x01\x00\xff\xfe\x00", "UTF-8"),
    "control characters": (HEAD + "seed: \x01", "not valid YAML"),
    "a list": ("- method: ctsgan", "key: value"),
    "a word": ("ctsgan", "key: value"),
    "broken YAML": (HEAD + "train: {steps: 3", ":2"),
    "a tab": (HEAD + "train:\n\tsteps: 3", ":3"),
    "alias bomb": ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "aliases"),
    "deep nesting": (HEAD + "data: " + "[" * 3000 + "]" * 3000, "levels deep"),
    "python tag": (HEAD + "seed: !!python/object/apply:os.getpid []", ":2"),
    "huge": (HEAD + "#" * (2 << 20), "larger than"),
    "twice the same key": (HEAD + "seed: 1\nseed: 2", "stands twice"),
    "no method": ("seed: 1", "method"),
    "unknown method": ("method: ctsgna", "did you mean 'ctsgan'"),
    "planned method": ("method: stylegan3d_not_there", "unknown method"),
    "method is a number": ("method: 3", "method"),
    "unknown section": (HEAD + "trian: {steps: 3}", "did you mean 'train'"),
    "unknown key": (HEAD + "train:\n  batchsize: 3", ":3"),
    "section is a number": (HEAD + "train: 3", "train"),
    "wrong type": (HEAD + "train: {steps: many}", "train.steps"),
    "negative size": (HEAD + "model: {volume_shape: [-224, 224, 224]}", "volume_shape"),
    "two axes": (HEAD + "model: {volume_shape: [224, 224]}", "volume_shape"),
    "zero batch": (HEAD + "train: {batch_size: 0}", "batch_size"),
    "infinite rate": (HEAD + "model: {learning_rate: .inf}", "learning_rate"),
    "no penalty": (HEAD + "model: {gp: none}", "Wasserstein"),
    "slab too long": (HEAD + "model: {slab_length: 400}", "slab_length"),
    "slab too short": (HEAD + "model: {slab_length: 5, slices_per_slab: 2}", "slab_length"),
    "more slices than the slab": (HEAD + "model: {slices_per_slab: 17}", "slices_per_slab"),
    "size not 7 * 2^n": (HEAD + "model: {volume_shape: [64, 100, 100]}", "base_size"),
    "window reversed": (HEAD + "model: {window_hu: [400, -1000]}", "window_hu"),
    "unknown step": (HEAD + "data: {preprocess: [{step: resampel}]}", "did you mean 'resample'"),
    "misspelt key of a step": (HEAD + "data: {preprocess: [{step: resample, spacing: [1, 1, 1]}]}", "spacing_mm"),
    "two ways to resample": (
        HEAD + "data: {preprocess: [{step: resample, spacing_mm: [1, 1, 1], shape: [9, 9, 9]}]}",
        "either spacing_mm or shape",
    ),
    "no training share": (HEAD + "data: {split: {validation: 0.6, test: 0.4}}", "leave a share"),
    "batch cannot be cut": (HEAD + "train: {batch_size: 4, gradient_accumulation: 3}", "divisor"),
    "early stopping without metric": (HEAD + "train: {early_stopping: {patience: 3}}", "early_stopping.metric"),
    "base that is not there": (HEAD + "base: other.yaml", "other.yaml"),
    "base is itself": (HEAD + "base: bad.yaml", "circle"),
    "profiles is a list": (HEAD + "profiles: [demo]\n", "profiles"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name, place, capsys):
    text, word = SETTINGS[name]
    file = place / "bad.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    profile = ["--profile", "demo"] if name == "profiles is a list" else []
    check(place, capsys, ["fit", file, "--run-dir", place / "new", *profile], file, word)
    assert not (place / "new").exists()


# --- scans: what is done to scan2.nii.gz, words of the message -------------------------------------------------------


def nifti(path, array, affine=None, **header):
    image = nibabel.Nifti1Image(array, np.diag([2.0, 2.0, 3.0, 1.0]) if affine is None else affine)
    for field, value in header.items():
        image.header[field] = value
    nibabel.save(image, path)


def with_bytes(path, change):
    raw = bytearray(gzip.decompress(path.read_bytes()))
    change(raw)
    path.write_bytes(gzip.compress(bytes(raw)))


def put(offset, value, dtype):
    return lambda raw: raw.__setitem__(
        slice(offset, offset + np.dtype(dtype).itemsize), np.array(value, dtype).tobytes()
    )


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 8
    path.write_bytes(bytes(data))


def voxel(value):
    def change(path):
        array = np.zeros((24, 24, 20), "float32")
        array[0] = 50
        array[3, 4, 5] = value
        nifti(path, array)

    return change


SCANS = {
    "truncated": truncate,
    "a bit flipped": flip_a_bit,
    "empty file": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("this is no scan", encoding="utf-8"),
    "gzip of text": lambda path: path.write_bytes(gzip.compress(b"this is no scan" * 99)),
    "wrong magic": lambda path: with_bytes(path, put(344, 0, "<i4")),
    "zero-size axis": lambda path: with_bytes(path, put(42, 0, "<i2")),
    "negative axis": lambda path: with_bytes(path, put(42, -3, "<i2")),
    "absurd size": lambda path: with_bytes(path, lambda raw: [put(42 + 2 * i, 30000, "<i2")(raw) for i in range(3)]),
    "unknown datatype": lambda path: with_bytes(path, put(70, 999, "<i2")),
    "singular affine": lambda path: with_bytes(path, lambda raw: [put(280 + 4 * i, 0, "<f4")(raw) for i in range(12)]),
    "NaN affine": lambda path: with_bytes(path, put(280, np.nan, "<f4")),
    "data missing": lambda path: with_bytes(path, lambda raw: raw.__delitem__(slice(-500, None))),
    "NaN voxel": voxel(np.nan),
    "infinite voxel": voxel(np.inf),
    "constant": lambda path: nifti(path, np.full((24, 24, 20), -1000, "int16")),
    "2-D": lambda path: nifti(path, np.zeros((24, 24), "int16")),
    "four channels": lambda path: nifti(path, np.random.default_rng(0).normal(size=(24, 24, 20, 4)).astype("float32")),
    "five axes": lambda path: nifti(path, np.zeros((4, 4, 4, 2, 2), "int16")),
    "complex": lambda path: nifti(path, np.zeros((24, 24, 20), "complex64")),
    "three slices": lambda path: nifti(path, np.random.default_rng(0).integers(0, 9, (24, 24, 3)).astype("int16")),
}


@pytest.mark.parametrize("verb", ["fit", "prepare"])
@pytest.mark.parametrize("name", SCANS)
def test_scans(name, verb, place, capsys):
    path = place / "scans" / "scan2.nii.gz"
    SCANS[name](path)
    source = ["data.source=nifti_folder", f"data.root={place / 'scans'}", "data.split={validation: 0, test: 0}"]
    if verb == "prepare":
        check(place, capsys, ["prepare", CONFIG, *FILES, *source], "1 problem")
        return
    check(place, capsys, ["fit", CONFIG, *FILES, *source, "--run-dir", place / "new"], path)


def test_prepare_lists_all_problems_at_once(place, capsys):
    truncate(place / "scans" / "scan1.nii.gz")
    voxel(np.nan)(place / "scans" / "scan3.nii.gz")
    source = ["data.source=nifti_folder", f"data.root={place / 'scans'}", "data.split={validation: 0, test: 0}"]
    assert cli.run(prepare.main, [CONFIG, *FILES, *source]) == 2
    out = capsys.readouterr()
    assert "scan1.nii.gz" in out.out and "scan3.nii.gz" in out.out and "2 problem" in out.err


# --- sources and folders -------------------------------------------------------------------------------------------

SOURCES = {
    "no root": (["data.source=nifti_folder"], "root"),
    "root that is not there": (["data.source=nifti_folder", "data.root={place}/nowhere"], "nowhere"),
    "root is a file": (["data.source=nifti_folder", "data.root={place}/scans/scan0.nii.gz"], "scan0.nii.gz"),
    "empty folder": (["data.source=nifti_folder", "data.root={place}/empty"], "empty"),
    "unknown source": (["data.source=nifti_foldr"], "did you mean 'nifti_folder'"),
    "unknown option": (["data.options={case: 3}"], "did you mean 'cases'"),
    "option of the wrong type": (["data.options={cases: three}"], "cases"),
    "negative number of cases": (["data.options={cases: -1}"], "cases"),
    "one case": (["data.options={cases: 1, shape: [18, 28, 28]}"], "cannot be split"),
    "pattern that matches nothing": (
        ["data.source=nifti_folder", "data.root={place}/scans", "data.options={pattern: x*}"],
        "x*",
    ),
    "pattern that climbs": (
        ["data.source=nifti_folder", "data.root={place}/scans", "data.options={pattern: ../*}"],
        "..",
    ),
    "DICOM folder without DICOM": (["data.source=dicom_folder", "data.root={place}/empty"], "empty"),
    "LIDC without patients": (["data.source=lidc_idri", "data.root={place}/empty"], "empty"),
    "LUNA16 without subsets": (["data.source=luna16", "data.root={place}/empty"], "empty"),
    "NLST without patients": (["data.source=nlst", "data.root={place}/empty"], "empty"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_sources(name, place, capsys):
    (place / "empty").mkdir()
    overrides, word = SOURCES[name]
    overrides = [text.replace("{place}", str(place)) for text in overrides]
    check(place, capsys, ["fit", CONFIG, *FILES, *overrides, "--run-dir", place / "new"], word)


def dicom_series(folder, slices=10, uid="1.2.3.4"):
    """A CT series of real DICOM files, one per slice."""
    folder.mkdir(parents=True, exist_ok=True)
    volume = np.random.default_rng(0).integers(-1000, 400, (slices, 16, 16)).astype("int16")
    write_volume(Volume(volume, np.diag([2.0, 2.0, 3.0, 1.0])), folder / "series")
    return sorted((folder / "series").iterdir())


def no_slice(files):
    files[4].unlink()


def zero_bytes(files):
    files[4].write_bytes(b"")


def cut_short(files):
    files[4].write_bytes(files[4].read_bytes()[:-100])


def other_size(files):
    image = sitk.ReadImage(str(files[4]))
    smaller = image[:8, :8, :]
    for key in image.GetMetaDataKeys():
        if not key.startswith("0028|001"):
            smaller.SetMetaData(key, image.GetMetaData(key))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(files[4]))
    writer.Execute(smaller)


@pytest.mark.parametrize("damage", [no_slice, zero_bytes, cut_short, other_size], ids=lambda f: f.__name__)
def test_dicom(damage, place, capsys):
    for i in range(3):
        files = dicom_series(place / "dicom" / f"patient{i}")
    damage(files)
    source = ["data.source=dicom_folder", f"data.root={place / 'dicom'}", "data.split={validation: 0, test: 0}"]
    check(place, capsys, ["fit", CONFIG, *FILES, *source, "--run-dir", place / "new"], "patient2")


# --- runs and checkpoints ------------------------------------------------------------


def damage_config(place):
    (place / "run" / "config.yaml").write_text("method: [", encoding="utf-8")


def remove_checkpoints(place):
    shutil.rmtree(place / "run" / "checkpoints")


def damage_checkpoints(place):
    for path in (place / "run" / "checkpoints").glob("*/variables.data*"):
        path.write_bytes(b"half")


def other_networks(place):
    file = place / "run" / "config.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("lstm_units: 6", "lstm_units: 7"), encoding="utf-8")


def other_method(place):
    file = place / "run" / "config.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("method: ctsgan", "method: segmenter"), encoding="utf-8")


def absurd_state(place):
    for path in (place / "run" / "checkpoints").glob("*/state.json"):
        path.write_text(json.dumps({"stage": "gan", "step": 1, "stage_index": 0, "sha256": {"../../config.yaml": "0"}}))


def nothing(place):
    pass


RUNS = {
    "run that is not there": (nothing, ["sample", "{place}/nowhere", "--out", "{place}/out"], "nowhere"),
    "folder that is no run": (nothing, ["sample", "{place}/scans", "--out", "{place}/out"], "config.yaml"),
    "damaged config.yaml": (damage_config, ["sample", "{place}/run", "--out", "{place}/out"], "config.yaml:"),
    "no checkpoint": (remove_checkpoints, ["sample", "{place}/run", "--out", "{place}/out"], "no checkpoint"),
    "all checkpoints damaged": (damage_checkpoints, ["export", "{place}/run"], "no checkpoint"),
    "checkpoint of other networks": (
        other_networks,
        ["sample", "{place}/run", "--out", "{place}/out"],
        "another model",
    ),
    "run of an unknown method": (other_method, ["sample", "{place}/run", "--out", "{place}/out"], "unknown method"),
    "state that points elsewhere": (absurd_state, ["export", "{place}/run"], "no checkpoint"),
    "resume with other networks": (
        other_networks,
        ["fit", CONFIG, *QUICK, "--run-dir", "{place}/run", "--resume"],
        "lstm_units",
    ),
    "resume without a run": (nothing, ["fit", CONFIG, *QUICK, "--resume"], "--run-dir"),
    "run directory in use": (nothing, ["fit", CONFIG, *QUICK, "--run-dir", "{place}/run"], "--resume"),
    "run directory is a file": (
        nothing,
        ["fit", CONFIG, *QUICK, "--run-dir", "{place}/scans/scan0.nii.gz"],
        "is a file",
    ),
    "run directory cannot be written": (nothing, ["fit", CONFIG, *QUICK, "--run-dir", "/proc/tfmed"], "/proc/tfmed"),
    "samples where nothing can be written": (nothing, ["sample", "{place}/run", "--out", "/proc/tfmed"], "/proc/tfmed"),
    "no samples": (nothing, ["sample", "{place}/run", "-n", "0", "--out", "{place}/out"], "--count"),
    "negative seed": (nothing, ["sample", "{place}/run", "--seed", "-1", "--out", "{place}/out"], "--seed"),
    "too short a volume": (nothing, ["sample", "{place}/run", "--length", "2", "--out", "{place}/out"], "--length"),
    "chunks of nothing": (nothing, ["sample", "{place}/run", "--chunk", "0", "--out", "{place}/out"], "--chunk"),
    "samples into a file": (nothing, ["sample", "{place}/run", "--out", "{place}/scans/scan0.nii.gz"], "scan0.nii.gz"),
    "export over something else": (nothing, ["export", "{place}/run", "--out", "{place}/scans"], "scans"),
    "prediction by a generator": (
        nothing,
        ["predict", "{place}/run", "{place}/scans/scan0.nii.gz", "--out", "{place}/out"],
        "tfmed sample",
    ),
    "one volume to evaluate": (nothing, ["evaluate", "{place}/run", "-n", "1"], "--count"),
    "unknown features": (nothing, ["evaluate", "{place}/run", "--features", "vgg"], "vgg"),
    "Inception weights that are not there": (
        nothing,
        ["evaluate", "{place}/run", "--features", "inception:x.h5"],
        "x.h5",
    ),
    "Inception weights that are something else": (
        nothing,
        ["evaluate", "{place}/run", "--features", "inception:{place}/scans/scan0.nii.gz"],
        "scan0.nii.gz",
    ),
    "features without a SavedModel": (
        nothing,
        ["evaluate", "{place}/run", "--features", "savedmodel:{place}/scans"],
        "scans",
    ),
    "comparison with nothing": (nothing, ["evaluate", "{place}/run", "--compare", "{place}/nowhere"], "nowhere"),
}


@pytest.mark.parametrize("name", RUNS)
def test_runs(name, place, capsys):
    damage, argv, word = RUNS[name]
    damage(place)
    check(place, capsys, [text.replace("{place}", str(place)) for text in argv], word)


# --- the command line ------------------------------------------------------------

USAGE = {
    "no arguments": (["fit"], "config"),
    "unknown flag": (["fit", CONFIG, "--profil", "demo", "--resum"], "--help"),
    "settings file that is not there": (["fit", "nowhere.yaml"], "nowhere.yaml"),
    "settings file is a folder": (["fit", "{place}/scans"], "folder"),
    "unknown profile": (["fit", CONFIG, "--profile", "dmeo"], "did you mean 'demo'"),
    "override without a value": (["fit", CONFIG, "train.steps"], "key=value"),
    "override of an unknown key": (["fit", CONFIG, "train.step=3"], "did you mean 'steps'"),
    "override of the base": (["fit", CONFIG, "base=x.yaml"], "base"),
    "override that is broken YAML": (["fit", CONFIG, "train={steps"], "train={steps"),
    "multiworker without TF_CONFIG": (["fit", CONFIG, *QUICK, "train.strategy=multiworker"], "TF_CONFIG"),
    "batch that replicas cannot share": (
        ["fit", CONFIG, *QUICK, "train.batch_size=3", "train.strategy=mirrored", "train.replicas=2"],
        "batch_size",
    ),
    "too few arguments to sample": (["sample", "{place}/run"], "--out"),
    "count that is no number": (["sample", "{place}/run", "-n", "many", "--out", "{place}/out"], "many"),
}


@pytest.mark.parametrize("name", USAGE)
def test_usage(name, place, capsys, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    argv, word = USAGE[name]
    check(place, capsys, [text.replace("{place}", str(place)) for text in argv], word)


def test_malformed_tf_config(place, capsys, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": 3}')
    check(place, capsys, ["fit", CONFIG, *QUICK, "train.strategy=multiworker"], "TF_CONFIG")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_unreadable_scan(place, capsys):
    path = place / "scans" / "scan2.nii.gz"
    path.chmod(0)
    check(place, capsys, ["fit", CONFIG, *FILES, "data.source=nifti_folder", f"data.root={place / 'scans'}"], path)
