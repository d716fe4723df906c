"""3-D boxes: the harness, where boxes come from, what each stage sees and learns from, bad boxes."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness
from tests.support.refusals import refused, refused_fit
from tfmed import registry
from tfmed.data import boxes as boxed
from tfmed.data.phantoms import liver_ct
from tfmed.io import read_volume, write_volume
from tfmed.losses import constraints
from tfmed.losses import segmentation as losses
from tfmed.methods.boxes3d import Config, build_network
from tfmed.methods.boxes3d.models import Boxes3D

pytestmark = pytest.mark.current

CONFIG = "configs/boxes3d.yaml"
TINY = (
    "data.options={cases: 8, shape: [10, 32, 32]}",
    "data.split={validation: 0.15, test: 0.3, seed: 0}",
    "train.batch_size=4",
    "train.validate_every=2",
    "model.patch=[32, 32]",
    "model.network={name: residual_unet, widths: [4, 6]}",
    "model.annotated=2",
    "model.box_patch=8",
    "model.classifier_width=2",
    "model.classifier_steps=4",
    "model.classifier_dropout=0",
    "model.learning_rate=0.001",
)
HU = {"low": -100.0, "high": 250.0, "mean": 80.0, "deviation": 40.0}


class TestHarness(MethodHarness):
    config = CONFIG
    tiny = TINY
    bad = ("model.size_shares=[0.9, 0.5]", "size_shares")

    def parity(self, run):
        """Odd shapes: smaller than a window, and larger."""
        method = run.restored()
        images, expected = [], []
        for shape in ((3, 20, 27), (11, 45, 38)):
            image = np.random.default_rng(sum(shape)).uniform(-1000, 400, (*shape, 1)).astype("float32")
            images.append({"image": image})
            expected.append(method.labels(image))
        return expected, images

    def assert_parity(self, found, expected):
        assert (found != expected).mean() < 1e-3

    def test_boxes_are_decided_once_and_kept(self, run):
        """The run's own record; annotated cases have tight boxes, others lie within their 3-D box."""
        method = run.restored()
        assert (run.path / "records" / "boxes.json").exists()
        used = method.decided()
        annotated, cases = method.training_cases
        assert set(used) == {case.id for case in cases} and len(annotated) == 2
        for case in cases:
            tight, wide = boxed.tight_boxes(method.open(case).label), method.wide(case)
            if case in annotated:
                np.testing.assert_array_equal(used[case.id], tight)
            else:
                shown = boxed.area(wide) > 0
                np.testing.assert_array_equal(boxed.area(used[case.id]) > 0, shown)
                assert (used[case.id][shown][:, ::2] >= wide[shown][:, ::2]).all()
                assert (used[case.id][shown][:, 1::2] <= wide[shown][:, 1::2]).all()
                np.testing.assert_array_equal(used[case.id], method.boxes_of(case))  # the classifier's, which was kept

    def test_evaluation_and_pictures_tell_of_boxes(self, run):
        method = run.restored()
        rows = method.evaluate({"run": method}, "test")["cases"]
        case = method.cases["test"][0]
        tight = boxed.tight_boxes(method.open(case).label)
        assert rows[0]["box IoU, 3-D"] == pytest.approx(boxed.mean_iou(method.wide(case), tight))
        assert rows[0]["box IoU, used"] == pytest.approx(boxed.mean_iou(method.boxes_of(case), tight))
        picture = method.previews()["boxes"]
        assert len(picture.rows) == 3 and all(len(row) == 3 for row in picture.rows.values())
        first = next(iter(picture.rows.values()))[1]
        assert set(first.boxes) == {"3-D box", "used box", "tight box"} and first.prediction.shape == first.image.shape
        assert "green" in picture.caption and "patch classifier" in picture.caption
        figure = picture.figure()
        assert len(figure.axes) == 9 and len(figure.axes[0].patches) >= 1
        assert (run.path / "previews" / "boxes.png").exists()

    def test_two_stages(self, run):
        assert list(run.restored().models) == ["classifier", "segmenter"]
        stages = run.metrics()["stage"].unique().tolist()
        assert stages == ["classifier", "segmenter"]


class Segmenter(MethodHarness):
    """Checks of the segmenter's own step, which is no first stage where boxes are corrected."""

    config = CONFIG
    tiny = (*TINY, "model.box_source=oracle", "model.use_masks=true", "model.emptiness=0.01", "model.flip=true")


@pytest.mark.one_stack
@pytest.mark.parametrize("check", ["builds", "one_update_lowers_its_loss", "two_replicas_equal_one",
                                   "same_seed_same_numbers"])  # fmt: skip
def test_the_segmenters_step(check):
    getattr(Segmenter(), f"test_{check}")()


def method(*overrides):
    settings = tfmed.load_config(REPOSITORY / CONFIG, (*TINY, *overrides))
    return registry.method_class("boxes3d")(settings)


# --- boxes of cases ---------------------------------------------------------------------------------------------------


def test_sources_of_boxes():
    """Wide: the same rectangle from end to end; tight: of each slice's mask; oracle: between the two."""
    made = method("model.box_source=oracle")
    case = made.cases["train"][0]
    label = np.asarray(made.open(case).label)
    wide, tight, oracle = (made.boxes_of(case, source) for source in ("wide", "tight", "oracle"))
    z = np.flatnonzero(label.any((1, 2)))
    y, x = np.flatnonzero(label.any((0, 2))), np.flatnonzero(label.any((0, 1)))
    expected = [y[0], y[-1] + 1, x[0], x[-1] + 1]
    assert (wide[z[0] : z[-1] + 1] == expected).all() and not wide[: z[0]].any() and not wide[z[-1] + 1 :].any()
    ious = [boxed.mean_iou(one, tight) for one in (wide, oracle, tight)]
    assert ious[0] < ious[1] < ious[2] == 1
    part = made.boxes_of(case, "oracle", slices=[z[0]])
    assert part[z[0]].tolist() == oracle[z[0]].tolist() and not np.delete(part, z[0], 0).any()


def test_annotated_patients_are_chosen_by_seed_and_grow():
    chosen = [{case.id for case in method(f"model.annotated={n}").training_cases[0]} for n in (1, 2, 4)]
    assert [len(one) for one in chosen] == [1, 2, 4] and chosen[0] < chosen[1] < chosen[2]
    others = {case.id for case in method("model.annotated=2", "data.labelled_seed=7").training_cases[0]}
    assert len(others) == 2


def test_hu_are_measured_under_the_masks_of_annotated_volumes():
    made = method()
    found = made.intensities()
    annotated, cases = made.training_cases
    for name, used in (("annotated", annotated), ("all_train", cases)):
        opened = [made.open(case) for case in used]
        pooled = np.concatenate([one.image[..., 0][np.asarray(one.label) > 0] for one in opened]).astype(float)
        low, high = np.percentile(pooled, [0.5, 99.5])
        expected = {"low": low, "high": high, "mean": pooled.mean(), "deviation": pooled.std()}
        found = method(f"model.statistics_from={name}").intensities()
        assert found == pytest.approx(expected)


# --- what the stages see ----------------------------------------------------------------------------------------------


def test_the_classifier_sees_every_patch_of_the_wide_boxes_of_annotated_volumes_once_an_epoch():
    made = method()
    samples, seen = made.patch_samples(), []
    total = made._patches_of_annotated[-1]
    expected = []
    for case in made.training_cases[0]:
        prepared, box = made.open(case), made.box(case)
        for z in range(box[0], box[1]):
            below, above = max(z - 1, 0), min(z + 1, len(prepared.image) - 1)
            stack = np.concatenate([prepared.image[k] for k in (below, z, above)], -1)
            patches, masks = (boxed.tiles(np.asarray(a), box[2:], 8) for a in (stack, prepared.label[z]))
            for image, mask in zip(patches.reshape(-1, 8, 8, 3), masks.reshape(-1, 8, 8), strict=True):
                expected.append((image.astype("float32").tobytes(), bool((mask != 0).mean() > 0.5)))
    assert total == len(expected)
    for index in range(total):
        sample = samples.read(index)
        seen.append((np.asarray(sample["image"], "float32").tobytes(), bool(sample["label"])))
    assert sorted(seen) == sorted(expected) and 0.05 < np.mean([label for _, label in expected]) < 0.95


@pytest.mark.parametrize("patch", [32, 48])
def test_the_segmenter_sees_slices_with_their_neighbours_and_their_boxes(patch):
    """Larger patches than slices: the box lies where the slice lies."""
    made = method("model.box_source=tight", f"model.patch=[{patch}, {patch}]", "model.box_margin=1")
    samples = made.samples()
    edge = (patch - 32) // 2
    for index in range(12):
        sample = samples.read(index)
        assert sample["image"].shape == (patch, patch, 3)
        label = sample["label"]
        case, (z, y, x) = made.patches(made.training_cases[1]).place(index)
        image = made.open(case).image
        inner = slice(edge, edge + 32)
        for channel, k in enumerate((max(z - 1, 0), z, min(z + 1, len(image) - 1))):
            np.testing.assert_array_equal(sample["image"][inner, inner, channel], image[k, ..., 0])
        assert (y, x) == (-edge, -edge)
        tight = boxed.enlarged(boxed.tight_box(made.open(case).label[z]), 1, (32, 32))
        expected = tight + edge if tight.any() else tight
        assert sample["boxes"].tolist() == [expected.tolist()]
        annotated = case in made.training_cases[0]
        assert sample["annotated"] == annotated and (annotated or not label.any())


def test_flips_move_images_labels_and_boxes_alike():
    made = method("model.box_source=tight", "model.flip=true", "model.annotated=4")
    plain = method("model.box_source=tight", "model.annotated=4").samples()
    turned = set()
    for index in range(30):
        sample, still = made.samples().read(index), plain.read(index)
        for axes in ((), (0,), (1,), (0, 1)):
            if (np.flip(still["image"], axes) == sample["image"]).all():
                turned.add(axes)
                np.testing.assert_array_equal(np.flip(still["label"], axes), sample["label"])
                if sample["annotated"]:
                    assert sample["boxes"][0].tolist() == boxed.tight_box(sample["label"]).tolist()
                break
        else:
            raise AssertionError("neither as it is nor flipped")
    assert len(turned) == 4


# --- losses -----------------------------------------------------------------------------------------------------------


def model(**changes):
    keras.utils.set_random_seed(3)
    given = {"patch": (16, 16), "network": {"name": "residual_unet", "widths": (4, 6)}} | changes
    return Boxes3D(Config(**given), 1e-2, intensities=HU, steps=100, seed=1, per_step=3)


def batch(step=0):
    rng = np.random.default_rng(0)
    boxes = np.array([[[2, 12, 3, 15]], [[0, 0, 0, 0]], [[0, 16, 0, 16]]], "int32")
    return {
        "index": tf.range(3, dtype=tf.int64) + 3 * step,
        "image": tf.constant(rng.uniform(-200, 300, (3, 16, 16, 3)), tf.float32),
        "label": tf.constant(rng.integers(0, 2, (3, 16, 16)), tf.int32),
        "boxes": tf.constant(boxes),
        "annotated": tf.constant([0.0, 1.0, 0.0]),
    }


@pytest.mark.one_stack
@pytest.mark.parametrize("step", [0, 99])
def test_the_loss_is_the_weighted_sum(step):
    one, data = model(emptiness=0.3, stripe=4), batch(step)
    logits = one.network(data["image"], training=True)
    p, t = tf.nn.softmax(logits)[..., 1], 5 * 1.1 ** (0 if step == 0 else 49)
    terms = {
        "tightness": constraints.tightness(p, data["boxes"], t, 4),
        "size": constraints.size(p, data["boxes"], t),
        "cross_entropy": constraints.background_cross_entropy(logits, data["boxes"]),
        "emptiness": constraints.emptiness(p, data["boxes"], t),
    }
    terms = {name: float(tf.reduce_mean(value)) for name, value in terms.items()}
    loss, logs = one.network_loss(data)
    weights = {"tightness": 1e-4, "size": 1e-2, "cross_entropy": 1.0, "emptiness": 0.3}
    assert {name: float(logs[name]) for name in terms} == pytest.approx(terms, rel=1e-4)
    assert float(loss) == pytest.approx(sum(weights[name] * value for name, value in terms.items()), rel=1e-4)


def test_terms_without_weight_are_left_out():
    assert set(model(tightness=0, size=0).network_loss(batch())[1]) == {"loss", "cross_entropy"}


@pytest.mark.one_stack
def test_targets_are_switches():
    data = batch()
    one = model(supervision="masks")
    logits = one.network(data["image"], training=True)
    expected = float(tf.reduce_mean(losses.cross_entropy(logits, data["label"])))
    assert float(one.network_loss(data)[0]) == pytest.approx(expected, rel=1e-5)
    filled = np.zeros((3, 16, 16), int)
    filled[0, 2:12, 3:15] = filled[2] = 1
    expected = float(tf.reduce_mean(losses.cross_entropy(logits, filled)))
    assert float(model(supervision="box_masks").network_loss(data)[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.one_stack
def test_masks_of_annotated_slices_are_added():
    data, one = batch(), model(use_masks=True)
    logits = one.network(data["image"], training=True)
    own = (losses.cross_entropy(logits, data["label"]) + losses.soft_dice(logits, data["label"]))[1] / 3
    loss, logs = one.network_loss(data)
    assert float(logs["masks"]) == pytest.approx(float(own), rel=1e-5)
    assert float(loss) == pytest.approx(float(model().network_loss(data)[0]) + float(own), rel=1e-4)


@pytest.mark.one_stack
def test_networks_take_hu():
    """Scaled inside: cut at the measured percentiles."""
    one, plain = model(), build_network(model().config)
    inner = one.network.get_layer("residual_unet")
    plain.set_weights(inner.get_weights())
    image = batch()["image"]
    scaled = (np.clip(image, -100, 250) - 80) / 40
    np.testing.assert_allclose(one(image), plain(scaled), rtol=1e-4, atol=1e-4)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Six scans with masks, and the boxes of these as a file."""
    folder = tmp_path_factory.mktemp("scans")
    lines = [",".join(boxed.COLUMNS)]
    for k in range(6):
        made = liver_ct(k, shape=(10, 32, 32))
        write_volume(made.volume, folder / "images" / f"c{k}.nii.gz")
        write_volume(made.labels, folder / "labels" / f"c{k}.nii.gz")
        box = boxed.tight_box(read_volume(folder / "labels" / f"c{k}.nii.gz").array) - np.array([0, 1] * 3)
        lines.append(",".join(map(str, [f"c{k}", *box.tolist()])))
    (folder / "boxes.csv").write_text("\n".join(lines) + "\n")
    return folder


def of_files(scans, *overrides):
    given = [word for word in TINY if not word.startswith("data.options")]
    return [*given, "data.source=nifti_folder", f"data.root={scans}", "train.steps=1", *overrides]


@pytest.mark.one_stack
def test_drawn_boxes_stand_in_for_masks(scans, tmp_path):
    """Cases without masks train by their box; the same box as the mask's gives the same as the mask, on any grid."""
    settings = of_files(scans, f"model.boxes={scans / 'boxes.csv'}", "data.preprocess=[{step: orient, to: LAS}]")
    made = registry.method_class("boxes3d")(tfmed.load_config(REPOSITORY / CONFIG, settings))
    for case in made.prepared("train"):
        assert made.box(case).tolist() == boxed.tight_box(made.open(case).label).tolist()
        bare = dataclasses.replace(case, label=None)
        assert made.box(bare).tolist() == made.box(case).tolist()
    decided = made.boxes_of(dataclasses.replace(case, label=None), "wide")
    np.testing.assert_array_equal(decided, made.wide(case))


def edited(scans, tmp_path, change):
    """A file of boxes in which the second line is another."""
    lines = (scans / "boxes.csv").read_text().splitlines()
    path = tmp_path / "boxes.csv"
    path.write_text("\n".join([lines[0], *(change(line.split(",")) for line in lines[1:])]) + "\n")
    return path


BAD_BOXES = {
    "outside": (lambda c: ",".join([*c[:5], c[5], "99"]), "reaches from x", "to 99, and the image from 0 to 31"),
    "wrong order": (lambda c: ",".join([c[0], c[2], c[1], *c[3:]]), "lies behind z_last", "z_first, z_last, y_first"),
    "misses": (lambda c: ",".join([*c[:3], "0", "1", "0", "1"]), "misses the organ of its mask", "exchanged"),
    "strange case": (lambda c: ",".join([f"x{c[0]}", *c[1:]]), "names case xc0", "correct its name"),
    "no number": (lambda c: ",".join([*c[:6], "many"]), "x_last is 'many'", "number of a voxel"),
}


@pytest.mark.one_stack
@pytest.mark.parametrize("name", BAD_BOXES)
def test_bad_boxes_are_one_line(name, scans, tmp_path, capsys):
    from tfmed import fit as verb

    change, *words = BAD_BOXES[name]
    path = edited(scans, tmp_path, change)
    given = [REPOSITORY / CONFIG, "--run-dir", tmp_path / "run", *of_files(scans, f"model.boxes={path}")]
    refused(capsys, verb.main, given, "boxes.csv", *words)


REFUSED = {
    "too many annotated": (("model.annotated=40",), "training patients have masks", "model.annotated 40"),
    "slices too large": (("model.patch=[16, 16]",), "larger than model.patch", "resample"),
    "two organs": (("model.labels={a: 1, b: 2}",), "one organ in one CT", "one class"),
    "share of labels": (("data.labelled_share=0.5",), "data.labelled_share", "model.annotated"),
    "no loss": (("model.tightness=0", "model.size=0", "model.cross_entropy=0"), "all are 0", "raise one"),
    "volumes": (("model.patch=[8, 32, 32]",), "model.patch", "at most 2"),
    "a barrier beyond reason": (("model.barrier_growth=3",), "barrier_growth", "keep it"),
    "unknown source": (("model.box_source=loose",), "box_source", "corrected"),
    "weights for other networks": (("model.classifier_weights=imagenet",), "classifier_weights", "random"),
}  # fmt: skip


@pytest.mark.one_stack
@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_one_line(name, tmp_path, capsys):
    assert refused_fit(capsys, tmp_path, REPOSITORY / CONFIG, TINY, *REFUSED[name])


@pytest.mark.one_stack
def test_the_variants_of_the_paper_are_settings():
    """Section 8 of the card."""
    folder = REPOSITORY / "configs" / "boxes3d"
    found = {path.stem: tfmed.load_config(path).model for path in folder.glob("*.yaml")}
    found["plain"] = tfmed.load_config(REPOSITORY / CONFIG).model
    assert {one.box_source for one in found.values()} == {"corrected", "wide", "tight", "oracle"}
    assert {one.supervision for one in found.values()} == {"boxes", "box_masks", "masks"}
    corrected = {(one.box_patch, one.annotated) for one in found.values() if one.box_source == "corrected"}
    assert {(p, n) for p in (16, 32) for n in (5, 10, 20)} <= corrected
    assert {1, 2, 5, 10, 20} <= {one.stripe for one in found.values()}
    assert {one.box_filter for one in found.values()} == {"none", "largest_component", "min_neighbours"}
    assert {tuple(one.weights) for one in found.values()} >= {
        ("tightness", "size"), ("tightness", "size", "cross_entropy"), ("tightness", "size", "emptiness")}  # fmt: skip
    assert any(one.box_margin == 10 for one in found.values())


@pytest.mark.realdata
@pytest.mark.one_stack
def test_a_real_liver(real_data, tmp_path):
    """A CT at 3 mm with organ masks: what its 3-D box is worth, and what perfect patches make of it."""
    folder = real_data / "ct_organs" / "totalseg_thorax_abdomen"
    if not folder.is_dir():
        pytest.skip("ct_organs is not among the real data sets beside this checkout")
    table = f"id,ct,label\na,{folder / 'ct_crop.nii.gz'},{folder / 'ct_crop_organs.nii.gz'}\n"
    (tmp_path / "cases.csv").write_text(table)
    given = [word for word in TINY if not word.startswith(("data.", "model.patch"))]
    settings = tfmed.load_config(REPOSITORY / CONFIG, (
        *given, "data.source=csv_list", "data.options={}", f"data.root={tmp_path / 'cases.csv'}", "model.annotated=1",
        "data.split={validation: 0, test: 0}", "model.labels={liver: 5}", "model.patch=[128, 128]",
    ))  # fmt: skip
    made = registry.method_class("boxes3d")(settings)
    (case,) = made.prepared("train")
    tight = made.boxes_of(case, "tight")
    wide, oracle = (boxed.mean_iou(made.boxes_of(case, source), tight) for source in ("wide", "oracle"))
    assert 0.2 < wide < 0.8 and oracle > wide + 0.05  # a short scan, of the widest part: little is left to correct
    found = made.intensities()
    assert 20 < found["mean"] < 200 and -150 < found["low"] < found["mean"] < found["high"] < 400
