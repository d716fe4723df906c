"""us_style: the harness, and every item of its card's "What must hold".

AdaIN, Gram losses, noise and edges have tests of their own: tests/nn/test_adain.py, tests/losses/test_perceptual.py,
tests/ops/test_draws.py, tests/metrics/test_image_quality.py.
"""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import integrate, stats

import tfmed
from tests.support.harness import MethodHarness
from tests.support.refusals import refused
from tfmed import cli, interpolate, predict
from tfmed import fit as fit_verb
from tfmed.data.readers import read_label
from tfmed.data.settings import AugmentWith
from tfmed.engine import use
from tfmed.engine.made_cases import made_cases
from tfmed.errors import DataError, UserError
from tfmed.io import read_volume
from tfmed.methods.us_style import (
    METHOD,
    Config,
    ContentAutoencoder,
    DeterministicTransfer,
    StyleAutoencoder,
    StyleTransfer,
    build_network,
)
from tfmed.nn.adain import adain
from tfmed.nn.gaussian import mean_kl as kl
from tfmed.tasks.exported import open_model
from tfmed.tasks.style_transfer import between, of_blocks

pytestmark = pytest.mark.current

SMALL = dict(size=(16, 16), widths=(2, 3), feature_width=2, feature_side=None, learning_rate=2e-3)
SMALL |= dict(style_weights=(0.1, 0.1, 0, 0, 0), perceptual_weights=(0, 0.1, 0, 0, 0))  # VGG to its third convolution
TINY = (
    "data.options={cases: 12, probes: [linear, handheld], shape: [16, 16]}",
    "data.split={validation: 0.2, test: 0.25, seed: 0}",
    "data.preprocess=[{step: resample, shape: [1, 16, 16]}]",
    "train.batch_size=2",
    "train.validate_every=4",
    "train.preview_every=100",
    "model.size=[16, 16]",
    "model.widths=[2, 3]",
    "model.feature_width=2",
    "model.feature_side=null",
    "model.learning_rate=2.0e-3",
    "model.style_weights=[0.1, 0, 0, 0, 0]",
    "model.perceptual_weights=[0.1, 0, 0, 0, 0]",
)


def made(kind=StyleTransfer, trained=None, **changes):
    keras.utils.set_random_seed(0)
    return kind(Config(**SMALL | changes), per_step=2, **({"trained": trained} if trained else {}))


@pytest.fixture(scope="module")
def model():
    """One that no test changes the weights of."""
    return made()


def pictures(count=2, seed=0, size=(16, 16)):
    return tf.constant(np.random.default_rng(seed).random((count, *size, 1), np.float32))


def batch(seed=0):
    return {"index": tf.range(2, dtype=tf.int64), "content": pictures(seed=seed), "style": pictures(seed=seed + 1) ** 2}


SEGMENTER = """
method: segmentation
data: {source: phantom_ultrasound, preprocess: [{step: window, window_hu: [0, 255], range: [0, 1]}]}
train: {steps: 1, batch_size: 2}
model: {modalities: [image], label_values: [0, 1, 2], patch: [16, 16], network: {widths: [2, 2]}}
"""


class TestHarness(MethodHarness):
    config = "configs/us_style.yaml"
    tiny = (*TINY, "model.pretrain=false")
    bad = ("model.frozen_encoders=true", "would stay random without pretraining")

    def parity(self, run):
        method = run.restored()
        content, style = pictures(3, 5), pictures(3, 6)
        return [method.shown(content, method.style_of(style))], [{"image": content.numpy(), "style": style.numpy()}]

    @pytest.mark.long  # fourteen synchronised norms, operation by operation on two devices
    def test_two_replicas_equal_one(self):
        super().test_two_replicas_equal_one()

    @pytest.mark.one_stack  # a second graph of all networks
    def test_exact_resume(self, run, tmp_path):
        super().test_exact_resume(run, tmp_path)

    def test_export_parity(self, run, exported, tmp_path):
        """And `predict` takes the SavedModel, for styles given and drawn."""
        super().test_export_parity(run, exported, tmp_path)
        rng = np.random.default_rng(0)
        for name, shape in (("a", (20, 24)), ("b", (16, 16))):
            Image.fromarray(rng.integers(0, 255, shape, np.uint8)).save(tmp_path / f"{name}.png")
        saved, method = open_model(exported), run.restored()
        words = [f"image={tmp_path / 'b.png'},style={tmp_path / 'a.png'}", str(tmp_path / "a.png")]
        made = [list(one.predict(words, tmp_path / name)) for one, name in ((method, "run"), (saved, "saved"))]
        for one, other in zip(*made, strict=True):
            one, other = (np.asarray(Image.open(path)).astype(int) for path in (one, other))
            assert one.std() > 0 and np.abs(one - other).max() <= 1

    def test_tables_and_pictures(self, run):
        method = run.restored()
        tables = method.evaluate({"run": method}, count=2)
        untransferred, own = tables["evaluation"]
        assert untransferred["edges with content"] == pytest.approx(1)
        assert untransferred["Gram distance to content (vgg16-random-0)"] == 0
        assert own["pictures"] == "run" and own["Gram distance to style (vgg16-random-0)"] > 0
        assert [row["drawn"] for row in tables["diversity"]] == ["constant", "mixed", "iid", "scalar"]
        for content, style in method.pairs("train", 6, 0):
            assert content.meta["domain"] != style.meta["domain"]
        grid = method.previews()["styles"].rows
        assert [len(row) for row in grid.values()] == [5] * 6 and method.previews()["interpolation"].figure()

    def test_samples_carry_labels_along(self, run, tmp_path):
        """As they are; the picture is on their grid, and a function of (seed, number)."""
        method = run.restored()
        items = list(method.sample(3, seed=1))
        again = list(method.sample(2, seed=1))
        cases = {case.id: case for case in method.prepared("test")}
        for item, same in itertools.zip_longest(items, again):
            np.testing.assert_array_equal(item.label.array, read_label(cases[item.name]).array)
            assert item.volume.shape == item.label.shape and item.volume.array.max() <= 255
            assert same is None or np.allclose(item.volume.array, same.volume.array, atol=1e-3)
        assert not np.allclose(items[0].volume.array, next(iter(method.sample(1, seed=2))).volume.array, atol=1e-3)
        path = method.write_sample(items[0], tmp_path, "one")
        np.testing.assert_allclose(np.asarray(Image.open(path)), items[0].volume.array[0], atol=0.51)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "one_labels.png")), items[0].label.array[0])
        assert read_volume(method.write_sample(items[0], tmp_path, "one", "nii.gz")).shape == (1, 16, 16)

    @pytest.mark.one_stack
    def test_segmenters_train_on_its_pictures(self, run, tmp_path, capsys):
        """By one setting: labels and patients stay, a second fit makes nothing anew, and what has changed is told."""
        (tmp_path / "segment.yaml").write_text(SEGMENTER, encoding="utf-8")
        words = (f"data.augment_with={run.path}", f"data.cache_dir={tmp_path / 'cache'}", *TINY[:2])
        fit = [str(tmp_path / "segment.yaml"), "--run-dir", str(tmp_path / "segmenter"), *words]
        seen = "data.split={validation: 0.2, test: 0.25, seed: 1}"
        refused(capsys, fit_verb.main, [*fit, seen], run.path, "was trained on ultrasound-", "case here")
        assert cli.run(fit_verb.main, fit) == 0
        method = tfmed.load_run(tmp_path / "segmenter").method()
        method.made, _ = made_cases(method, AugmentWith(run=str(run.path)))
        real, every = method.cases["train"], method.prepared("train")
        assert len(every) == 2 * len(real) and every[: len(real)] == real
        by_id = {case.id: case for case in real}
        assert {case.id.partition(", altered")[0] for case in every[len(real) :]} == by_id.keys()
        for case in every[len(real) :]:
            one = by_id[case.id.partition(", altered")[0]]
            assert (case.group, case.label) == (one.group, one.label)
            before, after = method.open(one), method.open(case)
            np.testing.assert_array_equal(before.label, after.label)
            assert not np.allclose(before.image, after.image, atol=0.1)
        files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "made").iterdir()}
        again, _ = made_cases(method, AugmentWith(run=str(run.path), share=0.25))  # a third as many as real ones
        assert again == every[len(real) : len(real) + round(len(real) / 3)]
        assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "made").iterdir()}
        (tmp_path / "segmenter" / "records" / "made_by.json").write_text('"of another run"', encoding="utf-8")
        resume = [str(tmp_path / "segmenter"), "--resume"]
        refused(capsys, fit_verb.main, resume, run.path, "has changed since it made training cases")

    def test_pictures_of_a_folder_are_altered(self, run, tmp_path):
        """Cases of PNG files stay pictures, which a segmenter reads like those that they were made of."""
        rng, rows = np.random.default_rng(0), ["id,image,label"]
        for name in ("a", "b", "c", "d"):
            for kind, high in (("image", 256), ("label", 3)):
                Image.fromarray(rng.integers(0, high, (16, 16), np.uint8)).save(tmp_path / f"{name}_{kind}.png")
            rows.append(f"{name},{name}_image.png,{name}_label.png")
        (tmp_path / "cases.csv").write_text("\n".join(rows), encoding="utf-8")
        (tmp_path / "segment.yaml").write_text(SEGMENTER, encoding="utf-8")
        words = ("data.source=csv_list", f"data.root={tmp_path / 'cases.csv'}", f"data.cache_dir={tmp_path / 'cache'}")
        settings = tfmed.load_config(tmp_path / "segment.yaml", (*words, "data.split={validation: 0, test: 0.25}"))
        method = tfmed.registry.method_class("segmentation")(settings)
        method.made, _ = made_cases(method, AugmentWith(run=str(run.path)))
        real, every = method.cases["train"], method.prepared("train")
        assert len(every) == 6
        for case in every[3:]:
            one = next(one for one in real if case.id.startswith(one.id))
            before, after = method.open(one), method.open(case)
            np.testing.assert_array_equal(before.label, after.label)
            assert before.image.shape == after.image.shape and not np.allclose(before.image, after.image, atol=0.1)

    def test_folders_are_transferred(self, run, tmp_path, capsys, monkeypatch):
        """Of any size, in a style given or in drawn ones; masks are copied."""
        monkeypatch.setattr(use, "load_run", lambda path: run)
        rng, scans = np.random.default_rng(0), tmp_path / "scans"
        scans.mkdir()
        for name, shape in (("a", (20, 24)), ("b", (16, 16))):
            Image.fromarray(rng.integers(0, 255, shape, np.uint8)).save(scans / f"{name}.png")
        Image.fromarray(rng.integers(0, 3, (20, 24), np.uint8)).save(scans / "a_mask.png")
        Image.fromarray(rng.integers(0, 99, (30, 16), np.uint8)).save(tmp_path / "style.png")
        method = run.restored()
        word = f"image={scans},style={tmp_path / 'style.png'}"
        paths = list(method.predict([word], tmp_path / "out"))
        assert [path.name for path in paths] == ["a_transferred.png", "a_transferred_mask.png", "b_transferred.png"]
        assert Image.open(paths[0]).size == (24, 20)
        assert paths[1].read_bytes() == (scans / "a_mask.png").read_bytes()
        drawn = [np.asarray(Image.open(path)) for path in method.predict([str(scans)], tmp_path / "drawn")]
        assert np.abs(drawn[2].astype(int) - np.asarray(Image.open(paths[2]))).max() > 0
        style = f"image={scans / 'b.png'},style={scans / 'a.png'}"
        refused(capsys, predict.main, [run.path, style, "--out", scans, "--outputs", "labels"], "no output 'labels'")
        refused(capsys, predict.main, [run.path, f"style={scans / 'b.png'}", "--out", scans], "names a style alone")
        refused(
            capsys, predict.main, [run.path, f"image={scans},style={scans / 'c.png'}", "--out", scans], "no such file"
        )

    def test_between_styles(self, run, tmp_path, capsys, monkeypatch):
        """The ends are the styles themselves; seeds and pictures alike."""
        monkeypatch.setattr(use, "load_run", lambda path: run)  # whose networks are built already
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16), np.uint8)).save(tmp_path / "style.png")
        words = [run.path, "3", tmp_path / "style.png", "-n", "3", "--content", tmp_path / "style.png"]
        assert interpolate.main([*map(str, words), "--out", str(tmp_path / "between")]) is None
        assert sorted(path.name for path in (tmp_path / "between").iterdir()) == [
            "interpolation.png", "step-00.png", "step-01.png", "step-02.png"]  # fmt: skip
        method = run.restored()
        first, second = method.latents("3"), method.latents(str(tmp_path / "style.png"))
        own = method.shown(method.transferrer().picture(str(tmp_path / "style.png")), second.maps)
        last = np.asarray(Image.open(tmp_path / "between" / "step-02.png"))
        np.testing.assert_allclose(last, 255 * own[0, ..., 0], atol=0.6)
        assert first.name == "seed 3" and second.name == "style.png"
        refused(capsys, interpolate.main, [run.path, "3", "nowhere", "--out", tmp_path], "neither a seed")


# --- latents ----------------------------------------------------------------------------------------------------------


def divergence(mean, deviation):
    """KL(N(mean, deviation^2) || N(0, 1)) by quadrature."""
    one, standard = stats.norm(mean, deviation), stats.norm()
    return integrate.quad(lambda x: one.pdf(x) * (one.logpdf(x) - standard.logpdf(x)), -12, 12)[0]


@pytest.mark.one_stack
def test_divergence():
    """That of Gaussians, at least 0; the printed form is equal where mu is 0 or sigma is 1, and nowhere else."""
    rng = np.random.default_rng(0)
    means, deviations = rng.normal(size=6), rng.uniform(0.2, 1, 6)
    expected = np.mean([divergence(*pair) for pair in zip(means, deviations, strict=True)])
    shaped = [tf.constant(np.reshape(v, (1, 1, 2, 3)), tf.float32) for v in (means, 2 * np.log(deviations))]
    assert float(kl(*shaped)) == pytest.approx(expected, rel=1e-5)
    zero, one = tf.zeros((1, 1, 1, 1)), tf.ones((1, 1, 1, 1))
    assert float(kl(zero, zero)) == 0 and float(kl(one, zero)) > 0 and float(kl(zero, one)) > 0
    for mean, log_variance, same in ((zero, one, True), (one, zero, True), (one, one, False), (one, -one, False)):
        values = float(kl(mean, log_variance)), float(kl(mean, log_variance, "paper"))
        assert (values[0] == pytest.approx(values[1])) == same
    assert float(kl(one, -one, "paper")) == pytest.approx(0.5 * (np.e + 1 / np.e + 1 - 1))


@pytest.mark.one_stack
@pytest.mark.parametrize("head", ["conv1x1", "convblock"])
def test_shapes_of_five_scales(head):
    """A latent per scale, bounded; pictures of any sides that are multiples of 16."""
    config = Config(widths=(2, 3, 4, 5, 6), size=(256, 256), head=head, feature_side=None)
    assert config.scales == [(256, 256, 2), (128, 128, 3), (64, 64, 4), (32, 32, 5), (16, 16, 6)]
    if head == "convblock":
        more, plain = (build_network(Config(**SMALL, head=name), "style_encoder") for name in (head, "conv1x1"))
        blocks = sum(2 * (9 * width * width + width) + 2 * 4 * width for width in SMALL["widths"])
        assert more.count_params() - plain.count_params() == blocks
        return
    keras.utils.set_random_seed(1)
    networks = {
        name: build_network(config, name) for name in ("content_encoder", "style_encoder", "style_blocks", "decoder")
    }
    image = pictures(1, size=(32, 48))
    found = networks["style_encoder"](image)
    assert [tuple(one.shape[1:]) for one in found[:5]] == [(32 >> i, 48 >> i, i + 2) for i in range(5)]
    assert all(tuple(a.shape) == tuple(b.shape) for a, b in zip(found[:5], found[5:], strict=True))
    assert all(np.abs(mean).max() < 1 and np.max(spread) < 0 for mean, spread in zip(found[:5], found[5:], strict=True))
    features = [*networks["content_encoder"](image), *networks["style_blocks"](list(found[:5]))]
    answer = networks["decoder"](features).numpy()
    assert answer.shape == (1, 32, 48, 1) and answer.min() > 0 and answer.max() < 1


@pytest.mark.parametrize("site", ["decoder", "skip"])
def test_where_the_decoder_meets_the_style(site):
    """The paper's skips, or what each level gives, have the moments of the style; the bottleneck in both."""
    decoder = build_network(Config(**SMALL, adain_site=site), "decoder")
    rng = np.random.default_rng(0)
    contents, styles = ([tf.constant(rng.normal(size=(1, 16 >> i, 16 >> i, 2 + i)), tf.float32) for i in range(2)]
                        for _ in range(2))  # fmt: skip
    layers = [decoder.get_layer(name).output for name in ("adain0", "adain1", "up0_joined")]
    fine, coarse, joined = keras.Model(decoder.inputs, layers)([*contents, *styles])
    np.testing.assert_allclose(coarse, adain(contents[1], styles[1]), atol=1e-5)
    np.testing.assert_allclose(np.mean(fine, (1, 2)), np.mean(styles[0], (1, 2)), atol=1e-3)
    skip = adain(contents[0], styles[0]) if site == "skip" else contents[0]
    np.testing.assert_allclose(joined[..., :2], skip, atol=1e-5)
    assert np.allclose(fine, adain(contents[0], styles[0]), atol=1e-4) == (site == "skip")


# --- losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_the_loss_is_the_card_s():
    """Perceptual, style and KL terms with numpy, of what the networks give without noise."""
    weights = dict(perceptual_weights=(0, 0.3, 0, 0, 0), style_weights=(0.2, 0, 0, 0, 0), kl_weight=2.0)
    model, data = made(**weights), batch()
    assert model.features.layers == ("block1_conv1", "block2_conv1")  # the others are never computed
    assert not model.features.model.trainable_weights
    held = {id(v) for v in model.weights}
    assert not any(id(v) in held for v in model.features.model.weights)
    loss, logs = model.network_loss(data, training=False)
    means, log_variances = model.gaussians(data["style"])
    shown = model.features(model.decoded(data["content"], model.style_of(data["style"])))
    content, style = (model.features(data[name]) for name in ("content", "style"))
    perceptual = 0.3 * np.mean((shown["block2_conv1"] - content["block2_conv1"]) ** 2)
    planes = [one["block1_conv1"].numpy() for one in (shown, style)]
    grams = [np.einsum("nyxu,nyxv->nuv", f, f) / f[0].size for f in planes]
    kls = [0.5 * np.mean(m**2 + np.exp(v) - v - 1) for m, v in zip(means, log_variances, strict=True)]
    expected = {"perceptual": perceptual, "style": 0.2 * 0.5 * np.mean((grams[0] - grams[1]) ** 2), "kl": sum(kls)}
    for name, value in expected.items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(loss, perceptual + expected["style"] + 2 * sum(kls), rtol=1e-4)
    assert of_blocks(Config().perceptual_weights)["block5_conv1"] == 0.01


@pytest.mark.one_stack
def test_draws_in_training_have_the_temperature(model, monkeypatch):
    """Without any the loss knows no noise; with it each sample has noise of its own."""
    data, found = batch(), {}
    for temperature in (0.0, 0.5, 1.0):
        monkeypatch.setattr(model, "config", Config(**SMALL | {"temperature": temperature}))
        found[temperature] = [
            model.latents(data | {"index": data["index"] + k}, data["style"], True)[0] for k in (0, 2)
        ]
    for mean, half, drawn in zip(*(one[0] for one in found.values()), strict=True):
        np.testing.assert_allclose(half - mean, 0.5 * (drawn - mean), atol=1e-5)
    assert all(np.allclose(a, b) for a, b in zip(*found[0.0], strict=True))
    assert not any(np.allclose(a, b) for a, b in zip(*found[1.0], strict=True))


# --- stages -----------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_the_transfer_network_begins_with_both_encoders():
    """Weights and running statistics; frozen ones stay, others learn."""
    method, data = METHOD(TestHarness.settings("model.pretrain=true", "model.frozen_encoders=true")), batch()
    stages = iter(method.stages())
    for kind in (ContentAutoencoder, StyleAutoencoder):
        stage = next(stages)
        model = method.models[stage.name] = stage.model()
        assert isinstance(model, kind)
        model.train_step(data)
    assert stage.validation(model)["loss"] > 0 and "autoencoder" in method.previews()
    trained = {"content_encoder": method.models["content"].content_encoder}
    trained |= {name: getattr(method.models["style"], name) for name in ("style_encoder", "style_blocks")}
    for model, frozen in ((next(stages).model(), True), (made(trained=trained), False)):
        before = {name: getattr(model, name).get_weights() for name in model.networks}
        for name, network in trained.items():
            assert all((a == b).all() for a, b in zip(before[name], network.get_weights(), strict=True))
        model.train_step(data)
        moved = {name: any((a != b).any() for a, b in zip(weights, getattr(model, name).get_weights(), strict=True))
                 for name, weights in before.items()}  # fmt: skip
        assert moved == {name: name == "decoder" or not frozen for name in model.networks}
    assert not list(stages)


# --- use --------------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_without_temperature_the_transfer_knows_no_noise(model, monkeypatch):
    style = pictures(2, 3)
    means, log_variances = model.gaussians(style)
    warm = [model.style_of(style, 1.0) for _ in range(2)]
    np.testing.assert_array_equal(warm[0][0], warm[1][0])
    assert not np.allclose(warm[0][0], means[0])
    shifted = model.style_of(style, 0.0, shift=2.0)
    np.testing.assert_allclose(shifted[0], means[0] + 2 * np.exp(0.5 * log_variances[0]), atol=1e-5)
    np.testing.assert_array_equal(shifted[1], means[1])
    monkeypatch.setattr(model, "noise_seed", 7)
    assert not np.allclose(model.style_of(style, 1.0)[0], warm[0][0])
    np.testing.assert_array_equal(model.style_of(style, 0.0)[0], means[0])


@pytest.mark.one_stack
def test_constant_draws_differ_more_than_independent_ones():
    model, content = made(size=(32, 32), widths=(4, 8)), pictures(1, 1, (32, 32))
    apart = {}
    for spatial in ("constant", "iid"):
        shown = model.shown(np.repeat(content, 6, 0), *model.drawn(range(6), 0, spatial)).numpy()
        apart[spatial] = np.mean([np.abs(a - b).mean() for a, b in itertools.combinations(shown, 2)])
    assert apart["constant"] > 3 * apart["iid"]


@pytest.mark.one_stack
def test_the_way_between_styles_has_no_jumps(model):
    """Twice the steps, about half the greatest change."""
    ends = [model.drawn([k], 0, "constant") for k in range(2)]
    shares = tf.reshape(tf.linspace(0.0, 1.0, 33), (-1, 1, 1, 1))
    way = model.shown(np.repeat(pictures(1), 33, 0), *between(*ends, shares)).numpy()
    greatest = {steps: np.abs(np.diff(way[:: 32 // steps], axis=0)).max() for steps in (8, 16, 32)}
    assert greatest[32] < 0.7 * greatest[16] < 0.7 * 0.75 * greatest[8]
    np.testing.assert_array_equal(between(*ends, 0.0)[0], ends[0][0])


# --- the baseline -----------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_the_deterministic_baseline():
    """AdaIN of relu4_1, and its two losses with numpy; it learns, and draws nothing."""
    model, data = made(DeterministicTransfer, architecture="deterministic"), batch()
    assert model.features.layers[-1] == "block4_conv1" and not model.features.model.trainable_weights
    content, style = (model.features(data[name])["block4_conv1"] for name in ("content", "style"))
    aim = adain(content, style)
    found = model.features(model.mirrored_decoder(aim))
    reference = model.features(data["style"])
    moments = sum(np.mean((part(found[n], (1, 2)) - part(reference[n], (1, 2))) ** 2)
                  for n in model.features.layers for part in (np.mean, np.std))  # fmt: skip
    expected = np.mean((found["block4_conv1"] - aim) ** 2) + 10 * moments
    before = float(model.validation_loss(data))
    assert before == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(
        model.shown(data["content"], *model.style_of(data["style"])), model.mirrored_decoder(aim)
    )
    model.train_step(data)
    assert float(model.validation_loss(data)) < before


@pytest.mark.one_stack
def test_the_baseline_s_decoder_mirrors_vgg_19():
    """Nine convolutions, 512 to 64 channels, to relu4_1's eightfold size."""
    decoder = build_network(Config(size=(16, 16)), "mirrored_decoder")
    convolutions = [layer for layer in decoder.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [256, 256, 256, 256, 128, 128, 64, 64, 1]
    assert decoder(tf.zeros((1, 2, 3, 512))).shape == (1, 16, 24, 1)


@pytest.mark.one_stack
def test_the_baseline_in_use(tmp_path):
    """It transfers and exports; what draws styles is refused."""
    method = METHOD(TestHarness.settings("model.architecture=deterministic"))
    stage = next(iter(method.stages()))
    method.models["transfer"] = stage.model()
    assert list(method.export_module().calls) == ["transfer"]
    assert set(method.previews()) == {"styles", "interpolation"}
    with pytest.raises(UserError, match="draws no styles; give a picture"):
        next(iter(method.sample(1)))
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "scan.png")
    with pytest.raises(UserError, match="draws no styles; give image=FILE,style=FILE"):
        list(method.predict([str(tmp_path / "scan.png")], tmp_path / "out"))
    with pytest.raises(DataError, match="the picture is empty"):
        list(method.predict([f"image={tmp_path / 'scan.png'},style={tmp_path / 'scan.png'}"], tmp_path / "out"))


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
@pytest.mark.parametrize("words, said", [
    (("model.size=[32, 32]",), "has 1 x 16 x 16 pixels where model.size asks for 1 x 32 x 32"),
    (("model.features=nowhere.h5",), "nowhere.h5: no such weights file"),
    (("model.image=mr",), "has no 'mr' image"),
])  # fmt: skip
def test_bad_data(words, said):
    from tfmed.registry import method_class

    with pytest.raises(UserError, match=said):
        for stage in method_class("us_style")(TestHarness.settings(*words)).stages():
            stage.train()
            stage.model()


@pytest.mark.one_stack
def test_a_part_without_pictures_makes_no_pair():
    method = METHOD(TestHarness.settings("data.split={validation: 0.5, test: 0, seed: 0}"))
    with pytest.raises(DataError, match="0 test pictures make no pair; set data"):
        method.pairs("test", 2, 0)
