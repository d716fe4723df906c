"""DeepMCAT: the harness, and every item of its card's "What must hold" that is not one of numbers alone.

Those lie in tests/metrics/test_clustering.py, tests/data/test_pseudo_labels.py and tests/nn/test_adaptive_pool.py.
"""

import csv
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmed
from tests.support.harness import MethodHarness
from tfmed import compat
from tfmed.data import sources
from tfmed.errors import ConfigError, DataError, RunError
from tfmed.methods.deepmcat import Config, DeepMCAT, Sobel, build_head, build_network
from tfmed.registry import method_class

pytestmark = pytest.mark.current

SMALL = dict(image_size=8, width=2, convolutions=(1, 1), avgpool=1, hidden=(4, 3), kinds=2, multiplier=2)
TINY = (
    "data.options={cases: 11, classes: [vertical, blobs], shape: [12, 10]}",
    "train.batch_size=4",
    "train.preview_every=1000",
    "model.dropout=0",
    "model.dense_deviation=0.3",
    "model.epochs=2",
    *(f"model.{name}={list(value) if isinstance(value, tuple) else value}" for name, value in SMALL.items()),
    "model.convolutions=[1]",
    "model.hidden=[3]",
)


def made(count=6, **changes):
    keras.utils.set_random_seed(0)
    return DeepMCAT(Config(**SMALL | {"dense_deviation": 0.3, "dropout": 0.0} | changes), count=count, per_step=count)


def images(count=6, size=8, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(100, 30, (count, size, size, 1)).astype(np.float32))


def values(variables):
    return [compat.tensor_variable(v).numpy() for v in variables]


class TestHarness(MethodHarness):
    """Eleven images and batches of four: three steps to a round, so that a run that goes on after two is within one."""

    config = "configs/deepmcat.yaml"
    tiny = TINY
    bad = ("model.image_size=1", "image_size")

    def parity(self, run):
        method = run.restored()
        volumes = [np.random.default_rng(k).normal(size=(3, 12 + k, 9)).astype(np.float32) for k in range(2)]
        return [method.distances(tf.constant(one)).numpy() for one in volumes], [{"image": one} for one in volumes]

    def test_rounds_of_a_run(self, run):
        """Before the steps 1 and 4, and behind the last, all images were grouped; the first has nothing before it."""
        rows = run.metrics().dropna(subset="clusters")
        assert rows["step"].tolist() == [1, 4, 4]
        assert np.isnan(rows["nmi_previous"].iloc[0]) and rows["nmi_previous"].iloc[1:].between(0, 1).all()
        assert rows["purity"].between(6 / 11 - 1e-6, 1).all() and rows["clusters"].between(2, 4).all()
        method = run.restored()
        labels, names = method.class_numbers(method.images)
        assert names == ["blobs", "vertical"] and np.bincount(labels).tolist() == [5, 6]
        rounds = method.stages().__next__().rounds
        assert rounds.steps == 3 and method.round_length == (11, 3)

    @pytest.mark.one_stack
    def test_tables_names_and_sheets(self, run, tmp_path):
        method = run.restored()
        found = method.evaluate({"one": method})
        ways = [row["grouping"] for row in found["evaluation"]]
        assert ways[0] == "trained" and ways[-1] == "random" and len(ways) == 5
        for row in found["evaluation"]:
            assert 6 / 11 - 1e-9 <= row["purity"] <= 1 and 0 <= row["NMI labels"] <= 1 and row["images"] == 11
        one, two = (method.groupings(method.images, "train") for _ in range(2))
        for name in one:  # whatever was drawn before
            np.testing.assert_array_equal(one[name], two[name])
        trained = found["evaluation"][0]
        assert trained["NMI previous"] == pytest.approx(float(method.model.agreement.numpy()))
        assert trained["purity floor"] == 6 / 11 and [row["id"] for row in found["clusters"]] == [0, 1, 2, 3]
        assert sum(row["images"] for row in found["clusters"]) == len(found["groups"]) == 11
        assert set(found.pictures) == {"cluster_sizes", "clusters01"}
        assert sum(map(len, found.pictures["clusters01"].rows.values())) == 11  # few enough: all are shown
        assert all(picture.figure() is not None for picture in found.pictures.values())
        with pytest.raises(RunError, match="no case is in the part 'test'"):
            method.evaluate({"one": method}, part="test")

    @pytest.mark.one_stack
    def test_names_that_a_person_wrote_are_kept_and_used(self, run, tmp_path):
        method = run.restored()
        table, sizes = run.path / "clusters.csv", np.bincount(method.model.groups.numpy(), minlength=4)
        try:
            lines = [f"{k},{'stripes' if k < 2 else ''},{sizes[k]}" for k in range(4)]
            table.write_text("\n".join(["id,name,images", *lines]))
            assert method.names() == ["stripes", "stripes", "", ""]
            assert [row["name"] for row in method.table()] == method.names() == method.sorter().note()["names"]
            table.write_text(f"id,name,images\n0,a,{sizes[0] + 1}\n")
            with pytest.raises(RunError, match="another grouping"):
                method.names()
        finally:
            table.unlink()

    def test_the_grouping_is_kept_with_the_weights(self, run):
        """That of the restored weights: the same k-means on the same views gives it again."""
        method = run.restored()
        kept = method.model.groups.numpy(), method.model.centres.numpy()
        before = values(method.model.weights)
        groups, centres, distances = method.grouping(method.model, 2)
        np.testing.assert_array_equal(groups, kept[0])
        np.testing.assert_allclose(centres, kept[1], atol=1e-6)
        np.testing.assert_allclose(distances, method.model.distances.numpy(), atol=1e-6)
        for one, two in zip(before, values(method.model.weights), strict=True):  # running statistics, too
            np.testing.assert_array_equal(one, two)
        other = method.grouping(method.model, 1)  # another pass: other views, another start
        assert not np.array_equal(other[1], kept[1])

    @pytest.mark.one_stack
    def test_predict_sorts_what_was_trained_on(self, run, tmp_path):
        """A clean view of each picture lies nearest to the centre that the table says."""
        from PIL import Image

        method = run.restored()
        for k, (case, z) in enumerate(method.images[:3]):
            grey = np.clip(method.volume(case)[z], 0, 255).astype(np.uint8)
            Image.fromarray(grey).save(tmp_path / f"{k}.png")
        (tmp_path / "broken.png").write_bytes(b"no picture")
        (tmp_path / "scan.nii.gz").write_bytes(b"no volume")
        with pytest.raises(DataError, match="2 of 5 inputs could not be sorted"):
            list(method.predict([str(tmp_path)], tmp_path / "out"))
        with open(tmp_path / "out" / "groups.csv", encoding="utf-8") as stream:
            rows = {row["input"]: row for row in csv.DictReader(stream)}
        assert set(rows) == {"0.png", "1.png", "2.png", "broken.png", "scan.nii.gz"}
        assert all("broken.png" in rows[name]["problem"] for name in ("broken.png",))
        for k, one in enumerate(method.images[:3]):
            found = method.model.centre_distances(tf.constant(method.clean(one)[None])).numpy()[0]
            assert int(rows[f"{k}.png"]["cluster"]) == found.argmin()
            assert float(rows[f"{k}.png"]["distance"]) == pytest.approx(found.min(), abs=1e-2)


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
@pytest.mark.long
@pytest.mark.parametrize("kinds, top", [(3, 98_328), (13, 426_088)])
@pytest.mark.usefixtures("unfilled_weights")
def test_the_paper_s_network(kinds, top):
    """134.4 to 134.7 million weights."""
    config = Config(kinds=kinds)
    counts = [sum(int(np.prod(v.shape)) for v in model.trainable_variables)
              for model in (build_network(config), build_head(config))]  # fmt: skip
    assert counts == [14_721_984 + 119_545_856, top] and config.clusters == 8 * kinds


@pytest.mark.one_stack
def test_dense_layers_of_the_paper_s_network():
    """119,545,856 weights by their shapes, without making them."""
    config = Config()
    inside = 512 * config.avgpool**2
    widths = (inside, *config.hidden)
    assert sum((a + 1) * b for a, b in itertools.pairwise(widths)) == 119_545_856
    network = build_network(Config(**SMALL))
    assert [layer.name for layer in network.layers][-3:] == ["hidden1", "dropout1", "features"]
    assert network.get_layer("features").activation is keras.activations.linear  # before its ReLU, which the head has
    head = build_head(Config(**SMALL))
    np.testing.assert_allclose(head(-tf.ones((1, 3))), head(tf.zeros((1, 3))))


@pytest.mark.one_stack
@pytest.mark.parametrize("changes", [{"sobel": True}, {"channels": 3}, {"avgpool": 7}, {"convolutions": (2, 1, 1)}])
def test_variants_have_their_shapes(changes):
    network = build_network(Config(**SMALL | changes), intensities=(100.0, 30.0) if "channels" in changes else None)
    assert network.output_shape == (None, 3)
    first = next(layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D))
    assert first.kernel.shape[2] == {"sobel": 2, "channels": 3}.get(next(iter(changes)), 1)


@pytest.mark.one_stack
def test_sobel_by_hand():
    from scipy import ndimage

    image = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)
    found = Sobel()(tf.constant(image[None, ..., None])).numpy()[0]
    for axis, edges in ((1, found[..., 0]), (0, found[..., 1])):
        np.testing.assert_allclose(-edges, ndimage.sobel(image, axis, mode="constant"), atol=1e-5)


@pytest.mark.one_stack
@pytest.mark.parametrize("changes, word", [
    ({"sobel": True, "channels": 3}, "sobel"), ({"rotation": (20, 10)}, "rotation"), ({"area": (0.5, 2)}, "area"),
])  # fmt: skip
def test_settings_that_do_not_fit_are_refused(changes, word):
    with pytest.raises(ValueError, match=word):
        Config(**SMALL | changes)


# --- training ---------------------------------------------------------------------------------------------------------


def test_one_pass_updates_both_and_a_new_head_forgets_all_but_the_trunk():
    """What each update would be alone, from the same weights; then a new top layer, without the old one's momentum."""
    model, batch = made(head_momentum=0.9), {"image": images(), "label": tf.constant([0, 1, 2, 3, 0, 1])}
    batch["index"] = tf.range(6, dtype=tf.int64)
    with tf.GradientTape() as tape:
        loss = model.top_loss(batch)[0]
    before = values(model.trainable_variables)
    gradients = [g.numpy() for g in tape.gradient(loss, list(map(compat.tensor_variable, model.trainable_variables)))]
    model.train_step(batch)
    for old, new, gradient in zip(before, values(model.trainable_variables), gradients, strict=True):
        np.testing.assert_allclose(new, old - 0.05 * (gradient + 1e-5 * old), atol=1e-5)
    trunk, kept = values(compat.optimizer_variables(model.trunk_optimizer)), values(model.network.weights)
    top = values(model.head.weights)
    assert any(v.any() for v in values(compat.optimizer_variables(model.top_optimizer)) if v.ndim)
    model.renew_head(np.random.default_rng(1))
    assert (values(model.head.weights)[0] != top[0]).all() and not values(model.head.weights)[1].any()
    assert not any(v.any() for v in values(compat.optimizer_variables(model.top_optimizer)) if v.ndim)
    for one, two in ((trunk, compat.optimizer_variables(model.trunk_optimizer)), (kept, model.network.weights)):
        assert all(np.array_equal(a, b) for a, b in zip(one, values(two), strict=True))
    assert any(v.any() for v in trunk if v.ndim)


@pytest.mark.one_stack
def test_weights_decay_through_the_momentum():
    """Without gradient, after three steps: v <- 0.9 v + wd w, w <- w - lr v."""
    model = made(weight_decay=0.01)
    variables = model.network.trainable_variables
    before = values(variables)
    nothing = [tf.zeros_like(compat.tensor_variable(v)) for v in variables]
    for _ in range(3):
        compat.apply_gradients(model.trunk_optimizer, nothing, variables)
    for w, new in zip(before, values(variables), strict=True):
        w, v = w.astype(float), 0.0
        for _ in range(3):
            v = 0.9 * v + 0.01 * w
            w = w - 0.05 * v
        np.testing.assert_allclose(new, w, rtol=1e-5, atol=1e-7)


@pytest.mark.one_stack
def test_embedded_images_have_unit_length_and_distances_are_euclidean():
    model = made(pca=2)
    model.keep_reduction(np.array([1.0, 0, 0]), np.array([[2.0, 0], [0, 1], [0, 3]]))
    rows = model.embedded(images()).numpy()
    plain = (model.features(images()).numpy() - [1, 0, 0]) @ np.array([[2.0, 0], [0, 1], [0, 3]])
    np.testing.assert_allclose(rows, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-4)
    centres = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    model.keep_grouping(np.zeros(6), centres, np.zeros(6), 0.5)
    away = np.linalg.norm(rows[:, None] - centres[None], axis=2)
    np.testing.assert_allclose(model.centre_distances(images()), away, atol=1e-4)


# --- the method's data ------------------------------------------------------------------------------------------------


def method_of(*words):
    return method_class("deepmcat")(TestHarness.settings(*words))


def archive_of(folder, *words):
    """A method of the images in a folder."""
    own = (f"data.root={folder}", "data.source=series_archive", *(word for word in TINY if "data." not in word))
    return method_class("deepmcat")(tfmed.load_config("configs/deepmcat.yaml", (*own, *words)))


@pytest.mark.one_stack
def test_views_of_a_sample_and_of_a_pass():
    """Functions of the seed and the index; a clean view is the square in the middle, and nothing is mirrored."""
    method = method_of()
    first, again = (next(iter(one.stages())).train() for one in (method, method_of()))
    for index in (0, 5, 13):
        np.testing.assert_array_equal(first.read(index)["image"], again.read(index)["image"])
    assert not np.array_equal(first.read(0)["image"], first.read(11)["image"])
    assert {int(first.read(index)["label"]) for index in range(12)} <= set(range(4))
    one = method.images[0]
    plain = method_of("model.rotation=[0, 0]", "model.area=[1, 1]", "model.aspect=[0.8333333, 0.8333334]")
    flat = plain.augmented(one, np.random.default_rng(0))
    np.testing.assert_allclose(flat, plain.augmented(one, np.random.default_rng(1)), atol=1e-3)  # all of the image
    assert flat.shape == method.clean(one).shape == (8, 8, 1)


@pytest.mark.one_stack
@pytest.mark.parametrize("words", [
    ("model.pca=2", "model.cluster_view=clean", "model.kmeans=minibatch"),
    ("model.zscore=global", "model.sampler=natural", "model.reassign=0.5", "model.sobel=true"),
    ("model.targets=classes",),
])  # fmt: skip
def test_variants_group_and_go_on(words):
    """The hook of a round on a fresh model: a grouping, labels that samples then have, and numbers to log."""
    method = method_of(*words)
    stage = next(iter(method.stages()))
    model, samples = stage.model(), stage.train()
    found = stage.rounds.begin(model, 0, False)
    assert "nmi_previous" not in found and 0 <= found["nmi_labels"] <= 1
    labels = model.assignment.numpy()
    assert stage.rounds.steps == (2 if "model.reassign=0.5" in words else 3)
    supervised = words == ("model.targets=classes",)
    expected = method.class_numbers(method.images)[0] if supervised else model.groups.numpy()
    np.testing.assert_array_equal(labels, expected)
    image, label = method.pseudo.of(1)
    assert samples.read(1)["label"] == label == labels[image]
    assert 0 <= stage.rounds.begin(model, stage.rounds.steps, False)["nmi_previous"] <= 1
    assert stage.rounds.begin(model, 1, False) == {}  # within a round: the labels that the model has
    assert method.evaluate({"one": fitted(method, model)})["evaluation"][0]["clusters"] <= 4


def fitted(method, model):
    method.models["clusters"] = model
    return method


@pytest.mark.one_stack
def test_volumes_are_slices_and_damaged_ones_are_left_out(tmp_path, caplog):
    import nibabel

    draw = np.random.default_rng(0)
    for k in range(2):
        array = draw.integers(0, 900, (10, 9, 6, 2) if k else (10, 9, 6)).astype(np.int16)  # the second has two times
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"scan{k}.nii.gz")
    whole = (tmp_path / "scan0.nii.gz").read_bytes()
    (tmp_path / "torn.nii.gz").write_bytes(whole[: len(whole) // 2])
    method = archive_of(tmp_path, "model.slices=4")
    with caplog.at_level("WARNING", "tfmed"):
        assert [z for _, z in method.images] == [0, 2, 3, 5] * 2
    assert "left out" in caplog.text and "torn.nii.gz" in caplog.text
    assert method.class_numbers(method.images) is None
    stored = np.asarray(nibabel.load(tmp_path / "scan1.nii.gz").dataobj)[..., 0]
    np.testing.assert_array_equal(method.volume(method.images[4][0]), stored.T)
    assert next(iter(method.stages())).steps == 4
    with pytest.raises(DataError, match="8 images make no 80 clusters"):
        next(iter(archive_of(tmp_path, "model.slices=4", "model.multiplier=40").stages()))
    with pytest.raises(DataError, match="class of every case"):
        next(iter(archive_of(tmp_path, "model.targets=classes").stages()))


@pytest.mark.one_stack
def test_nothing_to_read_and_labelled_shares(tmp_path):
    (tmp_path / "x.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match="no image can be read"):
        archive_of(tmp_path).prepared("train")
    with pytest.raises(ConfigError, match="labelled_share"):
        method_of("data.labelled_share=0.5")


@pytest.mark.one_stack
def test_phantom_textures():
    cases = sources.open("phantom_textures", cases=100, shares=(0.6, 0.25, 0.09, 0.06))
    kinds = [case.meta["class"] for case in cases]
    assert [kinds.count(kind) for kind in ("vertical", "horizontal", "blobs", "checkerboard")] == [60, 25, 9, 6]
    assert [case.meta["class"] for case in sources.open("phantom_textures", cases=2)] == ["vertical", "horizontal"]
    with pytest.raises(DataError, match="4 numbers that sum to 1"):
        sources.open("phantom_textures", shares=(0.5, 0.6))


@pytest.mark.long
@pytest.mark.one_stack
def test_clusters_settle_and_are_purer_than_those_of_pixels(tmp_path):
    """The card's small check, on textures of which one is far more frequent than the others."""
    words = ("data.options={cases: 400, shares: [0.6, 0.25, 0.09, 0.06]}", "model.epochs=12", "train.tensorboard=false")
    run = tfmed.fit(tfmed.load_config("configs/deepmcat.yaml", words, profile="demo"), tmp_path / "run")
    settled = run.metrics()["nmi_previous"].dropna().to_numpy()
    assert settled[-3:].mean() > settled[:3].mean()
    purity = {row["grouping"]: row["purity"] for row in run.evaluate()["evaluation"]}
    assert purity["trained"] > purity["k-means on pixels"] > 0.6
