"""EquiReg: the harness, and every item of its card's "What must hold"."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness
from tests.support.view_pages import views_of
from tfmed.augment.paired import Policy, sample_grid
from tfmed.compat import tensor_variable
from tfmed.data.case import Case
from tfmed.data.splits import few_labels, split
from tfmed.data.streams import Streams
from tfmed.methods.equireg import Config, EquiReg, augmented_logits, build_network, moved_both_ways, transforms
from tfmed.ops.warp import identity_grid, warp
from tfmed.tasks.appearance import Appearance
from tfmed.tasks.backbones import FCDenseNet, UNet

pytestmark = pytest.mark.current

BLOCKS = "encoder_layers: [1, 1], bottom_layers: 1, decoder_layers: [1, 1]"
SHALLOW = f"{{name: fc_densenet, growth: 4, first: 8, {BLOCKS}, dropout: 0}}"
TINY = (
    "data.source=phantom_brain_tumour",
    "data.options={cases: 7, shape: [8, 32, 32]}",
    "data.split={validation: 0.15, test: 0.15}",
    "data.labelled_share=0.5",
    "data.preprocess=[{step: zscore, nonzero: true}]",
    "train.batch_size=4",
    "train.early_stopping=null",
    "train.validate_every=2",
    "model.labelled_batch=2",
    "model.patch=[32, 32]",
    f"model.network={SHALLOW}",
)


class TestHarness(MethodHarness):
    config = "configs/equireg.yaml"
    tiny = TINY
    bad = ("model.patch=[30, 32]", "multiple of 4")

    @pytest.mark.one_stack
    def test_view(self, run):
        """Reference, prediction and errors of a test case stand side by side; the report links to the page."""
        assert tfmed.view(run, count=1) == run.path / "view.html"
        (shown,) = views_of(run.path / "view.html")
        assert [panel["title"] for panel in shown["panels"]] == ["reference", "prediction", "errors"]
        names = [layer["name"] for layer in shown["panels"][1]["layers"]]
        assert names[:5] == ["t2", "t1ce", "t1", "flair", "prediction"] and names[-1] == "entropy (bits)"
        data = [[layer["data"] for layer in panel["layers"][:4]] for panel in shown["panels"]]
        assert data[0] == data[1] == data[2]  # images are there once
        assert '<a href="view.html">' in (run.path / "report.html").read_text(encoding="utf-8")
        assert shown["note"].startswith("Dice ")

    @pytest.mark.one_stack
    def test_evaluation_has_equivariance_dice_for_every_region(self, run):
        method = run.restored()
        tables = method.evaluate({"run": method})
        assert [row["region"] for row in tables["evaluation"]] == ["whole", "core", "enhancing", "mean of regions"]
        collective = np.mean([row["Dice mean"] for row in tables["evaluation"][:3]])
        np.testing.assert_allclose(tables["evaluation"][3]["Dice mean"], collective, rtol=1e-6)
        assert all(0 <= row["equivariance Dice mean"] <= 1 for row in tables["evaluation"])
        assert {row["case"] for row in tables["cases"]} == {case.id for case in method.cases["test"]}

    def parity(self, run):
        """Odd shapes: smaller than a window, larger, and neither a multiple of anything."""
        method = run.restored()
        images, expected = [], []
        for shape in ((3, 20, 27), (9, 32, 32), (11, 45, 38)):
            image = np.random.default_rng(sum(shape)).uniform(0, 400, (*shape, 4)).astype("float32")
            image[:, :5] = 0
            prepared = np.stack([method.preprocessing()[-1].graph(tf.constant(image[..., c])) for c in range(4)], -1)
            images.append({"image": image})
            expected.append(np.array(method.config.label_values)[method.labels(prepared)])
        return expected, images

    def assert_parity(self, found, expected):
        assert (found != expected).mean() < 1e-4  # equally probable classes may be told apart by the last digit


@pytest.mark.one_stack  # GBDL's harness has volumes on both
class TestVolumesHarness(TestHarness):
    """The extension to 3-D: patches of three numbers."""

    tiny = (*TINY, "model.patch=[8, 16, 16]", "model.network={name: unet, widths: [4, 8], norm: instance}")
    bad = ("model.network={name: fc_densenet}", "2-D")
    # of what these ask, nothing depends on the number of axes
    test_two_replicas_equal_one = test_same_seed_same_numbers = test_mixed_precision = test_exact_resume = None
    test_save_and_load = test_view = test_evaluation_has_equivariance_dice_for_every_region = None


@pytest.mark.one_stack
def test_the_baseline_takes_no_unlabelled_samples():
    config = REPOSITORY / "configs" / "equireg" / "supervised.yaml"
    settings = tfmed.load_config(config, (*TINY, "model.labelled_batch=4", "train.steps=2"))
    (stage,) = tfmed.registry.method_class("equireg")(settings).stages()
    batch = {name: tf.constant(value) for name, value in stage.train().batch(0).items()}
    assert set(batch) == {"index", "image", "label"}
    logs = stage.model().train_step(batch)
    assert "equivariance" not in logs and float(logs["loss"]) == float(logs["supervised"]) > 0


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
@pytest.mark.parametrize("layers, total", [("stated", 9_319_956), ("code", 11_119_684)])
@pytest.mark.usefixtures("unfilled_weights")
def test_parameters_of_the_papers_network(layers, total):
    network = build_network(Config(network=FCDenseNet(decoder_layers=layers)))
    assert sum(int(np.prod(w.shape)) for w in network.trainable_weights) == total
    assert network.output_shape[-1] == 4


def test_sides_must_be_multiples_of_32():
    with pytest.raises(ValueError, match="multiple of 32"):
        Config(patch=(224, 200))


# --- the consistency term ---------------------------------------------------------------------------------------------

SIDE = 16


def pointwise(channels=2, classes=3):
    """A network that sees one pixel at a time."""
    inputs = keras.Input((None, None, channels))
    hidden = keras.layers.Conv2D(5, 1, activation="relu", kernel_initializer=keras.initializers.GlorotNormal(1))(inputs)
    outputs = keras.layers.Conv2D(classes, 1, kernel_initializer=keras.initializers.GlorotNormal(2))(hidden)
    return keras.Model(inputs, outputs)


def model(network=None, labelled=1, unlabelled=2, **changes):
    defaults = dict(modalities=("a", "b"), label_values=(0, 1, 2), regions={}, patch=(SIDE, SIDE), network=UNet())
    return EquiReg(Config(**defaults | changes), streams=Streams(labelled, unlabelled), network=network or pointwise())


def batch(policy="strong", labelled=1, unlabelled=2, seed=0):
    n = labelled + unlabelled
    rng = np.random.default_rng(seed)
    return {
        "index": tf.range(n, dtype=tf.int64),
        "image": tf.constant(rng.uniform(0.5, 1, (n, SIDE, SIDE, 2)).astype("float32")),
        "label": tf.constant(rng.integers(0, 3, (n, SIDE, SIDE)).astype("int32")),
        "grid": tf.stack([sample_grid(seed * 50 + i, (SIDE, SIDE), policy) for i in range(n)]),
    }


def logits(seed, n=2, classes=3):
    return tf.constant(np.random.default_rng(seed).normal(size=(n, SIDE, SIDE, classes)).astype("float32"))


def test_a_pointwise_network_is_equivariant_to_flips():
    """L_ER is exactly 0: flips move pixels and make none."""
    _, logs = model().network_loss(batch(Policy(flip=0.8, shift=None)))
    assert float(logs["equivariance"]) == 0.0


@pytest.mark.one_stack
@given(st.integers(0, 1000))
def test_a_pointwise_network_is_equivariant_to_nearest_sampling(seed):
    """With the mask on, what comes in from outside does not count."""
    network, image = pointwise(), batch(seed=seed)["image"][1:]
    grid = tf.stack([sample_grid(seed + i, (SIDE, SIDE), "strong") for i in range(2)])
    moved = warp(image, grid, order=0)
    found = model(network).equivariance(network(image), network(moved), moved, grid)
    np.testing.assert_allclose(found, 0, atol=1e-6)


def test_the_term_is_not_negative_zero_for_agreement_and_asymmetric():
    same = tf.stack([identity_grid((SIDE, SIDE))] * 2)
    ones, m = tf.ones((2, SIDE, SIDE, 2)), model()
    u, v = logits(1), logits(2)
    forth, back = (m.equivariance(a, b, ones, same).numpy() for a, b in ((u, v), (v, u)))
    assert (forth > 0).all() and (np.abs(forth - back) > 1e-3).all()
    np.testing.assert_allclose(m.equivariance(u, u, ones, same), 0, atol=1e-7)
    p, q = tf.nn.softmax(u).numpy(), tf.nn.softmax(v).numpy()
    np.testing.assert_allclose(forth, (p * np.log(p / q)).sum(-1).mean((1, 2)), rtol=1e-5)


def test_the_target_gets_no_gradient():
    """The gradient is that of a target which is a constant."""
    network = keras.Sequential([keras.Input((SIDE, SIDE, 2)), keras.layers.Conv2D(3, 3, padding="same")])
    m, data = model(network), batch()
    x, grid = data["image"][1:], data["grid"][1:]
    moved = warp(x, grid)
    constant = tf.constant(network(x).numpy())
    variables = [tensor_variable(v) for v in network.trainable_variables]

    def gradients(target):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(m.equivariance(target(x), network(moved), moved, grid))
        return tape.gradient(loss, variables)

    for ours, expected in zip(gradients(network), gradients(lambda _: constant), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-6)
        assert np.abs(ours).max() > 1e-4


def test_an_image_of_background_gives_a_finite_loss():
    data = batch() | {"image": tf.zeros((3, SIDE, SIDE, 2))}
    loss, logs = model().network_loss(data)
    assert np.isfinite(loss) and float(logs["equivariance"]) == 0


def test_without_the_mask_all_pixels_count():
    """Eq. 9: the mean is over all N pixels, those that came in from outside too."""
    grid = sample_grid(0, (SIDE, SIDE), Policy(flip=None, shift=(0.25, 0.25)))[None]
    u, v, ones = logits(3, 1), logits(4, 1), tf.ones((1, SIDE, SIDE, 2))
    inside = warp(ones, grid)
    masked, whole = (model(mask=mask).equivariance(u, v, inside, grid).numpy()[0] for mask in (True, False))
    target = tf.nn.log_softmax(augmented_logits(u, grid)).numpy()
    each = (np.exp(target) * (target - tf.nn.log_softmax(v).numpy())).sum(-1)[0]
    assert np.isclose(whole, each.mean(), rtol=1e-5)
    assert np.isclose(masked, each[4:, 4:].mean(), rtol=1e-5)


@pytest.mark.one_stack
@given(st.integers(0, 1000))
def test_warped_probabilities_sum_to_one_and_commute_with_softmax(seed):
    grid = tf.stack([sample_grid(seed, (SIDE, SIDE), "strong")] * 2)
    raw = logits(seed)
    first = tf.nn.softmax(augmented_logits(raw, grid))
    np.testing.assert_allclose(tf.reduce_sum(first, -1), 1, rtol=1e-6)
    after = warp(tf.nn.softmax(raw), grid, order=0, fill=[1.0, 0.0, 0.0])
    np.testing.assert_allclose(first, after, atol=1e-6)


def test_lambda_zero_is_the_supervised_loss():
    """For a network without statistics of the batch."""
    data = batch()
    network = pointwise()
    loss, logs = model(network, weight=0.0).network_loss(data)
    alone, _ = model(network, unlabelled=0).network_loss({k: v[:1] for k, v in data.items()})
    np.testing.assert_allclose([loss, logs["supervised"]], [alone, alone], rtol=1e-6)
    p = tf.nn.log_softmax(network(data["image"][:1])).numpy()
    right = np.take_along_axis(p, data["label"][:1].numpy()[..., None], -1)
    np.testing.assert_allclose(loss, -right.mean(), rtol=1e-5)


def test_lambda_grows_over_its_ramp():
    data, network = batch(), pointwise()
    for step, share in ((0, np.exp(-5)), (5, np.exp(-1.25)), (10, 1.0), (30, 1.0)):
        later = data | {"index": data["index"] + 3 * step}
        _, logs = model(network, weight=2.0, rampup_steps=10).network_loss(later)
        expected = logs["supervised"] + 2 * share * logs["equivariance"]
        np.testing.assert_allclose(logs["loss"], expected, rtol=1e-5)
        assert float(logs["gradient_ratio"]) > 0


def test_targets_are_of_images_as_they_are():
    """The network sees labelled and moved images altered; the target is predicted from the plain one."""
    seen = []

    class Kept(keras.Model):
        def call(self, images, training=False):
            seen.append(images.numpy())
            return tf.concat([images, images[..., :1]], -1)

    data = batch()
    made = model(Kept(), appearance=Appearance(gamma=(0.5, 2.0), noise=0.1))
    made.network_loss(data)
    labelled, plain, moved = seen[0][:1], seen[0][1:3], seen[0][3:]
    np.testing.assert_array_equal(plain, data["image"][1:])
    indices = data["index"]
    np.testing.assert_array_equal(labelled, made.altered(data["image"][:1], indices[:1]))
    augmented = warp(data["image"][1:], data["grid"][1:], order=1, fill=0.0)
    np.testing.assert_array_equal(moved, made.altered(augmented, indices[1:]))
    assert np.abs(moved - augmented).max() > 0.05 < np.abs(labelled - data["image"][:1]).max()


def test_mse_and_dice_are_switches():
    data, network = batch(), pointwise()

    def parts(**changes):
        _, logs = model(network, **changes).network_loss(data)
        return float(logs["supervised"]), float(logs["equivariance"])

    entropy, dice, both = (parts(supervised=kind)[0] for kind in ("cross_entropy", "dice", "both"))
    assert np.isclose(both, entropy + dice) and not np.isclose(entropy, dice)
    kl, mse = (parts(consistency=kind)[1] for kind in ("kl", "mse"))
    assert mse > 0 and not np.isclose(kl, mse)


# --- data -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("percent, patients", [(1, 3), (5, 14), (10, 27), (100, 268)])
def test_labelled_patients_of_268(percent, patients):
    cases = [Case(f"{i}", f"{i}", {"t1": f"{i}.nii"}, f"{i}-seg.nii") for i in range(268)]
    chosen = few_labels(cases, percent / 100, seed=42)
    assert len(chosen) == patients
    assert {c.id for c in chosen} <= {c.id for c in few_labels(cases, 1.0, seed=42)}
    assert percent == 100 or chosen != few_labels(cases, percent / 100, seed=43)


def test_the_papers_training_patients_and_others_to_test():
    loaded = tfmed.load_config(REPOSITORY / "configs" / "equireg.yaml")
    cases = [Case(f"{i}", f"{i}", {"t1": f"{i}.nii"}, f"{i}-seg.nii") for i in range(335)]
    assert {part: len(found) for part, found in split(cases, loaded.data.split, 42).items()} == {
        "train": 268, "validation": 33, "test": 34
    }  # fmt: skip


def test_the_elastic_strength_of_volumes_is_a_setting():
    def moved(**changes):
        config = Config(patch=(8, 32, 32), network=UNet(norm="instance"), regions={}, **changes)
        policy = dataclasses.replace(transforms(config), chosen=None, flip=None, shift=None, rotate=None, shear=None)
        return sample_grid(3, config.patch, dataclasses.replace(policy, scale=None)) - identity_grid(config.patch)

    assert np.abs(moved(elastic_voxels=0.0)).max() < 1e-5
    np.testing.assert_allclose(moved(elastic_voxels=3.0), moved() / 2, atol=1e-5)
    assert np.abs(moved(elastic_knots=16.0) - moved()).max() > 0.1
    with pytest.raises(ValueError, match=r"stay below 6\.4"):
        moved(elastic_voxels=7.0, elastic_knots=16.0)


def settings(*overrides):
    return tfmed.load_config(REPOSITORY / "configs" / "equireg.yaml", (*TINY, *overrides))


@pytest.mark.one_stack
def test_unlabelled_slices_are_of_all_patients_and_their_labels_are_never_seen():
    method = tfmed.registry.method_class("equireg")(settings())
    labelled, pool = method.training_cases
    assert len(labelled) == 3 and len(pool) == 5 and {c.id for c in labelled} < {c.id for c in pool}
    samples = method.samples(strong="strong")
    first = samples.batch(0)
    assert set(first) == {"index", "image", "label", "grid"} and first["image"].shape == (4, 32, 32, 4)
    labels = np.concatenate([samples.batch(step)["label"] for step in range(8)])
    assert not labels[1::2].any() and labels[::2].any()


@pytest.mark.one_stack
def test_weak_movements_of_unlabelled_images_are_drawn_afresh():
    """The released code moved all of them by one flip and shift per run."""
    method = tfmed.registry.method_class("equireg")(settings("data.options={cases: 7, shape: [8, 32, 32]}"))
    samples = method.samples(strong="strong")
    seen = {}
    for index in range(1, 321, 2):
        number = method.streams.place(index)[1]
        patch, _, _ = method.patches(method.training_cases[1], 1, foreground=0.0)(number)
        if patch.any():
            seen.setdefault(patch.tobytes(), []).append(samples.read(index)["image"].tobytes())
    repeated = [images for images in seen.values() if len(images) > 2]
    assert repeated and all(len(set(images)) > 1 for images in repeated)


def test_regions_are_nested_and_scored_by_class_numbers():
    scored = Config().scored
    assert scored == {"whole": [1, 2, 3], "core": [1, 3], "enhancing": [3]}


# --- equivariance Dice ------------------------------------------------------------------------------------------------


def test_equivariance_of_a_pointwise_segmenter_is_perfect_inside():
    image = np.random.default_rng(0).uniform(1, 2, (5, 24, 20, 1)).astype("float32")
    image = np.kron(image[:, ::4, ::4], np.ones((1, 4, 4, 1), "float32"))

    def segment(stack):
        return (stack[..., 0] > 1.5).astype(np.uint8)

    ours, theirs = moved_both_ways(segment, image, axes=2)
    assert (ours == theirs).mean() > 0.85  # linear images and nearest labels differ along edges alone
    again = moved_both_ways(segment, image, axes=2)
    np.testing.assert_array_equal(ours, again[0])
    assert not np.array_equal(ours, moved_both_ways(segment, image, axes=2, seed=1)[0])
    assert len({o.tobytes() for o in ours - segment(image)}) == 5  # each slice has its own transform


def test_a_segmenter_that_knows_places_is_not_equivariant():
    image = np.random.default_rng(0).uniform(1, 2, (4, 24, 24, 1)).astype("float32")

    def segment(stack):
        labels = np.zeros(stack.shape[:3], np.uint8)
        labels[:, :8] = 1
        return labels

    ours, theirs = moved_both_ways(segment, image, axes=2)
    assert (ours == theirs).mean() < 0.9


def test_what_comes_in_from_outside_does_not_count_where_images_go_on():
    grid = sample_grid(0, (SIDE, SIDE), Policy(flip=None, shift=(0.25, 0.25)))[None]
    image = tf.ones((1, SIDE, SIDE, 2))
    counted = model(fill="edge").counted(warp(image, grid, fill="edge"), grid).numpy()[0]
    assert counted[4:, 4:].all() and not counted[:4].any() and not counted[:, :4].any()
