"""What hashing methods share: seeds, and how a budget's rows are distributed among fields.

Serving computes the same hashes and rows: :mod:`pepbench.serve.hashing`,
:mod:`pepbench.serve.addresses`.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray

from pepbench.method import Between, Fields
from pepbench.serve.addresses import FieldRows

HashSeed = Annotated[
    int,
    Between(-1, 2**31 - 1, tuned=False),
    "which hash functions of the family; -1: drawn by each seed",
]
"""The hyper-parameter ``hash_seed``, by default -1."""


def proportional_rows(sizes: NDArray[np.integer], total: int) -> NDArray[np.int64]:
    """Rows m_i ∝ ``sizes`` that sum to ``total``, each between 1 and its size.

    A size of 0 gets none. ``total`` is at least the number of positive sizes; what
    exceeds the sum of the sizes is left over.

    >>> proportional_rows(np.array([100, 10, 1]), 12).tolist()
    [10, 1, 1]
    """
    least = np.minimum(sizes, 1)
    total = min(total, int(sizes.sum()))

    def rows_at(share: float) -> NDArray[np.int64]:
        rows: NDArray[np.int64] = np.maximum(np.floor(sizes * share).astype(np.int64), least)
        return rows

    low, high = 0.0, 1.0
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (middle, high) if rows_at(middle).sum() <= total else (low, middle)
    rows = rows_at(high) if rows_at(high).sum() <= total else rows_at(low)
    # At most one row per field is missing: the fields of the largest remainders get one.
    while (missing := total - int(rows.sum())) > 0:
        remainders = np.where(rows < sizes, sizes * high - rows, -np.inf)
        rows[np.argsort(-remainders, kind="stable")[:missing]] += 1
        rows = np.minimum(rows, sizes)
    return rows.astype(np.int64)


def drawn_seed(hash_seed: int) -> int:
    """The seed of a method's hash functions: ``hash_seed``, or a random one where it is negative.

    A random seed comes from torch's global generator, which the trial seeds. Which features share a
    row matters as much as initial values do: with one hash function for all seeds, the spread
    between seeds would not include it.
    """
    return hash_seed if hash_seed >= 0 else int(torch.randint(2**31, ()))


def hashed_rows(
    fields: Fields, n_rows: int, hash_seed: int, function: str = "universal"
) -> FieldRows:
    """``n_rows`` rows for the features of all fields, m_i ∝ n_i, by a hash function."""
    cardinalities = np.asarray(fields.cardinalities)
    rows = proportional_rows(cardinalities, n_rows)
    return FieldRows(cardinalities, rows, drawn_seed(hash_seed), function)
