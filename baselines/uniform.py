"""One narrow width for all features."""

from __future__ import annotations

from dataclasses import dataclass

from pepbench.method import Embedding, Fields, Method, PlainTable


@dataclass(frozen=True)
class Uniform(Method):
    """Every feature d' = ⌊B / N⌋ wide: what everybody does first.

    The backbone runs at width d', it is not padded to D. The knob is d', at most D.
    """

    name = "uniform"
    family = "controls"

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """A table of N rows of width ⌊budget / N⌋; infeasible below N."""
        width = min(dim, budget // fields.n_features)
        self.refuse_below(fields.n_features, budget, "one a feature")
        table = PlainTable(fields.n_features, width)
        table.unused_budget = "widths are whole numbers"
        return table
