"""All features equally narrow."""

from __future__ import annotations

from dataclasses import dataclass

from pepbench.method import Embedding, Fields, Infeasible, Method, PlainTable


@dataclass(frozen=True)
class Uniform(Method):
    """Every feature d' = ⌊B / N⌋ wide: what everybody does first.

    The backbone runs at width d', it is not padded to D. The knob is d', at most D.
    """

    name = "uniform"
    family = "controls"

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """A table of N rows of width ⌊budget / N⌋; infeasible under N."""
        width = min(dim, budget // fields.n_features)
        if width < 1:
            raise Infeasible(
                f"uniform: smallest possible is {fields.n_features} parameters "
                f"(one a feature), {budget} allowed"
            )
        return PlainTable(fields.n_features, width)
