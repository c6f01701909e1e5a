"""Logistic regression."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pepbench.backbones.backbone import ALL_INPUTS, Backbone, FirstOrder
from pepbench.tables.fields import Fields
from pepbench.tables.rows import View


@dataclass(frozen=True)
class LR(Backbone):
    """Logistic regression: one weight per feature and no embeddings; the simplest.

    Richardson, Dominowska, Ragno, "Predicting Clicks: Estimating the Click-Through Rate for New
    Ads", WWW 2007, doi 10.1145/1242572.1242643. The vectors are ignored and their gradient is zero,
    so only L2 changes the embedding, and all methods predict the same after as many epochs.
    No hyper-parameters.
    """

    name = "lr"
    year = 2007
    takes = ALL_INPUTS
    linear = True

    def build(self, fields: Fields, dim: int) -> nn.Module:  # noqa: ARG002
        """A new module: vectors (B, F, dim) and ids (B, F) → logits (B,)."""
        return LRModule(fields.n_features, fields.n_dense)


class LRModule(nn.Module):
    """ŷ = w₀ + Σ_f w[x_f]."""

    def __init__(self, n_features: int, n_dense: int = 0) -> None:
        super().__init__()
        self.first_order = FirstOrder(n_features, n_dense)

    def forward(self, vectors: Tensor, ids: Tensor) -> Tensor:
        """Vectors (B, F, D) and ids (B, F) → logits (B,)."""
        return _ignoring(vectors, self.first_order(ids))

    def from_table(self, view: View, ids: Tensor) -> Tensor:
        """Compute :meth:`forward` without looking up the vectors, which are not used."""
        return _ignoring(view.table, self.first_order(ids))


class _Ignoring(torch.autograd.Function):
    @staticmethod
    def forward(ctx, ignored: Tensor, logits: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.shape = ignored.shape
        return logits.view_as(logits)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
        return gradient.new_zeros(ctx.shape), gradient


def _ignoring(ignored: Tensor, logits: Tensor) -> Tensor:
    """``logits``, with a gradient of zero for ``ignored``.

    Without any gradient, methods that differentiate by their own parameters would fail, and dense
    Adam would not apply the L2 that lazy Adam applies.
    """
    result: Tensor = _Ignoring.apply(ignored, logits)  # type: ignore[no-untyped-call]
    return result
