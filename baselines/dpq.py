"""Product quantisation whose codes are learnt through a softmax."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from pepbench.method import (
    Between,
    ComposedVectors,
    Fields,
    Fitted,
    Method,
    RowTable,
    Task,
    lookup_rows,
    xavier_uniform,
)

from .coded import CodebookTable, GranularCodebooks, counts_within, fit_served
from .hashing import largest_divisor

_CHUNK = 2**24
"""Products of features and keys that are in memory at once, outside of training steps."""
_MOMENTUM, _EPSILON = 0.1, 1e-20


@dataclass(frozen=True)
class DPQ(Method):
    """Differentiable product quantisation (DPQ-SX): the softmax of ⟨e, K⟩ selects from values V.

    Chen, Li, Sun, "Differentiable Product Quantization for End-to-End Embedding Compression", ICML
    2020, arXiv 1908.09756. D is split into S groups. Each field has K centroids in each group, of a
    key, with which a feature's vector e_x is compared, and a value, which is served::

        p_s(x) = softmax_k(norm(⟨e_x^(s), K_k^(s)⟩) / τ),   c_s(x) = argmax_k p_s(x),
        v(x) = (V^(1)_{c_1(x)}, …, V^(S)_{c_S(x)})

    (eqs. 3 to 5.) The gradient of v reaches e_x and the keys as if p_s(x) had selected, and the
    values by the code. norm is a batch normalisation of each key's products, without scale and
    shift, as in the released code. Without it, only keys on the convex hull of a group's keys can
    have the largest product with any vector, and a plane has few of them: of 600 random keys in
    groups of two columns, 2.5 % serve 3,400 random vectors, with it 92 %. Training uses fewer: at
    20 % of D = 16 and S = 8 it ends with 0.14 of them, on drawn rows and on MovieLens 100K (the
    note ``centroids_used``).

    Serving needs the values, K_i D parameters for each field, and S codes of ⌈log₂ K_i⌉ bits for
    each feature, which are bytes, not parameters. So the front over parameters flatters this
    method, as it does ``mgqe``, which selects by distance. Training needs e and the keys as well,
    N D numbers and more that are **not counted**. The knob is K_i = min(n_i, K), of which
    ``n_centroids`` is the most. A training step has S K_i products for each distinct feature of its
    batch in memory, several times: for 1,024 features of a field at D = 16 and S = 8, forward and
    backward take 0.07, 0.30 and 1.8 s of a core at K_i = 256, 1,024 and 4,096. A field of n_i ≤ K
    features has one value for each, and no codes to learn. Infeasible under two centroids a field.

    Where we differ: the paper has one vocabulary; here each field has centroids of its own, and
    each group, too. The released code normalises the k-th keys of all groups by one variance. That
    suits one codebook for all groups, its default; with keys of each group's own the long ones
    would win again: of the 600 keys above 2.7 % would serve, and the trainings above ended with
    0.05 and 0.06. We normalise each key of each group. Pieces have two columns at least: of one
    column, only the two signs of keys could be told apart. Batches are normalised over their
    distinct features, and evaluation with statistics that follow the batches by a tenth a step; the
    released code's follow by a hundredth, which takes longer than a training on small data. It adds
    1e-3 to the variance, we add 1e-20: at the scale of the uncompressed table the variance of
    products is far below 1e-3, and p would start out uniform. Of one or two features of a field in
    a batch, products are normalised by the running statistics. Keys start as random e, values as
    rows of the uncompressed table.
    """

    name = "dpq"
    family = "factored"
    year = 2020
    version = 4

    n_groups: Annotated[
        int,
        Between(2, 16, allow=(1, 256)),
        "S, at most; the largest divisor of D not above it or D / 2",
    ] = 8
    n_centroids: Annotated[
        int, Between(2, 65_536, tuned=False), "K, at most; 4,096 make a code of 12 bits"
    ] = 4096
    temperature: Annotated[
        float,
        Between(0.1, 10.0, log=True, allow=(1e-3, 1e3)),
        "τ: below 1, p is closer to the code",
    ] = 1.0

    def fit(self, task: Task, budget: int) -> Fitted:
        """Train vectors, keys and values together, then keep values and codes."""
        fitted = fit_served(task, self.training_table(task.fields, task.dim, budget), budget)
        # Of products that are almost equal, a batch of another size may select another.
        return replace(fitted, validation=task.validate(fitted.model))

    def training_table(self, fields: Fields, dim: int, budget: int) -> SoftmaxTable:
        """The full table and the most centroids within ``budget``."""
        cardinalities = np.asarray(fields.cardinalities)
        counts = counts_within(self, fields, dim, budget, self.n_centroids)
        heads = np.zeros(fields.n_features, dtype=np.bool_)
        groups = largest_divisor(dim, min(self.n_groups, max(1, dim // 2)))
        books = GranularCodebooks(cardinalities, counts, counts, heads, groups)
        return SoftmaxTable(books, dim, self.temperature)


class SoftmaxTable(CodebookTable, ComposedVectors):
    """What is trained: vectors and keys, whose products select values, the ``centroids``.

    Parameters
    ----------
    books
        Sizes; all features of a field choose among all of its centroids.
    dim
        D.
    temperature
        τ.
    """

    field_of_feature: Tensor
    """Shape (N,)."""
    own_value: Tensor
    """Shape (N,): the value of a feature whose field has one for each; −1 in other fields."""
    mean: Tensor
    """Shape (S, Σ K_i): running mean of each key's products."""
    variance: Tensor
    """Shape (S, Σ K_i)."""

    def __init__(self, books: GranularCodebooks, dim: int, temperature: float) -> None:
        super().__init__()
        self.dim, self.books, self.temperature = dim, books, temperature
        self.n_features = n_features = int(books.cardinalities.sum())
        of_feature, starts = books.field_of_feature, books.starts
        offsets = np.cumsum(books.cardinalities) - books.cardinalities
        own = np.arange(n_features) + (starts - offsets)[of_feature]
        whole = (books.counts == books.cardinalities)[of_feature]
        self.register_buffer("field_of_feature", torch.from_numpy(of_feature), persistent=False)
        own_value = torch.from_numpy(np.where(whole, own, -1))
        self.register_buffer("own_value", own_value, persistent=False)
        self.coded_fields = np.flatnonzero(books.counts < books.cardinalities).tolist()
        table = xavier_uniform(n_features, dim)
        chosen = [
            offset + torch.rand(n, books.groups).argsort(dim=0)[:k]
            for offset, n, k in zip(
                offsets.tolist(), books.cardinalities.tolist(), books.counts.tolist(), strict=True
            )
        ]
        pieces = table.view(n_features, books.groups, -1)
        self.table = RowTable(table)
        self.keys = nn.Parameter(pieces[torch.cat(chosen), torch.arange(books.groups)])
        n_values = len(self.keys)
        values = xavier_uniform(n_values, dim, fan=n_features)
        self.centroids = nn.Parameter(values.view(n_values, books.groups, -1))
        self.register_buffer("mean", torch.zeros(books.groups, n_values))
        self.register_buffer("variance", torch.ones(books.groups, n_values))
        with torch.no_grad():
            for field in self.coded_fields:
                features = (self.field_of_feature == field).nonzero().squeeze(1)
                self._normalised(field, features[: self._chunk(field)], momentum=1.0)

    def vectors(self, features: Tensor) -> Tensor:
        """Vectors of distinct features: (M,) → (M, D)."""
        own = self.own_value[features]
        places = [(own >= 0).nonzero().squeeze(1)]
        pieces = [self.centroids[own[places[0]]]]
        for field in self.coded_fields:
            places.append((self.field_of_feature[features] == field).nonzero().squeeze(1))
            pieces.append(self._selected(field, features[places[-1]]))
        order = torch.cat(places)
        found = torch.cat(pieces).flatten(1)
        return torch.empty_like(found).index_copy(0, order, found)

    def _selected(self, field: int, features: Tensor) -> Tensor:
        """Values for features of a field that has codes: (M,) → (M, S, D / S)."""
        first, count = int(self.books.starts[field]), int(self.books.counts[field])
        values = self.centroids[first : first + count]
        scores = self._normalised(field, features, _MOMENTUM if self.training else 0.0)
        codes = scores.argmax(dim=-1)
        if not (self.training and torch.is_grad_enabled()):
            groups = torch.arange(self.books.groups, device=codes.device)
            return values[codes.T, groups]
        soft = torch.softmax(scores / self.temperature, dim=-1)
        hard = torch.zeros_like(soft).scatter_(-1, codes.unsqueeze(-1), 1.0)
        # Straight through: the value is the code's, the gradient also the softmax's.
        selection = soft + (hard - soft).detach()
        return torch.bmm(selection, values.transpose(0, 1)).transpose(0, 1)

    def _normalised(self, field: int, features: Tensor, momentum: float) -> Tensor:
        """Normalised products with the keys of a field: (M,) → (S, M, K)."""
        first, count = int(self.books.starts[field]), int(self.books.counts[field])
        own = slice(first, first + count)
        rows, groups = lookup_rows(self.table, features), self.books.groups
        pieces = rows.view(len(features), groups, self.dim // groups)
        products = torch.bmm(pieces.transpose(0, 1), self.keys[own].permute(1, 2, 0))
        mean, variance = self.mean[:, own], self.variance[:, own]
        # One product has no variance; of two, each would be 1 or -1 with every key.
        if momentum and len(features) > 2:
            mean, variance = products.mean(dim=1), products.var(dim=1, correction=0)
            self.mean[:, own].lerp_(mean.detach(), momentum)
            self.variance[:, own].lerp_(variance.detach(), momentum)
        return (products - mean.unsqueeze(1)) / (variance + _EPSILON).sqrt().unsqueeze(1)

    def _chunk(self, field: int) -> int:
        return max(1, _CHUNK // (int(self.books.counts[field]) * self.books.groups))

    @torch.no_grad()
    def all_codes(self) -> Tensor:
        """Codes of every feature: (N, S), rows of ``values``."""
        codes = self.own_value[:, None].repeat(1, self.books.groups)
        for field in self.coded_fields:
            members = (self.field_of_feature == field).nonzero().squeeze(1)
            for chunk in torch.split(members, self._chunk(field)):
                scores = self._normalised(field, chunk, momentum=0.0)
                codes[chunk] = int(self.books.starts[field]) + scores.argmax(dim=-1).T
        return codes
