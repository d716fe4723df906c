"""GBDL's baselines: the harness with UA-MT, and each one's loss against numpy."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmed
from tests.methods.test_gbdl import TINY, batch, parameters, volumes
from tests.support.harness import REPOSITORY, MethodHarness
from tfmed.compat import tensor_variable
from tfmed.data.distance import signed_distances
from tfmed.data.streams import Streams
from tfmed.engine.exporting import export
from tfmed.engine.lifecycle import fit
from tfmed.methods.gbdl import Config, build_network
from tfmed.tasks.appearance import Appearance
from tfmed.tasks.backbones import UNet
from tfmed.tasks.semi_supervised_baselines import LEARNERS, Taught
from tfmed.tasks.semi_supervised_baselines.sassnet import discriminator
from tfmed.tasks.semi_supervised_baselines.tripled_uncertainty import integrated, moments

pytestmark = pytest.mark.current

STEPS = 100


class TestHarness(MethodHarness):
    """UA-MT has it all: student, teacher, noise, passes, ramps."""

    config = "configs/gbdl/uamt.yaml"
    tiny = (*TINY, "model.architecture.passes=1", "model.mc_passes=0", "train.validate_every=4")
    bad = ("model.labelled_batch=4", "uamt needs unlabelled volumes")

    def parity(self, run):
        method = run.restored()
        image = np.random.default_rng(1).uniform(0, 400, (5, 18, 20, 1)).astype("float32")
        prepared = method.preprocessing()[-1].graph(tf.constant(image)).numpy()
        return [np.array(method.config.label_values)[method.labels(prepared)]], [{"image": image}]

    def assert_parity(self, found, expected):
        assert (found != expected).mean() < 1e-3  # equally probable classes may be told apart by the last digit


# --- settings ---------------------------------------------------------------------------------------------------------


def settings(name, *overrides):
    return tfmed.load_config(REPOSITORY / "configs" / "gbdl" / f"{name}.yaml", (*TINY, *overrides))


@pytest.mark.parametrize("name", sorted(LEARNERS))
def test_a_file_for_each(name):
    """It says what the type's defaults say, and is found without its folder."""
    loaded = tfmed.load_config(f"configs/{name}.yaml")
    assert loaded == tfmed.load_config(REPOSITORY / "configs" / "gbdl" / f"{name}.yaml")
    assert loaded.model.architecture == type(loaded.model.architecture)()
    assert Config(architecture=name).architecture == loaded.model.architecture


@pytest.mark.parametrize("override, words", [
    ("model.architecture=uamtt", ("unknown architecture 'uamtt'", "did you mean 'uamt'")),
    ("model.architecture.cost=3", ("model.architecture.cost", "unknown setting")),
    ("model.architecture={name: dtc, passes: 3}", ("model.architecture.passes", "unknown setting")),
    ("model.architecture.passes=0", ("model.architecture.passes", "greater than or equal to 1")),
])  # fmt: skip
def test_settings_of_another_are_refused(override, words):
    with pytest.raises(tfmed.errors.ConfigError) as caught:
        settings("uamt", override)
    assert all(word in str(caught.value) for word in words), caught.value


# --- what holds for all -----------------------------------------------------------------------------------------------


def learner(name, **changes):
    """A baseline of tiny networks without dropout, so that its noise is a function of the sample alone."""
    keras.utils.set_random_seed(1)
    passes = {"passes": 2} if "passes" in type(Config(architecture=name).architecture).model_fields else {}
    narrow = {"discriminator_width": 4} if name == "sassnet" else {}
    config = Config(
        architecture={"name": name} | passes | narrow | changes, patch=(4, 16, 16), decay=1e-3, jitter=0.1, stride=None,
        network=UNet(widths=(4, 8), factors=(1, 2, 2)), beta_ce=0.5, beta_dice=0.7,
    )  # fmt: skip
    twin = {"twin": build_network(config, seed=1)} if isinstance(config.architecture, Taught) else {}
    made = LEARNERS[name](config, Streams(2, 2), build_network(config), 1e-3, STEPS, **twin)
    if made.teacher is not None:  # otherwise both say the same
        rng = np.random.default_rng(3)
        made.teacher.set_weights([w + rng.normal(0, 0.05, w.shape) for w in made.teacher.get_weights()])
    return made


@functools.lru_cache
def shared(name):
    """One that no test changes."""
    return learner(name)


def data(step=0, labelled=2, unlabelled=2):
    found = batch(labelled, unlabelled)
    maps = np.stack([signed_distances(label, 2) for label in found["label"]])
    size = labelled + unlabelled
    found = found | {"index": tf.range(step * size, (step + 1) * size, dtype=tf.int64), "distance": tf.constant(maps)}
    return found | {"label": tf.constant(found["label"])}


def numbers(total, logs):
    """The loss and what is logged but for the ratio of gradients, which is no mean over volumes."""
    return np.array([float(total), *(float(logs[name]) for name in sorted(logs) if name != "gradient_ratio")])


@pytest.mark.one_stack
@pytest.mark.parametrize("name", sorted(LEARNERS))
def test_what_reaches_the_loss(name):
    """No label of an unlabelled volume, no gradient of the teacher; and a batch has the mean loss of its halves.

    The latter so that replicas, and parts of an accumulated batch, change nothing.
    """
    model, whole = shared(name), data(STEPS // 2)
    teacher = [] if model.teacher is None else [tensor_variable(v) for v in model.teacher.weights]
    with tf.GradientTape() as tape:
        tape.watch(teacher)
        total, logs = model.network_loss(whole)
    assert all(gradient is None for gradient in tape.gradient(total, teacher))
    values = numbers(total, logs)
    other = {}
    for key in ("label", "distance"):
        labelled, unlabelled = model.streams.divide(whole[key])
        other[key] = model.streams.join(labelled, 1 - unlabelled)
    np.testing.assert_array_equal(numbers(*model.network_loss(whole | other)), values)
    halves = [{key: value[part] for key, value in whole.items()} for part in (slice(0, 2), slice(2, 4))]
    mean = np.mean([numbers(*model.network_loss(half)) for half in halves], 0)
    np.testing.assert_allclose(values, mean, rtol=1e-4, atol=1e-6)


@pytest.mark.one_stack
@pytest.mark.parametrize("name", sorted(LEARNERS))
def test_a_step_lowers_the_loss_and_the_teacher_follows(name):
    """At step k the average keeps min(1 - 1 / (k + 1), 0.99) of itself."""
    model, step = learner(name), 3
    given, old = data(step), None if model.teacher is None else model.teacher.get_weights()
    before = float(model.network_loss(given)[0])
    # one as a graph, as a run makes it
    train_step = tf.function(model.train_step, autograph=False) if name == "tripled_uncertainty" else model.train_step
    logs = {key: float(value) for key, value in train_step(given).items()}
    assert all(np.isfinite(value) for value in logs.values()) and set(logs) == {
        "loss", "supervised", "gradient_ratio", *model.terms
    }  # fmt: skip
    assert float(model.network_loss(given)[0]) < before
    if old is not None:
        for was, now, own in zip(old, model.teacher.weights, model.student.weights, strict=True):
            if was.dtype == np.float32:
                np.testing.assert_allclose(now.numpy(), 0.75 * was + 0.25 * own.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.one_stack
def test_a_run_with_further_heads_and_two_optimizers(tmp_path):
    """SASSNet from fit to SavedModel; what segments, and is exported, is the segmentation network alone."""
    short = ("train.steps=2", "train.validate_every=9", "train.tensorboard=false", "model.mc_passes=0")
    run = fit(settings("sassnet", *short, "model.architecture.discriminator_width=4"), tmp_path / "run")
    assert np.isfinite(run.metrics()[["loss", "discriminator", "distance"]].iloc[0]).all()
    method = run.restored()
    model = method.models["segmenter"]
    assert method.network is model.student.network and method.network is not model.student
    image = np.random.default_rng(1).uniform(0, 400, (5, 18, 20, 1)).astype("float32")
    exported = tf.saved_model.load(str(export(run, tmp_path / "export")))
    labels = exported.signatures["serving_default"](image=tf.constant(image))["labels"].numpy()
    expected = method.labels(method.preprocessing()[-1].graph(tf.constant(image)).numpy())
    assert (labels != expected).mean() < 1e-3


@pytest.mark.one_stack
def test_same_seed_same_numbers_of_two_optimizers():
    logs = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        model = learner("sassnet")
        logs.append([model.train_step(data(step))["loss"].numpy() for step in range(2)])
    assert logs[0] == logs[1] and logs[0][0] != logs[0][1]


# --- each one's loss --------------------------------------------------------------------------------------------------


def softmax(logits):
    return tf.nn.softmax(logits).numpy().astype(float)


def outputs(model, given):
    """(the student's outputs, the unlabelled rows of an array, the images)."""
    images = model.jittered(given)
    found = {key: value.numpy() for key, value in model.student(images, training=True).items()}
    return found, (lambda array: array[1::2]), images


def said(model, images, number):
    """What the teacher says of the images with its noise of that number, clipped by hand."""
    noise = np.clip(model.baseline.noise * model.noise(data(STEPS // 2), images.shape[1:], 16 + number).numpy(),
                    -model.baseline.noise_limit, model.baseline.noise_limit)  # fmt: skip
    return {key: value.numpy() for key, value in model.teacher(images + noise).items()}


def terms(model, step=STEPS // 2):
    """{name: (weight, value)} as floats."""
    given = data(step)
    images = model.jittered(given)
    found = model.further_terms(given, images, model.student(images, training=True))
    return {name: (float(weight), float(value)) for name, (weight, value) in found.items()}


def test_the_loss_is_the_weighted_sum():
    model = shared("uamt")
    given = data(STEPS // 2)
    total, logs = model.network_loss(given)
    found, _, _ = outputs(model, given)
    p, y = softmax(found["logits"])[::2], given["label"].numpy()[::2]
    entropy = -np.log(np.take_along_axis(p, y[..., None], -1)).mean((1, 2, 3, 4))
    overlap, size = (p[..., 1] * y).sum((1, 2, 3)), (p[..., 1] + y).sum((1, 2, 3))
    supervised = (0.5 * entropy + 0.7 * (1 - (2 * overlap + 1e-5) / (size + 1e-5))).mean()
    np.testing.assert_allclose(logs["supervised"], supervised, rtol=1e-4)
    weight = 0.1 * np.exp(-5 * 0.25)
    np.testing.assert_allclose(logs["loss"], supervised + weight * float(logs["consistency"]), rtol=1e-4)
    squares = sum(float(np.square(w.numpy()).sum()) for w in model.network.trainable_weights)
    np.testing.assert_allclose(total - logs["loss"], 0.5e-3 * squares, rtol=1e-3)


@pytest.mark.one_stack
def test_how_loud_unlabelled_volumes_are_is_logged():
    """The ratio of gradients grows as the weight does."""
    given, model = data(STEPS), learner("mean_teacher")

    def ratio(weight):
        model.baseline = model.baseline.model_copy(update={"weight": weight})
        return float(model.network_loss(given)[1]["gradient_ratio"])

    none, some, more = (ratio(weight) for weight in (0, 0.1, 0.3))
    assert none == 0 < some
    np.testing.assert_allclose(more, 3 * some, rtol=1e-4)


@pytest.mark.one_stack
def test_a_student_sees_strong_images_and_its_teacher_plain_ones():
    model = learner("mean_teacher")
    given = data(STEPS // 2)
    plain = {name: float(value) for name, value in model.network_loss(given)[1].items()}
    seen, twin = [], []
    for kept, network in ((seen, model.student), (twin, model.teacher)):
        call = network.call
        network.call = lambda images, training=False, kept=kept, call=call: (
            kept.append(images.numpy()), call(images, training=training))[1]  # fmt: skip
    model.config = model.config.model_copy(update={"appearance": Appearance(gamma=(0.5, 2.0), slices=0.3, noise=0.2)})
    strong = {name: float(value) for name, value in model.network_loss(given)[1].items()}
    images = model.jittered(given)
    np.testing.assert_array_equal(seen[0], model.altered(images, given))
    assert np.abs(seen[0] - images).max() > 0.2 and strong["consistency"] != plain["consistency"]
    assert np.abs(twin[0] - images).max() <= model.baseline.noise_limit + 1e-6  # the teacher's own noise alone


def test_ramps():
    """0.1 exp(-5 (1 - t)^2) over all steps, or over those asked for."""
    np.testing.assert_allclose([float(shared("dtc").ramp(data(step))) for step in (0, 50, 100, 200)],
                               [np.exp(-5), np.exp(-1.25), 1, 1], rtol=1e-5)  # fmt: skip
    short = learner("mean_teacher", rampup_steps=10)
    np.testing.assert_allclose([float(short.ramp(data(step))) for step in (0, 5, 10)],
                               [0.1 * np.exp(-5), 0.1 * np.exp(-1.25), 0.1], rtol=1e-5)  # fmt: skip


def test_mean_teacher():
    model = shared("mean_teacher")
    found, _, images = outputs(model, data(STEPS // 2))
    difference = softmax(found["logits"]) - softmax(said(model, images, 0)["logits"])
    np.testing.assert_allclose(terms(model)["consistency"][1], np.square(difference).mean(), rtol=1e-4)


def test_uamt():
    """Two passes give the entropy, another one the target; certain voxels of unlabelled volumes count."""
    model = shared("uamt")
    found, rows, images = outputs(model, data(STEPS // 2))
    target, *passes = (softmax(rows(said(model, images, k)["logits"])) for k in range(3))
    mean = np.mean(passes, 0)
    entropy = -(mean * np.log(mean + 1e-6)).sum(-1)
    certain = entropy < (0.75 + 0.25 * np.exp(-5 * 0.25)) * np.log(2)
    assert 0.05 < certain.mean() < 0.95
    difference = np.square(softmax(rows(found["logits"])) - target).mean(-1)
    expected = np.mean([d[c].mean() for d, c in zip(difference, certain, strict=True)])
    np.testing.assert_allclose(terms(model)["consistency"][1], expected, rtol=1e-3)
    np.testing.assert_allclose(terms(model)["certain"], [0, certain.mean()], atol=1e-3)
    limits = [float(model.limit(data(step))) for step in (0, STEPS)]
    np.testing.assert_allclose(limits, [(0.75 + 0.25 * np.exp(-5)) * np.log(2), np.log(2)], rtol=1e-5)


def test_double_uncertainty():
    model = shared("double_uncertainty")
    found, _, images = outputs(model, data(STEPS // 2))
    passes, computed = [said(model, images, k) for k in range(2)], terms(model)
    for term, key, kind in (("consistency", "logits", "segmentation"), ("features", "features", "feature")):
        target = np.mean([softmax(one[key]) for one in passes], 0)
        uncertainty = -(target * np.log(target + 1e-6)).sum(-1) / np.log(target.shape[-1])
        difference = np.square(softmax(found[key]) - target).sum(-1)
        np.testing.assert_allclose(computed[term][1], (np.exp(-uncertainty) * difference).mean(), rtol=1e-3)
        np.testing.assert_allclose(computed[f"{kind}_uncertainty"][1], uncertainty.mean(), rtol=1e-4)


def test_dtc():
    model, given = shared("dtc"), data(STEPS // 2)
    found, _, _ = outputs(model, given)
    computed = terms(model)
    error = np.square(found["distance"] - given["distance"].numpy())[::2].mean()
    np.testing.assert_allclose(computed["distance"], [0.3, error], rtol=1e-5)
    with np.errstate(over="ignore"):
        inside = 1 / (1 + np.exp(1500 * found["distance"].astype(float)))
    expected = np.square(inside - softmax(found["logits"])[..., 1:]).mean()
    np.testing.assert_allclose(computed["consistency"][1], expected, rtol=1e-3)


def test_sassnet():
    """The network wants unlabelled maps to be taken for labelled ones, the discriminator wants the truth."""
    model, given = shared("sassnet"), data(STEPS // 2)
    found, rows, images = outputs(model, given)
    verdict = model.discriminator([tf.constant(rows(found["distance"])), rows(images)], training=False)
    expected = -np.log(softmax(verdict)[:, 1]).mean()
    np.testing.assert_allclose(terms(model)["adversarial"], [0.01 * np.exp(-1.25), expected], rtol=1e-4)
    for layer in model.discriminator.layers:
        layer.rate = 0.0
    verdicts = softmax(model.discriminator([tf.constant(found["distance"]), images]))
    right = np.concatenate([verdicts[::2, 1], verdicts[1::2, 0]])
    with tf.GradientTape() as tape:
        value, logs = model.discriminator_loss(given)
    assert float(value) == float(logs["discriminator"]) == pytest.approx(-np.log(right).mean(), rel=1e-4)
    weights = [tensor_variable(v) for v in model.student.trainable_variables]
    assert all(gradient is None for gradient in tape.gradient(value, weights))


@pytest.mark.usefixtures("unfilled_weights")
def test_parameters_of_the_discriminator():
    assert parameters(discriminator(2, 1)) == 11_020_290


@pytest.mark.one_stack
def test_coranet_learns_its_own_prediction_where_both_heads_agree():
    model, given = shared("coranet"), data(STEPS // 2)
    found, rows, images = outputs(model, given)
    classes = {key: rows(found[key]).argmax(-1) for key in ("logits", "conservative", "radical")}
    certain = classes["conservative"] == classes["radical"]
    assert 0.05 < certain.mean() < 0.95
    p, y = softmax(rows(found["logits"])), classes["logits"]
    own = []
    for probabilities, pseudo, mask in zip(p, y, certain, strict=True):
        q, z = probabilities[mask], pseudo[mask]
        dice = (2 * q[z == 1, 1].sum() + 1e-5) / (q[:, 1].sum() + z.sum() + 1e-5)
        own.append(-0.5 * np.log(q[np.arange(len(z)), z]).mean() + 0.7 * (1 - dice))
    computed = terms(model)
    np.testing.assert_allclose(computed["certain"], [2, np.mean(own)], rtol=1e-3)
    teacher = said(model, images, 0)
    expected = [np.square(softmax(rows(found[key])) - softmax(rows(teacher[key]))).mean(-1) for key in classes]
    rest = [np.mean([d[~c].mean() for d, c in zip(one, certain, strict=True)]) for one in expected]
    np.testing.assert_allclose(computed["consistency"][1], np.mean(rest), rtol=1e-3)
    np.testing.assert_allclose(computed["certain_share"], [0, certain.mean()], atol=1e-6)
    early = terms(model, step=int(0.13 * STEPS) - 1)
    assert early["certain"][0] == early["consistency"][0] == 0 and early["heads"][0] == 0.25


def test_coranet_s_heads_have_unequal_costs():
    """A wrong foreground voxel is dear to the conservative one, a missed one to the radical one."""
    model, given = shared("coranet"), data(STEPS // 2)
    found, _, _ = outputs(model, given)
    labels, total = given["label"].numpy()[::2], 0
    for key, dear in (("conservative", 0), ("radical", 1)):
        missed = -np.log(np.take_along_axis(softmax(found[key])[::2], labels[..., None], -1))[..., 0]
        costs = np.where(labels == dear, 5.0, 1.0)
        total += np.mean((missed * costs).sum((1, 2, 3)) / costs.sum((1, 2, 3)))
    np.testing.assert_allclose(terms(model)["heads"][1], total, rtol=1e-4)


def test_tripled_uncertainty():
    model, given = shared("tripled_uncertainty"), data(STEPS // 2)
    found, _, images = outputs(model, given)
    computed = terms(model)
    images, labels = images.numpy(), given["label"].numpy()
    both = np.concatenate([images * (labels == 0)[..., None], images * (labels == 1)[..., None]], -1)
    np.testing.assert_allclose(
        computed["reconstruction"], [0.3, np.square(found["reconstruction"] - both)[::2].mean()], rtol=1e-4
    )
    own = found["logits"].argmax(-1)
    maps = np.stack([signed_distances(one, 2) for one in own])
    parts = np.concatenate([images * (own == 0)[..., None], images * (own == 1)[..., None]], -1)
    error = np.square(found["distance"] - maps)[1::2].mean() + np.square(found["reconstruction"] - parts)[1::2].mean()
    np.testing.assert_allclose(computed["own"], [0.1, error], rtol=1e-4)
    passes = [said(model, tf.constant(images), k) for k in range(2)]
    p = np.stack([softmax(one["logits"]) for one in passes])
    bits = -(p * np.log2(p + 1e-6)).sum(-1, keepdims=True)
    target = (p * np.exp(1 - bits)).sum(0) / np.exp(1 - bits).sum(0)
    sure = 1 + (target * np.log2(target + 1e-6)).sum(-1, keepdims=True)
    expected = (sure * np.square(softmax(found["logits"]) - target)).mean()
    for key, spread in (("distance", np.var), ("reconstruction", np.std)):
        values = np.stack([one[key] for one in passes])
        weight = np.exp(-spread(values, 0, ddof=1))
        expected += (weight * np.square(found[key] - values.mean(0))).mean()
    np.testing.assert_allclose(computed["consistency"][1], expected, rtol=1e-3)


def test_integration_prefers_sure_passes_and_moments_are_numpys():
    values = [volumes((2, 3, 4), seed).numpy() for seed in range(5)]
    mean, variance = moments([tf.constant(v) for v in values])
    np.testing.assert_allclose(mean, np.mean(values, 0), atol=1e-6)
    np.testing.assert_allclose(variance, np.var(values, 0, ddof=1), rtol=1e-5)
    sure, unsure = tf.constant([[0.99, 0.01]]), tf.constant([[0.4, 0.6]])
    mixed, sureness = integrated([sure, unsure])
    assert 0.7 < float(mixed[0, 0]) < 0.99 and 0 < float(sureness[0]) < 1
