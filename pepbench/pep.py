"""PEP: plug-in embedding pruning, the subject of this suite."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor, nn

from pepbench.layout import Masked
from pepbench.method import (
    Between,
    Embedding,
    Fields,
    Fitted,
    Infeasible,
    Layout,
    MaskedTable,
    Method,
    OneOf,
    RowTable,
    Task,
    View,
    largest_entries,
    lookup,
    to_numpy,
    view_of,
    xavier_uniform,
)
from pepbench.rows import swept_rows


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
        thresholds = Thresholds(self.granularity, task.fields, task.dim, self.init)
        pruned = ThresholdedTable(initial, thresholds)
        if self.mode == "fast":
            return self.search_by_row(task, pruned, budget)
        model = task.model(pruned)
        optimiser = task.optimiser(model, {thresholds.raw: self.threshold_rate}, kind="adam")
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
        optimiser = task.optimiser(model, {raw: self.threshold_rate}, kind="lazy-adam")
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


class Thresholds(nn.Module):
    """Raw thresholds s, one for each group of entries that ``granularity`` names.

    Shapes of s: global (1,), dimension (D,), feature (N, 1), field (F, 1), feature_dim (N, D),
    field_dim (F, D).
    """

    field_of_feature: Tensor

    def __init__(self, granularity: str, fields: Fields, dim: int, init: float) -> None:
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
        self.raw = kind(torch.full(shapes[granularity], init))
        self.register_buffer("field_of_feature", torch.from_numpy(fields.field_of_feature))

    def forward(self) -> Tensor:
        """σ(s) in a shape that broadcasts to (N, D)."""
        gate = torch.sigmoid(self.raw)
        return lookup(gate, self.field_of_feature) if self.by_field else gate

    def of_rows(self, ids: Tensor, rows: Tensor) -> Tensor:
        """σ(s) in a shape that broadcasts to (M, D), for the distinct ``rows`` (M,) of ``ids``."""
        if self.by_feature:
            assert isinstance(self.raw, RowTable)
            return torch.sigmoid(view_of(self.raw, ids).table)
        gate = torch.sigmoid(self.raw)
        return lookup(gate, self.field_of_feature[rows]) if self.by_field else gate


class _SoftThreshold(torch.autograd.Function):
    """sign(V) · relu(|V| − t), written as V − clamp(V, −t, t)."""

    @staticmethod
    def forward(ctx, values: Tensor, threshold: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        kept = values - torch.maximum(torch.minimum(values, threshold), -threshold)
        ctx.save_for_backward(kept)
        ctx.threshold_shape = threshold.shape
        return kept

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor | None]:  # type: ignore[no-untyped-def]
        (kept,) = ctx.saved_tensors
        sign = torch.sign(kept)
        signed = gradient * sign
        threshold_gradient = None
        if ctx.needs_input_grad[1]:
            threshold_gradient = signed.neg().sum_to_size(ctx.threshold_shape)
        return signed.mul_(sign), threshold_gradient


class ThresholdedTable(Embedding):
    """PEP's table while it is searched: rows of V̂ = sign(V) · relu(|V| − σ(s)).

    Parameters
    ----------
    values
        Shape (N, D): initial V.
    thresholds
        The s over it.
    """

    table_in_use: Tensor
    """Shape (N, D): V̂ of the latest forward pass, detached."""

    def __init__(self, values: Tensor, thresholds: Thresholds) -> None:
        super().__init__()
        self.dim = values.shape[1]
        self.values = RowTable(values.detach().clone())
        self.thresholds = thresholds
        self.count = values.numel()
        self._count_of_row = torch.full((len(values),), self.dim)

    def thresholded(self) -> Tensor:
        """V̂ of shape (N, D), with gradients for V and s."""
        table: Tensor = _SoftThreshold.apply(self.values, self.thresholds())  # type: ignore[no-untyped-call]
        return table

    def as_table(self, ids: Tensor) -> View:
        """V̂, thresholded anew: all of it, or the rows at ``ids`` if training goes by the row."""
        values = view_of(self.values, ids)
        if values.rows is None:
            table = self.thresholded()
            self.table_in_use = table.detach()
            return values._replace(table=table)
        gate = self.thresholds.of_rows(ids, values.rows)
        kept: Tensor = _SoftThreshold.apply(values.table, gate)  # type: ignore[no-untyped-call]
        self._note(values.rows, kept.detach())
        return values._replace(table=kept)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of global ids: (B, F) → (B, F, D)."""
        view = self.as_table(ids)
        return lookup(view.table, view.ids)

    def margin(self) -> Tensor:
        """|V| − σ(s), shape (N, D): |V̂| where positive, else what an entry lacks."""
        margin: Tensor = self.values.detach().abs() - self.thresholds().detach()
        return margin

    @torch.no_grad()
    def count_swept_rows(self) -> None:
        """Count the rows again that the optimiser has just brought up to date."""
        swept = swept_rows(self.values)
        rows = torch.arange(swept.start, swept.stop)
        values = self.values[swept]
        thresholds = self.thresholds
        gate = torch.sigmoid(thresholds.raw[swept] if thresholds.by_feature else thresholds.raw)
        if thresholds.by_field:
            gate = gate[thresholds.field_of_feature[swept]]
        self._note(rows, (values.abs() > gate).to(values.dtype))

    @torch.no_grad()
    def count_all_rows(self) -> None:
        """Count the whole table again."""
        self._note(torch.arange(len(self.values)), (self.margin() > 0).to(self.values.dtype))

    def _note(self, rows: Tensor, kept: Tensor) -> None:
        counts = torch.count_nonzero(kept, dim=1)
        self.count += int((counts - self._count_of_row[rows]).sum())
        self._count_of_row[rows] = counts

    def n_parameters(self) -> int:
        """Non-zeros of V̂."""
        return int(torch.count_nonzero(self.thresholded()))

    def export(self) -> Layout:
        """Non-zeros of V̂."""
        table = to_numpy(self.thresholded())
        return Masked.from_table(table, table != 0)
