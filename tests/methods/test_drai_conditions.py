"""DRAI with conditions of several parts, on LIDC-IDRI in small: what is told, mismatched, drawn and scored."""

import numpy as np
import pytest
import tensorflow as tf

import tfmed
from tests.methods.test_drai import TINY, made
from tests.support.harness import REPOSITORY
from tests.support.lidc import UID, rated, readers_xml, square, write_series
from tfmed.data.nodule_ratings import THRESHOLDS
from tfmed.engine.exporting import export
from tfmed.errors import ConfigError, DataError
from tfmed.methods.drai import build_network
from tfmed.registry import method_class

pytestmark = pytest.mark.current

BINARY = ("malignancy", "texture")


@pytest.fixture(scope="module")
def nodules(tmp_path_factory):
    """LIDC-IDRI in small: six patients who train and two who test, each with a small and a larger nodule."""
    root = tmp_path_factory.mktemp("lidc")
    for number in (1, 2, 3, 4, 5, 6, 899, 900):
        series = root / f"LIDC-IDRI-{number:04d}" / "study" / "series"
        array = np.random.default_rng(number).integers(-900, 300, (4, 32, 32), np.int16)
        write_series(series, f"{UID}{1000 + number}", array=array)
        ratings = dict.fromkeys(THRESHOLDS, 5) | {"malignancy": 1 + 3 * (number % 2), "texture": 1 + number % 5}
        marks = [rated("small", square(-98.0, 8, 12), **ratings), rated("large", square(-96.0, 18, 24), **ratings)]
        (series / "readers.xml").write_text(readers_xml(*[marks] * 3), encoding="utf-8")
    return root


def of_nodules(root, *words):
    own = [word for word in TINY if not word.startswith(("data.", "model.classes", "model.colour", "model.size"))]
    return tfmed.load_config(REPOSITORY / "configs/drai/lidc.yaml", [
        f"data.root={root}", "data.options.pixels=8", "data.options.matrix=32", "data.split.validation=0.2",
        "data.preprocess=[{step: window, window_hu: [-1000, 400], range: [0, 1]}]", "model.size=[8, 8]",
        "model.classes=['2-4', '4-6']", f"model.binary=[{', '.join(BINARY)}]", *own, *words])  # fmt: skip


@pytest.mark.one_stack
def test_the_published_settings_tell_seventeen_numbers():
    config = tfmed.load_config(REPOSITORY / "configs/drai/lidc.yaml", ["data.root=x"]).model
    assert config.condition_width == 17
    for name, at in (("condition", 0), ("critic_class", 1)):
        assert build_network(config, name).inputs[at].shape[-1] == 17
    assert "-1000" in (text := (REPOSITORY / "configs/drai/lidc.yaml").read_text()) and "400" in text
    with pytest.raises(ConfigError, match="binary: give each name once"):
        tfmed.load_config(REPOSITORY / "configs/drai/lidc.yaml", ["data.root=x", "model.binary=[margin, margin]"])


@pytest.mark.one_stack
def test_pictures_are_mismatched_in_any_part_of_what_is_told(nodules):
    method = method_class("drai")(of_nodules(nodules, "model.pad=0", "model.flip=false"))
    assert {case.group[-4:] for case in method.cases["test"]} == {"0899", "0900"}
    assert {int(case.group[-4:]) for part in ("train", "validation") for case in method.cases[part]} == {*range(1, 7)}
    known, conditions = method.pictures("train")[0], method.conditions(method.prepared("train"))
    place = lambda picture: int(np.abs(known - picture).sum((1, 2, 3)).argmin())  # noqa: E731
    samples, of_one_class = method.samples(), 0
    for step in range(0, 30, 2):
        batch = samples.batch(step)
        for k in range(4):
            one, other = place(batch["image"][k]), place(batch["mismatched"][k])
            np.testing.assert_array_equal(batch["condition"][k], conditions[one])
            assert (conditions[one] != conditions[other]).any()
            of_one_class += (conditions[one, :2] == conditions[other, :2]).all()
    assert of_one_class  # the class alone may be the same


@pytest.mark.one_stack
def test_nodules_are_learnt_drawn_and_scored(nodules, tmp_path):
    run = tfmed.fit(of_nodules(nodules, "train.steps=2", "train.tensorboard=false"), tmp_path / "run")
    method = run.restored()
    told = method.conditions_of_class(1)
    assert set(told[:, 1]) == {1} and told.shape[1] == 2 + 2 * len(BINARY) and len(np.unique(told, axis=0)) > 1
    tables = run.evaluate(count=4)
    assert tables["disentanglement"][0]["cifc"] > 0 and [row["class"] for row in tables["nearest"]].count("4-6") == 3
    (name, picture), *_ = method.sample(3)
    assert name == "2-4" and picture.shape == (8, 8)
    assert set(method.previews()) == {"pictures", "hybrids"}
    drawn = method.generate(4, 1, seed=5)
    np.testing.assert_allclose(method.generate(2, 1, seed=5), drawn[:2], atol=1e-6)
    exported = tf.saved_model.load(str(export(run, tmp_path / "export"))).signatures["sample"]
    found = exported(seed=tf.constant(5, tf.int64), count=tf.constant(4))["pictures"]
    np.testing.assert_allclose(found[1], drawn, atol=1e-5)


@pytest.mark.one_stack
def test_a_rival_of_one_code_is_told_all_seventeen_numbers(nodules, tmp_path):
    run = tfmed.fit(
        of_nodules(nodules, "train.steps=2", "train.tensorboard=false", "model.objective=cavae"), tmp_path / "run"
    )
    method = run.restored()
    assert method.model.config.content_size == 2 + 2 * len(BINARY)
    assert len(method.previews()["hybrids"].rows) == 1 + 2 and "distance" in run.evaluate(count=4)


@pytest.mark.one_stack
def test_each_picture_is_of_a_condition_that_its_class_has():
    """What is drawn for a picture is one of the rows, all as likely, and no function of its style."""
    model = made()
    model.condition = lambda told, training: (told[:, :1] * tf.ones((1, 3)), tf.zeros((tf.shape(told)[0], 3)))
    model.generator = lambda codes, training: tf.concat(codes, 1)
    rows = tf.constant([[0.0], [10.0], [20.0]])
    sample = tf.function(lambda: model.sample(1000, rows, 7, 100, "mean"))
    style, content = np.split(2 * sample().numpy() - 1, [2], 1)
    which = np.rint(content[:, 0] / 10).astype(int)
    assert set(which) == {0, 1, 2} and np.bincount(which).min() > 270
    assert max(abs(style[which == k].mean()) for k in range(3)) < 0.2


@pytest.mark.one_stack
def test_what_is_not_told(nodules):
    with pytest.raises(DataError, match=r"does not say whether 'lobulation' is 0 or 1; it tells malignancy"):
        method_class("drai")(of_nodules(nodules, "model.binary=[lobulation]")).samples()
