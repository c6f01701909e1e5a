"""The uncompressed table."""

from __future__ import annotations

from dataclasses import dataclass

from pepbench.method import Embedding, Fields, Method, PlainTable


@dataclass(frozen=True)
class Full(Method):
    """The full table, N·D: the reference that every claim of parity is measured against."""

    name = "full"
    family = "controls"
    fixed_size = True

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """A table of N rows of width D; infeasible below N·D."""
        size = fields.n_features * dim
        self.refuse_below(size, budget)
        return PlainTable(fields.n_features, dim)
