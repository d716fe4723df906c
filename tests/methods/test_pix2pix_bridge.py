"""pix2pix M->C and C->M: the harness, and every item of the card's "What must hold".

Networks, grids and phantoms have tests of their own: tests/nn/test_translation.py, tests/augment/test_crop.py,
tests/data/test_phantom_pelvis.py; distances those in tests/metrics/.
"""

import csv
import math
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmed
from tests.support.harness import MethodHarness, assert_same_weights, killed_before
from tests.support.view_pages import views_of
from tfmed import cli, evaluate, predict
from tfmed.engine.exporting import export
from tfmed.engine.lifecycle import fit
from tfmed.errors import ConfigError, DataError, RunError
from tfmed.io import Volume, read_volume, reorient, write_volume
from tfmed.methods.pix2pix_bridge import METHOD, Config, CycleGAN, Pix2PixHD, Translator, build_network, coin
from tfmed.metrics.segmentation import dice
from tfmed.tasks.structures import body_and_bone
from tfmed.training.schedules import Schedule, learning_rate

pytestmark = pytest.mark.current

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "pix2pix_bridge.yaml"
SMALL = dict(size=16, downs=2, generator_first=4, critic_layers=1, critic_first=4)
TINY = (
    "data.options={cases: 6, cts: 7, shape: [2, 24, 24]}",
    "train.batch_size=4",
    "train.schedule={kind: linear, decay_from: 0.5}",
    *(f"model.{name}={value}" for name, value in SMALL.items()),
)
C2M = ("model.direction=c2m", "model.paired_critic=true", "model.anchor_weight=100")
VARIANTS = {  # -> the critics, whether there is an L1 loss, whether CTs are used
    "m2c": ({}, ("critic",), True, True),
    "m2c_l1": ({"unpaired_critic": False}, (), True, False),
    "m2c_gan": ({"anchor_weight": 0}, ("critic",), False, True),
    "c2m": ({"direction": "c2m", "paired_critic": True}, ("critic", "paired_critic"), True, True),
    "c2m_gan": ({"direction": "c2m", "coin": 1.0, "anchor_weight": 0}, ("critic",), False, True),
    "c2m_gan_cgan": ({"direction": "c2m", "paired_critic": True, "anchor_weight": 0}, ("critic", "paired_critic"),
                     False, True),
    "pix2pix": ({"unpaired_critic": False, "paired_critic": True}, ("paired_critic",), True, False),
}  # fmt: skip


class TestHarness(MethodHarness):
    """C->M, which has everything that M->C has, and the coin."""

    config = "configs/pix2pix_bridge.yaml"
    tiny = (*TINY, *C2M)
    bad = ("model.size=18", "cannot be halved 2 times")

    @pytest.mark.one_stack
    def test_view(self, run):
        """Made MRs stand beside the real ones; none is subtracted, as each scan has a scale of its own."""
        (shown,) = views_of(tfmed.view(run, count=1))
        assert [panel["title"] for panel in shown["panels"]] == ["MRCAT", "MR", "translation"]

    def parity(self, run):
        method = run.restored()
        volume = np.random.default_rng(0).uniform(-1200, 1500, (2, 21, 30)).astype("float32")
        scaled = method.window.apply(Volume(volume, np.eye(4)))
        return [(method.translate(scaled) + 1) / 2 * method.mr_white()], [{"image": volume}]

    def assert_parity(self, found, expected):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-2)


def settings(*overrides):
    shared = ("train.steps=2", "train.log_every=1", "train.tensorboard=false")
    return tfmed.load_config(CONFIG, (*shared, *TINY, *overrides))


def model(name="c2m", seed=0, **changes):
    keras.utils.set_random_seed(seed)
    return Translator(Config(**SMALL | VARIANTS[name][0] | changes), seed=seed, per_step=2)


def batch(seed=0):
    draw = np.random.default_rng(seed).uniform(-1, 1, (3, 2, 16, 16, 1)).astype("float32")
    images = zip(("mr", "mrcat", "ct"), draw, strict=True)
    return {"index": tf.range(2, dtype=tf.int64)} | {name: tf.constant(image) for name, image in images}


def changed(m, step):
    """Names of the networks whose weights a step changes."""
    names = ("generator", *m.config.critics)
    before = {name: [v.numpy() for v in getattr(m, name).trainable_variables] for name in names}
    step()
    return {name for name in names
            if any((a != b.numpy()).any() for a, b in zip(before[name], getattr(m, name).trainable_variables,
                                                          strict=True))}  # fmt: skip


# --- which networks, which losses -----------------------------------------------------------------------------------


@pytest.mark.one_stack
@pytest.mark.parametrize("name", VARIANTS)
def test_variants_have_their_networks_and_losses(name):
    changes, critics, anchored, uses_ct = VARIANTS[name]
    c = Config(**SMALL | changes)
    assert (c.critics, c.uses_anchor, c.uses_ct) == (critics, anchored, uses_ct)
    m = model(name)
    assert set(m.updaters) == {"generator", *critics}
    assert ("l1" in m.meters) == anchored
    assert all(math.isfinite(v) for path in m.phases_of(0) for v in m.train_step(batch(), path).values())


PUBLISHED = {  # settings file -> (variant, lambda, layers of the critics, pixels)
    "pix2pix_m2c": ("m2c", 50, 3, 512), "m2c_lowres": ("m2c", 50, 3, 128), "m2c_l1": ("m2c_l1", 50, 3, 128),
    "m2c_gan": ("m2c_gan", 0, 3, 128), "pix2pix_c2m": ("c2m", 100, 5, 512), "c2m_lowres": ("c2m", 100, 3, 128),
    "c2m_gan": ("c2m_gan", 0, 3, 128), "c2m_gan_cgan": ("c2m_gan_cgan", 0, 3, 128), "pix2pix": ("pix2pix", 100, 3, 512),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_settings_files_are_the_papers_variants(name):
    """Found without their folder."""
    c = tfmed.load_config(f"configs/{name}.yaml").model
    variant, weight, layers, size = PUBLISHED[name]
    changes, *losses = VARIANTS[variant]
    assert [c.critics, c.uses_anchor, c.uses_ct] == losses and c.direction == changes.get("direction", "m2c")
    assert (c.anchor_weight, c.critic_layers, c.size, 2**c.downs) == (weight, layers, size, size)


@pytest.mark.parametrize("changes, said", [
    ({"unpaired_critic": False, "anchor_weight": 0}, "pairs have no loss"),
    ({"direction": "c2m", "unpaired_critic": False, "paired_critic": True}, "real CTs have no loss"),
    ({"size": 18}, "cannot be halved"), ({"size": 16, "critic_layers": 5}, "too many for 16 pixels"),
    ({"architecture": "pix2pixhd"}, "learns from pairs alone"), ({"downs": 1}, "halves at least twice"),
    ({"zoom": (1.4, 0.6)}, "zoom"), ({"window_hu": (5, 5)}, "window_hu"),
])  # fmt: skip
def test_settings_that_make_no_sense(changes, said):
    with pytest.raises(ValueError, match=said):
        Config(**SMALL | changes)


def test_pix2pixhd_has_its_published_settings():
    loaded = tfmed.load_config("configs/pix2pixhd.yaml")
    c = loaded.model
    assert (c.downs, c.blocks, c.critic_scales, c.critic_layers, c.feature_weight) == (4, 9, 2, 3, 10)
    assert (loaded.train.batch_size, loaded.train.steps * 8) == (8, 16 * tfmed.load_config(CONFIG).train.steps)


def test_the_baselines_of_table_3_go_the_other_way():
    names = ("pix2pixhd_mrcat_mr", "pix2pix_cyclegan_c2m")
    hd, cycle = (tfmed.load_config(f"configs/{name}.yaml").model for name in names)
    assert (hd.source, hd.target, hd.uses_ct, hd.uses_pairs) == ("ct", "mr", False, True)
    other_way = pix2pixhd(direction="c2m", coin=0.0)
    assert (other_way.source, other_way.target) == ("mrcat", "mr")
    assert (cycle.source, cycle.target, cycle.critic_layers, cycle.dropout) == ("ct", "mr", 4, 0)


def test_the_paper_settings_are_published_ones():
    loaded = tfmed.load_config(CONFIG)
    c = loaded.model
    assert (c.downs, c.critic_layers, c.anchor_weight, c.learning_rate, c.beta_1, c.zoom) == (
        9, 3, 50.0, 2e-4, 0.5, (0.6, 1.4))  # fmt: skip
    images = loaded.train.steps * loaded.train.batch_size
    assert images == pytest.approx(50 * 13_000, rel=0.002)


def test_rate_is_flat_for_30_epochs_and_then_falls_to_zero():
    loaded = tfmed.load_config(CONFIG)
    rate, steps = learning_rate(2e-4, loaded.train), loaded.train.steps
    epochs = [float(rate(e * steps // 50)) for e in range(50)]
    np.testing.assert_allclose(epochs[:31], 2e-4, rtol=1e-5)
    assert (np.diff(epochs[30:]) < 0).all() and float(rate(steps - 1)) > 0
    assert float(rate(steps)) == pytest.approx(0, abs=1e-12)


def test_critics_that_are_updated_on_some_steps_reach_the_end_of_the_schedule():
    m = Translator(Config(**SMALL | VARIANTS["c2m"][0] | {"coin": 0.25}), Schedule(1e-3, 100, "linear"), per_step=2)
    for name, updates in (("generator", 100), ("critic", 25), ("paired_critic", 75)):
        rate = getattr(m, f"{name}_optimizer")._learning_rate
        assert float(rate(updates)) == 0 and float(rate(updates / 2)) == pytest.approx(5e-4)


# --- losses and updates -----------------------------------------------------------------------------------------------


def test_no_logit_costs_log_2():
    """A critic whose last layer is zero: both losses of it are log 2, with the public code's half."""
    m = model()
    for name, path in (("critic", "unpaired"), ("paired_critic", "paired")):
        for v in getattr(m, name).get_layer("score").trainable_variables:
            v.assign(tf.zeros_like(v))
        assert float(getattr(m, f"{name}_loss")(batch(), m.made(batch(), path))[0]) == pytest.approx(math.log(2))
    _, logs = m.generator_loss(batch(), m.made(batch(), "unpaired"), "unpaired")
    assert float(logs["generator_critic"]) == pytest.approx(math.log(2))


def test_m2c_compares_with_its_aligned_image_and_never_with_the_ct():
    m, b = model("m2c"), batch()
    other = b | {"ct": -b["ct"]}
    first, second = (m.generator_loss(x, m.made(x)) for x in (b, other))
    assert float(first[0]) == float(second[0])
    fake = m.generator(b["mr"], training=False)
    expected = np.abs(b["mrcat"].numpy() - fake).mean()
    assert float(first[1]["l1"]) == pytest.approx(expected, rel=1e-5)
    assert float(first[0]) == pytest.approx(float(first[1]["generator_critic"]) + 50 * expected, rel=1e-5)
    with tf.GradientTape() as tape:
        l1 = m.generator_loss(b, m.made(b))[1]["l1"]
    assert all(g is None for g in tape.gradient(l1, list(m.critic.trainable_variables)))
    assert float(m.critic_loss(b, m.made(b))[0]) != float(m.critic_loss(other, m.made(other))[0])


@pytest.mark.one_stack
@pytest.mark.parametrize("path, networks", [("unpaired", {"generator", "critic"}),
                                            ("paired", {"generator", "paired_critic"})])  # fmt: skip
def test_c2m_paths_leave_the_other_critic_alone(path, networks):
    m = model()
    assert changed(m, lambda: m.train_step(batch(), path)) == networks


def test_c2m_ct_path_has_no_l1_and_looks_at_no_mrcat():
    m, b = model(), batch()
    value, logs = m.generator_loss(b, m.made(b, "unpaired"), "unpaired")
    assert set(logs) == {"generator_critic"} and float(value) == float(logs["generator_critic"])
    other = b | {"mrcat": -b["mrcat"], "mr": -b["mr"]}
    assert float(m.generator_loss(other, m.made(other, "unpaired"), "unpaired")[0]) == float(value)
    first, second = (m.generator_loss(x, m.made(x, "paired"), "paired")[0] for x in (b, b | {"ct": -b["ct"]}))
    assert float(first) == float(second)


def test_the_conditional_critic_sees_source_then_image():
    m, b, seen = model(), batch(), []
    critic = m.paired_critic
    m.paired_critic = lambda x, training: (seen.append(x.numpy()), critic(x, training=training))[1]
    m.paired_critic_loss(b, m.made(b))
    fake = m.generator(b["mrcat"], training=False).numpy()
    for images, second in zip(seen, (b["mr"].numpy(), fake), strict=True):
        np.testing.assert_array_equal(images[..., :1], b["mrcat"])
        np.testing.assert_allclose(images[..., 1:], second, atol=1e-6)
    assert build_network(m.config, "critic").input_shape[-1] == 1
    assert build_network(m.config, "paired_critic").input_shape[-1] == 2


def test_the_coin_is_fair_and_a_function_of_seed_and_step():
    tosses = [coin(3, step, 0.5) for step in range(1600)]
    assert abs(np.mean(tosses) - 0.5) < 3 * 0.5 / 40
    assert tosses[:50] == [coin(3, step, 0.5) for step in range(50)] != [coin(4, step, 0.5) for step in range(50)]
    m = model(seed=3)
    assert [m.phases_of(step) == ("unpaired",) for step in range(50)] == tosses[:50]
    other = model("m2c")
    assert {other.phases_of(step) for step in range(20)} == {("paired",)}


@pytest.mark.one_stack
def test_a_coin_of_one_is_the_gan_alone():
    """Weight for weight the same after three steps, whatever the other losses' weights."""
    gan, whole = model("c2m_gan"), model("c2m", coin=1.0)
    for m in (gan, whole):
        for step in range(3):
            m.train_step(batch(step), *m.phases_of(step))
    for a, b in zip(gan.trainable_variables, whole.trainable_variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


# --- CycleGAN ---------------------------------------------------------------------------------------------------------


def cyclegan(**changes):
    keras.utils.set_random_seed(0)
    return CycleGAN(Config(**SMALL | {"architecture": "cyclegan"} | changes), per_step=2)


def test_cyclegan_needs_no_mrcat_and_adds_its_losses_up():
    m, b = cyclegan(cycle_weight=3.0, identity_weight=2.0), batch()
    del b["mrcat"]
    total, logs = m.generator_loss(b, m.made(b))
    parts = {name: float(value) for name, value in logs.items()}
    assert float(total) == pytest.approx(parts["generator_critic"] + 3 * parts["cycle"] + 2 * parts["identity"])
    there, back = m.generator(b["mr"]), m.back_generator(b["ct"])
    returned = np.abs(m.back_generator(there) - b["mr"]).mean() + np.abs(m.generator(back) - b["ct"]).mean()
    assert parts["cycle"] == pytest.approx(returned, rel=1e-5)
    same = np.abs(m.generator(b["ct"]) - b["ct"]).mean() + np.abs(m.back_generator(b["mr"]) - b["mr"]).mean()
    assert parts["identity"] == pytest.approx(same, rel=1e-5)
    fooled = np.mean((m.critic(there) - 1) ** 2) + np.mean((m.back_critic(back) - 1) ** 2)
    assert parts["generator_critic"] == pytest.approx(fooled, rel=1e-5)
    real = np.mean((m.critic(b["ct"]) - 1) ** 2) + np.mean((m.back_critic(b["mr"]) - 1) ** 2)
    fake = np.mean(m.critic(there) ** 2) + np.mean(m.back_critic(back) ** 2)
    assert float(m.critic_loss(b, m.made(b))[0]) == pytest.approx((real + fake) / 2, rel=1e-5)


@pytest.mark.one_stack
def test_cyclegan_updates_lower_their_losses_and_leave_the_others_alone():
    m, b = cyclegan(), batch()
    for name, theirs in (("critic", ("critic", "back_critic")), ("generator", ("generator", "back_generator"))):
        before = {v.name + str(i): v.numpy() for i, v in enumerate(m.trainable_variables)}
        moved = {id(v) for network in theirs for v in getattr(m, network).trainable_variables}
        loss = getattr(m, f"{name}_loss")
        first = float(loss(b, m.made(b))[0])
        m.update(name, lambda part, loss=loss: loss(part, m.made(part)), b)
        assert float(loss(b, m.made(b))[0]) < first
        for (_, old), v in zip(before.items(), m.trainable_variables, strict=True):
            assert id(v) in moved or (old == v.numpy()).all()


@pytest.mark.one_stack
def test_cyclegans_critics_are_shown_older_translations():
    """Equal weights: losses differ once there is something older to show; the history is not trained."""
    with_history, without = (cyclegan(history=n, downs=3) for n in (2, 0))  # shallower, all translations look alike
    seen = []
    for step in range(12):
        b = batch(step) | {"index": tf.range(2 * step, 2 * step + 2, dtype=tf.int64)}
        fake = with_history.made(b)
        seen.append([float(m.critic_loss_with_history(b, fake)[0]) for m in (with_history, without)])
        if step == 0:
            for history, images in zip(with_history.histories, fake, strict=True):
                np.testing.assert_array_equal(history.shown(images, b, with_history), images)
    differs = [abs(one - other) > 1e-6 for one, other in seen]
    assert not differs[0]
    assert sum(differs[1:]) >= 3  # of 11 steps in which each of four images is an older one half the time
    assert not [v for v in with_history.trainable_variables if "images" in v.name]


@pytest.mark.long
def test_cyclegan_trains_resumes_and_is_shared_by_two_devices(tmp_path):
    words = ("model.architecture=cyclegan", "model.downs=1", "data.split.test=0", "model.history=4", "train.steps=4",
             "train.checkpoint_every_steps=2")  # fmt: skip
    run = fit(settings(*words), tmp_path / "run")
    assert np.isfinite(run.metrics()[["critic_loss", "cycle", "identity"]].to_numpy()).all()
    killed, _ = killed_before(run, tmp_path / "killed", lambda state: state["finished"])
    assert_same_weights(fit(run.settings, killed, resume=True), run)
    stored = tf.train.load_checkpoint(str(export(run, tmp_path / "export") / "variables" / "variables"))
    shapes = [shape for key, shape in stored.get_variable_to_shape_map().items() if key.endswith("VARIABLE_VALUE")]
    assert sorted(map(list, shapes)) == sorted(list(v.shape) for v in run.restored().model.generator.variables)
    two = fit(settings(*words, "train.strategy=mirrored", "train.replicas=2"), tmp_path / "two")
    cut = fit(settings(*words, "train.gradient_accumulation=2"), tmp_path / "cut")
    kept, *others = ([h.images.numpy() for h in r.restored().model.histories] for r in (run, two, cut))
    assert [len(np.unique(images, axis=0)) for images in kept] == [4, 4]
    for other in others:
        np.testing.assert_allclose(other, kept, atol=1e-3)


@pytest.mark.parametrize("words, reason", [
    (("model.history=3",), "3 images are fewer than a step's 4"),
    (("train.strategy=mirrored", "train.replicas=2", "train.gradient_accumulation=2"), "set train.gradient_acc"),
])  # fmt: skip
@pytest.mark.one_stack
def test_cyclegan_says_what_its_history_cannot_do(tmp_path, words, reason):
    with pytest.raises(ConfigError, match=reason):
        fit(settings("model.architecture=cyclegan", "model.downs=2", *words), tmp_path / "run")


# --- samples ----------------------------------------------------------------------------------------------------------


HD = dict(architecture="pix2pixhd", unpaired_critic=False, paired_critic=True, anchor_weight=0, blocks=1, downs=2)


def pix2pixhd(**changes):
    keras.utils.set_random_seed(0)
    return Pix2PixHD(Config(**SMALL | HD | changes), per_step=2)


def test_pix2pixhd_judges_pairs_at_two_scales_and_matches_features():
    m, b = pix2pixhd(feature_weight=3.0), batch()
    b = {name: value for name, value in b.items() if name != "ct"}
    total, parts = m.generator_loss(b, m.made(b))
    assert float(total) == pytest.approx(float(parts["generator_critic"] + 3 * parts["feature_matching"]), rel=1e-5)
    scales = m.judged(b["mr"], b["mrcat"])
    sides = [[found.shape[1] for found in scale] for scale in scales]
    assert sides == [[8, 7, 6], [4, 3, 2]]  # 16 and 8 pixels; one strided convolution, then two of stride 1
    m.generator = lambda images, training: b["mrcat"]  # a perfect translation
    assert float(m.generator_loss(b, m.made(b))[1]["feature_matching"]) == 0
    for critic in m.critics:
        for variable in critic.get_layer("score").variables:
            variable.assign(tf.zeros_like(variable))
    assert float(m.critic_loss(b, m.made(b))[0]) == pytest.approx(1.0)  # (1 + 0) / 2 at each of two scales


@pytest.mark.one_stack
def test_pix2pixhd_updates_lower_their_losses():
    m, b = pix2pixhd(learning_rate=1e-3), batch()
    for name in m.updaters:
        loss = getattr(m, f"{name}_loss")
        before = float(loss(b, m.made(b))[0])
        m.update(name, lambda part, loss=loss: loss(part, m.made(part)), b)
        assert float(loss(b, m.made(b))[0]) < before, name


@pytest.mark.one_stack
def test_pix2pixhd_trains_translates_and_exports(tmp_path):
    run = fit(settings(*(f"model.{name}={value}" for name, value in HD.items())), tmp_path / "run")
    assert np.isfinite(run.metrics()[["critic_loss", "feature_matching"]].to_numpy()).all()
    model = tf.saved_model.load(str(export(run, tmp_path / "export")))
    volume = np.random.default_rng(0).uniform(0, 900, (2, 21, 30)).astype("float32")
    made = model.signatures["serving_default"](image=tf.constant(volume))
    assert next(iter(made.values())).shape == volume.shape


def test_a_ct_of_others_has_a_crop_of_its_own():
    """Every image tells where its pixels come from: pairs move alike, CTs by draws of their own, all within limits."""
    method = METHOD(settings("data.options={cases: 6, cts: 7, shape: [2, 64, 64]}", "model.size=32", "model.flip=0.5"))
    opened, ramp = method.volume, np.broadcast_to(np.linspace(-0.5, 0.5, 64, dtype="float32"), (2, 64, 64))
    method.volume = lambda case, name: opened(case, name).replace(array=ramp)
    samples, slopes = method.samples(), {"mr": [], "mrcat": [], "ct": []}
    for index in range(12):
        for name, image in samples.read(index).items():
            steps = np.diff(image[..., 0], axis=1)
            slopes[name].append(float(np.median(steps[np.abs(image[:, 1:, 0]) <= 0.5])) * 63)
    np.testing.assert_allclose(slopes["mr"], slopes["mrcat"], atol=1e-5)
    assert np.abs(np.subtract(slopes["mr"], slopes["ct"])).min() > 1e-4
    for found in slopes.values():  # a pixel's step is 1 / zoom, below 0 where it is mirrored
        assert np.abs(found).min() > 1 / 1.4 - 0.01 and np.abs(found).max() < 1 / 0.6 + 0.01
        assert np.ptp(np.abs(found)) > 0.2 and min(found) < 0 < max(found)


def test_samples_pair_mr_with_mrcat_and_repeat():
    method = METHOD(settings("data.options={cases: 6, cts: 7, shape: [2, 64, 64]}", "model.size=64"))
    samples = method.samples()
    one, again = samples.read(5), samples.read(5)
    assert set(one) == {"mr", "mrcat", "ct"}
    body = []
    for index in range(8):
        sample = samples.read(index)
        outside = sample["mrcat"] < -0.5
        body.append(np.corrcoef((sample["mr"] > -0.75).ravel(), ~outside.ravel())[0, 1])
    assert np.mean(body) > 0.85  # skin lies on skin; bone is dark in MR
    for name, image in one.items():
        assert image.shape == (64, 64, 1) and image.min() >= -1 and image.max() <= 1
        np.testing.assert_array_equal(image, again[name])


def test_pairs_and_cts_are_split_each_by_patient():
    cases = METHOD(settings("data.split.test=0.34")).cases
    counts = {part: (sum("mr" in c.images for c in found), sum("mr" not in c.images for c in found))
              for part, found in cases.items()}  # fmt: skip
    assert counts == {"train": (4, 5), "validation": (0, 0), "test": (2, 2)}
    assert not {c.group for c in cases["train"]} & {c.group for c in cases["test"]}


def write_cases(folder, **arrays):
    """A table of three pairs and three CTs; `arrays` replaces files of the first pair."""
    rng, rows = np.random.default_rng(0), ["id,mr,mrcat,ct"]
    for k in range(3):
        images = {"mr": rng.uniform(0, 900, (2, 24, 24)), "mrcat": rng.uniform(-1000, 900, (2, 24, 24)),
                  "ct": rng.uniform(-1000, 900, (2, 24, 24))}  # fmt: skip
        images |= arrays if k == 0 else {}
        for name, array in images.items():
            write_volume(Volume(array.astype("float32"), np.diag([2.0, 2.0, 5.0, 1.0])), folder / f"{name}{k}.nii.gz")
        rows += [f"p{k},mr{k}.nii.gz,mrcat{k}.nii.gz,", f"c{k},,,ct{k}.nii.gz"]
    (folder / "scans.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    words = ("data.source=csv_list", f"data.root={folder / 'scans.csv'}", "data.split.test=0")
    return METHOD(tfmed.load_config(CONFIG, (*TINY[1:], *words)))


def test_a_table_of_ones_own_scans(tmp_path):
    method = write_cases(tmp_path)
    assert (len(method.pairs("train")), len(method.unpaired("train"))) == (3, 3)
    assert {name: image.shape for name, image in method.samples().read(0).items()} == dict.fromkeys(
        ("mr", "mrcat", "ct"), (16, 16, 1))  # fmt: skip


@pytest.mark.parametrize("arrays, said", [
    ({"mrcat": np.random.default_rng(0).uniform(-1000, 0, (2, 24, 20))}, "its shape (2, 24, 20) is not the"),
    ({"mr": np.ones((2, 24, 24))}, "every voxel is 1"),
    ({"mr": np.full((2, 24, 24), np.nan)}, "NaN or infinite"),
    ({"mr": -np.random.default_rng(0).uniform(1, 2, (2, 24, 24))}, "no voxel is above 0"),
])  # fmt: skip
def test_bad_pairs_are_named(tmp_path, arrays, said):
    with pytest.raises(DataError) as caught:
        write_cases(tmp_path, **arrays).prepared("train")
    assert said in str(caught.value) and "0.nii.gz" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("words, said", [
    (("data.options={cases: 3, cts: 0}",), "no case has a 'ct' alone"),
    (("data.source=phantom_chest_ct", "data.options={cases: 3}"), "no case has the images 'mr' and 'mrcat'"),
])  # fmt: skip
def test_data_of_one_kind_only(words, said):
    with pytest.raises(DataError) as caught:
        METHOD(tfmed.load_config(CONFIG, (*TINY[1:], *words))).prepared("train")
    assert said in str(caught.value)


# --- use --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run of M->C."""
    return fit(settings("data.split.test=0.34"), tmp_path_factory.mktemp("m2c") / "run")


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    return export(run, tmp_path_factory.mktemp("m2c") / "export")


@pytest.mark.one_stack
def test_volumes_of_any_size_are_translated_on_their_own_grid(run, exported, tmp_path):
    """Also with other axes: the translation of a turned volume is the turned translation."""
    array = np.random.default_rng(0).uniform(0, 900, (3, 21, 30)).astype("float32")
    volume = Volume(array, np.diag([2.0, 2.0, 5.0, 1.0]))
    write_volume(volume, tmp_path / "a.nii.gz")
    write_volume(reorient(volume, "LPS"), tmp_path / "b.nii.gz")
    arguments = [str(run.path), str(tmp_path / "a.nii.gz"), str(tmp_path / "b.nii.gz"), "--out", str(tmp_path / "out")]
    assert cli.run(predict.main, arguments) == 0
    one, turned = (read_volume(tmp_path / "out" / f"{name}_ct.nii.gz") for name in "ab")
    assert one.shape == (3, 21, 30) and one.array.dtype == np.int16
    assert -1000 <= one.array.min() < one.array.max() <= 1000
    np.testing.assert_allclose(one.affine, volume.affine, atol=1e-5)
    assert np.abs(reorient(turned, "RAS").array.astype(int) - one.array).max() <= 1
    assert cli.run(predict.main, [str(exported), str(tmp_path / "b.nii.gz"), "--out", str(tmp_path / "same")]) == 0
    assert np.abs(read_volume(tmp_path / "same" / "b_ct.nii.gz").array.astype(int) - turned.array).max() <= 1
    method = run.restored()
    whole = method.model(method.mr_scale.apply(volume).array[:1, :16, :16, None]).numpy()[..., 0]
    np.testing.assert_allclose(
        method.model.translated(method.mr_scale.apply(volume).array[:1, :16, :16]), whole, atol=1e-5
    )


@pytest.mark.one_stack
def test_the_exported_graph_scales_an_mr_as_the_run_does(run, exported):
    array = np.random.default_rng(1).gamma(2.0, 150.0, (3, 21, 30)).astype("float32") - 40
    method = run.restored()
    scaled = method.mr_scale.apply(Volume(array, np.eye(4)))
    expected = method.window.invert(method.translate(scaled))
    found = tf.saved_model.load(str(exported)).signatures["serving_default"](image=tf.constant(array))
    np.testing.assert_allclose(found[sorted(found)[-1]], expected, atol=0.05)


@pytest.mark.one_stack
def test_evaluation_by_the_command_and_of_a_perfect_translation(run):
    """A method that gives the MRCAT itself has Dice 1, and only its few grey values between it and the CT."""
    assert cli.run(evaluate.main, [str(run.path)]) == 0
    with open(run.path / "evaluation.csv", encoding="utf-8") as stream:
        row = next(csv.DictReader(stream))
    assert {"FD[random-0]", "KD[random-0]", "dice_body", "dice_bone", "dice_bone_sd", "mae_hu", "hu_dif"} < set(row)
    method = run.restored()
    cases = iter(method.pairs("test"))
    method.translate = lambda volume: np.asarray(method.volume(next(cases), "mrcat").array)
    perfect = method.evaluate({"perfect": method})["evaluation"][0]
    assert perfect["dice_bone"] == perfect["dice_body"] == 1 and perfect["mae_hu"] < 150
    assert float(row["dice_bone"]) < 1 and float(row["mae_hu"]) > perfect["mae_hu"]
    mrcat, real = [], []
    kinds = ((mrcat, "mrcat", method.pairs("test")), (real, "ct", method.unpaired("test")))
    for means, name, cases in kinds:
        for volume in (method.volume(case, name) for case in cases):
            ct = volume.replace(array=method.window.invert(volume.array))
            means.append(ct.array[body_and_bone(ct)["body"]].mean(dtype=np.float64))
    assert perfect["hu_dif_body"] == pytest.approx(abs(np.mean(mrcat) - np.mean(real)), rel=1e-4)
    assert perfect["hu_dif"] == pytest.approx((perfect["hu_dif_body"] + perfect["hu_dif_bone"]) / 2)


@pytest.fixture(scope="module")
def organs(tmp_path_factory):
    """A short run that segments CTs; what it calls liver is of no meaning."""
    words = ("data.source=phantom_liver_ct", "data.options={cases: 6, shape: [8, 32, 32]}", "data.preprocess=[]",
             "data.split={validation: 0.2, test: 0.2}", "data.labelled_share=1", "train.steps=1", "train.batch_size=2",
             "model.modalities=[ct]", "model.label_values=[0, 1, 2]", "model.regions={liver: [1, 2]}",
             "model.patch=[16, 16]", "model.labelled_batch=2",
             "model.network={name: unet, widths: [4, 8]}")  # fmt: skip
    return fit(tfmed.load_config("configs/equireg/supervised.yaml", words), tmp_path_factory.mktemp("organs") / "run")


@pytest.mark.long
def test_segmentation_runs_find_the_structures(run, organs, capsys):
    """The Dice in the table is that of what `segmenter()` of the other run says of both volumes."""
    assert cli.run(evaluate.main, [str(run.path), "--segmenters", str(organs.path)]) == 0
    with open(run.path / "evaluation.csv", encoding="utf-8") as stream:
        row = next(csv.DictReader(stream))
    assert "dice_liver" in row and "dice_body" not in row
    method, segmenter = run.restored(), organs.restored().segmenter()
    found = []
    for case in method.pairs("test"):
        made, mrcat = method.translate(method.volume(case, "mr")), method.volume(case, "mrcat")
        volumes = [mrcat.replace(array=method.window.invert(array)) for array in (made, mrcat.array)]
        found.append(dice(*(segmenter([volume]).labels.array > 0 for volume in volumes)))
    assert 0 < float(row["dice_liver"]) == pytest.approx(np.mean(found), abs=1e-6)
    for words, said in (([str(run.path)], "does not segment"), ([str(organs.path)] * 2, "two runs segment 'ct'")):
        assert cli.run(evaluate.main, [str(run.path), "--segmenters", *words]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.one_stack
def test_evaluation_of_c2m():
    method = METHOD(settings("data.split.test=0.34", *C2M))
    (stage,) = method.stages()
    method.models[stage.name] = stage.model()
    row = method.evaluate({"c2m": method})["evaluation"][0]
    assert {"FD[random-0]", "dice_body", "mae"} < set(row) and 0 < row["mae"] < 1
    halves = {name: lambda volume: {"left": np.indices(volume.shape)[2] < 8} for name in ("ct", "mr")}
    row = method.evaluate({"c2m": method}, segmenters=halves)["evaluation"][0]
    assert row["dice_left"] == 1 and "dice_body" not in row
    with pytest.raises(RunError, match="none in common"):
        method.evaluate({"c2m": method}, segmenters={"mr": lambda volume: {"gland": volume.array > 0}})
    with pytest.raises(RunError, match="runs of ct and mr alone"):
        method.evaluate({"c2m": method}, segmenters={"pet": halves["ct"]})
