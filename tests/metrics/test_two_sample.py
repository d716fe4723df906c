"""Classifier two-sample test: chance, certainty, closed forms; the network and its features; the leak guard."""

import numpy as np
import pytest
import sklearn.metrics

from tests.support import ring
from tfmed.metrics.two_sample import auxiliary_classifiers, check_disjoint, two_sample_test
from tfmed.nn.gan2d import image_classifier
from tfmed.training.image_discriminator import train_discriminator

pytestmark = pytest.mark.one_stack
SMALL = {"channels": (8, 16), "features": 16, "batch_size": 32}


def test_scores_equal_scikit_learn():
    rng = np.random.default_rng(0)
    synthetic, real = rng.beta(3, 2, 60).round(2), rng.beta(2, 3, 40).round(2)  # rounded: there are ties
    found = two_sample_test(synthetic, real)
    labels, scores = np.repeat([1, 0], [60, 40]), np.concatenate([synthetic, real])
    assert found.recall == pytest.approx(sklearn.metrics.recall_score(labels, scores > 0.5))
    assert found.specificity == pytest.approx(sklearn.metrics.recall_score(1 - labels, scores <= 0.5))
    assert found.accuracy == pytest.approx(sklearn.metrics.balanced_accuracy_score(labels, scores > 0.5))
    assert found.auc == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores))
    assert found.score == pytest.approx(2 * abs(found.accuracy - 0.5))


def test_p_value_is_even_for_chance():
    """Coin flips: the accuracy of 200 has deviation 1 / (2 sqrt(200)), and p is below 0.1 in a tenth of all tests."""
    rng = np.random.default_rng(0)
    found = [two_sample_test(rng.random(100), rng.random(100)) for _ in range(600)]
    assert np.std([one.accuracy for one in found]) == pytest.approx(0.5 / np.sqrt(200), rel=0.1)
    assert np.mean([one.p_value < 0.1 for one in found]) == pytest.approx(0.1, abs=0.035)
    assert two_sample_test(np.ones(50), np.zeros(50)).p_value < 1e-20


@pytest.fixture(scope="module")
def real():
    return ring.draw(240, 1), ring.draw(160, 2)


def test_one_distribution_is_chance_and_two_are_not(real):
    train, test = real
    same = train_discriminator(train, ring.perfect(240), epochs=3, **SMALL)
    found = two_sample_test(same.probability(ring.perfect(160, seed=1)), same.probability(test))
    assert abs(found.accuracy - 0.5) <= 3 / (2 * np.sqrt(320))
    apart = train_discriminator(train, 1 - ring.perfect(240), epochs=3, **SMALL)
    found = two_sample_test(apart.probability(1 - ring.perfect(160, seed=1)), apart.probability(test))
    assert found.accuracy > 0.99


def test_features_are_what_the_score_is_made_of_and_repeat(real):
    train, test = real
    one = train_discriminator(train[:40], ring.blurred(40), seed=3, epochs=1, **SMALL)
    features = one.features(test)
    assert features.shape == (160, 16)
    kernel, bias = (np.array(w) for w in one.network.get_layer("score").get_weights())
    np.testing.assert_allclose(one.probability(test), 1 / (1 + np.exp(-(features @ kernel + bias)[:, 0])), atol=1e-5)
    assert (features < 0).any() and features.min() > -0.5 * features.max()  # after the activation of slope 0.2
    again = train_discriminator(train[:40], ring.blurred(40), seed=3, epochs=1, **SMALL)
    np.testing.assert_array_equal(again.features(test), features)
    other = train_discriminator(train[:40], ring.blurred(40), seed=4, epochs=1, **SMALL)
    assert not np.array_equal(other.features(test), features)


def test_the_published_network():
    """80 x 80 -> 5 x 5 x 256 = 6400 -> 128 -> 1, eight convolutions."""
    network = image_classifier((80, 80))
    assert [tuple(w.shape) for w in network.weights][-4:] == [(6400, 128), (128,), (128, 1), (1,)]
    assert len([w for w in network.weights if len(w.shape) == 4]) == 8
    widths = [(32, 1), (32, 32), (64, 32), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256)]
    assert network.count_params() == sum(9 * a * b + a for a, b in widths) + 6400 * 128 + 128 + 129


def test_plain_classifiers():
    rng = np.random.default_rng(0)
    same, apart = rng.normal(size=(4, 60, 5)), rng.normal(size=(4, 60, 5)) + [[[0]], [[5]], [[0]], [[5]]]
    found = auxiliary_classifiers(*apart)
    assert set(found) == {"decision tree", "random forest", "linear SVM", "nearest neighbours", "AdaBoost"}
    assert all(one.recall > 0.9 and one.specificity > 0.9 for one in found.values())
    assert all(abs(one.accuracy - 0.5) < 0.2 for one in auxiliary_classifiers(*same).values())


def test_a_patient_in_both_parts_is_an_error():
    check_disjoint(["p1", "p2"], ["p3"])
    with pytest.raises(ValueError, match=r"patient p2 \(and 1 more\) is in the training and in the test part"):
        check_disjoint(["p1", "p2", "p3"], ["p3", "p2"])


@pytest.mark.parametrize("function, words", [
    (lambda: two_sample_test([], [0.1]), "0 synthetic and 1 real samples"),
    (lambda: two_sample_test([np.nan], [0.1]), "NaN or infinite"),
    (lambda: train_discriminator(ring.draw(4, 0) * 2 - 1, ring.draw(4, 0)), r"real: values .* lie outside of \[0, 1\]"),
    (lambda: train_discriminator(ring.draw(4, 0), ring.draw(4, 0)[:, :8]), "differ in size"),
    (lambda: train_discriminator(ring.draw(4, 0), ring.draw(4, 0)[0]), r"synthetic: images must be \(n, H, W\)"),
])  # fmt: skip
def test_what_cannot_be_tested(function, words):
    with pytest.raises(ValueError, match=words):
        function()
