"""Few-shot DAG: the harness, and the items of the card's "What must hold" that are not of a room alone."""

import csv
import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness
from tests.support.refusals import refused_fit
from tests.support.view_pages import views_of
from tfmed import registry
from tfmed.data import phantoms
from tfmed.data.streams import BatchTurns
from tfmed.io.points import read_markups
from tfmed.losses.divergence import jensen_shannon
from tfmed.methods.fewshot_dag import Cascade, Config, FewShot, mean_l1
from tfmed.tasks.backbones import HRNet, UNet
from tfmed.tasks.exported import open_model

pytestmark = pytest.mark.current

CONFIG = "configs/fewshot_dag.yaml"
TINY = (
    "data.options={cases: 14, shape: [40, 32], fingers: 1, unlabelled: 5, missing: 0.1}",
    "data.split={validation: 0.2, test: 0.2, seed: 0}",
    "train.batch_size=2",
    "train.validate_every=2",
    "train.early_stopping=null",
    "model.labelled=3",
    "model.size=[32, 32]",
    "model.network={name: unet, widths: [2, 2], norm: layer}",
    "model.feature_maps=3",
    "model.graph_width=4",
    "model.graph_narrow=3",
    "model.local_steps=1",
    "model.margin=0",
    "model.learning_rate=1e-3",
    "model.student_steps=3",
    "model.ratio=1",
)


class TestHarness(MethodHarness):
    config = CONFIG
    tiny = TINY
    replica_tolerance = 1e-3
    bad = ("model.mode=mean_teacher", "mode")

    @pytest.mark.one_stack
    def test_view(self, run):
        """Each landmark by its name, with its error in mm, as the table of cases has them."""
        shown, method = views_of(tfmed.view(run)), run.restored()
        rows = [row for row in method.evaluate({"one": method})["cases"] if row["network"] == "teacher"]
        for one, row in zip(shown, rows, strict=True):
            _, found, reference = one["panels"][0]["layers"]
            assert [k["name"] for k in reference["classes"]] == list(method.names)
            away = [float(k["name"].split()[-2]) for k in found["classes"] if k["name"].endswith(" mm")]
            assert np.mean(away) == pytest.approx(row["error mm mean"], abs=0.06) and len(away) == row["landmarks"]
            assert f"{row['error mm mean']:.1f} mm" in one["note"]

    def parity(self, run):
        """Images of another size and proportion, and values as in files, get places in their own pixels."""
        method = run.restored()
        image = np.random.default_rng(0).uniform(0, 4000, (2, 23, 41, 1)).astype("float32")
        finder = method.finder()
        from tfmed.io.itk import LPS_RAS
        from tfmed.io.volume import Volume

        expected = np.stack([finder([Volume(one[None, ..., 0], LPS_RAS)]) for one in image])
        assert expected.shape == (2, 4, 2) and method.export_module().note["landmarks"] == list(method.names)
        return [expected], [{"image": image}]

    def assert_parity(self, found, expected):
        np.testing.assert_allclose(found, expected, atol=2e-3)

    @pytest.mark.one_stack
    def test_teacher_and_student_are_scored_landmark_by_landmark(self, run):
        method = run.restored()
        found = method.evaluate({"one": method})
        assert [row["network"] for row in found["evaluation"]] == ["teacher", "student"]
        cases = method.annotated(method.cases["test"])
        there = sum((~np.isnan(method.landmarks(case).points).any(-1)).sum() for case in cases)
        for row in found["evaluation"]:
            assert row["landmarks"] == there and row["images"] == len(cases)
            assert row["error mm mean"] == pytest.approx(row["error px mean"] * 240 / 40)
            own = [one for one in found["landmarks"] if one["network"] == row["network"]]
            assert [one["landmark"] for one in own] == list(method.names)
            assert sum(one["images"] for one in own) == there
            total = sum(one["images"] * one["error px mean"] for one in own if one["images"])
            assert row["error px mean"] == pytest.approx(total / there)
            failed = sum(one["images"] * one["failure %"] for one in own if one["images"])
            assert row["failure %"] == pytest.approx(failed / there)
        assert set(found.pictures) == {"landmarks", "errors", "success"}
        curve = found.pictures["success"].curves["one teacher"]
        share = curve[list(np.round(found.pictures["success"].limits, 4)).index(0.05)]
        assert 100 * (1 - share) == pytest.approx(found["evaluation"][0]["failure %"])

    @pytest.mark.one_stack
    def test_a_run_and_its_savedmodel_predict_the_same_files(self, run, exported, tmp_path):
        method = run.restored()
        case = method.cases["test"][0]
        image = np.clip(phantoms.read(case.images["image"]).array[0] / 16, 0, 255).astype("uint8")
        Image.fromarray(image).save(tmp_path / "hand.png")
        model = open_model(exported)
        files = [sorted(path.name for path in one.predict([str(tmp_path / "hand.png")], tmp_path / name))
                 for name, one in (("run", method), ("model", model))]  # fmt: skip
        assert files[0] == files[1] == ["hand_landmarks.mrk.json", "hand_landmarks.png", "landmarks.csv"]
        tables = []
        for name in ("run", "model"):
            with open(tmp_path / name / "landmarks.csv", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream))
            assert [row["name"] for row in rows] == list(method.names) and rows[0]["image"] == "hand.png"
            tables.append([[float(row["x"]), float(row["y"])] for row in rows])
            names, world = read_markups(tmp_path / name / "hand_landmarks.mrk.json")
            np.testing.assert_allclose(world[:, :2] * -1, tables[-1], atol=1e-6)
            assert names == method.names
        np.testing.assert_allclose(*tables, atol=2e-3)
        assert json.loads((exported / "tfmed.json").read_text())["task"] == "named_landmarks"

    @pytest.mark.one_stack
    def test_a_run_remembers_its_landmarks(self, run):
        record = json.loads((run.path / "records" / "landmarks.json").read_text())
        assert record["names"] == ["wrist", "thumb mcp", "thumb ip", "thumb tip"]
        method = run.method()
        np.testing.assert_array_equal(method.mean_shape, record["mean"])


def method(*overrides):
    settings = tfmed.load_config(REPOSITORY / CONFIG, (*TINY, *overrides))
    return registry.method_class(settings.method)(settings)


SMALL = {
    "size": (16, 16), "network": UNet(widths=(2, 2), norm="layer"), "feature_maps": 3, "graph_width": 4,
    "graph_narrow": 3, "local_steps": 2, "margin": 0.0, "noise": 0.0,
}  # fmt: skip
MEAN = np.array([[0.2, 0.3], [0.7, 0.4], [0.5, 0.8]])


@functools.cache
def built(mode="fewshot_js"):
    """A model whose heads move landmarks, and the weights of its student: made once, as that takes longest."""
    keras.utils.set_random_seed(0)
    model = FewShot(Config(**SMALL | {"mode": mode}), rate=0.1, mean=MEAN, unlabelled=4, seed=1, per_step=2)
    cascade, draw = model.student.get_layer("cascade"), np.random.default_rng(0)
    for part in (cascade.globally.graph, *cascade.locally):
        part.head.kernel.assign(draw.normal(0, 0.05, part.head.kernel.shape))
        part.head.bias.assign(draw.normal(0, 0.02, part.head.bias.shape))
    return model, model.student.get_weights()


def made(**settings):
    """That model with other settings, its weights as at first."""
    model, weights = built("temporal_ensemble") if settings.get("mode") == "temporal_ensemble" else built()
    model.config = Config(**SMALL | settings)
    for name in ("student", "teacher"):
        if hasattr(model, name):
            getattr(model, name).set_weights(weights)
    return model


def batch(seed=0):
    rng = np.random.default_rng(seed)
    arrays = {
        "image": rng.normal(size=(2, 16, 16, 1)).astype("float32"), "there": np.array([[1, 1, 0], [1, 1, 1]], bool),
        "points": rng.uniform(0, 1, (2, 3, 2)).astype("float32"), "case": np.array([2, 0]), "index": np.arange(2),
    }  # fmt: skip
    return {name: tf.constant(value) for name, value in arrays.items()}


def bits(network):
    return [w.numpy() for w in network.weights]


def same(ones, others):
    return all(np.array_equal(a, b) for a, b in zip(ones, others, strict=True))


# --- the cascade ------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
@pytest.mark.parametrize("options", [{}, {"transform": "perspective", "shared": False, "steps": 4}])
def test_landmarks_begin_at_the_mean_shape_whatever_the_image(options):
    cascade = Cascade(MEAN, width=4, narrow=3, **options)
    moved, local = cascade(tf.random.stateless_normal((3, 5, 6, 2), (0, 1)))
    assert moved.shape == (3, 3, 2) and local.shape == (3, options.get("steps", 3), 3, 2)
    np.testing.assert_allclose(moved, np.tile(MEAN, (3, 1, 1)), atol=1e-6)
    np.testing.assert_allclose(local, np.tile(MEAN, (3, local.shape[1], 1, 1)), atol=1e-6)
    assert len(cascade.locally) == (4 if options else 1)
    again = Cascade.from_config(cascade.get_config())
    assert again.arguments == cascade.arguments


@pytest.mark.one_stack
def test_features_are_read_at_the_newest_places():
    """A step sees the map where the step before left a landmark, and where the others lie from there."""
    cascade = Cascade(MEAN, width=4, narrow=3, steps=2)
    y, x = np.mgrid[:8, :8].astype("float32")
    maps = tf.constant(np.stack([x, y], -1)[None])  # tells where it is read
    cascade(maps)
    seen = []
    call = type(cascade.locally[0]).call

    class Spy:
        def __init__(self, inner):
            self.inner = inner

        def __call__(self, features):
            seen.append(features.numpy())
            return call(self.inner, features) + 0.05

    cascade.locally = [Spy(cascade.locally[0])]
    moved, local = cascade.call(maps)
    for features, places in zip(seen, (moved.numpy(), local[:, 0].numpy()), strict=True):
        np.testing.assert_allclose(features[..., :2], places * 8 - 0.5, atol=1e-5)
        expected = places[:, None] - places[:, :, None]
        np.testing.assert_allclose(features[..., 2:], expected.reshape(1, 3, 6), atol=1e-6)


@pytest.mark.one_stack
@pytest.mark.parametrize("through", [True, False])
def test_gradients_go_through_earlier_places_if_asked_for(through):
    cascade = Cascade(MEAN, width=4, narrow=3, steps=1, through=through)
    maps = tf.random.stateless_normal((1, 6, 6, 2), (0, 1))
    cascade(maps)
    cascade.locally[0].head.kernel.assign(np.ones((3, 2)))
    with tf.GradientTape() as tape:
        step = cascade(maps)[1][:, 0] - cascade(maps)[0]
        value = tf.reduce_sum(step)
    slope = tape.gradient(value, cascade.globally.graph.head.bias)
    moves = 0.0 if slope is None else float(np.abs(slope).max())
    assert (moves > 1e-4) == through


# --- losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_a_mean_within_the_margin_costs_nothing_and_has_no_gradient():
    """The margin is taken of the mean, as printed, not of each landmark."""
    model = made(margin=0.1, local_weight=0.0)
    true, there = tf.constant(np.tile(MEAN, (2, 1, 1)), tf.float32), tf.ones((2, 3), tf.bool)
    for shift, expected in ((0.0, 0.0), (0.1 * 6 / 2, 0.0), (0.5, 0.5 / 3 - 0.1)):
        moved = tf.Variable(true + [[[shift, shift], [0, 0], [0, 0]]])  # mean |difference| is shift / 3
        with tf.GradientTape() as tape:
            loss, logs = model.supervised((None, moved, tf.stop_gradient(moved)[:, None]), true, there)
        slope = tape.gradient(loss, moved).numpy()
        assert float(loss) == pytest.approx(expected, abs=1e-6) == float(logs["global"])
        assert float(logs["local"]) == pytest.approx(shift / 3, abs=1e-6)
        assert slope.any() == (expected > 0)


@pytest.mark.one_stack
def test_missing_landmarks_count_nowhere():
    rng = np.random.default_rng(0)
    found, true = rng.random((2, 4, 2)).astype("float32"), rng.random((2, 4, 2)).astype("float32")
    there = np.array([[1, 0, 1, 1], [0, 0, 1, 0]], bool)
    expected = np.abs(found - true)[there].mean()
    assert float(mean_l1(tf.constant(found), true, there)) == pytest.approx(expected, rel=1e-6)
    assert float(mean_l1(tf.constant(found), true, there & False)) == 0.0


@pytest.mark.one_stack
def test_all_steps_or_the_last_are_learnt():
    rng = np.random.default_rng(0)
    local, true = rng.random((2, 2, 3, 2)).astype("float32"), rng.random((2, 3, 2)).astype("float32")
    moved, there = tf.constant(local[:, 0]), tf.ones((2, 3), tf.bool)
    for which, used in (("final", local[:, 1:]), ("all", local)):
        model = made(local_loss=which, local_weight=2.0)
        loss, logs = model.supervised((None, moved, tf.constant(local)), tf.constant(true), there)
        last = np.abs(used - true[:, None]).mean()
        assert float(logs["local"]) == pytest.approx(last, rel=1e-5)
        assert float(loss) == pytest.approx(float(logs["global"]) + 2 * last, rel=1e-5)


@pytest.mark.one_stack
def test_right_after_copying_student_and_teacher_agree():
    """L'_local and L_js are 0, and L'_global is what lies between the two sets of landmarks, less the margin."""
    model = made(margin=0.01)
    loss, logs = model.unlabelled_loss(batch())
    assert float(logs["unlabelled"]) == float(loss)
    _, moved, local = model.student(batch()["image"])
    apart = float(np.abs(moved - local[:, -1]).mean())
    assert float(logs["js"]) == pytest.approx(0, abs=1e-6) and apart > 0.02
    assert float(loss) == pytest.approx(apart - 0.01, rel=1e-4) == float(logs["unlabelled"])


@pytest.mark.one_stack
def test_feature_maps_are_held_together():
    """w2 = 0 is the mode fewshot; otherwise the divergence of noisy and clean maps is added."""
    data = batch()
    losses = {}
    for mode, weight in (("fewshot", 1.0), ("fewshot_js", 0.0), ("fewshot_js", 2.0)):
        model = made(mode=mode, js_weight=weight, noise=0.3)
        losses[mode, weight] = float(model.unlabelled_loss(data)[0])
    assert losses["fewshot", 1.0] == losses["fewshot_js", 0.0]
    noisy, clean = model.student(model.noisy(data))[0], model.teacher(data["image"])[0]
    apart = float(tf.reduce_mean(jensen_shannon(noisy, clean)))
    assert apart > 1e-4 and losses["fewshot_js", 2.0] == pytest.approx(losses["fewshot", 1.0] + 2 * apart, rel=1e-4)


@pytest.mark.one_stack
def test_noise_is_a_share_of_an_image_s_range():
    model, data = made(noise=0.1), batch()
    wide = data | {"image": data["image"] * [[[[1.0]]], [[[10.0]]]]}
    added = (model.noisy(wide) - wide["image"]).numpy()
    span = np.ptp(wide["image"].numpy(), axis=(1, 2, 3))
    np.testing.assert_allclose(added.std((1, 2, 3)), 0.1 * span, rtol=0.2)
    np.testing.assert_array_equal(made(noise=0.0).noisy(data), data["image"])


# --- the second stage -------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_one_batch_of_so_many_is_labelled():
    turns = BatchTurns(100, 8)
    assert sum(turns.is_labelled(step) for step in range(101 * 7)) == 7 and turns.is_labelled(0)
    model = made(ratio=100)
    assert [model.phases_of(step) for step in (0, 1, 100, 101)] == [
        ("labelled",), ("unlabelled",), ("unlabelled",), ("labelled",)]  # fmt: skip
    turns, seen = BatchTurns(3, 2), {True: [], False: []}
    for index in range(40):
        known, number = turns.place(index)
        seen[known].append(number)
        assert known == turns.is_labelled(index // 2)
    assert seen == {True: list(range(10)), False: list(range(30))}
    assert all(BatchTurns(0, 2).place(index) == (True, index) for index in range(9))


@pytest.mark.one_stack
@pytest.mark.parametrize("decay", [0.0, 0.9, 1.0])
def test_the_teacher_is_the_student_s_average_and_has_no_gradient(decay):
    model = made(decay=decay)
    start = bits(model.teacher)
    assert same(start, bits(model.student)) and not model.teacher.trainable_variables
    assert model.network is model.teacher
    model.train_step(batch(), "unlabelled")
    now = bits(model.student)
    assert not same(start, now)
    for old, new, found in zip(start, now, bits(model.teacher), strict=True):
        np.testing.assert_allclose(found, new + decay * (old - new), rtol=1e-5, atol=1e-7)


@pytest.mark.one_stack
def test_labelled_batches_teach_their_landmarks():
    model, data = made(mode="fewshot"), batch()
    loss, logs = model.labelled_loss(data)
    expected, _ = model.supervised(model.student(data["image"]), data["points"], data["there"])
    assert float(loss) == pytest.approx(float(expected), rel=1e-5) == float(logs["labelled"])
    other = data | {"points": tf.where(data["there"][..., None], data["points"], 9.0)}
    assert float(model.labelled_loss(other)[0]) == float(loss)  # what is missing counts nowhere
    before = bits(model.student)
    model.train_step(data, "labelled")
    assert not same(before, bits(model.student))


@pytest.mark.one_stack
def test_pseudo_labels_are_those_of_the_frozen_network():
    model = made(mode="pseudo_label")
    start = bits(model.teacher)
    for _ in range(2):
        model.train_step(batch())
    assert same(start, bits(model.teacher)) and not same(start, bits(model.student))


@pytest.mark.one_stack
def test_the_pi_model_is_its_own_clean_pass():
    model = made(mode="pi_model", noise=0.3)
    data = batch()
    clean = model.student(data["image"])[2][:, -1]
    expected, _ = model.supervised(model.student(model.noisy(data)), clean, tf.ones((2, 3), tf.bool))
    assert float(model.unlabelled_loss(data)[0]) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.one_stack
def test_a_temporal_ensemble_is_the_unbiased_mean_of_earlier_visits():
    """Against Z <- a Z + (1 - a) p, Z / (1 - a^t), of each image's own visits."""
    model, share = made(mode="temporal_ensemble", ensemble=0.6), 0.6
    assert not hasattr(model, "teacher") and model.network is model.student
    ensemble, visits = np.zeros((4, 3, 2)), np.zeros(4)
    for seed in range(3):
        data = batch(seed) | {"case": tf.constant([2, seed], tf.int64)}
        if seed == 2:
            continue
        found = model.student(data["image"])[2][:, -1].numpy()
        told = model.ensembled(data).numpy()
        for row, case in enumerate(data["case"].numpy()):
            ensemble[case] = share * ensemble[case] + (1 - share) * found[row]
            visits[case] += 1
            np.testing.assert_allclose(told[row], ensemble[case] / (1 - share ** visits[case]), rtol=1e-5)
    np.testing.assert_allclose(tf.convert_to_tensor(model.ensemble), ensemble, rtol=1e-5, atol=1e-7)
    assert tf.convert_to_tensor(model.visits).numpy().tolist() == visits.tolist() == [1, 1, 2, 0]
    before = bits(model.student)
    model.train_step(batch(5))
    assert not same(before, bits(model.student))


# --- data -------------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_few_patients_are_labelled_and_all_others_of_training_are_not():
    one = method()
    known, others = one.labelled_cases, one.unlabelled_cases
    assert len(known) == 3 and len(others) == len(one.cases["train"]) - 3
    assert not {case.group for case in known} & {case.group for case in others}
    assert all("points" in case.meta for part in ("validation", "test") for case in one.cases[part])
    assert sum("points" not in case.meta for case in others) == 5
    fewer = method("model.labelled=2").labelled_cases
    assert {case.id for case in fewer} < {case.id for case in known}
    half = method("model.labelled=null", "data.labelled_share=0.5").labelled_cases
    assert len(half) == 3 and {case.id for case in half} == {case.id for case in known}


@pytest.mark.one_stack
def test_samples_take_turns_and_unlabelled_ones_tell_nothing():
    one = method("model.ratio=2", "model.rotate_degrees=0", "model.scale=[1, 1]", "model.shift=0", "model.light=0")
    samples = one.turned_samples()
    images = {one.open(case).image[0].tobytes(): case for case in one.cases["train"]}
    cases = one.unlabelled_cases
    for index in range(24):
        sample = samples.read(index)
        case = images[sample["image"].tobytes()]
        if (index // 2) % 3 == 0:
            assert case in one.labelled_cases
            there = ~np.isnan(one.points(case)).any(-1)
            np.testing.assert_array_equal(sample["there"], there)
            shares = (one.points(case) + 0.5) / 32
            np.testing.assert_allclose(sample["points"][there], shares[there], atol=1e-6)
            assert not sample["points"][~there].any()
        else:
            assert case is cases[sample["case"]] and not sample["there"].any()
    seen = [samples.read(index)["case"] for index in range(6 * len(cases)) if (index // 2) % 3]
    assert sorted(seen[: len(cases)]) == list(range(len(cases)))  # an epoch: each once


@pytest.mark.one_stack
def test_images_and_landmarks_are_moved_together():
    """A bright dot at a landmark is there still after turning, scaling, shifting, flipping and other light."""
    one = method("model.flip=1", "model.size=[64, 64]", "data.options.missing=0")
    case = one.labelled_cases[0]
    y, x = np.mgrid[:64, :64]
    point = one.points(case)[0]
    image = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / 8)[..., None].astype("float32")
    for seed in range(5):
        moved, points = one._moved(image, one.points(case), np.random.default_rng(seed))
        if np.isnan(points[0]).any():
            continue
        row, column = np.unravel_index(moved[..., 0].argmax(), (64, 64))
        np.testing.assert_allclose([column, row], points[0], atol=1.0)
        assert moved.max() != image.max()


@pytest.mark.one_stack
def test_landmarks_come_back_to_the_pixels_of_the_file():
    one = method("data.options.missing=0")
    case = one.labelled_cases[0]
    prepared, file = one.open(case), one.geometry(case)
    assert prepared.image.shape == (1, 32, 32, 1) and file.shape[1:] == (40, 32)
    points = one.points(case)
    np.testing.assert_allclose(points[:, 1], (np.array(case.meta["points"])[:, 1] + 0.5) * 32 / 40 - 0.5, atol=1e-6)
    assert one.spacing_mm(case) == pytest.approx((6, 6))
    inner = prepared.image[0, :, 3:-3, 0]
    assert abs(inner.mean()) < 0.2 and (prepared.image[0, :, :3] == 0).all()


# --- settings and bad input -------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_the_variants_are_settings():
    """Section 8 of the card, and the open choices of section 3 and 4."""
    folder = REPOSITORY / "configs" / "fewshot_dag"
    found = {path.stem: tfmed.load_config(path).model for path in folder.glob("*.yaml")}
    plain = tfmed.load_config(REPOSITORY / CONFIG).model
    everything = [plain, *found.values()]
    assert {one.mode for one in everything} == {
        "dag", "pseudo_label", "pi_model", "temporal_ensemble", "fewshot", "fewshot_js"}  # fmt: skip
    assert {one.labelled for one in everything} == {1, 5, 10, 50}
    for name, values in {"js_reduction": {"paper", "per_pixel"}, "deploy": {"teacher", "student"}, "margin": {0, 0.01},
                         "global_transform": {"affine", "perspective"}, "shared_steps": {True, False},
                         "local_loss": {"final", "all"}}.items():  # fmt: skip
        assert {getattr(one, name) for one in everything} == values, name
    assert plain.network == HRNet(widths=(18, 36, 72, 144), norm="layer")
    assert (plain.size, plain.feature_maps, plain.ratio, plain.decay, plain.local_steps) == (
        (512, 512),
        256,
        100,
        0.99,
        3,
    )
    assert (plain.noise, plain.local_weight, plain.js_weight, plain.learning_rate) == (0.05, 1, 1, 1e-4)
    assert (plain.rotate_degrees, plain.scale, plain.shift, plain.light) == (15, (0.8, 1.2), 0.1, 0.2)
    for path in folder.glob("*.yaml"):
        tfmed.load_config(path, profile="demo")


def folder_of(root, lines, size=(40, 48), images=6):
    """A folder of pictures and a table of their landmarks."""
    root.mkdir()
    for k in range(images):
        noise = np.random.default_rng(k).integers(0, 255, size, dtype=np.uint8)
        Image.fromarray(noise).save(root / f"{k}.png")
    (root / "points.csv").write_text("image,name,x,y\n" + lines)
    return (f"data.root={root}", "data.source=points_folder", "data.options={grey: true}")


def lines_of(text="{k}.png,tip,{k},20\n{k}.png,base,30,3{k}\n", count=6):
    return "".join(text.format(k=k) for k in range(count))


FOLDERS = {
    "outside": (lines_of() .replace("0.png,tip,0,20", "0.png,tip,0,99"), "outside of the image of 48 x 40"),
    "twice at one place": (lines_of().replace("0.png,tip,0,20", "0.png,tip,30,30"), "stands there twice"),
    "not a number": (lines_of().replace("0.png,tip,0,20", "0.png,tip,nan,20"), "no place"),
    "swapped": (lines_of("{k}.png,tip,2,45\n{k}.png,base,30,3{k}\n"), "if x and y changed places"),
    "nobody has it": (lines_of() + "0.png,apex,,\n", "landmark apex: none of the 3 labelled training images has it"),
    "unnamed": (lines_of().replace(",tip", ",").replace(",base", ",") + "0.png,,9,9\n", "points without names"),
    "none": ("0.png,,,\n1.png,,,\n2.png,,,\n3.png,,,\n4.png,,,\n5.png,,,\n", "no image has a landmark"),
}  # fmt: skip
REFUSED = {
    "pairs": (("model.flip_pairs=[[wrist, elbow]]",), "flip_pairs: elbow is no landmark"),
    "unknown landmark": (("model.landmarks=[wrist, elbow]",), "model.landmarks: elbow", "wrist, thumb mcp"),
    "twice": (("model.landmarks=[wrist, wrist]",), "landmarks: one stands there twice"),
    "many": (("model.labelled=40",), "model.labelled: 40 labelled patients", "train"),
    "both": (("data.labelled_share=0.5",), "model.labelled", "leave one of the two out"),
    "moved ensemble": (("model.mode=temporal_ensemble", "model.move_unlabelled=true"), "model.move_unlabelled"),
    "none unlabelled": (("data.options.unlabelled=0", "model.labelled=8"),
                        "learns from unlabelled images", "mode dag"),
    "nothing annotated": (("data.options={cases: 5, shape: [40, 32], unlabelled: 5}",), "no image has landmarks"),
    "scale": (("model.scale=[1.2, 0.8]",), "scale: 1.2, 0.8", "lower one first"),
    "size": (("model.size=[33, 32]",), "size: 33 is no multiple of 2"),
}  # fmt: skip


@pytest.mark.one_stack
@pytest.mark.parametrize("name", REFUSED)
def test_bad_settings_are_one_line(name, tmp_path, capsys):
    overrides, *words = REFUSED[name]
    assert refused_fit(capsys, tmp_path, REPOSITORY / CONFIG, TINY, overrides, *words)


@pytest.mark.one_stack
@pytest.mark.parametrize("name", FOLDERS)
def test_bad_landmarks_are_one_line(name, tmp_path, capsys):
    lines, words = FOLDERS[name]
    assert refused_fit(capsys, tmp_path, REPOSITORY / CONFIG, TINY[1:], folder_of(tmp_path / "set", lines), words)


@pytest.mark.one_stack
def test_an_unlabelled_folder_is_named_where_it_is_empty_or_held_out(tmp_path, capsys):
    given = folder_of(tmp_path / "set", lines_of())
    (tmp_path / "empty").mkdir()
    for folder, words in (("empty", "holds no case"), ("set", "is held out in the data section")):
        more = f"model.unlabelled={{root: {tmp_path / folder}, options: {{grey: true, table: ''}}}}"
        assert refused_fit(capsys, tmp_path, REPOSITORY / CONFIG, TINY[1:], (*given, more), "model.unlabelled", words)
