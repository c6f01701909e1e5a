"""FinalMLP as a plug-in: two deep networks that select their inputs and meet bilinearly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from pepbench.backbones.backbone import Backbone, FirstOrder, with_dense
from pepbench.backbones.mlp import linear, mlp
from pepbench.component import Between
from pepbench.tables.fields import Fields


@dataclass(frozen=True)
class FinalMLP(Backbone):
    """Two deep networks on gated inputs, fused by a bilinear form in several heads.

    Mao, Zhu, Su, Cai, Li, Dong, "FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction",
    AAAI 2023, arXiv 2304.00902. The gates of the feature selection are conditioned on learnable
    parameters, which is one of the paper's choices, so that a gate is one vector for all rows; the
    other choices name fields of a user or an item, which differ between data sets. Both networks
    have the same layers. The paper has no first-order weights; here every backbone has them.
    """

    name = "finalmlp"
    year = 2023
    takes = ("dense", "multi-valued")

    units: Annotated[int, Between(16, 512, log=True, allow=(1, 8192)), "width of a layer"] = 64
    layers: Annotated[int, Between(1, 3, allow=(1, 16)), "layers of each network"] = 2
    heads: Annotated[int, Between(1, 8, log=True), "heads of the fusion"] = 2
    dropout: Annotated[
        float,
        Between(0.0, 0.5, allow=(0.0, 0.95)),
        "share of a layer's outputs that training drops",
    ] = 0.0

    def build(self, fields: Fields, dim: int) -> nn.Module:
        """A new module: vectors (B, F, dim) and ids (B, F) → logits (B,)."""
        inputs = fields.n_fields * dim + fields.n_dense
        each = max(1, self.units // self.heads)
        widths = [self.units] * (self.layers - 1) + [self.heads * each]
        first_order = FirstOrder(fields.n_features, fields.n_dense)
        streams = [GatedStream(inputs, widths, self.dropout) for _ in range(2)]
        return FinalMLPModule(first_order, streams, Fusion(self.heads, each))


class GatedStream(nn.Module):
    """o = MLP(2 σ(g) ⊙ e): at first, with g = 0, the inputs e as they are."""

    def __init__(self, inputs: int, widths: list[int], dropout: float) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(inputs))
        self.deep = mlp(inputs, widths, dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (B, n) → (B, widths[-1])."""
        output: Tensor = self.deep(2.0 * torch.sigmoid(self.gate) * inputs)
        return output


class Fusion(nn.Module):
    """Σ_j w₁ⱼᵀ o₁ⱼ + w₂ⱼᵀ o₂ⱼ + o₁ⱼᵀ W₃ⱼ o₂ⱼ over k heads, each with its part of o₁ and o₂."""

    def __init__(self, heads: int, each: int) -> None:
        super().__init__()
        self.sums = linear(2 * heads * each, 1, bias=False)
        self.products = nn.Parameter(torch.empty(heads, each, each))
        for product in self.products:
            nn.init.xavier_uniform_(product)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two outputs (B, k · n) → (B,)."""
        heads, each, _ = self.products.shape
        left, right = (output.view(-1, heads, each) for output in (first, second))
        pairs = torch.einsum("bhm,hmn,bhn->b", left, self.products, right)
        both: Tensor = self.sums(torch.cat([first, second], dim=1)).squeeze(1)
        return both + pairs


class FinalMLPModule(nn.Module):
    """ŷ = fusion(o₁, o₂), plus the first-order part, which has the bias."""

    def __init__(self, first_order: FirstOrder, streams: list[GatedStream], fusion: Fusion) -> None:
        super().__init__()
        self.first_order = first_order
        self.first, self.second = streams
        self.fusion = fusion

    def forward(self, vectors: Tensor, ids: Tensor) -> Tensor:
        """Vectors (B, F, D) and ids (B, F) → logits (B,)."""
        inputs = with_dense(vectors.flatten(1), ids)
        fused: Tensor = self.fusion(self.first(inputs), self.second(inputs))
        return self.first_order(ids) + fused
