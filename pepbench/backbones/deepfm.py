"""DeepFM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from pepbench.backbones.backbone import ALL_INPUTS, Backbone, FirstOrder, with_dense
from pepbench.backbones.fm import from_table, pairwise_products
from pepbench.backbones.mlp import tower
from pepbench.component import Between
from pepbench.tables.fields import Fields
from pepbench.tables.rows import View


@dataclass(frozen=True)
class DeepFM(Backbone):
    """A factorisation machine and a deep network that share one embedding.

    Guo, Tang, Ye, Li, He, "DeepFM: A Factorization-Machine based Neural Network for CTR
    Prediction", IJCAI 2017, arXiv 1703.04247, eq. 1–4. The defaults are those for data of the size
    of MovieLens; for Criteo the paper has ``deepfm:units=400:layers=3:dropout=0.5``.
    """

    name = "deepfm"
    version = 2
    year = 2017
    takes = ALL_INPUTS

    units: Annotated[int, Between(16, 512, log=True, allow=(1, 8192)), "width of a layer"] = 100
    layers: Annotated[int, Between(1, 3, allow=(1, 16)), "layers of the deep network"] = 2
    dropout: Annotated[
        float,
        Between(0.0, 0.5, allow=(0.0, 0.95)),
        "share of a layer's outputs that training drops",
    ] = 0.2

    def build(self, fields: Fields, dim: int) -> nn.Module:
        """A new module: vectors (B, F, dim) and ids (B, F) → logits (B,)."""
        inputs = fields.n_fields * dim + fields.n_dense
        deep = tower(inputs, [self.units] * self.layers, self.dropout)
        return DeepFMModule(FirstOrder(fields.n_features, fields.n_dense), deep)


class DeepFMModule(nn.Module):
    """ŷ = y_FM + y_DNN (eq. 1), the deep part on the concatenated vectors (eq. 3–4)."""

    def __init__(self, first_order: FirstOrder, deep: nn.Module) -> None:
        super().__init__()
        self.first_order = first_order
        self.deep = deep

    def forward(self, vectors: Tensor, ids: Tensor) -> Tensor:
        """Vectors (B, F, D) and ids (B, F) → logits (B,)."""
        machine = self.first_order(ids) + pairwise_products(vectors)
        logits: Tensor = machine + self.deep(with_dense(vectors.flatten(1), ids))
        return logits

    def from_table(self, view: View, ids: Tensor) -> Tensor:
        """Logits (B,) from a table (M, D), its rows (B, F), and global ids (B, F), on the CPU."""
        machine, vectors = from_table(self.first_order, view, ids, with_vectors=True)
        logits: Tensor = machine + self.deep(vectors.flatten(1))
        return logits
