"""Divergences of logits: against scipy, and what the card of adaptor_crossdomain asks of them."""

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special
import tensorflow as tf

from tfmed.losses.divergence import bernoulli_kl, jensen_shannon, one_sided_kl

RNG = np.random.default_rng(0)
STUDENT, TEACHER = (RNG.normal(0, 3, (4, 3, 5, 1)).astype("float32") for _ in range(2))


def test_bernoulli_is_scipy_s_relative_entropy():
    p, q = (scipy.special.expit(z.astype(float)) for z in (STUDENT, TEACHER))
    expected = (scipy.special.rel_entr(q, p) + scipy.special.rel_entr(1 - q, 1 - p)).mean((1, 2, 3))
    found = bernoulli_kl(STUDENT, TEACHER).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (found > 0).all()
    np.testing.assert_allclose(bernoulli_kl(TEACHER, TEACHER), 0, atol=1e-7)
    far = bernoulli_kl(tf.constant([[-200.0]]), tf.constant([[200.0]]))
    assert np.isfinite(far).all() and float(far[0]) == pytest.approx(200)


def test_its_gradient_is_the_difference_and_the_teacher_has_none():
    student, teacher = tf.Variable(STUDENT), tf.Variable(TEACHER)
    for loss, expected in (
        (bernoulli_kl, scipy.special.expit(STUDENT) - scipy.special.expit(TEACHER)),
        (one_sided_kl, -scipy.special.expit(TEACHER) * (1 - scipy.special.expit(STUDENT))),
    ):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(loss(student, teacher)) * 15
        ours, theirs = tape.gradient(value, [student, teacher])
        np.testing.assert_allclose(ours, expected, atol=1e-5)
        assert theirs is None


def test_one_side_alone_is_negative_where_the_student_is_higher():
    logit = scipy.special.logit
    student, teacher = (tf.constant([[logit(p)]], tf.float32) for p in (0.5, 0.4))
    assert float(one_sided_kl(student, teacher)[0]) == pytest.approx(-0.4 * np.log(0.5 / 0.4), rel=1e-5)
    higher = one_sided_kl(TEACHER + 1.0, TEACHER).numpy()
    assert (higher < 0).all() and (bernoulli_kl(TEACHER + 1.0, TEACHER).numpy() > 0).all()


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="student"):
        bernoulli_kl(tf.zeros((2, 3)), tf.zeros((2, 1)))


# --- Jensen-Shannon ---------------------------------------------------------------------------------------------------

ONE, OTHER = (RNG.normal(0, 3, (4, 3, 5, 6)).astype("float32") for _ in range(2))


def test_jensen_shannon_is_scipy_s():
    p, q = (scipy.special.softmax(z.astype(float), -1) for z in (ONE, OTHER))
    expected = (scipy.spatial.distance.jensenshannon(p, q, axis=-1) ** 2).mean((1, 2))
    np.testing.assert_allclose(jensen_shannon(ONE, OTHER), expected, rtol=1e-5)
    np.testing.assert_allclose(jensen_shannon(ONE, OTHER, "paper"), expected / 6, rtol=1e-5)
    np.testing.assert_allclose(jensen_shannon(OTHER, ONE), expected, rtol=1e-5)  # symmetric


def test_jensen_shannon_is_0_of_one_map_and_ln_2_at_most():
    shift = RNG.normal(size=(4, 3, 5, 1)).astype("float32")
    np.testing.assert_allclose(jensen_shannon(ONE, ONE + shift), 0, atol=1e-6)
    assert (jensen_shannon(ONE, OTHER).numpy() > 1e-3).all()
    first, second = (np.full((1, 2, 2, 6), -1e4, "float32") for _ in range(2))
    first[..., 0], second[..., 5] = 1e4, 1e4
    np.testing.assert_allclose(jensen_shannon(first, second), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(jensen_shannon(first, second, "paper"), np.log(2) / 6, rtol=1e-6)
    for scale in (1e2, 1e6, 1e30):
        value = jensen_shannon(ONE * np.float32(scale), OTHER * np.float32(scale)).numpy()
        assert np.isfinite(value).all() and (value <= np.log(2) + 1e-6).all()


def test_jensen_shannon_has_a_gradient_in_the_student_alone():
    student, teacher = tf.Variable(ONE), tf.Variable(OTHER)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(jensen_shannon(student, teacher))
    ours, theirs = tape.gradient(value, [student, teacher])
    assert np.isfinite(ours).all() and np.abs(ours).max() > 0 and theirs is None
    with pytest.raises(ValueError, match="per_pixel or paper"):
        jensen_shannon(ONE, OTHER, "mean")
    with pytest.raises(ValueError, match="does not fit"):
        jensen_shannon(ONE, OTHER[:2])
