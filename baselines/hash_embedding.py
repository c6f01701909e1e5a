"""Weighted sums of rows from one shared pool."""

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
from pepbench.serve.addresses import PoolHashes
from pepbench.tables.layout import Floats, part, trained

from .hashing import HashSeed, drawn_seed


@dataclass(frozen=True)
class HashEmbedding(Method):
    """k hashed rows of a pool, weighted by importances from a larger hash table.

    Svenstrup, Hansen, Winther, "Hash Embeddings for Efficient Word Representations", NeurIPS 2017,
    arXiv 1709.03933. All fields share a pool E of m rows and a table P of K importance vectors
    (§3)::

        v(x) = Σ_j p_x^(j) E[h_j(x)],   p_x = P[h_0(x)] ∈ R^k,   j = 1, …, k

    The count is m D + K k. The knob is m, after ``importance`` of the budget went to P, with K at
    most N; what P does not need goes to E.

    Where we differ: with K = N each feature has its own importances, as in the paper's variant with
    a dictionary. The h_j hash x itself; in the paper features that share importances share rows,
    too. The importances are not appended to the vector (optional in the paper, the default of the
    released code), since backbones take D dimensions. They start at 1, and rows with a k-th of the
    variance of the uncompressed table, so that sums start as its rows do. The released code draws
    importances from N(0, 0.0005²) and rows from N(0, 0.1²), so that vectors start close to 0
    (``start="released"``; where we compared the two, its test AUC was higher by 0.012).
    """

    name = "hash-embedding"
    family = "hashing"
    year = 2017
    version = 3

    n_hashes: Annotated[
        int, Between(2, 4, allow=(1, 64), tuned=True), "k, the rows that are summed"
    ] = 2
    importance: Annotated[
        float,
        Between(0.05, 0.6, allow=(0.0, 1.0)),
        "share of the budget for the table of importances, which stops at K = N",
    ] = 0.3
    start: Annotated[
        str,
        OneOf("table", "released"),
        "initial vectors: as those of the full table, or close to 0 as in the released code",
    ] = "table"
    hash_seed: HashSeed = -1

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """A pool and importances; infeasible below one row of each, D + k."""
        n_pool, n_weights = self.sizes(fields.n_features, dim, budget)
        seed = drawn_seed(self.hash_seed)
        hashes = PoolHashes(fields.n_features, seed, n_pool, n_weights, self.n_hashes)
        return PooledRows(hashes, dim, self.start)

    def sizes(self, n_features: int, dim: int, budget: int) -> tuple[int, int]:
        """M and K for a budget, each from 1 to N."""
        k = self.n_hashes
        self.refuse_below(dim + k, budget, "one row and one vector of importances")
        wanted = round(self.importance * budget / k)
        n_weights = max(1, min(wanted, n_features, (budget - dim) // k))
        n_pool = min((budget - n_weights * k) // dim, n_features)
        # The remainder of the division, and what a pool of N rows leaves.
        return n_pool, min((budget - n_pool * dim) // k, n_features)


class PooledRows(ComposedVectors):
    """v(x) = Σ_j p_x^(j) E[h_j(x)].

    Parameters
    ----------
    hashes
        Which rows, and which importances.
    dim
        D.
    start
        The option of :class:`HashEmbedding`.
    """

    rows: Tensor
    """Shape (N, k): h_j(x)."""
    weight: Tensor
    """Shape (N,): h_0(x)."""

    def __init__(self, hashes: PoolHashes, dim: int, start: str = "table") -> None:
        super().__init__()
        self.dim = dim
        self.hashes = hashes
        k = hashes.n_hashes
        self.n_features = hashes.n_features
        ids = np.arange(hashes.n_features)
        self.register_buffer("rows", torch.from_numpy(hashes.rows_of(ids)), persistent=False)
        self.register_buffer("weight", torch.from_numpy(hashes.weights_of(ids)), persistent=False)
        if start == "released":
            pool = 0.1 * torch.randn(hashes.n_pool, dim)
            importance = 0.0005 * torch.randn(hashes.n_weights, k)
        else:
            pool = xavier_uniform(hashes.n_pool, dim, fan=hashes.n_features) / k**0.5
            importance = torch.ones(hashes.n_weights, k)
        self.pool = RowTable(pool)
        self.importance = RowTable(importance)

    def vectors(self, features: Tensor) -> Tensor:
        """Vectors of some features: (M,) → (M, D)."""
        rows = lookup_rows(self.pool, self.rows[features])
        weights = lookup_rows(self.importance, self.weight[features])
        return (weights.unsqueeze(-1) * rows).sum(-2)

    def export(self) -> HashEmbeddingLayout:
        """Pool, importances, and the hashes into both."""
        return HashEmbeddingLayout(to_numpy(self.pool), to_numpy(self.importance), self.hashes)


@dataclass(frozen=True, eq=False)
class HashEmbeddingLayout(Layout):
    """A pool, importances, and the hashes into both."""

    form = "pooled-rows"

    pool: Floats = field(metadata=trained())
    """Shape (m, D)."""
    importance: Floats = field(metadata=trained())
    """Shape (K, k)."""
    hashes: PoolHashes = field(metadata=part())
