"""The hashing trick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pepbench.method import (
    Between,
    ComposedVectors,
    Embedding,
    Fields,
    Infeasible,
    Layout,
    Method,
    OneOf,
    RowTable,
    lookup,
    to_numpy,
    view_of,
    xavier_uniform,
)
from pepbench.tables.layout import Constant, Floats

from .hashing import HashConstants, drawn_seed, proportional_rows


@dataclass(frozen=True)
class Hash(Method):
    """Features that a hash function sends to the same row share it.

    Weinberger, Dasgupta, Langford, Smola, Attenberg, "Feature Hashing for Large Scale Multitask
    Learning", ICML 2009, arXiv 0902.2206. Field i has a table E_i of m_i < n_i rows, and::

        v(x) = E_i[h(x)],   h: ids → {0, …, m_i − 1}

    The knob is the number of rows Σ m_i = ⌊B / D⌋, shared out by m_i ∝ n_i, at least one a field.

    Where we differ: no sign ξ(x). It makes inner products of sums unbiased, and has no meaning
    for learnt rows that are looked up one by one. A field with as many rows as features is not
    hashed, so that a budget of 100 % is the full table.
    """

    name = "hash"
    family = "hashing"
    year = 2009
    version = 2

    function: Annotated[
        str,
        OneOf("universal", "modulo", tuned=False),
        "a random multiply-shift hash, or the id modulo the rows",
    ] = "universal"
    hash_seed: Annotated[
        int,
        Between(-1, 2**31 - 1, tuned=False),
        "which hash function of the family; -1: drawn by each seed",
    ] = -1

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """Tables of ⌊budget / D⌋ rows in all; infeasible under one row a field."""
        if budget < fields.n_fields * dim:
            raise Infeasible(
                f"hash: smallest possible is {fields.n_fields * dim} parameters "
                f"(one row a field), {budget} allowed"
            )
        cardinalities = np.asarray(fields.cardinalities)
        rows = proportional_rows(cardinalities, budget // dim)
        hashes = HashConstants(
            cardinalities, rows, drawn_seed(self.hash_seed), self.function == "modulo"
        )
        return HashedTable(hashes, dim)


class HashedTable(ComposedVectors):
    """One table in which every feature has a row, many the same.

    Parameters
    ----------
    hashes
        Which row.
    dim
        D.
    """

    row: Tensor
    """Shape (N,): the row of each feature."""

    def __init__(self, hashes: HashConstants, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.hashes = hashes
        self.n_features = n_features = int(hashes.cardinalities.sum())
        row = torch.from_numpy(hashes.rows_of(np.arange(n_features)))
        self.register_buffer("row", row, persistent=False)
        self.table = RowTable(xavier_uniform(int(hashes.rows.sum()), dim, fan=n_features))

    def vectors(self, features: Tensor) -> Tensor:
        """Vectors of some features: (M,) → (M, D)."""
        view = view_of(self.table, self.row[features])
        return lookup(view.table, view.ids)

    def export(self) -> HashLayout:
        """The rows and the constants."""
        return HashLayout(to_numpy(self.table), self.hashes)


@dataclass(frozen=True, eq=False)
class HashLayout(Layout):
    """Rows, and the constants of the hash that finds them."""

    form = "hashed-rows"

    table: Floats
    """Shape (Σ m_i, D)."""
    hashes: HashConstants

    def values(self) -> Mapping[str, Floats]:
        """The rows."""
        return {"table": self.table}

    def structure(self) -> Mapping[str, NDArray[np.generic]]:
        """Sizes of fields and tables, and the seed."""
        return {
            "cardinalities": self.hashes.cardinalities.astype(np.uint32),
            "rows": self.hashes.rows.astype(np.uint32),
            "seed": np.array([self.hashes.seed], dtype=np.uint32),
        }

    def constants(self) -> Mapping[str, Constant]:
        """Which function."""
        return {"function": self.hashes.function}
