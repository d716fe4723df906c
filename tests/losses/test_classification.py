"""Cross-entropy, probabilities and choice of classifiers, with one score and with one for each class."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import log_loss

from tfmed.losses.classification import chosen_class, cross_entropy, outputs_of, probabilities

pytestmark = pytest.mark.current

DRAW = np.random.default_rng(0)


@pytest.mark.parametrize("classes", [2, 3])
def test_cross_entropy_is_scikit_learns(classes):
    scores = DRAW.normal(size=(20, outputs_of(classes))).astype("float32")
    labels = DRAW.integers(classes, size=20)
    found = probabilities(tf.constant(scores)).numpy()
    assert found.shape == (20, classes) and np.abs(found.sum(-1) - 1).max() < 1e-6
    for kind in (labels.astype("int32"), labels.astype("float32")):  # Keras has float32 labels
        loss = cross_entropy(tf.constant(scores), tf.constant(kind))
        assert loss.shape == (20,)
        assert float(tf.reduce_mean(loss)) == pytest.approx(log_loss(labels, found, labels=range(classes)), rel=1e-5)
    np.testing.assert_array_equal(chosen_class(tf.constant(scores)), found.argmax(-1))


def test_two_classes_with_a_score_each():
    """As much as one score for the second that is the difference of both; of equal scores the first class is taken."""
    scores = DRAW.normal(size=(20, 2)).astype("float32")
    one = scores[:, 1:] - scores[:, :1]
    np.testing.assert_allclose(probabilities(tf.constant(scores)), probabilities(tf.constant(one)), atol=1e-6)
    for equal in ([[0.0]], [[1.5, 1.5]]):
        assert chosen_class(tf.constant(equal)).numpy().tolist() == [0]


def test_two_classes_have_one_score_that_speaks_for_the_second():
    assert (outputs_of(2), outputs_of(3)) == (1, 3)
    assert probabilities(tf.constant([[2.0]])).numpy()[0] == pytest.approx([1 - 0.880797, 0.880797], abs=1e-5)


def test_half_precision_scores_give_float32_losses():
    assert cross_entropy(tf.constant([[0.5]], tf.bfloat16), tf.constant([1])).dtype == tf.float32
