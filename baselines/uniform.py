"""One narrow width for all features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch

from pepbench.method import (
    Embedding,
    Fields,
    MaskedTable,
    Method,
    OneOf,
    PlainTable,
    xavier_uniform,
)

from .frequency import by_frequency


@dataclass(frozen=True)
class Uniform(Method):
    """Every feature d' = ⌊B / N⌋ wide: what everybody does first.

    The backbone runs at width d', it is not padded to D. The knob is d', at most D. What is left of
    the budget, B − N·d', is up to N − 1 parameters and stays unused, or with
    ``remainder="frequent"`` gives as many of the most frequent features (of the training split,
    ties at random) one more column. The backbone then runs at width d' + 1, in which the
    other features have a zero.
    """

    name = "uniform"
    family = "controls"
    version = 2

    remainder: Annotated[
        str,
        OneOf("unused", "frequent"),
        "what becomes of the rest of the budget: one more column for frequent features",
    ] = "unused"

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """A table of N rows of width ⌊budget / N⌋; infeasible below N."""
        n_features = fields.n_features
        self.refuse_below(n_features, budget, "one a feature")
        width, rest = divmod(budget, n_features)
        if width >= dim or rest == 0 or self.remainder == "unused":
            table = PlainTable(n_features, min(width, dim))
            table.unused_budget = "widths are whole numbers"
            return table
        mask = torch.ones(n_features, width + 1, dtype=torch.bool)
        mask[by_frequency(fields.frequencies)[rest:], width] = False
        return MaskedTable(xavier_uniform(n_features, width + 1), mask)
