"""Label noise: the harness, and every item of its card's "What must hold" that is not of a mask alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness
from tests.support.refusals import refused_fit
from tfmed import compat, registry
from tfmed.augment import corrupt
from tfmed.data.streams import Streams
from tfmed.losses import segmentation as losses
from tfmed.methods.label_noise import Config
from tfmed.methods.label_noise.method import MODELS
from tfmed.methods.label_noise.settings import Shift
from tfmed.metrics.segmentation import dice

pytestmark = pytest.mark.current

CONFIG = "configs/label_noise.yaml"
TINY = (
    "data.source=phantom_brain_tumour",
    "data.options={cases: 7, shape: [10, 32, 32]}",
    "data.split={validation: 0.15, test: 0.3, seed: 0}",
    "data.preprocess=[{step: zscore, nonzero: true}, {step: window, window_hu: [-5, 5], range: [-1, 1]}]",
    "train.batch_size=4",
    "train.early_stopping=null",
    "train.validate_every=2",
    "model.patch=[32, 32]",
    "model.network={name: compressed_unet, widths: [4, 8]}",
    "model.corruption={name: warp, sigma: 4}",
)
STILL = ("model.flip=false", "model.rotate_degrees=0", "model.zoom=0", "model.warp_pixels=0", "model.intensity=0")


class TestHarness(MethodHarness):
    config = CONFIG
    tiny = TINY
    bad = ("model.corruption={name: crop, kind: rand_0, slope: 5}", "at most 2")

    def parity(self, run):
        """Odd shapes: smaller than a window, and larger."""
        method = run.restored()
        images, expected = [], []
        for shape in ((3, 20, 27), (9, 45, 38)):
            image = np.random.default_rng(sum(shape)).uniform(0, 400, (*shape, 4)).astype("float32")
            prepared = tf.constant(image)
            steps = [step.graph for step in method.preprocessing()]
            channels = [steps[1](steps[0](prepared[..., c])) for c in range(4)]
            images.append({"image": image})
            expected.append(method.labels(np.stack(channels, -1)))
        return expected, images

    def assert_parity(self, found, expected):
        assert (found != expected).mean() < 1e-4

    def test_previews_show_corrupted_masks_beside_clean_ones(self, run):
        """Warped afresh each time; the caption says what was done."""
        shown = run.restored().previews()["labels"]
        assert len(shown.rows) == 3 and len({row.title.split(" of ")[1] for row in shown.rows}) == 3
        for row in shown.rows:
            assert row.clean.any() and len({mask.tobytes() for mask in (row.clean, *row.changed)}) == 4
        assert "warp (" in shown.caption and "sigma 4" in shown.caption
        assert (run.path / "previews" / "labels.png").exists()
        figure = shown.figure()
        assert len(figure.axes) == 12 and "epoch 3" in figure.axes[3].get_title()
        assert [len(axis.collections) for axis in figure.axes[:4]] == [1, 2, 2, 2]  # red lies over the clean contour

    def test_evaluation_has_the_dice_of_all_slices_together(self, run):
        """Hard and soft, over all test slices stacked, relative to the first run's."""
        method = run.restored()
        other = tfmed.load_run(run.path).restored()
        other.network.set_weights([w * 0.5 for w in other.network.get_weights()])
        rows = method.evaluate({"clean": method, "other": other})["evaluation"]
        for row, one in zip(rows, (method, other), strict=True):
            found, right = [], []
            for case in one.cases["test"]:
                prepared = one.open(case)
                found.append(one.probabilities(prepared.image)[..., 1])
                right.append(np.asarray(prepared.label) == 1)
            found, right = np.concatenate(found), np.concatenate(right)
            assert row["Dice, all slices"] == pytest.approx(dice(found > 0.5, right), abs=1e-3)
            soft = (2 * (found * right).sum() + 1) / (found.sum() + right.sum() + 1)
            assert row["soft Dice, all slices"] == pytest.approx(soft, abs=1e-3)
        if rows[0]["Dice, all slices"]:
            assert rows[1]["relative Dice"] == rows[1]["Dice, all slices"] / rows[0]["Dice, all slices"]
        again = method.evaluate({"clean": method})["evaluation"][0]
        assert again["Dice, all slices"] == rows[0]["Dice, all slices"]  # counted once


@pytest.mark.one_stack
@pytest.mark.parametrize("segmenter", ["autoencoder", "teacher"])
def test_the_other_segmenters_train(segmenter):
    class Harness(MethodHarness):
        config = f"configs/label_noise/{segmenter}.yaml"
        tiny = (*TINY, "model.network={name: compressed_unet, widths: [4, 8], dropout: 0}")

    harness = Harness()
    harness.test_builds()
    harness.test_one_update_lowers_its_loss()
    if segmenter == "teacher":
        harness.test_two_replicas_equal_one()


# --- data -------------------------------------------------------------------------------------------------------------


def settings(*overrides):
    return tfmed.load_config(REPOSITORY / CONFIG, (*TINY, *overrides))


def method(*overrides):
    made = registry.method_class("label_noise")(settings(*overrides))
    made.training_cases  # noqa: B018 - finds the annotated slices
    return made


def labels_of(made, epochs=2):
    """[sorted masks of an epoch, as bytes], of samples that are not augmented."""
    samples, count = made.samples(), len(made.used)
    return [
        sorted(samples.read(index)["label"].tobytes() for index in range(epoch * count, (epoch + 1) * count))
        for epoch in range(epochs)
    ]


def clean_masks(made, numbers=None):
    numbers = range(len(made.annotated)) if numbers is None else numbers
    return [np.asarray(made.open(made.annotated[k][0]).label[made.annotated[k][1]]) for k in numbers]


def test_annotated_slices_are_those_that_show_enough():
    made = method()
    for case in made.training_cases[0]:
        prepared = made.open(case)
        for z, mask in enumerate(prepared.label):
            enough = mask.sum() > 0.01 * np.any(prepared.image[z] != 0, -1).sum()
            assert enough == any(found.id == case.id and there == z for found, there in made.annotated)
    assert all(label.any() for label in clean_masks(made))
    assert labels_of(method(*STILL, "model.corruption=clean"))[0] == sorted(m.tobytes() for m in clean_masks(made))


def test_a_mask_lies_on_its_own_image():
    made = method(*STILL, "model.corruption=clean")
    images = {np.float32(made.open(case).image[z]).tobytes(): made.open(case).label[z] for case, z in made.annotated}
    for index in range(2 * len(made.used)):
        sample = made.samples().read(index)
        np.testing.assert_array_equal(sample["label"], images[sample["image"].tobytes()])


def test_images_never_change_and_validation_never_sees_a_corruption():
    strong, clean = (method(f"model.corruption={word}") for word in ("{name: shift, pixels: 6}", "clean"))
    ours, theirs = (one.samples().batch(3) for one in (strong, clean))
    np.testing.assert_array_equal(ours["image"], theirs["image"])
    assert (ours["label"] != theirs["label"]).any()
    model = next(iter(strong.stages())).model()
    strong.models = clean.models = {"segmenter": model}
    assert strong.validation(model) == clean.validation(model)


def test_masks_are_drawn_each_epoch_or_once():
    crop = "{{name: crop, kind: rand_0, resample: {}}}"
    first, second = labels_of(method(*STILL, f"model.corruption={crop.format('per_load')}"))
    assert len(set(first) & set(second)) < len(first) / 3
    first, second = labels_of(method(*STILL, f"model.corruption={crop.format('frozen')}"))
    assert first == second
    clean = sorted(mask.tobytes() for mask in clean_masks(method()))
    assert first != clean and first == labels_of(method(*STILL, f"model.corruption={crop.format('frozen')}"))[0]
    other = method(*STILL, f"model.corruption={crop.format('frozen')}", "seed=5")
    assert first != labels_of(other, 1)[0]


def left_is_gone(made):
    """For each of some samples: whether it is the left side of the tumour that is missing."""
    corrupted, whole = made.samples(), method(*STILL, "model.flip=true", "model.corruption=clean").samples()
    sides = []
    for index in range(40):
        ours, theirs = corrupted.read(index)["label"], whole.read(index)["label"]
        gone = np.flatnonzero((theirs & ~ours).any(0))
        sides.append(gone.mean() < np.flatnonzero(theirs.any(0)).mean())
    return sides


@pytest.mark.one_stack
def test_errors_before_augmentation_are_mirrored_with_it():
    before = left_is_gone(method(*STILL, "model.flip=true", "model.corruption={name: crop}"))
    assert 0.2 < np.mean(before) < 0.8
    assert all(left_is_gone(method(*STILL, "model.flip=true", "model.corruption={name: crop, when: after}")))


@pytest.mark.parametrize("pairing", ["derangement", "reversed"])
def test_permuted_slices_have_one_anothers_masks_in_the_whole_run(pairing):
    corruption = f"model.corruption={{name: permute, fraction: 0.5, pairing: {pairing}}}"
    made = method(*STILL, corruption)
    count, masks = len(made.annotated), clean_masks(made)
    moved = [k for k in range(count) if made.sources[k] != k]
    assert len(moved) == round(count / 2) - (round(count / 2) % 2 if pairing == "reversed" else 0)
    assert sorted(made.sources) == list(range(count)) and set(moved) <= set(made.picked)
    for k in range(count):
        for load in (0, 7):
            np.testing.assert_array_equal(made.changed(k, load), masks[made.sources[k]])
    first, second = labels_of(made)
    assert first == second == sorted(mask.tobytes() for mask in masks)  # none is lost
    plain = method(*STILL, "model.corruption=clean").samples()
    differ = sum((made.samples().read(k)["label"] != plain.read(k)["label"]).any() for k in range(count))
    assert differ == len(moved)


def test_dropping_takes_the_slices_that_permuting_would():
    permuted, dropped = (method(*STILL, f"model.corruption={{name: {name}, fraction: 0.4}}")
                         for name in ("permute", "drop"))  # fmt: skip
    np.testing.assert_array_equal(permuted.picked, dropped.picked)
    assert len(dropped.used) == len(dropped.annotated) - round(0.4 * len(dropped.annotated))
    kept = sorted(mask.tobytes() for mask in clean_masks(dropped, dropped.used))
    assert labels_of(dropped) == [kept, kept]


def test_masks_of_slices_of_other_sizes_are_stretched():
    from tfmed.methods.label_noise.method import _resized

    mask = np.zeros((10, 20), "uint8")
    mask[2:5, 4:10] = 1
    found = _resized(mask, (20, 30))
    assert found.shape == (20, 30) and found[4:10, 6:15].all() and found.sum() == 6 * 9


def test_other_slices_are_of_all_patients_healthy_ones_too_and_without_labels():
    made = method("model.segmenter=mean_teacher", "data.labelled_share=0.25")
    labelled, cases = made.training_cases
    assert len(labelled) == 1 < len(cases)
    batches = [made.samples().batch(step) for step in range(12)]
    assert not np.concatenate([batch["label"][1::2] for batch in batches]).any()
    assert all(batch["label"][::2].any((1, 2)).all() for batch in batches)


def test_random_crops_are_calibrated_on_the_training_masks():
    made = method("model.corruption={name: crop, kind: rand_0, slope: calibrate}")
    found = [
        1 - made.changed(k, load).sum() / mask.sum() for k, mask in enumerate(clean_masks(made)) for load in range(40)
    ]
    assert np.mean(found) == pytest.approx(0.5, abs=0.04)
    assert method("model.corruption={name: crop, kind: rand_0.5}").slope == corrupt.SLOPES[0.5]
    assert method("model.corruption={name: crop}").slope is None


@pytest.mark.parametrize("amount, moved", [("constant", {3}), ("either_way", {-3, 3}), ("uniform", set(range(-3, 4)))])
def test_how_far_masks_are_shifted(amount, moved):
    mask = np.zeros((9, 21), "uint8")
    mask[4, 10] = 1
    shift = Shift(pixels=3, amount=amount)
    found = [shift.once(mask, corrupt.generator(0, "shift", load)) for load in range(60)]
    assert {int(np.flatnonzero(one[4])[0]) - 10 for one in found} == moved
    assert Shift(pixels=-2, axis="row").once(mask, corrupt.generator(0, ""))[2, 10] == 1


# --- losses and models ------------------------------------------------------------------------------------------------


def model(segmenter="supervised", unlabelled=2, **changes):
    keras.utils.set_random_seed(3)
    network = {"name": "compressed_unet", "widths": (4, 8), "normalise": False}
    config = Config(**{"modalities": ("a", "b"), "patch": (16, 16), "network": network,
                       "segmenter": {"name": segmenter}} | changes)  # fmt: skip
    return MODELS[segmenter](config, 1e-2, streams=Streams(2, unlabelled), seed=1, per_step=2 + unlabelled)


def batch(unlabelled=2):
    rng, count = np.random.default_rng(0), 2 + unlabelled
    label = rng.integers(0, 2, (count, 16, 16)).astype("uint8")
    label[1::2] = 0 if unlabelled else label[1::2]
    image = rng.uniform(-1, 1, (count, 16, 16, 2)).astype("float32")
    return {"index": tf.range(count, dtype=tf.int64), "image": tf.constant(image), "label": tf.constant(label)}


def test_dice_is_of_the_whole_batch():
    data, one = batch(0), model(unlabelled=0)
    p = tf.nn.softmax(one(data["image"]))[..., 1].numpy()
    y = data["label"].numpy()
    loss, logs = one.network_loss(data)
    expected = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
    np.testing.assert_allclose([loss, logs["supervised"]], expected, rtol=1e-5)


@pytest.mark.one_stack
def test_losses_are_switches():
    data, found = batch(0), {}
    logits = model(unlabelled=0)(data["image"])
    for kind in ("dice", "cross_entropy", "absolute_error", "noise_robust_dice"):
        found[kind] = float(model(unlabelled=0, loss=kind).network_loss(data)[0])
    p, y = tf.nn.softmax(logits)[..., 1].numpy(), data["label"].numpy()
    assert found["cross_entropy"] == pytest.approx(float(tf.reduce_mean(losses.cross_entropy(logits, y))))
    assert found["absolute_error"] == pytest.approx(np.abs(p - y).mean(), rel=1e-5)
    robust = (np.abs(p - y) ** 1.5).sum() / ((p**2).sum() + y.sum())
    assert found["noise_robust_dice"] == pytest.approx(robust, rel=1e-4)


def test_an_autoencoder_adds_the_mean_absolute_error_of_all_images():
    one, data = model("autoencoder"), batch()
    loss, logs = one.network_loss(data)
    restored = one.restorer(one.network.get_layer("encoder")(data["image"]))
    np.testing.assert_allclose(logs["reconstruction"], np.abs(restored - data["image"]).mean(), rtol=1e-5)
    np.testing.assert_allclose(loss, logs["supervised"] + logs["reconstruction"], rtol=1e-6)


def test_a_teacher_follows_by_a_hundredth_and_gets_no_gradient():
    one, data = model("mean_teacher"), batch()
    before = [w.copy() for w in one.teacher.get_weights()]
    for ours, theirs in zip(before, one.network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    one.network.set_weights([w + 0.1 for w in before])
    teacher = [compat.tensor_variable(v) for v in one.teacher.weights]
    with tf.GradientTape() as tape:
        tape.watch(teacher)
        loss, logs = one.network_loss(data)
    assert all(gradient is None for gradient in tape.gradient(loss, teacher))
    assert float(logs["consistency"]) > 0
    np.testing.assert_allclose(loss, logs["supervised"] + 0.01 * logs["consistency"], rtol=1e-6)
    strategy = tf.distribute.get_strategy()
    strategy.run(one.train_step, (data,))
    for now, was, student in zip(one.teacher.get_weights(), before, one.network.get_weights(), strict=True):
        np.testing.assert_allclose(now, 0.99 * was + 0.01 * student, atol=1e-6)


def test_a_teacher_is_asked_about_slices_without_labels_alone():
    one, data = model("mean_teacher"), batch()
    one.network.set_weights([w + 0.1 for w in one.network.get_weights()])
    difference = tf.nn.softmax(one.network(data["image"])) - tf.nn.softmax(one.teacher(data["image"]))
    each = tf.reduce_mean(tf.square(difference), (1, 2, 3)).numpy()
    _, logs = one.network_loss(data)
    np.testing.assert_allclose(logs["consistency"], each[1::2].mean(), rtol=1e-5)


def test_weights_decay_apart_from_their_gradient():
    """By learning rate times decay, whatever Adam does."""
    plain, decayed = model(unlabelled=0, weight_decay=0.0), model(unlabelled=0, weight_decay=0.5)
    decayed.network.set_weights(plain.network.get_weights())
    start, data = plain.network.get_weights(), batch(0)
    for one in (plain, decayed):
        one.train_step(data)
    for was, ours, theirs in zip(start, plain.network.get_weights(), decayed.network.get_weights(), strict=True):
        np.testing.assert_allclose(theirs, ours - 1e-2 * 0.5 * was, atol=1e-5)
    assert plain.network_optimizer.amsgrad and plain.network_optimizer.beta_1 == 0.5


# --- bad input --------------------------------------------------------------------------------------------------------

REFUSED = {
    "all masks empty": (("model.corruption={name: shift, pixels: 400}",), "shift", "empties the mask of every one"),
    "everything cropped": (("model.corruption={name: crop, fraction: 1}",), "fraction 1", "make it weaker"),
    "everything dropped": (("model.corruption={name: drop, fraction: 0.999}",), "drops all", "lower it"),
    "nothing to change with": (
        ("model.corruption={name: permute, fraction: 0.08}",), "model.corruption.fraction", "choose more",
    ),
    "no slice shows enough": (("model.least_foreground=0.9",), "90 %", "lower model.least_foreground"),
    "odd batch": (("model.segmenter=autoencoder", "train.batch_size=3"), "train.batch_size 3", "multiple of 2"),
    "several structures": (("model.labels={a: 1, b: [2, 4]}",), "one structure", "join them by model.labels"),
    "volumes": (("model.patch=[8, 32, 32]",), "model.patch", "at most 2"),
    "too small a patch": (("model.patch=[3, 3]",), "too short", "compressed_unet"),
    "unknown error": (("model.corruption=wrap",), "wrap", "did you mean 'warp'"),
    "slope of a left crop": (("model.corruption={name: crop, slope: 1.0}",), "slope", "leave it out for left"),
}  # fmt: skip


@pytest.mark.one_stack
@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_one_line(name, tmp_path, capsys):
    assert refused_fit(capsys, tmp_path, REPOSITORY / CONFIG, TINY, *REFUSED[name])


@pytest.mark.one_stack
def test_the_variants_of_the_paper_are_settings():
    """Section 8 of the card: segmenters x errors x shares of labels, and the extras."""
    folder = REPOSITORY / "configs" / "label_noise"
    found = {path.stem: tfmed.load_config(path) for path in folder.glob("*.yaml")}
    assert {one.model.corruption.name for one in found.values()} == {
        "clean", "warp", "shift", "crop", "flip", "permute", "drop"}  # fmt: skip
    assert {one.model.segmenter.name for one in found.values()} == set(MODELS)
    assert {one.model.loss for one in found.values()} == {
        "dice", "cross_entropy", "absolute_error", "noise_robust_dice"}  # fmt: skip
    assert found["teacher_labels_1"].data.labelled_share == 0.01
    assert found["teacher"].train.batch_size == 2 * tfmed.load_config(REPOSITORY / CONFIG).train.batch_size
