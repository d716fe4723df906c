"""YOLOv5 (Ultralytics, release 5.0, 2021): three anchors at each place of three strides, and how sure it is of an
object there. The detector of the compound-figure paper (Yao et al. 2021), whose gains of the losses have a meaning here
alone.

KerasCV has none. What its code does to pictures is in `tfmed.augment.mosaic`; moving averages of weights and autoanchor
are not here.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfmed import compat
from tfmed.losses.boxes import complete_iou
from tfmed.nn.detectors import BoxLoss, Detector, begin, check_size
from tfmed.ops import boxes as ops

STRIDES = (8, 16, 32)
ANCHORS = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
BALANCE = (4.0, 1.0, 0.4)  # of the objectness of each stride
GAINS = (0.05, 1.0, 0.5)  # of box, objectness and class loss
MOST_RATIO = 4.0  # of a side of a box to that of an anchor that learns it
NEIGHBOURS = ((0, 0), (-1, 0), (0, -1), (1, 0), (0, 1))  # cells (x, y) that learn a box beside its own


class YoloV5(Detector):
    """A box is learnt by the anchors of its shape, in the cell of its middle and the nearest ones left or right, above
    or below; how much it overlaps becomes the objectness of that place.

    Args:
        anchors: (width, height) of nine, in pixels, three for each stride.
        box_loss: function of true and found boxes `(..., 4)`, in units of the stride -> `(...)`; None: complete IoU.
        gains: of box loss, objectness and classes, for images of 640 pixels, three strides and 80 classes; objectness
            counts by the area of an image, classes by their number, as in the public code.

    With one class there is no class loss, and the objectness is the score.
    """

    def __init__(self, network: keras.Model, classes: int, size: tuple[int, int],
                 anchors: Sequence[tuple[float, float]] = ANCHORS, box_loss: BoxLoss | None = None,
                 gains: tuple[float, float, float] = GAINS) -> None:  # fmt: skip
        super().__init__(network, classes, size)
        self.anchors = np.asarray(anchors, np.float32).reshape(3, 3, 2)
        self.terms = ("box", "objectness", "class")[: 3 if classes > 1 else 2]
        self.box_loss = box_loss or complete_iou
        area = size[0] * size[1] / 640**2
        self.gains = {"box": gains[0], "objectness": gains[1] * area, "class": gains[2] * classes / 80}

    def losses(
        self, outputs: Any, boxes: tf.Tensor, classes: tf.Tensor, total: Callable[[tf.Tensor], tf.Tensor] = lambda x: x
    ) -> dict[str, tf.Tensor]:
        """{name of `terms`: scalar}: means over what learns a box, or over all places, summed over strides,
        times the images of a batch."""
        images, kinds = total(tf.cast(tf.shape(boxes)[0], tf.float32)), tf.one_hot(classes, self.classes)
        found = {name: tf.constant(0.0) for name in self.terms}
        for level, maps in enumerate(outputs):
            maps, scaled = self._by_anchor(maps), tf.cast(boxes, tf.float32) / STRIDES[level]
            places, row, learnt = self._assigned(scaled, classes, level, maps)
            answers, weight = tf.gather_nd(maps, places, batch_dims=1), tf.cast(learnt, tf.float32)
            true = tf.gather(scaled, row, batch_dims=1)
            made = _made(answers, places[..., 1::-1], tf.gather(self._of_stride(level), places[..., 2]))
            true, made = (tf.where(learnt[..., None], one, 0.0) for one in (true, made))
            target = _highest(places, tf.maximum(1.0 - complete_iou(true, made), 0.0) * weight, maps[..., 0])
            unsure = tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.stop_gradient(target), logits=maps[..., 4])
            found["box"] += _mean(self.box_loss(true, made), weight, total)
            found["objectness"] += BALANCE[level] * _mean(unsure, tf.ones_like(unsure), total)
            if self.classes > 1:
                entropy = tf.nn.sigmoid_cross_entropy_with_logits(
                    labels=tf.gather(kinds, row, batch_dims=1), logits=answers[..., 5:]
                )
                found["class"] += _mean(tf.reduce_mean(entropy, -1), weight, total)
        return {name: images * self.gains[name] * value for name, value in found.items()}

    def decoded(self, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        boxes, scores = [], []
        for level, maps in enumerate(outputs):
            maps = self._by_anchor(maps)
            y, x = np.mgrid[: self.size[0] // STRIDES[level], : self.size[1] // STRIDES[level]]
            made = _made(maps, np.stack([x, y], -1)[:, :, None], self._of_stride(level)) * STRIDES[level]
            sure, kinds = tf.sigmoid(maps[..., 4:5]), tf.sigmoid(maps[..., 5:])
            boxes.append(tf.reshape(made, (tf.shape(maps)[0], y.size * 3, 4)))
            scores.append(tf.reshape(sure * kinds if self.classes > 1 else sure, (-1, y.size * 3, self.classes)))
        return ops.clipped(tf.concat(boxes, 1), self.size), tf.concat(scores, 1)

    def _by_anchor(self, maps: tf.Tensor) -> tf.Tensor:
        """Maps of a stride as float32 `(n, y, x, 3, 4 + 1 + classes)`: box, objectness, classes."""
        _, y, x, channels = maps.shape
        return tf.reshape(tf.cast(maps, tf.float32), (-1, y, x, 3, channels // 3))

    def _of_stride(self, level: int) -> np.ndarray:
        """(width, height) of a stride's anchors, in units of it, `(3, 2)`."""
        return self.anchors[level] / np.float32(STRIDES[level])

    def _assigned(
        self, boxes: tf.Tensor, classes: tf.Tensor, level: int, maps: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(places (y, x, anchor) `(n, k, 3)`, row of the box that each may learn `(n, k)`, whether it does `(n, k)`)
        for k = 15 m: three anchors in five cells of each of the m boxes, given in units of the stride."""
        (middle, side), sides = ops.centred(boxes), np.array(maps.shape[2:0:-1], np.float32)
        ratio = tf.maximum(side, 1e-6)[:, :, None] / self._of_stride(level)
        fits = tf.reduce_max(tf.maximum(ratio, 1.0 / ratio), -1) < MOST_RATIO
        near = [(one % 1 < 0.5) & (one > 1) for one in (middle, sides - middle)]  # left and above, right and below
        cells = tf.concat([tf.ones_like(near[0][..., :1]), *near], -1)
        learnt = (classes >= 0)[..., None, None] & fits[..., None] & cells[:, :, None]
        cell = tf.floor(middle)[:, :, None] + np.array(NEIGHBOURS, np.float32)
        cell = tf.cast(tf.clip_by_value(cell, 0.0, sides - 1), tf.int32)[:, :, None]  # (n, m, 1, 5, 2)
        shape, count = tf.shape(learnt), 15 * tf.shape(boxes)[1]
        number = tf.broadcast_to(tf.range(3)[:, None], shape)
        x, y = (tf.broadcast_to(cell[..., k], shape) for k in (0, 1))
        row = tf.broadcast_to(tf.range(shape[1])[:, None, None], shape)
        places = tf.reshape(tf.stack([y, x, number], -1), (-1, count, 3))
        return places, tf.reshape(row, (-1, count)), tf.reshape(learnt, (-1, count))


def _made(answers: tf.Tensor, cell: Any, anchors: Any) -> tf.Tensor:
    """Boxes `(..., 4)`, in units of the stride, of answers `(..., 4 or more)` in cells (x, y)."""
    middle = 2.0 * tf.sigmoid(answers[..., :2]) - 0.5 + tf.cast(cell, tf.float32)
    half = (2.0 * tf.sigmoid(answers[..., 2:4])) ** 2 * anchors / 2.0
    return tf.concat([middle - half, middle + half], -1)


def _mean(values: tf.Tensor, weight: tf.Tensor, total: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """The mean over all replicas; 0 where nothing has weight."""
    return tf.math.divide_no_nan(total(tf.reduce_sum(values * weight)), total(tf.reduce_sum(weight)))


def _highest(places: tf.Tensor, values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """`like` with, at places `(n, k, 3)`, the highest of their values `(n, k)`, and 0 elsewhere."""
    image = tf.broadcast_to(tf.range(tf.shape(places)[0])[:, None, None], tf.shape(places[..., :1]))
    return tf.tensor_scatter_nd_max(tf.zeros_like(like), tf.concat([image, places], -1), values)


# --- network ----------------------------------------------------------------------------------------------------------


def yolov5(
    classes: int,
    size: tuple[int, int],
    widths: Sequence[int] = (32, 64, 128, 256, 512),
    depths: Sequence[int] = (1, 3, 3, 1),
    anchors: Sequence[tuple[float, float]] = ANCHORS,
    gains: tuple[float, float, float] = GAINS,
    box_loss: BoxLoss | None = None,
    seed: int = 0,
) -> YoloV5:
    """YOLOv5; the defaults are its small form (s), of 7,276,605 weights with 80 classes.

    Args:
        classes: how many.
        size: (y, x) of the images, multiples of 32.
        widths: of the first convolution and of the four stages.
        depths: blocks of each stage; the last one's depth is also that of the pyramid's blocks.
        anchors, gains, box_loss: as of `YoloV5`.
        seed: of all weights.

    Raises:
        ValueError: sides are no multiples of 32.
    """
    check_size(size)
    inputs = keras.Input((*size, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = _conv(x, widths[0], 6, 2, "focus")  # the released "focus", every second pixel as a channel, written as one
    levels = []
    for k, (width, depth) in enumerate(zip(widths[1:], depths, strict=True)):
        x = _conv(x, width, 3, 2, f"stage{k}_down")
        if k == 3:
            x = _pooled(x, width)
        x = _cross_stage(x, width, depth, k < 3, f"stage{k}")
        levels.append(x)
    outputs = _pyramid(levels[1:], widths[2:], depths[-1])
    width = 3 * (5 + (classes if classes > 1 else 0))
    answers = [keras.layers.Conv2D(width, 1, dtype="float32", name=f"answer{k}")(one) for k, one in enumerate(outputs)]
    network = keras.Model(inputs, answers, name="yolov5")
    prior = {id(compat.tensor_variable(network.get_layer(f"answer{k}").bias)): _first_answer(classes, size, stride)
             for k, stride in enumerate(STRIDES)}  # fmt: skip
    begin(network, prior, seed)
    return YoloV5(network, classes, size, anchors, box_loss, gains)


def _first_answer(classes: int, size: tuple[int, int], stride: int) -> np.ndarray:
    """Biases before training: eight boxes among the places of an image of this size, 0.6 classes for each of them."""
    places = size[0] * size[1] / stride**2
    one = np.zeros(5 + (classes if classes > 1 else 0), np.float32)
    one[4] = math.log(8 / places)
    one[5:] = math.log(0.6 / (classes - 0.99))
    return np.tile(one, 3)


def _conv(x: Any, width: int, kernel: int, stride: int, name: str) -> Any:
    """Convolution, batch normalisation, SiLU; padded alike on both sides, as PyTorch does."""
    if stride > 1:
        x = keras.layers.ZeroPadding2D((kernel - 1) // 2)(x)
    padding = "valid" if stride > 1 else "same"
    x = keras.layers.Conv2D(width, kernel, stride, padding=padding, use_bias=False, name=f"{name}_conv")(x)
    x = keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_norm")(x)
    return keras.layers.Activation("swish", name=f"{name}_swish")(x)


def _cross_stage(x: Any, width: int, depth: int, shortcut: bool, name: str) -> Any:
    """C3: half of the maps through blocks of a 1 x 1 and a 3 x 3 convolution, half past them."""
    y = _conv(x, width // 2, 1, 1, f"{name}_in")
    for k in range(depth):
        z = _conv(y, width // 2, 1, 1, f"{name}_block{k}_one")
        z = _conv(z, width // 2, 3, 1, f"{name}_block{k}_two")
        y = keras.layers.Add()([y, z]) if shortcut else z
    past = _conv(x, width // 2, 1, 1, f"{name}_past")
    return _conv(keras.layers.Concatenate()([y, past]), width, 1, 1, f"{name}_out")


def _pooled(x: Any, width: int) -> Any:
    """SPP: the maps, and their maxima over 5, 9 and 13 places."""
    x = _conv(x, width // 2, 1, 1, "pool_in")
    pooled = [keras.layers.MaxPooling2D(side, 1, padding="same")(x) for side in (5, 9, 13)]
    return _conv(keras.layers.Concatenate()([x, *pooled]), width, 1, 1, "pool_out")


def _pyramid(levels: Sequence[Any], widths: Sequence[int], depth: int) -> list[Any]:
    """Maps at strides 8, 16 and 32, after a way up from the coarsest and one back down."""
    narrowed: list[Any] = []
    x = levels[-1]
    for k in (1, 0):
        x = _conv(x, widths[k], 1, 1, f"up{k}_narrow")
        narrowed.insert(0, x)
        x = keras.layers.Concatenate()([keras.layers.UpSampling2D(2)(x), levels[k]])
        if k:
            x = _cross_stage(x, widths[k], depth, False, f"up{k}")
    outputs = [_cross_stage(x, widths[0], depth, False, "up0")]
    for k, one in enumerate(narrowed):
        x = _conv(outputs[-1], widths[k], 3, 2, f"down{k}_down")
        x = keras.layers.Concatenate()([x, one])
        outputs.append(_cross_stage(x, widths[k + 1], depth, False, f"down{k}"))
    return outputs
