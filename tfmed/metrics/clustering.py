"""How well clusters agree with one another, or with labels: functions of two arrays of integers.

What the numbers of clusters are is arbitrary: every function here is the same for any renumbering. Purity rises with
the number of clusters whatever they hold and is never below the share of the largest class, and mutual information with
labels cannot reach 1 where there are more clusters than classes (see `nmi_ceiling`): compare with a random assignment.
"""

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix


def contingency(clusters: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """How many items lie in each cluster and have each label: int64 `(clusters, labels)`, those that occur in order.

    Raises:
        ValueError: the two are no vectors of one length, or empty.
    """
    one, two = np.asarray(clusters), np.asarray(labels)
    if one.ndim != 1 or one.shape != two.shape or not one.size:
        raise ValueError(
            f"clusters and labels are vectors of one length, not empty; got shapes {one.shape}, {two.shape}"
        )
    return contingency_matrix(one, two)


def nmi(clusters: ArrayLike, labels: ArrayLike) -> float:
    """Normalised mutual information 2 I(X; Y) / (H(X) + H(Y)), in 0 .. 1; 1 where both have one value alone.

    Args:
        clusters, labels: integers `(n,)`.

    Raises:
        ValueError: as `contingency`.

    Example:
        >>> nmi([0, 0, 1, 1], [5, 5, 3, 3])
        1.0
    """
    contingency(clusters, labels)  # refuses what is no pair of vectors
    return float(normalized_mutual_info_score(labels, clusters, average_method="arithmetic"))


def nmi_ceiling(labels: ArrayLike, clusters: int) -> float:
    """NMI of labels and so many equally large clusters of one label each: 2 H(L) / (H(L) + ln k).

    Of pure clusters that are not equally large it can be a little higher.

    Example:
        >>> round(nmi_ceiling([0, 1, 2], clusters=24), 3)
        0.514
    """
    own = float(scipy.stats.entropy(np.unique(np.asarray(labels), return_counts=True)[1]))
    return 1.0 if clusters == 1 and not own else float(2 * own / (own + np.log(clusters)))


def purity(clusters: ArrayLike, labels: ArrayLike) -> float:
    """Share of the items that have the commonest label of their cluster.

    Args:
        clusters, labels: integers `(n,)`.

    Raises:
        ValueError: as `contingency`.

    Example:
        >>> purity([0, 0, 0, 1], [7, 7, 8, 8])
        0.75
    """
    table = contingency(clusters, labels)
    return float(table.max(1).sum() / table.sum())


def assignment_accuracy(clusters: ArrayLike, labels: ArrayLike) -> float:
    """Share of the items that are right when each label is given to one cluster at most, and each cluster one label.

    The best such matching (Kuhn's Hungarian method); with more clusters than labels, items of the others are wrong.

    Args:
        clusters, labels: integers `(n,)`.

    Raises:
        ValueError: as `contingency`.

    Example:
        >>> assignment_accuracy([1, 1, 0, 2], [0, 0, 1, 1])
        0.75
    """
    table = contingency(clusters, labels)
    return float(table[linear_sum_assignment(-table)].sum() / table.sum())
