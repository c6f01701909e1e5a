"""PEP (plug-in embedding pruning): thresholds, soft threshold, table under search, and method.

From top to bottom it follows the paper, which :class:`PEP` cites: thresholds s and what shares one,
the soft threshold V̂ of the values V (eq. 5), V̂ as an embedding, then the search and the training of
what it leaves. How a search is driven is in :mod:`pepbench.pep_search`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

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
from pepbench.pep_search import (
    DenseSearch,
    RowCounts,
    RowSearch,
    SearchOutcome,
    fast_soft_threshold,
)
from pepbench.tables.layout import Masked


class Thresholds(nn.Module):
    """Raw thresholds s, one for each group of entries that ``granularity`` names.

    Shapes of s: global (1,), dimension (D,), feature (N, 1), field (F, 1), feature_dim (N, D),
    field_dim (F, D). What is trained is ``raw`` = s − target, since L2 pulls a parameter to 0.
    """

    field_of_feature: Tensor

    def __init__(
        self, granularity: str, fields: Fields, dim: int, init: float, target: float = 0.0
    ) -> None:
        super().__init__()
        n_features, n_fields = fields.n_features, fields.n_fields
        shapes = {
            "global": (1,),
            "dimension": (dim,),
            "feature": (n_features, 1),
            "field": (n_fields, 1),
            "feature_dim": (n_features, dim),
            "field_dim": (n_fields, dim),
        }
        self.by_field = granularity in ("field", "field_dim")
        self.by_feature = granularity in ("feature", "feature_dim")
        kind = RowTable if self.by_feature else nn.Parameter
        self.raw = kind(torch.full(shapes[granularity], init - target))
        self.target = target
        self.register_buffer("field_of_feature", torch.from_numpy(fields.field_of_feature))

    def forward(self, rows: slice = slice(None)) -> Tensor:
        """σ(s) in a shape that broadcasts to (N, D), or to (M, D) for M neighbouring ``rows``."""
        return self._gate(self.raw[rows] if self.by_feature else self.raw, rows)

    def of_batch(self, ids: Tensor, rows: Tensor) -> Tensor:
        """σ(s) in a shape that broadcasts to (M, D), for the distinct ``rows`` (M,) of ``ids``."""
        raw = view_of(self.raw, ids).table if isinstance(self.raw, RowTable) else self.raw
        return self._gate(raw, rows)

    def _gate(self, raw: Tensor, rows: Tensor | slice) -> Tensor:
        gate = torch.sigmoid(raw + self.target if self.target else raw)
        return lookup(gate, self.field_of_feature[rows]) if self.by_field else gate


def soft_threshold(values: Tensor, threshold: Tensor) -> Tensor:
    """sign(V) · relu(|V| − σ(s)) of V (M, D), with σ(s) broadcast to it (eq. 5).

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
        self.row_counts = RowCounts(*values.shape)

    def thresholded(self) -> Tensor:
        """V̂ of shape (N, D), with gradients for V and s."""
        return self._pruned(self.values, self.thresholds())

    def as_table(self, ids: Tensor) -> View:
        """V̂, computed anew: all of it, or only the rows of ``ids`` if training goes by rows."""
        values = view_of(self.values, ids)
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
        else:
            self.row_counts.update(rows, table)

    def margin(self, rows: slice = slice(None)) -> Tensor:
        """|V| − σ(s) of ``rows``, shape (M, D): |V̂| where positive, else what an entry lacks."""
        margin: Tensor = self.values.detach()[rows].abs() - self.thresholds(rows).detach()
        return margin

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

    with thresholds s of a chosen granularity, trained together with V by Adam with L2 on both (L2
    alone raises s by about the learning rate per step, and does much of the pruning).
    The search stops at the first step whose V̂ has at most ``budget`` non-zeros; the entries left
    are trained again from their initial values (§3.3).

    Differences from the released code: where the last step overshoots the budget, the largest
    entries that it pruned are kept (``exact``; never in ``mode="reference"``); a search that
    reaches ``max_steps`` keeps the largest |V̂| (``at_limit``); neither the epoch nor the budget is
    chosen on test data; the granularity is set by name, never inferred from the shape of s, which
    is ambiguous when F = D or F = 1.
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
    max_steps: Annotated[int, Between(1, 10**9, tuned=False), "most steps of the search"] = 20_000
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
        """An instance from some options; ``mode="fast"`` has other defaults, :data:`FAST`."""
        return super().from_options({**(FAST if options.get("mode") == "fast" else {}), **options})

    def most_steps(self, steps_per_epoch: int, epochs: int) -> int:
        """Steps of the search and of the second training, at most."""
        return self.max_steps + steps_per_epoch * epochs

    def fit(self, task: Task, budget: int) -> Fitted:
        """Search until the budget is met, then train what is left."""
        initial = xavier_uniform(task.fields.n_features, task.dim)
        with task.phase("search"):
            outcome = next(self.search(task, initial, [budget]))
        return self.retrained(task, initial, outcome)

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
            If ``max_steps`` do not suffice and ``at_limit="infeasible"``.
        """
        waiting = deque(sorted(budgets, reverse=True))
        thresholds = Thresholds(
            self.granularity, task.fields, task.dim, self.init, self.threshold_target
        )
        table = ThresholdedTable(initial, thresholds)
        # Work by rows is for the CPU; a GPU updates a whole table at once.
        by_row = self.mode == "fast" and task.device.type == "cpu"
        search = (RowSearch if by_row else DenseSearch)(self, task, table)
        for _ in search.steps():
            task.report_size(search.updates, search.recent_count)
            while waiting and search.is_within(waiting[0]):
                yield SearchOutcome(search.refilled_mask(waiting.popleft()), search.updates, False)
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
            yield SearchOutcome(search.trimmed_mask(budget), search.updates, True)

    def retrained(self, task: Task, initial: Tensor, outcome: SearchOutcome) -> Fitted:
        """Train the entries that a search has left, from initial values (§3.3) or new ones."""
        start = initial if self.retrain == "initial" else xavier_uniform(*initial.shape)
        fitted = task.train(task.model(MaskedTable(start, outcome.mask)))
        notes = {"search_steps": outcome.steps, "trimmed": outcome.trimmed}
        return replace(fitted, notes={**fitted.notes, **notes})

    @property
    def shares_search(self) -> bool:
        """Whether one search serves several budgets: not in ``mode="fast"``.

        There an exact count brings all rows up to date, which changes their last digits, so a
        search that also stops for other budgets would differ a little.
        """
        return self.mode != "fast"

    def fit_many(self, task: Task, budgets: Sequence[int]) -> Iterator[Fitted]:
        """Search on and on; at each budget, train what is left then."""
        initial = xavier_uniform(task.fields.n_features, task.dim)
        outcomes = self.search(task, initial, budgets)
        for _ in budgets:
            with task.phase("search"):
                outcome = next(outcomes)
            with task.aside():
                yield self.retrained(task, initial, outcome)

    @property
    def refills(self) -> bool:
        """Whether an overshot budget is refilled."""
        return self.exact and self.mode != "reference"

    def optimizer(
        self, task: Task, model: Model, thresholds: Thresholds, kind: OptimizerKind
    ) -> Optimizer:
        """One Adam for values and thresholds, the thresholds with their own rate and L2."""
        rates = {thresholds.raw: self.threshold_rate}
        return task.optimizer(model, rates, {thresholds.raw: self.threshold_l2}, kind)
