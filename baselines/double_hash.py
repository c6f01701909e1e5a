"""Own rows for frequent features, two hash functions for the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from pepbench.method import (
    Between,
    ComposedVectors,
    Embedding,
    Fields,
    Layout,
    Method,
    OneOf,
    RowTable,
    lookup_rows,
    to_numpy,
    xavier_uniform,
)
from pepbench.serve.addresses import FieldRows, OwnOrHashedRows
from pepbench.tables.layout import Floats, constant, part, trained

from .frequency import by_frequency
from .hashing import HashSeed, capped_rows, drawn_seed


@dataclass(frozen=True)
class DoubleHash(Method):
    """Frequent features keep their rows; the others are the sum of two hashed rows.

    Zhang, Liu, Xie, Ktena, Tejani, Gupta, Myana, Dilipkumar, Paul, Ihara, Upadhyaya, Huszár, Shi,
    "Model Size Reduction Using Frequency Based Double Hashing for Recommender Systems", RecSys
    2020, arXiv 2007.14523. The k features that are most frequent in the training split have a row
    each. Every other feature x of field i has two, by independent hash functions::

        v(x) = E_i[h₁(x)] + E_i[h₂(x)]          or          (E_i[h₁(x)]_{≤D/2}, E_i[h₂(x)]_{>D/2})

    Two features are the same only if both hashes agree, or crosswise in the sum, whose order does
    not matter: with m_i rows there are m_i² concatenations and m_i (m_i + 1) / 2 sums.

    The knob is the number of rows in all, R = ⌊B / D⌋: k = ``frequent``·R, the others distributed
    as m_i = min(n_i, c), n_i the features left in field i, with the largest c that R admits.

    Where we differ: both hashes read one table per field instead of two, which for the same memory
    has twice the rows, and about twice the sums; with ``combine="concat"`` they read its left and
    its right half. A field with rows enough for all of its features is not hashed. Summands start
    with half the variance of own rows.
    """

    name = "double-hash"
    family = "hashing"
    year = 2020
    version = 4

    frequent: Annotated[
        float,
        Between(0.0, 0.9, allow=(0.0, 1.0)),
        "share of the rows that belong to one frequent feature each",
    ] = 0.5
    combine: Annotated[
        str, OneOf("sum", "concat", tuned=False), "how the two hashed rows become one vector"
    ] = "sum"
    hash_seed: HashSeed = -1

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """A table of ⌊budget / D⌋ rows; infeasible below one row per field."""
        self.refuse_below(fields.n_fields * dim, budget, "one row a field")
        rows = own_or_hashed(fields, budget // dim, self.frequent, drawn_seed(self.hash_seed))
        return DoubleHashTable(rows, dim, self.combine)


def own_or_hashed(fields: Fields, n_rows: int, frequent: float, seed: int) -> OwnOrHashedRows:
    """Give ``frequent`` of ``n_rows`` to the most frequent features, the others to the fields.

    Every field with features left has a row; ties of frequency are broken at random.
    """
    order = by_frequency(fields.frequencies)
    n_own = min(round(frequent * n_rows), n_rows - fields.n_fields)
    owns = np.zeros(fields.n_features, dtype=np.bool_)
    owns[order[:n_own]] = True
    left = np.bincount(fields.field_of_feature[~owns], minlength=fields.n_fields)
    rows = capped_rows(left, n_rows - n_own, seed)
    # Where the rows suffice for all, hashing would only cause collisions.
    enough = rows >= left
    owns |= enough[fields.field_of_feature]
    hashed = FieldRows(np.asarray(fields.cardinalities), np.where(enough, 0, rows), seed)
    return OwnOrHashedRows(np.packbits(owns), hashed)


class DoubleHashTable(ComposedVectors):
    """Own rows, and hashed ones in pairs.

    Parameters
    ----------
    rows
        Two rows of each feature.
    dim
        D.
    combine
        ``"sum"`` or ``"concat"``.
    """

    row_pairs: Tensor
    """Shape (N, 2): two rows of each feature."""
    shares: Tensor
    """Shape (N,): whether they are shared with other features."""

    def __init__(self, rows: OwnOrHashedRows, dim: int, combine: str) -> None:
        super().__init__()
        self.dim = dim
        self.rows = rows
        self.combine = combine
        self.n_features = n_features = rows.n_features
        ids = np.arange(n_features)
        shares = torch.from_numpy(~rows.flags.at(ids))
        self.register_buffer("row_pairs", torch.from_numpy(rows.rows_of(ids)), persistent=False)
        self.register_buffer("shares", shares, persistent=False)
        table = xavier_uniform(rows.n_rows, dim, fan=n_features)
        if combine == "sum":
            table[rows.flags.count :] *= 0.5**0.5
        self.table = RowTable(table)

    def vectors(self, features: Tensor) -> Tensor:
        """Vectors of some features: (M,) → (M, D)."""
        first, second = lookup_rows(self.table, self.row_pairs[features]).unbind(-2)
        if self.combine == "sum":
            return first + second * self.shares[features].unsqueeze(-1)
        half = self.dim // 2
        return torch.cat([first[..., :half], second[..., half:]], dim=-1)

    def export(self) -> DoubleHashLayout:
        """The rows, and how to find them."""
        return DoubleHashLayout(to_numpy(self.table), self.rows, self.combine)


@dataclass(frozen=True, eq=False)
class DoubleHashLayout(Layout):
    """Own rows by id, then the hashed rows by field, and one bit per feature for which it has."""

    form = "double-hashed"

    table: Floats = field(metadata=trained())
    """Shape (R, D)."""
    rows: OwnOrHashedRows = field(metadata=part())
    combine: str = field(metadata=constant())
