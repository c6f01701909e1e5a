"""How rows are shared out among fields, and features found among them.

Shared by every method that hashes. The hash functions themselves are those that serving needs:
:mod:`pepbench.serve.hashing`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pepbench.serve.hashing import rows_of


def proportional_rows(sizes: NDArray[np.integer], total: int) -> NDArray[np.int64]:
    """Rows m_i ∝ ``sizes`` that sum to ``total``, each between 1 and its size.

    Where the size is 0 there are none. ``total`` is at least the number of positive sizes; what
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
    # At most one row a field is missing: to those whose next row is nearest.
    while (missing := total - int(rows.sum())) > 0:
        remainders = np.where(rows < sizes, sizes * high - rows, -np.inf)
        rows[np.argsort(-remainders, kind="stable")[:missing]] += 1
        rows = np.minimum(rows, sizes)
    return rows.astype(np.int64)


def drawn_seed(hash_seed: int) -> int:
    """The seed of a method's hash functions: ``hash_seed``, or a random one where it is negative.

    It comes from torch's global generator, which a trial seeds, as initial values do. Which
    features share a row matters as much as those: with one function for all seeds, the spread
    between seeds would leave it out.
    """
    return hash_seed if hash_seed >= 0 else int(torch.randint(2**31, ()))


@dataclass(frozen=True, eq=False)
class HashConstants:
    """All that must be known to find the row of a feature."""

    cardinalities: NDArray[np.integer]
    """Shape (F,)."""
    rows: NDArray[np.integer]
    """Shape (F,): m_i."""
    seed: int
    modulo: bool

    @property
    def function(self) -> str:
        """Its name among the storage form's constants."""
        return "modulo" if self.modulo else "universal"

    def rows_of(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """Rows of global ids of any shape."""
        return rows_of(ids, self.cardinalities, self.rows, self.seed, modulo=self.modulo)
