"""PEP's table while it is searched: values under learnt soft thresholds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pepbench.tables import kernels
from pepbench.tables.embedding import Embedding, lookup, to_numpy
from pepbench.tables.fields import Fields
from pepbench.tables.layout import Layout, Masked
from pepbench.tables.rows import RowTable, View, swept_rows, view_of


class Thresholds(nn.Module):
    """Raw thresholds s, one for each group of entries that ``granularity`` names.

    Shapes of s: global (1,), dimension (D,), feature (N, 1), field (F, 1), feature_dim (N, D),
    field_dim (F, D). What is trained is ``raw`` = s − target, which L2 pulls to 0.
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

    def forward(self) -> Tensor:
        """σ(s) in a shape that broadcasts to (N, D)."""
        gate = self.gate(self.raw)
        return lookup(gate, self.field_of_feature) if self.by_field else gate

    def gate(self, raw: Tensor) -> Tensor:
        """σ(s) of (some of) the raw thresholds."""
        return torch.sigmoid(raw + self.target if self.target else raw)

    def of_rows(self, ids: Tensor, rows: Tensor) -> Tensor:
        """σ(s) in a shape that broadcasts to (M, D), for the distinct ``rows`` (M,) of ``ids``."""
        if self.by_feature:
            assert isinstance(self.raw, RowTable)
            return self.gate(view_of(self.raw, ids).table)
        gate = self.gate(self.raw)
        return lookup(gate, self.field_of_feature[rows]) if self.by_field else gate


class _SoftThreshold(torch.autograd.Function):
    """sign(V) · relu(|V| − t), written as V − clamp(V, −t, t)."""

    @staticmethod
    def forward(ctx, values: Tensor, threshold: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.threshold_shape = threshold.shape
        if values.shape == threshold.shape and values.device.type == "cpu":
            kept = torch.empty_like(values)
            kernels.soft_threshold(*_flat(values, threshold, kept))
        else:
            kept = values - torch.maximum(torch.minimum(values, threshold), -threshold)
        ctx.save_for_backward(kept)
        return kept

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor | None]:  # type: ignore[no-untyped-def]
        (kept,) = ctx.saved_tensors
        if kept.shape == ctx.threshold_shape and kept.device.type == "cpu":
            for_values, for_threshold = torch.empty_like(kept), torch.empty_like(kept)
            tensors = (gradient.contiguous(), kept, for_values, for_threshold)
            kernels.soft_threshold_backward(*_flat(*tensors))
            return for_values, for_threshold
        sign = torch.sign(kept)
        signed = gradient * sign
        threshold_gradient = None
        if ctx.needs_input_grad[1]:
            threshold_gradient = signed.neg().sum_to_size(ctx.threshold_shape)
        return signed.mul_(sign), threshold_gradient


def _flat(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    return tuple(tensor.detach().view(-1).numpy() for tensor in tensors)


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
        self._count_of_row = np.full(len(values), self.dim, dtype=np.int32)

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
        """Count the rows again that the optimizer has just brought up to date."""
        swept = swept_rows(self.values)
        rows = torch.arange(swept.start, swept.stop)
        values = self.values[swept]
        thresholds = self.thresholds
        gate = thresholds.gate(thresholds.raw[swept] if thresholds.by_feature else thresholds.raw)
        if thresholds.by_field:
            gate = gate[thresholds.field_of_feature[swept]]
        self._note(rows, (values.abs() > gate).to(values.dtype))

    @torch.no_grad()
    def count_all_rows(self) -> None:
        """Count the whole table again."""
        self._note(torch.arange(len(self.values)), (self.margin() > 0).to(self.values.dtype))

    def _note(self, rows: Tensor, kept: Tensor) -> None:
        self.count += kernels.recount_rows(kept.numpy(), rows.numpy(), self._count_of_row)

    def n_parameters(self) -> int:
        """Non-zeros of V̂."""
        return int(torch.count_nonzero(self.thresholded()))

    def export(self) -> Layout:
        """Non-zeros of V̂."""
        table = to_numpy(self.thresholded())
        return Masked.from_table(table, table != 0)
