"""Label transfer: the harness, the network and its loss, what an iteration exchanges, and what verbs make of a run.

Items of the card's "What must hold" of points alone are in tests/data/test_matching.py, of masks in test_transfer.py.
"""

import copy
import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import stats

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness, assert_same_weights, killed_before
from tests.support.view_pages import views_of
from tfmed import registry
from tfmed.data import phantoms
from tfmed.data.instances import maps_of, packed, unpacked
from tfmed.data.transfer import around, unchanged
from tfmed.engine.exporting import export
from tfmed.engine.lifecycle import fit
from tfmed.errors import ConfigError, DataError
from tfmed.io import read_volume, write_volume
from tfmed.methods.label_transfer import Config, LabelTransfer, build_network, with_features
from tfmed.metrics.instances import instance_scores
from tfmed.tasks.exported import open_model

pytestmark = pytest.mark.current

CONFIG = "configs/label_transfer.yaml"
TINY = (
    "data.options={pairs: 4, clean: 2, unlabelled: 1, noisy: 0.3, shape: [48, 48], spacing: 12.0}",
    "data.split={given: true, validation: 0.5}",
    "train.batch_size=2",
    "train.validate_every=2",
    "model.iterations=1",
    "model.iteration_steps=null",
    "model.patch=[32, 32]",
    "model.network={name: unet, widths: [2, 4], norm: batch, upsample: transposed}",
    "model.disc_radius=2",
    "model.radius=15",
    "model.feature_window=4",
    "model.learning_rate=0.003",
)


class TestHarness(MethodHarness):
    config = CONFIG
    tiny = TINY
    replica_tolerance = 2e-3
    bad = ("model.patch=[32, 33]", "multiple of 2")

    @pytest.mark.one_stack
    def test_view(self, run):
        """Every cell of the reference has a colour of its own; counts are those of the table of cases."""
        shown, method = views_of(tfmed.view(run)), run.restored()
        for one, row in zip(shown, method.evaluate({"one": method})["cases"], strict=True):
            assert [panel["title"] for panel in one["panels"]] == ["reference", "prediction", "errors"]
            cells = one["panels"][0]["layers"][1]["classes"]
            assert len({tuple(k["colour"]) for k in cells}) == len({k["name"] for k in cells}) == row["cells"]
            told = f"{row['cells'] - row['missed']} of {row['cells']} cells found, {row['extra']} false"
            assert one["note"].startswith(f"prediction: {told}")

    def parity(self, run):
        """Odd sizes, raw grey values, several images one after another."""
        method = run.restored()
        calls, expected = [], []
        for shape in ((1, 33, 47), (2, 20, 9)):
            image = np.random.default_rng(sum(shape)).uniform(0, 255, (*shape, 1)).astype("float32")
            step = method.preprocessing()[0]
            calls.append({"image": image})
            expected.append(np.stack([method.maps(step.graph(tf.constant(one[..., 0])).numpy()) for one in image]))
        return expected, calls

    @pytest.mark.long
    def test_resumes_where_an_iteration_had_not_begun(self, run, tmp_path):
        """What was exchanged is not there yet, and is made anew by the first stage's network."""
        killed, _ = killed_before(run, tmp_path / "killed", lambda state: state["stage"] != "clean")
        for name in ("iteration1", "affines"):
            (killed / "records" / f"{name}.json").unlink()
        resumed = fit(run.settings, killed, resume=True)
        for name in ("iteration1", "affines"):
            paths = [one / "records" / f"{name}.json" for one in (resumed.path, run.path)]
            assert paths[0].read_bytes() == paths[1].read_bytes()
        assert_same_weights(resumed, run)

    def test_an_iteration_begins_with_the_weights_before_it(self, run):
        method = run.restored()
        stages = list(method.stages())
        assert [stage.name for stage in stages] == ["clean", "iteration1"]
        warm, before = stages[1].model().network, method.models["iteration1"].network
        for one, other in zip(warm.weights, before.weights, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())

    @pytest.mark.one_stack
    def test_tables(self, run):
        made = run.restored()
        found = made.evaluate({"one": made, "two": made})
        (case, *_) = cases = [case for case in made.cases["test"] if case.label]
        assert {row["case"] for row in found["cases"]} == {case.id for case in cases} and len(cases) == 2
        assert [row["stage"] for row in found["stages"]] == ["clean", "iteration1"] * 2
        image, reference = made.open(case)
        scores = instance_scores(made.labels(image), reference)
        rows = [row for row in found["cells"] if row["run"] == "one" and row["case"] == case.id]
        assert [row["cell"] for row in rows] == scores.reference.tolist()
        np.testing.assert_allclose([row["AP"] for row in rows], scores.jaccard)
        (line, other) = found["evaluation"]
        cells = [row["DC"] for row in found["cells"] if row["run"] == "one"]
        assert line["DC mean"] == pytest.approx(np.mean(cells)) and line["DC std"] == pytest.approx(
            np.std(cells, ddof=1)
        )
        images = [row["DC"] for row in found["cases"] if row["run"] == "one"]
        assert line["DC of images mean"] == pytest.approx(np.mean(images))
        assert line["p (t-test, DC)"] == "" and other["p (t-test, DC)"] == 1
        clean = made.at("clean")
        before = [float(instance_scores(clean.labels(i), r).dice.mean()) for i, r in map(made.open, cases)]
        expected = 1.0 if before == images else stats.ttest_rel(before, images).pvalue
        assert found["stages"][1]["p (t-test, DC)"] == pytest.approx(expected, nan_ok=True)

    @pytest.mark.one_stack
    def test_predicts_pictures_and_volumes_of_any_size(self, run, tmp_path):
        grey = np.random.default_rng(0).integers(0, 255, (37, 50)).astype("uint8")
        Image.fromarray(grey).save(tmp_path / "x.png")
        write_volume(phantoms.cell_pairs(1, (40, 45), spacing=16.0).volume, tmp_path / "y.nii.gz")
        method = run.restored()
        exported = open_model(export(run, tmp_path / "export"))
        words = [str(tmp_path / "x.png"), str(tmp_path / "y.nii.gz")]
        paths = list(method.predict(words, tmp_path / "out", ("labels", "regions")))
        assert [path.name for path in paths] == [
            "x_labels.png",
            "x_regions.nii.gz",
            "y_labels.nii.gz",
            "y_regions.nii.gz",
        ]
        with Image.open(paths[0]) as picture:
            labels = np.array(picture)
        assert labels.shape == (37, 50) and labels.dtype == np.uint16
        assert set(np.unique(labels)) == set(range(labels.max() + 1))
        volume = read_volume(paths[2])
        assert volume.shape == (1, 40, 45) and volume.array.dtype == np.uint16
        again = list(exported.predict(words, tmp_path / "again"))
        assert [path.name for path in again] == ["x_labels.png", "y_labels.nii.gz"]
        assert (read_volume(again[1]).array != volume.array).mean() < 0.01
        write_volume(
            volume.replace(array=np.zeros((2, 9, 9), "uint8") + np.arange(9, dtype="uint8")), tmp_path / "z.nii"
        )
        with pytest.raises(DataError, match=r"z\.nii: has 2 slices"):
            list(method.predict([str(tmp_path / "z.nii")], tmp_path / "out"))

    @pytest.mark.one_stack
    def test_previews_show_the_exchange(self, run):
        shown = run.restored().previews()["transfers"]
        assert len(shown.pairs) == 1 and "copied red" in shown.caption
        value = json.loads((run.path / "records" / "iteration1.json").read_text())
        for pair in shown.pairs:
            assert len(pair.matches) == len(value["matches"][pair.title])
            assert pair.first.image.shape == pair.first.before.shape == pair.second.after.shape
        assert (run.path / "previews" / "transfers.png").exists()


def method(*overrides):
    settings = tfmed.load_config(REPOSITORY / CONFIG, (*TINY, *overrides))
    return registry.method_class(settings.method)(settings)


# --- network and loss -------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_the_papers_network():
    """Four poolings, two outputs, and 16 features in the last layer, of which 16 x 16 px make 4096 numbers."""
    network = build_network(Config())
    widths, count, before = (16, 32, 64, 128, 256), 0, 1
    for width in widths:  # two convolutions with batch norm
        count += 9 * before * width + width + 2 * width + 9 * width**2 + width + 2 * width
        before = width
    for width in widths[-2::-1]:  # transposed convolution, joined, two convolutions
        count += 4 * 2 * width * width + width + 9 * 2 * width * width + 9 * width**2 + 2 * 3 * width
    count += 16 * 2 + 2
    assert sum(int(np.prod(w.shape)) for w in network.trainable_weights) == count
    assert with_features(network).outputs[1].shape[-1] == 16 and Config().feature_window ** 2 * 16 == 4096


def test_features_are_what_the_head_reads():
    network = build_network(Config(network={"name": "unet", "widths": (4, 6), "norm": "batch"}, patch=(16, 16)))
    image = tf.random.stateless_normal((2, 16, 12, 1), (0, 0))
    logits, features = with_features(network)(image)
    np.testing.assert_allclose(logits, network(image), atol=1e-6)
    kernel, bias = (w.numpy() for w in network.get_layer("decoder").get_layer("head0").weights)
    np.testing.assert_allclose(features.numpy() @ kernel[0, 0] + bias, logits, atol=1e-5)


def test_the_loss_is_dice_and_cross_entropy_of_both_maps():
    config = Config(network={"name": "unet", "widths": (2, 4), "norm": "none"}, patch=(8, 8))
    model = LabelTransfer(config, seed=1, per_step=2)
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, 8, 8, 1)).astype("float32")
    y, w = rng.integers(0, 2, (2, 8, 8, 2)), rng.integers(0, 2, (2, 8, 8))
    loss, logs = model.network_loss(
        {"image": image, "maps": y.astype("uint8"), "weight": w.astype("uint8"), "index": tf.range(2, dtype=tf.int64)}
    )
    p, w = 1 / (1 + np.exp(-model(image).numpy().astype(float))), w[..., None]
    dice = 1 - (2 * (w * p * y).sum((1, 2)) + 1) / ((w * (p + y)).sum((1, 2)) + 1)
    entropy = -(w * np.log(np.where(y, p, 1 - p))).sum((1, 2)) / w.sum((1, 2))
    assert float(loss) == pytest.approx((dice + entropy).sum(-1).mean(), rel=1e-4)
    assert float(logs["dice"]) == pytest.approx(dice.sum(-1).mean(), rel=1e-4)


@pytest.mark.one_stack
def test_samples_move_images_and_maps_alike():
    made = method("model.patch=[32, 64]", "model.intensity=0")
    label = np.zeros((64, 64), np.int32)
    label[5:25, 9:30], label[40:60, 30:50] = 1, 2
    weight = label != 2
    items = [lambda: made.learnt((label > 0).astype("float32"), label, weight)]
    samples = made.samples(items)
    seen = set()
    for index in range(12):
        sample = samples.read(index)
        np.testing.assert_array_equal(sample["image"][..., 0] > 0, sample["maps"][..., 1] > 0)
        assert not (sample["weight"] == 0)[sample["maps"][..., 1] == 0].any()
        np.testing.assert_array_equal(sample["maps"], samples.read(index)["maps"])
        seen.add(sample["maps"].tobytes())
    assert len(seen) > 8
    small = made.samples([lambda: made.learnt(np.ones((20, 40), "float32"), label[:20, :40])]).read(0)
    assert small["image"].shape == (32, 64, 1) and (small["image"] == 1).all()


# --- an iteration -----------------------------------------------------------------------------------------------------


def seeing(made):
    """The method with a network in the place of its own that finds what the phantom says that a segmenter finds."""
    found = {}
    for case in made.cases["train"]:
        image = made.open(case)[0]
        address = case.images["cells"].replace("part=image", "part=found")
        found[image.tobytes()] = np.stack(maps_of(phantoms.read(address).array[0].astype(int), 2.0), -1)

    def look(images):
        image = images.numpy()
        maps = found[image[0, ..., 0].tobytes()]
        return tf.constant(maps[None], tf.float32), tf.constant(np.repeat(image, 2, -1))

    made.looking = lambda network: look
    return made


WIDE = ("data.options={pairs: 3, clean: 1, unlabelled: 1, noisy: 0.3, shape: [128, 128], spacing: 16.0, changed: 0.0}",
        "data.split.validation=0")  # fmt: skip


@pytest.fixture(scope="module")
def wide():
    """A method that sees what a segmenter would find, and whose pair is registered."""
    made = seeing(method(*WIDE))
    assert len(made.affines) == 1
    return made


def exchanged(wide, *overrides):
    """What a pair exchanges with other settings."""
    made = copy.copy(wide)
    made.config = method(*WIDE, *overrides).config
    (name,) = made.pairs
    return made.exchange_of(name, None)


@pytest.mark.one_stack
def test_masks_go_both_ways_one_way_or_none(wide):
    (before, both, match), (_, first, _), (_, none, _) = (
        exchanged(wide, f"model.transfer={word}") for word in ("both", "first", "none")
    )
    assert len(match.pairs) > 25 and all(one.counts()["copied"] for one in both)
    np.testing.assert_array_equal(first[0].labels, both[0].labels)
    np.testing.assert_array_equal(first[1].labels, before[1])
    for one, own in zip(none, before, strict=True):
        np.testing.assert_array_equal(one.labels, own)
        assert one.counts()["copied"] == 0


@pytest.mark.one_stack
def test_copied_cells_are_cells(wide):
    _, made, _ = exchanged(wide)
    (name,), hits = wide.pairs, []
    for case, one in zip(wide.pairs[name], made, strict=True):
        true = phantoms.read(case.images["cells"].replace("part=image", "part=label")).array[0]
        hits += [np.bincount(true[one.labels == number]).argmax() > 0 for number in one.copied]
    assert len(hits) >= 4 and np.mean(hits) > 0.75


@pytest.mark.one_stack
@pytest.mark.parametrize("kind", ["features", "distance", "mutual"])
def test_matchings(wide, kind):
    _, _, match = exchanged(wide, f"model.matching={kind}")
    assert len(match.pairs) > 15 and len(set(match.pairs[:, 0])) == len(match.pairs)


@pytest.mark.one_stack
def test_where_a_cell_was_removed_or_nothing_came_in_pixels_do_not_count():
    made = method()
    case = made.cases["train"][-1]
    label = np.zeros((48, 48), np.int32)
    label[10:20, 10:20], label[30:40, 30:40] = 1, 2
    one = unchanged(label)
    ignored = np.zeros(label.shape, bool)
    ignored[:5, :5] = True
    one = type(one)(label, ignored, one.kept[:1], one.removed, one.kept[1:], one.removed)
    np.testing.assert_array_equal(made._of_pair({case.id: one}, case)[2], ~ignored)
    made = method("model.loss_mask=transferred_only", "model.loss_margin=3")
    np.testing.assert_array_equal(made._of_pair({case.id: one}, case)[2], around(one, 3))
    assert made._of_pair({case.id: one}, case)[2].sum() == 16**2
    assert method("model.ignore_removed=false")._of_pair({case.id: one}, case)[2].all()


@pytest.mark.one_stack
def test_given_labels_of_a_pair_stay():
    """Of the pairs half is labelled: these images train by their own labels, and give masks to their partners."""
    made = method(WIDE[0].replace("unlabelled: 1", "unlabelled: 0"), *WIDE[1:])
    for k, case in enumerate(made.cases["train"]):
        if case.meta["visit"] == 2:
            made.cases["train"][k] = dataclasses.replace(case, label=None)
    made = seeing(made)
    labelled = {case.id for case in made.training_cases[0]}
    assert len(labelled) == len(made.pairs) == len(made.receivers()) == 1
    for name, (one, other) in made.pairs.items():
        assert one.id in labelled and other.id not in labelled
        _, (first, second), _ = made.exchange_of(name, None)
        np.testing.assert_array_equal(first.labels, made.open(one)[1])
        assert len(second.labels) and second.counts()["kept"]


@pytest.mark.one_stack
def test_instance_maps_as_plain_numbers():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (7, 9), (3, 4, 5)):
        label = rng.integers(0, 3, shape) * 70_000
        np.testing.assert_array_equal(unpacked(json.loads(json.dumps(packed(label)))), label)
    for bad in (
        None,
        [[2, 2], [3, 1]],
        [[2, 2], [4, -1]],
        [[2, 2], [4]],
        [[-1, -4], [4, 1]],
        [[4], [4, 1]],
        {},
        [[2], "x"],
    ):
        with pytest.raises(ValueError, match="no instance map"):
            unpacked(bad)


def test_settings_that_cannot_be():
    for words, said in (
        ("data.preprocess=[{step: resample, shape: [1, 9, 9]}]", "resample is not for instances"),
        ("model.matching=nearest", "matching"),
        ("model.radius=0", "radius"),
        ("data.preprocess=[{step: percentile_window, percentiles: [9, 101]}]", "0 to 100"),
    ):
        with pytest.raises(ConfigError, match=said):
            method(words)


@pytest.mark.parametrize("file", sorted((REPOSITORY / "configs/label_transfer").glob("*.yaml")), ids=lambda f: f.stem)
def test_variants_differ_in_what_they_say(file):
    plain, variant = (tfmed.load_config(one).model.model_dump() for one in (REPOSITORY / CONFIG, file))
    assert sum(plain[key] != variant[key] for key in plain) >= 1
