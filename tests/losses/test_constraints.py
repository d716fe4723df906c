"""Losses that constrain sums: closed forms, a loop over stripes, where their gradients are, boxes that are none."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmed.losses import constraints as c

pytestmark = pytest.mark.current

NONE = (0, 0, 0, 0)


def boxes(*given):
    """One box per sample, `(n, 1, 4)`."""
    return tf.constant(given, tf.int32)[:, None]


def probabilities(seed, shape=(2, 23, 31)):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def barrier(z, t):
    """The formula, of a number, in double precision."""
    if z <= -1 / t**2:
        return -math.log(-z) / t
    return t * z - math.log(1 / t**2) / t + 1 / t


def slacks(p, box, width):
    """z of each stripe of a box, one by one."""
    y0, y1, x0, x1 = box
    rows = [p[y : min(y + width, y1), x0:x1] for y in range(y0, y1, width)]
    columns = [p[y0:y1, x : min(x + width, x1)] for x in range(x0, x1, width)]
    return [len(s) - s.sum(dtype=float) for s in rows], [s.shape[1] - s.sum(dtype=float) for s in columns]


# --- the barrier ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [1.0, 5.0, 534.0, 1000.0])
def test_the_barrier_is_the_formula_smooth_and_convex(t):
    edge = -1 / t**2
    z = np.concatenate([-np.logspace(6, -5, 200), [0.0], np.logspace(-5, 6, 200), edge * np.array([1.001, 1, 0.999])])
    z = tf.constant(np.sort(z), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = c.extended_log_barrier(z, t)
    slope = tape.gradient(value, z).numpy()
    np.testing.assert_allclose(value, [barrier(float(one), t) for one in z], rtol=2e-5, atol=1e-5)
    assert np.isfinite(slope).all() and (slope > 0).all()
    assert (np.diff(slope) >= -1e-6 * t).all() and (np.diff(value) >= 0).all()
    near = c.extended_log_barrier(tf.constant([edge * 1.0001, edge * 0.9999]), t).numpy()
    assert abs(near[0] - near[1]) < 2e-3 / t  # continuous
    expected = np.where(z <= edge, 1 / (t * np.maximum(-z, 1e-30)), t)
    np.testing.assert_allclose(slope, np.minimum(expected, t), rtol=1e-4)


@settings(max_examples=40)
@given(st.floats(-1e6, 1e6, width=32), st.floats(1, 1000, width=32))
def test_the_barriers_gradient_is_finite_everywhere(z, t):
    z = tf.constant(z, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = c.extended_log_barrier(z, t)
    slope = float(tape.gradient(value, z))
    assert np.isfinite(float(value)) and 0 < slope <= t * (1 + 1e-5)


def test_barriers_harden_by_a_tenth_each_epoch():
    found = [float(c.barrier_hardness(step, 500, 50, 5.0, 1.1)) for step in (0, 9, 10, 499, 10_000)]
    np.testing.assert_allclose(found, [5, 5, 5.5, 5 * 1.1**49, 5 * 1.1**49], rtol=1e-5)
    few = [float(c.barrier_hardness(step, 3, 50, 5.0, 1.1)) for step in range(3)]  # fewer steps than epochs
    np.testing.assert_allclose(few, 5 * 1.1 ** np.array([0, 16, 33]), rtol=1e-5)


# --- stripes ----------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.data())
def test_stripes_are_those_of_a_loop(data):
    height, length = data.draw(st.integers(1, 24)), data.draw(st.integers(1, 24))
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, length - 1))
    box = (y0, data.draw(st.integers(y0 + 1, height)), x0, data.draw(st.integers(x0 + 1, length)))
    width, t = data.draw(st.integers(1, 26)), data.draw(st.floats(1, 500))
    p = probabilities(height * 100 + length, (1, height, length))
    z, used = (found[0, 0].numpy() for found in c.stripes(p, boxes(box), width))
    rows, columns = slacks(p[0], box, width)
    assert used.sum() == len(rows) + len(columns)
    assert len(rows) == math.ceil((box[1] - box[0]) / width) and len(columns) == math.ceil((box[3] - box[2]) / width)
    np.testing.assert_allclose(z[used], [*rows, *columns], atol=1e-4)
    expected = sum(barrier(one, t) for one in (*rows, *columns))
    np.testing.assert_allclose(c.tightness(p, boxes(box), t, width)[0], expected, rtol=1e-3, atol=1e-3)


def test_an_empty_prediction_lacks_each_stripes_width():
    z, used = c.stripes(np.zeros((1, 40, 40)), boxes((3, 25, 5, 39)), 5)
    assert z[used].numpy().tolist() == [5, 5, 5, 5, 2, 5, 5, 5, 5, 5, 5, 4]


def object_mask(seed, side=64):
    """A connected object: a ring, a blob and a bar across both."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    a, b = rng.uniform(20, 44, 2)
    far = np.hypot(y - a, (x - b) * rng.uniform(0.6, 1.4))
    mask = (far < 15) & (far > 11)
    mask[int(a), int(b) :] |= (x[0] < b + 18)[int(b) :]
    mask[int(a) - 17 : int(a) + 1, int(b)] = True
    return mask


@pytest.mark.parametrize("width", [1, 2, 5, 10, 20])
@pytest.mark.parametrize("seed", range(3))
def test_a_perfect_prediction_keeps_every_stripe_of_its_tight_box_and_breaks_those_of_a_wide_one(seed, width):
    from tfmed.data.boxes import enlarged, tight_box

    mask = np.pad(object_mask(seed), 45)
    tight = tight_box(mask)
    z, used = c.stripes(mask[None].astype("float32"), tight[None, None], width)
    assert float(tf.reduce_max(z[used])) <= 0
    wide = enlarged(tight, 2 * width, mask.shape)
    z, used = c.stripes(mask[None].astype("float32"), wide[None, None], width)
    assert float(tf.reduce_max(z[used])) == width


def test_axes_may_be_exchanged():
    p, box = probabilities(1), boxes((2, 19, 5, 30), (0, 23, 7, 8))
    turned = c.tightness(p.transpose(0, 2, 1), tf.gather(box, [2, 3, 0, 1], axis=-1), 7.0, 4)
    np.testing.assert_allclose(c.tightness(p, box, 7.0, 4), turned, rtol=1e-5)


def test_large_slices_lose_no_hundredths():
    """A stripe far down a full slice: running sums in float32 would be off by more than the barrier's edge."""
    p = np.full((1, 512, 512), 0.9, np.float32)
    p[0, 505:510] = 0.0
    p[0, 507, 200:205] = 0.998
    z, used = c.stripes(p, boxes((0, 512, 0, 512)), 5)
    rows, columns = slacks(p[0].astype(float), (0, 512, 0, 512), 5)
    np.testing.assert_allclose(z[used], [*rows, *columns], atol=2e-3, rtol=1e-6)
    assert float(z[0, 0, 101]) == pytest.approx(5 - 5 * 0.998, abs=1e-5)


# --- where gradients are ----------------------------------------------------------------------------------------------


def gradient(loss, values):
    values = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(values)
        found = loss(values)
    return tape.gradient(found, values).numpy()


def test_cross_entropy_is_of_the_outside_and_tightness_of_the_inside():
    logits = np.random.default_rng(0).normal(0, 2, (2, 23, 31, 2)).astype("float32")
    box = boxes((4, 15, 6, 20), (0, 23, 0, 31))
    within = c.inside(box, 23, 31).numpy()
    assert within[0].sum() == 11 * 14 and within[0, 4:15, 6:20].all() and within[1].all()
    outside = gradient(lambda x: c.background_cross_entropy(x, box), logits)
    assert (outside[within] == 0).all() and (np.abs(outside[~within]).max(-1) > 0).all()
    tight = gradient(lambda p: c.tightness(p, box, 5.0), probabilities(3))
    assert (tight[~within] == 0).all() and (tight[within] < 0).all()
    s = tf.nn.softmax(logits)[0, ..., 1].numpy()
    found = c.background_cross_entropy(logits, box)
    np.testing.assert_allclose(found, [-np.log(1 - s[~within[0]]).mean(), 0], rtol=1e-4)


def test_size_and_emptiness_are_the_formulas():
    p, box, t = probabilities(5), (4, 15, 6, 20), 8.0
    total, area, pixels = p.sum((1, 2), dtype=float), 11 * 14, 23 * 31
    expected = [(barrier(s - 0.9 * area, t) + barrier(0.5 * area - s, t)) / pixels for s in total]
    np.testing.assert_allclose(c.size(p, boxes(box, box), t), expected, rtol=1e-4)
    outside = total - p[:, 4:15, 6:20].sum((1, 2), dtype=float)
    np.testing.assert_allclose(c.emptiness(p, boxes(box, box), t), [barrier(s, t) / pixels for s in outside], rtol=1e-4)
    slope = gradient(lambda x: c.emptiness(x, boxes(box, box), t), p)
    within = c.inside(boxes(box, box), 23, 31).numpy()
    np.testing.assert_allclose(slope[~within], t / pixels, rtol=1e-5)
    assert (slope[within] == 0).all()


@pytest.mark.parametrize("box", [NONE, (5, 5, 3, 9), (5, 9, 3, 3)])
def test_a_box_without_pixels_is_none(box):
    """All but the cross-entropy of the whole slice is 0 then, and has no gradient."""
    for loss in (c.tightness, c.size, c.emptiness):
        found = gradient(lambda p, loss=loss: loss(p, boxes(box), 5.0), probabilities(1, (1, 12, 12)))
        assert (found == 0).all()
        assert float(loss(probabilities(1, (1, 12, 12)), boxes(box), 5.0)[0]) == 0
    logits = np.random.default_rng(0).normal(0, 2, (1, 12, 12, 2)).astype("float32")
    expected = -tf.reduce_mean(tf.nn.log_softmax(logits)[..., 0])
    np.testing.assert_allclose(c.background_cross_entropy(logits, boxes(box)), [expected], rtol=1e-5)


def test_several_boxes_of_a_slice():
    """Each has its own stripes; the outside is what none of them holds; their area counts once where they overlap."""
    p, pair = probabilities(2, (1, 20, 20)), ((2, 9, 3, 8), (6, 18, 5, 19))
    both = tf.constant([[*pair, NONE]], tf.int32)
    alone = sum(float(c.tightness(p, boxes(one), 6.0, 3)[0]) for one in pair)
    np.testing.assert_allclose(c.tightness(p, both, 6.0, 3), [alone], rtol=1e-5)
    mask = np.zeros((20, 20), bool)
    for y0, y1, x0, x1 in pair:
        mask[y0:y1, x0:x1] = True
    np.testing.assert_array_equal(c.inside(both, 20, 20)[0], mask)
    total, area = p.sum(dtype=float), mask.sum()
    expected = (barrier(total - 0.9 * area, 6) + barrier(0.5 * area - total, 6)) / 400
    np.testing.assert_allclose(c.size(p, both, 6.0), [expected], rtol=1e-4)


def test_losses_run_in_graphs_of_any_size_and_precision():
    run = tf.function(lambda p, b: c.tightness(p, b, 5.0), reduce_retracing=True)
    for shape in ((1, 12, 9), (2, 7, 30)):
        p, box = probabilities(0, shape), boxes(*[(1, 6, 2, 8)] * shape[0])
        np.testing.assert_allclose(run(p, box), c.tightness(p, box, 5.0), rtol=1e-5)
        assert c.tightness(tf.cast(p, tf.bfloat16), box, 5.0).dtype == tf.float32
    with pytest.raises(ValueError, match="at least one line"):
        c.stripes(p, box, 0)
