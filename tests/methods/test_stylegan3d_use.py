"""3D-StyleGAN: what people do with a trained run: project, mix, interpolate, evaluate; and what is refused."""

import csv
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfmed
from tests.methods import test_ctsgan, test_stylegan3d
from tests.support.refusals import refused
from tfmed import cli, compat, evaluate, interpolate, mix, project, sample
from tfmed.engine.lifecycle import fit
from tfmed.io import Volume, read_volume, write_volume
from tfmed.methods.stylegan3d import Config, StyleGAN3D
from tfmed.tasks import latents as found_latents
from tfmed.tasks.projection import Projector, learning_rate_ramp, standardised

pytestmark = pytest.mark.current
CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
QUICK = ("train.steps=1", "train.tensorboard=false")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    settings = tfmed.load_config(CONFIGS / "stylegan3d.yaml", (*test_stylegan3d.TINY, *QUICK))
    return fit(settings, tmp_path_factory.mktemp("stylegan3d") / "run").path


def brain(path, size=(60, 70, 60), spacing=2.5, scale=300.0):
    """A file with a bright ellipsoid, whose axes point left, posterior and up."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in size], indexing="ij")
    array = np.where(z**2 + y**2 + x**2 < 0.8, scale * (1 + 0.3 * x), 0).astype(np.float32)
    write_volume(Volume(array, np.diag([-spacing, -spacing, spacing, 1.0])), path)
    return str(path)


@pytest.mark.one_stack
def test_pictures_of_a_run(run):
    shown = {path.stem: Image.open(path) for path in (run / "previews").glob("*.png")}
    assert {"volumes", "mixing", "interpolation"} <= set(shown)
    for name in ("mixing", "interpolation"):
        assert np.asarray(shown[name].convert("L")).std() > 5
        assert "patient's right" in shown[name].info["Description"]


@pytest.mark.one_stack
def test_projecting_writes_its_files_on_the_grid_of_the_input(run, tmp_path):
    path = brain(tmp_path / "brain.nii.gz")
    assert cli.run(project.main, [str(run), path, "--steps", "12", "--out", str(tmp_path / "out")]) == 0
    read, projected = read_volume(path), read_volume(tmp_path / "out" / "projected.nii.gz")
    assert projected.shape == read.shape
    np.testing.assert_allclose(projected.affine, read.affine, atol=1e-4)
    assert projected.array.min() >= 0 and projected.array.max() <= 1.01 * read.array.max()
    with open(tmp_path / "out" / "loss.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 12 and float(rows[-1]["mse"]) < float(rows[0]["mse"])
    for name in ("comparison.png", "loss.png"):
        assert np.asarray(Image.open(tmp_path / "out" / name).convert("L")).std() > 5
    with np.load(tmp_path / "out" / "latent.npz", allow_pickle=False) as arrays:
        assert arrays["styles"].shape == (1, 4, 8)
        assert [arrays[f"noise_{i:02d}"].shape for i in range(3)] == [(1, 2, 2, 3, 1), *[(1, 4, 4, 6, 1)] * 2]
    latent = str(tmp_path / "out" / "latent.npz")
    assert cli.run(mix.main, [str(run), "--rows", latent, "--columns", "3", "4", "--out", str(tmp_path / "mix")]) == 0
    assert sorted(p.name for p in (tmp_path / "mix").iterdir()) == ["mix-1-1.nii.gz", "mix-1-2.nii.gz", "mixing.png"]
    assert cli.run(interpolate.main, [str(run), latent, "3", "-n", "3", "--out", str(tmp_path / "way")]) == 0
    first, last = (read_volume(tmp_path / "way" / f"step-0{i}.nii.gz").array for i in (0, 2))
    method = tfmed.load_run(run).restored()
    for volume, word in ((first, latent), (last, "3")):
        np.testing.assert_allclose(volume, method.synthesise(method.latents(word)).array, atol=1e-6)


def test_samples_of_a_run(run, tmp_path):
    arguments = [str(run), "-n", "2", "--psi", "0", "--fix", "noise", "--out", str(tmp_path)]
    assert cli.run(sample.main, arguments) == 0
    one, two = (read_volume(tmp_path / f"sample-000{i}.nii.gz") for i in range(2))
    np.testing.assert_array_equal(one.array, two.array)
    assert one.shape == (4, 6, 4)  # up, front, right: RAS


@pytest.mark.one_stack
def test_evaluation(run):
    assert cli.run(evaluate.main, [str(run), "-n", "2"]) == 0
    with open(run / "evaluation.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["source"] for row in rows] == ["training volumes", "run"]
    columns = ["bMMD2 mean", "MS-SSIM mean", *(f"FD[random-0] {p}" for p in ("sagittal", "axial", "coronal"))]
    assert all(np.isfinite(float(row[column])) for row in rows for column in columns)
    assert 0 <= float(rows[1]["MS-SSIM mean"]) <= 1


# --- refused --------------------------------------------------------------------------------------------------------


def changed(value):
    def change(array):
        array = array.copy()
        array[5, 5, 5] = value
        return array

    return change


@pytest.mark.one_stack
@pytest.mark.parametrize("options, change, words", [
    ({}, changed(np.nan), "NaN"), ({}, changed(np.inf), "infinite"), ({}, lambda a: 0 * a + 7, "empty"),
    ({}, lambda a: -a, "no voxel is above 0"), ({"size": (10, 12, 10)}, None, "give a volume like those"),
    ({"size": (120, 140, 120)}, None, "larger voxels"), ({}, lambda a: np.stack([a, a], -1), "channels"),
], ids=["NaN", "infinite", "constant", "negative", "small", "large", "channels"])  # fmt: skip
def test_targets_that_cannot_be_projected(run, tmp_path, capsys, options, change, words):
    path = brain(tmp_path / "target.nii.gz", **options)
    if change:
        volume = read_volume(path)
        write_volume(volume.replace(array=change(volume.array)), path)
    line = refused(capsys, project.main, (run, path, "--out", tmp_path / "out"))
    assert "target.nii.gz" in line and words in line
    assert not (tmp_path / "out").exists()


@pytest.mark.one_stack
def test_files_that_are_no_volumes_or_no_latents(run, tmp_path, capsys):
    (tmp_path / "x.nii.gz").write_bytes(b"no volume")
    (tmp_path / "x.npz").write_bytes(b"no latents")
    np.savez(tmp_path / "other.npz", styles=np.zeros((1, 4, 9)))
    assert "x.nii.gz" in refused(capsys, project.main, (run, tmp_path / "x.nii.gz", "--out", tmp_path / "out"))
    assert "absent.nii" in refused(capsys, project.main, (run, "absent.nii", "--out", tmp_path / "out"))
    for word, fix in (("x.npz", "whole latent"), ("other.npz", "other networks"), ("gone.npz", "neither a seed")):
        assert fix in refused(capsys, interpolate.main, (run, "1", tmp_path / word, "--out", tmp_path / "out"))


@pytest.mark.parametrize("main, argv, words", [
    (mix.main, ["--rows", "1", "--columns", "2", "--crossover", "5"], "--crossover: 5 is none of 0 .. 4"),
    (mix.main, ["--rows", "1", "1", "--columns", "2"], "--rows: name each source once"),
    (interpolate.main, ["1", "2", "-n", "1"], "--count"), (project.main, ["x.nii", "--steps", "0"], "--steps"),
    (sample.main, ["--length", "9"], "--length: means nothing"),
    (sample.main, ["--fix", "slices"], "'style' or 'noise'"),
], ids=lambda v: "" if callable(v) else str(v))  # fmt: skip
def test_wrong_options(run, tmp_path, capsys, main, argv, words):
    assert words in refused(capsys, main, (run, *argv, "--out", tmp_path / "out"))


@pytest.mark.one_stack
def test_a_run_of_another_method(tmp_path, capsys):
    settings = tfmed.load_config(CONFIGS / "ctsgan.yaml", (*test_ctsgan.SIMPLE, *QUICK))
    other, out = fit(settings, tmp_path / "ctsgan").path, ["--out", tmp_path / "out"]
    path = brain(tmp_path / "brain.nii.gz")
    for main, argv in ((project.main, [path]), (mix.main, ["--rows", "1", "--columns", "2"]), (interpolate.main, "12")):
        line = refused(capsys, main, (other, *argv, *out))
        assert "'ctsgan'" in line and "give a run of stylegan3d" in line
    assert "--psi: means nothing" in refused(capsys, sample.main, (other, "--psi", "0.5", *out))
    assert "'patient' or 'slices'" in refused(capsys, sample.main, (other, "--fix", "noise", *out))


# --- projection -----------------------------------------------------------------------------------------------------


def test_learning_rate_warms_up_and_falls():
    assert [learning_rate_ramp(t) for t in (0.0, 0.025, 0.05, 0.5, 0.75)] == pytest.approx([0, 0.5, 1, 1, 1])
    assert learning_rate_ramp(0.875) == pytest.approx(0.5) and learning_rate_ramp(1.0) == pytest.approx(0)


def test_noise_is_standardised():
    noise = standardised(tf.constant(np.random.default_rng(0).normal(3, 4, (1, 5, 6, 7, 1)), tf.float32)).numpy()
    assert noise.mean() == pytest.approx(0, abs=1e-6) and noise.var() == pytest.approx(1, rel=1e-5)


@pytest.mark.one_stack
def test_the_pooled_term_is_asked_for_in_the_settings(run, tmp_path):
    """The paper's weight is 1; the default leaves the term out."""
    path = brain(tmp_path / "brain.nii.gz")
    method = tfmed.load_run(run).restored()
    plain = method.project(path, steps=3)[0]
    method.config = method.config.model_copy(update={"projection_pooled": 1.0})
    pooled = method.project(path, steps=3)[0]
    assert plain.losses[0] == pooled.losses[0] and plain.losses[2]["mse"] != pooled.losses[2]["mse"]


@pytest.mark.one_stack
@pytest.mark.parametrize("pooled", [1.0, 0.0])
def test_a_generated_volume_is_found_again(pooled):
    """g(w*, n*) of a generator with noise: within 200 steps the error is a tenth of that of the mean w."""
    keras.utils.set_random_seed(0)
    m = StyleGAN3D(Config(base_shape=(2, 2, 3), levels=3, filter_depth=8, latent_size=8), per_step=4)
    for variable in m.average_synthesis.weights:
        if tuple(variable.shape) == ():
            compat.tensor_variable(variable).assign(0.1)
    hidden = found_latents.of_seed(m, 5)
    target = m.synthesise(hidden.styles, hidden.noise)[0, ..., 0]
    result = Projector(m, target, steps=200, pooled_weight=pooled).run()
    assert np.mean((result.array - target) ** 2) * 127.5**2 < result.losses[0]["mse"] / 10
    for noise in result.latents.noise:
        assert float(tf.math.reduce_std(noise)) == pytest.approx(1, rel=1e-3)
