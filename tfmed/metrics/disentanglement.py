"""How far two codes of an image are apart from one another: cross-image feature consistency, and probes."""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

Codes = tuple[np.ndarray, np.ndarray]


def cross_image_consistency(
    encode: Callable[[np.ndarray], Codes],
    decode: Callable[[np.ndarray, np.ndarray], np.ndarray],
    one: np.ndarray,
    other: np.ndarray,
) -> dict[str, float]:
    """Cross-image feature consistency of an autoencoder with two codes (Havaei et al. 2021, Eq. 10); lower is better.

    Images of a pair swap codes, are encoded again, and swap back: what comes back should have the codes it began with.
    Constant codes do, too, so `relative` puts the error over the difference of the pair's own codes.

    Args:
        encode: images -> (content, style), `(n, d)` each.
        decode: (content, style) -> images.
        one, other: images `(n, ...)`, pair by pair.

    Returns:
        {"cifc": mean absolute differences of the four codes, added up, "relative": over that of the pairs' codes}.
    """
    (c_a, z_a), (c_b, z_b) = encode(one), encode(other)
    (c_ab, z_ab), (c_ba, z_ba) = encode(decode(c_a, z_b)), encode(decode(c_b, z_a))
    (c_aa, z_aa), (c_bb, z_bb) = encode(decode(c_ab, z_ba)), encode(decode(c_ba, z_ab))
    error = sum(_away(p, q) for p, q in ((z_a, z_aa), (c_a, c_aa), (z_b, z_bb), (c_b, c_bb)))
    apart = _away(z_a, z_b) + _away(c_a, c_b)
    return {"cifc": error, "relative": error / apart if apart > 0 else float("nan")}


def probe_r2(inputs: ArrayLike, targets: ArrayLike, kind: str = "linear", seed: int = 0) -> float:
    """R^2 with which one code tells another on samples that the probe has not seen: 1 all, 0 (or less) nothing.

    Args:
        inputs, targets: codes `(n, d)` and `(n, e)`; targets that do not vary are left out.
        kind: "linear" (ridge regression) or "mlp" (one hidden layer of 64).
        seed: of the split into halves and of the perceptron.

    Returns:
        Mean over the targets' dimensions and over both halves; NaN where no target varies.

    Raises:
        ValueError: another kind, or fewer than eight samples.
    """
    from sklearn.linear_model import Ridge
    from sklearn.metrics import r2_score
    from sklearn.neural_network import MLPRegressor

    x, y = np.asarray(inputs, float), np.asarray(targets, float)
    if kind not in ("linear", "mlp"):
        raise ValueError(f"kind is {kind!r}; it may be linear or mlp")
    if len(x) < 8:
        raise ValueError(f"{len(x)} samples are too few for a probe; give at least 8")
    y = y[:, y.std(0) > 1e-9]
    if not y.shape[1]:
        return float("nan")
    x, y = ((v - v.mean(0)) / np.maximum(v.std(0), 1e-9) for v in (x, y))
    order, scores = np.random.default_rng(seed).permutation(len(x)), []
    for fit, test in ((order[::2], order[1::2]), (order[1::2], order[::2])):
        probe = (
            Ridge()
            if kind == "linear"
            else MLPRegressor(hidden_layer_sizes=(64,), alpha=1e-2, max_iter=1000, random_state=seed)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a perceptron that is stopped by max_iter is good enough
            probe.fit(x[fit], y[fit])
        scores.append(r2_score(y[test], np.reshape(probe.predict(x[test]), y[test].shape)))
    return float(np.mean(scores))


def _away(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.mean(np.abs(np.asarray(one, float) - np.asarray(other, float))))
