"""Losses of several sets: their formulas, what other sets' classes cost, weights."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.losses.several_sets import set_loss, weighted

pytestmark = pytest.mark.current

RNG = np.random.default_rng(3)
LOGITS = RNG.normal(0, 2, (2, 3, 4, 5, 6)).astype("float32")
LABELS = RNG.choice([0, 3, 4, 5], (2, 3, 4, 5))
COUNTED = (1, 0, 0, 1, 1, 1)


def test_dice_is_the_mean_over_a_sets_own_classes_and_the_background():
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    y = np.eye(6)[LABELS]
    sums = (0, 1, 2, 3)
    dice = (2 * (p * y).sum(sums) + 1e-5) / (p.sum(sums) + y.sum(sums) + 1e-5)
    expected = 1 - dice[[0, 3, 4, 5]].mean()
    assert float(set_loss(LOGITS, LABELS, COUNTED)) == pytest.approx(expected, rel=1e-5)
    entropy = -np.log(np.take_along_axis(p, LABELS[..., None], -1)).mean()
    both = float(set_loss(LOGITS, LABELS, COUNTED, "dice_cross_entropy"))
    assert both == pytest.approx(expected + entropy, rel=1e-5)


@pytest.mark.parametrize("kind", ["dice", "dice_cross_entropy"])
def test_what_is_taken_for_another_sets_class_costs(kind):
    right = tf.one_hot(LABELS, 6) * 20.0
    strange = tf.one_hot(np.where(LABELS == 3, 1, LABELS), 6) * 20.0
    assert float(set_loss(right, LABELS, COUNTED, kind)) == pytest.approx(0, abs=1e-4)
    assert float(set_loss(strange, LABELS, COUNTED, kind)) > 0.2


def test_sums_are_over_all_voxels_of_the_samples_together():
    """Not a mean over samples: a class that a sample does not show costs nothing there."""
    labels = LABELS.copy()
    labels[0][labels[0] == 5] = 4
    together = float(set_loss(LOGITS, labels, COUNTED))
    apart = np.mean([float(set_loss(LOGITS[k : k + 1], labels[k : k + 1], COUNTED)) for k in range(2)])
    assert together != pytest.approx(apart, abs=1e-3)
    doubled = set_loss(tf.concat([LOGITS] * 2, 0), np.concatenate([labels] * 2), COUNTED)
    assert float(doubled) == pytest.approx(together, abs=1e-5)


def test_weighted_is_linear_and_its_weights_are_together_1():
    values = [tf.constant(2.0), tf.constant(-1.0), tf.constant(0.5)]
    for weights in ((0.95, 0.025, 0.025), (1, 0, 0), (0.2, 0.3, 0.5)):
        assert float(weighted(values, weights)) == pytest.approx(np.dot([2, -1, 0.5], weights))
    for weights in ((0.9, 0.05, 0.01), (1.5, -0.5, 0), (0.5, 0.5)):
        with pytest.raises(ValueError, match="together 1"):
            weighted(values, weights)
    with pytest.raises(ValueError, match="dice or dice_cross_entropy"):
        set_loss(LOGITS, LABELS, COUNTED, "cross_entropy")
