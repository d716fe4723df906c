"""GenSeg among the segmenters of label noise: what each of its losses sees, and how slices are told apart."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmed
from tests.methods.test_label_noise import TINY
from tests.support.harness import REPOSITORY, MethodHarness
from tfmed import compat, registry
from tfmed.data.streams import Mixture
from tfmed.errors import ConfigError, DataError
from tfmed.losses import adversarial
from tfmed.methods.label_noise import Config
from tfmed.methods.label_noise.genseg import GenSegModel

pytestmark = pytest.mark.current

GENSEG = "configs/label_noise/genseg.yaml"
OWN = (*TINY, "model.segmenter={name: genseg, critic_widths: [2, 2]}", "train.batch_size=8")
SMALL = Config(
    modalities=("a", "b"), patch=(16, 16), network={"name": "compressed_unet", "widths": (2, 4)},
    segmenter={"name": "genseg", "critic_widths": (2, 3), "unique": 0.5}, label_values=(0, 1),
)  # fmt: skip


@pytest.mark.one_stack
def test_it_trains_like_the_others():
    class Harness(MethodHarness):
        config, tiny = GENSEG, OWN

    harness = Harness()
    harness.test_builds()
    harness.test_one_update_lowers_its_loss()
    harness.test_two_replicas_equal_one()


@pytest.mark.one_stack
def test_its_masks_and_its_picture_of_translations():
    """Of an untrained model: the mask of a scan is that of the network, and pictures are what `translated` makes."""
    made = method()
    stage = next(iter(made.stages()))
    made.models["segmenter"] = network = stage.model()
    case = made.cases["test"][0]
    image = np.asarray(made.open(case).image)
    found = made.probabilities(image)
    logits = np.stack([network(image[z : z + 1].astype("float32"))[0] for z in range(len(image))])
    np.testing.assert_allclose(found, tf.nn.softmax(logits), atol=1e-4)
    shown = made.translations()
    assert list(shown.rows) == ["diseased", "healthy", "difference"] and shown.figure() is not None
    healthy = network.translated(tf.constant(made.samples().read(0)["image"][None]))[0]
    np.testing.assert_allclose(shown.rows["healthy"][0], healthy[0, ..., 0], atol=1e-5)


def model(seed=0):
    keras.utils.set_random_seed(seed)
    return GenSegModel(SMALL, 1e-3, streams=Mixture((1, 1, 2)), seed=seed, per_step=4)


def batch(seed=0):
    rng = np.random.default_rng(seed)
    label = np.zeros((4, 16, 16), np.uint8)
    label[0, 4:9, 5:12] = 1
    return {"image": tf.constant(rng.uniform(-1, 1, (4, 16, 16, 2)), tf.float32), "label": tf.constant(label),
            "index": tf.range(4, dtype=tf.int64)}  # fmt: skip


def values(networks):
    return [v.numpy() for network in networks for v in compat.weights(network)]


def test_the_terms_are_the_card_s():
    one, data = model(), batch()
    made = one.made(data)
    image = data["image"].numpy()  # the pattern of a batch: annotated, diseased, healthy, healthy
    np.testing.assert_array_equal(made["A"], image[:2])
    np.testing.assert_array_equal(made["B"], image[2:])
    loss, terms = one.network_loss(data, made)
    mean = lambda x, y: np.abs(np.asarray(x) - np.asarray(y)).mean()  # noqa: E731
    assert float(terms["image"]) == pytest.approx(mean(made["AA"], image[:2]) + mean(made["BB"], image[2:]), rel=1e-5)
    assert float(terms["cycle"]) == pytest.approx(mean(made["BAB"], image[2:]), rel=1e-5)
    again = {name: one.encoder(made[name], training=True)[-1] for name in ("AB", "BA")}
    codes = one.encoder(data["image"], training=True)[-1]
    drawn = one.noise(data, codes.shape[1:-1] + (2,), 0)[2:]
    expected = (mean(again["AB"][..., :2], codes[:2, ..., :2]) + mean(again["BA"][..., :2], codes[2:, ..., :2])
                + mean(again["BA"][..., 2:], drawn))  # fmt: skip
    assert float(terms["code"]) == pytest.approx(expected, rel=1e-4)
    scores = [score.numpy() for score in one.diseased_critic(made["BA"])]
    scores = [scores, [score.numpy() for score in one.healthy_critic(made["AB"])]]
    assert float(terms["adversarial"]) == pytest.approx(
        -sum(np.mean([s.mean() for s in each]) for each in scores), rel=1e-4
    )
    weights = {"adversarial": 3, "image": 50, "cycle": 50, "code": 1, "mask": 0.01}
    assert float(loss) == pytest.approx(sum(weights[name] * float(terms[name]) for name in weights), rel=1e-5)


def test_critics_tell_real_slices_from_made_ones():
    """Hinge losses of each kind, the mean over three scales; what is judged learns nothing."""
    one, data = model(), batch()
    made = one.made(data)
    expected = 0.0
    for critic, real, fake in ((one.diseased_critic, "A", "BA"), (one.healthy_critic, "B", "AB")):
        for high, low in zip(critic(made[real]), critic(made[fake]), strict=True):
            expected += (np.maximum(0, 1 - high.numpy()).mean() + np.maximum(0, 1 + low.numpy()).mean()) / 3
    with tf.GradientTape() as tape:
        loss, logs = one.critic_loss(data, one.made(data))
    assert float(loss) == float(logs["critic"])
    pull = tape.gradient(loss, compat.tensor_variable(one.encoder.trainable_variables[0]))
    assert pull is None or not np.abs(pull).any()
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_what_a_tumour_adds_is_the_residual_of_its_own_code():
    one, data = model(), batch()
    made = one.made(data)
    healthy, residual = one.translated(data["image"][:2])
    np.testing.assert_allclose(made["AB"], healthy, atol=1e-5)
    np.testing.assert_allclose(made["AA"] - made["AB"], residual, atol=1e-5)
    np.testing.assert_allclose(one(data["image"][:2]), made["logits"], atol=1e-5)


def test_the_mask_s_loss_sees_annotated_slices_alone():
    """Of four slices the first has a mask; gradients of the mask's loss reach no other slice's image."""
    one, data = model(), batch()
    with tf.GradientTape() as tape:
        tape.watch(data["image"])
        term = one.network_loss(data, one.made(data))[1]["mask"]
    slope = np.abs(tape.gradient(term, data["image"]).numpy()).sum((1, 2, 3))
    assert slope[0] > 0 and (slope[1:] == 0).all()


def test_each_update_changes_its_own_networks_alone():
    one, data = model(), batch()
    critics, makers = [one.diseased_critic, one.healthy_critic], [one.encoder, one.healthy_decoder, one.tumour_decoder]
    before = values(critics), values(makers)
    one.update("critic", one.objectives["critic"], data)
    assert all((a == b).all() for a, b in zip(before[1], values(makers), strict=True))
    between = values(critics)
    assert any((a != b).any() for a, b in zip(before[0], between, strict=True))
    one.update("network", one.objectives["network"], data)
    assert all((a == b).all() for a, b in zip(between, values(critics), strict=True))
    assert any((a != b).any() for a, b in zip(before[1], values(makers), strict=True))


def test_tumours_are_drawn_by_seed_and_step_and_never_at_inference():
    one, data = model(), batch()
    first, again = one.made(data), one.made(data)
    np.testing.assert_array_equal(first["BA"], again["BA"])
    other = one.made(data | {"index": data["index"] + 4})
    assert np.abs(first["BA"] - other["BA"]).max() > 1e-5
    np.testing.assert_array_equal(first["logits"], other["logits"])


def test_hinge_losses():
    real, fake = tf.constant([[2.0], [0.5]]), tf.constant([[-3.0], [0.25]])
    np.testing.assert_allclose(adversarial.hinge_critic(real, fake), [0.0, 0.5 + 1.25])
    assert adversarial.LOSSES["hinge"][1](fake).numpy().tolist() == [3.0, -0.25]


# --- slices -----------------------------------------------------------------------------------------------------------


def method(*overrides):
    made = registry.method_class("label_noise")(tfmed.load_config(REPOSITORY / GENSEG, (*OWN, *overrides)))
    made.training_cases  # noqa: B018 - finds the annotated slices
    return made


@pytest.mark.one_stack
@pytest.mark.parametrize("share", [1.0, 0.4])
def test_slices_are_annotated_diseased_and_healthy(share):
    """By the phantom's own masks: the first of four shows a tumour and has its mask, the second shows one, and the last
    two none; with masks of few patients the second stream is of all."""
    still = ("model.flip=false", "model.rotate_degrees=0", "model.zoom=0", "model.warp_pixels=0", "model.intensity=0",
             "model.corruption=clean", f"data.labelled_share={share}")  # fmt: skip
    one = method(*still)
    known = {np.asarray(one.open(case).image[z]).astype("float32").tobytes(): (case.id, int(mask.sum()))
             for case in one.training_cases[1] for z, mask in enumerate(one.open(case).label)}  # fmt: skip
    samples, seen = one.samples(), [set(), set(), set()]
    for index in range(240):
        sample = samples.read(index)
        name, pixels = known[sample["image"].tobytes()]
        stream = one.streams.place(index)[0]
        seen[stream].add(name)
        assert (pixels == 0) == (stream == 2) and (
            sample["label"].sum() == pixels if stream == 0 else not sample["label"].any()
        )
    labelled = {case.id for case in one.training_cases[0]}
    assert seen[0] == labelled and seen[1] >= labelled and (len(seen[1]) > len(labelled)) == (share < 1)


@pytest.mark.one_stack
def test_bad_settings_and_data():
    with pytest.raises(ConfigError, match="genseg is made of the parts of network compressed_unet"):
        tfmed.load_config(REPOSITORY / GENSEG, (*OWN, "model.network={name: unet, widths: [4, 8]}"))
    with pytest.raises(ConfigError, match="must be a multiple of 4"):
        tfmed.load_config(REPOSITORY / GENSEG, (*OWN, "train.batch_size=6"))
    with pytest.raises(DataError, match="no training slice is healthy, and GenSeg needs both kinds"):
        method("model.segmenter.least_tissue=0.99").samples()
