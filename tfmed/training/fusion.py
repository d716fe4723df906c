"""Joining the probabilities of several views of a voxel by weights that are fitted."""

import numpy as np
from scipy.optimize import minimize


def fit_fusion(probabilities: np.ndarray, labels: np.ndarray, ridge: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases with which softmax(sum_k w_kc p_kc + b_c) fits labels best, by their mean cross-entropy.

    The problem is convex; a small ridge keeps classes that views tell perfectly from infinite weights. (Perslev et al.
    2019 fit the same layer by gradient steps.)

    Args:
        probabilities: `(n, views, classes)`.
        labels: class numbers `(n,)`.
        ridge: weight of the mean square of all parameters' distances from equal weights, 1 / views, without bias.

    Returns:
        float32 `(views, classes)` and `(classes,)`.
    """
    p = np.asarray(probabilities, np.float64)
    count, views, classes = p.shape
    hot = np.eye(classes)[np.asarray(labels, np.int64)]
    start = np.concatenate([np.full(views * classes, 1 / views), np.zeros(classes)])

    def cost(values: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = values[: views * classes].reshape(views, classes), values[views * classes :]
        logits = np.einsum("nkc,kc->nc", p, weights) + bias
        logits -= logits.max(1, keepdims=True)
        total = np.log(np.exp(logits).sum(1, keepdims=True))
        away = (np.exp(logits - total) - hot) / count
        value = -(hot * (logits - total)).sum() / count + ridge * ((values - start) ** 2).mean()
        slope = np.concatenate([np.einsum("nkc,nc->kc", p, away).ravel(), away.sum(0)])
        return value, slope + 2 * ridge * (values - start) / len(values)

    found = minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return found[: views * classes].reshape(views, classes).astype(np.float32), found[-classes:].astype(np.float32)
