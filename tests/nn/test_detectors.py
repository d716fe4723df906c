"""Detectors against KerasCV's own losses and decoding, and what both must do."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed import compat
from tfmed.losses.boxes import focal, smooth_l1
from tfmed.nn import detectors
from tfmed.nn.yolov5 import YoloV5, yolov5
from tfmed.ops import boxes as ops

pytestmark = pytest.mark.current
SIZE = (64, 96)
ANCHORS = (8.0, 16.0, 32.0, 64.0, 128.0)
SMALL = {"widths": (2, 2, 2, 2), "blocks": (1, 1, 1, 1), "pyramid": 4, "convolutions": 1, "anchors": ANCHORS}
BOXES = tf.constant([[[4, 6, 40, 50], [50, 10, 90, 30]], [[10, 10, 30, 26], [-1, -1, -1, -1]]], tf.float32)
CLASSES = tf.constant([[0, 2], [1, -1]])


def made(name, seed=0, **options):
    if name == "retinanet":
        return detectors.retinanet(3, SIZE, seed=seed, **SMALL | options)
    if name == "yolov5":
        return yolov5(3, SIZE, widths=(2, 4, 4, 4, 4), depths=(1, 1, 1, 1), seed=seed, **options)
    return detectors.yolov8(3, SIZE, widths=(2, 2, 2, 2), depths=(1, 1, 1, 1), seed=seed, **options)


@pytest.fixture(scope="module", params=["retinanet", "yolov8", "yolov5"])
def detector(request):
    return made(request.param)


@pytest.fixture(scope="module")
def outputs(detector):
    """As of a network that has learnt something: not all scores alike."""
    rng, found = np.random.default_rng(3), detector.network(images())
    noisy = [np.asarray(one) + rng.normal(0, 0.5, one.shape) for one in found]
    if isinstance(detector, detectors.YoloV8):
        noisy[1] = np.clip(np.abs(noisy[1]), 0.01, 0.99)
    return [tf.constant(one, tf.float32) for one in noisy]


def images(seed=0):
    return tf.constant(np.random.default_rng(seed).uniform(0, 255, (2, *SIZE, 3)), tf.float32)


def test_losses_equal_keras_cv_s(detector, outputs):
    """The oracle is KerasCV's `compute_loss` on the same outputs; its RetinaNet has y before x."""
    from keras_cv import layers, losses, models

    if isinstance(detector, YoloV5):
        pytest.skip("KerasCV has no YOLOv5; see test_yolov5.py")
    if isinstance(detector, detectors.RetinaNet):
        backbone = models.ResNetBackbone(
            stackwise_filters=[2] * 4, stackwise_blocks=[1] * 4, stackwise_strides=[1, 2, 2, 2],
            include_rescaling=True, block_type="block", input_shape=(*SIZE, 3),
        )  # fmt: skip
        generator = layers.AnchorGenerator(
            bounding_box_format="xyxy", sizes=list(ANCHORS), aspect_ratios=[0.5, 1.0, 2.0],
            scales=[2 ** (k / 3) for k in range(3)], strides=[8, 16, 32, 64, 128], clip_boxes=True,
        )  # fmt: skip
        theirs = models.RetinaNet(backbone, 3, "xyxy", anchor_generator=generator)
        theirs.compile(box_loss="smoothl1", classification_loss="focal", optimizer="sgd")
        given = {"box": tf.gather(outputs[0], [1, 0, 3, 2], axis=-1), "classification": outputs[1]}
    else:
        backbone = models.YOLOV8Backbone(
            stackwise_channels=[2] * 4, stackwise_depth=[1] * 4, include_rescaling=True, activation="swish",
            input_shape=(*SIZE, 3),
        )  # fmt: skip
        theirs = models.YOLOV8Detector(backbone, 3, "xyxy", fpn_depth=1)
        theirs.compile(box_loss="ciou", classification_loss="binary_crossentropy", optimizer="sgd")
        given = {"boxes": outputs[0], "classes": outputs[1]}
    there = {"boxes": BOXES, "classes": tf.cast(CLASSES, tf.float32)}
    expected = float(theirs.compute_loss(images(), there, given, None))
    if isinstance(detector, detectors.YoloV8):  # whose box loss has another weight of the shape in KerasCV
        theirs_iou = losses.CIoULoss(bounding_box_format="xyxy", reduction="none")
        detector = detectors.YoloV8(detector.network, 3, SIZE, detector._encoder, theirs_iou)
    found = detector.losses(outputs, BOXES, CLASSES)
    assert sum(map(float, found.values())) == pytest.approx(expected, rel=1e-4)
    assert float(found["box"]) > 0 and float(found["class"]) > 0


def test_an_image_without_boxes(detector, outputs):
    none = detector.losses(outputs, tf.fill((2, 1, 4), -1.0), tf.fill((2, 1), -1))
    assert float(none["box"]) == 0 and np.isfinite(float(none["class"]))


def test_more_padding_changes_nothing(detector, outputs):
    more = tf.concat([BOXES, tf.fill((2, 3, 4), -1.0)], 1), tf.concat([CLASSES, tf.fill((2, 3), -1)], 1)
    one, other = detector.losses(outputs, BOXES, CLASSES), detector.losses(outputs, *more)
    for name, value in one.items():
        assert float(value) == pytest.approx(float(other[name]), rel=1e-6)


@pytest.mark.one_stack
def test_updates_lower_the_loss(detector):
    """A few updates on one image."""
    network, batch = detector.network, (images()[:1], BOXES[:1], CLASSES[:1])
    weights = [variable.numpy() for variable in network.weights]
    optimizer = keras.optimizers.Adam(0.05 if isinstance(detector, YoloV5) else 0.01)  # YOLOv5's gains are small
    optimizer.build(network.trainable_variables)
    variables, losses = [compat.tensor_variable(v) for v in network.trainable_variables], []
    for _ in range(6):  # without a graph, which takes longer to make than these few
        with tf.GradientTape() as tape:
            loss = tf.add_n(list(detector.losses(network(batch[0], training=True), *batch[1:]).values()))
        compat.apply_gradients(optimizer, tape.gradient(loss, variables), network.trainable_variables)
        losses.append(float(loss))
    assert losses[-1] < 0.9 * losses[0]
    for variable, value in zip(network.weights, weights, strict=True):
        variable.assign(value)


def test_boxes_lie_in_the_image_and_scores_from_0_to_1(detector, outputs):
    boxes, scores = (one.numpy() for one in detector.decoded(outputs))
    assert (boxes >= 0).all() and (boxes <= [96, 64, 96, 64]).all() and boxes.shape == (2, scores.shape[1], 4)
    assert (scores >= 0).all() and (scores <= 1).all() and scores.shape[2] == 3


@pytest.mark.one_stack
def test_a_seed_makes_the_weights():
    """Both detectors begin by the same function."""
    keras.utils.set_random_seed(7)
    one = made("retinanet")
    first = [v.numpy() for v in compat.weights(one.network)]
    keras.utils.set_random_seed(99)
    again, other = ([v.numpy() for v in compat.weights(made("retinanet", seed).network)] for seed in (0, 1))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


@pytest.mark.one_stack
def test_scores_begin_at_their_prior(detector):
    scores = detector.decoded(detector.network(tf.zeros((1, *SIZE, 3))))[1].numpy()
    assert 0.002 < scores.mean() < 0.05


@pytest.mark.one_stack
@pytest.mark.usefixtures("unfilled_weights")
def test_the_retinanet_of_the_paper_is_keras_cv_s_own():
    """As many weights as KerasCV's RetinaNet with ResNet-50; 3 convolutions in a head, 9 anchors a place."""
    head = lambda outputs: 3 * (256 * 256 * 9 + 256) + 256 * outputs * 9 + outputs  # noqa: E731
    pyramid = sum(4 * w * 256 + 256 for w in (128, 256, 512)) + 4 * (256 * 256 * 9 + 256) + 2048 * 256 * 9 + 256
    backbone = 23_561_152  # ResNet-50 without its classifier, with moving means
    found = detectors.retinanet(12, (64, 64)).network.count_params()
    assert found == backbone + pyramid + head(9 * 4) + head(9 * 12)


@pytest.mark.one_stack
def test_frozen_layers_and_weights_that_are_given(tmp_path):
    from keras_cv import models

    backbone = models.ResNetBackbone(
        stackwise_filters=[2] * 4, stackwise_blocks=[1] * 4, stackwise_strides=[1, 2, 2, 2],
        include_rescaling=True, block_type="block", input_shape=(*SIZE, 3),
    )  # fmt: skip
    path = str(tmp_path / "backbone.weights.h5")
    backbone.save_weights(path)
    network = made("retinanet", pretrained=path, frozen=True).network
    kernel = next(w for w in backbone.weights if "conv1" in w.name).numpy()
    assert any(w.shape == kernel.shape and (w.numpy() == kernel).all() for w in network.weights)
    trained = [tuple(w.shape) for w in network.trainable_weights]
    assert kernel.shape not in trained and not any("gamma" in w.name for w in network.trainable_weights)
    with pytest.raises(ValueError, match="no weights of this backbone"):
        made("retinanet", pretrained=str(tmp_path / "nothing.weights.h5"))


@pytest.mark.one_stack
def test_sides_are_multiples_of_32():
    with pytest.raises(ValueError, match="60 is no multiple of 32; try 64"):
        detectors.retinanet(3, (64, 60))


@pytest.mark.one_stack
def test_another_box_loss_of_yolov8_sees_boxes_in_units_of_the_stride(detector):
    if not isinstance(detector, detectors.YoloV8):
        pytest.skip("RetinaNet learns offsets")
    seen = []

    def loss(true, found):
        seen.append((true.numpy(), found.numpy()))
        return tf.reduce_sum(tf.abs(true - found), -1)

    one = detectors.YoloV8(detector.network, 3, SIZE, detector._encoder, loss)
    found = one.losses(one.network(images()), BOXES, CLASSES)
    true, answer = seen[0]
    learnt = true.any(-1)
    assert learnt.any() and (answer[~learnt] == 0).all() and float(found["box"]) > 0
    pixels = (true * one.strides)[learnt]
    assert all(any(np.allclose(row, box, atol=1e-3) for box in BOXES.numpy().reshape(-1, 4)) for row in pixels)


# --- losses and boxes as tensors --------------------------------------------------------------------------------------


def test_focal_and_smooth_l1_equal_keras_cv_s():
    from keras_cv import losses

    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(0, 3, (2, 5, 4)), tf.float32)
    target = tf.one_hot(rng.integers(-1, 4, (2, 5)), 4)
    theirs = losses.FocalLoss(from_logits=True, reduction="none")(target, logits)
    np.testing.assert_allclose(focal(target, logits), theirs, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        smooth_l1(target, logits), losses.SmoothL1Loss(reduction="none")(target, logits), rtol=1e-5
    )
    p = 1 / (1 + np.exp(-2.0))
    assert float(focal(tf.ones((1, 1)), tf.fill((1, 1), 2.0))[0]) == pytest.approx(
        -0.25 * (1 - p) ** 2 * np.log(p), rel=1e-5
    )


def test_overlaps_and_offsets():
    from tfmed.metrics.detection import pairwise_iou

    rng = np.random.default_rng(1)
    corner = rng.uniform(0, 50, (2, 7, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 30, (2, 7, 2))], -1).astype("float32")
    found = ops.pairwise_iou(tf.constant(boxes[0]), tf.constant(boxes)).numpy()
    np.testing.assert_allclose(found, pairwise_iou(boxes[0], boxes), atol=1e-6)
    again = ops.decode(ops.encode(tf.constant(boxes[0]), tf.constant(boxes[1])), tf.constant(boxes[1]))
    np.testing.assert_allclose(again, boxes[0], atol=1e-4)
    assert (ops.encode(tf.fill((3, 4), -1.0), tf.constant(boxes[0][:3])).numpy() == 0).all()
    assert (ops.encode(tf.constant(boxes[0][:3]), tf.constant([[5.0, 32, 9, 32]])).numpy() == 0).all()


def test_matching_has_a_gap_that_counts_for_nothing():
    anchors = tf.constant([[0, 0, 10, 10], [0, 0, 10, 4.5], [0, 0, 10, 3], [50, 50, 60, 60]], tf.float32)
    row, learnt, background = ops.matched(anchors, tf.constant([[[-1, -1, -1, -1], [0, 0, 10, 10]]], tf.float32))
    assert learnt.numpy().tolist() == [[True, False, False, False]]
    assert background.numpy().tolist() == [[False, False, True, True]] and int(row[0, 0]) == 1


def test_after_suppression_no_two_boxes_of_a_class_overlap_much():
    from tfmed.metrics.detection import pairwise_iou

    rng = np.random.default_rng(2)
    corner = rng.uniform(0, 40, (1, 80, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(8, 30, (1, 80, 2))], -1).astype("float32")
    scores = rng.random((1, 80, 3)).astype("float32")
    found = {name: value.numpy()[0] for name, value in ops.suppressed(boxes, scores, 0.3, 0.5, 240).items()}
    count = found["count"]
    kept, classes = found["boxes"][:count], found["classes"][:count]
    overlap = pairwise_iou(kept, kept) * (classes[:, None] == classes) * ~np.eye(count, dtype=bool)
    assert 5 < count < 240 and overlap.max() <= 0.5 and (found["scores"][:count] >= 0.3).all()
    assert (np.diff(found["scores"][:count]) <= 0).all() and (found["classes"][count:] == -1).all()
    best = np.unravel_index(scores.argmax(), scores.shape)
    np.testing.assert_array_equal(kept[0], boxes[0, best[1]])
    assert classes[0] == best[2]
