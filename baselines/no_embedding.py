"""No vectors at all: what a table must beat to be worth any of its numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pepbench.method import (
    DirectRows,
    Embedding,
    Fields,
    MaskedTable,
    Method,
    TableEmbedding,
    View,
)
from pepbench.tables.layout import Mixed


@dataclass(frozen=True)
class NoEmbedding(Method):
    """A table of no numbers: all vectors are zero, and the backbone has its other weights alone.

    Every backbone here has a weight for each feature beside the vectors, which no budget counts, so
    what is left is logistic regression (and what a network makes of dense fields). Where it is no
    worse than the full table, a small table that keeps the AUC has shown nothing. To the backbone
    the zeros are a column wide, as a vector of the narrowest uniform table is.
    """

    name = "no-embedding"
    family = "controls"
    fixed_size = True

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:  # noqa: ARG002
        """Zeros of width 1; feasible for any budget."""
        return ZeroColumn(fields.n_features)


class ZeroColumn(TableEmbedding):
    """A zero for each of N features, none of them trained."""

    dim = 1
    unused_budget = "it has no vectors"

    def __init__(self, n_features: int) -> None:
        super().__init__()
        zeros = torch.zeros(n_features, self.dim)
        self.masked = MaskedTable(zeros, zeros.bool())

    def as_table(self, ids: Tensor) -> View:
        """The zeros."""
        return self.masked.as_table(ids)

    def direct_rows(self) -> DirectRows:
        """The zeros, and that none may change."""
        return self.masked.direct_rows()

    def n_parameters(self) -> int:
        """None."""
        return 0

    def export(self) -> Mixed:
        """One block of rows without columns, padded with zeros."""
        n_features = len(self.masked.table)
        return Mixed(
            tables=(np.zeros((n_features, 0), dtype=np.float32),),
            projections=(None,),
            block_of_feature=np.zeros(n_features, dtype=np.int64),
            dim=self.dim,
        )
