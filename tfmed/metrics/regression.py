"""Ordinary least squares with F-tests of nested models: does a score grow with a number, beyond chance?"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@dataclasses.dataclass(frozen=True)
class FTest:
    """Whether a model without some terms fits as well.

    Args:
        f: the statistic.
        p: probability of so large a one by chance.
        dropped: number of terms left out.
        freedom: degrees of freedom of the whole model's residuals.
    """

    f: float
    p: float
    dropped: int
    freedom: int


@dataclasses.dataclass(frozen=True)
class LeastSquares:
    """A fit y = sum_j a_j x_j + b.

    Args:
        terms: name -> x_j `(n,)`.
        y: `(n,)`.
        coefficients: name -> a_j.
        constant: b.
        residual: sum of squared residuals.
    """

    terms: Mapping[str, np.ndarray]
    y: np.ndarray
    coefficients: Mapping[str, float]
    constant: float
    residual: float

    def without(self, names: Sequence[str]) -> FTest:
        """F-test of the model without these terms against this one.

        Raises:
            ValueError: no such term, none, or as many parameters as values.
        """
        unknown = [name for name in names if name not in self.terms]
        if unknown or not names:
            raise ValueError(f"the terms {list(self.terms)} have no {unknown or 'nothing'}; name terms to leave out")
        smaller = least_squares({name: x for name, x in self.terms.items() if name not in names}, self.y)
        dropped, freedom = len(set(names)), len(self.y) - len(self.terms) - 1
        if freedom < 1:
            raise ValueError(f"{len(self.y)} values leave no freedom beside {len(self.terms) + 1} parameters")
        if self.residual == 0:
            f = np.inf if smaller.residual > 0 else np.nan
        else:
            f = (smaller.residual - self.residual) / dropped / (self.residual / freedom)
        return FTest(float(f), float(stats.f.sf(f, dropped, freedom)), dropped, freedom)


def least_squares(terms: Mapping[str, ArrayLike], y: ArrayLike) -> LeastSquares:
    """Fit y = sum_j a_j x_j + b.

    Args:
        terms: name -> x_j `(n,)`; none: the mean.
        y: `(n,)`.

    Raises:
        ValueError: lengths differ, a value is not finite, or a term is a sum of others.

    Example:
        >>> fit = least_squares({"x": [0.0, 1, 2, 3]}, [1.0, 3, 5, 7.5])
        >>> round(fit.coefficients["x"], 2), round(fit.constant, 2)
        (2.15, 0.9)
        >>> fit.without(["x"]).p < 0.01
        True
    """
    y = np.asarray(y, np.float64)
    columns = {name: np.asarray(x, np.float64) for name, x in terms.items()}
    if y.ndim != 1 or any(x.shape != y.shape for x in columns.values()):
        raise ValueError(
            f"values of shape {y.shape} need terms of that shape; got {[x.shape for x in columns.values()]}"
        )
    matrix = np.stack([*columns.values(), np.ones_like(y)], 1)
    if not (np.isfinite(matrix).all() and np.isfinite(y).all()):
        raise ValueError("a value or a term is not finite; leave it out")
    if np.linalg.matrix_rank(matrix) < matrix.shape[1]:
        raise ValueError(f"the terms {list(columns)} are not independent, or too few values; leave one out")
    found = np.linalg.lstsq(matrix, y, rcond=None)[0]
    residual = float(((y - matrix @ found) ** 2).sum())
    return LeastSquares(columns, y, dict(zip(columns, found[:-1].tolist(), strict=True)), float(found[-1]), residual)


def scaling_by_planes(annotated: ArrayLike, training: ArrayLike, score: ArrayLike) -> LeastSquares:
    """score = a_a ln(annotated planes) + a_t ln(training planes) + b, natural logarithms.

    The terms are named "annotated" and "training"; runs without training planes are no part of the model.

    Raises:
        ValueError: as `least_squares`; a number of planes is below 1.
    """
    numbers = {"annotated": np.asarray(annotated, np.float64), "training": np.asarray(training, np.float64)}
    if any((n < 1).any() for n in numbers.values()):
        raise ValueError("numbers of planes begin at 1; leave runs without training planes out")
    return least_squares({name: np.log(n) for name, n in numbers.items()}, score)
