"""One factorisation of the whole table."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pepbench.method import (
    Blocks,
    ComposedVectors,
    DirectRows,
    Embedding,
    Fields,
    Method,
    RowTable,
    lookup_rows,
    to_numpy,
)
from pepbench.tables.layout import Mixed


@dataclass(frozen=True)
class LowRank(Method):
    """The table as a product of N × r and r × D, with r = ⌊B / (N + D)⌋.

    What a narrow table gains from a linear map to the full width, and no more: every method with
    projections must beat it. The rows of width r are trained, and projected for each batch: the
    N × D table is never stored. The knob is r, at most D.
    """

    name = "low-rank"
    family = "controls"

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """Factors of the largest rank within ``budget``; infeasible below N + D."""
        n_features = fields.n_features
        rank = min(dim, budget // (n_features + dim))
        self.refuse_below(n_features + dim, budget, "rank 1")
        table = LowRankTable(n_features, rank, dim)
        table.unused_budget = "ranks are whole numbers"
        return table


class LowRankTable(ComposedVectors):
    """Rows of width r, projected to D: v(x) = U[x] W.

    W starts with orthonormal rows, and U with the variance that then gives the vectors that of
    the uncompressed Xavier table, 2 / (N + D), whatever r.

    Parameters
    ----------
    n_features, rank, dim
        N, r and D.
    """

    def __init__(self, n_features: int, rank: int, dim: int) -> None:
        super().__init__()
        self.dim, self.n_features = dim, n_features
        self.projection = nn.Parameter(nn.init.orthogonal_(torch.empty(rank, dim)))
        bound = math.sqrt(3.0 * 2.0 / (n_features + dim) * dim / rank)
        self.table = RowTable(torch.empty(n_features, rank).uniform_(-bound, bound))

    def vectors(self, features: Tensor) -> Tensor:
        """Vectors of distinct features: (M,) → (M, D)."""
        return lookup_rows(self.table, features) @ self.projection

    def direct_rows(self) -> DirectRows:
        """Both factors."""
        return DirectRows(Blocks((self.table,), (self.projection,), self.dim))

    def export(self) -> Mixed:
        """Both factors."""
        return Mixed(
            tables=(to_numpy(self.table),),
            projections=(to_numpy(self.projection),),
            block_of_feature=np.zeros(len(self.table), dtype=np.int64),
            dim=self.dim,
        )
