"""Pooling: the vectors of a row's values become the one vector of their field.

A *bag* is the values of one row in a multi-valued field, such as the genres of a film. A bag
without values has the zero vector. A value that occurs twice counts twice.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Pool = Literal["mean", "sum", "sqrtn"]
"""``mean``, ``sum``, or ``sqrtn``: the sum divided by the root of the number of values."""

EXPONENTS: dict[Pool, float] = {"mean": 1.0, "sum": 0.0, "sqrtn": 0.5}
"""A sum of n vectors is divided by n to this power."""

PADDING = -1
"""Stands in a row's slots behind the last value."""


def factors_of(lengths: NDArray[np.integer], exponents: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each vector of a bag is multiplied by before they are added: (B, F) → (B, F).

    Parameters
    ----------
    lengths
        Shape (B, F): number of values of each bag.
    exponents
        Shape (F,): :data:`EXPONENTS` of the fields.

    Examples
    --------
    >>> factors_of(np.array([[4, 4], [0, 1]]), np.array([1.0, 0.5])).tolist()
    [[0.25, 0.5], [1.0, 1.0]]
    """
    factors: NDArray[np.float64] = np.maximum(lengths, 1).astype(np.float64) ** -exponents
    return factors


def pooled(
    vectors: NDArray[Any], lengths: NDArray[np.integer], exponents: NDArray[np.float64]
) -> NDArray[Any]:
    """Vectors of V values, bag by bag, as one vector for each bag: (V, D) → (B, F, D).

    Parameters
    ----------
    vectors
        Shape (V, D), row by row and field by field.
    lengths, exponents
        As for :func:`factors_of`; the lengths add up to V.

    Examples
    --------
    >>> pooled(np.array([[1.0], [2.0], [5.0]]), np.array([[2, 1]]), np.array([1.0, 1.0])).tolist()
    [[[1.5], [5.0]]]
    """
    flat = lengths.ravel()
    starts = np.cumsum(flat) - flat
    total: NDArray[Any] = np.zeros((flat.size, vectors.shape[-1]), dtype=vectors.dtype)
    for position in range(int(flat.max(initial=0))):
        longer = flat > position
        total[longer] += vectors[starts[longer] + position]
    total *= factors_of(lengths, exponents).astype(vectors.dtype).reshape(-1, 1)
    return total.reshape(*lengths.shape, vectors.shape[-1])
