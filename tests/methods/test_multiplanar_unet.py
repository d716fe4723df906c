"""Multi-planar U-Net: the harness, and the items of its card's "What must hold" that are not of a plane alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness
from tests.support.refusals import refused_fit
from tfmed import compat, registry
from tfmed.data.sparse_planes import IGNORE
from tfmed.losses import segmentation as losses
from tfmed.methods.multiplanar_unet import Config, MultiPlanarUNet, build_network
from tfmed.ops.warp import warp_array
from tfmed.tasks.backbones import UNet

pytestmark = pytest.mark.current

CONFIG = "configs/multiplanar_unet.yaml"
SMALL = "model.network={name: unet, widths: [4, 8], norm: batch, upsample: nearest, up_kernel: 2}"
TINY = (
    "data.options={cases: 4, shape: [16, 20, 18]}",
    "data.split={validation: 0.25, test: 0.25, seed: 0}",
    "train.batch_size=4",
    "train.early_stopping=null",
    "train.validate_every=2",
    "model.patch=[16, 16]",
    "model.annotation_planes=4",
    "model.training_planes=12",
    "model.views=2",
    "model.learning_rate=0.001",
    SMALL,
)
CUBES = ("model.patch=[8, 8, 8]", "model.network={name: unet, widths: [4, 8], norm: batch, widen: half, "
         "upsample: transposed_same}")  # fmt: skip


class TestHarness(MethodHarness):
    config = CONFIG
    tiny = TINY
    replica_tolerance = 1e-3
    bad = ("model.views=0", "views")

    def parity(self, run):
        """Odd shapes, and raw grey values: the graph scales them."""
        method = run.restored()
        images, expected = [], []
        for shape in ((9, 12, 11), (14, 7, 10)):
            image = np.random.default_rng(sum(shape)).uniform(0, 255, (*shape, 1)).astype("float32")
            steps = [step.graph for step in method.preprocessing()]
            images.append({"image": image})
            expected.append(method.labels(steps[0](tf.constant(image[..., 0])).numpy()[..., None]))
        return expected, images

    def assert_parity(self, found, expected):
        assert (found != expected).mean() < 2e-3

    def test_previews_show_planes_lines_and_predictions(self, run):
        shown = run.restored().previews()["planes"]
        assert shown.annotation and shown.training and len(shown.shown) == 3
        for plane in shown.shown:
            assert plane.image.shape == plane.label.shape == plane.prediction.shape == (16, 16)
            assert (plane.label != IGNORE).any() and (plane.label == IGNORE).any()
            assert set(np.unique(plane.prediction)) <= {0, 1}
        assert "cyan" in shown.caption and "%" in shown.caption
        assert (run.path / "previews" / "planes.png").exists()
        assert shown.figure() is not None

    def test_scores_have_sensitivity_and_specificity(self, run):
        made = run.restored()
        rows = made.evaluate({"one": made})["cases"]
        assert {"sensitivity", "specificity", "Dice"} <= set(rows[0])
        assert all(0 <= one[name] <= 1 for one in rows for name in ("sensitivity", "specificity"))


def method(*overrides, config=CONFIG):
    settings = tfmed.load_config(REPOSITORY / config, (*TINY, *overrides))
    return registry.method_class(settings.method)(settings)


def parameters(weights):
    return sum(int(np.prod(w.shape)) for w in weights)


# --- networks ---------------------------------------------------------------------------------------------------------

STAGES = {"down0": 37_824, "down1": 221_952, "down2": 886_272, "down3": 3_542_016, "down4": 14_161_920,
          "up3_reduced": 2_098_688, "up2_reduced": 525_056, "up1_reduced": 131_456, "up0_reduced": 32_960,
          "head0": 65}  # fmt: skip


@pytest.mark.one_stack
@pytest.mark.usefixtures("unfilled_weights")
def test_the_network_has_31_044_289_parameters():
    network = build_network(Config())
    assert parameters(network.trainable_weights) == 31_044_289
    assert parameters(w for w in network.non_trainable_weights if len(w.shape)) == 13_696  # but for dropout's counters
    unet = next(layer for layer in network.layers if isinstance(layer, keras.Model))
    layers = unet.get_layer("encoder").layers + unet.get_layer("decoder").layers
    for stage, expected in STAGES.items():
        own = [w for layer in layers if layer.name.startswith(stage) for w in layer.trainable_weights]
        assert parameters(own) == expected, stage
    three = Config(label_values=(0, 1, 2), regions={})
    assert parameters(build_network(three).trainable_weights) == 31_044_289 + 2 * 65


@pytest.mark.one_stack
@pytest.mark.usefixtures("unfilled_weights")
def test_the_3d_network_has_19_068_097_parameters_beside_its_norms():
    config = tfmed.load_config(REPOSITORY / "configs/multiplanar_unet/unet3d.yaml").model
    network = build_network(config)
    assert parameters(network.trainable_weights) == 19_068_097 + 4_672
    original = config.network.build(3, 3, 3, 0)
    assert parameters(original.trainable_weights) == 19_069_955 + 4_672


def test_answers_are_as_large_as_images_and_those_of_a_sigmoid():
    config = Config(patch=(32, 48), network=UNet(widths=(4, 8, 8), norm="batch", upsample="nearest", up_kernel=2))
    network = build_network(config)
    image = tf.random.stateless_normal((2, 32, 48, 1), (0, 0))
    logits = network(image)
    assert logits.shape == (2, 32, 48, 2)
    own = next(layer for layer in network.layers if isinstance(layer, keras.Model))(image)
    np.testing.assert_allclose(tf.nn.softmax(logits)[..., 1:], tf.sigmoid(own), atol=1e-6)


def test_activation_comes_before_the_norm():
    """Behind a norm values are negative too; in the usual order there are none."""
    options = dict(widths=(4, 8), norm="batch", upsample="nearest", up_kernel=2)
    image = tf.random.stateless_normal((2, 8, 8, 1), (0, 0))
    for first in (True, False):
        encoder = UNet(activation_first=first, **options).build(1, 1, 2, 0).get_layer("encoder")
        assert (encoder(image, training=True)[0].numpy().min() < 0) == first


# --- the loss ---------------------------------------------------------------------------------------------------------


def batch(seed=0, shape=(3, 8, 8), share=0.2):
    rng = np.random.default_rng(seed)
    label = np.where(rng.random(shape) < share, rng.integers(0, 2, shape), IGNORE).astype("uint8")
    return rng.normal(size=(*shape, 2)).astype("float32"), label


def test_the_masked_loss_in_closed_form_and_equal_to_the_plain_one_where_all_is_annotated():
    logits, label = batch()
    known = label != IGNORE
    p = 1 / (1 + np.exp(logits[..., 0] - logits[..., 1]))
    expected = -np.mean(np.where(label == 1, np.log(p), np.log(1 - p))[known])
    assert float(losses.masked_cross_entropy(logits, label, known)) == pytest.approx(expected, rel=1e-5)
    dense = np.random.default_rng(1).integers(0, 2, label.shape)
    whole = losses.masked_cross_entropy(logits, dense, np.ones(dense.shape))
    assert float(whole) == pytest.approx(float(tf.reduce_mean(losses.cross_entropy(logits, dense))), rel=1e-6)


def test_what_is_not_annotated_changes_nothing_and_gets_no_gradient():
    logits, label = batch()
    known = label != IGNORE
    other, odd = logits.copy(), label.copy()
    other[~known], odd[~known] = 7.0, 3
    value = losses.masked_cross_entropy(logits, label, known)
    assert float(losses.masked_cross_entropy(other, odd, known)) == float(value)
    with tf.GradientTape() as tape:
        variable = tf.Variable(logits)
        loss = losses.masked_cross_entropy(variable, label, known)
    gradient = tape.gradient(loss, variable).numpy()
    assert not gradient[~known].any() and (gradient[known] != 0).all()


def test_nothing_annotated_costs_nothing():
    logits, label = batch(share=0)
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = losses.masked_cross_entropy(variable, label, label != IGNORE)
    assert float(loss) == 0 and not tape.gradient(loss, variable).numpy().any()


def test_every_annotated_pixel_of_a_batch_counts_alike():
    """Not first averaged over a sample's pixels, of which one may have ten times as many."""
    config = Config(patch=(8, 8), augment=False, network=UNet(widths=(4, 8), norm="none"))
    model = MultiPlanarUNet(config, seed=1, per_step=2)
    image = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
    label = np.full((2, 8, 8), IGNORE, "uint8")
    label[0, :6], label[1, 0, 0] = 1, 0
    loss, logs = model.network_loss({"index": tf.range(2, dtype=tf.int64), "image": image, "label": label})
    log_p = np.log(tf.nn.softmax(model(image)).numpy())
    expected = -(log_p[0, :6, :, 1].sum() + log_p[1, 0, 0, 0]) / 49
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    assert float(logs["annotated"]) == pytest.approx(49 / 128)


def test_augmentation_keeps_to_an_images_own_range():
    model = MultiPlanarUNet(Config(patch=(8, 8), network=UNet(widths=(4, 8))), seed=1, per_step=2)
    image = tf.random.stateless_uniform((2, 8, 8, 1), (0, 0))
    index = tf.range(2, dtype=tf.int64)
    small, large = model.changed(image, index), model.changed(50 * image + 7, index)
    assert np.abs(small - image).max() > 0.02
    np.testing.assert_allclose((large - 7) / 50, small, atol=1e-3)


# --- what is annotated, and what trains -------------------------------------------------------------------------------


def test_planes_of_fewer_annotations_are_among_those_of_more():
    few, many = (method(f"model.annotation_planes={n}").annotation for n in (3, 7))
    for one, other in zip(few, many[:3], strict=True):
        np.testing.assert_array_equal(one.frame, other.frame)
        np.testing.assert_array_equal(one.centre, other.centre)
    assert len(many) == 7
    assert (method("seed=4").annotation[0].frame != few[0].frame).any()


def test_training_planes_see_lines_alone_and_those_are_right():
    made = method("model.augment=false")
    read = made.planes()
    assert len(made.training) == 12
    shares = []
    for k, plane in enumerate(made.training):
        label = made.labels_on([plane], made.annotated)[0]
        dense = made.labels_on([plane], {plane.volume: made.open(made.labelled[plane.volume]).label})[0]
        known = label != IGNORE
        shares.append(known.mean())
        assert known.any(), k
        np.testing.assert_array_equal(label[known], dense[known])
    assert np.mean(shares) < 0.5
    images = {read(k)[0].tobytes() for k in range(12)}
    assert len(images) == 12  # an epoch shows each once


def test_without_training_planes_the_annotated_ones_are_fully_labelled():
    made = method("model.training_planes=0", "model.augment=false")
    assert made.training is made.annotation
    read = made.planes()
    for k in range(4):
        image, label = read(k)
        inside = label != IGNORE
        assert inside.mean() > 0.2 and (image[..., 0][~inside] == 0).mean() > 0.5
    drawn = {read(k)[1].tobytes() for k in range(4)}
    dense = {k: made.open(case).label for k, case in enumerate(made.labelled)}
    assert drawn == {label.tobytes() for label in made.labels_on(made.annotation, dense)}


def test_full_supervision_annotates_every_voxel():
    made = method("model.annotation_planes=null", "model.augment=false")
    read = made.planes()
    for k in range(12):
        image, label = read(k)
        assert ((label == IGNORE) <= (np.abs(image[..., 0]) < 5)).all() and (label != IGNORE).any()
        plane = made.training[k]
        assert (made.annotated[plane.volume] != IGNORE).all()


def test_image_and_label_are_moved_together():
    """The image is the label, so that the two must agree wherever the nearest voxel is the only one."""
    made = method("model.augment=true", "model.scale=[1, 1]", "model.rotate_degrees=0")
    made.images_on = lambda planes, cases: made.labels_on(planes, made.annotated).astype("float32")[..., None]
    samples = made.samples()
    for k in range(24):
        one = samples.read(k)
        known = one["label"] != IGNORE
        np.testing.assert_array_equal(one["image"][..., 0][known], one["label"][known])


def test_samples_turn_by_any_angle():
    made = method()
    grids = {samples.tobytes() for samples in (made.samples().read(k)["label"] for k in (0, 12, 24))}
    assert len(grids) == 3
    image = np.ones((16, 16, 1), "float32")
    assert warp_array(image, np.full((16, 16, 2), 99.0), fill=made.config.fill).max() == 0


def test_cubes_are_annotated_on_lines_or_on_planes():
    lines, planes = method(*CUBES), method(*CUBES, "model.training_planes=0")
    shares = {}
    for name, made in (("lines", lines), ("planes", planes)):
        samples = made.samples()
        found = [samples.read(k)["label"] for k in range(20)]
        assert all((label != IGNORE).any() and label.shape == (8, 8, 8) for label in found if name == "planes")
        shares[name] = np.mean([(label != IGNORE).mean() for label in found])
    assert 0 < shares["lines"] < shares["planes"]


@pytest.mark.one_stack
def test_a_3d_network_trains_validates_and_predicts(tmp_path):
    from tfmed.engine.lifecycle import fit

    settings = tfmed.load_config(REPOSITORY / CONFIG, (*TINY, *CUBES, "train.steps=2", "train.tensorboard=false"))
    run = fit(settings, tmp_path / "run")
    rows = run.metrics().query("split == 'validation'")
    assert np.isfinite(rows["dice"]).all() and np.isfinite(rows["cross_entropy"]).all()


def test_validation_is_on_annotated_planes_of_held_out_volumes():
    made = method()
    model = next(iter(made.stages())).model()
    made.models["segmenter"] = model
    found = made.validation(model)
    planes, labels, images = made.held_out
    assert len(planes) == 2 and labels.shape == images.shape[:-1]
    inside = labels != IGNORE
    predicted = np.argmax(model(images), -1)[inside]
    ours, theirs = predicted == 1, labels[inside] == 1
    dice = 2 * (ours & theirs).sum() / max(ours.sum() + theirs.sum(), 1)
    assert found["dice_mitochondrion"] == found["dice"] == pytest.approx(dice, abs=1e-6)
    assert len(method("model.validation_planes=5").held_out[0]) == 5


def test_axes_alone():
    made = method("model.orientations=axes", "model.view_orientations=axes")
    for plane in (*made.annotation, *made.training):
        assert sorted(np.abs(plane.frame[0])) == [0, 0, 1]
    assert len({int(frame[0].argmax()) for frame in made.view_frames}) == 2


# --- prediction along views -------------------------------------------------------------------------------------------


def with_model(*overrides):
    made = method(*overrides)
    made.models["segmenter"] = next(iter(made.stages())).model()
    return made


@pytest.mark.one_stack
def test_probabilities_add_up_and_are_the_mean_of_the_views():
    made = with_model("model.views=3")
    image = made.open(made.labelled[0]).image[:5, :6, :4]
    found = made.probabilities(image)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-4)
    each = [made.seen(tf.constant(image), frame[None]).numpy() for frame in made.view_frames]
    np.testing.assert_allclose(found, np.mean(each, 0), atol=1e-5)
    np.testing.assert_array_equal(made.labels(image), found.argmax(-1))


def test_learned_fusion_finds_the_view_that_knows():
    from tfmed.training.fusion import fit_fusion

    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 4000)
    right = np.eye(3)[label] * 0.8 + 0.1
    guess = rng.dirichlet((1, 1, 1), (2, 4000))
    weights, bias = fit_fusion(np.stack([guess[0], right, guess[1]], 1), label)
    logits = np.einsum("nkc,kc->nc", np.stack([guess[0], right, guess[1]], 1), weights) + bias
    assert weights.shape == (3, 3) and bias.shape == (3,)
    assert (logits.argmax(-1) == label).all() and np.abs(weights[[0, 2]]).max() < 0.3 * weights[1].min()


@pytest.mark.long
def test_learned_fusion_is_kept_used_and_exported(tmp_path):
    from tfmed.engine.exporting import export
    from tfmed.engine.lifecycle import fit

    settings = tfmed.load_config(REPOSITORY / CONFIG, (*TINY, "train.steps=2", "train.tensorboard=false",
                                                       "model.fusion=learned"))  # fmt: skip
    run = fit(settings, tmp_path / "run")
    made = tfmed.load_run(run.path).restored()
    assert made.fused is not None and made.fused[0].shape == (2, 2)
    image = made.open(made.labelled[0]).image[:5, :6, :4]
    logits = made.seen(tf.constant(image), made.view_frames, made.fused[0]) + made.fused[1]
    np.testing.assert_allclose(made.probabilities(image), tf.nn.softmax(logits), atol=1e-5)
    loaded = tf.saved_model.load(str(export(run, tmp_path / "export")))
    raw = np.random.default_rng(0).uniform(0, 255, (6, 7, 8, 1)).astype("float32")
    scaled = made.preprocessing()[0].graph(tf.constant(raw[..., 0]))[..., None]
    found = loaded.signatures["probabilities"](image=tf.constant(raw))["probabilities"]
    np.testing.assert_allclose(found, made.probabilities(scaled.numpy()), atol=1e-4)


# --- bad input --------------------------------------------------------------------------------------------------------

REFUSED = {
    "more planes than slices": (("model.annotation_planes=900",), "900 planes are more than", "give fewer"),
    "nothing to train on": (
        ("model.annotation_planes=null", "model.training_planes=0"), "training_planes", "give a number",
    ),
    "boxes": (("data.preprocess=[{step: resample, spacing_mm: [2, 1, 1]}, {step: zscore}]",), "are no cubes",
              "spacing_mm: [1, 1, 1]"),
    "flips": (("model.flips=[y]",), "flips", "views"),
    "too many axes": (("model.view_orientations=axes", "model.views=4"), "views", "lower it"),
    "no such range": (("model.gamma=[2, 1]",), "gamma", "lower bound first"),
}  # fmt: skip


@pytest.mark.one_stack
@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_one_line(name, tmp_path, capsys):
    assert refused_fit(capsys, tmp_path, REPOSITORY / CONFIG, TINY, *REFUSED[name])


@pytest.mark.one_stack
def test_planes_that_show_nothing_are_refused(monkeypatch):
    from tfmed.data import sparse_planes
    from tfmed.errors import DataError

    made = method()
    monkeypatch.setattr(type(made), "labels_on", lambda self, planes, labels: np.full((len(planes), 4, 4), IGNORE))
    with pytest.raises(DataError, match=r"model.training_planes: 0 of .* annotate more planes"):
        made.training  # noqa: B018
    made = method()
    monkeypatch.setattr(sparse_planes, "sparse_label", lambda label, planes: np.where(label == 0, label, IGNORE))
    with pytest.raises(DataError, match=r"4 annotated planes show background alone; annotate"):
        made.annotated  # noqa: B018


@pytest.mark.one_stack
def test_scans_of_boxes_are_refused_when_they_are_predicted(tmp_path):
    from tfmed.errors import DataError
    from tfmed.io import Volume, write_volume

    made = with_model()
    array = np.random.default_rng(0).integers(0, 255, (6, 7, 8)).astype("int16")
    write_volume(Volume(array, np.diag([1.0, 1.0, 3.0, 1.0])), tmp_path / "thick.nii.gz")
    with pytest.raises(DataError, match=r"thick.nii.gz: its voxels of 3 x 1 x 1 mm .* are no cubes"):
        list(made.predict([str(tmp_path / "thick.nii.gz")], tmp_path))


@pytest.mark.one_stack
def test_the_variants_of_the_study_are_settings():
    """Section 8 of the card."""
    folder = REPOSITORY / "configs" / "multiplanar_unet"
    found = {path.stem: tfmed.load_config(path).model for path in folder.glob("*.yaml")}
    assert {len(one.patch) for one in found.values()} == {2, 3}
    assert {one.annotation_planes for one in found.values()} >= {None, 4, 8, 16}
    assert {one.training_planes for one in found.values()} >= {0, 256, 512}
    assert {one.views for one in found.values()} >= {1, 3, 6}
    assert {one.view_orientations for one in found.values()} == {"random", "spread", "axes"}
    assert {one.fusion for one in found.values()} == {"mean", "learned"}
    assert {one.augment for one in found.values()} == {True, False}
    for path in folder.glob("*.yaml"):
        tfmed.load_config(path, profile="demo")


def test_weights_get_a_gradient_from_every_annotated_pixel():
    made = method("model.augment=false")
    stage = next(iter(made.stages()))
    model, data = stage.model(), {name: tf.constant(value) for name, value in stage.train().batch(0).items()}
    with tf.GradientTape() as tape:
        loss, _ = model.network_loss(data)
    gradients = tape.gradient(loss, [compat.tensor_variable(v) for v in model.trainable_variables])
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)
