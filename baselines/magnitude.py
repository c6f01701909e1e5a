"""Pruning by magnitude after training."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from torch import Tensor

from pepbench.method import (
    Fitted,
    MaskedTable,
    Method,
    Model,
    OneOf,
    PlainTable,
    Task,
    largest_entries,
)

from .search import train_under_mask


@dataclass(frozen=True)
class Magnitude(Method):
    """Train the full table, keep the B entries of largest magnitude, train those on.

    Han, Pool, Tran, Dally, "Learning both Weights and Connections for Efficient Neural Networks",
    NeurIPS 2015, arXiv 1506.02626, §3, applied to the embedding table alone. ``start="initial"``
    rewinds the table to its initial values, under a newly drawn backbone; in the lottery ticket of
    Frankle & Carbin, ICLR 2019, arXiv 1803.03635, all weights are rewound. Tran, Chen, Nguyen,
    Huang, Cui, Yin, "A Thorough Performance Benchmarking on Lightweight Embedding-based Recommender
    Systems", 2024, arXiv 2406.17335, find it a match for elaborate methods. They prune and evaluate
    without training on, as ``finetune=false`` does. Training on is the stronger method, and the
    default here.
    """

    name = "magnitude"
    family = "pruning"
    year = 2015

    start: Annotated[
        str,
        OneOf("trained", "initial"),
        "from which training goes on: values and backbone as trained, or initial and new ones",
    ] = "trained"
    finetune: Annotated[
        bool,
        OneOf(True, False, tuned=False),
        "train the kept entries on; without, the pruned table is the result whatever start is",
    ] = True

    def unread(self) -> tuple[str, ...]:
        """Nothing starts again without training on."""
        return () if self.finetune else ("start",)

    def most_steps(self, steps_per_epoch: int, epochs: int) -> int:
        """Two trainings."""
        return 2 * steps_per_epoch * epochs

    def fit(self, task: Task, budget: int) -> Fitted:
        """Train, prune, train."""
        initial, dense = self.pretrained(task)
        return self.pruned(task, initial, dense, budget)

    @property
    def shares_search(self) -> bool:
        """The first training does not depend on the budget."""
        return True

    def fit_many(self, task: Task, budgets: Sequence[int]) -> Iterator[Fitted]:
        """Train once; prune and train for each budget."""
        initial, dense = self.pretrained(task)
        for budget in budgets:
            with task.aside():
                yield self.pruned(task, initial, copy.deepcopy(dense), budget)

    def pretrained(self, task: Task) -> tuple[Tensor, Fitted]:
        """Initial values (N, D) of the full table, and the model trained with it."""
        table = PlainTable(task.fields.n_features, task.dim)
        initial = table.table.detach().clone()
        dense = task.train(
            task.model(table),
            phase="pretrain",
            after_epoch=lambda epoch: task.report_size(epoch * task.steps_per_epoch, initial.numel),
        )
        return initial, dense

    def pruned(self, task: Task, initial: Tensor, dense: Fitted, budget: int) -> Fitted:
        """Keep the largest entries and train them, from the ``dense`` model unless it rewinds."""
        assert isinstance(dense.model.embedding, PlainTable)
        trained, backbone = dense.model.embedding.table.detach(), dense.model.backbone
        mask = largest_entries(trained.abs(), budget)
        if self.finetune:
            return train_under_mask(task, self.start, initial, trained, mask, backbone)
        with task.phase("train"):
            model = Model(MaskedTable(trained, mask), backbone)
            return replace(dense, model=model, validation=task.validate(model))
