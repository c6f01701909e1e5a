"""PEP: plug-in embedding pruning, the subject of this suite."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Self

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
    OptimizerKind,
    Task,
    Value,
    largest_entries,
    xavier_uniform,
)
from pepbench.thresholded import ThresholdedTable, Thresholds

FAST: dict[str, Value] = {
    "init": -8.0,
    "warmup_steps": 3000,
    "threshold_rate": 30.0,
    "threshold_target": 10.0,
    "max_steps": 6000,
}
"""Defaults of ``mode="fast"``, found by measuring: they reach 1 % of the table in fewer steps than
three trainings of the full one take (docs/pep.md)."""


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
        Between(0.0, 10.0, allow=(0.0, 20.0)),
        "where L2 pulls s to; above 0 the search does not stall at σ(0) = 0.5",
    ] = 0.0
    warmup_steps: Annotated[
        int,
        Between(0, 4000, step=1000, allow=(0, 10**7)),
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
        "fast: work by the row, with a schedule that does not stall; reference: as released, an "
        "overshot budget stays overshot",
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

    @classmethod
    def from_options(cls, options: Mapping[str, Value]) -> Self:
        """As of every component; ``mode="fast"`` has defaults of its own, :data:`FAST`."""
        return super().from_options({**(FAST if options.get("mode") == "fast" else {}), **options})

    def most_steps(self, steps_per_epoch: int, epochs: int) -> int:
        """Those of the search and of the second training."""
        return self.max_steps + steps_per_epoch * epochs

    def fit(self, task: Task, budget: int) -> Fitted:
        """Search until the budget is met, then train what is left."""
        initial = xavier_uniform(task.fields.n_features, task.dim)
        with task.phase("search"):
            found = self.search(task, initial, budget)
        return self.retrained(task, initial, found)

    @property
    def shares_search(self) -> bool:
        """Not in ``mode="fast"``.

        There looking at the count makes lazy rows good, so a search that is looked at for other
        budgets, too, would differ in the last digits.
        """
        return self.mode != "fast"

    def fit_many(self, task: Task, budgets: Sequence[int]) -> Iterator[Fitted]:
        """Prune on and on; at each budget, train what is left then."""
        initial = xavier_uniform(task.fields.n_features, task.dim)
        searches = self.searches(task, initial, budgets)
        for _ in budgets:
            with task.phase("search"):
                found = next(searches)
            with task.aside():
                yield self.retrained(task, initial, found)

    def retrained(self, task: Task, initial: Tensor, found: Found) -> Fitted:
        """Train what a search has left."""
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
        return next(self.searches(task, initial, [budget]))

    def searches(self, task: Task, initial: Tensor, budgets: Sequence[int]) -> Iterator[Found]:
        """One search that passes several budgets on its way, the largest first.

        Each outcome is what a search for that budget alone would find.
        """
        waiting = deque(sorted(budgets, reverse=True))
        thresholds = Thresholds(
            self.granularity, task.fields, task.dim, self.init, self.threshold_target
        )
        pruned = ThresholdedTable(initial, thresholds)
        # Work by the row is for the CPU; a GPU updates a table at once.
        by_row = self.mode == "fast" and task.device.type == "cpu"
        search = (RowSearch if by_row else DenseSearch)(self, task, pruned)
        for _ in search.moments():
            task.kept(search.updates, search.at_hand)
            while waiting and search.meets(waiting[0]):
                yield Found(search.kept(waiting.popleft()), search.updates, trimmed=False)
            if not waiting:
                return
            if search.updates >= self.max_steps:
                break
        for budget in waiting:
            if self.at_limit == "infeasible":
                raise Infeasible(
                    f"pep: {search.count()} of {initial.numel()} entries left after "
                    f"{self.max_steps} steps, {budget} allowed; raise init, threshold_rate or "
                    "max_steps, or set at_limit=trim"
                )
            yield Found(search.largest(budget), search.updates, trimmed=True)

    @property
    def refills(self) -> bool:
        """Whether an overshot budget is topped up."""
        return self.exact and self.mode != "reference"

    def optimizer(
        self, task: Task, model: Model, thresholds: Thresholds, kind: OptimizerKind
    ) -> Optimizer:
        """One Adam for values and thresholds, the thresholds with their own rate and L2."""
        rates = {thresholds.raw: self.threshold_rate}
        return task.optimizer(model, rates, {thresholds.raw: self.threshold_l2}, kind)


class DenseSearch:
    """The search with dense Adam, looking at the whole table in every step.

    Parameters
    ----------
    method, task, pruned
        Settings, data and the table.
    """

    def __init__(self, method: PEP, task: Task, pruned: ThresholdedTable) -> None:
        self.method, self.task, self.pruned = method, task, pruned
        self.updates = 0
        self._previous = self._table = pruned.values.detach().clone()

    def moments(self) -> Iterator[None]:
        """Stop after each step to be looked at."""
        method, raw = self.method, self.pruned.thresholds.raw
        model = self.task.model(self.pruned)
        optimizer = method.optimizer(self.task, model, self.pruned.thresholds, "adam")
        raw.requires_grad_(method.warmup_steps == 0)
        for step in self.task.steps(model, optimizer):
            raw.requires_grad_(step.number >= method.warmup_steps)
            # The table that this step used is the state after one update less.
            self._previous, self._table = self._table, self.pruned.table_in_use
            self.updates = step.number - 1
            yield

    def count(self) -> int:
        """Non-zeros after ``updates`` updates."""
        return int(torch.count_nonzero(self._table))

    def at_hand(self) -> int:
        """The same."""
        return self.count()

    def meets(self, budget: int) -> bool:
        """Whether the budget is met."""
        return self.count() <= budget

    def kept(self, budget: int) -> Tensor:
        """Mask (N, D) of what is left, topped up to ``budget`` if the method does so."""
        if self.method.refills:
            return refilled(self._previous, self._table, budget)
        return self._table != 0

    def largest(self, budget: int) -> Tensor:
        """Mask (N, D) of the ``budget`` largest |V̂|."""
        return largest_entries(self._table.abs(), budget)


class RowSearch:
    """The same search at a cost that depends on the batch, not on the table.

    Only rows that a batch needs are thresholded and updated; what L2 does to the others is applied
    lazily (:class:`~pepbench.training.row_adam.RowAdam`). The count is kept by the row and is at
    most a sweep old; the whole table is counted when it says that a budget is met.
    """

    def __init__(self, method: PEP, task: Task, pruned: ThresholdedTable) -> None:
        self.method, self.task, self.pruned = method, task, pruned
        self.updates = 0
        self._optimizer: Optimizer | None = None

    def moments(self) -> Iterator[None]:
        """Stop after each step to be looked at."""
        method, raw = self.method, self.pruned.thresholds.raw
        model = self.task.model(self.pruned)
        self._optimizer = method.optimizer(self.task, model, self.pruned.thresholds, "lazy-adam")
        raw.requires_grad_(method.warmup_steps == 0)
        for step in self.task.steps(model, self._optimizer):
            raw.requires_grad_(step.number >= method.warmup_steps)
            self.pruned.count_swept_rows()
            self.updates = step.number
            yield

    def at_hand(self) -> int:
        """Non-zeros, by counts of rows that are at most a sweep old."""
        return self.pruned.count

    def count(self) -> int:
        """Non-zeros after ``updates`` updates."""
        if self._optimizer is not None:
            self.task.flush(self._optimizer)
        self.pruned.count_all_rows()
        return self.pruned.count

    def meets(self, budget: int) -> bool:
        """Whether the budget is met: by the count at hand, and then exactly."""
        return self.pruned.count <= budget and self.count() <= budget

    def kept(self, budget: int) -> Tensor:
        """Mask (N, D) of what is left, topped up with what was pruned by the least."""
        return largest_entries(self.pruned.margin(), budget if self.method.exact else self.count())

    def largest(self, budget: int) -> Tensor:
        """Mask (N, D) of the ``budget`` largest |V̂|."""
        self.count()
        return largest_entries(self.pruned.margin(), budget)


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
