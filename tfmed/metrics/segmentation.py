"""How well two segmentations overlap: functions of masks and of label maps. Plain numpy.

Two masks that are both empty agree: every overlap is then 1 and the volume error 0. Where only one is empty nothing
agrees: every overlap is 0. A mask is an array of any shape that holds only 0 and 1 (bool, integers or floats); a label
map holds the whole numbers 0 .. classes - 1. Masks of one patient belong into one array (slices stacked to a volume):
the Dice of a volume is not the mean of the Dices of its slices.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

_BLOCK = 1 << 20  # voxels counted at a time, so that counting takes no memory that grows with the volume


def dice(prediction: ArrayLike, reference: ArrayLike) -> float:
    """2 TP / (2 TP + FP + FN) of two masks (Dice 1945); 1 if both are empty.

    Args:
        prediction, reference: masks of one shape.

    Returns:
        float in [0, 1].

    Raises:
        ValueError: different shapes, or values other than 0 and 1.

    Example:
        >>> dice([1, 1, 1, 0], [1, 0, 0, 0])  # 2 * 1 / (3 + 1)
        0.5
    """
    both, ours, theirs = _sizes(prediction, reference)
    return 2.0 * both / (ours + theirs) if ours + theirs else 1.0


def jaccard(prediction: ArrayLike, reference: ArrayLike) -> float:
    """TP / (TP + FP + FN) of two masks (Jaccard 1912), equal to dice / (2 - dice); 1 if both are empty.

    Arguments, result and errors as for `dice`.

    Example:
        >>> jaccard([1, 1, 1, 0], [1, 0, 0, 1])  # 1 of 4
        0.25
    """
    both, ours, theirs = _sizes(prediction, reference)
    return both / (ours + theirs - both) if ours + theirs else 1.0


def precision(prediction: ArrayLike, reference: ArrayLike) -> float:
    """TP / (TP + FP) of two masks; 1 if both are empty, 0 if only one is. Arguments and errors as for `dice`."""
    both, ours, theirs = _sizes(prediction, reference)
    return both / ours if ours else float(not theirs)


def recall(prediction: ArrayLike, reference: ArrayLike) -> float:
    """TP / (TP + FN) of two masks; 1 if both are empty, 0 if only one is. Arguments and errors as for `dice`."""
    both, ours, theirs = _sizes(prediction, reference)
    return both / theirs if theirs else float(not ours)


def hard_bce(prediction: ArrayLike, reference: ArrayLike, epsilon: float = 1e-15) -> float:
    """Mean binary cross-entropy, in nats, of a mask taken for probabilities 0 and 1, cut to [epsilon, 1 - epsilon].

    A wrong pixel costs -log(epsilon), 34.5 nats, and a right one nothing: it is the share of wrong pixels in that unit.

    Raises:
        ValueError: as for `dice`.

    Example:
        >>> round(hard_bce([1, 1, 1, 0], [1, 1, 0, 0]), 2)  # a quarter of 34.54
        8.63
    """
    ours, theirs = as_masks(prediction, reference)
    wrong = float(np.mean(ours != theirs)) if ours.size else 0.0
    return float(-wrong * np.log(epsilon) - (1 - wrong) * np.log1p(-epsilon))


def threshold_sweep(maps: Sequence[ArrayLike], references: Sequence[ArrayLike], thresholds: ArrayLike) -> np.ndarray:
    """Dice of each map, cut at each of many thresholds, with its reference: float64 `(maps, thresholds)`.

    Each map's values are sorted into the thresholds once, so that any number of them costs one pass.

    Args:
        maps: arrays of finite values; a pixel counts where its value is at least the threshold.
        references: masks of their shapes.
        thresholds: increasing.

    Raises:
        ValueError: different shapes, thresholds that do not increase, or values other than 0 and 1 in a mask.

    Example:
        >>> threshold_sweep([[0.1, 0.6, 0.9]], [[0, 0, 1]], [0.5, 0.8]).round(3).tolist()
        [[0.667, 1.0]]
    """
    cuts = np.asarray(thresholds, np.float64)
    if cuts.ndim != 1 or (np.diff(cuts) <= 0).any():
        raise ValueError("thresholds must increase")
    rows = []
    for values, reference in zip(maps, references, strict=True):
        values, right = np.asarray(values), as_mask(reference, "reference")
        _same_shape(values, right)
        above = np.searchsorted(cuts, values.ravel(), "right")  # how many thresholds a pixel reaches
        reached = [np.bincount(above, weight, len(cuts) + 1)[:0:-1].cumsum()[::-1] for weight in (None, right.ravel())]
        rows.append(_ratio(2.0 * reached[1], reached[0] + float(right.sum())))
    return np.stack(rows)


def relative_volume_error(prediction: ArrayLike, reference: ArrayLike) -> float:
    """|V_prediction - V_reference| / V_reference * 100 (Heimann et al. 2009, without its sign).

    Args:
        prediction, reference: masks of one shape.

    Returns:
        float >= 0, in per cent; 0 if both are empty, inf if only the reference is. Not symmetric.

    Raises:
        ValueError: as for `dice`.

    Example:
        >>> relative_volume_error([1, 1, 1, 0], [1, 1, 0, 0])  # 3 voxels in place of 2
        50.0
    """
    _, ours, theirs = _sizes(prediction, reference)
    if not theirs:
        return float("inf") if ours else 0.0
    return 100.0 * abs(ours - theirs) / theirs


def confusion_matrix(prediction: ArrayLike, reference: ArrayLike, classes: int) -> np.ndarray:
    """Voxels of every pair of labels, counted in one pass over two label maps.

    Args:
        prediction, reference: label maps of one shape, whole numbers 0 .. classes - 1.
        classes: number of classes, the background among them.

    Returns:
        int64 `(classes, classes)`; row = label in the reference, column = label in the prediction.

    Raises:
        ValueError: different shapes, or labels that are not 0 .. classes - 1.

    Example:
        >>> confusion_matrix([0, 1, 1, 2], [0, 1, 2, 2], classes=3).tolist()
        [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    """
    ours, theirs = np.asarray(prediction), np.asarray(reference)
    _same_shape(ours, theirs)
    classes = int(classes)
    if classes < 1:
        raise ValueError(f"classes must be at least 1, not {classes}")
    _check_labels(ours, classes, "prediction")
    _check_labels(theirs, classes, "reference")
    ours, theirs = ours.reshape(-1), theirs.reshape(-1)
    counts = np.zeros(classes * classes, np.int64)
    for start in range(0, ours.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        pairs = theirs[block].astype(np.int64) * classes + ours[block].astype(np.int64)
        counts += np.bincount(pairs, minlength=len(counts))
    return counts.reshape(classes, classes)


def mean_iou(matrix: ArrayLike) -> float:
    """Mean over classes of |P & T| / |P | T|, counted over all pixels of a confusion matrix together.

    Classes that neither prediction nor reference has are left out; 1 if no pixel was counted.

    Args:
        matrix: as of `confusion_matrix`, or a sum of such of several images.

    Example:
        >>> mean_iou([[2, 0], [2, 0]])  # all found to be background, half of it wrongly
        0.25
    """
    both, union = _overlaps(matrix)
    return float((both[union > 0] / union[union > 0]).mean()) if union.any() else 1.0


def mean_iou_per_image(matrices: Sequence[ArrayLike]) -> float:
    """Mean over images of the mean over classes of each image's |P & T| / |P | T|, as MetaHistoSeg's code computes it.

    A class that an image's reference does not have counts 0, also where it was rightly not found.

    Args:
        matrices: confusion matrices, one per image, at least one.

    Example:
        >>> mean_iou_per_image([[[4, 0], [0, 0]]])  # nothing but background, found as such
        0.5
    """
    scores = []
    for matrix in matrices:
        both, union = _overlaps(matrix)
        scores.append(np.divide(both, union, out=np.zeros(len(both)), where=union > 0).mean())
    if not scores:
        raise ValueError("no image; give the confusion matrix of at least one")
    return float(np.mean(scores))


def dice_per_class(prediction: ArrayLike, reference: ArrayLike, classes: int) -> np.ndarray:
    """Dice of every class of two label maps, in one pass; 1 for a class that neither of them has.

    Arguments and errors as for `confusion_matrix`.

    Returns:
        float64 `(classes,)`, the background first.

    Example:
        >>> dice_per_class([0, 1, 1, 1], [0, 1, 0, 0], classes=3).tolist()  # no voxel of class 2: they agree
        [0.5, 0.5, 1.0]
    """
    both, ours, theirs = _sizes_per_class(prediction, reference, classes)
    return _ratio(2.0 * both, ours + theirs)


def jaccard_per_class(prediction: ArrayLike, reference: ArrayLike, classes: int) -> np.ndarray:
    """Jaccard of every class of two label maps, in one pass; otherwise as `dice_per_class`."""
    both, ours, theirs = _sizes_per_class(prediction, reference, classes)
    return _ratio(both, ours + theirs - both)


def equivariance_dice(
    warped_predictions: np.ndarray | Sequence[ArrayLike], predictions_of_warped: np.ndarray | Sequence[ArrayLike]
) -> float:
    """Dice between A(segment(x)) and segment(A(x)): does the network commute with an augmentation A? (EquiReg)

    No ground truth is used. One patient's slices, each with its own A, are stacked before the Dice is taken. A must be
    strong, and the same for every network that is compared: draw it from a stored seed.

    Args:
        warped_predictions: masks A(segment(x)): one array, or a sequence of slices (their shapes may differ).
        predictions_of_warped: masks segment(A(x)), likewise.

    Returns:
        float in [0, 1]; 1 if all masks are empty.

    Raises:
        ValueError: different numbers of slices or shapes, or values other than 0 and 1.
    """
    pairs = [_slices(warped_predictions), _slices(predictions_of_warped)]
    if len(pairs[0]) != len(pairs[1]):
        raise ValueError(f"{len(pairs[0])} warped predictions, but {len(pairs[1])} predictions of warped images")
    sizes = [_sizes(ours, theirs) for ours, theirs in zip(*pairs, strict=True)]
    both, ours, theirs = np.sum(sizes, axis=0) if sizes else (0, 0, 0)
    return float(2.0 * both / (ours + theirs)) if ours + theirs else 1.0


@dataclasses.dataclass
class GlobalDice:
    """Dice of all slices together, added up one by one: not the mean of their Dices, and the same in any portions.

    Example:
        >>> total = GlobalDice()
        >>> total.add([1, 1, 1, 0], [1, 1, 1, 0])
        >>> total.add([1, 0, 0, 0], [0, 0, 0, 0])  # this slice alone: 0
        >>> round(total.value(), 3)  # 2 * 3 / (4 + 3)
        0.857
    """

    both: float = 0.0
    ours: float = 0.0
    theirs: float = 0.0

    def add(self, prediction: ArrayLike, reference: ArrayLike) -> None:
        """Count a prediction (mask or probabilities) and its reference, a mask of its shape; ValueError otherwise."""
        found, right = np.asarray(prediction), as_mask(reference, "reference")
        _same_shape(found, right)
        if found.size and not (found.min() >= 0 and found.max() <= 1):
            raise ValueError(f"prediction: probabilities lie in [0, 1]; found {found.min()} to {found.max()}")
        self.both += float(found.sum(where=right, dtype=np.float64))
        self.ours += float(found.sum(dtype=np.float64))
        self.theirs += float(right.sum())

    def join(self, other: "GlobalDice") -> None:
        """Count what another one has counted."""
        self.both, self.ours, self.theirs = self.both + other.both, self.ours + other.ours, self.theirs + other.theirs

    def value(self, smooth: float = 0.0) -> float:
        """(2 sum p y + smooth) / (sum p + sum y + smooth); 1 if nothing was found where nothing is."""
        size = self.ours + self.theirs + smooth
        return (2 * self.both + smooth) / size if size else 1.0


def bridging_coefficient(
    scores: ArrayLike, baseline: ArrayLike, full_baseline: ArrayLike, axis: int = -1
) -> float | np.ndarray:
    """How much of the gap between few and all labels a method closes: (s - b) / (b_100 - b) on means (EquiReg).

    1: as good as the baseline with all labels; 0: no better than the baseline with the same few labels; below 0: worse.
    For an interval over repeated trainings: `aggregate.bootstrap_interval(bridging_coefficient, s, b, b_100)`.

    Args:
        scores: the method's scores with few labels, one for each trained model.
        baseline: the baseline's scores with the same few labels.
        full_baseline: the baseline's scores with all labels.
        axis: the models; further axes are computed side by side.

    Returns:
        float, or an array where there are further axes; nan where there is no gap to close.

    Raises:
        ValueError: no scores, scores that are not finite, or further axes that differ.

    Example:
        >>> bridging_coefficient([0.75], baseline=[0.5], full_baseline=[1.0])
        0.5
    """
    means = []
    for name, values in (("scores", scores), ("baseline", baseline), ("full_baseline", full_baseline)):
        values = np.atleast_1d(np.asarray(values, np.float64))
        if values.size == 0 or not np.isfinite(values).all():
            raise ValueError(f"{name}: at least one score is needed, and none may be NaN or infinite")
        means.append(values.mean(axis=axis))
    if len({np.shape(mean) for mean in means}) > 1:
        shapes = ", ".join(str(np.shape(mean)) for mean in means)
        raise ValueError(f"scores, baseline and full_baseline differ in their further axes: {shapes}; give the same")
    gain, gap = means[0] - means[1], means[2] - means[1]
    result = np.divide(gain, gap, out=np.full(np.shape(gain), np.nan), where=gap != 0)
    return float(result) if result.ndim == 0 else result


def as_mask(array: ArrayLike, name: str = "mask") -> np.ndarray:
    """A mask as bool, without a copy where that is possible.

    Raises:
        ValueError: it holds anything else than 0 and 1; `name` says which array it was.
    """
    array = np.asarray(array)
    if array.dtype == bool:
        return array
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name}: a mask holds numbers or booleans, not {array.dtype}")
    if array.size and array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name}: some values are NaN or infinite")
    if array.size and (array.max() > 1 or (array.dtype.kind != "u" and array.min() < 0)):
        raise ValueError(f"{name}: a mask holds only 0 and 1; found {array.min()} to {array.max()}; for a label map "
                         "compare with one label, or use the functions per class")  # fmt: skip
    mask = array.view(bool) if array.dtype.itemsize == 1 else array.astype(bool)
    if array.dtype.kind == "f" and not np.array_equal(mask, array):
        raise ValueError(f"{name}: a mask holds only 0 and 1; threshold probabilities first")
    return mask


def as_masks(prediction: ArrayLike, reference: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both masks as bool arrays of one shape; ValueError otherwise."""
    masks = as_mask(prediction, "prediction"), as_mask(reference, "reference")
    _same_shape(*masks)
    return masks


def _same_shape(prediction: np.ndarray, reference: np.ndarray) -> None:
    if prediction.shape != reference.shape:
        shapes = f"the prediction's is {prediction.shape}, the reference's {reference.shape}"
        raise ValueError(f"two segmentations of different shapes cannot be compared: {shapes}")


def _sizes(prediction: ArrayLike, reference: ArrayLike) -> tuple[int, int, int]:
    """Voxels in both, in the prediction, in the reference."""
    ours, theirs = as_masks(prediction, reference)
    return int(np.count_nonzero(ours & theirs)), int(np.count_nonzero(ours)), int(np.count_nonzero(theirs))


def _sizes_per_class(
    prediction: ArrayLike, reference: ArrayLike, classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    matrix = confusion_matrix(prediction, reference, classes)
    return np.diag(matrix).astype(np.float64), matrix.sum(axis=0), matrix.sum(axis=1)


def _overlaps(matrix: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(intersection, union) of each class of a confusion matrix, pixels."""
    counts = np.asarray(matrix, np.float64)
    both = np.diag(counts)
    return both, counts.sum(0) + counts.sum(1) - both


def _ratio(count: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(count, whole, out=np.ones(len(count)), where=whole > 0)


def _slices(masks: np.ndarray | Sequence[ArrayLike]) -> list[Any]:
    return [masks] if isinstance(masks, np.ndarray) else list(masks)


def _check_labels(labels: np.ndarray, classes: int, name: str) -> None:
    if labels.dtype.kind not in "biuf":
        raise ValueError(f"{name}: a label map holds whole numbers, not {labels.dtype}")
    if labels.size == 0:
        return
    if labels.dtype.kind == "f" and not (np.isfinite(labels).all() and np.array_equal(labels, np.rint(labels))):
        raise ValueError(f"{name}: a label map holds whole numbers; some values are NaN, infinite or fractions")
    low, high = labels.min(), labels.max()
    if low < 0 or high >= classes:
        raise ValueError(f"{name}: labels must be 0 to {classes - 1}; found {low} to {high}")
