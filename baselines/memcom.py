"""A hashed row times a number of the feature's own."""

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
class MEmCom(Method):
    """A row shared by hashing, scaled (and shifted) by one number for each feature.

    Pansare, Katukuri, Arora, Cipollone, Shaik, Tokgozoglu, Venkataraman, "Learning Compressed
    Embeddings for On-Device Inference", MLSys 2022, arXiv 2203.10135. Field i has a table E_i of
    m_i < n_i rows, and every feature a weight w_x, with ``bias`` also a b_x, both broadcast over
    the D dimensions::

        v(x) = E_i[x mod m_i] · w_x  (+ b_x)

    so that features of one row lie on one line, told apart by their weights. The count is
    Σ m_i D + N, or + 2N. The knob is Σ m_i = ⌊(B − N) / D⌋, shared out by m_i ∝ n_i, at least one
    a field. Weights cost a D-th of the full table, so that small budgets are infeasible.

    Where we differ: w starts at 1 and b at 0, so that vectors start as those of the
    uncompressed table.
    """

    name = "memcom"
    family = "hashing"
    year = 2022
    version = 2

    bias: Annotated[bool, OneOf(False, True), "a second number for each feature, added"] = False
    function: Annotated[
        str,
        OneOf("modulo", "universal", tuned=False),
        "the id modulo the rows, or a random multiply-shift hash",
    ] = "modulo"
    hash_seed: Annotated[
        int,
        Between(-1, 2**31 - 1, tuned=False),
        "which hash function of the family; -1: drawn by each seed",
    ] = -1

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """Weights for N features and as many rows as ``budget`` admits; one a field at least."""
        n_weights = fields.n_features * (2 if self.bias else 1)
        smallest = fields.n_fields * dim + n_weights
        if budget < smallest:
            raise Infeasible(
                f"memcom: smallest possible is {smallest} parameters (one row a field, "
                f"{'two numbers' if self.bias else 'one number'} a feature), {budget} allowed"
            )
        cardinalities = np.asarray(fields.cardinalities)
        rows = proportional_rows(cardinalities, (budget - n_weights) // dim)
        hashes = HashConstants(
            cardinalities, rows, drawn_seed(self.hash_seed), self.function == "modulo"
        )
        return ScaledRows(hashes, dim, self.bias)


class ScaledRows(ComposedVectors):
    """Shared rows, times a weight of the feature's own, plus a bias if there is one.

    Parameters
    ----------
    hashes
        Which row.
    dim
        D.
    bias
        Whether features have a bias.
    """

    row: Tensor
    """Shape (N,): the row of each feature."""

    def __init__(self, hashes: HashConstants, dim: int, bias: bool) -> None:
        super().__init__()
        self.dim = dim
        self.hashes = hashes
        self.n_features = n_features = int(hashes.cardinalities.sum())
        row = torch.from_numpy(hashes.rows_of(np.arange(n_features)))
        self.register_buffer("row", row, persistent=False)
        self.table = RowTable(xavier_uniform(int(hashes.rows.sum()), dim, fan=n_features))
        # One table (N, 2) of weights and biases: they are looked up together.
        own = torch.tensor([[1.0, 0.0]] if bias else [[1.0]])
        self.own = RowTable(own.repeat(n_features, 1))

    def vectors(self, features: Tensor) -> Tensor:
        """Vectors of some features: (M,) → (M, D)."""
        shared, own = view_of(self.table, self.row[features]), view_of(self.own, features)
        numbers = lookup(own.table, own.ids)
        scaled = lookup(shared.table, shared.ids) * numbers[..., :1]
        return scaled if numbers.shape[-1] == 1 else scaled + numbers[..., 1:]

    def export(self) -> MEmComLayout:
        """Rows, weights and the constants of the hash."""
        return MEmComLayout(to_numpy(self.table), to_numpy(self.own), self.hashes)


@dataclass(frozen=True, eq=False)
class MEmComLayout(Layout):
    """Rows, the constants of the hash that finds them, and each feature's own numbers."""

    form = "scaled-rows"

    table: Floats
    """Shape (Σ m_i, D)."""
    own: Floats
    """Shape (N, 1) or (N, 2): weight, and bias if there is one."""
    hashes: HashConstants

    def values(self) -> Mapping[str, Floats]:
        """Rows and own numbers."""
        return {"table": self.table, "own": self.own}

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
