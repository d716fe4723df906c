"""DRAI's rivals, with one code and with two: what their critics and encoders see, and that runs of them are scored."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmed
from tests.methods.test_drai import SMALL, TINY, batch, gradients
from tests.support.harness import REPOSITORY
from tfmed.errors import ConfigError
from tfmed.methods.drai import Config
from tfmed.methods.drai.method import MODELS

pytestmark = pytest.mark.current


def rival(kind, **changes):
    keras.utils.set_random_seed(0)
    return MODELS[kind](Config(objective=kind, **SMALL | changes), per_step=4)


@pytest.mark.one_stack
def test_infogan_infers_made_pictures_alone():
    """Critics see (picture, class); encoders learn by the likelihood of the style and the distance of the content, and
    nothing by the critics; real pictures move them in nothing."""
    model, data = rival("d_cinfogan"), batch()
    found = model.made(data)
    score = lambda name, *inputs: model.judge(f"critic_{name}", *inputs).numpy().astype(float)  # noqa: E731
    expected = sum(
        0.5 * ((score(*real) - 1) ** 2).mean() + 0.5 * (score(*fake) ** 2).mean()
        for real, fake in (
            (("image", found["image"]), ("image", found["fake"])),
            (("class", found["image"], found["class"]), ("class", found["fake"], found["class"])),
        )
    )
    assert float(model.critic_loss(data, found)[0]) == pytest.approx(expected, rel=1e-5)
    mean, log_variance = (np.asarray(v, float) for v in model.style_encoder(found["fake"], training=True))
    style = found["style"].numpy()
    nats = 0.5 * ((style - mean) ** 2 * np.exp(-log_variance) + log_variance + np.log(2 * np.pi)).mean()
    assert float(model.style_information(data, found)) == pytest.approx(nats, rel=1e-4)
    encoders = [model.style_encoder, model.content_encoder]
    whole = gradients(lambda: model.generator_loss(data, model.made(data))[0], encoders)
    terms = lambda: model.style_information(data, model.made(data)) + model.content_cycle(data, model.made(data))  # noqa: E731
    other = data | {"image": data["mismatched"]}
    for ours, alone, moved in zip(
        whole, gradients(terms, encoders),
        gradients(lambda: model.generator_loss(other, model.made(other))[0], encoders), strict=True,
    ):  # fmt: skip
        np.testing.assert_allclose(ours, alone, atol=1e-5)
        np.testing.assert_allclose(ours, moved, atol=1e-6)
        assert np.abs(ours).max() > 1e-6


@pytest.mark.one_stack
def test_the_adversarial_autoencoder_judges_reconstructions():
    """A picture with itself is real, with its reconstruction fake; contents are those of the class where both agree."""
    model, data = rival("d_cavae"), batch()
    found = model.made(data)
    assert model.critic_cycle.input_shape[-1] == 6 and model.critic_class_style.input_shape[1] == (None, 2 + 2)
    real, again = (model.pairs(found, found[name]) for name in ("image", "again"))
    assert list(real) == list(model.critics)
    np.testing.assert_array_equal(real["critic_cycle"][0], tf.concat([found["image"], found["image"]], -1))
    np.testing.assert_array_equal(again["critic_cycle"][0], tf.concat([found["image"], found["again"]], -1))
    score = lambda name, inputs: model.judge(name, *inputs).numpy().astype(float)  # noqa: E731
    expected = sum(0.5 * ((score(n, real[n]) - 1) ** 2).mean() + 0.5 * (score(n, again[n]) ** 2).mean() for n in real)
    assert float(model.critic_loss(data, found)[0]) == pytest.approx(expected, rel=1e-5)
    alike = found | {"content_of_image": found["content_of_class"]}
    mean, log_variance = (np.asarray(v, float) for v in found["style_of_image"])
    style = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1).mean()
    assert float(model.kl(data, alike)) == pytest.approx(style, rel=1e-4)
    assert float(model.kl(data, found)) > float(model.kl(data, alike))
    makers = [model.generator, model.style_encoder, model.content_encoder, model.condition]
    for slope in gradients(lambda: model.generator_loss(data, model.made(data))[0], makers):
        assert np.abs(slope).max() > 1e-6


@pytest.mark.one_stack
@pytest.mark.parametrize("kind", ["cinfogan", "cavae"])
def test_rivals_of_one_code_are_given_the_class(kind):
    """The generator has the class in the place of the content; whatever the style, another class is another picture."""
    model, data = rival(kind), batch()
    found = model.made(data)
    assert not hasattr(model, "content_encoder") and not hasattr(model, "condition")
    np.testing.assert_array_equal(found["content"], found["class"])
    style = found["style" if kind == "cinfogan" else "inferred_style"]
    made = model.generator([style, data["condition"]], training=True)
    np.testing.assert_allclose(found["fake" if kind == "cinfogan" else "again"], made, atol=1e-6)
    one, other = (model.sample(3, told, 7).numpy() for told in (tf.eye(2)[:1], tf.eye(2)[1:]))
    assert np.abs(one - other).max() > 1e-4
    np.testing.assert_array_equal(one, model.sample(3, tf.eye(2)[:1], 7, way="mean"))
    (inferred,) = model.codes(data["image"])
    assert inferred.shape == (4, model.config.style_size)
    for slope in gradients(lambda: model.generator_loss(data, model.made(data))[0],
                           [model.generator, model.style_encoder]):  # fmt: skip
        assert np.abs(slope).max() > 1e-6


@pytest.mark.one_stack
def test_the_divergence_of_one_code_is_the_style_s():
    model, data = rival("cavae"), batch()
    found = model.made(data)
    mean, log_variance = (np.asarray(v, float) for v in found["style_of_image"])
    style = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1).mean()
    assert float(model.kl(data, found)) == pytest.approx(style, rel=1e-4)


@pytest.mark.one_stack
@pytest.mark.parametrize("kind", ["cinfogan", "cavae", "d_cinfogan", "d_cavae"])
def test_rivals_are_trained_and_scored_like_it(kind, tmp_path):
    settings = tfmed.load_config(
        REPOSITORY / f"configs/drai/{kind}.yaml", [*TINY, "train.steps=2", "train.tensorboard=false"]
    )
    run = tfmed.fit(settings, tmp_path / "run")
    assert np.isfinite(run.metrics()[["critic", "generator"]].dropna().to_numpy()).all()
    found = run.evaluate(count=4)
    assert len(found["distance"]) == 2
    if kind.startswith("d_"):
        assert found["disentanglement"][0]["cifc"] > 0
    else:  # one code is not compared with itself
        assert "disentanglement" not in found
        served = tf.saved_model.load(str(run.export(tmp_path / "saved"))).signatures
        assert "swap" not in served and served["sample"](seed=tf.constant(0, tf.int64), count=tf.constant(2))
    with pytest.raises(ConfigError, match=r"self_reg: is a weight of objective drai"):
        tfmed.load_config(REPOSITORY / f"configs/drai/{kind}.yaml", [*TINY, "model.self_reg=0.5"])
