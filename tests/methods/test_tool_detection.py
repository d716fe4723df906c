"""Surgical tools with pseudo boxes: the harness, and the items of the card's "What must hold"."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness
from tests.support.refusals import refused_fit
from tests.support.view_pages import views_of
from tfmed import compat, registry
from tfmed.data import phantoms
from tfmed.data.objects import of_case
from tfmed.data.streams import Streams
from tfmed.errors import DataError
from tfmed.io.objects import Objects, read_boxes_csv, read_coco, read_voc, write_voc
from tfmed.methods.tool_detection import Config, ToolDetector, confident
from tfmed.metrics.detection import pairwise_iou
from tfmed.tasks.box_finder import BoxFinder
from tfmed.tasks.detectors import RetinaNet

pytestmark = pytest.mark.current

CONFIG = "configs/tool_detection.yaml"
SMALL = (
    "{name: retinanet, widths: [2, 2, 2, 2], blocks: [1, 1, 1, 1], pyramid: 4, convolutions: 0, "
    "anchors: [12, 20, 30, 40, 50]}"
)
TINY = (
    "data.options={cases: 12, unlabelled: 5, shape: [36, 48], kinds: 3, videos: 5}",
    "data.split={validation: 0.2, test: 0.2, seed: 0}",
    "train.batch_size=2",
    "train.validate_every=2",
    "train.schedule={kind: constant}",
    "model.size=[32, 64]",
    "model.tau=0.0",
    "model.least_score=0.0",
    "model.most_found=5",
    "model.most_boxes=5",
    "model.student_steps=4",
    f"model.detector={SMALL}",
)


class TestHarness(MethodHarness):
    config = CONFIG
    tiny = TINY
    replica_tolerance = 1e-3
    bad = ("model.size=[60, 64]", "no multiple of 32; try 64")

    @pytest.mark.one_stack
    def test_view(self, run):
        """Each image has its true and its found boxes, as many as the table of cases says; the report has a link."""
        shown, method = views_of(tfmed.view(run)), run.restored()
        rows = method.evaluate({"one": method})["cases"]
        for one, row in zip(shown, rows, strict=True):
            _, reference, found = one["panels"][0]["layers"]
            assert (one["title"], len(reference["classes"])) == (row["case"], row["boxes"])
            assert len(found["classes"]) == len(found["written"]) == row["found"]
            told = f"{row['right']} of {row['boxes']} objects found, {row['found'] - row['right']} false"
            assert one["note"].startswith(told)
        assert '<a href="view.html">' in (run.path / "report.html").read_text(encoding="utf-8")

    def parity(self, run):
        image = np.random.default_rng(0).uniform(0, 255, (2, 32, 64, 3)).astype("float32")
        method = run.restored()
        found = method.detect(tf.constant(image))
        assert found["boxes"].shape == (2, 5, 4) and found["classes"].dtype == tf.int32
        return [found["scores"].numpy()], [{"image": image}]

    @pytest.mark.one_stack
    def test_teacher_and_student_are_scored(self, run):
        method = run.restored()
        found = method.evaluate({"one": method})
        assert [row["stage"] for row in found["evaluation"]] == ["teacher", "student"]
        assert {"AP50:95", "AP50", "AP75"} < set(found["evaluation"][0])
        assert len(found["classes"]) == 2 * 3 and len(found["cases"]) == len(method.cases["test"])
        boxes = sum(len(case.meta["objects"]) for case in method.cases["test"])
        assert sum(row["boxes"] for row in found["cases"]) == boxes == sum(row["boxes"] for row in found["classes"][:3])
        assert all(picture.figure() is not None and picture.caption for picture in found.pictures.values())

    @pytest.mark.one_stack
    def test_the_student_begins_anew_and_the_teacher_stays(self, run):
        """Weights of the teacher after the run are those of its own stage's last checkpoint; the student had others."""
        from tfmed.engine.checkpoint import Checkpoints, state_variables

        teacher, student = run.restored(best=False).models.values()
        path, state = Checkpoints(run.path / "checkpoints").latest("teacher")
        before = [v.numpy() for v in state_variables(teacher)]
        Checkpoints(run.path / "checkpoints").restore(teacher, path, state)
        assert all((a == b.numpy()).all() for a, b in zip(before, state_variables(teacher), strict=True))
        assert any(
            (a.numpy() != b.numpy()).any()
            for a, b in zip(teacher.network.weights, student.network.weights, strict=True)
        )

    @pytest.mark.one_stack
    def test_pseudo_boxes_are_kept_and_read_again(self, run):
        (path,) = run.path.rglob("pseudo.json")
        stored, text = json.loads(path.read_text()), path.read_bytes()
        method = run.restored()
        assert stored["tau"] == 0 and set(stored["frames"]) == {case.id for case in method.frames}
        assert method.pseudo() == stored and path.read_bytes() == text
        rows = [row for one in stored["frames"].values() for row in one]
        assert rows and all(0 <= row[1] <= 1 and row[4] > row[2] and row[5] > row[3] for row in rows)
        for one in stored["frames"].values():
            table = np.array(one).reshape(-1, 6)
            overlap = (
                pairwise_iou(table[:, 2:], table[:, 2:]) * (table[:, :1] == table[:, 0]) * ~np.eye(len(one), dtype=bool)
            )
            assert overlap.max(initial=0) <= 0.5 + 1e-6
        assert method._are_pseudo(stored) and not method._are_pseudo({"frames": {"x": []}})

    @pytest.mark.one_stack
    def test_a_run_and_its_savedmodel_predict_the_same_files(self, run, tmp_path):
        from tfmed.tasks.exported import _boxes  # what opens a SavedModel of this task

        method = run.restored()
        frame = method.cases["test"][0]
        array = np.stack([phantoms.read(frame.images[name]).array[0] for name in frame.images], -1).astype("uint8")
        Image.fromarray(array).save(tmp_path / "f 1.png")
        module = method.export_module()
        note = json.loads(json.dumps(module.note, indent=1))  # as it is written beside the model
        opened = _boxes(note)(tmp_path, method.preprocessing(), module.signatures())
        found = {}
        for name, predictor in (("run", method), ("saved", opened)):
            outputs = ["boxes", "picture", "voc"]
            files = list(predictor.predict([str(tmp_path / "f 1.png")], tmp_path / name, outputs))
            assert [file.name for file in files] == ["f 1_boxes.png", "f 1.xml", "boxes.json", "boxes.csv"]
            size, found[name] = read_coco(files[2])["f 1.png"]
            assert size == (48, 36) and len(found[name].names) > 0
            np.testing.assert_allclose(read_boxes_csv(files[3])["f 1.png"].boxes, found[name].boxes, atol=1e-6)
            assert read_voc(files[1], size).names == found[name].names
        np.testing.assert_allclose(found["run"].boxes, found["saved"].boxes, atol=1e-3)
        np.testing.assert_allclose(found["run"].scores, found["saved"].scores, atol=1e-5)
        assert (found["run"].boxes <= [48, 36, 48, 36]).all() and (found["run"].boxes >= 0).all()


def method(*overrides):
    settings = tfmed.load_config(REPOSITORY / CONFIG, (*TINY, *overrides))
    return registry.method_class(settings.method)(settings)


# --- pseudo boxes -----------------------------------------------------------------------------------------------------


def test_the_filter_keeps_what_is_confident():
    rng = np.random.default_rng(0)
    rows = [[0, float(score), 0, 0, 5, 5] for score in rng.random(50)] + [[1, 0.99, 3, 3, 3, 9]]
    counts = []
    for tau in np.linspace(0, 1, 11):
        kept = confident(rows, tau)
        assert all(row[1] >= tau for row in kept) and [1, 0.99, 3, 3, 3, 9] not in kept
        assert [row[1] for row in kept] == sorted((row[1] for row in kept), reverse=True)
        counts.append(len(kept))
    assert counts == sorted(counts, reverse=True) and counts[0] == 50
    assert confident(rows, 1.01) == [] and confident([], 0.5, keep_top1=True) == []
    assert confident(rows, 1.01, keep_top1=True) == [max(rows[:50], key=lambda row: row[1])]
    assert confident(rows, 0.5, keep_top1=True) == confident(rows, 0.5)
    assert Config(mode="ssl").least == Config(mode="ssl_sa").least == 0.5 and Config(mode="ssl_hc").least == 0.9


@pytest.mark.one_stack
def test_without_a_confident_box_training_ends_with_one_line():
    made = method("model.tau=1.1")
    made.records.recall("pseudo", lambda: {"tau": 1.1, "frames": {case.id: [] for case in made.frames}})
    with pytest.raises(DataError, match=r"no box of 5 frames reaches the score 1.1.*model.tau"):
        made.all_samples(Streams(2, 2))


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def student():
    detector = RetinaNet(
        widths=(2, 2, 2, 2), blocks=(1, 1, 1, 1), pyramid=4, convolutions=0, anchors=(12, 20, 30, 40, 50)
    )
    config = Config(size=(32, 64), detector=detector, most_boxes=3)
    model = ToolDetector(config, classes=2, streams=Streams(1, 1), per_step=2)
    rng = np.random.default_rng(0)
    batch = {
        "image": tf.constant(rng.integers(0, 255, (2, 32, 64, 3)), tf.uint8),
        "boxes": tf.constant([[[4, 4, 28, 28], [-1] * 4], [[30, 2, 60, 30], [5, 5, 20, 20]]], tf.float32),
        "classes": tf.constant([[0, -1], [1, 0]]), "index": tf.constant([0, 1], tf.int64),
    }  # fmt: skip
    return model, batch


def loss_and_gradient(model, batch, weight):
    model.config = model.config.model_copy(update={"lambda_u": weight})
    with tf.GradientTape() as tape:
        loss, logs = model.network_loss(batch)
    found = tape.gradient(loss, [compat.tensor_variable(v) for v in model.network.trainable_variables])
    return float(loss), logs, [tf.convert_to_tensor(g).numpy() for g in found]


@pytest.mark.one_stack
def test_without_weight_the_gradient_is_the_supervised_one(student):
    model, batch = student
    state = [v.numpy() for v in model.network.weights]

    def again(weight):
        for variable, value in zip(model.network.weights, state, strict=True):
            variable.assign(value)
        return loss_and_gradient(model, batch, weight)

    zero, logs, without = again(0.0)
    model.streams = None
    only = {name: value[:1] for name, value in batch.items()}
    for variable, value in zip(model.network.weights, state, strict=True):
        variable.assign(value)
    supervised = loss_and_gradient(model, only, 0.0)[2]
    model.streams = Streams(1, 1)
    for a, b in zip(without, supervised, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    one, two = again(1.0)[0], again(2.0)[0]
    assert two - one == pytest.approx(one - zero, rel=1e-4) and one > zero  # affine in lambda_u
    assert float(logs["box"] + logs["class"]) == pytest.approx(zero, rel=1e-5)


# --- what trains ------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
@pytest.mark.parametrize("mode", ["ssl_hc", "ssl_hc_sa"])
def test_annotated_frames_are_weak_and_the_others_as_the_mode_says(mode, monkeypatch):
    made = method(f"model.mode={mode}", "model.flip=0")
    frames = {case.id: [[0, 0.99, 4.0, 4, 30, 28], [1, 0.95, 20, 2, 40, 20]] for case in made.frames}
    made.records.recall("pseudo", lambda: {"tau": 0.9, "frames": frames})
    samples, streams = made.all_samples(Streams(2, 2)), Streams(2, 2)
    known = {made.open(case).tobytes(): made.objects(case) for case in made.cases["train"]}
    other = {made.open(case).tobytes() for case in made.frames}
    for index in range(16):
        sample, (is_annotated, _) = samples.read(index), streams.place(index)
        again = samples.read(index)
        assert all((sample[name] == again[name]).all() for name in sample)
        there = sample["classes"] >= 0
        if is_annotated:
            boxes, classes = known[sample["image"].tobytes()]
            np.testing.assert_allclose(sample["boxes"][there], boxes, atol=1e-4)
            np.testing.assert_array_equal(sample["classes"][there], classes)
        else:
            assert (sample["image"].tobytes() in other) == (mode == "ssl_hc")
            assert there.any() and (sample["boxes"][there] >= 0).all()
    assert samples.per_step == 4


@pytest.mark.one_stack
def test_nobody_who_is_held_out_trains_and_boxes_follow_the_letterbox():
    made = method()
    held = {case.group for part in ("validation", "test") for case in made.cases[part]}
    assert held and not held & {case.group for case in (*made.cases["train"], *made.frames)}
    assert len(made.frames) == 5 and all("objects" not in case.meta for case in made.frames)
    case = next(case for case in made.cases["train"] if case.meta["objects"])
    assert made.open(case).shape == (32, 64, 3) and (made.open(case)[:, :10] == 125).all()  # 36 x 48 in 32 x 64
    boxes, classes = made.objects(case)
    scale = 32 / 36
    np.testing.assert_allclose(boxes[:, [0, 2]], of_case(case).boxes[:, [0, 2]] * (43 / 48) + 10, atol=0.1)
    np.testing.assert_allclose(boxes[:, [1, 3]], of_case(case).boxes[:, [1, 3]] * scale, atol=0.1)
    assert [made.classes[k] for k in classes] == list(of_case(case).names)


def test_a_finder_tells_boxes_in_pixels_of_the_file():
    """A network that answers with fixed boxes; a frame twice as large as what it sees, and grey beside it."""
    from tfmed.data.preprocess import Letterbox
    from tfmed.io import Volume
    from tfmed.io.itk import LPS_RAS

    answer = {"boxes": [[[8, 0, 40, 32], [0, 0, 4, 9]]], "classes": [[1, 0]], "scores": [[0.9, 0.8]], "count": [2]}
    seen = []

    def compute(stack):
        seen.append(stack)
        return {name: np.asarray(value) for name, value in answer.items()}

    finder = BoxFinder(("red", "green", "blue"), (Letterbox(size=(32, 64), fill=125),), ("Knife", "Hook"), compute)
    found = finder([Volume(np.full((1, 64, 96), 9, "int16"), LPS_RAS)] * 3)
    np.testing.assert_allclose(found.boxes, [[0, 0, 64, 64]], atol=1e-6)  # the other one lies in the border
    assert found.names == ("Hook",) and found.scores.tolist() == [0.9]
    assert seen[0].shape == (1, 32, 64, 3) and (seen[0][0, :, :8] == 125).all() and (seen[0][0, :, 8:56] == 9).all()


# --- what is wrong ----------------------------------------------------------------------------------------------------


def folder(root, boxes=((2.0, 3, 20, 20),), plain=1):
    for k in range(6 + plain):
        image = np.random.default_rng(k).integers(0, 255, (32 + k % 2, 48, 3)).astype("uint8")  # of two sizes
        Image.fromarray(image).save(root / f"f{k}.png")
        if k < 6:
            write_voc(
                root / f"f{k}.xml",
                Objects(np.array(boxes, float).reshape(-1, 4), ("Knife",) * len(boxes)),
                (48, 32 + k % 2),
            )
    return root


VOC = ("data.source=voc_folder", "data.preprocess=[]")
OF_FILES = tuple(word for word in TINY if not word.startswith("data.options"))


@pytest.mark.one_stack
@pytest.mark.parametrize("name, overrides, words", [
    ("entities", (), ("f0.xml", "has a DTD")),
    ("flat", (), ("f0.xml", "of 0 x 17 pixels")),
    ("other class", ("model.classes=[Hook]",), ("f", "class 'Knife'", "model.classes")),
    ("no box", (), ("no training image has a box",)),
    ("no xml", (), ("no image has boxes",)),
    ("all annotated", (), ("no frame without boxes", "model.mode=supervised")),
    ("too many", ("model.most_boxes=1",), ("has 2 boxes", "model.most_boxes")),
])  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(name, overrides, words, tmp_path, capsys):
    root = tmp_path / "set"
    root.mkdir()
    boxes = {"no box": (), "too many": ((2.0, 3, 20, 20), (4, 4, 9, 9))}.get(name, ((2.0, 3, 20, 20),))
    folder(root, boxes, plain=0 if name == "all annotated" else 1)
    first = root / "f0.xml"
    if name == "entities":
        first.write_text('<!DOCTYPE a [<!ENTITY e "x">]>' + first.read_text())
    elif name == "flat":
        first.write_text(first.read_text().replace("<xmax>20.0", "<xmax>2.0"))
    elif name == "no xml":
        for path in root.glob("*.xml"):
            path.unlink()
    refused_fit(capsys, tmp_path, CONFIG, OF_FILES, (*VOC, f"data.root={root}", *overrides), *words)


@pytest.mark.one_stack
def test_frames_of_two_sizes_are_letterboxed(tmp_path):
    settings = tfmed.load_config(REPOSITORY / CONFIG, (*OF_FILES, *VOC, f"data.root={folder(tmp_path)}"))
    made = registry.method_class(settings.method)(settings)
    assert {made.open(case).shape for case in made.prepared("train")} == {(32, 64, 3)}
    assert list(made.classes) == ["Knife"] and len(made.frames) == 1


@pytest.mark.one_stack
def test_settings_that_do_not_fit(tmp_path, capsys):
    options = "data.options.unlabelled=0"
    refused_fit(
        capsys, tmp_path, CONFIG, TINY, [options], "model.mode", "learns from frames without boxes", "unlabelled: 40"
    )
    refused_fit(capsys, tmp_path, CONFIG, TINY, ["model.classes=[a, a]"], "classes: one stands there twice")
