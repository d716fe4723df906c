"""Heatmap landmarks: the harness, and the items of the card's "What must hold" that are not of a room alone."""

import json

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
from tfmed.data.points import as_points
from tfmed.io import Volume
from tfmed.io.itk import LPS_RAS
from tfmed.io.points import read_points_csv, read_points_json
from tfmed.methods.adaptor_heatmap import Config, Detector, heatmap_loss, moved
from tfmed.ops.heatmaps import render
from tfmed.tasks.backbones import UNet
from tfmed.tasks.landmark_settings import Decoding
from tfmed.tasks.point_finder import PointFinder

pytestmark = pytest.mark.current

CONFIG = "configs/adaptor_heatmap.yaml"
SMALL = "model.network={name: unet, widths: [2, 4], norm: batch}"
TINY = (
    "data.options={cases: 8, surgeries: 4, shape: [32, 48], fewest: 1, most: 4}",
    "data.split={folds: 4, fold: 0, validation: 0.3, seed: 0}",
    "train.batch_size=4",
    "train.validate_every=2",
    "model.size=[32, 48]",
    "model.simulator=null",
    "model.translate=none",
    "model.most_points=6",
    "model.decoding={post: threshold}",
    SMALL,
)
SIMULATOR = (
    "model.simulator={source: phantom_endoscopy, options: {cases: 3, look: simulator, shape: [32, 48], fewest: 1}}"
)
TRANSLATED = (
    SIMULATOR, "model.translate=sim2real", "model.translator_steps=2", "model.translator_crop=32",
    "model.translator_first=2", "model.translator_blocks=1", "model.history=2", "model.most_points=15",
)  # fmt: skip


class TestHarness(MethodHarness):
    config = CONFIG
    tiny = TINY
    replica_tolerance = 1e-3
    bad = ("model.sigma=0", "sigma")

    @pytest.mark.one_stack
    def test_view(self, run):
        """True and found points, as many as the table of cases says, and the heatmap."""
        shown, method = views_of(tfmed.view(run)), run.restored()
        for one, row in zip(shown, method.evaluate({"one": method})["cases"], strict=True):
            _, heatmap, found, reference = one["panels"][0]["layers"]
            assert heatmap["kind"] == "map" and [len(reference["classes"]), len(found["classes"])] == [
                row["points"], row["found"]]  # fmt: skip
            missed = [k for k in reference["classes"] if k["name"].endswith("missed")]
            assert len(missed) == len(reference["written"]) == row["points"] - row["matched"]
            assert one["note"].startswith(f"{row['matched']} of {row['points']} points found within")

    def parity(self, run):
        """Sides that are no multiples of what the network needs, and values as in files."""
        method, calls, expected = run.restored(), [], []
        for shape in ((2, 13, 18), (1, 32, 9)):
            image = np.random.default_rng(sum(shape)).uniform(0, 255, (*shape, 3)).astype("float32")
            calls.append({"image": image})
            expected.append(method.probabilities(tf.constant(image / 255)).numpy())
            assert expected[-1].shape == (*shape, 1)
        return expected, calls

    @pytest.mark.one_stack
    def test_scores_add_up(self, run):
        method = run.restored()
        found = method.evaluate({"one": method})
        (total,), cases = found["evaluation"], found["cases"]
        assert total["points"] == sum(row["points"] for row in cases)
        assert total["points"] == sum(len(case.meta["points"]) for case in method.cases["test"])
        assert total["images"] == len(cases) and len(found["groups"]) == 1
        assert total["matched"] <= min(total["points"], total["found"])
        assert found.pictures["points"].figure() is not None

    @pytest.mark.one_stack
    def test_previews_show_points_and_heatmaps(self, run):
        shown = run.restored().previews()["points"]
        assert (run.path / "previews" / "points.png").exists()
        assert all(one.heatmap.shape == one.image.shape[:2] == (32, 48) for one in shown.images)
        assert "circles of 6 px" in shown.caption

    @pytest.mark.one_stack
    def test_a_run_and_its_savedmodel_predict_the_same_files(self, run, tmp_path):
        from tfmed.tasks.exported import _points  # what opens a SavedModel of this task

        method = run.restored()
        frame = method.cases["test"][0]
        array = np.stack([phantoms.read(frame.images[name]).array[0] for name in frame.images], -1).astype("uint8")
        path = tmp_path / "surgery 1" / "video" / "images" / "f 1.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(array).save(path)
        module = method.export_module()
        note = json.loads(json.dumps(module.note, indent=1))  # as it is written beside the model
        opened = _points(note)(tmp_path, (), module.signatures())
        files = {}
        for name, predictor in (("run", method), ("saved", opened)):
            outputs = ["points", "picture", "heatmap"]
            files[name] = list(predictor.predict([str(path)], tmp_path / name, outputs))
            assert [file.name for file in files[name]] == [
                "f 1_points.json", "f 1_points.png", "f 1_heatmap.png", "points.csv"]  # fmt: skip
        stored = json.loads(files["run"][0].read_text())
        names = stored["folderName"], stored["subfolderName"], stored["imageFileName"]
        assert names == ("surgery 1", "video", "f 1.png")
        ours, theirs = (read_points_json(files[name][0], (48, 32)) for name in files)
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
        np.testing.assert_array_equal(read_points_csv(files["run"][-1])["f 1.png"][1], ours)
        np.testing.assert_array_equal(ours, method.finder()([phantoms.read(frame.images[n]) for n in frame.images])[0])
        maps = [np.asarray(Image.open(files[name][2])).astype(int) for name in files]
        assert maps[0].shape == (32, 48) and np.abs(maps[0] - maps[1]).max() <= 1


def method(*overrides):
    settings = tfmed.load_config(REPOSITORY / CONFIG, (*TINY, *overrides))
    return registry.method_class(settings.method)(settings)


# --- the loss ---------------------------------------------------------------------------------------------------------


def numpy_dice(logits, target, squared, smooth=1.0):
    p = 1 / (1 + np.exp(-logits.astype("float64")))
    size = (p**2).sum() + (target**2).sum() if squared else p.sum() + target.sum()
    return 1 - (2 * (p * target).sum() + smooth) / (size + smooth)


@pytest.mark.parametrize("squared", [False, True])
def test_dice_is_its_formula_on_probabilities(squared):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 6, 7, 1)).astype("float32")
    target = rng.random((2, 6, 7, 1)).astype("float32")
    found = float(heatmap_loss(logits, target, squared=squared))
    assert found == pytest.approx(numpy_dice(logits, target, squared), rel=1e-5)
    assert 0 <= found <= 1
    error = float(heatmap_loss(logits, target, "mse"))
    assert error == pytest.approx(((1 / (1 + np.exp(-logits)) - target) ** 2).mean(), rel=1e-5)
    assert float(heatmap_loss(logits, target, "mse+dice", squared)) == pytest.approx(error + found, rel=1e-5)


def test_dice_of_what_is_right_and_of_nothing():
    mask = (np.random.default_rng(0).random((1, 9, 9, 1)) < 0.3).astype("float32")
    assert float(heatmap_loss(40 * (2 * mask - 1), mask)) == pytest.approx(0, abs=1e-6)
    nothing = np.zeros((1, 9, 9, 1), "float32")
    values = [float(heatmap_loss(nothing + z, nothing)) for z in (0.0, -4.0, -8.0, -40.0)]
    assert values == sorted(values, reverse=True) and values[-1] < 1e-6


@pytest.mark.one_stack
def test_linear_dice_makes_a_disc_and_squared_dice_the_gaussian():
    """Section 4 of the card: free logits, one Gaussian; best loss 0.364, disc of 1.51 sigma."""
    sigma = 4.0
    target = render(np.array([[[20.0, 20.0]]]), (41, 41), sigma)
    logits, adam = tf.Variable(tf.zeros((1, 41, 41, 1))), [tf.zeros((1, 41, 41, 1))] * 2

    @tf.function
    def step(k, mean, square):
        with tf.GradientTape() as tape:
            loss = heatmap_loss(logits, target, smooth=1e-3)
        gradient = tape.gradient(loss, logits)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        logits.assign_sub(0.1 * mean / (1 - 0.9**k) / (tf.sqrt(square / (1 - 0.999**k)) + 1e-12))
        return loss, mean, square

    for k in range(1, 600):
        loss, *adam = step(tf.constant(float(k)), *adam)
    p = tf.sigmoid(logits).numpy()
    assert 0.355 < float(loss) < 0.37
    assert ((p < 0.05) | (p > 0.95)).mean() > 0.99
    assert 1.45 < np.sqrt((p > 0.5).sum() / np.pi) / sigma < 1.6
    g = np.clip(target.numpy(), 1e-7, 1 - 1e-7)
    same = np.log(g / (1 - g)).astype("float32")
    assert float(heatmap_loss(same, target, squared=True, smooth=1e-3)) < 1e-3
    assert float(heatmap_loss(same, target, smooth=1e-3)) == pytest.approx(0.5, abs=0.01)


# --- what trains ------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_frames_and_points_are_moved_together():
    points = np.array([[12.0, 10.0], [50.0, 40.0], [70.0, 12.0]])
    image = render(points[None], (64, 96), 2.0)[0].numpy().repeat(3, -1)
    turned = flipped = 0
    for seed in range(12):
        made = moved(image, points, Config(most_points=4), np.random.default_rng(seed))
        found = made["points"][made["there"]]
        again = render(found[None], (64, 96), 2.0)[0].numpy()
        inner = again.max(-1) > 0.5
        assert np.abs(made["image"][..., :1] - again)[inner].max() < 0.12
        turned += len(found) < 3 or np.abs(np.sort(found[:, 0]) - np.sort(points[:, 0])).max() > 0.01
        flipped += not np.allclose(found[:1], points[:1])
    assert turned > 2 and flipped > 6
    plain = moved(image, points, Config(flip=0, rotate_chance=0), np.random.default_rng(0))
    np.testing.assert_array_equal(plain["image"], image)
    np.testing.assert_array_equal(plain["points"][:3], points)


@pytest.mark.one_stack
def test_an_epoch_shows_every_frame_once_real_and_simulated():
    made = method(SIMULATOR, "model.most_points=15", "model.flip=0", "model.rotate_chance=0")
    samples = made.samples()
    frames = [*made.cases["train"], *made.simulated]
    shown = {samples.read(k)["image"].tobytes() for k in range(len(frames))}
    assert len(shown) == len(frames) == len(made.cases["train"]) + 3
    k = next(k for k in range(len(frames)) if samples.read(k)["image"].tobytes()
             == np.asarray(made.open(frames[0]).image[0], np.float32).tobytes())  # fmt: skip
    one = samples.read(k)
    np.testing.assert_allclose(one["points"][one["there"]], as_points(frames[0].meta["points"]), atol=1e-4)


def test_colours_change_by_each_frame_s_own_draws_and_stay_in_range():
    model = Detector(Config(size=(16, 16), network=UNet(widths=(2, 4)), colour_chance=1.0), seed=1, per_step=4)
    image = tf.random.stateless_uniform((4, 16, 16, 3), (0, 0))
    index = tf.range(4, dtype=tf.int64)
    made = model.coloured(image, index).numpy()
    assert made.min() >= 0 and made.max() <= 1
    assert (np.abs(made - image.numpy()).max((1, 2, 3)) > 0.02).all()
    np.testing.assert_allclose(model.coloured(image[2:], index[2:]).numpy(), made[2:], atol=1e-6)
    model.config = Config(colour_chance=0.0)
    assert model.coloured(image, index) is image


@pytest.mark.one_stack
def test_no_surgery_is_on_both_sides():
    tested = set()
    for fold in range(4):
        made = method(f"data.split={{folds: 4, fold: {fold}, validation: 0.3, seed: 0}}")
        groups = {part: {case.group for case in made.cases[part]} for part in ("train", "validation", "test")}
        assert groups["validation"] and not groups["train"] & (groups["validation"] | groups["test"])
        assert not groups["validation"] & groups["test"]
        tested |= groups["test"]
    assert len(tested) == 4


@pytest.mark.one_stack
def test_the_translator_sees_training_surgeries_alone(monkeypatch):
    made = method(*TRANSLATED)
    samples, seen, usual = made.pairs(), set(), made.open
    monkeypatch.setattr(made, "open", lambda case: seen.add(case.group) or usual(case))
    for k in range(40):
        one = samples.read(k)
        assert all(image.shape == (32, 32, 3) and np.abs(image).max() <= 1 for image in one.values())
    assert seen == {case.group for case in (*made.cases["train"], *made.simulated)}


@pytest.mark.one_stack
def test_translated_frames_train_with_the_points_that_they_had():
    made = method(*TRANSLATED, "model.flip=0", "model.rotate_chance=0")
    names = [stage.name for stage in made.stages()]
    assert names == ["translator", "detector"]
    made.models["translator"] = translator = next(iter(made.stages())).model()
    frames, samples = [*made.cases["train"], *made.simulated], made.samples()
    found = {one["points"].tobytes(): one["image"] for one in map(samples.read, range(len(frames)))}
    assert len(found) == len(frames)
    for case in made.simulated:
        plain = np.asarray(made.open(case).image[0], np.float32)
        expected = translator.generator(2 * plain[None] - 1)[0].numpy() / 2 + 0.5
        wanted = moved(plain, made.points(case), made.config, np.random.default_rng(0))["points"]
        np.testing.assert_allclose(found[wanted.tobytes()], expected, atol=0.5 / 255 + 1e-5)  # kept as whole numbers
        assert np.abs(expected - plain).max() > 0.05


@pytest.mark.long
def test_a_translator_comes_first_and_its_frames_train(tmp_path):
    from tfmed.engine.lifecycle import fit

    overrides = (*TINY, *TRANSLATED, "train.steps=2", "train.log_every=1", "train.tensorboard=false")
    run = fit(tfmed.load_config(REPOSITORY / CONFIG, overrides), tmp_path / "run")
    assert list(dict.fromkeys(run.metrics()["stage"])) == ["translator", "detector"]
    assert np.isfinite(run.metrics().query("stage == 'translator'")["cycle"]).all()
    made = tfmed.load_run(run.path).restored()
    case = made.simulated[0]
    frame, plain = made.translated(case), made.open(case).image[0]
    assert frame.shape == plain.shape and frame.min() >= 0 and frame.max() <= 1 and np.abs(frame - plain).max() > 0.05
    expected = made.models["translator"].generator(2 * plain[None] - 1)[0].numpy() / 2 + 0.5
    np.testing.assert_allclose(frame, expected, atol=1e-5)
    frames, samples = [*made.cases["train"], *made.simulated], made.samples()
    assert len({samples.read(k)["points"].tobytes() for k in range(len(frames))}) == len(frames)
    assert made.previews()["translation"].figure() is not None


# --- prediction -------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_points_come_back_to_the_pixels_of_the_file():
    """An image that preprocessing makes twice as large along x: the point of its map lies at half of that x."""
    from tfmed.data.preprocess import Resample

    image = Volume(np.random.default_rng(0).integers(0, 255, (1, 20, 30)).astype("int16"), LPS_RAS)
    heatmap = render(np.array([[[40.0, 8.0]]]), (20, 60), 2.0)[0, ..., 0].numpy()
    finder = PointFinder(["grey"], [Resample(shape=(1, 20, 60))], Decoding(), lambda stack: heatmap)
    found, _ = finder([image])
    np.testing.assert_allclose(found, [[(40 + 0.5) / 2 - 0.5, 8]], atol=1e-6)


@pytest.mark.one_stack
def test_preprocessing_moves_training_points_too():
    made = method("data.preprocess=[{step: resample, shape: [1, 64, 96]}]", "model.size=[64, 96]")
    case = next(case for case in made.cases["train"] if case.meta["points"])
    assert made.open(case).image.shape == (1, 64, 96, 3)
    np.testing.assert_allclose(made.points(case), 2 * as_points(case.meta["points"]) + 0.5, atol=1e-4)


@pytest.mark.one_stack
def test_validation_counts_all_frames_together():
    made = method("model.decoding={post: otsu}")
    model = next(iter(made.stages())).model()
    made.models["detector"] = model
    true = {case.id: made.points(case) for case in made.validation_cases()}
    maps = iter([render(points[None], (32, 48), 2.0)[0, ..., 0].numpy() for points in true.values()])
    made.heatmap = lambda image, network=None: next(maps)
    found = made.validation(model)
    assert found.keys() == set(made.validated())
    assert found["precision"] > 0.9  # what is rendered is found again, but for points that touch


# --- settings and bad input -------------------------------------------------------------------------------------------

REFUSED = {
    "size": (("model.size=[33, 48]",), "size: 33 is no multiple of 2", "try 32"),
    "another size": (("model.size=[64, 48]",), "has 32 x 48 pixels where model.size is 64 x 48", "step: resample"),
    "no simulator": (("model.translate=sim2real",), "simulator", "root"),
    "crop": ((*TRANSLATED, "model.translator_crop=36"), "translator_crop", "multiple of 4"),
    "too many points": (("model.most_points=1", "data.options={cases: 8, shape: [32, 48], fewest: 3, most: 4}"),
                        "raise model.most_points"),
    "no points": (("data.options={cases: 8, shape: [32, 48], unlabelled: 8}",), "no training image has points"),
    "volumes": (("model.network={name: vnet}",), "network", "vnet"),
    "range": (("model.intensities=[255, 0]",), "intensities", "lower value"),
}  # fmt: skip


@pytest.mark.one_stack
@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_one_line(name, tmp_path, capsys):
    assert refused_fit(capsys, tmp_path, REPOSITORY / CONFIG, TINY, *REFUSED[name])


@pytest.mark.one_stack
def test_the_variants_are_settings():
    """Section 8 of the card."""
    folder = REPOSITORY / "configs" / "adaptor_heatmap"
    found = {path.stem: tfmed.load_config(path).model for path in folder.glob("*.yaml")}
    plain = tfmed.load_config(REPOSITORY / CONFIG).model
    assert {one.network.name for one in found.values()} == {"unet", "unet_resnext50"}
    assert {plain.translate, *(one.translate for one in found.values())} == {"none", "sim2real"}
    posts = {one.decoding.post for one in found.values()} | {plain.decoding.post}
    assert posts == {"threshold", "otsu", "otsu+open", "otsu+open+cut"}
    assert {one.decoding.cut_ratio for one in found.values()} >= {1.0, 1.25}
    assert {one.dice_form for one in found.values()} == {"linear", "squared"}
    assert {one.loss for one in found.values()} == {"dice", "mse", "mse+dice"}
    assert len({one.sigma for one in found.values()}) > 1
    stern = found["stern_unet"]
    assert stern.loss == "mse+dice" and stern.decoding.post == "threshold" and len(stern.network.widths) == 5
    for path in folder.glob("*.yaml"):
        tfmed.load_config(path, profile="demo")
