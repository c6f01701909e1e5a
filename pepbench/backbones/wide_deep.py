"""Wide & Deep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from pepbench.backbones.backbone import ALL_INPUTS, Backbone, FirstOrder, with_dense
from pepbench.backbones.mlp import halving, tower
from pepbench.component import Between
from pepbench.tables.fields import Fields


@dataclass(frozen=True)
class WideDeep(Backbone):
    """Wide & Deep: a linear model and a deep network that are trained jointly.

    Cheng et al., "Wide & Deep Learning for Recommender Systems", DLRS 2016, arXiv 1606.07792,
    eq. 2–3; layers of 1024, 512 and 256 as in figure 4. The wide part has the features themselves,
    not the products of features that the authors chose by hand for their data (eq. 1). The suite's
    optimizer trains both parts; the paper uses FTRL and AdaGrad.
    """

    name = "wide_deep"
    version = 2
    year = 2016
    takes = ALL_INPUTS

    units: Annotated[
        int,
        Between(16, 1024, log=True, allow=(1, 8192)),
        "width of the first layer; each further one has half of it",
    ] = 1024
    layers: Annotated[int, Between(1, 3, allow=(1, 16)), "layers of the deep network"] = 3
    dropout: Annotated[
        float,
        Between(0.0, 0.5, allow=(0.0, 0.95)),
        "share of a layer's outputs that training drops",
    ] = 0.0

    def build(self, fields: Fields, dim: int) -> nn.Module:
        """A new module: vectors (B, F, dim) and ids (B, F) → logits (B,)."""
        inputs = fields.n_fields * dim + fields.n_dense
        deep = tower(inputs, halving(self.units, self.layers), self.dropout)
        return WideDeepModule(FirstOrder(fields.n_features, fields.n_dense), deep)


class WideDeepModule(nn.Module):
    """ŷ = w_wideᵀ x + w_deepᵀ a + b (eq. 3), a the last layer's activations (eq. 2)."""

    def __init__(self, wide: FirstOrder, deep: nn.Module) -> None:
        super().__init__()
        self.wide = wide
        self.deep = deep

    def forward(self, vectors: Tensor, ids: Tensor) -> Tensor:
        """Vectors (B, F, D) and ids (B, F) → logits (B,)."""
        logits: Tensor = self.wide(ids) + self.deep(with_dense(vectors.flatten(1), ids))
        return logits
