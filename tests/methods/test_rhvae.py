"""RHVAE: the harness, and every item of its card's "What must hold"."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness, class_pictures_parity
from tfmed.compat import tensor_variable
from tfmed.config import with_values
from tfmed.data import sources
from tfmed.data.readers import read_address
from tfmed.data.settings import AugmentWith
from tfmed.engine.made_cases import made_cases
from tfmed.errors import ConfigError, DataError, RunError
from tfmed.methods.rhvae import RHVAE, Config
from tfmed.nn.gaussian import kl_to_standard
from tfmed.registry import method_class
from tfmed.tasks.class_generation import distances
from tfmed.tasks.classification import ClassificationMethod

pytestmark = pytest.mark.current

SMALL = dict(size=(8, 8), latent_size=2, hidden=(8,), hmc_steps=3, hmc_leapfrog_steps=2, walk_steps=2)
TINY = (
    "data.options={cases: 24, classes: [disc, ring], shape: [8, 8]}",
    "data.split={validation: 0.25, test: 0.25, seed: 0}",
    "train.batch_size=4",
    "train.validate_every=2",
    "train.early_stopping=null",
    "model.classes=[disc, ring]",
    "model.classifier=mlp",
    "model.restarts=1",
    "model.classifier_epochs=2",
    "model.classic_copies=1",
    "model.leapfrog_steps=1",
    "model.fixed_points=2",
    *(f"model.{name}={list(value) if isinstance(value, tuple) else value}" for name, value in SMALL.items()),
    "model.latent_size=3",  # two would be drawn as a plane, see below
)


def pictures(count=4, seed=0):
    return np.random.default_rng(seed).random((count, 8, 8, 1), np.float32)


def batch(count=4, seed=0):
    return {"index": tf.range(count, dtype=tf.int64), "image": tf.constant(pictures(count, seed))}


def made(count=4, **changes):
    keras.utils.set_random_seed(0)
    return RHVAE(Config(**SMALL | changes), count=count, per_step=count)


def normal(seed, *shape):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


class TestHarness(MethodHarness):
    config = "configs/rhvae.yaml"
    tiny = TINY
    bad = ("model.objective=vae", "has no metric to sample by")

    def parity(self, run):
        return class_pictures_parity(run)

    @pytest.mark.one_stack
    def test_classifiers_train_on_its_pictures(self, run, tmp_path):
        """By one setting: of each class as large a share as of the real ones; a segmenter finds no labels in them."""
        method, wish = run.method(), AugmentWith(run=str(run.path), share=0.4)
        taker = ClassificationMethod(with_values(run.settings, {"data.cache_dir": str(tmp_path)}))
        taker.split_record = method.split_record
        found, _ = made_cases(taker, wish)
        counts = {name: sum(case.meta["class"] == name for case in taker.cases["train"]) for name in ("disc", "ring")}
        assert len(found) == sum(round(8 * count / 12) for count in counts.values()) == 8
        for name, count in counts.items():
            assert sum(case.meta["class"] == name for case in found) == round(8 * count / 12)
        others, _ = made_cases(taker, wish.model_copy(update={"seed": 1}))
        shown = [read_address(case.images["image"]).array for case in (*found, *others)]
        assert len({one.tobytes() for one in shown}) == 16 and all(one.shape == (1, 8, 8) for one in shown)
        assert made_cases(taker, wish)[0] == found
        taker.takes_generated = False
        with pytest.raises(RunError, match="makes pictures of classes, without labels"):
            made_cases(taker, wish)

    @pytest.mark.one_stack
    def test_a_shipped_classifier_learns_from_them(self, run, tmp_path):
        """Beside the real pictures, each once in an epoch; what is asked for cannot be made."""
        words = [f"data.augment_with={{run: {run.path}, share: 0.4}}", f"data.cache_dir={tmp_path}",
                 "data.source=phantom_shapes", *TINY[:2], "data.preprocess=[{step: window, range: [0, 1]}]",
                 "train.batch_size=4", "model.epochs=1", "model.repeats=1", "model.classes=[disc, ring]",
                 "model.size=[8, 8]", "model.network=resnet20", "model.width=0.125", "model.blocks=[1]"]  # fmt: skip
        file = REPOSITORY / "configs" / "active_learning_cls" / "all_labels.yaml"
        fitted = tfmed.fit(tfmed.load_config(file, words), tmp_path / "classifier")
        method = fitted.restored()
        assert fitted.metrics()["step"].max() == 5  # of 4 pictures: 12 real ones and 8
        assert sum(method.records.recall("labelled_initial").values()) == 12 and list(method.pool_cases) == [
            case.id for case in method.cases["train"]
        ]
        with pytest.raises(ConfigError, match=r"data.augment_with: .*model.initial_share=1 and model.rounds=0"):
            tfmed.load_config(file, [*words, "model.initial_share=0.5", "model.rounds=1"])

    def test_tables_samples_and_pictures(self, run, tmp_path):
        method = run.restored()
        tables = method.evaluate({"run": method}, count=4)
        sets = [row["training data"] for row in tables["evaluation"]]
        assert sets == ["real", "real + 1 changed copies", "run, metric_hmc only", "real + run, metric_hmc",
                        "run, prior only", "real + run, prior"]  # fmt: skip
        assert [row["pictures"] for row in tables["evaluation"]] == [12, 24, 8, 20, 8, 20]
        assert all(0 <= row["test balanced accuracy mean"] <= 1 for row in tables["evaluation"])
        assert len(tables["nearest"]) == 6 and all(row["least"] > 0 for row in tables["nearest"])
        items = list(method.sample(5, seed=1))
        assert [name for name, _ in items] == ["disc", "ring", "disc", "ring", "disc"]
        again = list(method.sample(3, seed=1))
        assert all(np.allclose(a[1], b[1], atol=1e-6) for a, b in zip(items, again, strict=False))
        assert not np.array_equal(items[0][1], next(iter(method.sample(1, seed=2)))[1])
        path = method.write_sample(items[1], tmp_path, "one")
        assert path == tmp_path / "ring" / "one.png"
        np.testing.assert_allclose(np.asarray(Image.open(path)), np.rint(255 * items[1][1]))
        rows = method.previews()["pictures"].rows
        assert len(rows) == 6 and all(len(row) == 6 if "real" in name else 8 for name, row in rows.items())

    def test_the_metric_is_kept_with_the_weights(self, run):
        """A restored run has that of a clean pass over the training pictures by its own weights."""
        method = run.restored()
        for number in range(2):
            model, images = method.model_of(number), method.of_class("train", number)
            kept = model.matrices.numpy().copy()
            model.keep_metric(images)
            np.testing.assert_array_equal(kept, model.matrices.numpy())
            np.testing.assert_allclose(model.centroids.numpy(), model.encoder(images)[0], rtol=1e-6)
            assert kept.shape == (6, 3, 3) and (np.linalg.eigvalsh(kept) > 0).all()

    def test_classes_are_samples_of_their_own(self, run):
        """The k-th picture of a class does not depend on how many are asked for, and other classes have other noise."""
        method = run.restored()
        np.testing.assert_allclose(method.generate(5, 0, 4)[:2], method.generate(2, 0, 4), atol=1e-6)
        one, two = (method.model_of(0).latents(3, 4, first, "prior") for first in (0, 2**40))
        assert not np.isclose(one, two).any()


# --- networks and the metric ------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_networks_are_those_of_the_released_code():
    """784 -> 400 -> d twice; d -> 400 -> 784; 784 -> 400 -> d and d (d - 1) / 2."""
    model = RHVAE(Config(), count=2)
    counts = [network.count_params() for network in (model.encoder, model.decoder, model.factor)]
    assert counts == [785 * 400 + 2 * 401 * 10, 11 * 400 + 401 * 784, 785 * 400 + 401 * (10 + 45)]


def test_factors_are_lower_triangular_with_a_positive_diagonal():
    model = made(latent_size=4)
    lower = model.lower(pictures()).numpy()
    assert lower.shape == (4, 4, 4) and np.array_equal(lower, np.tril(lower))
    assert (np.diagonal(lower, axis1=1, axis2=2) > 0).all() and np.any(lower[:, 1, 0] != 0)


# --- the bound --------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_without_steps_the_exact_bound_is_the_autoencoder_s(likelihood):
    """Of one draw, and in the mean over draws the likelihood less the divergence; the reference is neither."""
    shared = dict(leapfrog_steps=0, tempering=1.0, likelihood=likelihood)
    images, noise, momentum = pictures(), normal(1, 4, 2), normal(2, 4, 2)
    exact, reference = made(objective="exact", **shared), made(**shared)
    plain = made(objective="vae", ways=("prior",), likelihood=likelihood)
    for model in (reference, plain):
        for ours, theirs in ((model.encoder, exact.encoder), (model.decoder, exact.decoder)):
            ours.set_weights(theirs.get_weights())
    bound, likelihoods = plain.bound(images, noise, momentum)
    np.testing.assert_allclose(exact.bound(images, noise, momentum)[0], bound, rtol=1e-5)
    assert np.abs(reference.bound(images, noise, momentum)[0] - bound).min() > 1e-3
    mean, log_variance = plain.encoder(images)
    corners = [tf.constant(corner, tf.float32) for corner in itertools.product((-1, 1), repeat=2)]
    many = [plain.bound(images, tf.tile(corner[None], (4, 1)), momentum) for corner in corners]
    gaps = np.mean([found[1] - found[0] for found in many], 0)  # square in the noise: their mean is the expectation
    np.testing.assert_allclose(gaps, kl_to_standard(mean, log_variance), rtol=1e-3, atol=1e-3)
    assert np.isfinite(likelihoods).all()


def test_the_reference_objective_weighs_momenta_by_the_end_s_metric():
    """With numpy, of one picture and no steps."""
    model = made(1, leapfrog_steps=0, tempering=0.5, temperature=0.8, regularisation=0.1)
    image, noise, momentum = pictures(1), normal(3, 1, 2), normal(4, 1, 2)
    mean, log_variance = (v.numpy()[0].astype(float) for v in model.encoder(image))
    lower = model.lower(image).numpy()[0].astype(float)
    z = mean + np.exp(0.5 * log_variance) * noise.numpy()[0]
    rho = lower @ momentum.numpy()[0] / 0.5
    inverse = lower @ lower.T * np.exp(-((z - mean) ** 2).sum() / 0.64) + 0.1 * np.eye(2)
    logits = model.decoder(z[None].astype("float32")).numpy().astype(float)
    likelihood = (image * logits - np.log1p(np.exp(logits))).sum()
    gaussian = lambda x: -0.5 * (x**2).sum() - np.log(2 * np.pi)  # noqa: E731
    log_rho = 0.5 * np.linalg.slogdet(inverse)[1] - 0.5 * rho @ inverse @ rho - np.log(2 * np.pi)
    expected = likelihood + gaussian(z) + log_rho - gaussian(noise.numpy()[0]) + 0.5 * log_variance.sum()
    np.testing.assert_allclose(model.bound(image, noise, momentum)[0], [expected], rtol=1e-5)


def test_forces_are_gradients_of_the_potential():
    model, images, z = made(), pictures(), normal(5, 4, 2)
    force = model.potential_gradient(images, z).numpy()
    potential = lambda at: -(model.log_likelihood(images, at) - 0.5 * tf.reduce_sum(at**2, -1)).numpy()  # noqa: E731
    for axis in range(2):
        more = 1e-2 * np.eye(2, dtype=np.float32)[axis]
        np.testing.assert_allclose(force[:, axis], (potential(z + more) - potential(z - more)) / 2e-2, atol=2e-2)


@pytest.mark.one_stack
def test_gradients_pass_through_forces_or_do_not():
    """The decoder's gradient differs, the bound does not."""
    found = []
    for through in (True, False):
        model = made(through_forces=through, leapfrog_size=0.2)
        for network, weights in zip(
            (model.encoder, model.decoder, model.factor), found[0][2] if found else (), strict=False
        ):
            network.set_weights(weights)
        with tf.GradientTape() as tape:
            value = model.network_loss(batch())[0]
        gradient = tape.gradient(value, model.decoder.trainable_variables[0])
        weights = [network.get_weights() for network in (model.encoder, model.decoder, model.factor)]
        found.append((float(value), np.asarray(gradient), weights))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    assert np.abs(found[0][1] - found[1][1]).max() > 1e-4 * np.abs(found[0][1]).max()


@pytest.mark.one_stack
def test_the_reference_objective_settles_at_its_known_metric():
    """A lone centroid with next to no regularisation: M comes to I / sqrt(2)."""
    model = made(1, leapfrog_steps=0, tempering=1.0, regularisation=1e-9, temperature=1.0)
    image, momentum = pictures(1), 2**0.5 * np.float32([[1, 0], [-1, 0], [0, 1], [0, -1]])  # their covariance is I
    images, weights = np.repeat(image, 4, 0), model.factor.trainable_variables[-3::2]  # the heads' biases

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            lower = model.lower(image)
            metric = model.metric_of(model.encoder(image)[0], lower @ tf.linalg.matrix_transpose(lower))
            loss = -tf.reduce_mean(model.bound(images, tf.zeros((4, 2)), momentum, metric)[0])
        for weight, gradient in zip(weights, tape.gradient(loss, [tensor_variable(w) for w in weights]), strict=True):
            weight.assign_sub(0.05 * tf.clip_by_norm(gradient, 1.0))
        return metric.matrices

    for _ in range(300):
        matrix = step().numpy()[0]
    np.testing.assert_allclose(matrix, np.eye(2) * 0.5**0.5, atol=0.01)


# --- sampling ---------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_every_way_gives_pictures_that_its_seed_decides():
    model = made(hmc_steps=6, hmc_leapfrog_steps=3, hmc_size=0.3, temperature=0.8)
    model.keep_metric(pictures())
    latents = {}
    for way in ("metric_hmc", "random_walk", "wrapped_normal", "prior"):
        latents[way] = model.latents(6, 3, way=way).numpy()
        np.testing.assert_allclose(model.latents(3, 3, 3, way), latents[way][3:], atol=1e-5)
        assert not np.isclose(latents[way], model.latents(6, 4, way=way)).all()
        found = model.sample(2, 3, way=way).numpy()
        assert found.shape == (2, 8, 8, 1) and found.min() >= 0 and found.max() <= 1
    for one, other in zip(list(latents), list(latents)[1:], strict=False):
        assert not np.isclose(latents[one], latents[other]).all()
    assert model.metric.within(tf.constant(latents["metric_hmc"])).numpy().all()


@pytest.mark.one_stack
def test_two_latents_are_shown_as_a_plane():
    method = method_class("rhvae")(TestHarness.settings("model.latent_size=2"))
    model = made(len(method.of_class("train", 0)))
    model.keep_metric(method.of_class("train", 0))
    method.models["class0"] = model
    plane = method.latent_plane(count=5, side=8)
    assert list(plane.planes) == ["disc"]
    assert {name: len(found) for name, found in plane.points["disc"].items()} == {
        "training pictures": 6, "metric_hmc": 5, "prior": 5}  # fmt: skip
    (left, right, bottom, top), values = plane.planes["disc"]
    corners = tf.constant([[left, bottom], [right, top]], tf.float32)
    np.testing.assert_allclose(model.metric.log_volume(corners), [values[0, 0], values[-1, -1]], rtol=1e-4)
    starts = {tuple(path[0]) for path in plane.paths["disc"]}
    assert len(starts) == 3 and starts <= set(map(tuple, model.centroids.numpy()))
    for path in plane.paths["disc"]:
        assert len(path) == 12 and np.linalg.norm(path[-1] - path[0]) > 0.1
    plane.figure()


def test_distances_to_the_nearest_training_picture():
    real = pictures(5)
    found = distances(real[:2] + 0.25, real)
    assert found["mean"] == pytest.approx(0.25, rel=1e-5) and distances(real[:1], real)["least"] < 1e-6
    assert np.isnan(distances(real[:0], real)["mean"])


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
@pytest.mark.parametrize("words, said", [
    (("model.size=[9, 9]",), "has 1 x 8 x 8 pixels where model.size asks for 1 x 9 x 9"),
    (("data.preprocess=[]",), "pictures are learnt in 0 to 1; add {step: min_max}"),
    (("model.classes=[disc, cross]",), "is of class 'ring'; the source has disc, ring: set model.classes"),
    (("data.options={cases: 3, classes: [disc, ring], shape: [8, 8]}", "data.split={validation: 0, test: 0}"),
     "class 'ring' has 1 training pictures; add some"),
])  # fmt: skip
def test_bad_data(words, said):
    settings = TestHarness.settings(*words)
    with pytest.raises(DataError, match=said.replace("{", r"\{").replace("}", r"\}")):
        for stage in method_class("rhvae")(settings).stages():
            stage.train()


@pytest.mark.one_stack
def test_phantom_shapes():
    cases = sources.open("phantom_shapes", cases=8, classes=("ring", "cross"))
    assert [case.meta["class"] for case in cases] == ["ring", "cross"] * 4
    assert cases[0].images["image"].endswith("kind=ring")
    with pytest.raises(DataError, match="classes are some of disc, ring, square, cross"):
        sources.open("phantom_shapes", classes=("star",))
