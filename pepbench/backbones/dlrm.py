"""DLRM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from pepbench.backbones.backbone import ALL_INPUTS, Backbone, FirstOrder
from pepbench.backbones.lr import LRModule
from pepbench.backbones.mlp import halving, mlp, tower
from pepbench.component import Between, OneOf
from pepbench.tables.bags import Bags, Ids
from pepbench.tables.fields import Fields


@dataclass(frozen=True)
class DLRM(Backbone):
    """DLRM: a deep network on the dot products of all pairs of vectors.

    Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation
    Systems", 2019, arXiv 1906.00091, §2.2; a top MLP of 512 and 256 as in §5. Dense fields go
    through a bottom MLP, of the top one's widths and then D, to one more vector; the top MLP
    reads that vector and the dot products of all. Without dense fields it reads the dot products
    only; with ``vectors=true`` the vectors of the fields too. A single field without dense ones has
    no products, which leaves the first-order weights alone. The paper has none; here every backbone
    has them.
    """

    name = "dlrm"
    version = 2
    year = 2019
    takes = ALL_INPUTS

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
        widths = halving(self.units, self.layers)
        bottom = mlp(fields.n_dense, [*widths, dim], self.dropout) if fields.n_dense else None
        n_vectors = fields.n_fields + (bottom is not None)
        inputs = n_vectors * (n_vectors - 1) // 2 + self.vectors * fields.n_fields * dim
        if inputs == 0:  # a single field has no pairs
            return LRModule(fields.n_features)
        top = tower(inputs + (dim if bottom is not None else 0), widths, self.dropout)
        first_order = FirstOrder(fields.n_features, fields.n_dense)
        return DLRMModule(first_order, top, n_vectors, self.vectors, bottom)


class DLRMModule(nn.Module):
    """ŷ = MLP(v₀, ⟨v_f, v_g⟩ for f < g), plus the first-order part; v₀ from the dense fields."""

    pairs: Tensor

    def __init__(
        self,
        first_order: FirstOrder,
        top: nn.Module,
        n_vectors: int,
        vectors: bool,
        bottom: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.first_order = first_order
        self.top = top
        self.vectors = vectors
        self.bottom = bottom
        left, right = torch.triu_indices(n_vectors, n_vectors, offset=1)
        self.register_buffer("pairs", left * n_vectors + right, persistent=False)

    def forward(self, vectors: Tensor, ids: Ids) -> Tensor:
        """Vectors (B, F, D) and ids (B, F) → logits (B,)."""
        further = [vectors.flatten(1)] if self.vectors else []
        if self.bottom is not None and isinstance(ids, Bags) and ids.dense is not None:
            below = self.bottom(ids.dense.to(vectors.dtype))
            vectors = torch.cat([below[:, None], vectors], dim=1)
            further.insert(0, below)
        products = torch.bmm(vectors, vectors.mT).flatten(1)
        inputs = products.index_select(1, self.pairs)
        if further:
            inputs = torch.cat([*further, inputs], dim=1)
        logits: Tensor = self.first_order(ids) + self.top(inputs)
        return logits
