"""The interface of backbones, and the first-order part that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from pepbench.component import Component
from pepbench.tables.bags import Bags, Ids
from pepbench.tables.fields import Fields
from pepbench.tables.rows import RowTable, View, view_of

Input = Literal["dense", "multi-valued"]
"""Kinds of fields besides those with one categorical value a row."""

ALL_INPUTS: tuple[Input, ...] = ("dense", "multi-valued")


@dataclass(frozen=True)
class Backbone(Component, ABC):
    """A CTR model and its options; :meth:`build` makes the module."""

    kind: ClassVar[str] = "backbone"
    year: ClassVar[int | None] = None
    takes: ClassVar[tuple[Input, ...]] = ()
    """Further inputs that the module reads; plans with data sets that have others are refused."""
    linear: ClassVar[bool] = False
    """Whether the logit is linear in the features, so that no interaction can be learnt."""

    @abstractmethod
    def build(self, fields: Fields, dim: int) -> nn.Module:
        """A new module: vectors (B, F, dim) and ids (B, F) → logits (B,).

        Where fields have several values a row, the vectors are pooled already, and the ids are
        :class:`~pepbench.tables.bags.Bags`, which :class:`FirstOrder` takes. So they are where
        ``fields.n_dense`` numbers of each row are to be read: see :func:`with_dense`.
        """


class _WeightSum(torch.autograd.Function):
    """Sum of scalar weights of each row's features, with a gradient by one ``scatter_add_``."""

    @staticmethod
    def forward(ctx, weights: Tensor, ids: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(ids)
        ctx.n_features = weights.shape[0]
        return weights.index_select(0, ids.reshape(-1)).view(ids.shape).sum(1)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        (ids,) = ctx.saved_tensors
        spread = gradient[:, None].expand(ids.shape).reshape(-1)
        return gradient.new_zeros(ctx.n_features).scatter_add_(0, ids.reshape(-1), spread), None


class FirstOrder(nn.Module):
    """Bias plus one weight per feature and dense input: ids (B, F) → (B,). Starts at zero.

    It is the same for every method, so it belongs to the backbone. PEP's released code starts it at
    N(0, 1); zero converges faster and to a better AUC.
    """

    def __init__(self, n_features: int, n_dense: int = 0) -> None:
        super().__init__()
        self.weights = RowTable(torch.zeros(n_features))
        self.bias = nn.Parameter(torch.zeros(1))
        self.dense = nn.Parameter(torch.zeros(n_dense)) if n_dense else None

    def forward(self, ids: Ids) -> Tensor:
        """Σ_f w[ids_f] + bias: (B, F) → (B,). Weights of a bag are pooled like vectors."""
        if isinstance(ids, Bags):
            view = view_of(self.weights, ids.ids)
            total = ids.summed(view.table.index_select(0, view.ids.squeeze(1))) + self.bias
            if self.dense is not None and ids.dense is not None:
                total = total + ids.dense.to(total.dtype) @ self.dense
            return total
        return self.of_view(view_of(self.weights, ids))

    def of_view(self, view: View) -> Tensor:
        """Compute :meth:`forward` from a view of the weights."""
        total: Tensor = _WeightSum.apply(view.table, view.ids)  # type: ignore[no-untyped-call]
        return total + self.bias


def with_dense(inputs: Tensor, ids: Ids) -> Tensor:
    """Inputs of a deep network, and behind them the rows' dense ones: (B, n) → (B, n + M)."""
    if not isinstance(ids, Bags) or ids.dense is None:
        return inputs
    return torch.cat([inputs, ids.dense.to(inputs.dtype)], dim=1)
