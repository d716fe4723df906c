"""Losses of boxes: the side loss, and what it does to complete IoU."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.losses.boxes import complete_iou, complete_iou_and_side, side_loss
from tfmed.metrics.detection import overshoot


def some_boxes(count, seed=0):
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(0, 50, (2, count, 2))
    return np.concatenate([corner, corner + side + 1], -1).astype("float32")


@pytest.mark.one_stack
def test_the_side_loss_is_the_sum_of_what_sticks_out():
    true, found = some_boxes(500), some_boxes(500, 1)
    expected = [sum(max(0, d) for d in (t[0] - f[0], t[1] - f[1], f[2] - t[2], f[3] - t[3]))
                for t, f in zip(true, found, strict=True)]  # fmt: skip
    loss = side_loss(tf.constant(true), tf.constant(found)).numpy()
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(overshoot(found, true), expected, rtol=1e-5, atol=1e-4)
    inside = (found[:, :2] >= true[:, :2]).all(-1) & (found[:, 2:] <= true[:, 2:]).all(-1)
    assert inside.any() and ((loss == 0) == inside).all()
    assert (side_loss(tf.constant(true), tf.constant(true)).numpy() == 0).all()
    outward = np.array([-1, -1, 1, 1], "float32")
    np.testing.assert_allclose(side_loss(true, true + 2 * outward), 8, rtol=1e-4)
    assert (side_loss(true, true - 0.25 * outward).numpy() == 0).all()
    np.testing.assert_allclose(side_loss(true + 7, found + 7), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(side_loss(true * 3, found * 3), 3 * np.array(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.one_stack
def test_its_gradient_is_one_on_sides_that_stick_out_and_nothing_elsewhere():
    true = tf.constant([[10.0, 10, 20, 20]] * 3)
    found = tf.Variable([[8.0, 12, 22, 19], [10, 10, 20, 20], [12, 8, 18, 25]])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(side_loss(true, found))
    assert tape.gradient(loss, found).numpy().tolist() == [[-1, 0, 1, 0], [0, 0, 0, 0], [0, -1, 0, 1]]
    nothing = tf.zeros((0, 4))
    assert float(tf.reduce_sum(side_loss(nothing, nothing))) == 0
    assert side_loss(tf.zeros((2, 5, 4)), tf.zeros((2, 5, 4))).numpy().tolist() == [[0] * 5] * 2


@pytest.mark.parametrize("width, stride, margin, under, over, with_side", [
    (100, 8, 5, 0.190, 0.174, 0.257), (100, 32, 5, 0.190, 0.174, 0.194),
    (100, 32, 10, 0.360, 0.306, 0.347), (200, 32, 10, 0.190, 0.174, 0.215),
])  # fmt: skip
def test_boxes_that_stick_out_cost_more_with_it(width, stride, margin, under, over, with_side):
    """Squares of one centre, whose complete IoU is the overlap itself, in units of the stride."""
    true = np.array([[300.0, 300, 300 + width, 300 + width]], "float32")
    outward = margin * np.array([-1, -1, 1, 1], "float32")
    plain, both = complete_iou_and_side(0), complete_iou_and_side(1 / 30)

    def loss(function, box):
        return float(tf.squeeze(function(tf.constant(true / stride), tf.constant(box / stride))))

    assert loss(plain, true - outward) == pytest.approx(under, abs=6e-4)
    assert loss(both, true - outward) == pytest.approx(under, abs=6e-4)
    assert loss(plain, true + outward) == pytest.approx(over, abs=6e-4)
    assert loss(both, true + outward) == pytest.approx(with_side, abs=6e-4)


def test_complete_iou_equals_keras_cv_s_where_boxes_have_one_shape():
    """KerasCV weighs a difference in shape otherwise than Zheng et al. 2020, Eq. 9."""
    from keras_cv.losses import CIoULoss

    true = some_boxes(200)[None]
    middle, side = (true[..., :2] + true[..., 2:]) / 2, true[..., 2:] - true[..., :2]
    rng = np.random.default_rng(2)
    middle, side = middle + rng.normal(0, 5, middle.shape), side * rng.uniform(0.5, 2, (1, 200, 1))
    found = np.concatenate([middle - side / 2, middle + side / 2], -1).astype("float32")
    expected = CIoULoss(bounding_box_format="xyxy", reduction="none")(true, found)
    np.testing.assert_allclose(complete_iou(tf.constant(true), tf.constant(found)), expected, atol=2e-5)


def test_complete_iou_of_another_shape():
    true, found = tf.constant([[0.0, 0, 4, 4]]), tf.constant([[1.0, 0, 3, 8]])  # middles 2 apart, diagonal^2 16 + 64
    overlap = 8 / (16 + 16 - 8)
    shape = 4 / np.pi**2 * (np.arctan(1) - np.arctan(2 / 8)) ** 2
    expected = 1 - overlap + 4 / 80 + shape**2 / (1 - overlap + shape)
    assert float(complete_iou(true, found)[0]) == pytest.approx(expected, rel=1e-5)
    assert float(complete_iou(true, true)[0]) == pytest.approx(0, abs=1e-6)


def test_the_side_loss_is_added():
    true, found = (tf.constant(some_boxes(200, seed)[None]) for seed in (0, 1))
    both = complete_iou_and_side(0.05)(true, found)
    assert both.shape == (1, 200)
    expected = 0.05 * overshoot(found.numpy(), true.numpy())
    np.testing.assert_allclose(both - complete_iou(true, found), expected, rtol=1e-3, atol=1e-4)
