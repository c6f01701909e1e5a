"""A hashed row times a number of the feature's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import torch
from torch import Tensor

from pepbench.method import (
    Embedding,
    Fields,
    Fitted,
    Method,
    OneOf,
    RowTable,
    Task,
    lookup_rows,
    to_numpy,
)
from pepbench.serve.addresses import FieldRows
from pepbench.tables.layout import Floats, trained

from .hash import HashedTable, HashLayout
from .hashing import HashFunction, HashSeed, hashed_rows


@dataclass(frozen=True)
class MEmCom(Method):
    """A row shared by hashing, scaled (and shifted) by one number for each feature.

    Pansare, Katukuri, Arora, Cipollone, Shaik, Tokgozoglu, Venkataraman, "Learning Compressed
    Embeddings for On-Device Inference", MLSys 2022, arXiv 2203.10135. Field i has a table E_i of
    m_i < n_i rows, and every feature a weight w_x, with ``bias`` also a b_x, both broadcast over
    the D dimensions::

        v(x) = E_i[x mod m_i] · w_x  (+ b_x)

    so that features that share a row lie on one line and differ by their weights. The count is
    Σ m_i D + N, or + 2N. The knob is Σ m_i = ⌊(B − N) / D⌋, with m_i = min(n_i, c). Weights cost
    1/D of the full table, so that small budgets are infeasible. A bias that does not fit beside a
    row for each field is left out, which the notes say.

    Where we differ: w starts at 1 and b at 0, so that vectors start as those of the
    uncompressed table. The rows are hashed, so that nothing depends on how features are numbered;
    the paper takes the id modulo the rows (``function="modulo"``), its ids sorted by frequency.
    """

    name = "memcom"
    family = "hashing"
    year = 2022
    version = 3

    bias: Annotated[bool, OneOf(False, True), "a second number for each feature, added"] = False
    function: HashFunction = "universal"
    hash_seed: HashSeed = -1

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """Weights for N features and as many rows as ``budget`` admits; at least one per field."""
        smallest = fields.n_fields * dim + fields.n_features
        self.refuse_below(smallest, budget, "one row a field, one number a feature")
        bias = self.has_bias(fields, dim, budget)
        n_rows = (budget - fields.n_features * (1 + bias)) // dim
        rows = hashed_rows(fields, n_rows, self.hash_seed, self.function)
        return ScaledRows(rows, dim, bias)

    def has_bias(self, fields: Fields, dim: int, budget: int) -> bool:
        """Whether there is a bias: if it is asked for, and fits beside one row for each field."""
        return self.bias and fields.n_fields * dim + 2 * fields.n_features <= budget

    def fit(self, task: Task, budget: int) -> Fitted:
        """Train; note where the bias had to be left out."""
        fitted = super().fit(task, budget)
        if self.bias and not self.has_bias(task.fields, task.dim, budget):
            return fitted.with_notes(bias_left_out=True)
        return fitted


class ScaledRows(HashedTable):
    """Shared rows, times a weight of the feature's own, plus a bias if there is one.

    Parameters
    ----------
    hashes
        The shared row of each feature.
    dim
        D.
    bias
        Whether features have a bias.
    """

    def __init__(self, hashes: FieldRows, dim: int, bias: bool) -> None:
        super().__init__(hashes, dim)
        # One table (N, 2) of weights and biases: they are looked up together.
        own = torch.tensor([[1.0, 0.0]] if bias else [[1.0]])
        self.own = RowTable(own.repeat(hashes.n_features, 1))

    def vectors(self, features: Tensor) -> Tensor:
        """Vectors of some features: (M,) → (M, D)."""
        numbers = lookup_rows(self.own, features)
        scaled = super().vectors(features) * numbers[..., :1]
        return scaled if numbers.shape[-1] == 1 else scaled + numbers[..., 1:]

    def export(self) -> MEmComLayout:
        """Rows, the hash that finds them, and each feature's own numbers."""
        stored = to_numpy(self.table), self.hashes, self.hashes.function
        return MEmComLayout(*stored, to_numpy(self.own))


@dataclass(frozen=True, eq=False)
class MEmComLayout(HashLayout):
    """Rows, the hash that finds them, and each feature's own numbers."""

    form = "scaled-rows"

    own: Floats = field(metadata=trained())
    """Shape (N, 1) or (N, 2): weight, and bias if there is one."""
