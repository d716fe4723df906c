"""Segmentation losses: closed forms, masks, empty cases, precision, ramp-ups."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.losses import segmentation as s

pytestmark = pytest.mark.current

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (3, 4, 5, 3)).astype("float32")
LABELS = RNG.integers(0, 3, (3, 4, 5))
MASK = RNG.random((3, 4, 5)) < 0.6
ONE_HOT = np.eye(3, dtype="float32")[LABELS]
P = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
SUPERVISED = {"soft_dice": s.soft_dice, "batch_dice": s.batch_dice, "generalized_dice": s.generalized_dice,
              "cross_entropy": s.cross_entropy, "focal": s.focal}  # fmt: skip
LOSSES = {**SUPERVISED, "kl": lambda x, y, **k: s.kl_divergence(tf.one_hot(y, 3), x, **k),
          "consistency": lambda x, y, **k: s.consistency(tf.one_hot(y, 3), x, **k)}  # fmt: skip


def both(test):
    return pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)(test)


# --- closed forms -----------------------------------------------------------------------------------------------------


def test_dice_is_the_formula():
    def dice(p, y, axis, squared=False):
        size = (p**2 + y**2 if squared else p + y).sum(axis)
        return (2 * (p * y).sum(axis) + 1e-5) / (size + 1e-5)

    per_sample = dice(P, ONE_HOT, (1, 2))
    np.testing.assert_allclose(s.soft_dice(LOGITS, LABELS), 1 - per_sample[:, 1:].mean(1), rtol=1e-5)
    np.testing.assert_allclose(s.soft_dice(LOGITS, LABELS, background=True), 1 - per_sample.mean(1), rtol=1e-5)
    weighted = 1 - per_sample[:, 1:] @ [0.25, 0.75]
    np.testing.assert_allclose(s.soft_dice(LOGITS, LABELS, class_weights=(9, 1, 3)), weighted, rtol=1e-5)
    squared = 1 - dice(P, ONE_HOT, (1, 2), True)[:, 1:].mean(1)
    np.testing.assert_allclose(s.soft_dice(LOGITS, LABELS, squared=True), squared, rtol=1e-5)
    whole = s.batch_dice(LOGITS, LABELS)
    assert whole.shape == ()
    np.testing.assert_allclose(whole, 1 - dice(P, ONE_HOT, (0, 1, 2))[1:].mean(), rtol=1e-5)


def test_generalised_dice_is_the_formula():
    weight = 1 / ONE_HOT.sum((1, 2)) ** 2
    above, below = (weight * (P * ONE_HOT).sum((1, 2))).sum(1), (weight * (P + ONE_HOT).sum((1, 2))).sum(1)
    np.testing.assert_allclose(s.generalized_dice(LOGITS, LABELS, smooth=0.0), 1 - 2 * above / below, rtol=1e-5)


def test_cross_entropy_and_focal_are_the_formula():
    true = np.take_along_axis(P, LABELS[..., None], -1)[..., 0]
    np.testing.assert_allclose(s.cross_entropy(LOGITS, LABELS), -np.log(true).mean((1, 2)), rtol=1e-5)
    weights = np.array([1, 2, 5.0])
    weighted = (-weights[LABELS] * np.log(true)).mean((1, 2))
    np.testing.assert_allclose(s.cross_entropy(LOGITS, LABELS, class_weights=weights), weighted, rtol=1e-5)
    focal = -((1 - true) ** 2) * np.log(true)
    np.testing.assert_allclose(s.focal(LOGITS, LABELS), focal.mean((1, 2)), rtol=1e-4)
    for gamma in (0.5, 1.0, 3.0):
        expected = (-((1 - true) ** gamma) * np.log(true)).mean((1, 2))
        np.testing.assert_allclose(s.focal(LOGITS, LABELS, gamma=gamma), expected, rtol=1e-4)
    np.testing.assert_allclose(s.focal(LOGITS, LABELS, gamma=0.0), s.cross_entropy(LOGITS, LABELS), rtol=1e-5)
    np.testing.assert_allclose(
        s.focal(LOGITS, LABELS, class_weights=weights), (weights[LABELS] * focal).mean((1, 2)), rtol=1e-4
    )
    uniform = tf.zeros([1, 2, 2, 4])
    np.testing.assert_allclose(s.cross_entropy(uniform, tf.zeros([1, 2, 2], tf.int32)), [np.log(4)], rtol=1e-6)


def test_kl_and_consistency_are_the_formula():
    other = np.roll(LOGITS, 1, 0)
    q = np.roll(P, 1, 0)
    kl = (P * np.log(P / q)).sum(-1)
    np.testing.assert_allclose(s.kl_divergence(LOGITS, other), kl.mean((1, 2)), rtol=1e-4)
    assert (np.asarray(s.kl_divergence(LOGITS, other)) != np.asarray(s.kl_divergence(other, LOGITS))).all()
    np.testing.assert_allclose(s.kl_divergence(LOGITS, LOGITS + 3), np.zeros(3), atol=1e-6)
    np.testing.assert_allclose(s.consistency(LOGITS, other), ((P - q) ** 2).mean((1, 2, 3)), rtol=1e-4)
    np.testing.assert_array_equal(s.consistency(LOGITS, other), s.consistency(other, LOGITS))
    masked = [kl[i][MASK[i]].mean() for i in range(3)]
    np.testing.assert_allclose(s.kl_divergence(LOGITS, other, MASK), masked, rtol=1e-4)


def test_a_fixed_target_gets_no_gradient():
    x, y = tf.Variable(LOGITS), tf.Variable(np.roll(LOGITS, 1, 0))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(s.kl_divergence(tf.stop_gradient(x), y))
    to_target, to_student = tape.gradient(loss, [x, y])
    assert to_target is None
    np.testing.assert_allclose(to_student, (np.roll(P, 1, 0) - P) / 20, atol=1e-6)


# --- what holds for all ---------------------------------------------------------------------------------------------


@both
def test_ignored_voxels_change_nothing(loss):
    disturbed = np.where(MASK[..., None], LOGITS, 50 * RNG.normal(size=LOGITS.shape)).astype("float32")
    labels = np.where(MASK, LABELS, 255)
    np.testing.assert_allclose(loss(disturbed, labels, mask=MASK), loss(LOGITS, LABELS, mask=MASK), rtol=1e-5)
    np.testing.assert_allclose(loss(LOGITS, LABELS, mask=tf.ones([3, 4, 5])), loss(LOGITS, LABELS), rtol=1e-5)


@both
@pytest.mark.parametrize("case", ["empty mask", "no foreground", "sure and right", "sure and wrong"])
def test_values_and_gradients_stay_finite(loss, case):
    labels = np.zeros_like(LABELS) if case == "no foreground" else LABELS
    logits = {"sure and right": 200 * ONE_HOT - 100, "sure and wrong": 100 - 200 * ONE_HOT}.get(case, LOGITS)
    mask = np.zeros_like(MASK) if case == "empty mask" else None
    x = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = loss(x, labels, mask=mask)
    gradient = tape.gradient(value, x)
    assert np.isfinite(value).all() and np.isfinite(gradient).all()
    assert (np.asarray(value) >= -1e-6).all()
    if case == "empty mask":
        np.testing.assert_array_equal(value, np.zeros_like(value))
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 1.5])
def test_focal_gradients_are_finite_for_every_gamma(gamma):
    x = tf.Variable(200 * ONE_HOT - 100)
    with tf.GradientTape() as tape:
        value = s.focal(x, LABELS, gamma=gamma)
    assert np.isfinite(tape.gradient(value, x)).all()


@both
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_low_precision_logits_give_float32(loss, dtype):
    low = tf.cast(LOGITS, dtype)
    value = loss(low, LABELS)
    assert value.dtype == tf.float32
    np.testing.assert_array_equal(value, loss(tf.cast(low, tf.float32), LABELS))


@both
def test_samples_do_not_mix_and_dimensions_do_not_matter(loss):
    value = np.asarray(loss(LOGITS, LABELS))
    flat = loss(LOGITS.reshape(3, 20, 3), LABELS.reshape(3, 20))
    np.testing.assert_allclose(flat, value, rtol=1e-5)
    volume = tf.function(loss)(LOGITS.reshape(3, 2, 2, 5, 3), LABELS.reshape(3, 2, 2, 5))
    np.testing.assert_allclose(volume, value, rtol=1e-5)
    if loss is not s.batch_dice:
        assert value.shape == (3,)
        np.testing.assert_allclose(loss(LOGITS[1:2], LABELS[1:2]), value[1:2], rtol=1e-5)


@pytest.mark.parametrize("loss", SUPERVISED.values(), ids=SUPERVISED)
def test_labels_and_probabilities_are_one(loss):
    value = loss(LOGITS, LABELS)
    for target in (ONE_HOT, tf.cast(ONE_HOT, tf.float16), LABELS.astype("uint8")):
        np.testing.assert_allclose(loss(LOGITS, target), value, rtol=1e-5)
    with pytest.raises(ValueError, match="integer labels without, or probabilities with"):
        loss(LOGITS, LABELS.astype("float32"))
    with pytest.raises(ValueError, match="integer labels without, or probabilities with"):
        loss(LOGITS, LABELS[0])


def test_right_answers_cost_nothing_and_absent_classes_count_as_right():
    right = 200 * ONE_HOT - 100
    for loss in SUPERVISED.values():
        np.testing.assert_allclose(loss(right, LABELS), np.zeros_like(loss(right, LABELS)), atol=1e-6)
    background = np.eye(3, dtype="float32")[np.zeros_like(LABELS)] * 200 - 100
    np.testing.assert_allclose(s.soft_dice(background, np.zeros_like(LABELS)), np.zeros(3), atol=1e-6)


# --- ramp-ups ---------------------------------------------------------------------------------------------------------


def test_ramps():
    steps = np.array([-5, 0, 25, 50, 100, 1000])
    t = np.array([0, 0, 0.25, 0.5, 1, 1])
    np.testing.assert_allclose(s.sigmoid_rampup(steps, 100), np.exp(-5 * (1 - t) ** 2), rtol=1e-6)
    np.testing.assert_allclose(s.linear_rampup(steps, 100), t)
    np.testing.assert_allclose(s.cosine_rampdown(steps, 100), (1 + np.cos(np.pi * t)) / 2, atol=1e-6)
    assert [float(f(0, 0)) for f in (s.sigmoid_rampup, s.linear_rampup, s.cosine_rampdown)] == [1, 1, 0]
    graph = tf.function(lambda step: s.sigmoid_rampup(step, 100))
    assert float(graph(tf.constant(100, tf.int64))) == 1.0


# --- what does not fit ------------------------------------------------------------------------------------------------

STRETCHED = {"one sample for three": np.s_[:1], "one row for four": np.s_[:, :1], "one column for five": np.s_[..., :1]}


@both
@pytest.mark.parametrize("part", STRETCHED.values(), ids=STRETCHED)
def test_targets_and_masks_are_not_stretched(loss, part):
    """NumPy's rules would repeat them in silence, in a graph as well."""
    for call in (loss, tf.function(loss)):
        with pytest.raises(ValueError, match="does not fit"):
            call(LOGITS, LABELS[part])
        with pytest.raises(ValueError, match="does not fit"):
            call(LOGITS, LABELS, mask=MASK[part])
    with pytest.raises(ValueError, match="does not fit"):
        loss(LOGITS, LABELS, mask=MASK[..., None])


@pytest.mark.parametrize("loss", SUPERVISED.values(), ids=SUPERVISED)
def test_probabilities_are_not_stretched_and_open_sizes_are_looked_at_when_they_are_known(loss):
    for part in (ONE_HOT[:1], ONE_HOT[..., :1], ONE_HOT[..., :2]):
        with pytest.raises(ValueError, match="does not fit"):
            loss(LOGITS, part)
    signature = [tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, None, None], tf.int64)]
    graph = tf.function(loss, input_signature=signature, autograph=False)
    np.testing.assert_allclose(graph(LOGITS, LABELS), loss(LOGITS, LABELS), rtol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="does not fit"):
        graph(LOGITS, LABELS[:1])


@pytest.mark.parametrize("loss", SUPERVISED.values(), ids=SUPERVISED)
@pytest.mark.parametrize("strange", [255, -1, 3])
def test_a_label_that_is_no_class_is_an_error_where_it_counts(loss, strange):
    labels = LABELS.copy()
    labels[1, 2, 3] = strange
    with pytest.raises(ValueError, match="labels are not 0 to 2"):
        loss(LOGITS, labels)
    graph = tf.function(loss, autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="labels are not 0 to 2"):
        graph(tf.constant(LOGITS), tf.constant(labels))
    mask = np.ones(LABELS.shape, "float32")
    mask[1, 2, 3] = 0
    np.testing.assert_allclose(loss(LOGITS, labels, mask=mask), loss(LOGITS, LABELS, mask=mask), rtol=1e-6)
    with pytest.raises(ValueError, match="labels are not 0 to 2"):
        loss(LOGITS, labels, mask=1 - mask)


@pytest.mark.parametrize("loss", [s.soft_dice, s.batch_dice, s.cross_entropy, s.focal])
@pytest.mark.parametrize("weights", [(1, 2), (1, 2, 3, 4), (1, -1, 3), (1, np.nan, 1), (1, np.inf, 1), (0, 0, 0), 2.0])
def test_class_weights_are_one_for_each_class_and_not_negative(loss, weights):
    with pytest.raises(ValueError, match="class_weights"):
        loss(LOGITS, LABELS, class_weights=weights)


def test_some_class_that_counts_has_a_weight():
    """Without the background there would be 0 / 0."""
    with pytest.raises(ValueError, match="class_weights"):
        s.soft_dice(LOGITS, LABELS, class_weights=(1, 0, 0))
    only = s.soft_dice(LOGITS, LABELS, class_weights=(1, 0, 0), background=True)
    p, y = P[..., 0], ONE_HOT[..., 0]
    expected = 1 - (2 * (p * y).sum((1, 2)) + 1e-5) / ((p + y).sum((1, 2)) + 1e-5)
    np.testing.assert_allclose(only, expected, rtol=1e-5)


def test_noise_robust_dice_and_absolute_error_are_their_formulas():
    draw = np.random.default_rng(4)
    raw, labels = draw.normal(size=(2, 5, 6, 3)).astype("float32"), draw.integers(0, 3, (2, 5, 6))
    p, y = tf.nn.softmax(raw).numpy(), np.eye(3)[labels]
    away, size = (np.abs(p - y) ** 1.5)[..., 1:].sum((0, 1, 2)), (p**2 + y**2)[..., 1:].sum((0, 1, 2))
    np.testing.assert_allclose(s.noise_robust_dice(raw, labels), (away / size).mean(), rtol=1e-5)
    np.testing.assert_allclose(s.absolute_error(raw, labels), np.abs(p - y).mean((1, 2, 3)), rtol=1e-5)
    doubled = s.noise_robust_dice(raw, labels, total=lambda one: 2 * one)
    np.testing.assert_allclose(doubled, s.noise_robust_dice(raw, labels), rtol=1e-5)  # sums of two alike replicas
    sure = tf.Variable(100.0 * np.eye(3, dtype="float32")[labels])
    with tf.GradientTape() as tape:
        loss = s.noise_robust_dice(sure, labels, gamma=0.7)
    assert float(loss) < 1e-3 and np.isfinite(tape.gradient(loss, sure)).all()
