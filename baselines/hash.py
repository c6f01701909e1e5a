"""The hashing trick."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pepbench.method import (
    ComposedVectors,
    DirectRows,
    Embedding,
    Fields,
    Layout,
    Method,
    RowTable,
    lookup_rows,
    to_numpy,
    xavier_uniform,
)
from pepbench.serve.addresses import FieldRows
from pepbench.tables.layout import Floats, constant, part, trained

from .hashing import HashFunction, HashSeed, hashed_rows


@dataclass(frozen=True)
class Hash(Method):
    """Features that hash to the same row share it: the hashing trick.

    Weinberger, Dasgupta, Langford, Smola, Attenberg, "Feature Hashing for Large Scale Multitask
    Learning", ICML 2009, arXiv 0902.2206. Field i has a table E_i of m_i < n_i rows, and::

        v(x) = E_i[h(x)],   h: ids → {0, …, m_i − 1}

    The knob is the number of rows Σ m_i = ⌊B / D⌋, with m_i = min(n_i, c): fields of at most c
    features are not hashed, all others have c rows. A budget of 100 % is the full table.

    Where we differ: no sign ξ(x) (eq. 2). It makes inner products of sums unbiased (lemma 2), and
    is meaningless for learnt rows that are looked up one by one. Public code fixes a rate
    m_i / n_i, and leaves small fields alone up to a size that the user sets (DLRM 200, CAFE 2,000
    times the rate); here one c follows from the budget.
    """

    name = "hash"
    family = "hashing"
    year = 2009
    version = 3

    function: HashFunction = "universal"
    hash_seed: HashSeed = -1

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """Tables of ⌊budget / D⌋ rows in all; infeasible below one row per field."""
        self.refuse_below(fields.n_fields * dim, budget, "one row a field")
        return HashedTable(hashed_rows(fields, budget // dim, self.hash_seed, self.function), dim)


class HashedTable(ComposedVectors):
    """One table in which every feature has a row, many the same.

    Parameters
    ----------
    hashes
        The row of each feature.
    dim
        D.
    """

    row: Tensor
    """Shape (N,): the row of each feature."""

    def __init__(self, hashes: FieldRows, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.hashes = hashes
        self.n_features = hashes.n_features
        row = torch.from_numpy(hashes.rows_of(np.arange(hashes.n_features)))
        self.register_buffer("row", row, persistent=False)
        self.table = RowTable(xavier_uniform(hashes.n_rows, dim, fan=hashes.n_features))

    def vectors(self, features: Tensor) -> Tensor:
        """Vectors of some features: (M,) → (M, D)."""
        return lookup_rows(self.table, self.row[features])

    def direct_rows(self) -> DirectRows:
        """The rows, and which of them each feature has."""
        return DirectRows(self.table, row=self.row)

    def export(self) -> HashLayout:
        """The rows, and the hash that finds them."""
        return HashLayout(to_numpy(self.table), self.hashes, self.hashes.function)


@dataclass(frozen=True, eq=False)
class HashLayout(Layout):
    """Rows, and the hash that finds them."""

    form = "hashed-rows"

    table: Floats = field(metadata=trained())
    """Shape (Σ m_i, D)."""
    hashes: FieldRows = field(metadata=part())
    function: str = field(metadata=constant())
