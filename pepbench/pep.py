"""PEP (plug-in embedding pruning): thresholds, soft threshold, table under search, and method.

From top to bottom it follows the paper, which :class:`PEP` cites: thresholds s and what shares one,
the soft threshold V̂ of the values V (eq. 8), V̂ as an embedding, then the search and the training of
what it leaves. How a search is driven is in :mod:`pepbench.pep_search`.

The module is long because it is to be read beside the paper, from one file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pepbench.component import Trial
from pepbench.method import (
    Between,
    DirectRows,
    Fields,
    Fitted,
    Infeasible,
    Layout,
    MaskedTable,
    Method,
    Model,
    OneOf,
    OptimizerKind,
    PlainTable,
    RowTable,
    SoftThreshold,
    TableEmbedding,
    Task,
    Value,
    View,
    lookup,
    to_numpy,
    view_of,
    xavier_uniform,
)
from pepbench.pep_search import SearchOutcome, fast_soft_threshold, new_search
from pepbench.tables.layout import Masked
from pepbench.tables.rows import current_copy, current_rows, state_of


def threshold_shape(granularity: str, n_features: int, n_fields: int, dim: int) -> tuple[int, ...]:
    """The shape of s for N features in F fields and D dimensions."""
    return {
        "global": (1,),
        "dimension": (dim,),
        "feature": (n_features, 1),
        "field": (n_fields, 1),
        "feature_dim": (n_features, dim),
        "field_dim": (n_fields, dim),
    }[granularity]


class Thresholds(nn.Module):
    """Raw thresholds s, one for each group of entries that ``granularity`` names.

    :func:`threshold_shape` has the shapes of s. What is trained is ``raw`` = s − target, since L2
    pulls a parameter to 0.
    """

    field_of_feature: Tensor

    def __init__(
        self, granularity: str, fields: Fields, dim: int, init: float, target: float = 0.0
    ) -> None:
        super().__init__()
        shape = threshold_shape(granularity, fields.n_features, fields.n_fields, dim)
        self.by_field = granularity in ("field", "field_dim")
        self.by_feature = granularity in ("feature", "feature_dim")
        kind = RowTable if self.by_feature else nn.Parameter
        self.raw = kind(torch.full(shape, init - target))
        self.target = target
        self.register_buffer("field_of_feature", torch.from_numpy(fields.field_of_feature))

    def forward(self) -> Tensor:
        """σ(s) in a shape that broadcasts to (N, D)."""
        return self._gate(self.raw, slice(None))

    def of_batch(self, ids: Tensor, rows: Tensor) -> Tensor:
        """σ(s) in a shape that broadcasts to (M, D), for the distinct ``rows`` (M,) of ``ids``."""
        raw = self.raw
        own = view_of(raw, ids, by_rows=True).table if isinstance(raw, RowTable) else raw
        return self._gate(own, rows)

    def current(self, rows: slice) -> Tensor:
        """σ(s) of neighbouring ``rows``, with all postponed updates and without gradients."""
        raw = self.raw
        own = current_rows(raw, rows) if isinstance(raw, RowTable) else raw.detach()
        return self._gate(own, rows)

    def _gate(self, raw: Tensor, rows: Tensor | slice) -> Tensor:
        gate = torch.sigmoid(raw + self.target if self.target else raw)
        return lookup(gate, self.field_of_feature[rows]) if self.by_field else gate


def soft_threshold(values: Tensor, threshold: Tensor) -> Tensor:
    """sign(V) · relu(|V| − σ(s)) of V (M, D), with σ(s) broadcast to it (eq. 8).

    On the CPU its compiled twin :func:`~pepbench.pep_search.fast_soft_threshold` takes its place.

    >>> soft_threshold(torch.tensor([[-0.75, 0.25, 1.5]]), torch.tensor([0.5])).tolist()
    [[-0.25, 0.0, 1.0]]
    """
    return torch.sign(values) * torch.relu(torch.abs(values) - threshold)


class ThresholdedTable(TableEmbedding):
    """PEP's table during the search: rows of V̂ = sign(V) · relu(|V| − σ(s)).

    Parameters
    ----------
    values
        Shape (N, D): initial V.
    thresholds
        The s over it.
    """

    table_in_use: Tensor
    """Shape (N, D): V̂ of the latest forward pass over the whole table, detached."""
    non_zeros_in_use: int
    """Its non-zeros."""

    def __init__(self, values: Tensor, thresholds: Thresholds) -> None:
        super().__init__()
        self.dim = values.shape[1]
        self.values = RowTable(values.detach().clone())
        self.thresholds = thresholds

    def thresholded(self) -> Tensor:
        """V̂ of shape (N, D), with gradients for V and s."""
        return self._pruned(self.values, self.thresholds())

    def as_table(self, ids: Tensor) -> View:
        """V̂, computed anew: all of it, or only the rows of ``ids`` if training goes by rows."""
        values = view_of(self.values, ids, by_rows=state_of(self.thresholds.raw) is not None)
        if values.rows is None:
            table = self.thresholded()
        else:
            table = self._pruned(values.table, self.thresholds.of_batch(ids, values.rows))
        self._note(table.detach(), values.rows, None)
        return values._replace(table=table)

    def direct_rows(self) -> DirectRows | None:
        """V and what thresholds it."""
        s = self.thresholds
        if type(s) is not Thresholds:
            return None
        group = s.field_of_feature if s.by_field else None
        return DirectRows(self.values, threshold=SoftThreshold(s.raw, s.target, group, self._note))

    def _note(self, table: Tensor, rows: Tensor | None, non_zeros: int | None) -> None:
        if rows is None:
            self.table_in_use = table
            left = torch.count_nonzero(table) if non_zeros is None else non_zeros
            self.non_zeros_in_use = int(left)

    def current(self, rows: slice) -> tuple[Tensor, Tensor]:
        """V (M, D) of ``rows``, and σ(s) that broadcasts to it, with all postponed updates."""
        return current_rows(self.values, rows), self.thresholds.current(rows)

    def n_parameters(self) -> int:
        """Non-zeros of V̂."""
        return int(torch.count_nonzero(self.thresholded()))

    def export(self) -> Layout:
        """Non-zeros of V̂."""
        table = to_numpy(self.thresholded())
        return Masked.from_table(table, table != 0)

    def _pruned(self, values: Tensor, threshold: Tensor) -> Tensor:
        on_cpu = values.device.type == "cpu"
        return (fast_soft_threshold if on_cpu else soft_threshold)(values, threshold)


SCHEDULES = OneOf("paper", "epochs")

EPOCHS: dict[str, Value] = {"init": -8.0, "retrain": "searched"}
"""Defaults of ``schedule="epochs"`` that differ from the paper's; docs/pep.md has their study."""

ONLY_IN = {"threshold_target": "epochs", "search_epochs": "epochs"}
"""Tuned options that one schedule alone reads."""


@dataclass(frozen=True)
class PEP(Method):
    """Learns soft thresholds that prune single entries of the table, then retrains the rest.

    Liu, Gao, Chen, Jin, Li, "Learnable Embedding Sizes for Recommender Systems", ICLR 2021,
    arXiv 2101.07577. The table in use is the soft threshold of the values (eq. 8)::

        V̂ = sign(V) · relu(|V| − σ(s))

    with thresholds s of a chosen granularity (§4.3), trained together with V (eq. 9) by Adam with
    L2 on both (L2 alone raises s by about the learning rate per step, and does much of the
    pruning).
    The search stops at the first step whose V̂ has at most ``budget`` non-zeros; the entries left
    are trained again from their initial values (§4.2).

    ``schedule="paper"`` is the released search: s moves from the first step, at the common rate,
    towards 0. Its length depends on the data, and it may stall. ``schedule="epochs"`` holds s until
    the values have converged, then moves it from ``init`` to ``threshold_target`` in
    ``search_epochs`` passes over the training rows, whatever their number and the batch size. Its
    own defaults of ``init`` and ``retrain`` (:data:`EPOCHS`) come with :meth:`from_options`, as in
    plans and on the command line; ``PEP(schedule="epochs")`` has the paper's.

    Differences from the released code: where the last step overshoots the budget, the largest
    entries that it pruned are kept (``exact``); a search that reaches its last step above the
    budget keeps the largest |V̂| (``at_limit``); neither the epoch nor the budget is
    chosen on test data; the granularity is set by name, never inferred from the shape of s, which
    is ambiguous when F = D or F = 1.
    """

    name = "pep"
    family = "search"
    year = 2021
    version = 2

    granularity: Annotated[
        str,
        OneOf("feature_dim", "dimension", "feature", "field", "field_dim", "global"),
        "what shares one threshold",
    ] = "feature_dim"
    schedule: Annotated[
        str,
        SCHEDULES,
        "how s moves: as released, or after convergence and within search_epochs",
    ] = "paper"
    init: Annotated[
        float,
        Between(-15.0, -4.0, allow=(-200.0, 10.0)),
        "initial s (the paper: -15 on MovieLens, -150 on Criteo and Avazu); -8 with epochs",
    ] = -15.0
    max_steps: Annotated[
        int, Between(1, 10**9, tuned=False), "most steps of the search with schedule=paper"
    ] = 20_000
    warmup_epochs: Annotated[
        int,
        Between(0, 10**6, tuned=False),
        "most epochs in which s is held, with schedule=epochs, until validation AUC stops rising",
    ] = 1000
    search_epochs: Annotated[
        int,
        Between(2, 16, log=True, allow=(1, 10**6)),
        "epochs in which s moves from init to threshold_target, with schedule=epochs",
    ] = 4
    threshold_target: Annotated[
        float,
        Between(0.0, 10.0, allow=(-4.0, 20.0)),
        "where L2 pulls s to, with schedule=epochs; at 0, the paper's, σ(s) is 0.5",
    ] = 5.0
    threshold_l2: Annotated[
        float,
        Between(0.0, 1e4, tuned=False),
        "L2 weight of s, as a factor on the common one",
    ] = 1.0
    at_limit: Annotated[
        str,
        OneOf("trim", "infeasible", tuned=False),
        "above the budget at the last step: keep the largest |V̂|, or give up",
    ] = "trim"
    exact: Annotated[
        bool,
        OneOf(True, False, tuned=False),
        "refill an overshot budget with the largest entries that the last step pruned",
    ] = True
    retrain: Annotated[
        str,
        OneOf("initial", "searched", allow=("new",)),
        "start of the second training: initial values (lottery ticket), those of the search, or "
        "newly drawn ones; searched with schedule=epochs",
    ] = "initial"

    @classmethod
    def from_options(cls, options: Mapping[str, Value]) -> Self:
        """An instance from some options; :data:`EPOCHS` has the defaults of that schedule."""
        own = EPOCHS if options.get("schedule") == "epochs" else {}
        return super().from_options({**own, **options})

    @classmethod
    def suggest(cls, trial: Trial, fixed: Mapping[str, Value]) -> Self:
        """A point chosen by ``trial``: the schedule, then the options that it reads."""
        schedule = fixed.get("schedule") or SCHEDULES.suggest(trial, "schedule", str)
        return super().suggest(trial, {"schedule": schedule, **fixed})

    def unread(self) -> list[str]:
        """Options of the other schedule."""
        return [name for name, schedule in ONLY_IN.items() if schedule != self.schedule]

    def search_steps(self, steps_per_epoch: int) -> int:
        """Most steps of the search."""
        if self.schedule == "epochs":
            return self.search_epochs * steps_per_epoch
        return self.max_steps

    def most_steps(self, steps_per_epoch: int, epochs: int) -> int:
        """Steps of warm-up, search and second training, at most."""
        held = min(self.warmup_epochs, epochs) if self.schedule == "epochs" else 0
        return self.search_steps(steps_per_epoch) + steps_per_epoch * (held + epochs)

    def fit(self, task: Task, budget: int) -> Fitted:
        """Search until the budget is met, then train what is left."""
        initial = xavier_uniform(task.fields.n_features, task.dim)
        with task.phase("search"):
            outcome = next(self.search(task, initial, [budget]))
        return self.retrained(task, initial, outcome).with_budget_note(task, budget)

    def search(
        self, task: Task, initial: Tensor, budgets: Sequence[int]
    ) -> Iterator[SearchOutcome]:
        """Train values and thresholds together; stop for each budget when V̂ is within it.

        Parameters
        ----------
        task
            Rows, backbone and settings.
        initial
            Shape (N, D): initial values.
        budgets
            Most non-zeros; one search passes them all, the largest first.

        Yields
        ------
        SearchOutcome
            For each budget what a search for it alone would find.

        Raises
        ------
        Infeasible
            If the steps do not suffice and ``at_limit="infeasible"``.
        """
        waiting = deque(sorted(budgets, reverse=True))
        search = new_search(self, task, self.thresholded(task, initial))
        last = self.search_steps(task.steps_per_epoch)
        for _ in search.steps():
            task.report_size(search.updates, search.recent_count)
            while waiting and search.is_within(waiting[0]):
                yield search.outcome(waiting.popleft(), trimmed=False)
            if not waiting:
                return
            if search.updates >= last:
                break
        for budget in waiting:
            if self.at_limit == "infeasible":
                raise Infeasible(
                    f"pep: {search.count()} of {initial.numel()} entries left after {last} steps, "
                    f"{budget} allowed; take schedule=epochs, raise init, max_steps or "
                    "search_epochs, or set at_limit=trim"
                )
            yield search.outcome(budget, trimmed=True)

    def thresholded(self, task: Task, initial: Tensor) -> Model:
        """The model under search: V̂ of the ``initial`` values, or of converged ones.

        Thresholds that are held at σ(s₀) ≈ 0 prune nothing, so a warm-up trains the full table:
        until its validation AUC no longer rises, at the best epoch of which the search starts.
        """
        target = self.threshold_target if self.schedule == "epochs" else 0.0
        s = Thresholds(self.granularity, task.fields, task.dim, self.init, target)
        if self.schedule == "paper" or self.warmup_epochs == 0:
            return task.model(ThresholdedTable(initial, s))
        full = PlainTable(len(initial), task.dim, initial)
        warm = task.train(task.model(full), phase="warmup", epochs=self.warmup_epochs)
        searched = Model(ThresholdedTable(full.table, s), warm.model.backbone)
        return searched.to(task.device)

    def retrained(self, task: Task, initial: Tensor, outcome: SearchOutcome) -> Fitted:
        """Train the entries that a search has left from ``initial`` (§4.2), V̂ or new values."""
        if self.retrain == "searched":
            table = MaskedTable(outcome.table, outcome.mask)
            model = Model(table, current_copy(outcome.backbone))
        else:
            new = self.retrain == "new"
            values = xavier_uniform(*initial.shape) if new else initial
            model = task.model(MaskedTable(values, outcome.mask))
        model.embedding.unused_budget = "with exact=false, what a step prunes too much is left out"
        left = int(torch.count_nonzero(outcome.table))
        return task.train(model).with_notes(
            search_steps=outcome.steps, trimmed=outcome.trimmed, left=left
        )

    shares_search = True

    def fit_many(self, task: Task, budgets: Sequence[int]) -> Iterator[Fitted]:
        """Search on and on; at each budget, train what is left then."""
        initial = xavier_uniform(task.fields.n_features, task.dim)
        outcomes = self.search(task, initial, budgets)
        for budget in budgets:
            with task.phase("search"):
                outcome = next(outcomes)
            with task.aside():
                yield self.retrained(task, initial, outcome).with_budget_note(task, budget)

    def optimizer(
        self, task: Task, model: Model, thresholds: Thresholds, kind: OptimizerKind
    ) -> Optimizer:
        """One Adam for values and thresholds, the thresholds with their own rate and L2.

        Adam moves a parameter under a steady pull by its learning rate in each step. So with
        ``schedule="epochs"`` the rate of s is its way divided by the steps in which it is to go it.
        """
        rate = 1.0
        if self.schedule == "epochs":
            way = abs(self.threshold_target - self.init)
            rate = way / self.search_steps(task.steps_per_epoch) / task.learning_rate
        raw = thresholds.raw
        return task.optimizer(model, {raw: rate}, {raw: self.threshold_l2}, kind)
