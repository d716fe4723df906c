"""DRAI: the harness, and every item of its card's "What must hold"."""

import functools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.harness import MethodHarness, class_pictures_parity
from tfmed.compat import tensor_variable
from tfmed.engine.exporting import export
from tfmed.errors import ConfigError, DataError
from tfmed.methods.drai import DRAI, Config, build_network
from tfmed.methods.drai.model import repelled
from tfmed.registry import method_class

pytestmark = pytest.mark.current

SMALL = dict(size=(8, 8), colour=True, content_size=3, style_size=2, generator_channels=(4, 4),
             encoder_channels=(4,), condition_size=2, predictor=(4,))  # fmt: skip
NO_TERMS = dict(image_cycle=0, feature_cycle=0, self_reg=0, mi_reg=0, kl_weight=0)
TINY = (
    "data.options={cases: 48, classes: [red, green], shape: [8, 8]}",
    "data.split={validation: 0.25, test: 0.25, seed: 0}",
    "train.batch_size=4",
    "model.classes=[red, green]",
    "model.classifier=mlp",
    "model.restarts=1",
    "model.classifier_epochs=2",
    "model.classic_copies=1",
    "model.pad=1",
    "model.learning_rate=0.001",
    *(f"model.{name}={list(value) if isinstance(value, tuple) else value}" for name, value in SMALL.items()),
)


def pictures(count=4, seed=0):
    return np.random.default_rng(seed).random((count, 8, 8, 3), np.float32)


def batch(count=4):
    return {"index": tf.range(count, dtype=tf.int64), "condition": tf.one_hot(tf.range(count) % 2, 2),
            "image": tf.constant(pictures(count)), "turned": tf.constant(pictures(count)[:, ::-1]),
            "mismatched": tf.constant(pictures(count, 1))}  # fmt: skip


def made(**changes):
    keras.utils.set_random_seed(0)
    return DRAI(Config(**SMALL | changes), per_step=4)


@functools.cache
def usual():
    """A model whose weights no test changes."""
    return made()


def gradients(value, networks):
    """A function's gradient in all weights of networks, as one array each, zeros where it does not depend on them."""
    variables = [[tensor_variable(v) for v in network.trainable_variables] for network in networks]
    with tf.GradientTape() as tape:
        found = value()
    each = tape.gradient(found, variables, unconnected_gradients="zero")
    return [np.concatenate([np.ravel(g) for g in one]) for one in each]


class TestHarness(MethodHarness):
    config = "configs/drai.yaml"
    tiny = TINY
    bad = ("model.size=[9, 9]", "a multiple of 2")

    def parity(self, run):
        return class_pictures_parity(run)

    def test_tables_samples_and_pictures(self, run, tmp_path):
        method = run.restored()
        tables = method.evaluate({"run": method}, count=4)
        assert [row["training data"] for row in tables["evaluation"]][2:] == [
            "run, drawn only", "real + run, drawn", "run, mean only", "real + run, mean"]  # fmt: skip
        assert [row["pictures"] for row in tables["distance"]] == ["real, test", "run"]
        assert all(row["FD[random-0]"] > 0 for row in tables["distance"])
        (row,) = tables["disentanglement"]
        assert row["cifc"] > 0 and row["relative cifc"] > 0
        assert all(row[f"{name}, {kind} R2"] <= 1 for kind in ("linear", "mlp")
                   for name in ("style from content", "content from style"))  # fmt: skip
        items = list(method.sample(3, seed=1))
        assert [name for name, _ in items] == ["red", "green", "red"] and items[0][1].shape == (8, 8, 3)
        path = method.write_sample(items[0], tmp_path, "0")
        assert np.array_equal(keras.utils.img_to_array(keras.utils.load_img(path)), np.rint(255 * items[0][1]))
        grid = method.previews()["hybrids"]
        assert len(grid.rows) == 7 and all(len(row) == 7 for row in grid.rows.values())
        reconstructed = method.decode(*method.encode(np.stack([grid.rows["styles"][2]])))[0]
        np.testing.assert_allclose(grid.rows["content 2"][2], reconstructed, atol=1e-4)
        grid.figure()

    def test_exported_hybrids(self, run, tmp_path):
        method, one, other = run.restored(), pictures(2), pictures(2, 1)
        model = tf.saved_model.load(str(export(run, tmp_path / "export")))
        found = model.signatures["swap"](content=tf.constant(one), style=tf.constant(other))["pictures"]
        expected = method.decode(method.encode(one)[0], method.encode(other)[1])
        np.testing.assert_allclose(found, expected, atol=1e-5)


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_networks_have_the_card_s_shapes():
    config = Config(classes=("nv", "mel", "bkl"), colour=True)
    encoder, condition = build_network(config, "style_encoder"), build_network(config, "condition")
    assert [tuple(output.shape) for output in encoder.outputs] == [(None, 100)] * 2
    trunk = 3 * 16 * 64 + 64 + 16 * 64 * 128 + 16 * 128 * 256 + 16 * 256 * 512
    assert encoder.count_params() == trunk + 4 * (128 + 256 + 512) + 2 * 100 * (4 * 4 * 512 + 1)
    assert condition.count_params() == 4 * 512 + 2 * 128 * 257
    small = Config(**SMALL)
    for name, count in (("critic_image", 1), ("critic_class", 2), ("critic_style", 2), ("critic_content", 2)):
        critic = build_network(small, name)
        assert len(critic.inputs) == count and critic.output_shape == (None, 1)
    assert build_network(small, "content_of_style").output_shape == (None, 3)
    assert build_network(small, "style_of_content").input_shape == (None, 3)
    assert build_network(small, "generator").output_shape == (None, 8, 8, 3)


# --- adversarial losses -----------------------------------------------------------------------------------------------


@pytest.mark.one_stack
@pytest.mark.parametrize("kind", ["least_squares", "log"])
def test_critics_lower_the_printed_losses(kind):
    model, data = made(gan_loss=kind), batch()
    found = model.made(data)
    image, label, other = found["image"], found["class"], 2 * data["mismatched"] - 1
    score = lambda name, *inputs: model.judge(f"critic_{name}", *inputs).numpy().astype(float)  # noqa: E731
    real = (lambda s: 0.5 * (s - 1) ** 2) if kind == "least_squares" else lambda s: np.log1p(np.exp(-s))
    fake = (lambda s: 0.5 * s**2) if kind == "least_squares" else lambda s: np.log1p(np.exp(s))
    expected = real(score("image", image)).mean() + fake(score("image", found["fake"])).mean()
    expected += real(score("class", image, label)).mean()
    expected += (
        0.5 * fake(score("class", other, label)).mean() + 0.5 * fake(score("class", found["fake"], label)).mean()
    )
    for code in ("style", "content"):
        expected += real(score(code, image, found[f"inferred_{code}"])).mean()
        expected += fake(score(code, found["fake"], found[code])).mean()
    assert float(model.critic_loss(data, found)[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.one_stack
@pytest.mark.parametrize("kind", ["least_squares", "log"])
def test_both_sides_of_the_joint_are_flipped(kind):
    """Encoders lower the score of real pictures with their codes; the generator raises that of made ones."""
    model, data = made(gan_loss=kind, **NO_TERMS), batch()
    low = (lambda s: 0.5 * s**2) if kind == "least_squares" else tf.nn.softplus
    high = (lambda s: 0.5 * (s - 1) ** 2) if kind == "least_squares" else lambda s: tf.nn.softplus(-s)
    encoders, makers = [model.style_encoder, model.content_encoder], [model.generator, model.condition]

    def inferred():
        found = model.made(data)
        return tf.add_n([tf.reduce_mean(low(model.judge(f"critic_{code}", found["image"], found[f"inferred_{code}"])))
                         for code in ("style", "content")])  # fmt: skip

    def generated():
        found = model.made(data)
        terms = [high(model.judge("critic_image", found["fake"]))]
        terms.append(high(model.judge("critic_class", found["fake"], found["class"])))
        terms += [high(model.judge(f"critic_{code}", found["fake"], found[code])) for code in ("style", "content")]
        return tf.reduce_mean(tf.add_n(terms))

    whole = gradients(lambda: model.generator_loss(data, model.made(data))[0], encoders + makers)
    for ours, expected in zip(whole, gradients(inferred, encoders) + gradients(generated, makers), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)
        assert np.abs(ours).max() > 1e-6


@pytest.mark.one_stack
def test_an_update_changes_its_own_networks_alone():
    model, data = made(), batch()
    for name, networks in model.updaters.items():
        before = [v.numpy() for v in model.trainable_variables]
        model.update(name, model.objectives[name], data)
        own = {id(tensor_variable(v)) for network in networks[1] for v in network.trainable_variables}
        changed = {id(tensor_variable(v)) for v, old in zip(model.trainable_variables, before, strict=True)
                   if (v.numpy() != old).any()}  # fmt: skip
        assert changed and changed <= own


# --- regularisers -----------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_predictors_lower_their_error_and_encoders_raise_it():
    model, data = made(), batch()

    def error(kind):
        found = model.made(data)
        content, style = found["inferred_content"], found["inferred_style"]
        if kind == "style":
            return tf.reduce_mean(tf.abs(style - model.style_of_content(content)))
        return tf.reduce_mean(tf.abs(content - model.content_of_style(style)))

    value = lambda: model.mi_reg(data, model.made(data))  # noqa: E731
    for kind, predictor, encoder in (
        ("style", model.style_of_content, model.content_encoder),
        ("content", model.content_of_style, model.style_encoder),
    ):
        for network, sign in ((predictor, -1), (encoder, 1)):
            variables = [tensor_variable(v) for v in network.trainable_variables]
            with tf.GradientTape() as tape:
                loss = value()
            steps = tape.gradient(loss, variables, unconnected_gradients="zero")
            before, kept = float(error(kind)), [v.numpy() for v in variables]
            length = float(tf.linalg.global_norm(steps))
            for variable, step in zip(variables, steps, strict=True):
                variable.assign_sub(1e-3 / length * step)
            assert sign * (float(error(kind)) - before) > 0, (kind, sign)
            for variable, old in zip(variables, kept, strict=True):
                variable.assign(old)


def test_what_is_predicted_has_no_gradient():
    """The style encoder's gradient is that of predicting the content from it, and nothing of being predicted."""
    model, data = usual(), batch()

    def from_style():
        found = model.made(data)
        return -tf.reduce_mean(tf.abs(tf.stop_gradient(found["inferred_content"])
                                      - model.content_of_style(found["inferred_style"])))  # fmt: skip

    (ours,) = gradients(lambda: model.mi_reg(data, model.made(data)), [model.style_encoder])
    (expected,) = gradients(from_style, [model.style_encoder])
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_a_pair_of_one_picture_has_no_self_regularisation():
    model, data = usual(), batch()
    assert float(model.self_reg(data, model.made(data | {"turned": data["image"]}))) == pytest.approx(0, abs=1e-6)
    found = model.made(data)
    codes = {name: found[name].numpy() for name in found if name.startswith(("inferred", "turned"))}
    apart = [np.abs(codes[f"inferred_{kind}"] - codes[f"turned_{kind}"]).mean() for kind in ("content", "style")]
    assert float(model.self_reg(data, found)) == pytest.approx(apart[0] - apart[1], abs=1e-5)
    np.testing.assert_allclose(repelled(tf.constant([0.5, 3.0]), 2.0), [0.5, 2.0])
    np.testing.assert_allclose(repelled(tf.constant([0.5, 3.0])), [0.5, 3.0])


def test_cycles_and_divergences():
    model, data = usual(), batch()
    found = model.made(data)
    again = model.generator([found["inferred_style"], found["inferred_content"]], training=True)
    assert float(model.image_cycle(data, found)) == pytest.approx(np.abs(found["image"] - again).mean(), rel=1e-4)
    expected = 0
    for name in ("style_of_image", "content_of_image", "content_of_class"):
        mean, log_variance = (np.asarray(v, float) for v in found[name])
        expected += 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1).mean()
    assert float(model.kl(data, found)) == pytest.approx(expected, rel=1e-4)
    standard = {name: (tf.zeros((4, 3)), tf.zeros((4, 3)))
                for name in ("style_of_image", "content_of_image", "content_of_class")}  # fmt: skip
    assert float(model.kl(data, standard)) == 0
    assert float(made(kl_reduce="sum", style_size=3).kl(data, found)) > float(model.kl(data, found))


@pytest.mark.one_stack
def test_terms_without_weight_are_not_computed():
    model = made(**NO_TERMS)
    assert set(model.meters) == {"critic", "generator"} and not hasattr(model, "style_of_content")
    plain = made(**NO_TERMS | dict(image_cycle=2.0))
    total, logs = plain.generator_loss(batch(), plain.made(batch()))
    assert float(total) == pytest.approx(float(logs["generator"]) + 2 * float(logs["image_cycle"]), rel=1e-5)


# --- samples ----------------------------------------------------------------------------------------------------------


def opened(*words):
    return method_class("drai")(TestHarness.settings(*words))


@pytest.mark.one_stack
def test_pictures_are_mismatched_by_class_and_each_batch_comes_twice():
    method = opened("model.pad=0", "model.flip=false")
    known, labels = method.pictures("train")
    place = lambda picture: int(np.abs(known - picture).sum((1, 2, 3)).argmin())  # noqa: E731
    samples = method.samples()
    for step in range(0, 8, 2):
        first, second = samples.batch(step), samples.batch(step + 1)
        for k in range(4):
            one, other = place(first["image"][k]), place(first["mismatched"][k])
            np.testing.assert_array_equal(known[one], first["image"][k])
            assert labels[one] == first["condition"][k].argmax() and labels[other] != labels[one]
        np.testing.assert_array_equal(first["turned"], second["image"])
        np.testing.assert_array_equal(first["image"], second["turned"])
        np.testing.assert_array_equal(first["condition"], second["condition"])
        assert not (first["image"] == first["turned"]).all((1, 2, 3)).any()
    alone = opened("model.passes=1", "model.pad=0", "model.flip=false").samples()
    assert (alone.batch(0)["image"] != alone.batch(1)["turned"]).any()


@pytest.mark.one_stack
def test_a_class_is_drawn_or_its_mean():
    model, told = usual(), tf.eye(2)[1:]
    drawn, same = (model.sample(4, told, 3, 2, way).numpy() for way in ("drawn", "mean"))
    np.testing.assert_allclose(model.sample(2, told, 3, 4).numpy(), drawn[2:], atol=1e-6)
    assert drawn.shape == (4, 8, 8, 3) and drawn.min() >= 0 and drawn.max() <= 1 and not np.allclose(drawn, same)


@pytest.mark.one_stack
@pytest.mark.parametrize("words, said", [
    (("data.preprocess=[]",), "add {step: window, window_hu: [0, 255], range: [0, 1]}"),
    (("model.classes=[red, blue]",), "is of class 'green'; the source has green, red: set model.classes"),
    (("model.colour=false",), "image"),
])  # fmt: skip
def test_bad_data(words, said):
    with pytest.raises(DataError) as caught:
        opened(*words).samples()
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.one_stack
@pytest.mark.parametrize("words, said", [
    ("model.encoder_channels=[2, 2, 2, 2]", "too many halvings for 8 pixels"),
    ("model.pad=8", "pad: 8 pixels move a picture of 8 out of sight"),
    ("model.kl_weight=0 model.objective=d_cavae model.self_reg=1", "kl_weight: is all that teaches the content"),
])  # fmt: skip
def test_bad_settings(words, said):
    with pytest.raises(ConfigError, match=said):
        TestHarness.settings(*re.split(r" (?=model\.)", words))
