"""Cross-domain heatmaps: the harness, and the items of the card's "What must hold" that are not of a room alone."""

import json

import numpy as np
import pytest
import tensorflow as tf

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness
from tests.support.refusals import refused_fit
from tfmed import registry
from tfmed.losses.adversarial import js_critic
from tfmed.losses.divergence import bernoulli_kl, one_sided_kl
from tfmed.methods.adaptor_crossdomain import Adversarial, Collaborative, Config, Joint
from tfmed.metrics.landmarks import Counts
from tfmed.tasks.backbones import HRNet, UNet
from tfmed.tasks.exported import decoding_of

pytestmark = pytest.mark.current

CONFIG = "configs/adaptor_crossdomain.yaml"
TINY = (
    "data.options={cases: 8, surgeries: 4, shape: [32, 48], fewest: 1, most: 4}",
    "data.split={folds: 4, fold: 0, validation: 0.3, seed: 0}",
    "train.batch_size=4",
    "train.validate_every=2",
    "model.size=[32, 48]",
    "model.sigma=2",
    "model.learning_rate=1e-4",
    "model.simulator={source: phantom_endoscopy, options: {cases: 3, look: simulator, shape: [32, 48], fewest: 1}}",
    "model.network={name: unet, widths: [2, 2], norm: batch}",
    "model.colour_chance=0",
)


class TestHarness(MethodHarness):
    config = CONFIG
    tiny = TINY
    replica_tolerance = 1e-3
    bad = ("model.mode=jointly", "mode")

    def parity(self, run):
        """Sides that are no multiples of what the network needs, and values as in files."""
        method = run.restored()
        image = np.random.default_rng(0).uniform(0, 255, (2, 13, 18, 3)).astype("float32")
        expected = method.probabilities(tf.constant(image / 255)).numpy()
        assert expected.shape == (2, 13, 18, 1) and method.export_module().note["decoding"]["rule"] == "new"
        return [expected], [{"image": image}]

    @pytest.mark.one_stack
    def test_every_run_is_scored_by_both_rules(self, run):
        """Section 7 of the card: like for like."""
        method = run.restored()
        found = method.evaluate({"one": method, "two": method})
        assert [(row["run"], row["decoding"]) for row in found["evaluation"]] == [
            ("one", "new"), ("one", "old"), ("two", "new"), ("two", "old")]  # fmt: skip
        new, old = found["evaluation"][:2]
        assert new["points"] == old["points"] == sum(len(case.meta["points"]) for case in method.cases["test"])
        frames = {rule: [row["found"] for row in found["cases"] if row["decoding"] == rule and row["run"] == "one"]
                  for rule in ("new", "old")}  # fmt: skip
        assert max(frames["new"]) <= 10 and max(frames["old"]) <= 30
        for row in (new, old):
            assert row["found"] == sum(frames[row["decoding"]]) and row["images"] == len(method.cases["test"])

    @pytest.mark.one_stack
    def test_a_savedmodel_s_note_holds_the_decoding(self, run):
        method = run.restored()
        note = json.loads(json.dumps(method.export_module().note, indent=1))
        assert decoding_of(note["decoding"]) == method.config.decoding
        assert "new_bounds" in note["decoding_means"]
        assert run.method().config.decoding.rule == "new"


def method(*overrides):
    settings = tfmed.load_config(REPOSITORY / CONFIG, (*TINY, *overrides))
    return registry.method_class(settings.method)(settings)


SMALL = {
    "size": (16, 16), "network": UNet(widths=(2, 2), norm="batch"), "sigma": 2.0, "reach_px": 5.0, "most_points": 3,
    "colour_chance": 0.0,
}  # fmt: skip


def made(kind, **settings):
    return kind(Config(**SMALL | settings), seed=1, per_step=4)


def batch(size=(16, 16), seed=0, frames=4):
    rng = np.random.default_rng(seed)
    points = rng.uniform(2, np.array(size[::-1]) - 3, (frames, 3, 2)).astype("float32")
    image = rng.random((frames, *size, 3), dtype="float32")
    there = np.arange(3)[None] < rng.integers(1, 4, (frames, 1))
    arrays = {"image": image, "points": points, "there": there, "index": np.arange(frames, dtype=np.int64)}
    return {name: tf.constant(value) for name, value in arrays.items()}


def gradients(loss, networks):
    """The gradient of `loss()` in each weight of some networks, None where there is none."""
    with tf.GradientTape() as tape:
        value = loss()
    return tape.gradient(value, [w for n in networks for w in n.trainable_variables])


def bits(network):
    return [w.numpy() for w in network.trainable_variables]


# --- targets and weights ----------------------------------------------------------------------------------------------


@pytest.mark.one_stack
@pytest.mark.parametrize("reach", [6, 24])
def test_targets_are_cut_gaussians_of_which_the_largest_counts(reach):
    model = made(Joint, size=(80, 96), sigma=5.0, reach_px=reach, output="linear")
    points = np.array([[[40, 30], [45, 30], [80, 60]]], "float32")
    y, x = np.mgrid[:80, :96]
    each = [
        np.where((abs(x - px) <= reach) & (abs(y - py) <= reach), np.exp(-((x - px) ** 2 + (y - py) ** 2) / 50), 0)
        for px, py in points[0]
    ]
    target = np.max(each, 0)[None, ..., None].astype("float32")
    assert all(target[0, py, px, 0] == 1 for px, py in points[0].astype(int))
    assert target[0, 30, 35, 0] == pytest.approx(np.exp(-0.5))
    there = np.ones((1, 3), bool)
    for order in ([0, 1, 2], [2, 1, 0]):
        errors = model.errors(target, {"points": points[:, order], "there": there})
        assert float(errors[0]) == pytest.approx(0, abs=1e-8)
    missing = model.errors(target, {"points": points, "there": np.array([[True, True, False]])})
    assert float(missing[0]) == pytest.approx((each[2] ** 2).sum(), rel=1e-3)


@pytest.mark.one_stack
def test_without_weight_the_simulator_s_frames_change_nothing():
    """Gradients alike to the bit with its frames, with others, and without any; batch norm does not see them either."""
    model, data = made(Joint, sim_weight=0.0), batch()
    others = {name: value.numpy() for name, value in batch(seed=7).items()}
    for name, value in data.items():
        others[name][0::2] = value[0::2]
    real = {name: value[0::2] for name, value in data.items()}

    def alone():
        return tf.reduce_mean(model.errors(model.network(real["image"], training=True), real))

    losses = (lambda: model.network_loss(data)[0]), (lambda: model.network_loss(others)[0]), alone
    found = [gradients(loss, [model.network]) for loss in losses]
    assert any(np.abs(g).max() > 0 for g in found[0])
    for a, b, c in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


@pytest.mark.one_stack
def test_the_loss_is_affine_in_the_simulator_s_weight():
    data, losses = batch(), []
    model = made(Joint, network=UNet(widths=(2, 2), norm="instance"))
    for weight in (0.0, 0.5, 1.0):
        model.config = Config(**SMALL | {"sim_weight": weight})
        loss, logs = model.network_loss(data)
        losses.append(float(loss))
        assert float(logs["real"] + weight * logs["simulated"]) == pytest.approx(losses[-1], rel=1e-6)
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=1e-5) and losses[1] > losses[0] > 0


@pytest.mark.one_stack
def test_errors_are_sums_or_means_over_pixels():
    data = batch()
    logits = tf.random.stateless_normal((4, 16, 16, 1), (0, 1))
    model = made(Joint)
    total = model.errors(logits, data).numpy()
    model.config = Config(**SMALL | {"mse": "pixel_mean"})
    np.testing.assert_allclose(model.errors(logits, data).numpy() * 256, total, rtol=1e-5)


@pytest.mark.one_stack
def test_every_frame_has_light_of_its_own():
    data = batch()
    model = made(Joint, colour_chance=1.0)
    changed, before = model.images(data).numpy(), data["image"].numpy()
    assert changed.min() >= 0 and changed.max() <= 1
    assert (np.abs(changed - before).max((1, 2, 3)) > 0.01).all()
    assert model.images(data).numpy().tobytes() == changed.tobytes()
    model.config = Config(**SMALL)
    assert model.images(data) is data["image"]


# --- the critic -------------------------------------------------------------------------------------------------------


def test_detector_and_critic_take_turns():
    """Each update leaves the other's weights bit for bit; a step's two losses are those of before both updates."""
    rates = {"learning_rate": 0.5, "disc_rate": 0.5}
    model, data = made(Adversarial, disc_widths=(2,), mse="pixel_mean", **rates), batch()
    losses = {name: float(loss(data)[1][name]) for loss, name in (
        (model.objectives["network"], "adversarial"), (model.objectives["critic"], "critic_loss"))}  # fmt: skip
    for name, own, other in (("network", model.network, model.critic), ("critic", model.critic, model.network)):
        before, saved = (bits(own), bits(other)), [w.numpy() for w in model.weights]
        model.update(name, model.objectives[name], data)
        assert all(np.array_equal(a, b) for a, b in zip(before[1], bits(other), strict=True)), name
        assert any(not np.array_equal(a, b) for a, b in zip(before[0], bits(own), strict=True)), name
        for weight, value in zip(model.weights, saved, strict=True):
            weight.assign(value)
    logs = model.train_step(data)
    for name, value in losses.items():
        assert float(logs[name]) == pytest.approx(value, rel=1e-4), name
    assert float(model.objectives["critic"](data)[0]) != pytest.approx(losses["critic_loss"], rel=1e-3)
    assert float(model.objectives["network"](data)[1]["adversarial"]) != pytest.approx(losses["adversarial"], rel=1e-3)


@pytest.mark.one_stack
def test_maps_have_the_image_s_size_and_every_weight_learns():
    """Logits are the head's, enlarged four times linearly."""
    network = HRNet(widths=(8, 16, 32, 64), modules=(1, 1, 1), blocks=1, prior=0.01)
    settings = {"size": (32, 64), "network": network, "disc_input": "features", "disc_widths": (2, 2)}
    adversarial, data = made(Adversarial, **settings), batch((32, 64))
    network = adversarial.network
    logits, features = adversarial.made(data)
    assert logits.shape == (4, 32, 64, 1) and features.shape == (4, 8, 16, 8)
    np.testing.assert_allclose(tf.sigmoid(logits), 0.01, atol=1e-3)  # the prior
    small = network.get_layer("head")(features)
    np.testing.assert_allclose(logits, tf.image.resize(small, (32, 64), "bilinear"), atol=1e-5)
    found = gradients(lambda: adversarial.objectives["network"](data)[0], [network])
    assert all(gradient is not None and np.abs(gradient).max() > 0 for gradient in found)


@pytest.mark.one_stack
def test_swapped_domains_turn_the_critic_s_gradient_round():
    """At D = 0.5, where the cross-entropy's gradient in a logit is -1/2 for label 1 and 1/2 for label 0."""
    zero = tf.zeros((2, 1, 1, 1))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(zero)
        one, other = tf.identity(zero), tf.identity(zero)
        tape.watch([one, other])
        loss = tf.reduce_sum(js_critic(one, other))
    as_real, as_simulated = tape.gradient(loss, one).numpy(), tape.gradient(loss, other).numpy()
    np.testing.assert_allclose(as_real, -0.5)
    np.testing.assert_array_equal(as_real, -as_simulated)


@pytest.mark.one_stack
def test_the_critic_sees_heatmaps_or_features():
    model = made(Adversarial, disc_widths=(2,))
    logits, seen = model.made(batch())
    np.testing.assert_allclose(seen, tf.sigmoid(logits), atol=1e-6)
    loss, logs = model.objectives["network"](batch())
    expected = logs["real"] + logs["simulated"] + model.config.adv_weight * logs["adversarial"]
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    score = model.critic(seen)
    assert float(logs["adversarial"]) == pytest.approx(float(tf.reduce_mean(tf.nn.softplus(-score[1::2]))), rel=1e-5)
    expected = tf.reduce_mean(tf.nn.softplus(-score[0::2])) + tf.reduce_mean(tf.nn.softplus(score[1::2]))
    assert float(model.objectives["critic"](batch())[0]) == pytest.approx(float(expected), rel=1e-5)


# --- two networks -----------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_each_network_learns_from_the_other_s_domain():
    """Eq. 5: own errors on the own domain, a lesson on the other's; a teacher has no gradient of its lesson."""
    model, data = made(Collaborative, kl_weight=0.5, mse="pixel_mean"), batch()
    with tf.GradientTape(persistent=True) as tape:
        loss, logs = model.network_loss(data)
    real, simulated = (n(data["image"], training=True) for n in (model.network, model.simulator_network))
    expected = {
        "real": tf.reduce_mean(model.errors(real, data)[0::2]),
        "simulated": tf.reduce_mean(model.errors(simulated, data)[1::2]),
        "lesson_to_real": tf.reduce_mean(bernoulli_kl(real[1::2], simulated[1::2])),
        "lesson_to_simulated": tf.reduce_mean(bernoulli_kl(simulated[0::2], real[0::2])),
    }
    for name, value in expected.items():
        assert float(logs[name]) == pytest.approx(float(value), rel=1e-5), name
    own, lessons = ([float(v) for v in list(expected.values())[i : i + 2]] for i in (0, 2))
    assert float(loss) == pytest.approx(sum(own) + 0.5 * sum(lessons), rel=1e-5)
    students = {"lesson_to_real": model.network, "lesson_to_simulated": model.simulator_network}
    for name, student in students.items():
        (teacher,) = (network for network in students.values() if network is not student)
        assert all(g is None for g in tape.gradient(logs[name], teacher.trainable_variables))
        assert any(g is not None for g in tape.gradient(logs[name], student.trainable_variables))
    model.config = Config(**SMALL | {"kl": "paper_literal"})
    literal = model.network_loss(data)[1]["lesson_to_real"]
    assert float(literal) == pytest.approx(float(tf.reduce_mean(one_sided_kl(real[1::2], simulated[1::2]))), rel=1e-5)


@pytest.mark.one_stack
def test_both_networks_are_updated_at_once():
    """A step of plain gradient descent is that of the loss before it, for both."""
    model, data = made(Collaborative, learning_rate=0.1, momentum=0.0, weight_decay=0.0, mse="pixel_mean"), batch()
    networks = [model.network, model.simulator_network]
    before = bits(networks[0]) + bits(networks[1])
    expected = [w - 0.1 * g for w, g in
                zip(before, gradients(lambda: model.network_loss(data)[0], networks), strict=True)]  # fmt: skip
    model.train_step(data)
    for a, b in zip(bits(networks[0]) + bits(networks[1]), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


# --- data and scores --------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_frames_of_surgery_and_of_the_simulator_take_turns():
    one = method("model.flip=0")
    samples = one.samples()
    sets = [[np.asarray(one.open(case).image[0], np.float32).tobytes() for case in cases]
            for cases in (one.cases["train"], one.simulated)]  # fmt: skip
    for domain, frames in enumerate(sets):
        shown = [samples.read(2 * k + domain)["image"].tobytes() for k in range(len(frames))]
        assert sorted(shown) == sorted(frames)


@pytest.mark.one_stack
@pytest.mark.parametrize(
    "sensitivity, precision, f1", [(0.6010, 0.7367, 0.6619), (0.6368, 0.5397, 0.5842), (0.4884, 0.4139, 0.4481)]
)
def test_the_paper_s_scores_agree(sensitivity, precision, f1):
    true = 1_000_000
    found = round(sensitivity * true)
    counts = Counts(found, round(found / precision) - found, true - found)
    assert counts.sensitivity == pytest.approx(sensitivity) and counts.precision == pytest.approx(precision, abs=1e-5)
    assert counts.f1 == pytest.approx(f1, abs=2e-4)


@pytest.mark.one_stack
def test_linear_outputs_are_the_heatmap_cut_to_its_range():
    one = method("model.output=linear")
    np.testing.assert_allclose(one.as_probabilities(tf.constant([-1.0, 0.3, 2.0])), [0, 0.3, 1])
    assert float(method().as_probabilities(tf.constant(0.0))) == 0.5


# --- settings and bad input -------------------------------------------------------------------------------------------

REFUSED = {
    "no simulator": (("model.simulator=null",), "model.simulator", "source: adaptor"),
    "odd batch": (("train.batch_size=5",), "train.batch_size 5", "multiple of 2"),
    "linear": (("model.output=linear", "model.mode=adversarial"), "model.output", "mode joint"),
    "features": (("model.mode=adversarial", "model.disc_input=features"), "model.disc_input", "network hrnet"),
    "size": (("model.network={name: hrnet}",), "size: 48 is no multiple of 32", "network hrnet", "try 64"),
    "streams": (("model.network={name: hrnet, widths: [8, 16, 32]}",), "widths"),
    "kernel": (("model.decoding={kernel: 10}",), "kernel: 10 has no middle; try 11"),
    "bounds": (("model.decoding={new_bounds: [10, 4]}",), "new_bounds: 10, 4", "lower one first"),
}  # fmt: skip


@pytest.mark.one_stack
@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_one_line(name, tmp_path, capsys):
    assert refused_fit(capsys, tmp_path, REPOSITORY / CONFIG, TINY, *REFUSED[name])


@pytest.mark.one_stack
def test_the_variants_are_settings():
    """Section 8 of the card."""
    folder = REPOSITORY / "configs" / "adaptor_crossdomain"
    found = {path.stem: tfmed.load_config(path).model for path in folder.glob("*.yaml")}
    plain = tfmed.load_config(REPOSITORY / CONFIG).model
    everything = [plain, *found.values()]
    assert {one.sim_weight for one in everything} == {0, 0.5, 1}
    assert {one.mode: one.learning_rate for one in everything if one.optimizer == "sgd"} == {
        "joint": 5e-5, "adversarial": 1e-5, "collaborative": 1e-5}  # fmt: skip
    for name, values in {"kl": {"bernoulli", "paper_literal"}, "disc_input": {"output", "features"},
                         "mse": {"sum", "pixel_mean"}, "output": {"sigmoid", "linear"}}.items():  # fmt: skip
        assert {getattr(one, name) for one in everything} == values
    assert {one.decoding.rule for one in everything} == {"old", "new"}
    assert {one.network.name for one in everything} == {"hrnet", "unet_resnext50"}
    assert plain.network == HRNet(prior=0.01) and (plain.sigma, plain.reach_px, plain.size) == (5, 24, (288, 512))
    assert (plain.momentum, plain.weight_decay, plain.kl_weight, plain.adv_weight) == (0.9, 1e-4, 0.1, 1.0)
    assert len({one.sigma for one in everything}) == 2 and found["no_augmentation"].flip == 0
    for path in folder.glob("*.yaml"):
        tfmed.load_config(path, profile="demo")
