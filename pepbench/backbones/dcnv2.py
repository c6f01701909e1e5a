"""DCN-V2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from pepbench.backbones.backbone import ALL_INPUTS, Backbone, FirstOrder, with_dense
from pepbench.backbones.mlp import linear, mlp, weighted_sum
from pepbench.component import Between, OneOf
from pepbench.tables.fields import Fields


@dataclass(frozen=True)
class DCNv2(Backbone):
    """DCN-V2: cross layers, each of which raises the degree of interactions by one, and an MLP.

    Wang, Shivanna, Cheng, Jain, Lin, Hong, Chi, "DCN V2: Improved Deep & Cross Network and
    Practical Lessons for Web-scale Learning to Rank Systems", WWW 2021, arXiv 2008.13535. Three
    kinds of cross layer: full rank (eq. 1, ``low_rank=0``), low rank (eq. 2, ``experts=1``), and a
    mixture of low-rank experts, DCN-Mix (eqs. 3 and 4, ``experts=4``), with gates by softmax and
    g = tanh.

    The paper tunes all sizes for each data set, and finds that the better of the two structures
    depends on the data; the deep part's defaults here are those of ``deepfm``. The paper has no
    first-order weights; here every backbone has them.
    """

    name = "dcnv2"
    version = 2
    year = 2021
    takes = ALL_INPUTS

    cross_layers: Annotated[int, Between(1, 4, allow=(1, 16)), "cross layers"] = 2
    low_rank: Annotated[
        int,
        Between(0, 256, tuned=False, allow=(0, 8192)),
        "rank of a cross layer's matrix, of each expert's if there are several; 0: full",
    ] = 0
    experts: Annotated[
        int,
        Between(1, 8, tuned=False, allow=(1, 64)),
        "low-rank experts in a cross layer; only with low_rank above 0",
    ] = 1
    structure: Annotated[
        str,
        OneOf("parallel", "stacked"),
        "where the deep network starts: at the vectors, or at the last cross layer",
    ] = "parallel"
    units: Annotated[int, Between(16, 512, log=True, allow=(1, 8192)), "width of a layer"] = 100
    layers: Annotated[int, Between(1, 3, allow=(1, 16)), "layers of the deep network"] = 2
    dropout: Annotated[
        float,
        Between(0.0, 0.5, allow=(0.0, 0.95)),
        "share of a deep layer's outputs that training drops",
    ] = 0.2

    def build(self, fields: Fields, dim: int) -> nn.Module:
        """A new module: vectors (B, F, dim) and ids (B, F) → logits (B,)."""
        width = fields.n_fields * dim + fields.n_dense
        cross = Crossing([self._cross_layer(width) for _ in range(self.cross_layers)])
        deep = mlp(width, [self.units] * self.layers, self.dropout)
        first_order = FirstOrder(fields.n_features, fields.n_dense)
        stacked = self.structure == "stacked"
        output = weighted_sum(self.units if stacked else width + self.units)
        return DCNv2Module(first_order, cross, deep, output, stacked)

    def _cross_layer(self, width: int) -> nn.Module:
        if self.low_rank == 0:
            return linear(width, width)
        if self.experts == 1:
            return nn.Sequential(
                linear(width, self.low_rank, bias=False), linear(self.low_rank, width)
            )
        return Experts(width, self.low_rank, self.experts)


class Crossing(nn.Module):
    """Cross layers: x_{l+1} = x₀ ⊙ f_l(x_l) + x_l; (B, n) → (B, n).

    f_l(x) is W x + b (eq. 1), U Vᵀ x + b (eq. 2), or :class:`Experts`.
    """

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, first: Tensor) -> Tensor:
        """x₀ (B, n) → x_L (B, n)."""
        crossed = first
        for layer in self.layers:
            crossed = torch.addcmul(crossed, first, layer(crossed))
        return crossed


class Experts(nn.Module):
    """A gated mixture of K low-rank maps, Σ_k G_k(x) U_k g(C_k g(V_kᵀ x)) + b; (B, n) → (B, n).

    The softmax gates sum to one, so the bias that the experts share is added once, and x₀ is
    multiplied once. All V and the gates are one matrix, and all U another.
    """

    def __init__(self, width: int, rank: int, experts: int) -> None:
        super().__init__()
        self.shape = (experts, rank)
        self.reduce = nn.Linear(width, experts * (rank + 1), bias=False)
        self.middle = nn.Parameter(torch.empty(experts, rank, rank))
        self.expand = linear(experts * rank, width)
        narrow, gates = self.reduce.weight[:-experts], self.reduce.weight[-experts:]
        outwards = self.expand.weight.chunk(experts, dim=1)
        for matrix in (*narrow.chunk(experts), gates, *self.middle, *outwards):
            nn.init.xavier_uniform_(matrix)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, n) → (B, n)."""
        experts, rank = self.shape
        reduced = self.reduce(inputs)
        gates = reduced[:, -experts:].softmax(1)
        narrow = reduced[:, :-experts].tanh().view(-1, experts, rank).transpose(0, 1)
        narrow = torch.bmm(narrow, self.middle.mT).tanh().transpose(0, 1)
        gated = narrow * gates[:, :, None]
        outputs: Tensor = self.expand(gated.flatten(1))
        return outputs


class DCNv2Module(nn.Module):
    """ŷ = wᵀ [x_L, h(x₀)] (fig. 1b) or wᵀ h(x_L) (fig. 1a), plus the first-order part."""

    def __init__(
        self,
        first_order: FirstOrder,
        cross: nn.Module,
        deep: nn.Module,
        output: nn.Module,
        stacked: bool,
    ) -> None:
        super().__init__()
        self.first_order = first_order
        self.cross = cross
        self.deep = deep
        self.output = output
        self.stacked = stacked

    def forward(self, vectors: Tensor, ids: Tensor) -> Tensor:
        """Vectors (B, F, D) and ids (B, F) → logits (B,)."""
        inputs = with_dense(vectors.flatten(1), ids)
        crossed = self.cross(inputs)
        if self.stacked:
            outputs = self.deep(crossed)
        else:
            outputs = torch.cat([crossed, self.deep(inputs)], dim=1)
        logits: Tensor = self.first_order(ids) + self.output(outputs)
        return logits
