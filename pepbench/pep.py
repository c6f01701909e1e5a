"""PEP: plug-in embedding pruning, the subject of this suite."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor
from torch.optim import Optimizer

from pepbench.method import (
    Between,
    Fitted,
    Infeasible,
    MaskedTable,
    Method,
    Model,
    OneOf,
    OptimiserKind,
    Task,
    largest_entries,
    xavier_uniform,
)
from pepbench.thresholded import ThresholdedTable, Thresholds


@dataclass(frozen=True)
class PEP(Method):
    """Learns soft thresholds that prune single entries of the table, then retrains the rest.

    Liu, Gao, Chen, Jin, Li, "Learnable Embedding Sizes for Recommender Systems", ICLR 2021,
    arXiv 2101.07577. The table in use is the soft threshold of the values (eq. 5)::

        V̂ = sign(V) · relu(|V| − σ(s))

    with thresholds s of a chosen granularity, trained with V by Adam under L2 on both (the L2
    alone raises s by about the learning rate per step, and much of the pruning comes from it).
    The search stops at the first step whose V̂ has at most ``budget`` non-zeros; the entries left
    are trained again from their initial values (§3.3).

    Differences from the released code: where the last step overshoots the budget, the largest
    entries that it pruned are kept (``exact``; never in ``mode="reference"``); a search that
    reaches ``max_steps`` keeps the largest |V̂| (``at_limit``); neither the epoch nor the budget is
    chosen on test data; thresholds per field are told by name, never by the shape of s, which is
    ambiguous when F = D or F = 1.
    """

    name = "pep"
    family = "search"
    year = 2021

    granularity: Annotated[
        str,
        OneOf("feature_dim", "dimension", "feature", "field", "field_dim", "global"),
        "what shares one threshold",
    ] = "feature_dim"
    init: Annotated[
        float,
        Between(-15.0, -4.0, allow=(-200.0, 10.0)),
        "initial s (the paper: -15 on MovieLens, -150 on Criteo and Avazu)",
    ] = -15.0
    threshold_rate: Annotated[
        float,
        Between(1.0, 100.0, log=True),
        "learning rate of s, as a factor on the common one",
    ] = 1.0
    threshold_l2: Annotated[
        float,
        Between(0.0, 1000.0, tuned=False),
        "L2 weight of s, as a factor on the common one",
    ] = 1.0
    threshold_target: Annotated[
        float,
        Between(0.0, 20.0, tuned=False),
        "where L2 pulls s to; above 0 the search does not stall at σ(0) = 0.5",
    ] = 0.0
    warmup_steps: Annotated[
        int,
        Between(0, 10**7, tuned=False),
        "steps in which s is held while the values learn",
    ] = 0
    max_steps: Annotated[
        int,
        Between(1, 10**9, tuned=False),
        "most steps of the search",
    ] = 20_000
    at_limit: Annotated[
        str,
        OneOf("trim", "infeasible", tuned=False),
        "above the budget at max_steps: keep the largest |V̂|, or give up",
    ] = "trim"
    mode: Annotated[
        str,
        OneOf("standard", "fast", "reference", tuned=False),
        "fast: work by the row; reference: as released, an overshot budget stays overshot",
    ] = "standard"
    exact: Annotated[
        bool,
        OneOf(True, False, tuned=False),
        "refill an overshot budget with the largest entries that the last step pruned",
    ] = True
    retrain: Annotated[
        str,
        OneOf("initial", "new", tuned=False),
        "start of the second training: the initial values (lottery ticket), or new ones",
    ] = "initial"

    def most_steps(self, steps_per_epoch: int, epochs: int) -> int:
        """Those of the search and of the second training."""
        return self.max_steps + steps_per_epoch * epochs

    def fit(self, task: Task, budget: int) -> Fitted:
        """Search until the budget is met, then train what is left."""
        initial = xavier_uniform(task.fields.n_features, task.dim)
        with task.phase("search"):
            found = self.search(task, initial, budget)
        start = initial if self.retrain == "initial" else xavier_uniform(*initial.shape)
        fitted = task.train(task.model(MaskedTable(start, found.mask)))
        notes = {"search_steps": found.steps, "trimmed": found.trimmed}
        return replace(fitted, notes={**fitted.notes, **notes})

    def search(self, task: Task, initial: Tensor, budget: int) -> Found:
        """Train values and thresholds together until at most ``budget`` entries are left.

        Raises
        ------
        Infeasible
            If ``max_steps`` do not suffice and ``at_limit="infeasible"``.
        """
        thresholds = Thresholds(
            self.granularity, task.fields, task.dim, self.init, self.threshold_target
        )
        pruned = ThresholdedTable(initial, thresholds)
        if self.mode == "fast":
            return self.search_by_row(task, pruned, budget)
        model = task.model(pruned)
        optimiser = self.optimiser(task, model, thresholds, "adam")
        thresholds.raw.requires_grad_(self.warmup_steps == 0)
        previous = table = initial
        for step in task.steps(model, optimiser):
            thresholds.raw.requires_grad_(step.number >= self.warmup_steps)
            # The table that this step used is the state after step.number - 1 updates.
            previous, table = table, pruned.table_in_use
            count = int(torch.count_nonzero(table))
            if count <= budget:
                mask = table != 0
                if self.exact and self.mode != "reference":
                    mask = refilled(previous, table, budget)
                return Found(mask, step.number - 1, trimmed=False)
            if step.number > self.max_steps:
                break
        if self.at_limit == "infeasible":
            raise Infeasible(self._too_slow(count, table.numel(), budget))
        return Found(largest_entries(table.abs(), budget), self.max_steps, trimmed=True)

    def search_by_row(self, task: Task, pruned: ThresholdedTable, budget: int) -> Found:
        """The same search at a cost that depends on the batch, not on the table.

        Only rows that a batch needs are thresholded and updated; what L2 does to the others is
        made good later (:class:`~pepbench.rows.RowAdam`). The count is kept by the row and is at
        most a sweep old; the whole table is counted when it says that the budget is met.
        """
        raw = pruned.thresholds.raw
        model = task.model(pruned)
        optimiser = self.optimiser(task, model, pruned.thresholds, "lazy-adam")
        raw.requires_grad_(self.warmup_steps == 0)
        for step in task.steps(model, optimiser):
            raw.requires_grad_(step.number >= self.warmup_steps)
            pruned.count_swept_rows()
            last = step.number >= self.max_steps
            if last or pruned.count <= budget:
                task.flush(optimiser)
                pruned.count_all_rows()
                if last or pruned.count <= budget:
                    break
        trimmed = pruned.count > budget
        if trimmed and self.at_limit == "infeasible":
            raise Infeasible(self._too_slow(pruned.count, pruned.values.numel(), budget))
        margin = pruned.margin()
        count = budget if self.exact or trimmed else pruned.count
        return Found(largest_entries(margin, count), step.number, trimmed)

    def optimiser(
        self, task: Task, model: Model, thresholds: Thresholds, kind: OptimiserKind
    ) -> Optimizer:
        """One Adam for values and thresholds, the thresholds with their own rate and L2."""
        rates = {thresholds.raw: self.threshold_rate}
        return task.optimiser(model, rates, {thresholds.raw: self.threshold_l2}, kind)

    def _too_slow(self, count: int, entries: int, budget: int) -> str:
        return (
            f"pep: {count} of {entries} entries left after {self.max_steps} steps, "
            f"{budget} allowed; raise init, threshold_rate or max_steps, or set at_limit=trim"
        )


@dataclass(frozen=True, eq=False)
class Found:
    """Outcome of a search."""

    mask: Tensor
    """Shape (N, D), boolean: the entries to keep."""
    steps: int
    """Updates made until then."""
    trimmed: bool
    """Whether the step limit, not the thresholds, decided."""


def refilled(previous: Tensor, table: Tensor, budget: int) -> Tensor:
    """Non-zeros of ``table``, topped up to ``budget`` with the largest that ``previous`` had.

    >>> refilled(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([2.5, 0.0, 0.0]), 2).tolist()
    [True, False, True]
    """
    kept_first = torch.where(table != 0, torch.inf, previous.abs())
    mask = largest_entries(kept_first, budget)
    return mask & (kept_first != 0)
