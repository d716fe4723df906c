"""Boxes as tensors: overlaps, anchors and what they are matched with, offsets, and suppression of doubles.

A box is (x0, y0, x1, y1) in pixels, float32, of an image whose left and upper edges are 0. Boxes `(n, m, 4)` of a batch
are padded: rows that are no box have no area, and their class is -1.
"""

import tensorflow as tf

VARIANCE = (0.1, 0.1, 0.2, 0.2)  # by which offsets of centres and sides are divided (Ren et al. 2015)


def area(boxes: tf.Tensor) -> tf.Tensor:
    """Of boxes `(..., 4)`, in square pixels; 0 of what has no area."""
    return tf.reduce_prod(tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0), -1)


def pairwise_iou(boxes: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Intersection over union of each box with each other one: `(..., n, m)` of `(..., n, 4)` and `(..., m, 4)`.

    Two boxes without area have 0.
    """
    ours, theirs = boxes[..., :, None, :], others[..., None, :, :]
    inside = tf.minimum(ours[..., 2:], theirs[..., 2:]) - tf.maximum(ours[..., :2], theirs[..., :2])
    shared = tf.reduce_prod(tf.maximum(inside, 0.0), -1)
    return tf.math.divide_no_nan(shared, area(ours) + area(theirs) - shared)


def matched(
    anchors: tf.Tensor, boxes: tf.Tensor, positive: float = 0.5, negative: float = 0.4
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """What each anchor stands for (Lin et al., "Focal Loss for Dense Object Detection", 2017, Sect. 4).

    Args:
        anchors: `(a, 4)`.
        boxes: `(n, m, 4)`, m >= 1, padded.
        positive: least overlap with a box for which an anchor learns it.
        negative: an anchor that overlaps all boxes less is background; those between count for nothing.

    Returns:
        (row of the box that overlaps most `(n, a)` int64, whether it is learnt, whether the anchor is background).
    """
    overlap = pairwise_iou(anchors, boxes)
    best = tf.reduce_max(overlap, -1)
    return tf.argmax(overlap, -1), best >= positive, best < negative


def centred(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(centres, sides), each `(..., 2)` in (x, y), of boxes `(..., 4)`."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]


def encode(boxes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Offsets `(..., 4)` of boxes from their anchors: of centres in sides of the anchor, of sides as logarithms, both
    over `VARIANCE` (Ren et al. 2015, Eq. 2). Those of a box, or from an anchor, without area are 0.
    """
    (centre, side), (place, size) = centred(boxes), centred(anchors)
    there = tf.reduce_all((side > 0) & (size > 0), -1, keepdims=True)
    side, size = tf.where(there, side, 1.0), tf.where(there, size, 1.0)
    shift, growth = (centre - place) / size, tf.math.log(side / size)
    return tf.where(there, tf.concat([shift, growth], -1) / VARIANCE, 0.0)


def decode(offsets: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
    """Boxes of offsets from anchors: the inverse of `encode`. Sides are at most 1000 times those of the anchor."""
    place, size = centred(anchors)
    offsets = offsets * VARIANCE
    centre, side = place + offsets[..., :2] * size, size * tf.exp(tf.minimum(offsets[..., 2:], 6.9))
    return tf.concat([centre - side / 2, centre + side / 2], -1)


def clipped(boxes: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """The parts of boxes `(..., 4)` that lie in an image of `size` (y, x) pixels."""
    return tf.clip_by_value(boxes, 0.0, tf.constant([size[1], size[0], size[1], size[0]], tf.float32))


def suppressed(
    boxes: tf.Tensor, scores: tf.Tensor, least: float = 0.05, overlap: float = 0.5, most: int = 100
) -> dict[str, tf.Tensor]:
    """The best boxes of each image, without those that overlap a better one of their class.

    Args:
        boxes: `(n, a, 4)`, float32; one for all classes.
        scores: `(n, a, classes)` in [0, 1], float32.
        least: boxes of lower scores are left out.
        overlap: intersection over union above which the worse one of two goes.
        most: how many are left, the best of all classes together.

    Returns:
        {"boxes" `(n, most, 4)`, "classes" int32 `(n, most)` (-1: none), "scores" `(n, most)`, "count" int32 `(n,)`},
        the best first; rows behind the count are 0.
    """
    found = tf.image.combined_non_max_suppression(
        boxes[:, :, None], scores, most, most, overlap, least, clip_boxes=False
    )
    there = tf.sequence_mask(found.valid_detections, most)
    classes = tf.where(there, tf.cast(found.nmsed_classes, tf.int32), -1)
    return {
        "boxes": found.nmsed_boxes, "classes": classes, "scores": found.nmsed_scores,
        "count": found.valid_detections,
    }  # fmt: skip
