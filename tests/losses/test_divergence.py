"""Divergences of logits: against scipy, and what the card of adaptor_crossdomain asks of them."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfmed.losses.divergence import bernoulli_kl, one_sided_kl

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
