"""One hashed table for the features of all fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from pepbench.method import (
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
from pepbench.tables.layout import Floats, constant, part, trained

from .hashing import HashSeed, drawn_seed, largest_divisor


@dataclass(frozen=True)
class Unified(Method):
    """All fields hash into one table, each by functions of its own: feature multiplexing.

    Coleman, Kang, Fahrbach, Wang, Hong, Chi, Cheng, "Unified Embedding: Battle-Tested Feature
    Representations for Web-Scale ML Systems", NeurIPS 2023, arXiv 2305.12102. A table E has M rows
    of width D / c. Feature x of field i looks up c of them, and its vector is their concatenation::

        v(x) = (E[h_i1(x)], …, E[h_ic(x)])

    so that two features are the same only if all c hashes agree. Nothing is allotted to a field:
    features of different fields share rows as those of one field do. The knob is
    M = ⌊B / (D / c)⌋.

    Where we differ: the functions h_ij of different fields are one multiply-shift hash of ids that
    are unique over all fields. The paper lets fields have different numbers of lookups, and so
    different widths; here all have c, since backbones take D dimensions. TensorFlow Recommenders'
    rows start as a truncated normal of standard deviation √(c/D), ours with the variance of the
    uncompressed table.
    """

    name = "unified"
    family = "hashing"
    year = 2023

    lookups: Annotated[
        int, OneOf(1, 2, 4, 8), "c, at most; the largest divisor of D not above it"
    ] = 1
    hash_seed: HashSeed = -1

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """A table of as many rows as ``budget`` admits; infeasible below one."""
        lookups = largest_divisor(dim, self.lookups)
        width = dim // lookups
        self.refuse_below(width, budget, "one row")
        n_rows = min(budget, fields.n_features * dim) // width
        seed = drawn_seed(self.hash_seed)
        return MultiplexedTable(PoolHashes(fields.n_features, seed, n_rows, 0, lookups), width)


class MultiplexedTable(ComposedVectors):
    """Vectors concatenated from hashed rows of one table.

    Parameters
    ----------
    hashes
        The c rows of each feature; it has no importances.
    width
        D / c.
    """

    rows: Tensor
    """Shape (N, c): the rows of each feature."""

    def __init__(self, hashes: PoolHashes, width: int) -> None:
        super().__init__()
        self.hashes = hashes
        self.n_features = hashes.n_features
        self.dim = hashes.n_hashes * width
        rows = torch.from_numpy(hashes.rows_of(np.arange(hashes.n_features)))
        self.register_buffer("rows", rows, persistent=False)
        table = xavier_uniform(hashes.n_pool, width, fan=hashes.n_features + self.dim - width)
        self.table = RowTable(table)

    def vectors(self, features: Tensor) -> Tensor:
        """Vectors of some features: (M,) → (M, D)."""
        return lookup_rows(self.table, self.rows[features]).flatten(-2)

    def export(self) -> UnifiedLayout:
        """The rows, and the hashes that find them."""
        return UnifiedLayout(to_numpy(self.table), self.hashes, self.hashes.n_hashes)


@dataclass(frozen=True, eq=False)
class UnifiedLayout(Layout):
    """One table of pieces, and the hashes into it."""

    form = "multiplexed-rows"

    table: Floats = field(metadata=trained())
    """Shape (M, D / c)."""
    hashes: PoolHashes = field(metadata=part())
    lookups: int = field(metadata=constant())
    """c."""
