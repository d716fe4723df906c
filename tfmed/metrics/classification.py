"""Scores of classifiers; numpy and scikit-learn. NaN where a class that a score needs has no case."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn import metrics


def confusion(labels: ArrayLike, chosen: ArrayLike, classes: int) -> np.ndarray:
    """How often each class (row) was taken for each (column), integers `(classes, classes)`.

    Example:
        >>> confusion([0, 0, 1], [0, 1, 1], 2).tolist()
        [[1, 1], [0, 1]]
    """
    return metrics.confusion_matrix(labels, chosen, labels=range(classes))


def scores(probabilities: ArrayLike, labels: ArrayLike, classes: Sequence[str]) -> dict[str, float]:
    """Accuracy, balanced accuracy and AUC; of two classes sensitivity (of the second) and specificity, else recalls.

    Balanced accuracy is the mean recall over the classes that occur, the AUC of more than two classes the mean over
    each against the rest.

    Args:
        probabilities: `(n, classes)`.
        labels: class numbers `(n,)`, at least one.
        classes: their names.

    Raises:
        ValueError: no sample, a probability that is not finite, or other shapes.

    Example:
        >>> scores([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], [0, 0, 1], ("healthy", "ill"))["balanced accuracy"]
        0.75
    """
    found, true = np.asarray(probabilities, np.float64), np.asarray(labels)
    if found.shape != (len(true), len(classes)) or not len(true):
        raise ValueError(f"probabilities of shape {found.shape} for {len(true)} labels and {len(classes)} classes")
    if not np.isfinite(found).all():
        raise ValueError("probabilities hold NaN or infinity; was the network trained at too high a learning rate?")
    table = confusion(true, found.argmax(-1), len(classes))
    named = recalls(found, true, classes)
    each = list(named.values())
    whole = {"accuracy": float(np.trace(table) / table.sum()), "balanced accuracy": float(np.nanmean(each))}
    named = {"specificity": each[0], "sensitivity": each[1]} if len(classes) == 2 else named
    return whole | named | {"AUC": auc(found, true)}


def recalls(probabilities: ArrayLike, labels: ArrayLike, classes: Sequence[str]) -> dict[str, float]:
    """{"recall <class>": the share of its samples that were taken for it}, of probabilities `(n, classes)`.

    Example:
        >>> recalls([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], [0, 0, 1], ("healthy", "ill"))
        {'recall healthy': 0.5, 'recall ill': 1.0}
    """
    table = confusion(labels, np.asarray(probabilities).argmax(-1), len(classes))
    return {
        f"recall {name}": float(row[k] / row.sum()) if row.sum() else math.nan
        for k, (name, row) in enumerate(zip(classes, table, strict=True))
    }


def auc(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Area under the receiver operating characteristic, of `(n, classes)`; NaN unless every class occurs."""
    count = probabilities.shape[-1]
    if len(np.unique(labels)) < count:
        return math.nan
    return float(np.mean([metrics.roc_auc_score(labels == k, probabilities[:, k])
                          for k in range(1 if count == 2 else 0, count)]))  # fmt: skip


def accuracy_and_balanced(labels: ArrayLike, chosen: ArrayLike, classes: int) -> dict[str, float]:
    """Accuracy, and balanced accuracy: the mean recall over the classes that occur.

    Example:
        >>> accuracy_and_balanced([0, 0, 0, 1], [0, 0, 0, 0], 2)
        {'accuracy': 0.75, 'balanced accuracy': 0.5}
    """
    table = confusion(labels, chosen, classes)
    there = table.sum(1) > 0
    recalls = np.diag(table)[there] / table.sum(1)[there]
    return {"accuracy": float(np.trace(table) / table.sum()), "balanced accuracy": float(recalls.mean())}


def accuracy_precision_recall(labels: ArrayLike, chosen: ArrayLike, classes: int) -> dict[str, float]:
    """Precision and recall are those of the second class; with more than two classes means over the classes."""
    how = dict(average="binary" if classes == 2 else "macro", zero_division=0.0)
    return {
        "accuracy": metrics.accuracy_score(labels, chosen),
        "precision": metrics.precision_score(labels, chosen, **how),
        "recall": metrics.recall_score(labels, chosen, **how),
    }
