"""Active learning of classes: the harness, and the items of its card that are not of acquisition alone
(tests/data/test_acquisition_cases.py)."""

import csv
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness
from tests.support.view_pages import views_of
from tfmed import compat
from tfmed.data.acquisition import cases as acquisition
from tfmed.data.readers import read_address
from tfmed.engine.lifecycle import fit
from tfmed.engine.records import Records
from tfmed.errors import ConfigError, DataError, RunError
from tfmed.losses import classification as losses
from tfmed.methods.active_learning_cls import METHOD, Config, build_network
from tfmed.training.classifier import input_change

pytestmark = pytest.mark.current
CONFIG = "configs/active_learning_cls.yaml"
TINY = (
    "data.source=phantom_shapes",
    "data.options={cases: 57, shape: [18, 18], classes: [ring, disc, square]}",
    "data.split={validation: 0.05, test: 0.1}",
    "data.preprocess=[{step: window, window_hu: [0, 255], range: [0, 1]}]",
    "train.batch_size=4",
    "train.steps=4",
    "train.tensorboard=false",
    "train.validate_every=4",
    "train.preview_every=4",
    "model.classes=[ring, disc, square]",
    "model.size=[16, 16]",
    "model.network=resnet20",
    "model.width=0.125",
    "model.blocks=[1]",
    "model.embedding=5",
    "model.initial_share=0.2",
    "model.query_share=0.1",
    "model.rounds=1",
    "model.repeats=1",
)


def method(*overrides):
    """Untrained; another source brings its own options."""
    other = any(word.startswith("data.source=") for word in overrides)
    tiny = [word for word in TINY if not (other and word.startswith("data.options="))]
    return METHOD(tfmed.load_config(REPOSITORY / CONFIG, (*tiny, *overrides)))


class TestHarness(MethodHarness):
    config = CONFIG
    tiny = TINY
    bad = ("model.query_share=0.9", "more than the whole pool")

    @pytest.mark.one_stack
    def test_view(self, run):
        """Each image has its class and what it is taken for, as the table of cases has them; wrong ones are marked."""
        shown, method = views_of(tfmed.view(run)), run.restored()
        rows = method.evaluate({"one": method})["cases"]
        assert len({row["training"] for row in rows}) == 1
        for one, row in zip(shown, rows, strict=True):
            assert one["title"] == row["case"] + (": wrong" if row["chosen"] != row["class"] else "")
            assert one["panels"][0]["title"] == f"reference: {row['class']}, prediction: {row['chosen']}"
            assert one["note"].startswith(f"prediction: {row['chosen']} {row[row['chosen']]:.1%}, ")

    def parity(self, run):
        """As large as what is cut out, and larger."""
        trained = run.restored()
        images = [
            np.random.default_rng(k).random((1, *size), np.float32) for k, size in enumerate([(16, 16), (19, 24)])
        ]
        return [trained.classifier().compute(image) for image in images], [{"image": image} for image in images]

    def test_rounds_add_what_was_asked_for(self, run):
        trained = run.restored()
        assert list(trained.models) == ["initial", "round1"]
        records = trained.records
        counts = [records.recall(f"labelled_{name}") for name in trained.models]
        assert [sum(one.values()) for one in counts] == [9, 13]
        asked = records.recall("query1")["asked"]
        cases, first = trained.pool_cases, method().first()
        assert len(asked) == 4 and not set(asked) & set(first) and set(asked) <= set(cases)
        kinds = acquisition.class_counts([cases[one].meta["class"] for one in asked], trained.config.classes)
        assert records.recall("asked_round1") == kinds
        assert counts[1] == {name: counts[0][name] + kinds[name] for name in kinds}
        with open(run.path / "queries" / "round1.csv", encoding="utf-8") as stream:
            assert [row["id"] for row in csv.DictReader(stream)] == asked

    def test_a_query_that_was_lost_is_decided_alike(self, run):
        trained = run.method()
        trained.models = {"initial": run.restored().models["initial"]}
        again = trained.query(1, [trained.first()])
        assert again == run.restored().records.recall("query1")
        case = trained.pool_cases[again["asked"][0]]
        p = trained.probabilities(trained.model, [case])
        assert again["scores"][case.id] == pytest.approx(1 - float(p.max()), abs=1e-5)

    @pytest.mark.one_stack
    def test_pictures_of_a_run(self, run):
        assert {path.stem for path in (run.path / "previews").glob("*.png")} >= {"confusion", "classes"}

    @pytest.mark.one_stack
    def test_the_rate_falls_with_the_accuracy_of_training(self, run):
        """The plateau's state is the run's: an epoch of three steps has ended, and its mean is the best so far."""
        plateau = tfmed.load_run(run.path).restored(best=False).models["initial"].plateau
        rows = run.metrics().query("stage == 'initial' and split == 'train'")
        assert float(plateau.best) == pytest.approx(rows["accuracy"].to_numpy()[:3].mean(), abs=1e-6)
        assert float(plateau.total) == pytest.approx(rows["accuracy"].to_numpy()[3], abs=1e-6)

    @pytest.mark.one_stack
    def test_expected_change_is_the_gradient(self, run):
        """In the last layer the closed form equals automatic differentiation; in the input an image has one value,
        alone or in any batch."""
        trained = run.restored()
        network, cases = trained.model.network, trained.cases["train"][:7]
        images = tf.constant(np.stack([trained.array(case) for case in cases]))
        both = keras.Model(network.input, [network.get_layer("embedding").output, network.output])
        embedding, scores = both(images, training=False)
        p = losses.probabilities(scores).numpy()
        weights = [compat.tensor_variable(v) for v in network.get_layer("scores").trainable_variables]

        def length(k, label):
            with tf.GradientTape() as tape:
                loss = losses.cross_entropy(network(images[k : k + 1], training=False), tf.constant([label]))
            return float(tf.linalg.global_norm(tape.gradient(loss, weights)))

        chosen = p.argmax(-1)
        expected = [length(k, label) for k, label in enumerate(chosen)]
        np.testing.assert_allclose(acquisition.last_layer_change(p, embedding), expected, rtol=1e-5)
        mean = float(np.dot(p[0], [length(0, label) for label in range(3)]))
        assert acquisition.last_layer_change(p, embedding, True)[0] == pytest.approx(mean, rel=1e-5)

        whole = input_change(network, images).numpy()
        alone = [float(input_change(network, images[k : k + 1])[0]) for k in range(2)]
        np.testing.assert_allclose(whole[:2], alone, rtol=1e-4)
        assert (whole > 0).all()
        each = [_change(network, images[:1], label) for label in range(3)]
        assert float(input_change(network, images[:1], True)[0]) == pytest.approx(float(np.dot(p[0], each)), rel=1e-4)
        assert alone[0] == pytest.approx(each[chosen[0]], rel=1e-5)


def _change(network, images, label):
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = network(images, training=False)
        loss = -tf.nn.log_softmax(logits)[0, label]
    return float(tf.reduce_sum(tf.abs(tape.gradient(loss, images))))


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
@pytest.mark.parametrize("config, features", [
    (Config(size=(32, 32), width=0.35), 320),
    (Config(network="resnet18_cifar", width=0.0625, embedding=None, dropout=0.0), 32),
])  # fmt: skip
def test_networks_give_scores_and_embeddings(config, features):
    network = build_network(config)
    assert network.output.shape[-1] == 3 and network.get_layer("embedding").output.shape[-1] == features


# --- data -------------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_views_are_cut_out_of_the_padded_picture():
    """Padding is zero after normalising; half of the views are mirrored; the middle is what inference sees."""
    one = method("model.padding=3", "model.mean=[0.25]", "model.deviation=[0.5]")
    case = one.cases["train"][0]
    raw = np.asarray(read_address(case.images["image"]).array, np.float32)[0] / 255
    plane = np.repeat((raw[..., None] - 0.25) / 0.5, 3, -1)
    np.testing.assert_allclose(one.array(case), plane[1:17, 1:17], atol=1e-6)
    np.testing.assert_allclose(one.shown(tf.constant(raw[None])), one.array(case), atol=1e-6)
    padded, seen = np.pad(plane, [(3, 3), (3, 3), (0, 0)]), set()
    for index in range(60):
        view = one.view(case, 0, index)
        np.testing.assert_array_equal(view, one.view(case, 0, index))
        places = [(y, x, turn) for y in range(9) for x in range(9) for turn in (1, -1)
                  if np.allclose(view, padded[y : y + 16, x : x + 16][:, ::turn], atol=1e-6)]  # fmt: skip
        assert len(places) == 1
        seen |= set(places)
    assert {turn for _, _, turn in seen} == {1, -1} and len({y for y, _, _ in seen}) > 5


def test_colour_is_seen_in_training_and_in_predictions(tmp_path):
    words = ("data.source=phantom_coloured_shapes", "data.options={cases: 30, shape: [18, 18]}")
    one = method(*words, "model.colour=true", "model.classes=[red, green, blue]")
    case = one.prepared("train")[0]
    raw = np.stack([read_address(case.images[name]).array[0] for name in ("red", "green", "blue")], -1)
    np.testing.assert_allclose(one.array(case), (raw[1:17, 1:17] / 255 - 0.5) / 0.5, atol=1e-6)
    Image.fromarray(raw.astype(np.uint8)).save(tmp_path / "one.png")
    one.models["initial"] = one.model_made(one.config, 0.1)
    list(one.predict([str(tmp_path / "one.png")], tmp_path))
    with open(tmp_path / "predictions.csv", encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    expected = one.probabilities(one.model, [case])[0]
    np.testing.assert_allclose([float(row[name]) for name in one.config.classes], expected, atol=1e-6)


@pytest.mark.one_stack
def test_the_pool_is_thinned_out_to_class_shares():
    one = method("model.class_shares=[0.5, 0.3, 0.2]")
    kinds = [case.meta["class"] for case in one.pool_cases.values()]
    assert [kinds.count(name) for name in one.config.classes] == [16, 10, 6]
    assert len(one.cases["test"]) == 6  # as it was
    whole = method("model.min_per_class=3")
    first = [whole.pool_cases[name].meta["class"] for name in whole.first()]
    assert min(first.count(name) for name in one.config.classes) == 3 and len(first) == 9


@pytest.mark.one_stack
def test_the_first_cases_of_each_class_test():
    one = method("model.test_per_class=4", "data.split={validation: 0.1, given: true}")
    ids = sorted(case.id for part in one.cases.values() for case in part)
    expected = {name for k in range(3) for name in ids[k::3][:4]}  # classes in turn
    assert {case.id for case in one.cases["test"]} == expected and one.cases["validation"]


# --- strategies -------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_all_strategies_start_alike_and_do_what_they_are_called():
    """On embeddings and scores that are given, each equals its function of acquisition."""
    rng = np.random.default_rng(0)
    p, z, labelled = rng.dirichlet(np.ones(3), 48), rng.normal(size=(48, 5)), np.arange(48) < 9
    s, draw, first = acquisition.confidence_scores(p), functools.partial(np.random.default_rng, 3), method().first()
    top, flat = acquisition.top_cases, acquisition.reduced(z, 2)
    expected = {
        "strategy=top_n": top(labelled, s, 6),
        "strategy=mixture": acquisition.mixed(labelled, lambda k, n: top(k, s, n), 6, 0.2, draw()),
        "strategy=buckets": acquisition.bucket_cases(labelled, s, 6, draw()),
        "strategy=k_nearest": acquisition.nearest_cases(labelled, s, z, 6, draw(), 15),
        "strategy=core_set": acquisition.core_set(labelled, z, 6, s),
        "weighted_by_score=false": acquisition.core_set(labelled, z, 6),
        "metric=cosine": acquisition.core_set(labelled, z, 6, s, "cosine"),
        "components=2": acquisition.core_set(labelled, flat, 6, s),
        "reproduce_released=true": acquisition.core_set(labelled, z, 6, s, one_shot=True),
    }
    for words, places in expected.items():
        one = method(f"model.{words}")
        assert one.first() == first
        assert one.picked(labelled, s, z, 6, draw()).tolist() == places.tolist(), words
    released = method("model.strategy=top_n", "model.reproduce_released=true")
    assert released.picked(labelled, s, z, 6, draw()).tolist() == top(labelled, s, 6, ascending=True).tolist()
    for name, found in (("margin", acquisition.margin_scores(p)), ("entropy", acquisition.entropy_scores(p)),
                        ("emc", acquisition.last_layer_change(p, z))):  # fmt: skip
        np.testing.assert_array_equal(method(f"model.score={name}").informativeness(p, z), found)
    found, scores = method("model.strategy=random").chosen([], labelled, 6, draw())
    assert scores is None and found.tolist() == acquisition.random_cases(labelled, 6, draw()).tolist()


@pytest.mark.one_stack
@pytest.mark.parametrize("file", sorted((REPOSITORY / "configs" / "active_learning_cls").glob("*.yaml")),
                         ids=lambda file: file.stem)  # fmt: skip
def test_variants_are_what_they_are_called(file):
    config = tfmed.load_config(file, profile="demo").model
    parts = file.stem.split("-")
    if len(parts) == 2:
        assert (config.strategy, config.score) == tuple(parts)


@pytest.mark.one_stack
def test_the_last_trainings_are_averaged_and_rounds_have_rows():
    """Of untrained networks; a repeat has the same cases, other weights and another order."""
    one, orders = method("model.repeats=2"), []
    for stage in one.stages():
        one.models[stage.name] = stage.model()
        orders.append([int(label) for label in stage.train().batch(0)["label"]])
    assert list(one.models) == ["initial", "round1", "repeat1"] and list(one.classifiers) == ["round1", "repeat1"]
    assert orders[1] != orders[2]
    found = one.evaluate({"one": one, "two": one})
    row, rounds = found["evaluation"][0], found["rounds"]
    assert row["trainings"] == 2 and 0 <= row["calibration error mean"] <= 1 and "recall disc std" in row
    assert [line["training"] for line in rounds] == ["initial", "round1", "repeat1"] * 2
    last = [line["balanced accuracy"] for line in rounds[1:3]]
    assert row["balanced accuracy mean"] == pytest.approx(np.mean(last))
    assert [line["labelled"] for line in rounds[:3]] == [9, 13, 13]
    assert sum(rounds[1][f"asked {name}"] for name in one.config.classes) == 4
    x, y = found.pictures["learning"].panels["balanced accuracy"]["one (core_set, confidence)"]
    assert x == [9, 13] and y == pytest.approx([rounds[0]["balanced accuracy"], np.mean(last)])
    assert found.pictures["classes"].bars["disc"]["one: round1"] == (rounds[1]["asked disc"], 0.0)
    for picture in found.pictures.values():
        assert picture.figure().axes and picture.caption


# --- a person answers -------------------------------------------------------------------------------------------------


def pictures_that_wait(folder):
    """Write ten labelled pictures and eight that await an answer."""
    for k in range(18):
        kind = "unlabelled" if k >= 10 else ("disc", "ring")[k % 2]
        (folder / kind).mkdir(parents=True, exist_ok=True)
        picture = np.random.default_rng(k).integers(0, 255, (16, 16)).astype(np.uint8)
        Image.fromarray(picture).save(folder / kind / f"picture{k}.png")


@pytest.fixture
def waiting(tmp_path):
    """A folder of ten labelled pictures and eight that await an answer."""
    pictures_that_wait(tmp_path / "images")
    data = ("data.source=image_folder", f"data.root={tmp_path / 'images'}")
    split = ("data.split={validation: 0.2, test: 0.2}", "model.repeats=1")
    return (*data, *split, "model.classes=[disc, ring]", f"model.answers={tmp_path / 'answers.csv'}")


def test_a_person_is_asked_and_answers(waiting, tmp_path):
    one = method(*waiting, "model.rounds=2", "model.query_share=0.2")
    one.records = Records(tmp_path / "run" / "records")
    stages = one.stages()
    stage = next(stages)
    one.models["initial"] = stage.model()
    assert len(stage.train().read(0)) == 2 and sum(one.records.recall("labelled_initial").values()) == 6
    stage = next(stages)
    with pytest.raises(RunError, match="0 of 2 cases of round 1 are answered") as caught:
        stage.train()
    table = tmp_path / "run" / "queries" / "round1.csv"
    assert str(table) in str(caught.value) and "--resume" in str(caught.value) and "\n" not in str(caught.value)
    with open(table, encoding="utf-8") as stream:
        asked = [row["id"] for row in csv.DictReader(stream)]
    answers = tmp_path / "answers.csv"
    answers.write_text(f"id,class\n{asked[0]},ring\n", encoding="utf-8")
    with pytest.raises(RunError, match="1 of 2 cases of round 1"):
        stage.train()
    answers.write_text("id,class\npicture0,ring\n", encoding="utf-8")
    with pytest.raises(DataError, match="'picture0' was not asked for"):
        stage.train()
    answers.write_text(f"id,class\n{asked[0]},ring\n{asked[1]},disc\n", encoding="utf-8")
    stage.train()
    assert one.records.recall("asked_round1") == {"disc": 1, "ring": 1}
    assert sum(one.records.recall("labelled_round1").values()) == 8
    stage = next(stages)
    answers.write_text(f"id,class\n{asked[0]},disc\n{asked[1]},disc\n", encoding="utf-8")
    with pytest.raises(DataError, match=f"'{asked[0]}' was 'ring' when a network was trained on it"):
        stage.train()


@pytest.mark.one_stack
@pytest.mark.long
def test_a_run_waits_for_answers_and_goes_on(waiting, tmp_path):
    settings = method(*waiting, "model.query_share=0.2").settings
    with pytest.raises(RunError, match="0 of 2"):
        fit(settings, tmp_path / "run")
    with open(tmp_path / "run" / "queries" / "round1.csv", encoding="utf-8") as stream:
        lines = [f"{row['id']},disc\n" for row in csv.DictReader(stream)]
    (tmp_path / "answers.csv").write_text("id,class\n" + "".join(lines), encoding="utf-8")
    run = fit(settings, tmp_path / "run", resume=True)
    assert run.restored().records.recall("asked_round1") == {"disc": 2, "ring": 0}
    assert run.restored().evaluate({"run": run.restored()})["evaluation"][0]["trainings"] == 1


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overrides, said", [
    (["model.initial_share=0.01"], "less than one case"),
    (["data.options={cases: 60, shape: [18, 18], classes: [ring]}"], "of one class"),
    (["model.classes=[ring, disc]"], "set model.classes"),
    (["model.answers=answers.csv"], "no case is of class 'unlabelled'"),
    (["model.size=[19, 16]"], "asks for 19 x 16"), (["data.preprocess=[]"], "[0, 1] is wanted"),
])  # fmt: skip
def test_pools_that_cannot_be_used_are_one_line(overrides, said):
    with pytest.raises(DataError) as caught:
        next(method(*overrides).stages()).train().read(0)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_pool_smaller_than_the_budget_is_told_before_the_first_step(waiting):
    with pytest.raises(DataError, match="8 cases await an answer, and 9 rounds ask for 2 each"):
        next(method(*waiting, "model.rounds=9", "model.query_share=0.2").stages())


@pytest.mark.one_stack
@pytest.mark.parametrize("overrides, said", [
    (["model.class_shares=[0.5, 0.5]"], "class_shares"), (["model.class_shares=[0.5, 0.3, 0.3]"], "class_shares"),
    (["model.mean=[0.1, 0.2]"], "mean"), (["model.blocks=[]"], "blocks"), (["model.width=0.01"], "width"),
    (["model.test_per_class=2"], "data.split.given"), (["data.labelled_share=0.5"], "initial_share"),
    (["model.answers=x.csv", "model.min_per_class=2"], "min_per_class"), (["model.strategy=best"], "strategy"),
])  # fmt: skip
def test_settings_that_mean_nothing_are_refused(overrides, said):
    with pytest.raises(ConfigError) as caught:
        method(*overrides)
    assert said in str(caught.value) and "\n" not in str(caught.value)
