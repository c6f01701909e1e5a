"""Logistic regression."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from pepbench.backbones.backbone import Backbone, FirstOrder
from pepbench.fields import Fields
from pepbench.rows import View


@dataclass(frozen=True)
class LR(Backbone):
    """Logistic regression: one weight per feature and no embeddings, the floor.

    Richardson, Dominowska, Ragno, "Predicting Clicks: Estimating the Click-Through Rate for New
    Ads", WWW 2007, doi 10.1145/1242572.1242643. The vectors are ignored, so no gradient reaches
    the embedding, and every method gives the same prediction. No hyper-parameters.
    """

    name = "lr"
    year = 2007

    def build(self, fields: Fields, dim: int) -> nn.Module:  # noqa: ARG002
        """A new module: vectors (B, F, dim) and ids (B, F) → logits (B,)."""
        return LRModule(fields.n_features)


class LRModule(nn.Module):
    """ŷ = w₀ + Σ_f w[x_f]."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.first_order = FirstOrder(n_features)

    def forward(self, vectors: Tensor, ids: Tensor) -> Tensor:  # noqa: ARG002
        """Vectors (B, F, D) and ids (B, F) → logits (B,)."""
        logits: Tensor = self.first_order(ids)
        return logits

    def from_table(self, view: View, ids: Tensor) -> Tensor:  # noqa: ARG002
        """The same without looking up vectors that are not used."""
        logits: Tensor = self.first_order(ids)
        return logits
