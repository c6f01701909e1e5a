"""What the calibration of the pipeline adds: two methods equal by symmetry, and a single source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch

from datasets.synthetic import Model, Synthetic, draw_model
from pepbench.method import Embedding, Fields, MaskedTable, Method, xavier_uniform


@dataclass(frozen=True)
class OneSource(Synthetic):
    """Drawn rows whose truth is the same for every seed."""

    name = "one-source"
    title = "Synthetic rows of one truth"

    @cached_property
    def model(self) -> Model:
        """The true model, of seed 0."""
        return draw_model(replace(self, seed=0))


@dataclass(frozen=True)
class FirstMask(Method):
    """A random mask of B entries: the first B of a random order."""

    name = "first-mask"
    family = "controls"

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """A masked table of ``budget`` entries."""
        values = xavier_uniform(fields.n_features, dim)
        order = torch.randperm(values.numel())
        return _masked(values, order[:budget])


@dataclass(frozen=True)
class LastMask(Method):
    """A random mask of B entries: the last B of a random order."""

    name = "last-mask"
    family = "controls"

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """A masked table of ``budget`` entries."""
        values = xavier_uniform(fields.n_features, dim)
        order = torch.randperm(values.numel())
        return _masked(values, order[len(order) - budget :])


def _masked(values: torch.Tensor, kept: torch.Tensor) -> MaskedTable:
    mask = torch.zeros(values.numel(), dtype=torch.bool)
    mask[kept] = True
    return MaskedTable(values, mask.view_as(values))
