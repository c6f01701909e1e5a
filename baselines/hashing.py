"""What methods share: seeds, numbers of pieces, and how rows are distributed among fields.

Serving computes the same hashes and rows: :mod:`pepbench.serve.hashing`,
:mod:`pepbench.serve.addresses`.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray

from pepbench.method import Between, Fields, OneOf
from pepbench.serve.addresses import FieldRows

HashSeed = Annotated[
    int,
    Between(-1, 2**31 - 1, tuned=False),
    "which hash functions of the family; -1: drawn by each seed",
]
"""The hyper-parameter ``hash_seed``, by default -1."""

HashFunction = Annotated[
    str,
    OneOf("universal", "modulo", tuned=False),
    "a random multiply-shift hash, or the id modulo the rows",
]
"""The hyper-parameter ``function``, by default ``universal``."""


def largest_divisor(dim: int, most: int) -> int:
    """The largest divisor of ``dim`` that is not above ``most``.

    >>> largest_divisor(12, 8), largest_divisor(7, 4)
    (6, 1)
    """
    return max(d for d in range(1, min(dim, most) + 1) if dim % d == 0)


def capped_rows(
    sizes: NDArray[np.integer], total: int, tie_seed: int, step: int = 1
) -> NDArray[np.int64]:
    """Rows m_i = min(n_i, c) of fields with n_i features, with the largest c that ``total`` admits.

    Fields of at most c features keep a row for each; what is left over after that goes to the
    largest fields, a step each. (Rows in proportion to n_i would leave one row to small fields, in
    which features could then not be told apart.)

    Parameters
    ----------
    sizes
        Shape (F,): n_i. A size of 0 gets no row.
    total
        Σ m_i at most.
    tie_seed
        Decides which fields of equal size come first, so that their order does not.
    step
        m_i is n_i, a multiple of this, or less than twice this.

    Examples
    --------
    >>> capped_rows(np.array([100, 3, 3]), 30, 0).tolist()
    [24, 3, 3]
    >>> capped_rows(np.array([100, 3, 3]), 31, 0, step=2).tolist()
    [24, 3, 3]
    >>> capped_rows(np.array([100, 3, 3]), 9, 0, step=2).tolist()
    [3, 3, 3]
    """
    sizes = sizes.astype(np.int64)

    def rows_at(cap: int) -> NDArray[np.int64]:
        return np.where(sizes <= cap, sizes, cap if cap < 2 * step else cap - cap % step)

    caps = range(int(sizes.max(initial=0)) + 1)
    cap = bisect_right(caps, total, key=lambda c: int(rows_at(c).sum())) - 1
    rows = rows_at(max(cap, 0))
    left = total - int(rows.sum())
    for i in np.lexsort((np.random.default_rng(tie_seed).random(len(sizes)), -sizes)).tolist():
        for more in range(min(step, left, int(sizes[i] - rows[i])), 0, -1):
            m = int(rows[i]) + more
            if m == sizes[i] or m < 2 * step or m % step == 0:
                rows[i] = m
                left -= more
                break
    return rows


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
    """``n_rows`` rows for the features of all fields, min(n_i, c) each, by a hash function."""
    cardinalities, seed = np.asarray(fields.cardinalities), drawn_seed(hash_seed)
    return FieldRows(cardinalities, capped_rows(cardinalities, n_rows, seed), seed, function)
