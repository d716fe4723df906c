"""How far a segmenter can be trusted: entropies of its class probabilities, PAvPU, calibration. Plain numpy.

Probabilities have a class axis (the last one unless said otherwise) along which they sum to 1. A set of stochastic
passes (Monte Carlo dropout, ensembles) has one more axis, named in `samples`.
"""

import collections
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr


def predictive_entropy(probabilities: ArrayLike, base: float, axis: int = -1, samples: int | None = None) -> np.ndarray:
    """Entropy of the (mean) class probabilities of every voxel: -sum_c p_c log_base p_c, with 0 log 0 = 0.

    Gal 2016, Section 3.3.1. Papers differ in the base, so that it must be named: 2 gives bits, math.e nats, the number
    of classes values in [0, 1].

    Args:
        probabilities: floats `(..., classes)`, or with an axis of passes before or after.
        base: of the logarithm; above 1.
        axis: the class axis, counted with the axis of passes there.
        samples: axis of the stochastic passes, over which the mean is taken first; None: there is none.

    Returns:
        float32 for float16 and float32 probabilities, otherwise float64; the shape without those axes; in
        [0, log_base(classes)].

    Raises:
        ValueError: probabilities that are not finite, not in [0, 1] or do not sum to 1, or a base that is none.

    Example:
        >>> predictive_entropy([[0.5, 0.5], [1.0, 0.0]], base=2).tolist()  # bits: not known at all, and known
        [1.0, 0.0]
    """
    p = _classes_first(probabilities, axis, samples)
    return _entropy(p if samples is None else p.mean(axis=1), base)


def expected_entropy(probabilities: ArrayLike, base: float, axis: int = -1, samples: int = 0) -> np.ndarray:
    """Mean over the passes of each pass's entropy: what is uncertain in the image itself (aleatoric).

    Arguments, result and errors as for `predictive_entropy`; the axis of passes is needed.
    """
    p = _classes_first(probabilities, axis, _needed(samples))
    return np.mean([_entropy(one, base) for one in np.moveaxis(p, 1, 0)], axis=0, dtype=p.dtype)


def mutual_information(probabilities: ArrayLike, base: float, axis: int = -1, samples: int = 0) -> np.ndarray:
    """Predictive minus expected entropy: what the passes disagree about (epistemic; Houlsby et al. 2011, Eq. 2).

    Arguments, result and errors as for `expected_entropy`; it is never negative, and 0 where all passes agree.

    Example:
        >>> passes = [[[1.0, 0.0]], [[0.0, 1.0]]]  # two passes over one voxel, each sure of another class
        >>> mutual_information(passes, base=2).tolist()
        [1.0]
    """
    entropy = predictive_entropy(probabilities, base, axis, _needed(samples))
    return np.maximum(entropy - expected_entropy(probabilities, base, axis, samples), 0)


class PatchCounts(collections.namedtuple("PatchCounts", "n_ac n_au n_ic n_iu")):
    """Patches that are accurate and certain, accurate and uncertain, inaccurate and certain, inaccurate and uncertain.

    The counts of several cases may be added field by field: `PatchCounts(*map(sum, zip(*counts)))`.
    """

    @property
    def pavpu(self) -> float:
        """(n_ac + n_iu) / all (Mukhoti & Gal 2018): in [0, 1], the higher the better."""
        return (self.n_ac + self.n_iu) / sum(self)

    @property
    def accurate_if_certain(self) -> float:
        """p(accurate | certain) = n_ac / (n_ac + n_ic); nan without certain patches."""
        return self.n_ac / (self.n_ac + self.n_ic) if self.n_ac + self.n_ic else math.nan

    @property
    def uncertain_if_inaccurate(self) -> float:
        """p(uncertain | inaccurate) = n_iu / (n_ic + n_iu); nan without inaccurate patches."""
        return self.n_iu / (self.n_ic + self.n_iu) if self.n_ic + self.n_iu else math.nan


def pavpu(
    uncertainty: ArrayLike,
    prediction: ArrayLike,
    reference: ArrayLike,
    patch: int | Sequence[int] = (4, 4),
    accuracy: float = 0.5,
    threshold: float | None = None,
) -> float:
    """Patch accuracy versus patch uncertainty (Mukhoti & Gal 2018).

    Arguments and errors as for `patch_counts`.

    Returns:
        float in [0, 1]: the share of patches that are accurate and certain, or inaccurate and uncertain.
    """
    return patch_counts(uncertainty, prediction, reference, patch, accuracy, threshold).pavpu


def patch_counts(
    uncertainty: ArrayLike,
    prediction: ArrayLike,
    reference: ArrayLike,
    patch: int | Sequence[int] = (4, 4),
    accuracy: float = 0.5,
    threshold: float | None = None,
) -> PatchCounts:
    """Count patches by whether they are accurate and whether the network is certain of them.

    A patch is accurate if at least the share `accuracy` of its voxels carries the reference's label, and certain if
    its mean uncertainty is at most `threshold`. Patches at the far edges hold what is left there; none is dropped.

    Args:
        uncertainty: floats, for example `predictive_entropy`.
        prediction, reference: labels, both of the shape of `uncertainty`.
        patch: its size along the last axes (all others: 1); `(4, 4)` cuts a volume (z, y, x) slice by slice.
        accuracy: share of right voxels, in [0, 1].
        threshold: in the unit of `uncertainty`; None: the mean of `uncertainty`.

    Returns:
        PatchCounts.

    Raises:
        ValueError: shapes that differ, no voxels, values that are not finite, or a patch that does not fit the axes.

    Example:
        >>> patch_counts([0.1, 0.1, 0.9, 0.9], [1, 1, 0, 0], [1, 1, 1, 1], patch=2)
        PatchCounts(n_ac=1, n_au=0, n_ic=0, n_iu=1)
    """
    values, ours, theirs = np.asarray(uncertainty, np.float64), np.asarray(prediction), np.asarray(reference)
    if not values.shape == ours.shape == theirs.shape:
        shapes = f"{values.shape}, {ours.shape} and {theirs.shape}"
        raise ValueError(f"uncertainty, prediction and reference must have one shape; they have {shapes}")
    if values.size == 0:
        raise ValueError("there is no voxel to judge")
    for name, array in (("uncertainty", values), ("prediction", ours), ("reference", theirs)):
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: some values are NaN or infinite")
    patch = tuple(int(size) for size in np.atleast_1d(patch))
    if len(patch) > values.ndim or min(patch) < 1:
        raise ValueError(f"a patch of {patch} does not fit {values.ndim} axes; sizes are whole numbers from 1")
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy is a share from 0 to 1, not {accuracy}")
    threshold = values.mean() if threshold is None else float(threshold)
    voxels = _patch_sums(np.ones(values.shape), patch)
    accurate = _patch_sums((ours == theirs).astype(np.float64), patch) >= accuracy * voxels
    slack = 1e-12 * max(1.0, abs(threshold))  # sums of equal numbers may differ in their last digit
    certain = _patch_sums(values, patch) <= (threshold + slack) * voxels
    counts = (accurate & certain, accurate & ~certain, ~accurate & certain, ~accurate & ~certain)
    return PatchCounts(*(int(np.count_nonzero(c)) for c in counts))


def expected_calibration_error(probabilities: ArrayLike, reference: ArrayLike, bins: int = 15, axis: int = -1) -> float:
    """Mean gap between confidence and accuracy, over equally wide bins of confidence (Guo et al. 2017, Section 2).

    sum_b |B_b| / n * |accuracy(B_b) - confidence(B_b)|; the confidence is the highest class probability, bin b holds
    those in (b / bins, (b + 1) / bins], and empty bins count nothing.

    Args:
        probabilities: floats `(..., classes)`, the mean over passes where there are any.
        reference: the true labels, integers 0 .. classes - 1; the shape of `probabilities` without its class axis.
        bins: number of bins.
        axis: the class axis.

    Returns:
        float in [0, 1]; 0 is perfectly calibrated.

    Raises:
        ValueError: as for `predictive_entropy`; labels out of range or of another shape; no voxels; bins below 1.

    Example:
        >>> sure = [[1.0, 0.0]] * 4  # always sure of class 0, and right half of the time
        >>> expected_calibration_error(sure, [0, 0, 1, 1])
        0.5
    """
    p = _classes_first(probabilities, axis)
    labels = np.asarray(reference)
    if labels.shape != p.shape[1:]:
        raise ValueError(f"labels of shape {labels.shape} do not fit probabilities of {p.shape[1:]} voxels")
    if labels.size == 0:
        raise ValueError("there is no voxel to judge")
    if labels.dtype.kind not in "biu" or labels.min() < 0 or labels.max() >= len(p):
        raise ValueError(f"labels must be integers from 0 to {len(p) - 1}")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    confidence = np.clip(p.max(axis=0).reshape(-1).astype(np.float64), 0, 1)
    right = (p.argmax(axis=0) == labels).reshape(-1)
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(index, right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def _classes_first(probabilities: ArrayLike, axis: int, samples: int | None = None) -> np.ndarray:
    """Checked probabilities as `(classes, ...)`, or `(classes, passes, ...)` where there are passes."""
    p = np.asarray(probabilities)
    if p.dtype.kind not in "biuf":
        raise ValueError(f"probabilities are numbers, not {p.dtype}")
    p = p.astype(np.float32 if p.dtype in (np.float16, np.float32) else np.float64, copy=False)
    axes = (axis,) if samples is None else (axis, samples)
    if any(not -p.ndim <= a < p.ndim for a in axes) or len({a % p.ndim for a in axes}) < len(axes):
        raise ValueError(f"probabilities of shape {p.shape} have no such axes: classes {axis}, passes {samples}")
    p = np.moveaxis(p, axes, tuple(range(len(axes))))
    if 0 in p.shape[: len(axes)]:
        raise ValueError(f"probabilities of shape {np.shape(probabilities)} hold no classes or no passes")
    if p.size and not (p.min() >= -1e-6 and p.max() <= 1 + 1e-3):  # NaN fails too
        raise ValueError("probabilities must be finite and in [0, 1]; apply softmax to logits first")
    if p.size and np.abs(p.sum(axis=0) - 1).max() > 1e-3:
        raise ValueError(f"probabilities must sum to 1 over their class axis {axis}")
    return p


def _needed(samples: int | None) -> int:
    if samples is None:
        raise ValueError("name the axis of the stochastic passes in `samples`")
    return samples


def _entropy(p: np.ndarray, base: float) -> np.ndarray:
    """Entropy of `(classes, ...)`, class by class, so that no second array of all classes is made."""
    if not (np.isfinite(base) and base > 1):
        raise ValueError(f"the base of an entropy is a number above 1, not {base}")
    total = np.zeros(p.shape[1:], p.dtype)
    for one in p:
        total += entr(np.clip(one, 0, 1))
    return np.maximum(total, 0) / p.dtype.type(math.log(base))


def _patch_sums(values: np.ndarray, patch: tuple[int, ...]) -> np.ndarray:
    for axis, size in zip(range(values.ndim - len(patch), values.ndim), patch, strict=True):
        values = np.add.reduceat(values, np.arange(0, values.shape[axis], size), axis=axis)
    return values
