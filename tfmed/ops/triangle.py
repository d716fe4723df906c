"""Triangles of matrices and the vectors of their entries, row by row."""

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike


def size_of(regions: int) -> int:
    """Entries of the vector of a matrix of so many regions."""
    return regions * (regions - 1) // 2


def to_vector(matrices: ArrayLike) -> np.ndarray:
    """`(..., d, d)` -> `(..., d (d - 1) / 2)`, an array of the upper triangle's entries.

    Example:
        >>> to_vector([[0, 1, 2], [1, 0, 3], [2, 3, 0]]).tolist()
        [1, 2, 3]
    """
    matrices = np.asarray(matrices)
    return matrices[(..., *np.triu_indices(matrices.shape[-1], 1))]


def to_matrix(vectors: tf.Tensor, regions: int) -> tf.Tensor:
    """`(n, d (d - 1) / 2)` -> symmetric `(n, d, d)` with a zero diagonal; graph-safe, differentiable.

    Each entry of the result is read from its place in the vector, so both triangles are equal bit for bit.

    Args:
        vectors: tensor.
        regions: d.

    Example:
        >>> to_matrix([[1, 2, 3]], regions=3).numpy().tolist()
        [[[0, 1, 2], [1, 0, 3], [2, 3, 0]]]
    """
    places = np.full((regions, regions), size_of(regions))  # the diagonal reads a zero behind the last entry
    rows, columns = np.triu_indices(regions, 1)
    places[rows, columns] = places[columns, rows] = np.arange(size_of(regions))
    vectors = tf.convert_to_tensor(vectors)
    padded = tf.pad(vectors, [[0, 0], [0, 1]])
    return tf.reshape(tf.gather(padded, places.ravel(), axis=1), (-1, regions, regions))


def lower_triangular(diagonal: tf.Tensor, below: tf.Tensor | None = None) -> tf.Tensor:
    """Lower triangular `(n, d, d)` of a diagonal `(n, d)` and what is below it, `(n, d (d - 1) / 2)`; differentiable.

    Example:
        >>> lower_triangular([[1.0, 2.0]], [[5.0]]).numpy().tolist()
        [[[1.0, 0.0], [5.0, 2.0]]]
    """
    diagonal = tf.convert_to_tensor(diagonal)
    d = diagonal.shape[-1]
    if below is None or d == 1:
        return tf.linalg.diag(diagonal)
    places = np.full((d, d), size_of(d))  # all else reads a zero behind the last entry
    places[np.tril_indices(d, -1)] = np.arange(size_of(d))
    padded = tf.pad(tf.convert_to_tensor(below), [[0, 0], [0, 1]])
    return tf.linalg.set_diag(tf.reshape(tf.gather(padded, places.ravel(), axis=1), (-1, d, d)), diagonal)
