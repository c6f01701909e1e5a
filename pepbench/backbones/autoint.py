"""AutoInt and AutoInt+."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from pepbench.backbones.attention import attend, is_compiled_for, tiles_of
from pepbench.backbones.backbone import ALL_INPUTS, Backbone, FirstOrder
from pepbench.backbones.mlp import tower, weighted_sum
from pepbench.component import Between, OneOf
from pepbench.tables.bags import Bags, Ids
from pepbench.tables.fields import Fields


@dataclass(frozen=True)
class AutoInt(Backbone):
    """AutoInt: multi-head self-attention among the fields, layer upon layer.

    Song, Shi, Xiao, Duan, Xu, Zhang, Tang, "AutoInt: Automatic Feature Interaction Learning via
    Self-Attentive Neural Networks", CIKM 2019, arXiv 1810.11921, eq. 5–9: three layers of two heads
    of 32. ``deep=true`` is AutoInt+, which adds a deep network.

    As in the paper, but not the released code, queries, keys and values are linear, the
    products are not scaled, and there is no layer normalisation. The paper has no first-order
    weights; here every backbone has them. A dense field with value x is one more vector, x · v
    (eq. 4), in the interacting layers and in the deep network; v belongs to the backbone.
    """

    name = "autoint"
    version = 2
    year = 2019
    takes = ALL_INPUTS

    layers: Annotated[int, Between(1, 4, allow=(1, 16)), "interacting layers"] = 3
    heads: Annotated[int, OneOf(1, 2, 4, 8), "attention heads in a layer"] = 2
    attention_size: Annotated[
        int, OneOf(8, 16, 32, 64, 128, 256), "width of a layer, all heads together"
    ] = 64
    residual: Annotated[
        bool, OneOf(True, False, tuned=False), "add W_Res e to the output of a layer"
    ] = True
    deep: Annotated[
        bool, OneOf(True, False, tuned=False), "AutoInt+: add a deep network on the vectors"
    ] = False
    units: Annotated[int, Between(1, 8192, tuned=False), "width of a layer of the deep network"] = (
        100
    )
    deep_layers: Annotated[int, Between(1, 16, tuned=False), "layers of the deep network"] = 2
    dropout: Annotated[
        float,
        Between(0.0, 0.95, tuned=False),
        "share of a deep layer's outputs that training drops",
    ] = 0.2

    def build(self, fields: Fields, dim: int) -> nn.Module:
        """A new module: vectors (B, F, dim) and ids (B, F) → logits (B,)."""
        size = self.attention_size
        interacting = nn.Sequential(
            *(
                Interacting(size if layer else dim, self.heads, size // self.heads, self.residual)
                for layer in range(self.layers)
            )
        )
        n_vectors = fields.n_fields + fields.n_dense
        widths = [self.units] * self.deep_layers
        deep = tower(n_vectors * dim, widths, self.dropout) if self.deep else None
        return AutoIntModule(
            FirstOrder(fields.n_features, fields.n_dense),
            DenseVectors(fields.n_dense, dim) if fields.n_dense else None,
            interacting,
            weighted_sum(n_vectors * size),
            deep,
        )


class AutoIntModule(nn.Module):
    """ŷ = wᵀ (e₁ ⊕ … ⊕ e_F) + b (eq. 9), plus the first-order part, and the deep one if any."""

    def __init__(
        self,
        first_order: FirstOrder,
        dense_vectors: DenseVectors | None,
        interacting: nn.Module,
        output: nn.Module,
        deep: nn.Module | None,
    ) -> None:
        super().__init__()
        self.first_order = first_order
        self.dense_vectors = dense_vectors
        self.interacting = interacting
        self.output = output
        self.deep = deep

    def forward(self, vectors: Tensor, ids: Tensor) -> Tensor:
        """Vectors (B, F, D) and ids (B, F) → logits (B,)."""
        if self.dense_vectors is not None:
            vectors = self.dense_vectors(vectors, ids)
        logits: Tensor = self.first_order(ids)
        if is_compiled_for(vectors):
            logits = logits + self._attended_in_tiles(vectors)
        else:
            logits = logits + self.output(self.interacting(vectors).flatten(1))
        return logits if self.deep is None else logits + self.deep(vectors.flatten(1))

    def _attended_in_tiles(self, vectors: Tensor) -> Tensor:
        tiles = tiles_of(vectors)
        for layer in self.interacting.children():
            tiles = layer.of_tiles(tiles)  # type: ignore[operator]
        size, n_fields = tiles.shape[1:3]
        weights = self.output.get_parameter("0.weight").view(n_fields, size).mT.reshape(1, -1)
        return (weights @ tiles.flatten(1, 2)).flatten()[: len(vectors)]


class DenseVectors(nn.Module):
    """Vectors x_m v_m of M dense inputs (eq. 4), behind those of the fields."""

    def __init__(self, n_dense: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Parameter(nn.init.xavier_uniform_(torch.empty(n_dense, dim)))

    def forward(self, vectors: Tensor, ids: Ids) -> Tensor:
        """Vectors (B, F, D) and the rows' dense inputs (B, M) → (B, F + M, D)."""
        assert isinstance(ids, Bags)
        assert ids.dense is not None
        dense = ids.dense.to(vectors.dtype)
        return torch.cat([vectors, dense[:, :, None] * self.table], dim=1)


class Interacting(nn.Module):
    """An interacting layer: (B, F, n_inputs) → (B, F, heads · size).

    With α the softmax over k of ⟨W_Query e_m, W_Key e_k⟩ (eq. 5), each head gives field m
    Σ_k α_mk W_Value e_k (eq. 6); the heads' concatenation (eq. 7) becomes
    ReLU(ẽ_m + W_Res e_m) (eq. 8). The three or four matrices of all heads are stored as one.
    """

    def __init__(self, n_inputs: int, heads: int, size: int, residual: bool) -> None:
        super().__init__()
        self.heads = heads
        self.size = size
        self.residual = residual
        width = heads * size
        self.project = nn.Linear(n_inputs, (4 if residual else 3) * width, bias=False)
        for matrix in self.project.weight.chunk(4 if residual else 3):
            nn.init.xavier_uniform_(matrix)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, F, n_inputs) → (B, F, heads · size)."""
        # A head at a time, on views of the projections: scaled_dot_product_attention, and a product
        # over all heads, copy them and are slower on CPUs (by a third and two fifths at F = 39).
        parts = self.project(inputs).split(self.size, dim=2)
        queries, keys, values, *residuals = (
            parts[start : start + self.heads] for start in range(0, len(parts), self.heads)
        )
        outputs = []
        for head in range(self.heads):
            attention = torch.bmm(queries[head], keys[head].mT).softmax(2)
            if self.residual:
                outputs.append(torch.baddbmm(residuals[0][head], attention, values[head]))
            else:
                outputs.append(torch.bmm(attention, values[head]))
        return torch.cat(outputs, dim=2).relu()

    def of_tiles(self, tiles: Tensor) -> Tensor:
        """As :meth:`forward`, on tiles: (n, n_inputs, F, T) → (n, heads · size, F, T)."""
        return attend(tiles, self.project.weight, self.size, self.residual)
