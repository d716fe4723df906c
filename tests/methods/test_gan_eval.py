"""gan_eval: the harness, the four GANs of the paper's tables, and its Table 4 made by one command.

The card's items about metrics are in tests/metrics/ (test_judge, test_two_sample, test_neighbours, ...).
"""

import csv
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
import yaml

import tfmed
from tests.support.harness import MethodHarness, change_split
from tfmed import cli, evaluate, sample
from tfmed.engine.lifecycle import fit
from tfmed.errors import DataError, RunError
from tfmed.io import read_volume
from tfmed.methods.gan_eval import Config, ImageGAN, build_network

pytestmark = pytest.mark.current

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
ZOO = ("dcgan", "lsgan", "wgan_gp", "acgan")
TINY = (
    "data.options={cases: 160, shape: [1, 16, 16], slices: 2}",
    "data.split.test=0.25",
    "train.batch_size=4",
    "model.size=16",
    "model.base_size=4",
    "model.noise_size=6",
    "model.generator_channels=[8, 4]",
    "model.critic_channels=[4, 8]",
    "model.critic_first=4",
    "model.runs=1",
    "model.evaluator_channels=[4, 8]",
    "model.evaluator_features=8",
    "model.evaluator_epochs=1",
    "model.most_neighbours=24",
)
SHORT = (*TINY, "train.steps=2", "train.log_every=1", "train.tensorboard=false")


class TestHarness(MethodHarness):
    config = "configs/gan_eval.yaml"
    tiny = (*TINY, "model.classes=[adaptive]")  # one stage; the tests below have two
    bad = ("model.base_size=5", "base_size * 2**len(generator_channels) is 20")

    def parity(self, run):
        method = run.restored()
        asked = (3, 0, 2), (7, 0, 3)
        images = [method.generate(n, method.config.classes[label], seed) for seed, label, n in asked]
        expected = [method.window.invert(2 * image - 1) for image in images]
        return expected, [{"seed": np.int64(s), "label": np.int32(k), "n": np.int32(n)} for s, k, n in asked]

    def assert_parity(self, found, expected):
        np.testing.assert_allclose(found, expected, atol=0.01)  # HU


def settings(name, *overrides):
    return tfmed.load_config(CONFIGS / "gan_eval" / f"{name}.yaml", (*SHORT, *overrides))


def tiny(name, per_step=8):
    return ImageGAN(settings(name).model, seed=0, per_step=per_step)


def batch(n=8, size=16):
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (n, size, size, 1)).astype("float32")
    return {"index": tf.range(n, dtype=tf.int64), "image": tf.constant(image), "label": tf.constant([0, 1] * (n // 2))}


# --- the GANs of Tables 2 and 3 -------------------------------------------------------------------------------------

TABLE_3 = {  # learning rates (generator, critic), betas, kernels (generator, critic), noise, activation, smoothing
    "dcgan": (1e-4, 1e-4, 0.5, 0.99, 3, 5, 100, "leaky_relu", True),
    "lsgan": (1e-4, 1e-4, 0.5, 0.99, 3, 5, 1024, "relu", False),
    "wgan_gp": (2e-4, 1e-4, 0.0, 0.90, 3, 3, 128, "leaky_relu", False),
    "acgan": (2e-4, 2e-4, 0.5, 0.99, 5, 3, 110, "relu", False),
}


@pytest.mark.parametrize("name", ZOO)
def test_settings_are_those_of_table_3(name):
    loaded = tfmed.load_config(CONFIGS / "gan_eval" / f"{name}.yaml")
    c = loaded.model
    smoothed = c.loss == "js" and c.label_smoothing > 0
    assert TABLE_3[name] == (c.learning_rate_generator, c.learning_rate_critic, c.beta_1, c.beta_2, c.generator_kernel,
                             c.critic_kernel, c.noise_size, c.generator_activation, smoothed)  # fmt: skip
    assert (c.critic_steps, loaded.train.batch_size, c.size, c.runs) == (2, 128, 80, 50)


@pytest.mark.parametrize("name", ZOO)
def test_networks_at_80_pixels(name):
    c = tfmed.load_config(CONFIGS / "gan_eval" / f"{name}.yaml").model
    generator, critic = build_network(c, "generator"), build_network(c, "critic")
    assert tuple(generator.input_shape) == (None, c.noise_size + (2 if name == "acgan" else 0))
    assert tuple(generator.output_shape) == (None, 80, 80, 1)
    assert tuple(critic.input_shape) == (None, 80, 80, 1)
    norms = [layer for layer in generator.layers if "norm" in layer.name]
    assert len(norms) == (9 if name == "wgan_gp" else 0) and not any("norm" in layer.name for layer in critic.layers)
    kernels = [tuple(w.shape) for w in critic.trainable_weights]
    if name == "wgan_gp":
        assert kernels[0] == (3, 3, 1, 64) and kernels[-2] == (5 * 5 * 512, 1)
        assert tuple(generator.weights[0].shape) == (128, 5 * 5 * 512)
    else:
        k = c.critic_kernel
        assert [s for s in kernels if len(s) == 4] == [(k, k, a, b) for a, b in
                                                       ((1, 64), (64, 128), (128, 256), (256, 512))]  # fmt: skip
        g = c.generator_kernel
        assert [tuple(w.shape) for w in generator.trainable_weights if len(w.shape) == 4] == [
            (g, g, a, b) for a, b in ((512, 256), (256, 128), (128, 64), (64, 1))]  # fmt: skip


@pytest.mark.one_stack
@pytest.mark.parametrize("name", ZOO)
def test_two_critic_steps_per_generator_step(name):
    model = tiny(name)
    logs = model.train_step(batch())
    iterations = [int(getattr(model, f"{side}_optimizer").iterations) for side in ("critic", "generator")]
    assert iterations == [2, 1]
    assert all(np.isfinite(float(value)) for value in logs.values())


def test_the_class_head_learns_from_real_and_from_generated_images():
    """Only the class part of the loss reaches the class head; it differs when either kind of image does."""
    model = tiny("acgan")
    data = batch()
    kernel = next(v for v in model.critic.trainable_variables if tuple(v.shape)[-1] == 2)

    def gradient(data, tag=0):
        from tfmed.compat import tensor_variable

        with tf.GradientTape() as tape:
            loss = model.critic_loss(data, tag)[0]
        return tape.gradient(loss, tensor_variable(kernel)).numpy()

    start = gradient(data)
    assert np.abs(start).max() > 0
    assert not np.allclose(start, gradient({**data, "image": -data["image"]}))
    assert not np.allclose(start, gradient(data, tag=1))  # other noise, so other generated images


def test_the_generator_is_told_the_class():
    model = tiny("acgan")
    first, second = (model.images_of(0, 0, 3, label).numpy() for label in (0, 1))
    assert np.abs(first - second).max() > 1e-6
    np.testing.assert_array_equal(first, model.images_of(0, 0, 3, 0).numpy())


def test_images_depend_on_seed_and_number_alone():
    model = tiny("dcgan")
    whole = model.images_of(5, 0, 6, 0).numpy()
    np.testing.assert_allclose(model.images_of(5, 4, 2, 0).numpy(), whole[4:], atol=1e-6)
    assert np.abs(whole[0] - whole[1]).max() > 1e-6
    assert np.abs(model.images_of(6, 0, 6, 0).numpy() - whole).max() > 1e-6


@pytest.mark.parametrize("changes, words", [
    ({"classes": ()}, "at least one"), ({"classes": ("a", "a")}, "each once"), ({"window": (1, 0)}, "lower bound"),
    ({"class_conditional": True, "classes": ("a",)}, "at least two classes"),
    ({"critic_channels": (8,) * 9}, "too many blocks for 80 pixels"),
])  # fmt: skip
def test_settings_that_do_not_fit(changes, words):
    with pytest.raises(ValueError, match=words):
        Config(**changes)


# --- from runs to Table 4 -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo")
    for name in ("dcgan", "acgan"):
        fit(settings(name), folder / name)
    return folder


@pytest.mark.one_stack
def test_one_command_makes_table_4(runs, capsys):
    assert cli.run(evaluate.main, [str(runs / "dcgan"), "--compare", str(runs / "acgan")]) == 0
    rows = {}
    for name in ("evaluation", "evaluation_runs", "structure", "plane", "auxiliary"):
        with open(runs / "dcgan" / f"{name}.csv", newline="", encoding="utf-8") as stream:
            rows[name] = list(csv.DictReader(stream))
    pairs = [(row["model"], row["class"]) for row in rows["evaluation"]]
    assert pairs == [(m, c) for c in ("adaptive", "non-adaptive") for m in ("dcgan", "acgan")]
    for column in ("recall", "specificity", "Mahalanobis", "Mahalanobis null", "Frechet", "Frechet real halves"):
        assert all(np.isfinite(float(row[f"{column} mean"])) for row in rows["evaluation"]), column
    assert all(row["memorised"] in ("True", "False") for row in rows["structure"])
    assert len(rows["auxiliary"]) == 4 * 5 and len(rows["plane"]) == 4
    found = {path.stem for path in (runs / "dcgan" / "previews").glob("*.png")}
    assert {"images", "features", "similarity", "nearest", "template"} <= found
    report = (runs / "dcgan" / "report.html").read_text(encoding="utf-8")
    assert "Nearest at the end" in report and "Features at the end" in report and "Mahalanobis null" in report
    assert "acgan" in capsys.readouterr().out


def refused(capsys, verb, arguments, *words):
    capsys.readouterr()
    assert cli.run(verb.main, [str(word) for word in arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1 and all(word in error for word in words), error


def test_runs_that_cannot_be_compared(runs, tmp_path, capsys):
    for override, words in (
        ("train.log_every=7", ("other", "was trained on patient", "data.split.seed")),
        ("model.window=[-900, 400]", ("trained with window", "compare runs of one data set")),
    ):
        shutil.copytree(runs / "acgan", tmp_path / "other")
        changed = settings("acgan", override).model_dump(mode="json")
        (tmp_path / "other" / "config.yaml").write_text(yaml.safe_dump(changed), encoding="utf-8")
        if "patient" in words[1]:
            change_split(tmp_path / "other", lambda parts: parts | {"train": parts["test"], "test": parts["train"]})
        refused(capsys, evaluate, [runs / "dcgan", "--compare", tmp_path / "other"], *words)
        shutil.rmtree(tmp_path / "other")
    few = tfmed.registry.method_class("gan_eval")(settings("dcgan", "data.split.test=0.05"))
    with pytest.raises(RunError, match=r"real test images are too few to judge by; .* raise data\.split\.test"):
        few.evaluate({"few": few})


@pytest.mark.one_stack
def test_sample_writes_images_of_each_class_in_turn(runs, tmp_path, capsys):
    assert cli.run(sample.main, [str(runs / "dcgan"), "-n", "3", "--out", str(tmp_path)]) == 0
    images = [read_volume(path).array for path in sorted(tmp_path.glob("*.nii.gz"))]
    assert [image.shape for image in images] == [(1, 16, 16)] * 3 and images[0].min() >= -1000.01
    method = tfmed.load_run(runs / "dcgan").restored()
    expected = method.window.invert(2 * method.generate(2, "non-adaptive") - 1)[1]
    np.testing.assert_allclose(images[1][0], expected, atol=0.01)
    refused(capsys, sample, [runs / "dcgan", "--out", tmp_path, "--length", "9"], "--length: means nothing")


def test_a_class_that_the_source_does_not_have():
    with pytest.raises(DataError, match="no train image of class 'benign'; the source has adaptive, non-adaptive: set"):
        method = tfmed.registry.method_class("gan_eval")(settings("dcgan", "model.classes=[benign]"))
        next(iter(method.stages())).train()


@pytest.mark.one_stack
@pytest.mark.parametrize("name", ZOO)
def test_every_gan_trains_for_the_papers_1000_epochs(name):
    """Of RTr: 1024 and 1158 slices, a model for each class; AC-GAN of both at once."""
    settings = tfmed.load_config(CONFIGS / "gan_eval" / f"{name}.yaml")
    images = (2182,) if settings.model.class_conditional else (1024, 1158)
    seen = settings.train.steps * settings.train.batch_size * settings.model.critic_steps
    assert np.mean([seen / count for count in images]) == pytest.approx(1000, rel=0.06)
