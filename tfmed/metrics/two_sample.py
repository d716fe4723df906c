"""Classifier two-sample test: can a classifier tell synthetic images from real ones?"""

import dataclasses
import warnings
from collections.abc import Iterable

import numpy as np
import scipy
from numpy.typing import ArrayLike


@dataclasses.dataclass(frozen=True)
class TwoSample:
    """Of a test with as many synthetic as real samples as there are; synthetic is the positive class.

    Args:
        recall, specificity: share of synthetic and of real samples that are recognised; 0.5 is chance, the best value.
        accuracy: share of all samples, each set counting half.
        auc: area under the ROC curve.
        score: 2 |accuracy - 0.5|: 0 where the sets cannot be told apart.
        p_value: of accuracy above chance if they were one distribution (Lopez-Paz & Oquab 2017, Sect. 3).
    """

    recall: float
    specificity: float
    accuracy: float
    auc: float
    score: float
    p_value: float


def two_sample_test(synthetic: ArrayLike, real: ArrayLike, threshold: float = 0.5) -> TwoSample:
    """TwoSample of a classifier's outputs (probability, or any score) for synthetic `(n,)` and real samples `(m,)`.

    Raises:
        ValueError: a set is empty, or outputs are not finite.

    Example:
        >>> found = two_sample_test(synthetic=[0.9, 0.8], real=[0.1, 0.2])  # told apart every time
        >>> found.accuracy, found.auc, found.score
        (1.0, 1.0, 1.0)
    """
    s, r = (np.asarray(images, np.float64).ravel() for images in (synthetic, real))
    if not len(s) or not len(r):
        raise ValueError(f"{len(s)} synthetic and {len(r)} real samples: a two-sample test needs some of both")
    if not (np.isfinite(s).all() and np.isfinite(r).all()):
        raise ValueError("outputs of the classifier are NaN or infinite; lower its learning rate")
    recall, specificity = float(np.mean(s > threshold)), float(np.mean(r <= threshold))
    accuracy = (recall + specificity) / 2
    # Of the mean of two independent shares; 1 / (4 n) for n samples, half of them synthetic.
    deviation = np.sqrt((1 / len(s) + 1 / len(r)) / 16)
    ranks = scipy.stats.rankdata(np.concatenate([s, r]))[: len(s)]
    auc = (ranks.sum() - len(s) * (len(s) + 1) / 2) / (len(s) * len(r))
    p_value = float(scipy.stats.norm.sf((accuracy - 0.5) / deviation))
    return TwoSample(recall, specificity, accuracy, float(auc), 2 * abs(accuracy - 0.5), p_value)


def check_disjoint(train_groups: Iterable[object], test_groups: Iterable[object]) -> None:
    """Leak guard: ValueError when a patient is in both parts of the real data."""
    both = sorted(set(map(str, train_groups)) & set(map(str, test_groups)))
    if both:
        more = f" (and {len(both) - 1} more)" if len(both) > 1 else ""
        raise ValueError(f"patient {both[0]}{more} is in the training and in the test part; split by patient")


def auxiliary_classifiers(
    real_train: np.ndarray,
    synthetic_train: np.ndarray,
    real_test: np.ndarray,
    synthetic_test: np.ndarray,
    seed: int = 0,
) -> dict[str, TwoSample]:
    """{name: TwoSample} of plain classifiers of features: tree, forest, linear SVM, neighbours, AdaBoost."""
    from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC
    from sklearn.tree import DecisionTreeClassifier

    classifiers = {
        "decision tree": DecisionTreeClassifier(random_state=seed),
        "random forest": RandomForestClassifier(random_state=seed),
        "linear SVM": make_pipeline(StandardScaler(), LinearSVC(random_state=seed, dual="auto")),
        "nearest neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier()),
        "AdaBoost": AdaBoostClassifier(random_state=seed),
    }
    x = np.concatenate([real_train, synthetic_train])
    labels = np.repeat([0, 1], [len(real_train), len(synthetic_train)])
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of AdaBoost's changing defaults, and of an SVM that has not converged
        for name, classifier in classifiers.items():
            classifier.fit(x, labels)
            decide = getattr(classifier, "predict_proba", None)
            synthetic, real = (decide(images)[:, 1] - 0.5 if decide else classifier.decision_function(images)
                               for images in (synthetic_test, real_test))  # fmt: skip
            found[name] = two_sample_test(synthetic, real, threshold=0.0)
    return found
