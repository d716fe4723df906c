"""Small patches for aneurysms: the harness, and the items of its card's "What must hold" that are not of a room below.

Of those tests/data/test_lesion_patches.py and test_far_points.py look at the plan and at patches,
augment/test_lattice.py at the distortion, ops/test_sliding_window.py at tiles, metrics/test_agreement.py at kappa and
metrics/test_lesions.py at matching.
"""

import csv
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness
from tests.support.refusals import refused
from tests.support.view_pages import views_of
from tfmed import registry
from tfmed.data.spheres import draw
from tfmed.errors import DataError
from tfmed.io import Volume, read_volume, write_volume
from tfmed.losses import segmentation as losses
from tfmed.methods.aneurysm import AneurysmUNet, Config, build_network, patch_loss
from tfmed.metrics import lesions
from tfmed.tasks.backbones import UNet

pytestmark = pytest.mark.current

CONFIG = "configs/aneurysm.yaml"
SMALL = "model.network={name: unet, widths: [2, 4], norm: batch, upsample: nearest, widen: half}"
PHANTOMS = "data.options={cases: 4, shape: [22, 24, 24], field_of_view_mm: 24, length_mm: 22, diameter_mm: [4, 6]}"
SHARED = (
    "data.preprocess=[{step: min_max}]",
    "data.split={validation: 0.25, test: 0.25, seed: 0}",
    "train.batch_size=4",
    "train.validate_every=4",
    "model.patch=[12, 12, 12]",
    "model.stride=8",
    "model.copies=3",
    "model.vessel_patches=3",
    "model.other_patches=3",
    "model.least_distance_mm=6",
    "model.shift_mm=2",
    "model.distortion_mm=1",
    "model.learning_rate=0.01",
    "model.window_batch=1",
    SMALL,
)
TINY = (PHANTOMS, *SHARED)


class TestHarness(MethodHarness):
    config = CONFIG
    tiny = TINY
    replica_tolerance = 1e-3
    bad = ("model.stride=9", "stride")

    @pytest.mark.one_stack
    def test_view(self, run):
        """Lesions and detections, each a region of its own, as many as the table of cases says."""
        shown, method = views_of(tfmed.view(run)), run.restored()
        for one, row in zip(shown, method.evaluate({"one": method})["cases"], strict=True):
            _, reference, found, chance = one["panels"][0]["layers"]
            assert len(reference["classes"]) == row["lesions"] and chance["name"] == "probability of a lesion"
            missed = [k for k in reference["classes"] if k["name"].endswith(": missed")]
            assert len(missed) == row["lesions"] - row["found"]
            told = f"{row['found']} of {row['lesions']} lesions found, {row['false positives']} false"
            assert one["note"].startswith(told) and len(found["classes"]) >= row["false positives"]

    def parity(self, run):
        """Odd shapes, and raw grey values: the graph scales them; some voxels lie on each side of the threshold."""
        method = run.restored()
        images, expected = [], []
        for shape in ((9, 12, 11), (14, 7, 10)):
            raw = np.random.default_rng(sum(shape)).uniform(0, 900, (*shape, 1)).astype("float32")
            scaled = method.preprocessing()[0].graph(tf.constant(raw)).numpy()
            images.append({"image": raw})
            expected.append(method.labels(scaled))
            probabilities = method.probabilities(scaled)[..., 1]
            np.testing.assert_array_equal(expected[-1], probabilities >= method.threshold)
        return expected, images

    def assert_parity(self, found, expected):
        assert (found != expected).mean() < 2e-3

    def test_the_threshold_is_that_nearest_to_the_corner(self, run):
        made = run.restored()
        froc = made.records.recall("threshold-4")
        from tfmed.tasks import lesion_scores

        curve = lesion_scores.curve(made, made.validation_cases())
        cost = (1 - curve.sensitivity) ** 2 + curve.false_positives**2
        nearest = curve.thresholds[cost <= cost.min() + 1e-9]
        assert made.threshold == froc == pytest.approx(nearest[len(nearest) // 2])

    def test_evaluation_tells_lesions_and_patches_apart(self, run):
        made = run.restored()
        found = made.evaluate({"one": made})
        (row,) = found["evaluation"]
        assert row["lesions"] == sum(one["lesions"] for one in found["cases"]) == len(found["lesions"]) > 0
        assert row["FP per case"] == np.mean([one["false positives"] for one in found["cases"]])
        assert sum(not one["hit"] for one in found.get("detections", ())) == sum(
            one["false positives"] for one in found["cases"]
        )
        areas = [row[f"FROC area to {most} FP"] for most in (1, 8)]
        assert all(0 <= value <= 1 for value in (row["sensitivity"], row["ADAM sensitivity"], *areas))
        patches = [row[f"patch {name}"] for name in ("TP", "FP", "FN", "TN")]
        entries = made.entries(made.marked_cases("test"), 1)
        assert sum(patches) == len(entries) and patches[0] + patches[2] == sum(e[1] >= 0 for e in entries)
        assert {"soft Dice by batch", "Dice of patches at 0.5", "kappa of patches at 0.5"} <= set(row)
        assert len(found["froc"]) == 57
        caption, figure = found.pictures["lesions"].caption, found.pictures["lesions"].figure()
        assert f"of {found['cases'][0]['lesions']} lesions found" in caption and len(figure.axes) == 3
        assert (run.path / "previews" / "lesions.png").exists()

    def test_predictions_come_with_a_table_of_detections(self, run, tmp_path):
        made = run.restored()
        made.chosen = 0.4  # so that there is something
        case = made.cases["test"][0]
        image = made.open(case).image[..., 0]
        write_volume(Volume(np.asarray(image * 500, np.float32), made.open(case).affine), tmp_path / "scan.nii.gz")
        paths = {path.name: path for path in made.predict([str(tmp_path / "scan.nii.gz")], tmp_path / "out")}
        mask = read_volume(paths["scan_labels.nii.gz"])
        with open(paths["scan_detections.csv"], newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert set(rows[0]) == {"x_mm", "y_mm", "z_mm", "score", "diameter_mm"}
        scores = [float(row["score"]) for row in rows]
        assert scores == sorted(scores, reverse=True) and min(scores) >= 0.4
        centres = lesions.centres(mask.array > 0)
        world = centres[:, ::-1] @ mask.affine[:3, :3].T + mask.affine[:3, 3]
        told = np.array([[float(row[f"{axis}_mm"]) for axis in "xyz"] for row in rows])
        np.testing.assert_allclose(sorted(map(tuple, told)), sorted(map(tuple, world)), atol=1e-3)
        sizes = sorted(float(row["diameter_mm"]) for row in rows)
        np.testing.assert_allclose(sizes, sorted(lesions.equivalent_diameters(mask.array > 0, mask.spacing)), rtol=1e-3)


def method(*overrides, config=CONFIG):
    words = (*TINY, *overrides) if not any(word.startswith("data.source=") for word in overrides) else overrides
    settings = tfmed.load_config(REPOSITORY / config, words)
    return registry.method_class(settings.method)(settings)


# --- network and losses -----------------------------------------------------------------------------------------------


@pytest.mark.one_stack
@pytest.mark.usefixtures("unfilled_weights")
def test_the_network_has_16_324_929_parameters():
    """Convolutions and head 16,315,585; batch norm 4 for each of 2,336 maps."""
    network = build_network(Config())
    count = sum(math.prod(w.shape) for w in network.weights if len(w.shape))
    assert count == 16_315_585 + 4 * 2_336 == 16_324_929
    unet = next(layer for layer in network.layers if isinstance(layer, keras.Model))
    kernels = [layer.kernel.shape for half in ("encoder", "decoder") for layer in unet.get_layer(half).layers
               if isinstance(layer, keras.layers.Conv3D)]  # fmt: skip
    assert [tuple(shape[-2:]) for shape in kernels] == [
        (1, 32), (32, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512),
        (768, 256), (256, 256), (384, 128), (128, 128), (192, 64), (64, 64), (64, 1),
    ]  # fmt: skip


def batch():
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, (3, 4, 5, 6)).astype("float32")
    label = (rng.random(logit.shape) < 0.1).astype("uint8")
    return tf.constant(np.stack([np.zeros_like(logit), logit], -1)), tf.constant(label), logit


def test_focal_loss_is_kerass_and_half_of_cross_entropy_without_focus():
    logits, label, logit = batch()
    binary = tf.cast(label, tf.float32)[..., None]
    plain = keras.losses.BinaryCrossentropy(from_logits=True)(binary, logit[..., None])
    assert float(tf.reduce_mean(patch_loss(Config(), logits, label))) == pytest.approx(float(plain), rel=1e-5)
    focal = patch_loss(Config(loss="focal"), logits, label)
    options = {"apply_class_balancing": True, "alpha": 0.25, "gamma": 2.0, "from_logits": True}
    wanted = keras.losses.BinaryFocalCrossentropy(**options)(binary, logit[..., None])
    assert float(tf.reduce_mean(focal)) == pytest.approx(float(wanted), rel=1e-4)
    without = patch_loss(Config(loss="focal", focal_gamma=0, focal_alpha=0.5), logits, label)
    np.testing.assert_allclose(without, 0.5 * losses.cross_entropy(logits, label), rtol=1e-6)


def test_what_is_logged_are_soft_dice_and_kappa_of_the_batch():
    model = AneurysmUNet(Config(patch=(8, 8, 8), stride=8, network=UNet(widths=(2, 4))), seed=1, per_step=2)
    rng = np.random.default_rng(0)
    image = tf.constant(rng.random((2, 8, 8, 8, 1), np.float32))
    label = (rng.random((2, 8, 8, 8)) < 0.3).astype("uint8")
    _, logs = model.network_loss({"index": tf.range(2, dtype=tf.int64), "image": image, "label": label})
    p = tf.nn.softmax(model(image))[..., 1].numpy().astype(np.float64)
    soft = (2 * (p * label).sum() + 1) / (p.sum() + label.sum() + 1)
    assert float(logs["soft_dice"]) == pytest.approx(soft, rel=1e-4)
    mask = p > 0.5
    expected = [(mask & (label == 1)).sum(), (mask & (label == 0)).sum(), (~mask & (label == 1)).sum()]
    np.testing.assert_array_equal(logs["kappa"][:3], expected)
    assert float(sum(logs["kappa"])) == label.size
    model.log(logs)
    assert -1 <= float(model.meters["kappa"].result()) <= 1


# --- samples ----------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_an_epoch_has_so_many_copies_and_each_patch_once(monkeypatch):
    made = method()
    entries = made.entries(made.cases["train"], 3)
    for case in made.cases["train"]:
        own = [entry for entry in entries if entry[0] is case]
        for lesion in range(len(made.lesions(case))):
            assert [entry[2] for entry in own if entry[1] == lesion] == [0, 1, 2]
        assert sum(entry[1] < 0 for entry in own) == 6
    drawn = []
    monkeypatch.setattr(made, "patch", lambda entry, index: drawn.append(entry) or (0, 0))
    samples = made.samples()
    for index in range(len(entries)):
        samples.read(index)
    numbers = [next(k for k, entry in enumerate(entries) if entry[:3] == one[:3] and (entry[3] == one[3]).all())
               for one in drawn]  # fmt: skip
    assert sorted(numbers) == list(range(len(entries)))


@pytest.mark.one_stack
def test_paper_settings_have_50_copies_and_200_patches_without():
    config = tfmed.load_config(REPOSITORY / CONFIG).model
    assert (config.copies, config.vessel_patches, config.other_patches) == (50, 100, 100)
    assert (config.least_distance_mm, config.distance, config.distortion_mm) == (20.0, "euclidean", 4.0)
    assert (config.rotate_degrees, config.shift_mm, config.patch, config.stride) == (180.0, 10.0, (48,) * 3, 32)


@pytest.mark.one_stack
def test_copies_differ_and_keep_their_distortion():
    """The image is that of a case; turned and shifted anew for each index, distorted for good."""
    made = method("model.rotate_degrees=0", "model.shift_mm=0")
    entries = made.entries(made.cases["train"][:1], 2)
    first, second = (next(entry for entry in entries if entry[1:3] == (0, copy)) for copy in (0, 1))
    one, label = made.patch(first, 3)
    np.testing.assert_array_equal(one, made.patch(first, 8)[0])
    assert (one != made.patch(second, 3)[0]).any() and label.any()
    turned = method()
    assert (turned.patch(first, 3)[0] != turned.patch(first, 8)[0]).any()
    np.testing.assert_array_equal(turned.patch(first, 3)[0], method().patch(first, 3)[0])
    plain = method("model.rotate_degrees=0", "model.shift_mm=0", "model.distortion_mm=0")
    np.testing.assert_array_equal(plain.patch(first, 3)[0], plain.patch(second, 3)[0])


@pytest.mark.one_stack
def test_shifts_of_negatives_are_a_choice():
    still = method("model.rotate_degrees=0", "model.shift_negatives=false")
    entry = next(entry for entry in still.entries(still.cases["train"][:1], 1) if entry[1] < 0)
    np.testing.assert_array_equal(still.patch(entry, 1)[0], still.patch(entry, 2)[0])
    moved = method("model.rotate_degrees=0")
    assert (moved.patch(entry, 1)[0] != moved.patch(entry, 2)[0]).any()


@pytest.mark.one_stack
def test_samplers():
    counts = {}
    for name in ("guided", "uniform", "regular"):
        made = method(f"model.sampler={name}")
        entries = made.entries(made.cases["train"], 3)
        bright = [float(made.open(e[0]).image[tuple(np.asarray(e[3], int)) + (0,)]) for e in entries
                  if e[1] < 0 and (np.asarray(e[3]) < made.open(e[0]).image.shape[:3]).all()]  # fmt: skip
        counts[name] = (len(entries), np.mean(bright))
    assert counts["guided"][0] == counts["uniform"][0] and counts["guided"][1] > 1.3 * counts["uniform"][1]
    assert counts["regular"][0] == 2 * 2 * 2 * 2


@pytest.mark.one_stack
def test_too_few_places_are_told(caplog):
    made = method("model.vessel_patches=400", "model.distance=chebyshev", "model.least_distance_mm=12")
    with caplog.at_level("INFO", "tfmed"):
        entries = made.entries(made.cases["train"][:1], 1)
    reached = sum(entry[1] < 0 for entry in entries)
    assert f"{reached} of 403 patches without an aneurysm have room" in caplog.text and 0 < reached < 60


@pytest.mark.one_stack
def test_a_head_mask_is_a_choice():
    made = method("model.head_mask=true")
    assert len(made.plan(made.cases["train"][0]).negatives) == 6


# --- where lesions are ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Five scans in files, some with bright spheres, their masks, and a table of clicks of the same."""
    root, rng = tmp_path_factory.mktemp("scans"), np.random.default_rng(0)
    rows = ["case,neck_x,neck_y,neck_z,dome_x,dome_y,dome_z"]
    for k in range(5):
        affine = np.diag([0.8, 0.8, 0.9, 1.0])
        affine[:3, 3] = rng.uniform(-20, 20, 3)
        sphere = tfmed.data.spheres.from_clicks(*(affine[:3, 3] + at for at in ((8, 9, 10), (11, 9, 10 + k / 4))))
        mask = draw([sphere], (24, 26, 28), affine)
        image = (rng.normal(100, 10, mask.shape) + 150 * mask).astype(np.float32)
        for kind, array in (("images", image), ("labels", mask.astype(np.uint8))):
            (root / kind).mkdir(exist_ok=True)
            write_volume(Volume(array, affine), root / kind / f"scan{k}.nii.gz")
        ends = [affine[:3, 3] + at for at in ((8, 9, 10), (11, 9, 10 + k / 4))]
        rows.append(",".join([f"scan{k}", *(f"{v:.4f}" for v in np.concatenate(ends))]))
    (root / "clicks.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def on(root, folder="", *more):
    source = "nifti_folder"
    return (*SHARED, f"data.source={source}", f"data.root={root / folder}", "data.options={modality: tof}", *more)


@pytest.mark.one_stack
def test_clicks_and_masks_tell_the_same_lesions(scans):
    by_mask, by_click = method(*on(scans)), method(*on(scans, "images", f"model.clicks={scans / 'clicks.csv'}"))
    named = {case.id: case for part in by_mask.cases.values() for case in part}
    for cases in by_click.cases.values():
        for case in cases:
            assert case.label is None
            (one,), (other,) = by_click.lesions(case), by_mask.lesions(named[case.id])
            np.testing.assert_allclose(one.centre_mm, other.centre_mm, atol=0.4)
            assert one.radius_mm == pytest.approx(other.radius_mm, rel=0.25)
    cases = by_click.prepared("train")
    image, label = by_click.patch(next(e for e in by_click.entries(cases, 1) if e[1] == 0), 0)
    assert label.any() and image[label == 1].mean() > image[label == 0].mean() + 0.2


@pytest.mark.one_stack
def test_what_is_known_by_clicks_is_scored(scans):
    """Without label maps: by the spheres themselves. A network that marks all bright voxels finds each of them."""
    made = method(*on(scans, "images", f"model.clicks={scans / 'clicks.csv'}", "model.threshold=0.5"))
    made.probabilities = lambda image, finish=None: np.concatenate([image < 0.7, image >= 0.7], -1).astype(np.float32)
    made.patch_scores = lambda part: {}
    found = made.evaluate({"bright": made})
    (row,) = found["evaluation"]
    assert row["lesions"] == row["cases"] == 1 and row["sensitivity"] == row["ADAM sensitivity"] == 1
    assert row["FP per case"] == 0 and row["Dice of masks"] > 0.8 and row["FROC area to 1 FP"] == 1
    (lesion,), (detection,) = found["lesions"], found["detections"]
    assert lesion["found"] and detection["hit"] and detection["score"] == 1
    (sphere,) = made.lesions(made.cases["test"][0])
    for one in (lesion, detection):
        np.testing.assert_allclose([one[f"{axis}_mm"] for axis in "xyz"], sphere.centre_mm, atol=0.5)
        assert one["diameter_mm"] == pytest.approx(2 * sphere.radius_mm, rel=0.2)


@pytest.mark.one_stack
def test_folds_are_balanced_by_the_size_of_lesions(scans):
    words = on(scans, "", "data.split={folds: 2, fold: 0, balanced: true, validation: 0}")
    made = method(*words)
    sizes = made.sizes([case for part in made.cases.values() for case in part])
    order = sorted(sizes, key=lambda group: -sizes[group])
    assert {case.group for case in made.cases["test"]} == {order[0], order[3], order[4]}
    with pytest.raises(DataError, match="knows no sizes"):
        other = tfmed.load_config(REPOSITORY / "configs/equireg.yaml", ("data.split={folds: 2, balanced: true}",))
        registry.method_class("equireg")(other).cases  # noqa: B018


# --- bad input --------------------------------------------------------------------------------------------------------


def without_lesions(root):
    for path in (root / "labels").iterdir():
        volume = read_volume(path)
        write_volume(volume.replace(array=np.zeros_like(volume.array)), path)


def click(old, new):
    def change(root):
        path = root / "clicks.csv"
        path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")

    return change


def same_click(root):
    path = root / "clicks.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    cells = lines[2].split(",")
    lines[2] = ",".join([*cells[:4], *cells[1:4]])
    path.write_text("\n".join(lines), encoding="utf-8")


def far_click(root):
    path = root / "clicks.csv"
    cells = path.read_text(encoding="utf-8").splitlines()
    for line in range(1, 6):
        name, *rest = cells[line].split(",")
        cells[line] = ",".join([name, *(f"{float(v) + 400:.3f}" for v in rest)])
    path.write_text("\n".join(cells), encoding="utf-8")


def nothing(root):
    pass


CLICKS = ("model.clicks={root}/clicks.csv", "data.root={root}/images")
REFUSED = {
    "two clicks at one point": (same_click, CLICKS, "clicks.csv:3", "both clicks lie at", "click once at the neck"),
    "a lesion beyond the border": (far_click, CLICKS, "clicks.csv", "outside of the image", "millimetres"),
    "a click of no case": (click("scan1", "scna1"), CLICKS, "case 'scna1' is none of the data set's", "correct"),
    "no column": (click("neck_x", "x"), CLICKS, "has no column neck_x", "first line"),
    "no table": (lambda root: (root / "clicks.csv").unlink(), CLICKS, "clicks.csv", "check"),
    "clicks of nobody": (lambda root: (root / "clicks.csv").write_text(
        "case,neck_x,neck_y,neck_z,dome_x,dome_y,dome_z\n"), CLICKS, "no training case has a lesion", "model.clicks"),
    "no aneurysm in any case": (without_lesions, (), "labels of all training cases are empty", "model.label_values"),
    "a scan smaller than a patch": (
        nothing, ("model.patch=[64, 64, 64]", "model.stride=64"), "less than half of model.patch", "lower model.patch"),
    "a patch of odd rest": (nothing, ("model.stride=7",), "stride: 7 leaves no equal border", "even number less"),
    "two kinds of lesion": (
        nothing, ("model.label_values=[0, 1, 2]", "model.regions={}"), "one class beside the background", "two"),
    "no patch without one": (
        nothing, ("model.vessel_patches=0", "model.other_patches=0"), "other_patches", "give some"),
    "folds that are none": (nothing, ("data.split={balanced: true}",), "balanced: is for folds", "set folds"),
}  # fmt: skip


@pytest.mark.one_stack
@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_one_line(name, scans, tmp_path, capsys):
    import shutil

    from tfmed import fit as verb

    change, overrides, *words = REFUSED[name]
    root = shutil.copytree(scans, tmp_path / "scans")
    change(root)
    overrides = [word.format(root=root) for word in overrides] if overrides is CLICKS else overrides
    given = [REPOSITORY / CONFIG, "--run-dir", tmp_path / "run", *on(root), "train.steps=1", *overrides]
    refused(capsys, verb.main, given, *words)
    assert not (tmp_path / "run").exists()


# --- variants ---------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_the_variants_of_the_study_are_settings():
    """Section 8 of the card."""
    folder = REPOSITORY / "configs" / "aneurysm"
    found = {path.stem: tfmed.load_config(path).model for path in folder.glob("*.yaml")}
    plain = tfmed.load_config(REPOSITORY / CONFIG).model
    changed = {"model1": {"loss": "focal"}, "model2": {"copies": 5}, "model3": {"distortion_mm": 0.0},
               "model4": {"vessel_patches": 50, "other_patches": 50}, "uniform": {"sampler": "uniform"},
               "regular": {"sampler": "regular"}, "large_patches": {"patch": (96, 96, 96), "stride": 64}}  # fmt: skip
    for name, settings in changed.items():
        given = {key: value for key, value in found[name].model_dump().items() if key in settings}
        assert given == settings, name
        same = found[name].model_copy(update={key: getattr(plain, key) for key in settings})
        assert same == plain, name
    for path in folder.glob("*.yaml"):
        tfmed.load_config(path, profile="demo")
