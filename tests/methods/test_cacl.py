"""CaCL: the harness, and every item of its card's "What must hold"; codebooks alone: tests/nn/test_quantize.py."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from skimage import color

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness
from tfmed.compat import tensor_variable
from tfmed.errors import ConfigError, UserError
from tfmed.methods.cacl import FAKE_NEGATIVE, FAKE_POSITIVE, STEP, WITH_CLASSIFIER, CaCL, Config, build_network
from tfmed.metrics.attribution import to_unit
from tfmed.nn.resnet import resnet18
from tfmed.tasks import weak_baselines
from tfmed.tasks.weak_scores import best_threshold
from tfmed.tasks.weak_segmentation import cut_out, dilated, scores

pytestmark = pytest.mark.current

SMALL = dict(size=(16, 16), shared_codes=5, class_codes=2, code_size=4, width=4, narrow_width=2, residual_blocks=0,
             critic_width=2, critic_blocks=(1, 1, 1, 1), critic_norm="none", history=8, critic_every=2)  # fmt: skip
TINY = (
    "data.options={cases: 24, shape: [16, 16], clean: true}",
    "data.split={validation: 0.25, test: 0.25, seed: 0}",
    "train.batch_size=4",
    "train.validate_every=2",
    "train.early_stopping=null",
    "model.baselines=[colour]",
    "model.critic_every=1",
    *(
        f"model.{name}={list(value) if isinstance(value, tuple) else value}"
        for name, value in SMALL.items()
        if name != "critic_every"
    ),
)


def batch(labels=(0, 1, 0, 1), seed=0, step=0):
    count = len(labels)
    images = np.random.default_rng(seed).random((count, 16, 16, 3), np.float32)
    index = tf.range(step * count, (step + 1) * count, dtype=tf.int64)
    return {"index": index, "image": tf.constant(images), "label": tf.constant(labels, tf.int32)}


def made(count=4, **changes):
    """A model whose codes are features of some images, with as much in the class's channels: both kinds are chosen."""
    keras.utils.set_random_seed(0)
    model = CaCL(Config(**SMALL | changes), per_step=count)
    kernel = model.encoder.layers[-1].kernel
    kernel.assign(tf.concat([tf.convert_to_tensor(kernel)[..., :2], -tf.convert_to_tensor(kernel)[..., :2]], -1))
    features = model.encoder(batch()["image"]).numpy().reshape(-1, 4)
    strong = features[np.argsort(-np.linalg.norm(features, axis=1))[[3, 30, 10, 20, 50, 0, 15]]]
    for variable in (model.codebook.codes, model.codebook.sums):
        variable.assign(strong * model.codebook.mask)
    return model


BASE = []


def pure(**changes):
    """One model for all tests that change none of its state, with other settings."""
    BASE.extend([] if BASE else [made()])
    BASE[0].config = Config(**SMALL | changes)
    return BASE[0]


def values(*networks):
    return [tensor_variable(v).numpy() for network in networks for v in network.variables]


def same(before, after):
    return all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


class TestHarness(MethodHarness):
    config = "configs/cacl.yaml"
    tiny = TINY
    bad = ("model.code_size=5", "give an even number")

    def parity(self, run):
        """Sides that are odd, and grey values beyond white."""
        method = run.restored()
        images = [np.random.default_rng(k).uniform(-20, 300, (1, 16 + k, 19, 3)).astype(np.float32) for k in (0, 1)]
        return [method.probabilities(i.clip(0, 255) / 255).argmax(-1) for i in images], [{"image": i} for i in images]

    @pytest.mark.one_stack
    def test_exact_resume(self, run, tmp_path):
        super().test_exact_resume(run, tmp_path)

    @pytest.mark.one_stack
    def test_two_replicas_equal_one(self):
        super().test_two_replicas_equal_one()

    def test_tables_pictures_and_files(self, run, tmp_path):
        method = run.restored()
        found = method.evaluate({"run": method})
        rows = {row["segmentation"]: row for row in found["evaluation"]}
        assert list(rows) == ["network", "network, 1 px wider", "colour deconvolution"]
        assert all(row["images"] == 6 and 0 <= row["Dice mean"] <= 1 for row in rows.values())
        assert rows["network, 1 px wider"]["recall mean"] >= rows["network"]["recall mean"]
        assert 0 < rows["colour deconvolution"]["threshold"] <= 1 and len(found["cases"]) == 18
        negative, positive = found["codes"]
        assert (negative["class"], positive["class"]) == ("negative", "positive")
        assert negative["true area"] == 0 < positive["true area"] and "error of R_N in it" in positive
        rows = method.previews()["patterns"].rows
        assert list(rows) == ["image", "reference", "found", "reconstruction", "removed", "difference"]
        assert all(len(row) == 6 and one.shape == (16, 16, 3) for row in rows.values() for one in row)
        picture = (255 * np.random.default_rng(0).random((17, 20, 3))).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / "one.png")
        paths = list(method.predict([str(tmp_path / "one.png")], tmp_path / "out", ["labels", "removed"]))
        assert [path.name for path in paths] == ["one_labels.png", "one_removed.png"]
        mask, removed = (np.asarray(Image.open(path)) for path in paths)
        np.testing.assert_array_equal(mask > 0, method.mask(picture.astype(np.float32) / 255))
        shown = method.decoded(picture.astype(np.float32) / 255)[1]
        np.testing.assert_allclose(removed, np.rint(255 * shown), atol=1)


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_shapes_of_the_paper():
    config = Config()
    encoder, decoder = (build_network(config, name) for name in ("encoder", "decoder"))
    assert encoder(tf.zeros((1, 128, 128, 3))).shape == (1, 64, 64, 64)
    assert decoder(tf.zeros((1, 64, 64, 64))).shape == (1, 128, 128, 3)
    block = 9 * 128 * 32 + 32 + 32 * 128 + 128
    assert encoder.count_params() == 16 * 3 * 64 + 64 + 9 * 64 * 128 + 128 + 2 * block + 128 * 64 + 64
    assert decoder.count_params() == 9 * 64 * 128 + 128 + 2 * block + 16 * 128 * 3 + 3


def test_the_mask_is_where_both_lookups_differ():
    model = pure()
    images = batch()["image"]
    shared, full = (one.numpy() for one in model.network.numbers(images))
    assert shared.max() < 5 and (full >= 5).any() and (full < 5).any()
    _, _, _, e_n, e_p, _, _ = model.made(batch())
    differ = np.any(e_n.numpy() != e_p.numpy(), -1)
    np.testing.assert_array_equal(differ, full >= 5)
    mask = model(images).numpy().argmax(-1)
    np.testing.assert_array_equal(mask, differ.repeat(2, 1).repeat(2, 2))
    odd = model(images[:, :15, :13]).numpy()
    assert odd.shape == (4, 15, 13, 2)


# --- losses -----------------------------------------------------------------------------------------------------------


def gradient_of_disc(labels, **changes):
    """Of the features, `(n, 8, 8, 4)`, and the encoder's weights."""
    model, one = pure(**changes), batch(labels)
    with tf.GradientTape(persistent=True) as tape:
        features = model.encoder(one["image"])
        shared, full = (model.codebook.look_up(k) for k in model.codebook.nearest(features))
        loss = tf.reduce_sum(model.discriminative(features, shared, full, one["label"] > 0))
    weights = [
        tf.convert_to_tensor(g)
        for g in tape.gradient(
            loss, [tensor_variable(v) for v in model.encoder.trainable_variables], unconnected_gradients="zero"
        )
    ]
    return float(loss), tape.gradient(loss, features), weights


def test_the_paper_s_discriminative_loss_has_no_gradient():
    loss, _, weights = gradient_of_disc((0, 1, 1))
    assert loss != 0 and max(np.abs(g).max() for g in weights) < 1e-7


@pytest.mark.one_stack
def test_the_encoder_s_discriminative_loss_pulls_classes_apart():
    (low, down, weights), (high, up, _) = (gradient_of_disc((k,) * 3, disc_mode="encoder") for k in (0, 1))
    assert low > 0 > high and max(np.abs(g).max() for g in weights) > 1e-6
    np.testing.assert_allclose(down, -up.numpy(), rtol=1e-6)
    assert np.abs(down[..., 2:]).max() > 0 and not np.any(down[..., :2])  # the class's channels alone
    assert gradient_of_disc((0,), disc_mode="off")[0] == 0
    loss, pushed, _ = gradient_of_disc((1,) * 3, disc_mode="encoder", margin=100.0)
    assert loss > 0 and np.allclose(pushed, up)
    loss, rests, _ = gradient_of_disc((1,) * 3, disc_mode="encoder", margin=1e-9)
    assert loss == 0 and not np.any(rests)


@pytest.mark.one_stack
def test_losses_by_arithmetic():
    """Which of R_P and R_N, e_P and e_N an image takes, and the weights."""
    model = pure(map_negative=3.0, disc_window=4)
    one = batch((0, 1))
    features, _, _, e_n, e_p, r_n, r_p = [np.asarray(value, np.float64) for value in model.made(one)]
    image = one["image"].numpy()
    loss, logs = model.generator_loss(one, model.made(one))
    rec = [((image[0] - r_n[0]) ** 2).mean(), ((image[1] - r_p[1]) ** 2).mean()]
    commit = [((features[0] - e_n[0]) ** 2).mean(), ((features[1] - e_p[1]) ** 2).mean()]
    away = (e_n - e_p)[..., 2:].reshape(2, 2, 4, 2, 4, 2).mean((2, 4))
    disc = [(away[0] ** 2).mean(), -(away[1] ** 2).mean()]
    logits = [model.critic(tf.constant(one_, tf.float32)).numpy().astype(np.float64) for one_ in (r_p, r_n)]
    lost = [-np.log(np.exp(x) / np.exp(x).sum(-1, keepdims=True)) for x in logits]
    mapping = [3 * lost[0][0, 0] + lost[1][0, 0], lost[0][1, 1] + lost[1][1, 0]]
    want = dict(reconstruction=rec, commitment=commit, disc=disc, map=mapping)
    for name, pair in want.items():
        assert float(logs[name]) == pytest.approx(np.mean(pair), rel=1e-4, abs=1e-7), name
    total = np.mean(mapping) + 0.25 * np.mean(commit) + 100 * np.mean(rec) + 50 * np.mean(disc)
    assert float(loss) == pytest.approx(total, rel=1e-4)
    assert float(pure(map_weight=0.0).generator_loss(one, model.made(one))[1]["map"]) == 0


@pytest.mark.one_stack
def test_the_classifier_sees_a_real_and_a_made_image_for_each():
    model = made(8)
    one = batch((0, 1) * 4)
    *_, r_n, r_p = made_ = model.made(one)
    fakes, labels = model.fakes(one, made_)
    fake, removed, shown = (value.numpy() for value in (fakes, r_n, r_p))
    np.testing.assert_array_equal(fake[1::2], shown[1::2])
    of_removed, of_shown = ([np.array_equal(a, b) for a, b in zip(fake[::2], other[::2], strict=True)]
                            for other in (removed, shown))  # fmt: skip
    assert all(a or b for a, b in zip(of_removed, of_shown, strict=True)) and not all(of_removed) and not all(of_shown)
    images, classes = tf.concat([one["image"], fakes], 0), [0, 1] * 4 + [FAKE_NEGATIVE, FAKE_POSITIVE] * 4
    logits = model.critic(images, training=True).numpy().astype(np.float64)
    lost = np.log(np.exp(logits).sum(-1)) - logits[np.arange(16), classes]
    assert float(model.critic_loss(one, made_, keep=False)[0]) == pytest.approx(lost.mean(), rel=1e-4)
    assert labels is one["label"]


# --- steps ------------------------------------------------------------------------------------------------------------


def test_each_step_changes_what_it_should():
    """The generator's leaves the classifier, its running statistics too; its own step leaves all others."""
    model = made(critic_norm="batch")
    assert [model.phases_of(k)[0] for k in range(4)] == [WITH_CLASSIFIER, STEP, WITH_CLASSIFIER, STEP]
    critic, others = values(model.critic), values(model.encoder, model.decoder, model.codebook)
    model.train_step(batch(), STEP)
    assert same(critic, values(model.critic))
    changed = values(model.encoder, model.decoder, model.codebook)
    assert not any(np.array_equal(a, b) for a, b in zip(others, changed, strict=True) if a.any())
    made_ = model.made(batch())
    model.update("critic", lambda one: model.critic_loss(one, made_), batch())
    assert same(changed, values(model.encoder, model.decoder, model.codebook))
    assert not same(critic, values(model.critic))


@pytest.mark.one_stack
def test_made_images_are_kept_whatever_the_phase():
    model = made()
    for step, phase in enumerate((STEP, WITH_CLASSIFIER)):
        one = batch(step=step)
        fakes = model.fakes(one, model.made(one))[0].numpy()
        model.train_step(one, phase)
        stored = model.pool.images.numpy().reshape(2, 2, 4, 16, 16, 3)[step]  # (class, place)
        for place, label in enumerate((0, 1, 0, 1)):
            np.testing.assert_allclose(stored[label, place], fakes[place], atol=1e-6)
            assert not stored[1 - label, place].any()


@pytest.mark.one_stack
@pytest.mark.parametrize("rule, label, moves", [("paper", 0, False), ("paper", 1, True), ("repo", 0, True)])
def test_which_codes_an_image_moves(rule, label, moves):
    """Under the paper's rule images without the pattern leave the class's codes where they are."""
    model = made(ema_rule=rule)
    one = batch((label,) * 4)
    features, shared, full, *_ = made_ = model.made(one)
    before = model.codebook.codes.numpy()
    chose = np.bincount((full if moves else shared).numpy().ravel(), minlength=7)
    assert (full.numpy() >= 5).any()
    model.follow(one, made_)
    np.testing.assert_allclose(model.codebook.counts.numpy(), 0.98 + 0.02 * chose, rtol=1e-5)
    assert chose.sum() == 4 * 8 * 8
    sums = 0.98 * before
    for k in range(7):
        sums[k] += 0.02 * features.numpy()[(full if moves else shared).numpy() == k].sum(0)
    np.testing.assert_allclose(model.codebook.sums.numpy(), sums, atol=1e-4)


@pytest.mark.one_stack
def test_a_plain_autoencoder_knows_no_classes():
    model = pure(routing="none")
    one, other = batch((0, 1, 0, 1)), batch((1, 1, 1, 1))
    first, second = (model.generator_loss(b, model.made(b))[1] for b in (one, other))
    assert {k: float(v) for k, v in first.items()} == {k: float(v) for k, v in second.items()}
    assert float(first["map"]) == float(first["disc"]) == 0


# --- scores and images ------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_scores_of_masks_that_grow():
    rng = np.random.default_rng(0)
    mask, reference = rng.random((2, 40, 40)) < 0.1
    assert dilated(mask, 1)[mask].all() and dilated(np.eye(3, dtype=bool)[1:2], 1).all()
    assert scores(dilated(mask, 1), reference)["recall"] >= scores(mask, reference)["recall"]
    empty = np.zeros((40, 40), bool)
    assert [scores(empty, empty)[k] for k in ("Dice", "recall", "precision")] == [1, 1, 1]
    assert [scores(mask, empty)[k] for k in ("Dice", "recall", "precision")] == [0, 0, 0]


@pytest.mark.one_stack
def test_cutout_blackens_squares():
    image = cut_out(np.ones((20, 30, 3), np.float32), np.random.default_rng(0), 1)
    assert (image == 0).all(-1).sum() == 16 and (cut_out(np.ones((20, 30, 3)), None, 0) == 1).all()


@pytest.mark.one_stack
def test_settings_that_do_not_fit():
    for changes, said in (({"size": (15, 16)}, "even numbers"), ({"label_values": (0, 1, 2)}, "are not two"),
                          ({"image_classes": ("a", "a")}, "give two names"),
                          ({"baselines": ("colour",), "modalities": ("grey",)}, "three colours")):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            Config(**SMALL | changes)
    with pytest.raises(ConfigError, match="history: 2 images are fewer"):
        made(history=2)


def method(*overrides):
    return tfmed.registry.method_class("cacl")(tfmed.load_config(REPOSITORY / "configs/cacl.yaml", (*TINY, *overrides)))


@pytest.mark.one_stack
def test_baselines_look_where_their_classifier_does(monkeypatch):
    """The classifier is a stage of its own, behind the codebook; each baseline gives a map in [0, 1] of an image."""
    small = functools.partial(resnet18, blocks=(1, 1, 1, 1))
    monkeypatch.setattr(weak_baselines, "resnet18", small)
    one = method("model.baselines=[colour, cam, grad_cam, guided_grad_cam]", "model.classifier_width=2",
                 "model.classifier_steps=3", "model.baseline_part=validation")  # fmt: skip
    codebook, last = one.stages()
    assert (codebook.name, last.name, last.steps) == ("codebook", "classifier", 3)
    assert len(list(method().stages())) == 1  # colours need none
    one.models |= {"codebook": pure(), "classifier": last.model()}
    image = one.image(one.cases["test"][-1])
    maps = {name: one.baseline_map(name, image) for name in one.config.baselines}
    assert all(found.shape == (16, 16) and found.min() >= 0 and found.max() <= 1 for found in maps.values())
    np.testing.assert_allclose(maps["colour"], to_unit(color.rgb2hed(image)[None, ..., 2])[0], atol=1e-5)
    assert {name: type(best_threshold(one, name, None, None)) for name in maps} == dict.fromkeys(maps, float)


@pytest.mark.one_stack
def test_cases_that_do_not_fit_are_told():
    for override, said in (("model.size=[32, 32]", "has 16 x 16 pixels where model.size asks for 32 x 32"),
                           ("model.image_classes=[healthy, ill]", "the source has negative, positive"),
                           ("data.options={cases: 1, shape: [16, 16]}", "")):  # fmt: skip
        with pytest.raises(UserError, match=said):
            method(override).prepared("train")


@pytest.mark.one_stack
def test_an_image_without_the_pattern_needs_no_mask():
    one = method("data.options={cases: 24, shape: [16, 16], unlabelled: 24}")
    known = one.with_references("test")
    assert len(known) == 3 and not any(mask.any() for _, mask in known)
    assert [case.meta["class"] for case, _ in known] == ["negative"] * 3


@pytest.mark.one_stack
def test_a_plain_autoencoder_chooses_the_codes_of_the_pattern():
    """As many as a class has: those whose share is greatest in images with the pattern over that in images without."""
    one, model = method("model.routing=none"), made(routing="none")
    one.models["codebook"] = model
    one.choose_codes(model)
    used = np.zeros((2, 7))
    for case in one.prepared("train"):
        found = model.network.numbers(tf.constant(one.image(case)[None]))[1].numpy()
        used[int(case.meta["class"] == "positive")] += np.bincount(found.ravel(), minlength=7)
    negative, positive = used / used.sum(1, keepdims=True)
    want = np.argsort((positive + 1e-9) / (negative + 1e-4))[-2:]
    assert set(np.flatnonzero(model.network.pattern.numpy())) == set(want)
