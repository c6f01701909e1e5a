"""Own rows for frequent features, two hash functions for the others."""

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
from pepbench.serve.hashing import fields_of, hashed
from pepbench.tables.layout import Constant, Floats

from .hashing import drawn_seed, proportional_rows


@dataclass(frozen=True)
class DoubleHash(Method):
    """Frequent features keep their rows; the others are the sum of two hashed rows.

    Zhang, Liu, Xie, Ktena, Tejani, Gupta, Myana, Dilipkumar, Paul, Ihara, Upadhyaya, Huszár, Shi,
    "Model Size Reduction Using Frequency Based Double Hashing for Recommender Systems", RecSys
    2020, arXiv 2007.14523. The k features that are most frequent in the training split have a row
    each. Every other feature x of field i has two, by independent hash functions::

        v(x) = E_i[h₁(x)] + E_i[h₂(x)]          or          (E_i[h₁(x)]_{≤D/2}, E_i[h₂(x)]_{>D/2})

    Two features are the same only if both hashes agree, in m_i² cases instead of m_i.

    The knob is the number of rows in all, R = ⌊B / D⌋: k = ``frequent``·R, the others shared out
    by m_i ∝ the features that are left in field i, at least one a field.

    Where we differ: both hashes read one table a field instead of two, which for the same memory
    has twice the rows; with ``combine="concat"`` they read its left and its right half. A field
    with rows enough for all of its features is not hashed. Summands start with half the variance
    of own rows.
    """

    name = "double-hash"
    family = "hashing"
    year = 2020
    version = 2

    frequent: Annotated[
        float,
        Between(0.0, 0.9, allow=(0.0, 1.0)),
        "share of the rows that belong to one frequent feature each",
    ] = 0.5
    combine: Annotated[
        str, OneOf("sum", "concat", tuned=False), "how the two hashed rows become one vector"
    ] = "sum"
    hash_seed: Annotated[
        int,
        Between(-1, 2**31 - 1, tuned=False),
        "which hash functions of the family; -1: drawn by each seed",
    ] = -1

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """A table of ⌊budget / D⌋ rows; infeasible under one row a field."""
        if budget < fields.n_fields * dim:
            raise Infeasible(
                f"double-hash: smallest possible is {fields.n_fields * dim} parameters "
                f"(one row a field), {budget} allowed"
            )
        choice = choose_rows(fields, budget // dim, self.frequent, drawn_seed(self.hash_seed))
        return DoubleHashTable(choice, dim, self.combine)


@dataclass(frozen=True, eq=False)
class RowChoice:
    """Which features have a row, and all that must be known to find the rows of the others."""

    owns: NDArray[np.bool_]
    """Shape (N,): own rows come first in the table, by id."""
    cardinalities: NDArray[np.integer]
    """Shape (F,)."""
    rows: NDArray[np.integer]
    """Shape (F,): hashed rows m_i of each field."""
    seed: int

    def rows_of(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """Two rows of each global id: (…) → (…, 2); twice the same if it is its own."""
        n_own = np.cumsum(self.owns)
        field = fields_of(ids, self.cardinalities)
        n_rows = np.maximum(self.rows, 1).astype(np.int64)[field]
        start = n_own[-1] + (np.cumsum(self.rows) - self.rows).astype(np.int64)[field]
        keys = np.asarray(ids, dtype=np.int64)
        columns = [
            np.where(self.owns[ids], n_own[ids] - 1, start + hashed(keys, n_rows, self.seed, j))
            for j in range(2)
        ]
        return np.stack(columns, axis=-1)


def choose_rows(fields: Fields, n_rows: int, frequent: float, seed: int) -> RowChoice:
    """Give ``frequent`` of ``n_rows`` to the most frequent features, the others to the fields.

    Every field of which features are left has a row; ties of frequency go to the lowest id.
    """
    order = np.argsort(-fields.frequencies, kind="stable")
    n_own = min(round(frequent * n_rows), n_rows - fields.n_fields)
    owns = np.zeros(fields.n_features, dtype=np.bool_)
    owns[order[:n_own]] = True
    left = np.bincount(fields.field_of_feature[~owns], minlength=fields.n_fields)
    rows = proportional_rows(left, n_rows - n_own)
    # Where the rows suffice for all, hashing would only cause collisions.
    enough = rows >= left
    owns |= enough[fields.field_of_feature]
    return RowChoice(owns, np.asarray(fields.cardinalities), np.where(enough, 0, rows), seed)


class DoubleHashTable(ComposedVectors):
    """Own rows, and hashed ones in pairs.

    Parameters
    ----------
    choice
        Which rows.
    dim
        D.
    combine
        ``"sum"`` or ``"concat"``.
    """

    rows: Tensor
    """Shape (N, 2): two rows of each feature."""
    shares: Tensor
    """Shape (N,): whether they are shared with other features."""

    def __init__(self, choice: RowChoice, dim: int, combine: str) -> None:
        super().__init__()
        self.dim = dim
        self.choice = choice
        self.combine = combine
        self.n_features = n_features = len(choice.owns)
        rows = choice.rows_of(np.arange(n_features))
        self.register_buffer("rows", torch.from_numpy(rows), persistent=False)
        self.register_buffer("shares", torch.from_numpy(~choice.owns), persistent=False)
        n_own = int(choice.owns.sum())
        table = xavier_uniform(n_own + int(choice.rows.sum()), dim, fan=n_features)
        if combine == "sum":
            table[n_own:] *= 0.5**0.5
        self.table = RowTable(table)

    def vectors(self, features: Tensor) -> Tensor:
        """Vectors of some features: (M,) → (M, D)."""
        view = view_of(self.table, self.rows[features])
        first, second = lookup(view.table, view.ids).unbind(-2)
        if self.combine == "sum":
            return first + second * self.shares[features].unsqueeze(-1)
        half = self.dim // 2
        return torch.cat([first[..., :half], second[..., half:]], dim=-1)

    def export(self) -> DoubleHashLayout:
        """The rows, and how to find them."""
        return DoubleHashLayout(to_numpy(self.table), self.choice, self.combine)


@dataclass(frozen=True, eq=False)
class DoubleHashLayout(Layout):
    """Own rows by id, then the hashed rows by field; one bit a feature tells which."""

    form = "double-hashed"

    table: Floats
    """Shape (R, D)."""
    choice: RowChoice
    combine: str

    def values(self) -> Mapping[str, Floats]:
        """The rows."""
        return {"table": self.table}

    def structure(self) -> Mapping[str, NDArray[np.generic]]:
        """A bit a feature, sizes of fields and tables, and the seed."""
        return {
            "owns": np.packbits(self.choice.owns),
            "cardinalities": self.choice.cardinalities.astype(np.uint32),
            "rows": self.choice.rows.astype(np.uint32),
            "seed": np.array([self.choice.seed], dtype=np.uint32),
        }

    def constants(self) -> Mapping[str, Constant]:
        """How two rows become one."""
        return {"combine": self.combine}
