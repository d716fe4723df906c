"""Three generators of a known distribution, and a copier: the ranking and the flags that must come out."""

import numpy as np
import pytest

from tests.support import ring
from tfmed.metrics import judge as module
from tfmed.metrics.judge import Real, judge
from tfmed.metrics.mahalanobis import null_mahalanobis
from tfmed.metrics.template_matching import nearest_templates

pytestmark = pytest.mark.one_stack
SMALL = {"channels": (8, 16), "features": 16, "batch_size": 32, "epochs": 4}


@pytest.fixture(scope="module")
def real():
    return {"spots": Real(ring.draw(192, 1), ring.draw(128, 2), tuple(range(192)), tuple(range(192, 320)))}


@pytest.fixture(scope="module")
def judged(real):
    def copier(n, label, seed):
        return real[label].train[np.random.default_rng(seed).integers(192, size=n)]

    models = {"perfect": ring.perfect, "blurred": ring.blurred, "one mode": ring.one_mode, "copier": copier}
    return judge(models, real, runs=1, feature_net="shared", most=96, **SMALL)


def column(rows, name):
    return {row["model"]: row[name] for row in rows}


def test_the_better_generator_scores_better(judged):
    rows = judged.table()
    for score in ("Mahalanobis mean", "Frechet mean", "kernel distance mean", "sliced Wasserstein mean"):
        found = column(rows, score)
        assert found["perfect"] < min(found["blurred"], found["one mode"]), score
    # The recall of one small network hangs on its threshold; together with the specificity it does not.
    for score in ("accuracy mean", "auc mean"):
        found = column(rows, score)
        assert found["perfect"] < found["blurred"] < found["one mode"], score
    coverage = column(rows, "coverage mean")
    assert coverage["perfect"] > max(coverage["blurred"], coverage["one mode"])


def test_a_perfect_generator_scores_what_real_images_score(judged):
    rows = {row["model"]: row for row in judged.table()}
    perfect, blurred = rows["perfect"], rows["blurred"]
    assert perfect["Frechet half mean"] < 1.5 * perfect["Frechet real halves mean"]
    assert blurred["Frechet half mean"] > 1.5 * blurred["Frechet real halves mean"]
    assert perfect["Mahalanobis half mean"] == pytest.approx(perfect["Mahalanobis real halves mean"], rel=0.2)
    assert perfect["Mahalanobis null mean"] > np.sqrt(16) * 0.9


def test_flags(judged):
    assert column(judged.structure, "collapsed") == {
        "perfect": False, "blurred": False, "one mode": True, "copier": False}  # fmt: skip
    assert column(judged.structure, "memorised") == {
        "perfect": False, "blurred": False, "one mode": False, "copier": True}  # fmt: skip
    diversity = column(judged.structure, "mean MS-SSIM")
    assert diversity["one mode"] > diversity["perfect"]


@pytest.mark.parametrize("most", [None, 24])
def test_every_copy_is_found_and_templates_are_drawn_at_random(real, most, monkeypatch):
    """Also where few images are looked at: the search goes through all training images."""
    train, templates = real["spots"].train, []
    monkeypatch.setattr(module, "nearest_templates", lambda *sets: templates.append(sets) or nearest_templates(*sets))

    def copier(n, label, seed):
        return train[(np.arange(n) + seed) % len(train)]

    found = judge({"copier": copier}, real, runs=1, auxiliary=False, most=most, **SMALL | {"epochs": 1})
    synthetic, copied, similar = found.nearest["copier", "spots"]
    assert len(synthetic) == (24 if most else len(train)) and similar.s_r.similarity.min() > 0.9999
    np.testing.assert_array_equal(synthetic, copied)
    np.testing.assert_array_equal(train[similar.s_r.index], copied)
    assert found.structure[0]["memorised"]
    for drawn, *_ in templates:
        assert len(drawn) == 100 and not np.array_equal(drawn, train[:100])


def test_tables_are_whole(judged, real):
    assert [row["model"] for row in judged.rows] == ["perfect", "blurred", "one mode", "copier"]
    assert len(judged.auxiliary) == 4 * 5
    assert set(judged.ellipses["spots"]) == {"reference", "perfect", "blurred", "one mode", "copier"}
    overlaps = column(judged.plane, "overlap")
    assert overlaps["perfect"] > max(overlaps["blurred"], overlaps["one mode"])
    synthetic, train, similar = judged.nearest["copier", "spots"]
    np.testing.assert_array_equal(synthetic[similar.s_r.similarity > 0.999].shape[1:], (16, 16))
    assert len(train) == len(synthetic) == 96


def test_a_network_per_model_repeats(real):
    first, again = (judge({"blurred": ring.blurred}, real, runs, auxiliary=False, most=16, **SMALL | {"epochs": 1})
                    for runs in (2, 1))  # fmt: skip
    assert first.rows[:1] == again.rows and first.auxiliary == []
    assert len({row["seed"] for row in first.rows}) == 2
    row, recalls = first.table()[0], [row["recall"] for row in first.rows]
    assert (row["runs"], row["recall mean"], row["recall std"]) == (2, np.mean(recalls), np.std(recalls, ddof=1))


def test_what_cannot_be_judged(real):
    with pytest.raises(ValueError, match="patient 7 is in the training and in the test part"):
        Real(ring.draw(9, 0), ring.draw(9, 1), (7,), (7,))
    with pytest.raises(ValueError, match="3 real test images are too few to judge by; at least 8"):
        Real(ring.draw(9, 0), ring.draw(3, 1))
    with pytest.raises(ValueError, match=r"gave images of shape \(192, 8, 16\) where \(192, 16, 16\) are wanted"):
        judge({"small": lambda n, label, seed: ring.draw(n, seed)[:, :8]}, real, 1, **SMALL)
    with pytest.raises(ValueError, match="'mine' is none of own, shared"):
        judge({"perfect": ring.perfect}, real, 1, feature_net="mine", **SMALL)


def test_the_null_value_is_that_of_the_dimensions_that_features_have():
    """Of 16 units two never fire: a perfect generator's distance is that of 14 dimensions."""

    class Network:
        probability = staticmethod(lambda images: np.linspace(0, 1, len(images)))

    draw = np.random.default_rng(0)
    features = [np.hstack([draw.normal(size=(64, 14)), np.zeros((64, 2))]) for _ in range(4)]
    real = Real(ring.draw(64, 1), ring.draw(64, 2))
    row = module._scores(Network, real, [real.train, real.test], features, 0)
    assert row["Mahalanobis null"] == pytest.approx(null_mahalanobis(64, 14))
    assert row["Mahalanobis"] == pytest.approx(row["Mahalanobis null"], rel=0.1)
