"""Compound figures cut into panels: the harness, and the items of the card's "What must hold"."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness
from tests.support.refusals import refused_fit
from tfmed import registry
from tfmed.data.objects import inward, of_case
from tfmed.io.objects import Objects, read_boxes_csv, read_coco, write_voc
from tfmed.metrics.detection import overshoot

pytestmark = pytest.mark.current

CONFIG = "configs/figure_separation.yaml"
SMALL = "{name: yolov8, widths: [2, 2, 2, 2], depths: [1, 1, 1, 1]}"
TINY = (
    "data.options={cases: 24, sides: [16, 32], kinds: 2}",
    "data.split={validation: 0.2, test: 0.2, seed: 0}",
    "train.batch_size=2",
    "train.validate_every=2",
    "train.schedule={kind: constant}",
    "model.size=[32, 32]",
    "model.mode_counts={mixed: 4, intra_class: 2, single: 2}",
    "model.held_out={mixed: 2, intra_class: 1, single: 1}",
    "model.layout={lines: [1, 2], gaps: [1, 3]}",
    "model.most_found=5",
    "model.most_boxes=8",
    "model.shown_score=0.0",
    "model.cut_score=0.0",
    "model.learning_rate=1e-4",
    f"model.detector={SMALL}",
)


class TestHarness(MethodHarness):
    config = CONFIG
    tiny = TINY
    replica_tolerance = 1e-3
    bad = ("model.layout.gaps=[20, 20]", "layout.gaps: 20 px between")

    @classmethod
    def settings(cls, *overrides):
        own = [word for word in TINY if not word.startswith("model.layout=")]
        if any(word.startswith("model.layout.gaps") for word in overrides):  # that of the paper's four lines
            return tfmed.load_config(REPOSITORY / CONFIG, (*own, *overrides))
        return super().settings(*overrides)

    @pytest.mark.one_stack
    def test_exact_resume(self, run, tmp_path):
        super().test_exact_resume(run, tmp_path)

    @pytest.mark.long
    def test_two_replicas_equal_one(self):
        super().test_two_replicas_equal_one()

    def test_one_update_lowers_its_loss(self):
        """With what each place learns held: that follows from what it finds, and the loss jumps where it changes."""
        model, batch, _ = self.first_stage()
        detector, loss, held = model.detector, model.objectives["network"], []
        usual = detector._encoder

        def hold(*arguments):
            held.extend([] if held else usual(*arguments))
            return held

        detector._encoder = hold
        try:
            before = float(loss(batch)[0])
            model.update("network", loss, batch)
            assert float(loss(batch)[0]) < before
        finally:
            detector._encoder = usual

    def parity(self, run):
        image = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
        method = run.restored()
        found = method.detect(tf.constant(image), bounds=method.using)
        assert found["boxes"].shape == (2, 5, 4) and found["classes"].dtype == tf.int32
        return [found["scores"].numpy()], [{"image": image}]

    @pytest.mark.one_stack
    def test_simulated_figures_are_scored(self, run):
        method = run.restored()
        found = method.evaluate({"one": method})
        (row,) = found["evaluation"]
        assert {"AP50:95", "AP50", "AP75", "overshoot_px"} < set(row) and row["stage"] == "detector"
        assert len(found["cases"]) == 4 and [one["class"] for one in found["classes"]] == ["fluorescence", "light"]
        known = [one["overshoot_px"] for one in found["cases"] if not np.isnan(one["overshoot_px"])]
        assert row["overshoot_px"] == pytest.approx(np.mean(known), nan_ok=True) if known else True
        boxes = sum(len(of_case(case).names) for case in method.scored("test"))
        assert boxes == sum(one["boxes"] for one in found["cases"])
        assert all(picture.figure() is not None for picture in found.pictures.values())

    @pytest.mark.one_stack
    def test_real_figures_are_scored_where_there_are_some(self, run, tmp_path):
        method = run.restored()
        image, objects = method.simulated("test", 0)
        Image.fromarray(image).save(tmp_path / "f.png")
        write_voc(tmp_path / "f.xml", objects, image.shape[1::-1])
        figures = f"model.figures={{source: voc_folder, root: {tmp_path}}}"
        other = made(figures)
        (case,) = other.scored("test")
        np.testing.assert_allclose(of_case(case).boxes, objects.boxes, atol=1e-3)
        for one, channel in zip(other.volumes(case), range(3), strict=True):
            np.testing.assert_array_equal(one.array[0], image[..., channel])
        assert len(other.scored("validation")) == 4

    @pytest.mark.one_stack
    def test_panels_are_cut_out_without_a_pixel_beyond_their_boxes(self, run, tmp_path):
        method = run.restored()
        image = method.simulated("test", 1)[0]
        Image.fromarray(image).save(tmp_path / "f 1.png")
        files = list(method.predict([str(tmp_path / "f 1.png")], tmp_path / "out"))
        size, found = read_coco(tmp_path / "out" / "boxes.json")["f 1.png"]
        assert size == (32, 32)
        table = read_boxes_csv(tmp_path / "out" / "boxes.csv")["f 1.png"]
        np.testing.assert_allclose(table.boxes, found.boxes, atol=1e-6)
        whole, crops = inward(found.boxes), [file for file in files if file.name.startswith("f 1_0")]
        assert crops and len(crops) == ((whole[:, 2:] > whole[:, :2]).all(-1)).sum()
        for file in crops:
            number = int(file.stem.split("_")[1])
            x0, y0, x1, y1 = whole[number - 1]
            np.testing.assert_array_equal(np.asarray(Image.open(file)), image[y0:y1, x0:x1])
            assert file.stem.endswith(found.names[number - 1])

    @pytest.mark.one_stack
    def test_the_exported_note_says_what_it_needs(self, run):
        note = run.restored().export_module().note
        assert note["task"] == "detection" and note["classes"] == ["fluorescence", "light"]


def made(*overrides, words=TINY):
    settings = tfmed.load_config(REPOSITORY / CONFIG, (*words, *overrides))
    return registry.method_class(settings.method)(settings)


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_places_without_a_panel_add_nothing_and_without_weight_it_is_plain():
    """Box losses of one set of outputs; of a figure without panels 0, with any side loss."""
    boxes = tf.constant([[[2.0, 2, 30, 14], [2, 16, 20, 30]], [[-1.0] * 4] * 2])
    classes = tf.constant([[0, 1], [-1, -1]])
    losses, outputs = {}, None
    for ratio in (0.0, 0.5, 1.0):
        from tfmed.losses.boxes import complete_iou_and_side
        from tfmed.nn.detectors import YoloV8

        if outputs is None:
            plain = made("model.side_ratio=0").config.detector.build(2, (32, 32), 0)
            outputs = plain.network(tf.zeros((2, 32, 32, 3)), training=False)
            losses["plain"] = plain.losses(outputs, boxes, classes)
        one = YoloV8(plain.network, 2, (32, 32), plain._encoder, complete_iou_and_side(ratio))
        losses[ratio] = one.losses(outputs, boxes, classes)
        empty = one.losses([out[1:] for out in outputs], boxes[1:], classes[1:])
        assert float(empty["box"]) == 0
    assert float(losses["plain"]["box"]) == float(losses[0.0]["box"]) > 0
    steps = [float(losses[b]["box"] - losses[a]["box"]) for a, b in ((0.0, 0.5), (0.5, 1.0))]
    assert steps[0] > 0 and steps[1] == pytest.approx(steps[0], rel=1e-4)
    assert len({float(one["class"]) for one in losses.values()}) == 1


@pytest.mark.one_stack
def test_the_paper_s_detector_trains_on_all_its_losses(tmp_path):
    """YOLOv5: its objectness is logged and learnt, and it finds, predicts and exports like the others."""
    detector = "model.detector={name: yolov5, widths: [2, 4, 4, 4, 4], depths: [1, 1, 1, 1]}"
    changes = ("model.mosaic=0.5", "model.scale=0.5", "model.translate=0.1", "model.hsv=[0.015, 0.7, 0.4]")
    run = tfmed.fit(made(detector, "train.steps=2", *changes).settings, tmp_path / "run")
    rows = (run.path / "metrics.csv").read_text(encoding="utf-8")
    assert "objectness" in rows.splitlines()[0]
    method = run.restored()
    image = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    found = method.detect(tf.constant(image), bounds=method.using)
    assert found["boxes"].shape == (2, 5, 4)
    served = tf.saved_model.load(str(run.export(tmp_path / "saved"))).signatures["serving_default"]
    np.testing.assert_allclose(served(image=tf.constant(image))["scores"], found["scores"], atol=1e-5)
    model = method.models["detector"]
    batch = next(iter(method.samples().batches(0, 1)))
    loss, logs = model.network_loss(batch)
    assert float(loss) == pytest.approx(sum(float(logs[name]) for name in ("box", "objectness", "class")), rel=1e-5)
    assert float(logs["objectness"]) > 0


# --- what trains ------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_an_epoch_has_each_figure_once_and_mirrored_ones_keep_their_boxes():
    method = made("model.flip=0.5")
    samples = method.samples()
    figures = [method.simulated("train", number) for number in range(8)]
    plain = {image.tobytes(): number for number, (image, _) in enumerate(figures)}
    mirrored = {image[:, ::-1].tobytes(): number for number, (image, _) in enumerate(figures)}
    seen, flips = [], 0
    for index in range(8):
        sample, again = samples.read(index), samples.read(index)
        assert all((sample[name] == again[name]).all() for name in sample)
        text = sample["image"].tobytes()
        number = plain.get(text, mirrored.get(text))
        seen.append(number)
        there = sample["classes"] >= 0
        boxes, expected = sample["boxes"][there], figures[number][1]
        if text not in plain:
            boxes, flips = np.stack([32 - boxes[:, 2], boxes[:, 1], 32 - boxes[:, 0], boxes[:, 3]], -1), flips + 1
        np.testing.assert_allclose(boxes, expected.boxes)
        assert [method.classes[k] for k in sample["classes"][there]] == list(expected.names)
    assert sorted(seen) == list(range(8)) and 0 < flips < 8


@pytest.mark.one_stack
def test_in_a_mosaic_each_box_holds_a_piece_of_a_panel_of_its_class():
    method = made("model.mosaic=1", "model.flip=0")
    samples = method.samples()
    assert samples.spec["boxes"][0] == (4 * method.config.most_boxes, 4)
    figures = [method.simulated("train", number) for number in range(8)]
    panels = [(name, image[y0:y1, x0:x1]) for image, objects in figures
              for name, (x0, y0, x1, y1) in zip(objects.names, objects.boxes.astype(int), strict=True)]  # fmt: skip
    pieces = []
    for index in range(6):
        sample = samples.read(index)
        there = sample["classes"] >= 0
        for number, (x0, y0, x1, y1) in zip(sample["classes"][there], sample["boxes"][there].astype(int), strict=True):
            piece = sample["image"][y0:y1, x0:x1]
            alike = [panel for name, panel in panels if name == method.classes[number] and _holds(panel, piece)]
            assert alike, (index, number)
            pieces.append(any(panel.shape == piece.shape for panel in alike))
    assert 0 < sum(pieces) < len(pieces)  # whole panels, and cut ones


def _holds(image, piece):
    height, width = piece.shape[:2]
    if height > image.shape[0] or width > image.shape[1]:
        return False
    windows = np.lib.stride_tricks.sliding_window_view(image, piece.shape)[..., 0, :, :, :]
    return bool((windows == piece).all((-3, -2, -1)).any())


@pytest.mark.one_stack
def test_held_out_figures_are_of_images_that_do_not_train_and_never_stretched():
    method = made("model.layout.keep_ratio=false")
    keys = {part: {case.id for simulator in [method.simulators[part]] for number in range(len(simulator))
                   for case in simulator(number).keys} for part in ("train", "validation", "test")}  # fmt: skip
    assert not keys["train"] & (keys["test"] | keys["validation"]) and not keys["test"] & keys["validation"]
    assert [method.simulators[part].style.keep_ratio for part in ("train", "test")] == [False, True]


@pytest.mark.one_stack
def test_figures_of_another_size_are_letterboxed():
    method = made("model.layout.sides=[40, 60]")
    for number in range(3):
        image, objects = method.simulated("train", number)
        seen, boxes = method.seen(image, objects)
        assert seen.shape == (32, 32, 3) and image.shape != seen.shape
        share = 32 / max(image.shape[:2])
        np.testing.assert_allclose((boxes[:, 2:] - boxes[:, :2]) / share, objects.boxes[:, 2:] - objects.boxes[:, :2],
                                   rtol=0.05, atol=1)  # fmt: skip
        middle = (np.array(image.shape[1::-1]) / 2 - objects.boxes[0].reshape(2, 2).mean(0)) * share
        np.testing.assert_allclose(16 - boxes[0].reshape(2, 2).mean(0), middle, atol=1)


@pytest.mark.one_stack
def test_one_class_is_simulated_by_class():
    method = made("model.one_class=true", "model.mode_counts={mixed: 0, intra_class: 6, single: 0}")
    assert method.classes == ("panel",)
    for number in range(6):
        __, objects = method.simulated("train", number)
        assert set(objects.names) == {"panel"}
        assert len({case.meta["class"] for case in method.simulators["train"](number).keys}) == 1


@pytest.mark.one_stack
def test_overshoot_is_that_of_panels_that_are_right():
    method = made()
    true = Objects(np.array([[0.0, 0, 10, 10], [10, 0, 30, 10]]), ("light", "light"))
    found = Objects(
        np.array([[0.0, 1, 12, 10], [11, 0, 29, 9], [0, 20, 9, 30]]), ("light",) * 3, np.array([0.9, 0.8, 0.7])
    )
    assert method.measured(found, true) == {"overshoot_px": 1.0}  # 2 and 0; the third finds nothing
    assert np.isnan(method.measured(Objects(found.boxes[2:], ("light",), found.scores[2:]), true)["overshoot_px"])
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(0, 9, (99, 2)), rng.uniform(10, 20, (99, 2))], -1)
    assert (overshoot(inward(boxes), boxes) == 0).all()  # whole pixels never reach beyond


# --- what is wrong ----------------------------------------------------------------------------------------------------


def singles(root):
    """Pictures of two classes."""
    for k in range(12):
        (root / "ab"[k % 2]).mkdir(exist_ok=True, parents=True)
        image = np.random.default_rng(k).integers(0, 255, (24 + k, 20, 3)).astype("uint8")
        Image.fromarray(image).save(root / "ab"[k % 2] / f"p{k}.png")
    return root


OF_FILES = tuple(word for word in TINY if not word.startswith("data.options"))


@pytest.mark.one_stack
def test_pictures_in_folders_train_in_colour(tmp_path):
    words = ("data.source=image_folder", "data.options={colour: true}", f"data.root={singles(tmp_path)}")
    method = made(*words, words=OF_FILES)
    sample = method.samples().read(0)
    assert list(method.classes) == ["a", "b"] and sample["image"].shape == (32, 32, 3)
    case = method.cases["train"][0]
    whole = np.asarray(Image.open(tmp_path / case.meta["class"] / f"{case.id}.png"))
    if max(whole.shape) <= 32:
        np.testing.assert_array_equal(method.single(case), whole)
    assert max(method.single(one).shape[0] for part in method.cases.values() for one in part) <= 32


@pytest.mark.one_stack
def test_real_figures_train_with_their_boxes(tmp_path):
    method = made()
    for number in range(6):
        image, objects = method.simulated("train", number)
        Image.fromarray(image).save(tmp_path / f"f{number}.png")
        write_voc(tmp_path / f"f{number}.xml", objects, image.shape[1::-1])
    words = ("data.source=voc_folder", f"data.root={tmp_path}", "model.train_data=real", "model.flip=0")
    real = made(*words, words=OF_FILES)
    sample, known = real.samples().read(0), {}
    for number in range(6):
        image, objects = method.simulated("train", number)
        known[image.tobytes()] = objects
    objects = known[sample["image"].tobytes()]
    np.testing.assert_allclose(sample["boxes"][sample["classes"] >= 0], objects.boxes, atol=1e-3)
    assert len(real.scored("test")) == 1 and real.measured(*[objects_with_scores(objects)] * 2)["overshoot_px"] == 0


def objects_with_scores(objects):
    return Objects(objects.boxes, objects.names, np.ones(len(objects.names)))


@pytest.mark.one_stack
@pytest.mark.parametrize("overrides, words", [
    (("data.source=phantom_endoscopy",), ("has no class", "train_data=real")),
    (("data.source=image_folder",), ("gives no image 'red'", "data.options.colour=true")),
    (("data.source=image_folder", "data.options={colour: true}", "model.classes=[a]"), ("is of class 'b'",)),
    (("data.source=image_folder", "data.options={colour: true}", "model.train_data=real"), ("no image has boxes",)),
    (("model.mode_counts={mixed: 0, intra_class: 0, single: 0}",), ("all are 0",)),
    (("model.layout.weights=[2, 1]",), ("weights: 2, 1 must be above 0",)),
    (("model.detector={name: retinanet}",), ("no side loss sees", "side_ratio=0")),
    (("model.size=[40, 32]",), ("no multiple of 32",)),
])  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(overrides, words, tmp_path, capsys):
    base = OF_FILES if any("source" in word for word in overrides) else TINY
    if "data.source=image_folder" in overrides:
        overrides = (*overrides, f"data.root={singles(tmp_path / 'set')}")
    refused_fit(capsys, tmp_path, CONFIG, base, overrides, *words)
