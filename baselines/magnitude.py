"""Pruning by magnitude after training."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from pepbench.method import Fitted, Method, OneOf, PlainTable, Task, largest_entries

from .search import train_under_mask


@dataclass(frozen=True)
class Magnitude(Method):
    """Train the full table, keep the B entries of largest magnitude, train those on.

    Han et al., "Learning both Weights and Connections", NeurIPS 2015, applied to the embedding
    table alone. ``start="initial"`` rewinds to the initial values, the lottery ticket of Frankle &
    Carbin, ICLR 2019, arXiv 1803.03635. Tran et al. 2024 found it a match for elaborate methods.
    """

    name = "magnitude"
    family = "pruning"
    year = 2015

    start: Annotated[
        str, OneOf("trained", "initial"), "values (and backbone) from which training goes on"
    ] = "trained"

    def most_steps(self, steps_per_epoch: int, epochs: int) -> int:
        """Two trainings."""
        return 2 * steps_per_epoch * epochs

    def fit(self, task: Task, budget: int) -> Fitted:
        """Train, prune, train."""
        initial, trained, backbone = self.pretrained(task)
        return self.pruned(task, initial, trained, backbone, budget)

    @property
    def shares_search(self) -> bool:
        """The first training does not depend on the budget."""
        return True

    def fit_many(self, task: Task, budgets: Sequence[int]) -> Iterator[Fitted]:
        """Train once; prune and train for each budget."""
        initial, trained, backbone = self.pretrained(task)
        for budget in budgets:
            with task.aside():
                yield self.pruned(task, initial, trained, copy.deepcopy(backbone), budget)

    def pretrained(self, task: Task) -> tuple[Tensor, Tensor, nn.Module]:
        """The full table (N, D) before and after training, and the backbone trained with it."""
        table = PlainTable(task.fields.n_features, task.dim)
        initial = table.table.detach().clone()
        dense = task.model(table)
        task.train(
            dense,
            phase="pretrain",
            after_epoch=lambda epoch: task.report_size(epoch * task.steps_per_epoch, initial.numel),
        )
        return initial, table.table.detach(), dense.backbone

    def pruned(
        self, task: Task, initial: Tensor, trained: Tensor, backbone: nn.Module, budget: int
    ) -> Fitted:
        """Keep the largest entries and train them; ``backbone`` may be trained on."""
        mask = largest_entries(trained.abs(), budget)
        return train_under_mask(task, self.start, initial, trained, mask, backbone)
