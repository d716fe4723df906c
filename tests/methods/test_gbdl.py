"""GBDL: the harness, and every item of its card's "What must hold"."""

import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness, assert_same_weights, killed_before
from tfmed.compat import tensor_variable
from tfmed.data.case import Case
from tfmed.data.splits import few_labels
from tfmed.data.splits import split as split_cases
from tfmed.data.streams import Streams
from tfmed.engine.checkpoint import Checkpoints
from tfmed.engine.lifecycle import fit
from tfmed.methods.gbdl import Config, LatentLearner, Segmenter, build_network
from tfmed.methods.gbdl.method import FLIPPED, TURNED
from tfmed.metrics.uncertainty import pavpu, predictive_entropy
from tfmed.nn import dropout
from tfmed.tasks.backbones import UNet

pytestmark = pytest.mark.current

TINY = (
    "data.options={cases: 9, shape: [8, 24, 24], unlabelled: 4}",
    "data.split={validation: 0.2, test: 0.2}",
    "data.labelled_share=1.0",
    "train.validate_every=2",
    "train.schedule.kind=constant",
    "model.patch=[4, 16, 16]",
    "model.network={name: unet, widths: [4, 8], factors: [1, 2, 2], dropout: 0.3}",
    "model.latent_widths=[4, 8]",
    "model.latent_size=4",
    "model.latent_steps=2",
    "model.samples=2",
    "model.mc_passes=2",
    "model.stride=null",
)


class TestHarness(MethodHarness):
    """The latent model is trained for two steps and the segmenter for four: a run that is broken off breaks there."""

    config = "configs/gbdl.yaml"
    tiny = TINY
    bad = ("model.patch=[4, 18, 16]", "multiple of 4")

    def parity(self, run):
        """Odd shapes: smaller than a window, larger, and neither a multiple of anything."""
        method = run.restored()
        images, expected = [], []
        for shape in ((3, 10, 27), (9, 33, 20)):
            image = np.random.default_rng(sum(shape)).uniform(0, 400, (*shape, 1)).astype("float32")
            prepared = method.preprocessing()[-1].graph(tf.constant(image)).numpy()
            images.append({"image": image})
            expected.append(np.array(method.config.label_values)[method.labels(prepared)])
        return expected, images

    def assert_parity(self, found, expected):
        assert (found != expected).mean() < 1e-3  # equally probable classes may be told apart by the last digit

    def test_a_run_killed_between_its_stages_goes_on(self, run, tmp_path):
        killed, state = killed_before(run, tmp_path / "killed", lambda state: state["stage_index"])
        assert (state["stage"], state["step"]) == ("latent", 2)
        resumed = fit(run.settings, killed, resume=True)
        assert (resumed.path / "metrics.csv").read_bytes() == (run.path / "metrics.csv").read_bytes()
        assert_same_weights(resumed, run)

    @pytest.mark.long
    @pytest.mark.one_stack
    def test_a_run_killed_at_a_best_checkpoint_draws_the_pictures_of_an_unbroken_one(self, tmp_path, monkeypatch):
        """Of both stages, whichever checkpoint is the last before the kill."""
        rule = "train.early_stopping={metric: dice_atrium, mode: max, patience: 9}"
        settings = self.settings(rule, "train.preview_every=1")
        whole, usual = fit(settings, tmp_path / "whole"), Checkpoints.mark_best
        for count in (0, 1):
            calls = iter(range(9))

            def dying(*arguments, calls=calls, count=count):
                if next(calls) == count:
                    raise KeyboardInterrupt
                usual(*arguments)

            with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
                patched.setattr(Checkpoints, "mark_best", dying)
                fit(settings, tmp_path / str(count))
            run = fit(settings, tmp_path / str(count), resume=True)
            names = [sorted(path.name for path in (one.path / "previews").iterdir()) for one in (run, whole)]
            assert names[0] == names[1] and len(names[0]) == 5
            assert (run.path / "metrics.csv").read_bytes() == (whole.path / "metrics.csv").read_bytes()
            assert_same_weights(run, whole)

    def test_the_segmenter_leaves_the_latent_model_as_it_was(self, run):
        """Bit for bit, and none of its weights are among the segmenter's."""
        method = run.method()
        stages = method.stages()
        first = next(stages)
        latent = method.models["latent"] = first.model()
        Checkpoints(run.path / "checkpoints").restore(latent, *Checkpoints(run.path / "checkpoints").latest("latent"))
        before = [v.numpy() for v in latent.variables]
        stage = next(stages)
        segmenter = stage.model()
        batch = {name: tf.constant(value) for name, value in stage.train().batch(0).items()}
        logs = {name: float(value) for name, value in segmenter.train_step(batch).items()}
        assert logs["pseudo"] > 0 and logs["supervised"] > 0
        for value, variable in zip(before, latent.variables, strict=True):
            np.testing.assert_array_equal(value, variable.numpy())
        shared = {id(tensor_variable(v)) for v in latent.variables} & {
            id(tensor_variable(v)) for v in segmenter.variables
        }
        assert not shared

    def test_evaluation_has_pavpu_of_the_region(self, run):
        method = run.restored()
        tables = method.evaluate({"run": method})
        assert [row["region"] for row in tables["evaluation"]] == ["atrium"]
        assert all(0 <= row["PAvPU"] <= 1 for row in tables["cases"])
        assert "PAvPU mean" in tables["evaluation"][0]
        case = method.cases["test"][0]
        images, label = tfmed.data.readers.read_case(case, method.case_spec)
        found = method.segmenter()(images)
        row = next(row for row in tables["cases"] if row["case"] == case.id)
        assert row["PAvPU"] == pavpu(found.entropy.array, found.labels.array, label.array)

    def test_entropy_is_in_bits_and_test_passes_differ(self, run):
        method = run.restored()
        image = tf.random.stateless_normal((1, 4, 16, 16, 1), [1, 2])
        with dropout.dropping(method.network):
            first, second = (tf.nn.softmax(method.network(image)).numpy() for _ in range(2))
        assert np.abs(first - second).max() > 1e-4
        entropy = predictive_entropy(method.probabilities(image[0].numpy()), base=2)
        assert entropy.min() >= 0 and 0 < entropy.max() <= 1 + 1e-6


def options(name, *overrides):
    return tfmed.load_config(REPOSITORY / "configs" / name, (*TINY, *overrides))


def trained_a_step(settings):
    """{stage: logs of one step} of a method."""
    found = tfmed.registry.method_class(settings.method)(settings)
    logs = {}
    for stage in found.stages():
        model = found.models[stage.name] = stage.model()
        batch = {name: tf.constant(value) for name, value in stage.train().batch(0).items()}
        logs[stage.name] = {name: float(value) for name, value in model.train_step(batch).items()}
    return logs


@pytest.mark.one_stack
@pytest.mark.parametrize("name", ["volume_lrl", "ic_lrl", "no_mse", "no_kl", "shared_encoder", "shared_decoder"])
def test_variants_train_through_both_stages(name):
    settings = options(f"gbdl/{name}.yaml")
    assert settings.model != options("gbdl.yaml").model
    logs = trained_a_step(settings)
    assert list(logs) == ["latent", "segmenter"] and ("mse" in logs["latent"]) == (name != "no_mse")
    assert all(np.isfinite(value) for stage in logs.values() for value in stage.values())


@pytest.mark.one_stack
def test_the_baseline_has_one_stage_and_labels_alone():
    logs = trained_a_step(options("gbdl/supervised.yaml"))
    assert list(logs) == ["segmenter"] and logs["segmenter"]["loss"] == logs["segmenter"]["supervised"] > 0
    with pytest.raises(tfmed.errors.ConfigError, match="set it to 4"):
        options("gbdl/supervised.yaml", "model.labelled_batch=2")


@pytest.mark.parametrize("name", ["la2018", "paired_folder"])
def test_other_settings_are_valid(name):
    tfmed.load_config(REPOSITORY / "configs" / "gbdl" / f"{name}.yaml")


@pytest.mark.parametrize("name, cases, labelled, others", [
    ("labels_8", 100, 8, 72), ("kits19", 210, 16, 144), ("kits19_4", 210, 4, 156), ("msd_liver", 131, 5, 95),
])  # fmt: skip
def test_a_stage_has_the_codes_epochs(name, cases, labelled, others):
    """80 of labelled cases, repeated floor(unlabelled / labelled) + 1 times, and unlabelled ones, four to a batch.

    `others` are the paper's, that has no validation cases.
    """
    loaded = tfmed.load_config(REPOSITORY / "configs" / "gbdl" / f"{name}.yaml")
    items = labelled * (others // labelled + 1) + others
    assert loaded.train.steps == 80 * math.ceil(items / 4)
    made = [Case(f"c{i}", f"c{i}", {"ct": "x"}, "y", {}) for i in range(cases)]
    train = split_cases(made, loaded.data.split, 0)["train"]
    assert len(few_labels(train, loaded.data.labelled_share, 0)) == labelled
    assert loaded.model.label_values == (0, 1) and len(loaded.model.scored) == 1


# --- networks ---------------------------------------------------------------------------------------------------------


def parameters(network):
    return sum(int(np.prod(w.shape)) for w in network.trainable_weights)


@pytest.mark.usefixtures("unfilled_weights")
def test_parameters_of_the_segmenter():
    assert parameters(build_network(Config())) == 9_596_738


@pytest.mark.one_stack
@pytest.mark.usefixtures("unfilled_weights")
def test_parameters_of_the_latent_model():
    """Without the released code's unused layer; three channels, two classes, slices of 128 x 128."""
    lrl = build_network(Config(), "latent", channels=3)
    parts = {"x_encoder": 28_209_088 + 2_359_808, "mean": 2_097_408, "vector": 2_097_408, "y_vector": 2_097_408,
             "z_features": 2_105_344 + 2_359_808, "y_features": 2_105_344 + 2_359_808, "x_decoder": 30_525_312 + 5_187,
             "y_encoder": 28_209_088 + 2_359_808, "y_decoder": 37_603_200 + 130}  # fmt: skip
    assert {name: parameters(getattr(lrl, name)) for name in parts} == parts
    assert parameters(lrl) == sum(parts.values()) == 144_494_149


SMALL = dict(patch=(4, 16, 16), network=UNet(widths=(4, 8), factors=(1, 2, 2), dropout=0.3), latent_widths=(4, 8),
             latent_size=4, samples=2, jitter=0.0, stride=None)  # fmt: skip


def small(**changes):
    return Config(**SMALL | changes)


@functools.cache
def latent_network():
    """A tiny latent model, made once for the tests that leave its weights alone."""
    return build_network(small(), "latent")


def volumes(shape, seed=0):
    return tf.random.stateless_normal(shape, [seed, 1])


@pytest.mark.one_stack
@pytest.mark.parametrize("latent", ["full", "diagonal", "volume"])
def test_any_number_of_slices(latent):
    lrl = build_network(small(latent=latent), "latent", channels=2, classes=3)
    segmenter = build_network(small(), channels=2, classes=3)
    for slices in (1, 5):
        images = volumes((2, slices, 16, 16, 2))
        assert lrl(images).shape == segmenter(images).shape == (2, slices, 16, 16, 3)
        features = lrl.x_encoder(images)
        assert all(feature.shape[1] == slices for feature in features)  # pools leave the slices alone
        mean, vector = lrl.posterior(features[-1])
        assert mean.shape == vector.shape == (2, 1 if latent == "volume" else slices, 4)
        z = lrl.draw(mean, vector, volumes((2, slices, 4)))
        assert lrl.reconstruct(features, z).shape == images.shape and lrl.divergence(mean, vector).shape == (2,)
        pseudo = lrl.pseudo_labels(images, volumes((2, 3, slices, 4)))
        assert pseudo.shape == (2, slices, 16, 16, 3)
        np.testing.assert_allclose(tf.reduce_sum(pseudo, -1), 1, rtol=1e-5)


def test_a_latent_sees_ten_slices_to_each_side():
    """Ten convolutions of depth 3; without normalisation, which mixes slices through its statistics."""
    config = Config(patch=(32, 32, 32), latent_widths=(2, 2, 2, 2, 2), latent_size=2, stride=None)
    keras.utils.set_random_seed(0)  # some weights let no slice through: two channels may both be below zero
    lrl = build_network(config, "latent", norm="none", channels=1)
    images = volumes((1, 25, 32, 32, 1))
    with tf.GradientTape() as tape:
        tape.watch(images)
        mean = tf.reduce_sum(lrl.posterior(lrl.x_encoder(images)[-1])[0][:, 12])
    reach = np.abs(tape.gradient(mean, images)).sum((0, 2, 3, 4))
    assert np.all(reach[[0, 1, 23, 24]] == 0) and np.all(reach[4:21] > 0)


def test_a_slice_of_features_is_made_of_its_own_latent():
    lrl = latent_network()
    z = volumes((1, 6, 4)).numpy()
    before = lrl.z_features(z).numpy()
    z[0, 2] += 1
    changed = np.abs(lrl.z_features(z).numpy() - before).max((0, 2, 3, 4))
    assert changed[2] > 0 and np.all(np.delete(changed, 2) == 0)


def test_a_shared_encoder_is_one_encoder():
    own, shared = (build_network(small(share_encoder=flag), "latent") for flag in (False, True))
    assert parameters(own) - parameters(shared) == parameters(own.x_encoder)


@pytest.mark.one_stack
def test_a_shared_decoder_gives_both_with_one_set_of_weights():
    own, shared = (build_network(small(share_decoder=flag), "latent", channels=1) for flag in (False, True))
    head = shared.y_decoder.output_shape[-1] - own.y_decoder.output_shape[-1]  # of the image, 1 x 1 x 1
    width = own.x_encoder.outputs[0].shape[-1]
    assert parameters(own) - parameters(shared) == parameters(own.x_decoder) - head * (width + 1) and head == 1
    images = volumes((1, 4, 16, 16, 1))
    features = shared.x_encoder(images)
    z = volumes((1, 4, 4), 3)
    logits, image = shared.decode(images, features, z)
    guide = shared.guide(images, features)
    np.testing.assert_allclose(shared.segment(guide, features, z), logits, atol=1e-6)
    assert image.shape == images.shape and np.abs(shared.decode(images, features, z + 1)[1] - image).max() > 0
    with pytest.raises(ValueError, match="share_decoder: needs"):
        small(share_decoder=True, lambda_mse=0.0)


@pytest.mark.one_stack
def test_an_images_decoder_without_skips_has_the_latent_alone():
    """With none the reconstruction is a function of z; with one the deepest skip matters too, and never the finest."""
    widths = (2, 4, 8)
    for count, reached in ((None, [True, True]), (1, [False, True]), (0, [False, False])):
        lrl = build_network(small(latent_widths=widths, image_skips=count), "latent", channels=1)
        features = lrl.x_encoder(volumes((1, 4, 16, 16, 1)))
        z = volumes((1, 4, 4), 3)
        before = lrl.reconstruct(features, z)
        assert before.shape == (1, 4, 16, 16, 1)
        assert np.abs(lrl.reconstruct(features, z + 1) - before).max() > 0
        for level, matters in enumerate(reached):
            changed = [feature + (i == level) for i, feature in enumerate(features)]
            assert bool(np.any(lrl.reconstruct(changed, z) != before)) == matters
    with pytest.raises(ValueError, match="there are 2"):
        small(latent_widths=widths, image_skips=3)


def test_pseudo_labels_are_the_mean_over_latents():
    lrl = latent_network()
    images, noise = volumes((2, 4, 16, 16, 1)), volumes((2, 3, 4, 4), 5)
    features = lrl.x_encoder(images)
    mean, vector = lrl.posterior(features[-1])
    each = [tf.nn.softmax(lrl.segment(lrl.guide(images, features), features, lrl.draw(mean, vector, noise[:, i])))
            for i in range(3)]  # fmt: skip
    np.testing.assert_allclose(lrl.pseudo_labels(images, noise), np.mean(each, 0), atol=1e-6)
    assert np.abs(each[0] - each[1]).max() > 1e-3


def test_reconstructions_are_linear_unless_tanh_is_asked_for():
    images = volumes((1, 4, 16, 16, 1))
    linear, tanh = (build_network(small(reconstruction=kind), "latent") for kind in ("linear", "tanh"))
    tanh.set_weights([100 * w for w in linear.get_weights()])
    linear.set_weights(tanh.get_weights())
    features, z = linear.x_encoder(images), volumes((1, 4, 4))
    values = linear.reconstruct(features, z).numpy()
    assert np.abs(values).max() > 10
    np.testing.assert_allclose(tanh.reconstruct(features, z), np.tanh(values), atol=1e-6)


# --- Gaussians and their divergence -----------------------------------------------------------------------------------


@functools.cache
def of_three():
    """A latent model of three components; it says which Gaussians its settings ask for."""
    lrl = build_network(small(latent="diagonal", latent_floor=0.5, latent_size=3), "latent", channels=1)
    assert (lrl.kind, lrl.floor) == ("diagonal", 0.5)
    return lrl


def lrl_of(kind, floor):
    """It, with other Gaussians, until the next call."""
    lrl = of_three()
    lrl.kind, lrl.floor = kind, floor
    return lrl


def closed_form(covariances, means):
    """KL(N(mu_*, S) || N(0, I)) by numpy, from the slices' covariances."""
    precisions = np.linalg.inv(covariances)
    covariance = np.linalg.inv(precisions.sum(0))
    mean = covariance @ np.einsum("nij,nj->i", precisions, means)
    return 0.5 * (-np.linalg.slogdet(covariance)[1] + np.trace(covariance) + mean @ mean - len(mean))


def posterior(seed, n, scale=1.0):
    rng = np.random.default_rng(seed)
    return (rng.normal(0, scale, (1, n, 3)).astype("float32") for _ in range(2))


@pytest.mark.one_stack
@pytest.mark.parametrize("floor", [10.0, 0.5])
@given(seed=st.integers(0, 10**6), n=st.integers(1, 32))
@given_settings(max_examples=25)
def test_divergence_is_that_of_the_product(floor, seed, n):
    mean, vector = posterior(seed, n)
    a = np.einsum("ni,nj->nij", vector[0], vector[0]).astype(float) + floor * np.eye(3)
    assert (np.linalg.eigvalsh(a) > 0).all()
    found = lrl_of("full", floor).divergence(mean, vector).numpy()
    np.testing.assert_allclose(found, [closed_form(a @ a, mean[0])], rtol=1e-4, atol=1e-4)
    assert found >= -1e-5
    order = np.random.default_rng(seed).permutation(n)
    np.testing.assert_allclose(lrl_of("full", floor).divergence(mean[:, order], vector[:, order]), found, rtol=1e-4)
    if n == 1:
        np.testing.assert_allclose(lrl_of("volume", floor).divergence(mean, vector), found, rtol=1e-6)


@pytest.mark.parametrize("floor", [10.0, 0.5])
@given(seed=st.integers(0, 10**6), n=st.integers(1, 32))
@given_settings(max_examples=25)
def test_independent_components_have_the_papers_formula(floor, seed, n):
    mean, vector = posterior(seed, n)
    sigma = vector[0].astype(float) ** 2 + floor  # the diagonal of the full A
    v = 1 / (1 / sigma**2).sum(0)
    printed = 0.5 * (-np.log(v) + v + (v * (mean[0] / sigma**2).sum(0)) ** 2 - 1).sum()
    found = lrl_of("diagonal", floor).divergence(mean, vector)
    np.testing.assert_allclose(found, [printed], rtol=1e-4, atol=1e-4)
    full = closed_form(np.stack([np.diag(s**2) for s in sigma]), mean[0])
    np.testing.assert_allclose(found, [full], rtol=1e-4, atol=1e-4)


def test_where_the_divergence_is_zero_and_how_low_the_floor_lets_it_go():
    """32 slices of N(0, 32 I) make the standard normal, 32 of N(0, I) do not; a floor of 10 keeps S above 3.125 I."""
    n, d = 32, 256
    zeros = np.zeros((1, n, d), "float32")
    lrl = build_network(small(latent_size=d), "latent")

    def at(floor, mean=zeros, vector=zeros):
        lrl.floor = floor
        return float(lrl.divergence(mean, vector)[0])

    np.testing.assert_allclose(at(math.sqrt(n)), 0, atol=1e-3)
    assert at(math.sqrt(n), mean=zeros + 0.1) > 0.1 and at(math.sqrt(n), vector=zeros + 0.1) > 1e-3
    np.testing.assert_allclose(at(1.0), d / 2 * (math.log(n) + 1 / n - 1), rtol=1e-5)
    np.testing.assert_allclose(at(1.0), 319.6, atol=0.1)
    np.testing.assert_allclose(at(10.0), 126.15, atol=0.01)
    assert at(10.0, vector=volumes((1, n, d)).numpy()) > 126.15


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_draws_have_the_covariance(kind):
    mean, vector = posterior(3, 1)
    many = 100_000
    noise = volumes((many, 1, 3), 7)
    z = lrl_of(kind, 0.5).draw(np.repeat(mean, many, 0), np.repeat(vector, many, 0), noise).numpy()[:, 0]
    a = np.outer(vector, vector) if kind == "full" else np.diag(vector[0, 0] ** 2)
    a = a + 0.5 * np.eye(3)
    np.testing.assert_allclose(z.mean(0), mean[0, 0], atol=0.05)
    np.testing.assert_allclose(np.cov(z.T), a @ a, atol=0.03 * np.abs(a @ a).max())


# --- the two losses ---------------------------------------------------------------------------------------------------


def batch(labelled=2, unlabelled=2, seed=0):
    n = labelled + unlabelled
    labels = np.random.default_rng(seed).integers(0, 2, (n, 4, 16, 16)).astype("int32")
    return {"index": tf.range(n, dtype=tf.int64), "image": volumes((n, 4, 16, 16, 1), seed), "label": labels}


def latent_learner(labelled=2, unlabelled=2, **changes):
    config = small(**changes)
    return LatentLearner(config, Streams(labelled, unlabelled), latent_network(), 1e-3)


def test_the_elbo_is_the_weighted_sum():
    loss, logs = latent_learner(latent_decay=0.0).network_loss(batch())
    expected = logs["cross_entropy"] + 2 * logs["dice"] + logs["mse"] + 0.005 * logs["kl"]
    np.testing.assert_allclose([loss, logs["loss"]], [expected] * 2, rtol=1e-6)


def test_decay_is_half_the_squared_weights():
    model = latent_learner(latent_decay=0.3)
    loss, logs = model.network_loss(batch())
    squares = sum(float(np.square(w.numpy()).sum()) for w in model.network.trainable_weights)
    np.testing.assert_allclose(loss - logs["loss"], 0.15 * squares, rtol=1e-4)


def test_unlabelled_volumes_teach_by_image_and_prior_alone():
    model, data = latent_learner(), batch()
    streams, images = model.streams, data["image"]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        _, logs = model.network_loss(data | {"image": images})
        by_label = logs["cross_entropy"] + logs["dice"]
    for term, reaches in ((by_label, False), (logs["mse"], True), (logs["kl"], True)):
        labelled, unlabelled = (np.abs(part).max() for part in streams.divide(tape.gradient(term, images)))
        assert labelled > 0 and (unlabelled > 0) == reaches


def test_labels_of_the_unlabelled_stream_mean_nothing():
    model, data = latent_learner(), batch()
    labelled, unlabelled = model.streams.divide(tf.constant(data["label"]))
    other = data | {"label": model.streams.join(labelled, 1 - unlabelled)}
    assert float(model.network_loss(data)[0]) == float(model.network_loss(other)[0])


def test_a_batch_without_labels_has_a_finite_loss():
    model, data = latent_learner(0, 2), batch(0, 2)
    with tf.GradientTape() as tape:
        loss, logs = model.network_loss(data)
    weights = [tensor_variable(v) for v in model.network.trainable_variables]
    gradients = tape.gradient(loss, weights, unconnected_gradients="zero")
    assert np.isfinite(loss) and all(np.isfinite(g).all() for g in gradients)
    assert float(logs["cross_entropy"]) == float(logs["dice"]) == 0 and float(logs["mse"]) > 0


@pytest.mark.one_stack
def test_a_latent_model_drops_channels_only_while_it_learns():
    data = batch()
    config = small(latent_dropout=0.5)
    dropping = LatentLearner(config, Streams(2, 2), build_network(config, "latent"), 1e-3)
    losses = [[float(model.network_loss(data)[0]) for _ in range(2)] for model in (latent_learner(), dropping)]
    assert losses[0][0] == losses[0][1] and losses[1][0] != losses[1][1]
    noise = volumes((4, 2, 4, 4))
    first, second = (dropping.network.pseudo_labels(data["image"], noise) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    for half in ("x_encoder", "y_encoder", "x_decoder", "y_decoder"):
        part = getattr(dropping.network, half)
        inputs = [volumes((1, 4, *one.shape[2:])) for one in part.inputs]
        inputs = inputs[0] if len(inputs) == 1 else inputs
        found, again = (tf.nest.flatten(part(inputs, training=flag))[-1] for flag in (True, False))
        assert np.abs(found - again).max() > 0, half


def test_squared_error_is_a_sum_over_channels_and_a_mean_over_voxels():
    config = small(modalities=("a", "b"))
    model = LatentLearner(config, Streams(2, 0), build_network(config, "latent"), 1e-3)
    data = batch(2, 0) | {"image": volumes((2, 4, 16, 16, 2))}
    _, logs = model.network_loss(data)
    features = model.network.x_encoder(data["image"])
    mean, vector = model.network.posterior(features[-1])
    z = model.network.draw(mean, vector, model.noise(data, (4, 4), 0))
    error = np.square(model.network.reconstruct(features, z) - data["image"]).sum(-1)
    np.testing.assert_allclose(logs["mse"], error.mean(), rtol=1e-5)


def segmenter(teacher, labelled=2, unlabelled=2, **changes):
    config = small(network=UNet(widths=(4, 8), factors=(1, 2, 2)), decay=0.0, **changes)
    tf.random.set_seed(0)
    network = build_network(config)
    network.set_weights([np.random.default_rng(1).normal(0, 0.3, w.shape) for w in network.get_weights()])
    return Segmenter(config, Streams(labelled, unlabelled), network, 1e-3, pseudo_labels=teacher)


@pytest.mark.one_stack
def test_labelled_volumes_never_see_pseudo_labels():
    """The teacher is shown the unlabelled images alone, and what it says moves the pseudo term alone."""
    data, shown = batch(), []

    def teacher(answer):
        def pseudo_labels(images, noise):
            shown.append((images, noise))
            return tf.one_hot(tf.fill(images.shape[:-1], answer), 2)

        return pseudo_labels

    (_, zero), (_, one) = (segmenter(teacher(answer)).network_loss(data) for answer in (0, 1))
    assert float(zero["supervised"]) == float(one["supervised"]) and float(zero["pseudo"]) != float(one["pseudo"])
    np.testing.assert_array_equal(shown[0][0], Streams(2, 2).divide(data["image"])[1])
    assert shown[0][1].shape == (2, 2, 4, 4)
    assert float(zero["loss"]) == pytest.approx((float(zero["supervised"]) + float(zero["pseudo"])) / 2)


@pytest.mark.one_stack
def test_pseudo_labels_count_as_much_as_their_ramp_says():
    """A weight of 0.4 after 10 steps: exp(-5 / 4) of it at step 5; the ratio of gradients follows."""
    gbdl = {"name": "gbdl", "weight": 0.4, "rampup_steps": 10}
    data, soft = batch(), tf.nn.softmax(volumes((2, 4, 16, 16, 2), 9))
    both = segmenter(lambda *_: soft, architecture=gbdl), segmenter(lambda *_: soft)
    weight = {0: 0.4 * np.exp(-5), 5: 0.4 * np.exp(-5 / 4), 10: 0.4, 99: 0.4}
    for step, expected in weight.items():
        now = data | {"index": tf.range(4 * step, 4 * step + 4, dtype=tf.int64)}
        found, alike = ({key: float(value) for key, value in model.network_loss(now)[1].items()} for model in both)
        assert found["loss"] == pytest.approx((found["supervised"] + expected * found["pseudo"]) / 2, rel=1e-5)
        assert found["gradient_ratio"] == pytest.approx(expected * alike["gradient_ratio"], rel=1e-4)


def test_pseudo_targets_are_classes_for_entropy_and_probabilities_for_dice():
    soft = tf.nn.softmax(volumes((2, 4, 16, 16, 2), 9))
    model, data = segmenter(lambda images, noise: soft), batch()
    logits = Streams(2, 2).divide(model.network(data["image"]))[1]
    p, q = tf.nn.softmax(logits).numpy(), soft.numpy()
    entropy = -np.log(np.take_along_axis(p, q.argmax(-1)[..., None], -1)).mean((1, 2, 3, 4))
    dice = 1 - (2 * (p * q).sum((1, 2, 3)) + 1e-5) / (p.sum((1, 2, 3)) + q.sum((1, 2, 3)) + 1e-5)
    expected = (entropy + 2 * dice[:, 1]).mean()
    np.testing.assert_allclose(model.network_loss(data)[1]["pseudo"], expected, rtol=1e-4)


def test_nothing_flows_back_into_the_teacher():
    lrl = latent_network()
    model, data = segmenter(lrl.pseudo_labels), batch()
    with tf.GradientTape() as tape:
        loss, _ = model.network_loss(data)
    assert all(g is None for g in tape.gradient(loss, [tensor_variable(v) for v in lrl.trainable_variables]))


@pytest.mark.one_stack
def test_an_update_of_the_segmenter_lowers_its_loss():
    model, data = segmenter(latent_network().pseudo_labels), batch()
    before = float(model.network_loss(data)[0])
    model.update("network", model.network_loss, data)
    assert float(model.network_loss(data)[0]) < before


# --- data -------------------------------------------------------------------------------------------------------------


def method(*overrides):
    return tfmed.registry.method_class("gbdl")(options("gbdl.yaml", *overrides))


def test_unlabelled_crops_are_of_other_cases_and_slices_without_foreground_stay():
    found = method()
    labelled, pool = found.training_cases
    assert len(labelled) == 3 and sum(case.label is None for case in pool) == 4
    samples = found.samples()
    assert samples.per_step == 4 and samples.read(0)["image"].shape == (4, 16, 16, 1)
    labels = np.stack([samples.read(i)["label"] for i in range(0, 160, 2)])
    assert labels.any() and not labels.any((2, 3)).all()
    assert not any(samples.read(i)["label"].any() for i in range(1, 41, 2))


def test_movements_flip_left_and_right_and_turn_half_of_the_crops_in_the_plane():
    found = method()
    policies = [found.transform(seed) for seed in range(100)]
    assert policies.count(FLIPPED) == policies.count(TURNED) == 50
    for seed in range(20):
        grid = tfmed.augment.paired.sample_grid(seed, (3, 12, 16), found.transform(seed))
        np.testing.assert_allclose(grid[..., 0], np.arange(3)[:, None, None] * np.ones((3, 12, 16)), atol=1e-5)
        step = grid[0, 0, 1, 1:] - grid[0, 0, 0, 1:]
        angle = math.degrees(math.atan2(step[0], abs(step[1])))
        assert abs(angle) <= 10 + 1e-3 and (seed % 2 or angle == 0)
    assert method("model.weak=none").transform(1) is None


def test_jitter_is_one_draw_per_crop_within_its_bounds():
    model = latent_learner(jitter=0.4)
    data = batch() | {"image": tf.ones((4, 4, 16, 16, 1)) * tf.constant([2.0, 4.0] * 8)[:, None]}
    images = model.jittered(data).numpy()
    spans, middles = np.ptp(images, axis=(1, 2, 3, 4)) / 2, images.mean((1, 2, 3, 4)) / 3
    assert (middles > 0.6).all() and (middles < 1.4).all() and len(set(middles.round(4))) == 4
    assert (spans > 0.36).all() and (spans < 1.96).all() and np.abs(spans / middles - 1).max() > 0.01
    np.testing.assert_array_equal(images, model.jittered(data))


def test_windows_have_the_papers_stride():
    windows = method("model.stride=[2, 8, 4]")._windows()
    assert windows["overlap"] == (0.5, 0.5, 0.75) and windows["blend"] == "constant"
    with pytest.raises(ValueError, match="gape"):
        small(stride=(5, 16, 16))
    with pytest.raises(ValueError, match="slice"):
        Config(patch=(128, 128), network=UNet(), stride=None)


def test_a_stage_sees_half_a_cosine():
    found = method("train.schedule.kind=cosine")
    rate = found._rate(1e-4, steps=100)
    np.testing.assert_allclose([rate(0), rate(100), rate(200)], [1e-4, 5e-5, 0], atol=1e-9)
    assert method()._rate(1e-4, 100) == 1e-4
