"""Gradual pruning by magnitude while training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from torch import Tensor

from pepbench.method import (
    Between,
    Fitted,
    MaskedTable,
    Method,
    Model,
    PlainTable,
    RowTable,
    Task,
    largest_entries,
)


@dataclass(frozen=True)
class DeepLight(Method):
    """Prunes the smallest entries on a schedule that slows down, while the table is trained.

    Deng, Pan, Zhou, Kong, Flores, Lin, "DeepLight: Deep Lightweight Feature Interactions for
    Accelerating CTR Predictions in Ad Serving", WSDM 2021, arXiv 2002.06987, algorithm 1. After a
    warm-up, every few steps the smallest |v| are set to zero, so many that the sparsity is::

        s_t = S · (1 − 0.99^(t / 100)),    S = 1 − B / (N·D)

    with t the steps since the warm-up. As in the paper pruned entries are not masked: gradients
    (and Adam's momentum) may bring them back until the next pruning. When s_t is within
    ``tolerance`` of S, or after ``max_steps``, exactly the B largest are kept, and training goes
    on under that mask, from the trained values, with early stopping.

    Where we differ: only the embedding is pruned, not the weights of the deep part and of the field
    pairs. The paper's schedule needs 69k steps to 99.9 % of S, four epochs of Criteo but hundreds
    of a small data set, which then overfits before it is pruned. So 100 is lowered where the
    schedule would not be through after ``prune_epochs``, by default 10: a round number, not tuned
    on any data set. What is missing after ``max_steps`` is pruned at once: the note ``last_cut``
    says how much.
    """

    name = "deeplight"
    family = "pruning"
    year = 2021

    damping: Annotated[
        float, Between(0.5, 0.9999, tuned=False), "base of the schedule's exponential"
    ] = 0.99
    period: Annotated[
        float,
        Between(1.0, 1000.0, tuned=False),
        "most steps in which the sparsity still missing shrinks by that base",
    ] = 100.0
    prune_epochs: Annotated[
        int,
        Between(2, 20, log=True, allow=(1, 100_000)),
        "most epochs of pruning; the schedule is hurried to be through by then",
    ] = 10
    every: Annotated[int, Between(1, 1000, tuned=False), "steps between two prunings"] = 10
    warmup_epochs: Annotated[
        int, Between(0, 100, tuned=False), "epochs of training before the first pruning"
    ] = 2
    max_steps: Annotated[
        int, Between(1, 10**9, tuned=False), "most steps of pruning, after the warm-up"
    ] = 20_000
    tolerance: Annotated[
        float,
        Between(1e-6, 0.5, tuned=False),
        "pruning ends when the scheduled sparsity is this close to the final one",
    ] = 1e-3

    def most_steps(self, steps_per_epoch: int, epochs: int) -> int:
        """Warm-up, pruning, and training on."""
        pruning = min(self.prune_epochs * steps_per_epoch, self.max_steps)
        return steps_per_epoch * (self.warmup_epochs + epochs) + pruning

    def missing(self, step: int, steps_per_epoch: int) -> float:
        """Share of the final sparsity still to come ``step`` steps after the warm-up."""
        # With period 1 the schedule takes this many steps.
        length = math.log(self.tolerance) / math.log(self.damping)
        period = min(self.period, self.prune_epochs * steps_per_epoch / length)
        return float(self.damping ** (max(step, 0) / period))

    def fit(self, task: Task, budget: int) -> Fitted:
        """Prune while training, then train on what is left."""
        table = PlainTable(task.fields.n_features, task.dim)
        model = task.model(table)
        with task.phase("search"):
            steps, last_cut = self.prune(task, model, table.table, budget)
            trained = table.table.detach()
            mask = largest_entries(trained.abs(), budget)
        fitted = task.train(Model(MaskedTable(trained, mask), model.backbone))
        return fitted.with_notes(search_steps=steps, last_cut=last_cut)

    def prune(self, task: Task, model: Model, table: RowTable, budget: int) -> tuple[int, float]:
        """Train ``model`` and prune its ``table`` on schedule.

        Returns
        -------
        tuple of int and float
            The steps made, and S − s_t: the share of the entries that is left to be pruned.
        """
        surplus = max(table.numel() - budget, 0)
        steps_per_epoch = task.steps_per_epoch
        warmup = self.warmup_epochs * steps_per_epoch
        optimizer = task.optimizer(model)
        cut = 0
        for step in task.steps(model, optimizer):
            pruning = step.number - warmup
            missing = surplus * self.missing(pruning, steps_per_epoch)
            if pruning > 0 and pruning % self.every == 0:
                task.flush(optimizer)
                cut = int(surplus - missing)
                zero_smallest(table, cut)
            task.report_size(step.number, partial(int, table.numel() - cut))
            if pruning >= self.max_steps or missing <= self.tolerance * table.numel():
                break
        task.flush(optimizer)
        return step.number, missing / table.numel()


@torch.no_grad()
def zero_smallest(table: Tensor, count: int) -> None:
    """Set exactly the ``count`` smallest magnitudes of ``table`` to zero.

    Selection, not sorting, since this happens many times; ties at the limit go by position.
    """
    if count < 1:
        return
    flat = table.view(-1)
    magnitudes = flat.abs()
    limit = magnitudes.kthvalue(count).values
    below = magnitudes < limit
    flat.masked_fill_(below, 0.0)
    ties = torch.nonzero(magnitudes == limit).view(-1)
    flat[ties[: count - int(below.sum())]] = 0.0
