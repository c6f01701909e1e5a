"""DLRM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from pepbench.backbones.backbone import Backbone, FirstOrder
from pepbench.backbones.lr import LRModule
from pepbench.backbones.mlp import halving, tower
from pepbench.component import Between, OneOf
from pepbench.tables.fields import Fields


@dataclass(frozen=True)
class DLRM(Backbone):
    """DLRM: a deep network on the dot products of all pairs of vectors.

    Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation
    Systems", 2019, arXiv 1906.00091, §2.2; a top MLP of 512 and 256 as in §5. The
    suite's data have no dense features, so there is no bottom MLP, and the top one reads the dot
    products only. With ``vectors=true`` it reads the vectors too, as the paper's reads the bottom
    MLP's output. The paper has no first-order weights; here every backbone has them.
    """

    name = "dlrm"
    year = 2019

    units: Annotated[
        int,
        Between(16, 512, log=True, allow=(1, 8192)),
        "width of the first layer; each further one has half of it",
    ] = 512
    layers: Annotated[int, Between(1, 3, allow=(1, 16)), "layers of the top MLP"] = 2
    dropout: Annotated[
        float,
        Between(0.0, 0.5, allow=(0.0, 0.95)),
        "share of a layer's outputs that training drops",
    ] = 0.0
    vectors: Annotated[
        bool, OneOf(True, False, tuned=False), "the top MLP reads the vectors too"
    ] = False

    def build(self, fields: Fields, dim: int) -> nn.Module:
        """A new module: vectors (B, F, dim) and ids (B, F) → logits (B,)."""
        n_fields = fields.n_fields
        inputs = n_fields * (n_fields - 1) // 2 + self.vectors * n_fields * dim
        if inputs == 0:  # a single field has no pairs
            return LRModule(fields.n_features)
        top = tower(inputs, halving(self.units, self.layers), self.dropout)
        return DLRMModule(FirstOrder(fields.n_features), top, n_fields, self.vectors)


class DLRMModule(nn.Module):
    """ŷ = MLP(⟨v_f, v_g⟩ for f < g), plus the first-order part."""

    pairs: Tensor

    def __init__(
        self, first_order: FirstOrder, top: nn.Module, n_fields: int, vectors: bool
    ) -> None:
        super().__init__()
        self.first_order = first_order
        self.top = top
        self.vectors = vectors
        left, right = torch.triu_indices(n_fields, n_fields, offset=1)
        self.register_buffer("pairs", left * n_fields + right, persistent=False)

    def forward(self, vectors: Tensor, ids: Tensor) -> Tensor:
        """Vectors (B, F, D) and ids (B, F) → logits (B,)."""
        products = torch.bmm(vectors, vectors.mT).flatten(1)
        inputs = products.index_select(1, self.pairs)
        if self.vectors:
            inputs = torch.cat([vectors.flatten(1), inputs], dim=1)
        logits: Tensor = self.first_order(ids) + self.top(inputs)
        return logits
