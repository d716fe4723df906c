"""Detectors of KerasCV behind one interface: a network, its losses, and the boxes that its outputs mean. `nn.yolov5` is
a third.

`retinanet` (Lin et al. 2017) and `yolov8` (Ultralytics 2023) take images `(n, y, x, 3)` in [0, 255] of one size.
KerasCV gives backbones, assembly, anchors, and of YOLOv8 assignment and box loss; its own training step is not used,
because its sums know of one replica only. KerasCV is imported when a detector is built, which takes seconds.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfmed import compat
from tfmed.losses.boxes import complete_iou, focal, smooth_l1
from tfmed.ops import boxes as ops

LEVELS = ("P3", "P4", "P5")
STRIDE = 32  # of the coarsest of these: sides of images are multiples
BINS = 16  # of each side's distance in YOLOv8
PRIOR = 0.01  # score of every class before training
MOMENTUM = 0.9  # of moving means of batch normalisation, as of the public ResNets; Keras' 0.99 lags behind short runs

BoxLoss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Detector:
    """A network of boxes. A subclass gives `losses` and `decoded`.

    Args:
        network: images `(n, *size, 3)`, float32 in [0, 255] -> its outputs.
        classes: how many.
        size: (y, x) of the images, in pixels.

    Boxes are (x0, y0, x1, y1) in pixels of these images; those of a batch `(n, m, 4)` are padded, and their classes
    `(n, m)` are -1 there.
    """

    terms: tuple[str, ...] = ("box", "class")  # names of the losses

    def __init__(self, network: keras.Model, classes: int, size: tuple[int, int]) -> None:
        self.network, self.classes, self.size = network, classes, size

    def losses(
        self, outputs: Any, boxes: tf.Tensor, classes: tf.Tensor, total: Callable[[tf.Tensor], tf.Tensor] = lambda x: x
    ) -> dict[str, tf.Tensor]:
        """{name of `terms`: scalar}: sums over a batch by the number of anchors that learn a box; 0 without any.

        Args:
            outputs: of the network, in training.
            boxes, classes: what is there; m >= 1.
            total: makes the sum over all replicas of this one's (`TrainingModel.sum_over_replicas`).
        """
        raise NotImplementedError

    def decoded(self, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """(boxes `(n, a, 4)` within the image, scores `(n, a, classes)` in [0, 1]) of the network's outputs."""
        raise NotImplementedError

    def found(
        self, images: tf.Tensor, least: float = 0.05, overlap: float = 0.5, most: int = 100
    ) -> dict[str, tf.Tensor]:
        """Boxes, classes, scores and count in images; see `tfmed.ops.boxes.suppressed`."""
        boxes, scores = self.decoded(self.network(images, training=False))
        return ops.suppressed(boxes, scores, least, overlap, most)


# --- RetinaNet --------------------------------------------------------------------------------------------------------


class RetinaNet(Detector):
    """Anchors at five strides; focal loss of classes, smooth L1 of offsets.

    Args:
        anchors: `(a, 4)`.
        positive, negative: overlaps of `tfmed.ops.boxes.matched`.
    """

    def __init__(self, network: keras.Model, classes: int, size: tuple[int, int], anchors: np.ndarray,
                 positive: float = 0.5, negative: float = 0.4) -> None:  # fmt: skip
        super().__init__(network, classes, size)
        self.anchors = np.asarray(anchors, np.float32)
        self.bounds = positive, negative

    def losses(
        self, outputs: Any, boxes: tf.Tensor, classes: tf.Tensor, total: Callable[[tf.Tensor], tf.Tensor] = lambda x: x
    ) -> dict[str, tf.Tensor]:
        offsets, logits = (tf.cast(one, tf.float32) for one in outputs)
        row, learnt, background = ops.matched(self.anchors, boxes, *self.bounds)
        target = ops.encode(tf.gather(boxes, row, batch_dims=1), self.anchors)
        number = tf.where(learnt, tf.gather(classes, row, batch_dims=1), -1)
        entropy = focal(tf.one_hot(number, self.classes), logits) * tf.cast(learnt | background, tf.float32)
        smooth = smooth_l1(target, offsets) * tf.cast(learnt, tf.float32)
        count = tf.stop_gradient(total(tf.reduce_sum(tf.cast(learnt, tf.float32))))
        return {name: tf.math.divide_no_nan(total(tf.reduce_sum(value)), count)
                for name, value in (("box", smooth), ("class", entropy))}  # fmt: skip

    def decoded(self, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        offsets, logits = (tf.cast(one, tf.float32) for one in outputs)
        return ops.clipped(ops.decode(offsets, self.anchors), self.size), tf.sigmoid(logits)


def retinanet(
    classes: int,
    size: tuple[int, int],
    widths: Sequence[int] = (64, 128, 256, 512),
    blocks: Sequence[int] = (3, 4, 6, 3),
    pyramid: int = 256,
    convolutions: int = 3,
    anchors: Sequence[float] = (32.0, 64.0, 128.0, 256.0, 512.0),
    frozen: bool = False,
    pretrained: str | None = None,
    seed: int = 0,
) -> RetinaNet:
    """RetinaNet with a ResNet of bottleneck blocks; the defaults are ResNet-50 and KerasCV's own sizes.

    Args:
        classes: how many.
        size: (y, x) of the images, multiples of 32.
        widths, blocks: of the backbone's four stages; a block puts out four times its width.
        pyramid: maps of the feature pyramid and of the heads.
        convolutions: of a head, before its last one.
        anchors: the square root of their areas at strides 8, 16, 32, 64 and 128, in pixels; each also 2^(1/3) and
            2^(2/3) times as large, with sides of 1:2, 1:1 and 2:1.
        frozen: the first convolution, the first stage and all batch normalisation stay as they are, as is usual with
            pre-trained weights and small batches.
        pretrained: file with weights of the backbone, which `keras_cv.models.ResNetBackbone.save_weights` wrote.
        seed: of all other weights.

    Raises:
        ValueError: sides are no multiples of 32; the file holds other weights.
    """
    from keras_cv import layers, models

    check_size(size)
    backbone = models.ResNetBackbone(
        stackwise_filters=list(widths), stackwise_blocks=list(blocks), stackwise_strides=[1, 2, 2, 2],
        include_rescaling=True, block_type="block", input_shape=(*size, 3),
    )  # fmt: skip
    generator = layers.AnchorGenerator(
        bounding_box_format="xyxy", sizes=list(anchors), aspect_ratios=[0.5, 1.0, 2.0],
        scales=[2 ** (k / 3) for k in range(3)], strides=[8, 16, 32, 64, 128], clip_boxes=True,
    )  # fmt: skip
    whole = models.RetinaNet(
        backbone, classes, "xyxy", anchor_generator=generator,
        feature_pyramid=_pyramid([4 * width for width in widths[1:]], pyramid),
        classification_head=_head(pyramid, convolutions, 9 * classes, "class_head"),
        box_head=_head(pyramid, convolutions, 9 * 4, "box_head"),
    )  # fmt: skip
    outputs = [whole.get_layer(name).output for name in ("box", "classification")]
    network = keras.Model(whole.inputs[0], outputs, name="retinanet")  # without KerasCV's training side
    prior = {id(compat.tensor_variable(whole.classification_head.get_layer("answer").bias)): _logit(PRIOR)}
    begin(network, prior, seed, backbone, pretrained, frozen)
    places = np.concatenate([np.asarray(one) for one in generator(image_shape=(*size, 3)).values()])
    return RetinaNet(network, classes, size, places)


def _pyramid(widths: Sequence[int], width: int) -> Callable[[Any], list[Any]]:
    """The feature pyramid of RetinaNet: {level: maps} -> maps at strides 8 to 128, all of one width."""
    inputs = [keras.Input((None, None, one)) for one in widths]
    laid = [keras.layers.Conv2D(width, 1, name=f"lateral{k}")(x) for k, x in enumerate(inputs)]
    for k in (1, 0):
        laid[k] = keras.layers.Add()([laid[k], keras.layers.UpSampling2D(2)(laid[k + 1])])
    outputs = [keras.layers.Conv2D(width, 3, padding="same", name=f"smooth{k}")(x) for k, x in enumerate(laid)]
    outputs.append(keras.layers.Conv2D(width, 3, 2, padding="same", name="level6")(inputs[-1]))
    outputs.append(keras.layers.Conv2D(width, 3, 2, padding="same", name="level7")(keras.layers.ReLU()(outputs[-1])))
    model = keras.Model(inputs, outputs, name="pyramid")
    return lambda maps: model([maps[level] for level in LEVELS])


def _head(width: int, convolutions: int, outputs: int, name: str) -> keras.Model:
    x = inputs = keras.Input((None, None, width))
    for k in range(convolutions):
        x = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{k}")(x)
    return keras.Model(inputs, keras.layers.Conv2D(outputs, 3, padding="same", name="answer")(x), name=name)


# --- YOLOv8 -----------------------------------------------------------------------------------------------------------


class YoloV8(Detector):
    """No anchors: each place puts out distances to four sides, and is assigned by what it finds (Feng et al. 2021).

    Args:
        box_loss: function of true and found boxes `(n, a, 4)`, both in units of the stride of their places -> `(n, a)`;
            None: complete IoU. What is not assigned counts for nothing.
        gains: of the box loss and of the classes' cross-entropy.
    """

    def __init__(self, network: keras.Model, classes: int, size: tuple[int, int], encoder: Any,
                 box_loss: BoxLoss | None = None, gains: tuple[float, float] = (7.5, 0.5)) -> None:  # fmt: skip
        super().__init__(network, classes, size)
        self.centres, self.strides = _places(size)
        self._encoder, self.gains = encoder, gains
        self.box_loss = box_loss or complete_iou

    def losses(
        self, outputs: Any, boxes: tf.Tensor, classes: tf.Tensor, total: Callable[[tf.Tensor], tf.Tensor] = lambda x: x
    ) -> dict[str, tf.Tensor]:
        found, scores = self._raw(outputs)
        boxes, there = tf.cast(boxes, tf.float32), (classes >= 0)[..., None]
        true, target, assigned = self._encoder(
            scores, found * self.strides, self.centres * self.strides, tf.cast(classes, tf.float32), boxes, there
        )
        chosen = assigned[..., None]
        weight = tf.reduce_sum(target, -1) * assigned
        box = self.box_loss(true / self.strides * chosen, found * chosen) * weight
        entropy = tf.reduce_mean(_cross_entropy(target, scores), -1)
        count = tf.maximum(tf.stop_gradient(total(tf.reduce_sum(target))), 1.0)
        return {name: gain * total(tf.reduce_sum(value)) / count
                for name, gain, value in zip(("box", "class"), self.gains, (box, entropy), strict=True)}  # fmt: skip

    def decoded(self, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        found, scores = self._raw(outputs)
        return ops.clipped(found * self.strides, self.size), scores

    def _raw(self, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """(boxes in units of the stride, scores), float32."""
        bins, scores = (tf.cast(one, tf.float32) for one in outputs)
        bins = tf.reshape(bins, (-1, len(self.centres), 4, BINS))
        sides = tf.reduce_sum(tf.nn.softmax(bins, -1) * tf.range(BINS, dtype=tf.float32), -1)
        return tf.concat([self.centres - sides[..., :2], self.centres + sides[..., 2:]], -1), scores


def yolov8(
    classes: int,
    size: tuple[int, int],
    widths: Sequence[int] = (32, 64, 128, 256),
    depths: Sequence[int] = (1, 2, 2, 1),
    pyramid: int = 1,
    box_loss: BoxLoss | None = None,
    pretrained: str | None = None,
    seed: int = 0,
) -> YoloV8:
    """YOLOv8; the defaults are its small backbone (s).

    Args:
        classes: how many.
        size: (y, x) of the images, multiples of 32.
        widths, depths: of the backbone's four stages.
        pyramid: depth of the blocks of the feature pyramid.
        box_loss: as of `YoloV8`.
        pretrained: file with weights of the backbone, which `keras_cv.models.YOLOV8Backbone.save_weights` wrote.
        seed: of all other weights.

    Raises:
        ValueError: sides are no multiples of 32; the file holds other weights.
    """
    from keras_cv import models
    from keras_cv.models import yolov8 as kit

    check_size(size)
    backbone = models.YOLOV8Backbone(
        stackwise_channels=list(widths), stackwise_depth=list(depths), include_rescaling=True, activation="swish",
        input_shape=(*size, 3),
    )  # fmt: skip
    encoder = kit.LabelEncoder(classes, dtype="float32")
    whole = models.YOLOV8Detector(backbone, classes, "xyxy", fpn_depth=pyramid, label_encoder=encoder)
    outputs = [whole.get_layer(name).output for name in ("box", "class")]
    network = keras.Model(whole.inputs[0], outputs, name="yolov8")
    heads = [network.get_layer(f"yolo_v8_head_{k}_class_3_conv") for k in (1, 2, 3)]
    prior = {id(compat.tensor_variable(head.bias)): _logit(PRIOR) for head in heads}
    begin(network, prior, seed, backbone, pretrained)
    return YoloV8(network, classes, size, encoder, box_loss)


def _places(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(centres (x, y) in units of their strides `(a, 2)`, strides `(a, 1)`) of all places of strides 8, 16 and 32."""
    centres, strides = [], []
    for stride in (8, 16, 32):
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride].reshape(2, -1)
        centres.append(np.stack([x, y], -1) + 0.5)
        strides.append(np.full((len(x), 1), stride))
    return np.concatenate(centres).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _cross_entropy(target: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    scores = tf.clip_by_value(scores, 1e-7, 1 - 1e-7)
    return -(target * tf.math.log(scores) + (1 - target) * tf.math.log(1 - scores))


# --- how networks begin -----------------------------------------------------------------------------------------------


def check_size(size: Sequence[int]) -> None:
    """Raises ValueError where a side of images is no multiple of 32."""
    for side in size:
        if side % STRIDE or side < STRIDE:
            raise ValueError(f"{side} is no multiple of {STRIDE}; try {max(1, round(side / STRIDE)) * STRIDE}")


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


def begin(
    network: keras.Model,
    prior: Mapping[int, float | np.ndarray],
    seed: int,
    backbone: keras.Model | None = None,
    pretrained: str | None = None,
    frozen: bool = False,
) -> None:
    """Weights of a seed, biases of scores at their prior, normalisation over all replicas, and what is given or frozen.

    Kernels are Glorot's, as Keras draws them; it would draw from a global state.

    Args:
        network: of the detector.
        prior: {id of a bias: its values before training}.
        seed: of all other weights.
        backbone, pretrained: the part of it whose weights a file gives.
        frozen: as of `retinanet`.

    Raises:
        ValueError: the file holds other weights.
    """
    given = set()
    if pretrained is not None and backbone is not None:
        _load(backbone, pretrained)
        given = {id(compat.tensor_variable(v)) for v in backbone.weights}
    for number, variable in enumerate(compat.weights(network)):
        key, shape = id(compat.tensor_variable(variable)), tuple(variable.shape)
        if key in given:
            continue
        if len(shape) == 4:
            limit = math.sqrt(6 / (shape[0] * shape[1] * (shape[2] + shape[3])))
            draws = tf.random.stateless_uniform(shape, (seed, number), -limit, limit, alg="philox")
            variable.assign(draws)
        elif key in prior:
            variable.assign(np.broadcast_to(np.float32(prior[key]), shape))
    for layer in compat.layers_within(network):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = MOMENTUM
            compat.synchronize(layer)
            layer.trainable = not frozen
        elif frozen and layer.name.startswith(("conv1", "v2_stack_0")):
            layer.trainable = False


def _load(backbone: keras.Model, path: str) -> None:
    try:
        backbone.load_weights(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        words = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ValueError(f"{path}: holds no weights of this backbone ({words})") from None
