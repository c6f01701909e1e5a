"""A random choice of entries: what a search must beat to have learnt anything."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pepbench.method import Embedding, Fields, MaskedTable, Method, xavier_uniform


@dataclass(frozen=True)
class RandomMask(Method):
    """A uniformly random mask of exactly B of the N·D entries, trained from initialisation."""

    name = "random-mask"
    family = "controls"

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """A masked table of ``budget`` entries; feasible for any budget."""
        values = xavier_uniform(fields.n_features, dim)
        mask = torch.zeros(values.numel(), dtype=torch.bool)
        mask[torch.randperm(values.numel())[:budget]] = True
        return MaskedTable(values, mask.view_as(values))
