"""Product quantisation that is learnt with the model, finer for frequent features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pepbench.method import (
    Between,
    Embedding,
    Fields,
    Fitted,
    Layout,
    Method,
    Model,
    RowTable,
    Task,
    lookup,
    to_numpy,
    view_of,
    xavier_uniform,
)
from pepbench.serve.addresses import starts_of
from pepbench.serve.packing import bits_needed, packed
from pepbench.tables.layout import Floats, StoredFields, constant, index, part, trained

_CHUNK = 4096
"""Features for which distances to all centroids are in memory at once."""


@dataclass(frozen=True)
class MultiGranularQuantised(Method):
    """Multi-granular quantised embeddings (MGQE): each piece of a vector is one of few centroids.

    Kang, Cheng, Chen, Yi, Lin, Hong, Chi, "Learning Multi-granular Quantized Embeddings for
    Large-Vocab Categorical Features in Recommender Systems", WWW 2020 (companion), arXiv
    2002.08530; on differentiable product quantisation (DPQ, with vector quantisation), Chen, Li,
    Sun, ICML 2020, arXiv 1908.09756. D is split into S groups. Each field has K centroids in each
    group. A feature's vector e_x is replaced by the nearest centroids::

        c_s(x) = argmin_{k < K_x} ‖e_x^(s) − C_k^(s)‖²,   v(x) = (C^(1)_{c_1(x)}, …, C^(S)_{c_S(x)})

    The gradient of v reaches e_x straight through, and the centroids by lookup; a penalty pulls
    both together, ``commitment`` · (‖sg(e) − C‖² + ‖e − sg(C)‖² / 4). Multi-granular: K_x = K for
    the most frequent ``head_share`` of a field's features, and for the others K / ``tail_divisor``,
    the first of the same centroids.

    Serving needs the centroids, K_i D parameters for each field, and S codes of ⌈log₂ K_x⌉ bits
    for each feature, which are bytes, not parameters. So the front over parameters flatters this
    method; the one over bytes is fair. Training needs the full table of e as well, N D numbers
    that are **not counted**; it is dropped afterwards. The knob is K, ``n_centroids`` at most, so
    large budgets are not used up; a field of n_i ≤ K features has n_i centroids, for all its
    features. Infeasible under two centroids a field.

    Where we differ: DPQ lets the centroids follow either the penalty or moving averages; here
    they follow the penalty and the gradient of the vectors that they serve. Centroids start as
    randomly chosen e, and all values are then scaled to give v the variance of the uncompressed
    table.
    """

    name = "mgqe"
    family = "factored"
    year = 2020

    n_groups: Annotated[
        int, Between(2, 16, allow=(1, 256)), "S, at most; the largest divisor of D not above it"
    ] = 8
    n_centroids: Annotated[
        int, Between(2, 65_536, tuned=False), "K, at most; 256 make a code of one byte"
    ] = 256
    head_share: Annotated[
        float,
        Between(0.0, 1.0, tuned=False),
        "share of a field's features that choose among all K centroids",
    ] = 0.1
    tail_divisor: Annotated[
        int, Between(1, 256, tuned=False), "the others choose among K divided by this, 2 at least"
    ] = 4
    commitment: Annotated[
        float,
        Between(1e-2, 10.0, log=True, allow=(0.0, 1e6)),
        "weight of the penalty that pulls vectors and centroids together",
    ] = 1.0

    def fit(self, task: Task, budget: int) -> Fitted:
        """Train table and centroids together, then keep centroids and codes."""
        table = self.training_table(task.fields, task.dim, budget)
        fitted = task.train(task.model(table))
        served = CodedTable(table.books, table.centroids.detach(), table.all_codes())
        return replace(fitted, model=Model(served, fitted.model.backbone))

    def training_table(self, fields: Fields, dim: int, budget: int) -> StraightThroughTable:
        """The full table and the most centroids within ``budget``."""
        cardinalities = np.asarray(fields.cardinalities)
        least = int(np.minimum(cardinalities, 2).sum()) * dim
        self.refuse_below(least, budget, "two centroids a field")
        most = min(self.n_centroids, int(cardinalities.max()))
        sizes = np.array([np.minimum(cardinalities, k).sum() * dim for k in range(2, most + 1)])
        n_centroids = 2 + int(np.searchsorted(sizes, budget, side="right")) - 1
        counts = np.minimum(cardinalities, n_centroids)
        tail = np.minimum(np.maximum(n_centroids // self.tail_divisor, 2), counts)
        tail = np.where(cardinalities <= n_centroids, counts, tail)
        groups = max(s for s in range(1, dim + 1) if dim % s == 0 and s <= self.n_groups)
        books = GranularCodebooks(cardinalities, counts, tail, self.heads(fields), groups)
        return StraightThroughTable(books, dim, self.commitment)

    def heads(self, fields: Fields) -> NDArray[np.bool_]:
        """Which features (N,) are among the most frequent of their field; ties go to low ids."""
        order = np.lexsort((-fields.frequencies, fields.field_of_feature))
        within = np.arange(len(order)) - fields.offsets[fields.field_of_feature]
        n_heads = np.ceil(self.head_share * np.asarray(fields.cardinalities))
        heads = np.zeros(len(order), dtype=np.bool_)
        heads[order] = within < n_heads[fields.field_of_feature]
        return heads


@dataclass(frozen=True, eq=False)
class GranularCodebooks(StoredFields):
    """How many centroids each field and feature has to choose from."""

    cardinalities: NDArray[np.integer] = field(metadata=index("sizes"))
    """Shape (F,)."""
    counts: NDArray[np.integer] = field(metadata=index("sizes"))
    """Shape (F,): K_i."""
    tail_counts: NDArray[np.integer] = field(metadata=index("sizes"))
    """Shape (F,): for features that are not heads."""
    heads: NDArray[np.bool_] = field(metadata=index())
    """Shape (N,): which features are among the most frequent of their field."""
    groups: int = field(metadata=constant())
    """S."""

    @property
    def field_of_feature(self) -> NDArray[np.int64]:
        """Shape (N,)."""
        return np.repeat(np.arange(len(self.counts)), self.cardinalities)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Shape (F,): each field's first centroid."""
        return starts_of(self.counts)

    @property
    def choices(self) -> NDArray[np.int64]:
        """Shape (N,): K_x."""
        of_feature = self.field_of_feature
        chosen: NDArray[np.int64] = np.where(
            self.heads, self.counts[of_feature], self.tail_counts[of_feature]
        )
        return chosen


class CodedTable(Embedding):
    """What is served: centroids, and the codes of each feature.

    Parameters
    ----------
    books
        Sizes.
    centroids
        Shape (Σ K_i, S, D / S).
    codes
        Shape (N, S): rows of ``centroids``.
    """

    codes: Tensor

    def __init__(self, books: GranularCodebooks, centroids: Tensor, codes: Tensor) -> None:
        super().__init__()
        self.dim = centroids.shape[1] * centroids.shape[2]
        self.books = books
        self.centroids = nn.Parameter(centroids.clone())
        self.register_buffer("codes", codes.clone())

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of global ids: (B, F) → (B, F, D)."""
        return pieces_of(self.centroids, self.codes[ids])

    def export(self) -> CodedLayout:
        """Centroids and codes."""
        return CodedLayout(to_numpy(self.centroids.flatten(1)), to_numpy(self.codes), self.books)


class StraightThroughTable(Embedding):
    """What is trained: the full table, seen through the nearest centroids.

    Its count and its export are those of what will be served.

    Parameters
    ----------
    books
        Sizes.
    dim
        D.
    commitment
        Weight of the penalty.
    """

    choices: Tensor
    """Shape (N,): K_x."""
    first_centroid: Tensor
    """Shape (N,): the first centroid of each feature's field."""

    def __init__(self, books: GranularCodebooks, dim: int, commitment: float) -> None:
        super().__init__()
        self.dim = dim
        self.books = books
        self.commitment = commitment
        n_features = int(books.cardinalities.sum())
        self.register_buffer("choices", torch.from_numpy(books.choices), persistent=False)
        first = torch.from_numpy(books.starts[books.field_of_feature])
        self.register_buffer("first_centroid", first, persistent=False)
        table = xavier_uniform(n_features, dim)
        pieces = table.view(n_features, books.groups, -1)
        chosen = [
            offset + torch.rand(n, books.groups).argsort(dim=0)[:k]
            for offset, n, k in zip(
                starts_of(books.cardinalities).tolist(),
                books.cardinalities.tolist(),
                books.counts.tolist(),
                strict=True,
            )
        ]
        self.table = RowTable(table)
        self.centroids = nn.Parameter(pieces[torch.cat(chosen), torch.arange(books.groups)])
        self._penalty: Tensor | None = None
        with torch.no_grad():
            sample = torch.arange(n_features)[:: max(1, n_features // 10_000)]
            vectors = pieces_of(self.centroids, self.nearest(sample))
            scale = (2.0 / (n_features + dim) / vectors.var(correction=0)).sqrt()
            self.table.mul_(scale)
            self.centroids.mul_(scale)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of global ids: (B, F) → (B, F, D)."""
        view = view_of(self.table, ids)
        distinct, inverse = torch.unique(ids, return_inverse=True)
        codes = self.nearest(distinct.long())
        quantised = lookup(pieces_of(self.centroids, codes), inverse)
        self._penalty = None
        if not (self.training and torch.is_grad_enabled()):
            return quantised
        own = lookup(view.table, view.ids)
        pull = (own.detach() - quantised).square() + (own - quantised.detach()).square() / 4
        # The mean over each field's values: a row may have several, or none.
        field = self.first_centroid[ids]
        self._penalty = (
            self.commitment * (pull.sum(2) / torch.bincount(field.flatten())[field]).sum()
        )
        # Straight through: the value is the centroids', the gradient also the table's.
        return quantised + (own - own.detach())

    def penalty(self) -> Tensor | None:
        """How far the last batch's vectors are from their centroids, summed over fields."""
        return self._penalty

    @torch.no_grad()
    def nearest(self, ids: Tensor) -> Tensor:
        """Codes of distinct ids: (M,) → (M, S), rows of ``centroids``."""
        books = self.books
        codes = torch.empty(len(ids), books.groups, dtype=torch.long, device=ids.device)
        first, choices = self.first_centroid[ids], self.choices[ids]
        for start, count, tail in zip(
            books.starts.tolist(), books.counts.tolist(), books.tail_counts.tolist(), strict=True
        ):
            here = first == start
            # (S, D / S, K)
            centroids = self.centroids[start : start + count].permute(1, 2, 0)
            for k in {count, tail}:
                members = (here & (choices == k)).nonzero().squeeze(1)
                for chunk in torch.split(members, _CHUNK):
                    codes[chunk] = start + self._nearest_of(ids[chunk], centroids[..., :k])
        return codes

    def _nearest_of(self, ids: Tensor, centroids: Tensor) -> Tensor:
        groups = self.books.groups
        pieces = self.table[ids].view(len(ids), groups, self.dim // groups).transpose(0, 1)
        # The squared distance, but for the length of the piece.
        lengths = centroids.square().sum(dim=1, keepdim=True)
        distances = torch.baddbmm(lengths, pieces, centroids, alpha=-2.0)
        return distances.argmin(dim=-1).T

    def all_codes(self) -> Tensor:
        """Codes of every feature: (N, S)."""
        return self.nearest(torch.arange(len(self.table), device=self.table.device))

    def n_parameters(self) -> int:
        """Numbers in the centroids."""
        return self.centroids.numel()

    def export(self) -> CodedLayout:
        """Centroids and codes."""
        return CodedLayout(
            to_numpy(self.centroids.flatten(1)), to_numpy(self.all_codes()), self.books
        )


def pieces_of(centroids: Tensor, codes: Tensor) -> Tensor:
    """Vectors put together from centroids (R, S, w) at codes (…, S): (…, S·w)."""
    groups = centroids.shape[1]
    flat = codes * groups + torch.arange(groups, device=codes.device)
    return lookup(centroids.flatten(0, 1), flat).flatten(-2)


@dataclass(frozen=True, eq=False)
class CodedLayout(Layout):
    """Centroids, and packed codes."""

    form = "coded"

    centroids: Floats = field(metadata=trained())
    """Shape (Σ K_i, D): S groups of D / S columns."""
    codes: NDArray[np.integer]
    """Shape (N, S): rows of ``centroids``."""
    books: GranularCodebooks = field(metadata=part())

    def structure(self) -> Mapping[str, NDArray[np.generic]]:
        """Codes in as few bits as their features need, flags of the heads, and sizes."""
        books = self.books
        within = self.codes - books.starts[books.field_of_feature, None]
        bits = np.repeat(bits_needed(books.choices), books.groups)
        return {"codes": packed(within.ravel(), bits), **super().structure()}
