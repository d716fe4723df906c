"""Average precision against pycocotools and by hand."""

import contextlib
import io

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfmed.metrics.detection import Boxes, average_precision, match, pairwise_iou


def boxes_of(rng, count, side=40):
    corner, size = rng.integers(0, side, (count, 2)), rng.integers(1, side // 2, (count, 2))
    return np.concatenate([corner, corner + size], 1).astype(float)


def images(seed, count=12, classes=3, most=8, levels=5):
    """(detections, references): moved references and others, with scores of a few levels, so that many are equal."""
    rng, found, truth = np.random.default_rng(seed), [], []
    for _ in range(count):
        true = boxes_of(rng, rng.integers(0, most))
        numbers = rng.integers(0, classes, len(true))
        moved = true + rng.integers(-1, 2, true.shape)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        boxes = np.concatenate([moved, moved[: len(moved) // 2] + 1, boxes_of(rng, rng.integers(0, most))])
        guessed = rng.integers(0, classes, len(boxes))
        guessed[: len(true)] = np.where(rng.random(len(true)) < 0.8, numbers, guessed[: len(true)])
        found.append(Boxes(boxes, guessed, rng.integers(1, levels + 1, len(boxes)) / levels))
        truth.append(Boxes(true, numbers))
    return found, truth


def by_pycocotools(found, truth, classes):
    """(precision of boxes of all sizes `(T, 101, K)`, recall `(T, K)`); -1 without references."""
    from pycocotools import coco, cocoeval

    def rows(sets):
        kept = []
        for image, boxes in enumerate(sets):
            scores = np.zeros(len(boxes.classes)) if boxes.scores is None else boxes.scores
            for (x0, y0, x1, y1), number, score in zip(boxes.boxes, boxes.classes, scores, strict=True):
                box = [float(x0), float(y0), float(x1 - x0), float(y1 - y0)]
                kept.append({"id": len(kept) + 1, "image_id": image, "category_id": int(number), "bbox": box,
                             "area": box[2] * box[3], "iscrowd": 0, "score": float(score)})  # fmt: skip
        return kept

    with contextlib.redirect_stdout(io.StringIO()):
        reference = coco.COCO()
        reference.dataset = {"images": [{"id": k} for k in range(len(truth))], "annotations": rows(truth),
                             "categories": [{"id": k} for k in range(classes)]}  # fmt: skip
        reference.createIndex()
        run = cocoeval.COCOeval(reference, reference.loadRes(rows(found)), "bbox")
        run.evaluate()
        run.accumulate()
    return run.eval["precision"][:, :, :, 0, 2], run.eval["recall"][:, :, 0, 2]


def same_as_pycocotools(found, truth, classes):
    ours = average_precision(found, truth, classes)
    precision, recall = by_pycocotools(found, truth, classes)
    np.testing.assert_allclose(np.nan_to_num(ours.precision, nan=-1), precision, atol=1e-12)
    np.testing.assert_allclose(np.nan_to_num(ours.recall, nan=-1), recall, atol=1e-12)
    return ours


@pytest.mark.parametrize("seed", range(8))
def test_equals_pycocotools(seed):
    """Equal scores, boxes that are found twice, images without any; the last class has no references."""
    assert 0.05 < same_as_pycocotools(*images(seed), classes=4).mean < 0.95


def test_equals_pycocotools_where_an_image_has_more_boxes_than_count():
    assert np.isfinite(same_as_pycocotools(*images(0, count=2, classes=1, most=150, levels=300), classes=1).mean)


def test_equals_pycocotools_on_cells(real_data):
    """Boxes of blood cells, and the same moved by some pixels."""
    folder = real_data / "blood_cells_bccd"
    if not folder.is_dir():
        pytest.skip("blood_cells_bccd is not among the real data sets")
    truth, found, rng = [], [], np.random.default_rng(0)
    table = pandas.read_csv(folder / "boxes.csv")
    names = sorted(set(table["class_name"]))
    for _, rows in table.groupby("image"):
        true = rows[["xmin", "ymin", "xmax", "ymax"]].to_numpy(float)
        numbers = np.array([names.index(name) for name in rows["class_name"]])
        area = (true[:, 2] > true[:, 0]) & (true[:, 3] > true[:, 1])
        truth.append(Boxes(true[area], numbers[area]))
        moved = true[area] + rng.normal(0, 6, (area.sum(), 4)).round()
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        found.append(Boxes(moved, numbers[area], rng.random(area.sum())))
    assert len(truth) > 20 and 0.1 < same_as_pycocotools(found, truth, len(names)).mean < 0.9


def test_precision_by_hand():
    """Right, wrong, right of three references: precision 1 up to recall 1/3, 2/3 up to 2/3, 0 beyond."""
    truth = [Boxes([[0, 0, 10, 10], [20, 0, 30, 10]], [0, 0]), Boxes([[0, 0, 8, 8]], [0])]
    found = [Boxes([[0, 0, 10, 10], [50, 50, 60, 60]], [0, 0], [0.9, 0.8]), Boxes([[0, 0, 8, 8]], [0], [0.7])]
    one = average_precision(found, truth, 1, overlaps=0.5)
    np.testing.assert_allclose(one.precision[0, :, 0], [1] * 34 + [2 / 3] * 33 + [0] * 34)
    assert one.recall.tolist() == [[2 / 3]] and one.at(0.5) == one.mean == pytest.approx((34 + 22) / 101)


def test_overlaps_decide():
    """A box that is half of the other counts at 0.5, no longer at 0.55."""
    found = average_precision([Boxes([[0, 0, 10, 5]], [0], [1])], [Boxes([[0, 0, 10, 10]], [0])], 1)
    assert found.at(0.5) == 1 and found.at(0.55) == 0 and found.per_class.tolist() == [pytest.approx(0.1)]
    with pytest.raises(ValueError, match=r"overlap 0.3 is none of 0.5, 0.55"):
        found.at(0.3)


def test_one_detection_twice_and_shifted():
    """Perfect: 1. Found twice, the second counts as false; its place behind the first one costs nothing.
    Shifted to an overlap of 0.6 it counts at 0.50, 0.55 and 0.60 alone."""
    truth = [Boxes([[0, 0, 10, 10]], [0])]

    def mean(*boxes, scores):
        return average_precision([Boxes(list(boxes), [0] * len(boxes), scores)], truth, 1).mean

    assert mean([0, 0, 10, 10], scores=[0.5]) == 1
    assert mean([0, 0, 10, 10], [0, 0, 10, 10], scores=[0.9, 0.8]) == 1
    two = [Boxes([[0, 0, 10, 10], [30, 0, 40, 10]], [0, 0])]
    twice = average_precision([Boxes([[0, 0, 10, 10]] * 2 + [[30, 0, 40, 10]], [0] * 3, [0.9, 0.8, 0.7])], two, 1)
    assert twice.mean == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert mean([2.5, 0, 12.5, 10], scores=[0.5]) == pytest.approx(0.3)


def test_none_found_and_none_there():
    nothing = Boxes(np.zeros((0, 4)), [])
    assert average_precision([Boxes([], [], [])], [Boxes([[0, 0, 1, 1]], [1])], 2).mean == 0
    assert np.isnan(average_precision([Boxes([], [], [])], [nothing], 2).mean)
    assert match(np.zeros((0, 4)), [], [[0, 0, 1, 1]]).shape == (0,)


@pytest.mark.parametrize("boxes, message", [
    (Boxes([[0, 0, 10, 0]], [0], [1]), r"detections of image 0: \[0.0, 0.0, 10.0, 0.0\] is no box"),
    (Boxes([[0, 0, np.inf, 1]], [0], [1]), "is no box"),
    (Boxes([[0, 0, 1, 1]], [2], [1]), "detections of image 0: a class is not from 0 to 1"),
    (Boxes([[0, 0, 1, 1]], [0], [np.nan]), "a score is NaN"),
    (Boxes([[0, 0, 1, 1]], [0, 1], [1, 1]), "boxes, classes and scores differ in length"),
])  # fmt: skip
def test_what_cannot_be_is_refused(boxes, message):
    with pytest.raises(ValueError, match=message):
        average_precision([boxes], [Boxes([[0, 0, 1, 1]], [0])], 2)
    with pytest.raises(ValueError, match="detections of 1 images and references of 2"):
        average_precision([boxes], [boxes] * 2, 2)


@given(st.integers(0, 2**32 - 1))
def test_what_is_matched(seed):
    """Each reference once, by the overlap that is asked for; turned by a quarter the same; scores alone order them."""
    rng = np.random.default_rng(seed)
    references, boxes, scores = boxes_of(rng, 5), boxes_of(rng, 7), rng.permutation(7) / 7
    boxes[:3] = references[:3] + rng.integers(0, 2, (3, 4))
    found = match(boxes, scores, references, 0.3)
    taken = found[found >= 0]
    overlap = pairwise_iou(boxes, references)
    assert len(set(taken)) == len(taken) and (overlap[np.flatnonzero(found >= 0), taken] >= 0.3).all()
    best = scores.argmax()
    assert (found[best] >= 0) == (overlap[best].max() >= 0.3)
    free = sorted(set(range(5)) - set(taken))
    assert (overlap[np.ix_(found < 0, free)] < 0.3).all()
    turned = match(boxes[:, [1, 0, 3, 2]], scores * 3 + 1, references[:, [1, 0, 3, 2]], 0.3)
    np.testing.assert_array_equal(turned, found)
