"""BrainNetGAN: the harness, and every item of its card's "What must hold"."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import log_loss

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness
from tfmed import cli, prepare
from tfmed.compat import tensor_variable
from tfmed.data import connectomes, sources
from tfmed.data.connectomes import Connectomes
from tfmed.engine.lifecycle import fit
from tfmed.errors import DataError
from tfmed.io.connectome import read_connectome
from tfmed.methods.brainnetgan import BrainNetGAN, Config, build_network, graph_classifier
from tfmed.ops.triangle import to_vector
from tfmed.tasks.connectomes import oversampled

pytestmark = pytest.mark.current

SMALL = dict(regions=10, noise_size=4, generator_widths=(8, 8), edge_filters=(4, 4), node_filters=4, dense=(8, 4))
TINY = (
    "data.options={cases: 40, regions: 10}",
    "train.batch_size=4",
    "model.critic_steps=2",
    "model.restarts=1",
    "model.graph_epochs=2",
    "model.graph_filters=[4]",
    *(f"model.{name}={list(value) if isinstance(value, tuple) else value}" for name, value in SMALL.items()),
)


def batch(count=4, seed=0, regions=10):
    draw = np.random.default_rng(seed)
    half = np.triu(draw.random((count, regions, regions)).astype("float32"), 1)
    matrices = half + np.swapaxes(half, 1, 2)
    labels = tf.constant([0, 1] * (count // 2))
    return {"index": tf.range(count, dtype=tf.int64), "matrix": tf.constant(matrices), "label": labels}


def model(per_step=4, **changes):
    return BrainNetGAN(Config(**SMALL | {"critic_steps": 1} | changes), per_step=per_step)


class TestHarness(MethodHarness):
    config = "configs/brainnetgan.yaml"
    tiny = TINY
    bad = ("model.classes=[CN]", "at least two class names")

    def parity(self, run):
        found = run.restored()
        labels = np.array([0, 1, 1], np.int32)
        expected = [found.model.sample(labels, seed) for seed in (3, 7)]
        return expected, [{"seed": np.int64(seed), "labels": labels} for seed in (3, 7)]

    def test_tables_samples_and_pictures(self, run, tmp_path, monkeypatch):
        method = run.restored()
        tables = method.evaluate({"run": method})
        trained_on = [row["training data"] for row in tables["evaluation"]]
        assert trained_on[:2] == ["real", "SMOTE only"] and {"run only", "real + run"} <= set(trained_on)
        assert all(0 <= row["test accuracy mean"] <= 1 for row in tables["evaluation"])
        rows = {(row["source"], row["class"]): row for row in tables["similarity"]}
        assert {("run", "CN"), ("run", "AD"), ("SMOTE", "AD"), ("real (two halves)", "CN")} <= set(rows)
        assert all(row["node strength KL"] >= 0 and row["global efficiency MMD"] >= 0 for row in rows.values())
        monkeypatch.setitem(method.cases, "test", [])  # all subjects train: Table 1 alone
        assert dict(method.evaluate({"run": method})) == {"evaluation": tables["similarity"]}
        made = method.sample(3, seed=1)
        paths = [method.write_sample(item, tmp_path, f"sample-{k}") for k, item in enumerate(made)]
        assert [path.parent.name for path in paths] == ["CN", "AD", "CN"]
        np.testing.assert_allclose(read_connectome(paths[1]), method.model.sample([0, 1, 0], 1)[1], rtol=1e-6)
        picture = method.previews()["connectomes"]
        assert len(picture.matrices) == 8 and picture.figure().axes


# --- networks and samples ---------------------------------------------------------------------------------------------


def test_paper_networks():
    assert build_network(Config(), "generator").count_params() == 4_803_621
    assert build_network(Config(), "critic").count_params() == 1_892_477
    assert build_network(Config(), "classifier").count_params() == 1_892_477
    assert build_network(Config(classes=("a", "b", "c"), regions=12), "classifier").output_shape == (None, 3)


@pytest.mark.parametrize("output", ["relu", "sigmoid"])
def test_samples_are_connectomes(output):
    made = model(output=output)
    for variable in made.generator.trainable_variables:  # far from its start: entries beyond 1 are clipped
        variable.assign(3 * np.random.default_rng(1).normal(size=variable.shape).astype("float32"))
    found = made.sample([0, 1, 0, 1, 1], seed=2)
    assert found.shape == (5, 10, 10) and found.min() >= 0 and found.max() <= 1
    np.testing.assert_array_equal(found, np.swapaxes(found, 1, 2))
    np.testing.assert_array_equal(np.diagonal(found, axis1=1, axis2=2), 0)
    np.testing.assert_allclose(found[:2], made.sample([0, 1], seed=2), atol=1e-4)
    assert (found[0] != found[2]).any() and (found != made.sample([0, 1, 0, 1, 1], seed=3)).any()


def test_small_entries_become_zero():
    found = model(output="sigmoid", zero_threshold=0.5).sample([0, 1], 0)
    assert ((found == 0) | (found >= 0.5)).all() and (found == 0).mean() > 0.1


def test_the_class_reaches_the_generator():
    made = model()
    noise = np.zeros((2, 4), np.float32)
    found = made(tf.concat([noise, tf.eye(2)], 1)).numpy()
    assert np.abs(found[0] - found[1]).max() > 1e-4


# --- losses -----------------------------------------------------------------------------------------------------------


def linear_critic(made, weights):
    made.critic = lambda x, training=True: tf.reduce_sum(x * weights, (1, 2))[:, None]


@pytest.mark.parametrize("length, expected", [(1.0, 0.0), (3.0, 40.0)])
def test_penalty_of_a_linear_critic(length, expected):
    """D(x) = <u, x> has the penalty lambda (|u| - 1)^2 wherever it is taken."""
    made, data = model(), batch()
    u = np.full((10, 10), 1.0, np.float32)
    linear_critic(made, tf.constant(length * u / np.linalg.norm(u)))
    found = made.penalty(data, data["matrix"], tf.zeros_like(data["matrix"]), 0)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_penalty_space():
    """In the free entries each edge counts once, in the matrix twice: norms differ by the square root of 2."""
    data = batch()
    u = np.random.default_rng(0).normal(size=(10, 10)).astype("float32")
    u = (u + u.T) * (1 - np.eye(10, dtype="float32"))
    for space, norm in (("matrix", np.linalg.norm(u)), ("vector", np.linalg.norm(2 * to_vector(u)))):
        made = model(penalty_space=space)
        linear_critic(made, tf.constant(u))
        found = made.penalty(data, data["matrix"], 0 * data["matrix"], 0)
        np.testing.assert_allclose(found, 10 * (norm - 1) ** 2, rtol=1e-4)


def test_points_between_lie_on_one_line_per_sample():
    made, data, seen = model(), batch(), []
    made.critic = lambda x, training=True: (seen.append(x), tf.reduce_sum(x, (1, 2))[:, None])[1]
    fake = batch(seed=1)["matrix"]
    made.penalty(data, data["matrix"], fake, 0)
    share = (seen[0] - fake) / (data["matrix"] - fake)
    upper = to_vector(share.numpy())
    np.testing.assert_allclose(upper, np.broadcast_to(upper[:, :1], upper.shape), atol=1e-2)
    assert upper.min() > -1e-2 and upper.max() < 1 + 1e-2 and np.ptp(upper[:, 0]) > 0.01


@pytest.mark.one_stack
def test_minimising_the_critics_loss_scores_real_above_generated():
    made, data = model(learning_rate=5e-3), batch()
    step = tf.function(lambda batch: made.update("critic", lambda part: made.critic_loss(part, 0), batch))
    for _ in range(40):
        step(data)
    assert float(tf.reduce_mean(made.critic(data["matrix"]) - made.critic(made.generated(data, 0)))) > 0.05


@pytest.mark.parametrize("name", ["critic", "classifier", "generator"])
def test_an_update_leaves_the_other_networks_alone(name):
    made, data = model(), batch()
    networks = {"critic": made.critic, "classifier": made.classifier, "generator": made.generator}
    before = {key: [v.copy() for v in network.get_weights()] for key, network in networks.items()}
    made.update(name, lambda part: getattr(made, f"{name}_loss")(part, 0), data)
    for key, network in networks.items():
        changed = any((a != b).any() for a, b in zip(before[key], network.get_weights(), strict=True))
        assert changed == (key == name)


def test_a_step_has_so_many_critic_updates():
    made = model(per_step=12, critic_steps=3)
    made.train_step(batch(12))
    counts = [int(getattr(made, f"{name}_optimizer").iterations) for name in ("critic", "classifier", "generator")]
    assert counts == [3, 1, 1]


def test_the_classifier_speaks_to_the_generator_unless_alpha_is_0():
    data = batch()
    for alpha in (0.0, 1.0):
        made = model(alpha=alpha)
        linear_critic(made, tf.zeros((10, 10)))
        with tf.GradientTape() as tape:
            loss, _ = made.generator_loss(data, 0)
        found = tape.gradient(loss, [tensor_variable(v) for v in made.generator.trainable_variables])
        largest = max(float(tf.reduce_max(tf.abs(g))) if g is not None else 0.0 for g in found)
        assert (largest > 0) == (alpha > 0)


# --- data -------------------------------------------------------------------------------------------------------------


def real(seed=0, count=30):
    cases = sources.open("phantom_connectome", cases=count, regions=10, seed=seed)
    found = np.stack([connectomes.read_matrix(case.images["connectome"]) for case in cases]).astype("float32")
    return Connectomes(found, np.arange(count, dtype=np.int32) % 2, tuple(case.id for case in cases))


def test_smote_lies_between_two_of_a_class_and_adasyn_makes_some():
    subjects = real()
    made = oversampled(subjects, "smote", 0)
    assert np.bincount(made.labels).tolist() == [15, 15]
    own = {label: to_vector(subjects.of_class(label)).astype(float) for label in (0, 1)}
    for vector, label in zip(to_vector(made.matrices)[:10].astype(float), made.labels, strict=False):
        a, b = own[label][:, None], own[label][None]
        along = np.einsum("abk,abk->ab", vector - a, b - a) / np.maximum(((b - a) ** 2).sum(-1), 1e-9)
        gap = np.linalg.norm(vector - (a + along[..., None] * (b - a)), axis=-1)
        gap[(along < -1e-6) | (along > 1 + 1e-6)] = np.inf
        assert gap.min() < 1e-3 * np.linalg.norm(vector)


def test_adasyn_makes_subjects_where_classes_overlap_and_none_where_they_do_not(caplog):
    subjects = real()
    draw = np.random.default_rng(0)
    mixed = Connectomes(subjects.matrices, draw.permutation(subjects.labels), subjects.ids)
    made = oversampled(mixed, "adasyn", 0)
    assert len(made) > 0 and set(made.labels) <= {0, 1}
    np.testing.assert_array_equal(made.matrices, np.swapaxes(made.matrices, 1, 2))
    scale = np.where(subjects.labels == 1, 1.0, 0.001)[:, None, None].astype("float32")
    assert oversampled(Connectomes(subjects.matrices * scale, subjects.labels, subjects.ids), "adasyn", 0) is None


def test_classifier_learns_from_real_and_generated_alike():
    """Eq. 2: the sum of two mean cross-entropies, against scikit-learn's."""
    m, b = model(), batch()
    loss, logs = m.classifier_loss(b, 3)
    parts = []
    for matrices in (b["matrix"], m.generated(b, 3)):
        probabilities = tf.sigmoid(m.classifier(matrices, training=True)).numpy()[:, 0]
        parts.append(log_loss(b["label"], probabilities, labels=[0, 1]))
    assert float(loss) == pytest.approx(sum(parts), rel=1e-4) and float(logs["classifier"]) == float(loss)
    assert abs(parts[0] - parts[1]) > 1e-6  # so that one of them twice would be told from their sum


@pytest.mark.one_stack
@pytest.mark.parametrize("patience", [1, 100])
def test_the_graph_network_gives_back_its_best_epoch(patience, monkeypatch):
    """Whether training stops early or runs to its end; learning makes the validation, of opposite labels, worse."""
    train = real(count=20)
    validation = Connectomes(train.matrices, 1 - train.labels, train.ids)
    few = {"graph_epochs": 12, "graph_patience": patience, "graph_learning_rate": 0.02, "graph_batch": 4}
    classifier = graph_classifier(Config(regions=10, graph_filters=(8,), **few))
    histories, fit_it = [], classifier.network.fit
    monkeypatch.setattr(classifier.network, "fit", lambda *a, **k: histories.append(fit_it(*a, **k)))
    classifier.fit(train.pair, validation.pair, seed=0)
    (history,) = histories
    losses = history.history["val_loss"]
    assert (len(losses) < 12) == (patience == 1) and losses[-1] > min(losses) * 1.001
    found = classifier.network.evaluate(validation.matrices, validation.labels, batch_size=4, verbose=0)
    assert found == pytest.approx(min(losses), rel=1e-5)


def test_phantoms_are_connectomes_of_two_groups():
    subjects = real(count=60)
    assert (subjects.matrices == np.swapaxes(subjects.matrices, 1, 2)).all() and subjects.matrices.min() == 0
    strength = subjects.matrices.sum((1, 2))
    assert strength[subjects.labels == 1].mean() < 0.95 * strength[subjects.labels == 0].mean()
    assert 0.02 < (to_vector(subjects.matrices) == 0).mean() < 0.7
    assert np.corrcoef(to_vector(subjects.matrices[:2]))[0, 1] > 0.5  # one brain, two people


def test_splits_are_stratified_and_scaled():
    settings = tfmed.load_config(REPOSITORY / "configs" / "brainnetgan.yaml", TINY)
    method = tfmed.registry.method_class("brainnetgan")(settings)
    for part, counts in (("train", [12, 12]), ("validation", [4, 4]), ("test", [4, 4])):
        assert np.bincount(method.connectomes(part).labels).tolist() == counts
    np.testing.assert_allclose(method.connectomes("train").matrices.max((1, 2)), 1)
    whole = tfmed.load_config(REPOSITORY / "configs" / "brainnetgan.yaml", (*TINY, "model.scale=global"))
    other = tfmed.registry.method_class("brainnetgan")(whole)
    largest = other.connectomes("train").matrices.max((1, 2))
    assert largest.max() == pytest.approx(1) and largest.min() < 0.95


def folder(tmp_path, count=4, regions=6, classes=("a", "b")):
    draw = np.random.default_rng(0)
    for name in classes:
        (tmp_path / name).mkdir()
        for k in range(count):
            half = np.triu(draw.integers(0, 20, (regions, regions)), 1)
            np.savetxt(tmp_path / name / f"{name}{k}.csv", half + half.T, fmt="%d", delimiter=",")
    return tmp_path


@pytest.mark.parametrize("change, message", [
    (lambda m: m[:3], "not square"),
    (lambda m: m + np.triu(np.ones_like(m)), "is not symmetric"),
    (lambda m: m - 100, "36 entries are negative"),
    (lambda m: np.where(m == m.max(), np.nan, m), "NaN or infinite"),
    (lambda m: m[:5, :5], "has 5 regions where 6 are needed"),
    (lambda m: 0 * m, "connects no two regions"),
])  # fmt: skip
def test_bad_matrices_are_one_line_that_names_the_file(tmp_path, capsys, change, message):
    root = folder(tmp_path)
    file = root / "b" / "b2.csv"
    np.savetxt(file, change(np.loadtxt(file, delimiter=",")), fmt="%g", delimiter=",")
    words = [str(REPOSITORY / "configs" / "brainnetgan.yaml"), "data.source=connectome_folder", f"data.root={root}",
             "data.options={}", "model.classes=[a, b]", "model.regions=6",
             "data.split={folds: 4, validation: 0.3}"]  # fmt: skip
    assert cli.run(prepare.main, words) == 2
    assert "1 problem(s)" in capsys.readouterr().err
    method = tfmed.registry.method_class("brainnetgan")(tfmed.load_config(words[0], words[1:]))
    found = [problem for cases in method.cases.values() for case in cases for problem in method.problems(case)]
    assert len(found) == 1 and message in found[0] and "b2.csv" in found[0] and "\n" not in found[0]


@pytest.mark.parametrize("words, message", [
    (("model.classes=[a, c]",), "is of class 'b'; the source has a, b"),
    (("model.regions=7",), "has 6 regions; set model.regions to that"),
    (("data.split={folds: 5}",), r"class a: 4 patient group\(s\) cannot make 5 folds"),
    (("data.options={group_pattern: '([0-9])'}",), "is of two classes"),
    (("model.image=fc",), "has no 'fc'"),
])  # fmt: skip
def test_settings_that_do_not_fit_the_data(tmp_path, words, message):
    root = folder(tmp_path)
    shared = ("data.source=connectome_folder", f"data.root={root}", "data.options={}", "model.classes=[a, b]",
              "model.regions=6", "data.split={folds: 4, validation: 0.3}")  # fmt: skip
    settings = tfmed.load_config(REPOSITORY / "configs" / "brainnetgan.yaml", (*shared, *words))
    with pytest.raises(DataError, match=message):
        tfmed.registry.method_class("brainnetgan")(settings).prepared("train")


@pytest.mark.one_stack
def test_three_classes_from_files_to_tables(tmp_path):
    root = tmp_path / "matrices"
    root.mkdir()
    folder(root, count=8, regions=10, classes=("a", "b", "c"))
    words = (*TINY[1:], "data.source=connectome_folder", f"data.root={root}", "data.options={}", "train.steps=2",
             "model.classes=[a, b, c]", "data.split={folds: 4, validation: 0.3}")  # fmt: skip
    method = fit(tfmed.load_config(REPOSITORY / "configs" / "brainnetgan.yaml", words), tmp_path / "run").restored()
    tables = method.evaluate({"run": method})
    assert {"real", "run only", "real + run"} <= {row["training data"] for row in tables["evaluation"]}
    assert all(0 <= row["test accuracy mean"] <= 1 for row in tables["evaluation"])
    assert {row["class"] for row in tables["similarity"]} == {"a", "b", "c"}


def test_one_triangle_is_enough(tmp_path):
    root = folder(tmp_path)
    file = root / "a" / "a1.csv"
    whole = np.loadtxt(file, delimiter=",")
    np.savetxt(file, np.triu(whole), fmt="%d", delimiter=",")
    case = next(case for case in sources.open("connectome_folder", str(root)) if case.id == "a1")
    np.testing.assert_array_equal(connectomes.checked(case, one_triangle=True), whole)


@pytest.mark.parametrize("name", ["sigmoid", "no_classifier", "plain_convolutions", "noise_128", "noise_256", "mice"])
def test_variants_are_valid_and_differ(name):
    found = tfmed.load_config(REPOSITORY / "configs" / "brainnetgan" / f"{name}.yaml")
    assert found.model != tfmed.load_config(REPOSITORY / "configs" / "brainnetgan.yaml").model
