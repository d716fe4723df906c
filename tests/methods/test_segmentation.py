"""The self-configuring segmenter: the harness, its loss, labels by name, and a plan from a folder to a run."""

import numpy as np
import pytest
import tensorflow as tf

import tfmed
from tests.support.harness import MethodHarness
from tests.support.volumes import AFFINE
from tfmed import cli, compare, plan, predict, prepare
from tfmed.data import sources
from tfmed.data.labels import only_largest
from tfmed.data.readers import read_address
from tfmed.data.sampling import generator
from tfmed.data.trained_on import TrainedOn
from tfmed.engine.lifecycle import fit
from tfmed.errors import ConfigError, RunError
from tfmed.io import Volume, read_volume, write_volume
from tfmed.losses import segmentation as losses
from tfmed.methods.segmentation import Config, SelfConfigured, at_level, build_network

pytestmark = pytest.mark.current

NETWORK = "model.network={name: unet, widths: [4, 8, 8], norm: instance, activation: leaky_relu}"
TINY = (
    "data.source=phantom_left_atrium",
    "data.options={cases: 6, shape: [12, 20, 24]}",
    "data.split={validation: 0.17, test: 0.17}",
    "data.preprocess=[{step: zscore}]",
    "train.batch_size=2",
    "train.validate_every=2",
    "model.plan=false",
    "model.modalities=[mr]",
    "model.patch=[8, 16, 16]",
    NETWORK,
)


class TestHarness(MethodHarness):
    config = "configs/segmentation.yaml"
    tiny = TINY
    bad = ("model.patch=[8, 17, 16]", "multiple of 4")

    def parity(self, run):
        method = run.restored()
        image = np.random.default_rng(1).uniform(0, 400, (9, 18, 21, 1)).astype("float32")
        prepared = method.preprocessing()[-1].graph(tf.constant(image)).numpy()
        return [np.array(method.config.label_values)[method.labels(prepared)]], [{"image": image}]

    def assert_parity(self, found, expected):
        assert (found != expected).mean() < 1e-3  # equally probable classes may be told apart by the last digit


# --- the loss ---------------------------------------------------------------------------------------------------------


def model(**changes):
    config = Config(**{"plan": False, "patch": (8, 16), "network": {"name": "unet", "widths": (4, 8, 8)}} | changes)
    return SelfConfigured(config, 1e-3, seed=3, per_step=2)


def batch(seed=0):
    rng = np.random.default_rng(seed)
    image = tf.constant(rng.normal(size=(2, 8, 16, 1)), tf.float32)
    return {
        "index": tf.constant([4, 5], tf.int64),
        "image": image,
        "label": tf.constant(rng.integers(0, 2, (2, 8, 16))),
    }


def test_levels_weigh_half_as_much_each():
    found, data = model(intensities=False), batch()
    logits = found.trained(data["image"], training=True)
    terms = []
    for level in logits:
        labels = data["label"][:, :: 8 // level.shape[1], :: 16 // level.shape[2]]
        terms.append(float(losses.batch_dice(level, labels) + tf.reduce_mean(losses.cross_entropy(level, labels))))
    loss, logs = found.network_loss(data)
    assert len(terms) == 2  # the third level is the deepest, which has no head
    assert float(loss) == pytest.approx((terms[0] + terms[1] / 2) / 1.5, rel=1e-5)
    assert float(logs["dice_loss"] + logs["cross_entropy"]) == pytest.approx(float(loss), rel=1e-5)


def test_deep_supervision_adds_a_head_for_each_level():
    plain, deep = model(deep_supervision=0), model(deep_supervision=2)
    assert plain.trained.count_params() == build_network(plain.config).count_params()
    assert deep.trained.count_params() == plain.trained.count_params() + 2 * (8 + 1)


def test_labels_of_a_level_lie_where_its_voxels_begin():
    labels = tf.reshape(tf.range(64), (1, 8, 8))
    np.testing.assert_array_equal(at_level(labels, tf.zeros((1, 4, 2, 3)))[0], np.arange(64).reshape(8, 8)[::2, ::4])


def test_intensities_depend_on_the_sample_alone():
    """The same sample looks the same in another batch; another one does not."""
    found, data = model(), batch()
    first = found.changed(data["image"], data["index"])
    swapped = found.changed(data["image"][::-1], data["index"][::-1])
    np.testing.assert_allclose(first, swapped[::-1], atol=1e-6)
    assert not np.allclose(first, found.changed(data["image"], data["index"] + 2), atol=1e-3)
    assert not np.allclose(first, data["image"], atol=1e-3)


# --- labels by name ---------------------------------------------------------------------------------------------------


def folder_of(root, count=6, shape=(10, 20, 24)):
    """Scans with three structures, of the numbers 1, 4 and 7, as bright as their number."""
    for number in range(count):
        draw = generator(7, number)
        label = np.zeros(shape, "u1")
        for value, x in zip((1, 4, 7), draw.permutation(3) * 8, strict=True):
            y = draw.integers(0, 12)
            label[1:9, y : y + 8, x : x + 7] = value
        image = draw.normal(0, 10, shape) + 40.0 * label
        write_volume(Volume(image.astype("i2"), AFFINE), root / "images" / f"p{number}.nii.gz")
        write_volume(Volume(label, AFFINE), root / "labels" / f"p{number}.nii.gz")
    return root


def by_folder(root, *words):
    shared = (f"data.root={root}", f"data.cache_dir={root / 'cache'}", "train.tensorboard=false")
    return tfmed.load_config("segmentation", (*shared, *words))


OPEN = ("data.source=nifti_folder", "data.options={modality: mr}", "model.plan=false", "model.modalities=[mr]",
        "model.patch=[8, 16, 16]", NETWORK, "train.steps=1", "data.preprocess=[{step: zscore}]")  # fmt: skip


def test_several_numbers_are_one_class(tmp_path):
    folder_of(tmp_path)
    settings = by_folder(tmp_path, *OPEN, "model.labels={bright: [4, 7]}")
    assert settings.model.label_values == (0, 4) and settings.model.scored == {"bright": [1]}
    method = tfmed.registry.method_class("segmentation")(settings)
    case = method.prepared("train")[0]
    stored = read_volume(case.label).array
    np.testing.assert_array_equal(method.open(case).label, stored >= 4)
    whole = tfmed.registry.method_class("segmentation")(by_folder(tmp_path, *OPEN, "model.labels={all: any}"))
    np.testing.assert_array_equal(whole.open(whole.prepared("train")[0]).label, stored > 0)


@pytest.mark.parametrize("labels, said", [
    ("{a: 1, b: [1, 2]}", "numbers of its own"), ("{a: any, b: 1}", "no other class beside it"),
    ("{a: 0}", "above 0"), ("{a: []}", "numbers of its own"), ("{a: [-1]}", "above 0"), ("{a: some}", "labels.a"),
])  # fmt: skip
def test_labels_that_mean_nothing(labels, said):
    with pytest.raises(ConfigError, match=said):
        tfmed.load_config("segmentation", [f"model.labels={labels}"])


def test_labels_and_label_values_must_agree():
    with pytest.raises(ConfigError, match="give labels alone"):
        tfmed.load_config("segmentation", ["model.labels={a: 3}", "model.label_values=[0, 1]"])


# --- plans ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A run of a folder of which nothing is said but how deep the network is, and how long it trains."""
    root = folder_of(tmp_path_factory.mktemp("planned"), count=8)
    return root, fit(by_folder(root, NETWORK, "train.steps=150", "train.batch_size=8"), root / "run")


@pytest.mark.one_stack
def test_a_folder_is_enough(planned):
    root, run = planned
    settings = tfmed.load_run(root / "run").settings
    assert (settings.data.source, settings.data.options) == ("nifti_folder", {"modality": "image"})
    assert settings.model.labels == {"label 1": 1, "label 4": 4, "label 7": 7} and not settings.model.plan
    assert settings.train.steps == 150 and settings.model.network.widths == (4, 8, 8)  # as they were said
    assert len(settings.model.patch) == 2 and settings.train.schedule.kind == "polynomial"
    table = run.metrics()
    assert table["dice"].dropna().iloc[-1] > 0.5  # bright boxes are soon found; a network that learns nothing has 0


@pytest.mark.one_stack
def test_the_plan_of_a_run_holds_when_it_goes_on(planned):
    """Other data in the folder would lead to another plan; a run goes on with its own."""
    root, _ = planned
    label = read_volume(root / "labels" / "p0.nii.gz")
    write_volume(label.replace(array=(label.array > 0).astype("u1") * 9), root / "labels" / "q9.nii.gz")
    write_volume(label.replace(array=label.array.astype("i2") * 40), root / "images" / "q9.nii.gz")
    try:
        run = fit(by_folder(root, NETWORK, "train.steps=151", "train.batch_size=8"), root / "run", resume=True)
        assert run.settings.model.labels == {"label 1": 1, "label 4": 4, "label 7": 7}
        with pytest.raises(RunError, match=r"model\.patch"):
            fit(by_folder(root, NETWORK, "train.steps=151", "model.patch=[4, 4, 4]"), root / "run", resume=True)
    finally:
        (root / "labels" / "q9.nii.gz").unlink()
        (root / "images" / "q9.nii.gz").unlink()


def test_prepare_makes_the_plan_first(planned, capsys):
    """The folder that is asked about is looked at, not the phantoms that settings without a source mean."""
    root, _ = planned
    words = ["segmentation", f"data.root={root}", f"data.cache_dir={root / 'cache'}", NETWORK, "train.steps=50"]
    assert cli.run(prepare.main, words) == 0
    assert "8 cases" in capsys.readouterr().out


def test_runs_that_must_be_alike_need_the_plan_before(planned, tmp_path, capsys):
    root, _ = planned
    words = ["segmentation", "segmentation", "--out", str(tmp_path / "out"), f"data.root={root}"]
    (tmp_path / "other.yaml").write_text("method: segmentation\n", encoding="utf-8")
    words[1] = str(tmp_path / "other.yaml")
    assert cli.run(compare.main, words) == 2
    assert "its plan is still to be made; write it by 'tfmed plan" in capsys.readouterr().err


@pytest.mark.one_stack
def test_predictions_have_the_numbers_of_the_files(planned, tmp_path):
    root, run = planned
    words = [str(run.path), str(root / "images" / "p0.nii.gz"), "--out", str(tmp_path), "--outputs", "labels"]
    assert cli.run(predict.main, words) == 0
    assert set(np.unique(read_volume(tmp_path / "p0_labels.nii.gz").array)) <= {0, 1, 4, 7}
    names = (tmp_path / "label_names.ctbl").read_text(encoding="utf-8")
    assert [line.split()[:2] for line in names.splitlines()[3:]] == [[n, f"label_{n}"] for n in "147"]


def test_only_the_largest_part_stays():
    labels = np.zeros((6, 8, 8), "u1")
    labels[0:4, 0:4, 0:4], labels[4:6, 6:8, 6:8], labels[5, 0, 0] = 1, 1, 2
    labels[0:2, 6, 6] = 2
    found = only_largest(labels, [1])
    assert found.dtype == np.uint8 and (found == 1).sum() == 64 and (found == 2).sum() == 3
    assert (only_largest(labels, [1, 2]) == 2).sum() == 2
    np.testing.assert_array_equal(only_largest(labels, []), labels)
    np.testing.assert_array_equal(only_largest(np.zeros_like(labels), [1]), 0)


def test_a_run_remembers_what_its_images_were_like(planned):
    _, run = planned
    method = run.restored()
    (name,) = method.config.modalities
    arrays = [read_address(case.images[name]).array for case in method.prepared("train")]
    known = method.trained_on
    assert known.lowest[name] == min(float(array.min()) for array in arrays)
    assert known.highest[name] == max(float(array.max()) for array in arrays)
    assert method.segmenter().trained_on == known
    assert TrainedOn.from_note(method.export_module().note["trained_on"]) == known


def test_parts_are_dropped_where_validation_gains_by_it(planned):
    """Islands beside every structure: dropping them is a gain; with islands in the labels too it is none."""
    _, run = planned
    method = run.restored()

    def island(labels, number):
        labels = np.array(labels)
        labels[9, :3, :3] = number
        return labels

    truth = {id(method.open(case).image): np.asarray(method.open(case).label) for case in method.validation_cases()}
    (label,) = truth.values()
    method.labels = lambda image: island(label, 2)
    assert method.chosen_after_training()["single"] == [2]
    method.labels = lambda image: label
    assert method.chosen_after_training()["single"] == []
    method.single = (2,)
    assert method.segmenter().single == (2,) and method.export_module().note["single"] == [2]


def test_flips_are_kept_where_validation_gains_by_them(planned):
    """A network that sees one half of an image alone gains by the other; a perfect one does not."""
    _, run = planned
    method = run.restored()
    (label,) = [np.asarray(method.open(case).label) for case in method.validation_cases()]
    blind = label.copy()
    blind[..., : label.shape[2] // 2] = 0
    axes = ["z", "y", "x"][-len(method.config.patch) :]
    for alone, together, wanted in ((blind, label, axes), (label, blind, []), (label, label, [])):
        method.labels = lambda image, a=alone, t=together: t if method.flips else a
        method.chosen_flips = ()
        assert method.chosen_after_training()["flips"] == wanted
    method.chosen_flips = ("y", "x")
    assert method._windows()["flips"] == (1, 2)


@pytest.mark.one_stack
def test_plan_tells_and_writes_what_fit_would_do(planned, tmp_path, capsys):
    root, _ = planned
    words = [str(root), "--minutes", "0.1", "--out", str(tmp_path / "plan.yaml"), NETWORK, "train.batch_size=2",
             f"data.cache_dir={root / 'cache'}"]  # fmt: skip
    assert cli.run(plan.main, words) == 0
    said = capsys.readouterr().out
    for words in ("8 cases of 8 patients", "labels: 1 (8 cases), 4", "data.preprocess", "{step: zscore}]", "because"):
        assert words in said
    settings = tfmed.load_config(tmp_path / "plan.yaml")
    assert settings.model.labels == {"label 1": 1, "label 4": 4, "label 7": 7} and not settings.model.plan
    assert settings.data.root == str(root) and settings.train.steps >= 50
    assert settings.model.network.widths == (4, 8, 8) and settings.train.batch_size == 2
    text = (tmp_path / "plan.yaml").read_text(encoding="utf-8")
    assert "# the numbers in the label maps" in text and "minutes at" in text


def test_pictures_are_segmented_as_they_are(tmp_path):
    import PIL.Image

    for number in range(4):
        label = np.zeros((24, 32), "u1")
        label[6:14, 8 : 14 + number] = 200
        for folder, array in (("images", label // 2 + 20), ("masks", label)):
            (tmp_path / folder).mkdir(exist_ok=True)
            PIL.Image.fromarray(array).save(tmp_path / folder / f"a{number}.png")
    assert sources.detect(tmp_path) == ("image_pairs", {"labels": "masks", "modality": "image"})
    cases = sources.open("image_pairs", tmp_path, labels="masks")
    assert [case.id for case in cases] == ["a0", "a1", "a2", "a3"]
    assert read_volume(cases[1].label).array.max() == 200 and read_volume(cases[1].label).shape == (1, 24, 32)


def coloured(root, count=6):
    """Pictures of green and magenta discs whose greys are alike, of which the green ones are labelled."""
    import PIL.Image

    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        draw = generator(3, number)
        y, x = np.indices((32, 40))
        picture = draw.normal(60, 5, (32, 40, 3))
        green, magenta = ((y - draw.integers(8, 24)) ** 2 + (x - at) ** 2 < 36 for at in draw.permutation([10, 29]))
        picture[green], picture[magenta] = (0, 160, 0), (227, 0, 227)
        PIL.Image.fromarray(picture.clip(0, 255).astype("u1")).save(root / "images" / f"c{number}.png")
        PIL.Image.fromarray((green * 255).astype("u1")).save(root / "masks" / f"c{number}.png")
    return root


@pytest.mark.one_stack
def test_pictures_in_colour(tmp_path, capsys):
    """From a folder to a picture of labels: the three colours are the network's channels, and it goes by them."""
    import PIL.Image

    root = coloured(tmp_path / "data")
    assert sources.detect(root) == ("image_pairs", {"labels": "masks", "colour": True})
    network = "model.network={name: unet, widths: [4, 8], norm: instance, activation: leaky_relu}"
    small = ("model.deep_supervision=0", "model.intensities=false", "train.preview_every=60", "train.validate_every=60")
    words = (network, *small, "train.steps=60", "train.batch_size=8", "model.patch=[32, 40]")
    words = (*words, "model.learning_rate=0.01", "data.split={validation: 0.2, test: 0}")
    run = fit(by_folder(root, *words), tmp_path / "run")
    assert run.settings.model.modalities == ("red", "green", "blue")
    picture = root / "images" / "c1.png"
    assert cli.run(predict.main, [str(run.path), str(picture), "--out", str(tmp_path / "out")]) == 0
    with (
        PIL.Image.open(tmp_path / "out" / "c1_labels.png") as found,
        PIL.Image.open(root / "masks" / "c1.png") as wanted,
    ):
        found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape and found.dtype == np.uint8 and set(np.unique(found)) <= {0, 255}
    both = 2 * ((found > 0) & (wanted > 0)).sum() / ((found > 0).sum() + (wanted > 0).sum())
    assert both > 0.8  # one that sees greys alone takes both discs, or neither: 0.67 at most
    for path in (run.path / "previews").glob("*.png"):
        with PIL.Image.open(path) as preview:
            assert "patient" not in preview.text["Description"] and "Planes" not in preview.text["Description"]
    (row,) = run.evaluate(part="validation")["evaluation"]
    assert "HD95 px mean" in row and not any(" mm" in name for name in row)
    assert " mm" not in (run.path / "report.html").read_text(encoding="utf-8").partition("<pre")[0]


def test_a_grey_picture_is_segmented_by_its_grey(tmp_path):
    """And a picture in colour by a network of one channel is turned to grey, as its training pictures were."""
    from tfmed.tasks.prediction import inputs

    root = coloured(tmp_path / "data", 1)
    picture = str(root / "images" / "c0.png")
    assert inputs([picture], ("image",)) == [("c0", {"image": f"{picture}::grey"})]
    assert inputs([picture], ("red", "green", "blue"))[0][1]["blue"] == f"{picture}::blue"
    mask = str(root / "masks" / "c0.png")
    grey = read_volume(f"{mask}::red")
    np.testing.assert_array_equal(grey.array, read_volume(f"{mask}::grey").array)
