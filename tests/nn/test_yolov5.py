"""YOLOv5 against a loop over boxes, anchors and cells, and its published size."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfmed.nn import yolov5 as code
from tfmed.nn.yolov5 import YoloV5, yolov5

pytestmark = pytest.mark.current
SIZE, CLASSES = (64, 96), 3
BOXES = np.array([[[4, 6, 40, 50], [50, 10, 90, 30], [70, 40, 95, 63]], [[10, 10, 30, 26], [12, 12, 33, 25], [-1] * 4]],
                 np.float32)  # fmt: skip
KINDS = np.array([[0, 2, 1], [1, 2, -1]])
SMALL = {"widths": (2, 4, 4, 4, 4), "depths": (1, 1, 1, 1)}
GAINS = (0.05, 1.0, 0.5)


@pytest.fixture(scope="module")
def detector():
    return yolov5(CLASSES, SIZE, **SMALL)


@pytest.fixture(scope="module")
def outputs():
    rng = np.random.default_rng(0)
    return [rng.normal(0, 1, (2, SIZE[0] // s, SIZE[1] // s, 3 * (5 + CLASSES))).astype("float32") for s in (8, 16, 32)]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def entropy(target, logit):
    return -(target * math.log(sigmoid(logit)) + (1 - target) * math.log(1 - sigmoid(logit)))


def complete_iou(one, other):
    """Zheng et al. 2020, of two boxes."""
    inside = np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0).prod()
    (w, h), (v, g) = one[2:] - one[:2], other[2:] - other[:2]
    overlap = inside / (w * h + v * g - inside)
    away = (((one[:2] + one[2:]) - (other[:2] + other[2:])) ** 2).sum() / 4
    around = ((np.maximum(one[2:], other[2:]) - np.minimum(one[:2], other[:2])) ** 2).sum()
    shape = 4 / math.pi**2 * (math.atan(w / h) - math.atan(v / g)) ** 2
    return overlap - away / around - shape * shape / (1 - overlap + shape + 1e-9)


def by_loop(outputs, boxes, kinds, side_ratio=0.0):
    """{"box", "objectness", "class"} as the release says, one box, anchor and cell at a time."""
    anchors = np.array(code.ANCHORS, float).reshape(3, 3, 2)
    sums = dict.fromkeys(("box", "objectness", "class"), 0.0)
    for level, (stride, maps) in enumerate(zip((8, 16, 32), outputs, strict=True)):
        n, rows, columns, _ = maps.shape
        maps, target, lost, classed = maps.reshape(n, rows, columns, 3, -1).astype(float), {}, [], []
        for image in range(n):
            for box, kind in zip(boxes[image] / stride, kinds[image], strict=True):
                if kind < 0:
                    continue
                middle, side = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
                cells = {(int(middle[0]), int(middle[1]))}
                for axis, last in ((0, columns), (1, rows)):
                    part, step = middle[axis] % 1, np.eye(2, dtype=int)[axis]
                    if part < 0.5 and middle[axis] > 1:
                        cells.add(tuple(middle.astype(int) - step))
                    if part > 0.5 and last - middle[axis] > 1:
                        cells.add(tuple(middle.astype(int) + step))
                for number, anchor in enumerate(anchors[level] / stride):
                    if max((side / anchor).max(), (anchor / side).max()) >= 4:
                        continue
                    for x, y in cells:
                        answer = maps[image, y, x, number]
                        centre = 2 * sigmoid(answer[:2]) - 0.5 + (x, y)
                        half = (2 * sigmoid(answer[2:4])) ** 2 * anchor / 2
                        made = np.concatenate([centre - half, centre + half])
                        overlap = complete_iou(made, box)
                        out = np.maximum([*(box[:2] - made[:2]), *(made[2:] - box[2:])], 0).sum()
                        lost.append(1 - overlap + side_ratio * out)
                        place = image, y, x, number
                        target[place] = max(target.get(place, 0.0), overlap, 0.0)
                        classed.append(np.mean([entropy(k == kind, answer[5 + k]) for k in range(CLASSES)]))
        sure = [entropy(target.get(place, 0.0), maps[place][4]) for place in np.ndindex(n, rows, columns, 3)]
        sums["box"] += np.mean(lost) if lost else 0
        sums["class"] += np.mean(classed) if classed else 0
        sums["objectness"] += (4.0, 1.0, 0.4)[level] * np.mean(sure)
    area = SIZE[0] * SIZE[1] / 640**2
    gains = {"box": GAINS[0], "objectness": GAINS[1] * area, "class": GAINS[2] * CLASSES / 80}
    return {name: 2 * gains[name] * value for name, value in sums.items()}


def test_losses_equal_a_loop(detector, outputs):
    found = detector.losses(list(map(tf.constant, outputs)), tf.constant(BOXES), tf.constant(KINDS))
    for name, value in by_loop(outputs, BOXES, KINDS).items():
        assert float(found[name]) == pytest.approx(value, rel=1e-4), name


def test_the_side_loss_is_in_units_of_the_stride(detector, outputs):
    from tfmed.losses.boxes import complete_iou_and_side

    one = YoloV5(detector.network, CLASSES, SIZE, box_loss=complete_iou_and_side(1 / 30))
    found = one.losses(list(map(tf.constant, outputs)), tf.constant(BOXES), tf.constant(KINDS))
    expected, plain = (by_loop(outputs, BOXES, KINDS, ratio) for ratio in (1 / 30, 0.0))
    assert float(found["box"]) == pytest.approx(expected["box"], rel=1e-4)
    assert expected["box"] > 1.001 * plain["box"]
    assert float(found["objectness"]) == pytest.approx(plain["objectness"], rel=1e-4)


def test_no_gradient_reaches_the_target_of_the_objectness(detector, outputs):
    given = [tf.Variable(one) for one in outputs]
    with tf.GradientTape() as tape:
        loss = detector.losses([tf.convert_to_tensor(one) for one in given], tf.constant(BOXES), tf.constant(KINDS))
        loss = loss["objectness"]
    slopes = [slope.numpy().reshape(-1, 5 + CLASSES) for slope in tape.gradient(loss, given)]
    assert all((np.delete(slope, 4, 1) == 0).all() and slope[:, 4].any() for slope in slopes)


def test_what_is_decoded_is_what_is_learnt(detector):
    """Answers that are right for an anchor give the box back, and the product of both scores."""
    maps = [np.full((1, SIZE[0] // s, SIZE[1] // s, 3, 5 + CLASSES), -20, "float32") for s in (8, 16, 32)]
    box, anchor = np.array([18.0, 20, 34, 44]), np.array(code.ANCHORS[2], float)  # of stride 8
    x, y = (int(one) for one in (box[:2] + box[2:]) / 16)
    share = ((box[:2] + box[2:]) / 16 - (x, y) + 0.5) / 2
    half = np.sqrt((box[2:] - box[:2]) / anchor) / 2
    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    maps[0][0, y, x, 2] = [*logit(share), *logit(half), logit(0.8), -20, logit(0.5), -20]
    boxes, scores = detector.decoded([tf.constant(one.reshape(*one.shape[:3], -1)) for one in maps])
    best = int(tf.argmax(tf.reduce_max(scores[0], -1)))
    np.testing.assert_allclose(boxes[0, best], box, atol=1e-3)
    np.testing.assert_allclose(scores[0, best], [0, 0.4, 0], atol=1e-5)


def test_one_class_needs_no_class_maps():
    one = yolov5(1, SIZE, **SMALL)
    outputs = one.network(tf.zeros((1, *SIZE, 3)))
    assert [int(maps.shape[-1]) for maps in outputs] == [15] * 3 and one.terms == ("box", "objectness")
    found = one.losses(outputs, tf.constant(BOXES[:1]), tf.constant([[0, 0, -1]]))
    assert set(found) == {"box", "objectness"} and one.decoded(outputs)[1].shape == (1, 378, 1)


@pytest.mark.one_stack
@pytest.mark.usefixtures("unfilled_weights")
def test_its_small_form_has_the_published_size():
    network = yolov5(80, (64, 64)).network
    assert sum(int(np.prod(one.shape)) for one in network.trainable_variables) == 7_276_605
