"""Product quantisation that is learnt with the model, finer for frequent features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pepbench.method import (
    Between,
    Fields,
    Fitted,
    Method,
    OneOf,
    RowTable,
    Task,
    lookup,
    view_of,
    xavier_uniform,
)
from pepbench.serve.addresses import starts_of

from .coded import CodebookTable, GranularCodebooks, counts_within, fit_served, pieces_of
from .frequency import by_frequency
from .hashing import largest_divisor

_CHUNK = 2**24
"""Distances of features to centroids that are in memory at once."""
_MOMENTUM = 0.1
"""Weight of a batch in the moving averages, as in torch's batch norm."""
_LEAST_VARIANCE = 1e-30
"""Of a distance, where all features of a field are alike."""


@dataclass(frozen=True)
class MultiGranularQuantised(Method):
    """Multi-granular quantised embeddings (MGQE): each piece of a vector is one of few centroids.

    Kang, Cheng, Chen, Yi, Lin, Hong, Chi, "Learning Multi-granular Quantized Embeddings for
    Large-Vocab Categorical Features in Recommender Systems", WWW 2020 (companion), arXiv
    2002.08530; on differentiable product quantisation (DPQ, with vector quantisation), Chen, Li,
    Sun, ICML 2020, arXiv 1908.09756. D is split into S groups. Each field has K centroids in each
    group. A feature's vector e_x is replaced by the nearest centroids::

        c_s(x) = argmin_{k < K_x} ‖e_x^(s) − C_k^(s)‖²,   v(x) = (C^(1)_{c_1(x)}, …, C^(S)_{c_S(x)})

    By default the nearest is so by distance, as written here. With ``normalise``, the distances to
    each centroid are batch-normalised first, as in DPQ's code: a centroid that is far from all
    features still serves those to which it is nearer than usual, but a vector that lies on a
    centroid may be given another: with two columns a group, half of them are, or more. On drawn
    data of two shapes (three seeds) that lost 0.008 to 0.018 of AUC in three of four cells, with
    fewer centroids in use, and gained 0.009, within the spread of seeds, in the fourth. The notes
    have ``centroids_used``, the share that serves.

    The gradient of v reaches e_x straight through, and the centroids by lookup; a penalty pulls
    both together, ``commitment`` · (‖sg(e) − C‖² + ‖e − sg(C)‖² / 4). Multi-granular: K_x = K for
    the most frequent ``head_share`` of a field's features, and for the others K / ``tail_divisor``,
    the first of the same centroids.

    Serving needs the centroids, K_i D parameters for each field, and S codes of ⌈log₂ K_x⌉ bits
    for each feature, which are bytes, not parameters. So the front over parameters flatters this
    method; the one over bytes is fair. Training needs the full table of e as well, N D numbers
    that are **not counted**; it is dropped afterwards. The knob is K_i = min(n_i, K), of which
    ``n_centroids`` is the most, so that very large budgets are not used up; a field of n_i ≤ K
    features has a centroid for each. Infeasible under two centroids a field.

    Where we differ: DPQ lets the centroids follow either the penalty or moving averages; here they
    follow the penalty and the gradient of the vectors that they serve. Its batch norm has the
    statistics of the batch in training, of the k-th centroids of all groups together; ours moving
    averages in training as in evaluation (a batch can have a single feature of a field), of each
    feature of the batch once and by group, since each group has centroids of its own. Centroids
    start as randomly chosen e, and all values are then scaled to give v the variance of the
    uncompressed table. The paper's K is 256 for Criteo-sized fields; ours follows from the budget.
    """

    name = "mgqe"
    family = "factored"
    year = 2020
    version = 4

    n_groups: Annotated[
        int, Between(2, 16, allow=(1, 256)), "S, at most; the largest divisor of D not above it"
    ] = 8
    n_centroids: Annotated[
        int, Between(2, 65_536, tuned=False), "K, at most; 4,096 make a code of 12 bits"
    ] = 4096
    normalise: Annotated[
        bool, OneOf(True, False), "batch-normalise distances before the nearest is chosen"
    ] = False
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
        return fit_served(task, self.training_table(task.fields, task.dim, budget), budget)

    def training_table(self, fields: Fields, dim: int, budget: int) -> StraightThroughTable:
        """The full table and the most centroids within ``budget``."""
        cardinalities = np.asarray(fields.cardinalities)
        counts = counts_within(self, fields, dim, budget, self.n_centroids)
        tail = np.where(counts < cardinalities, np.maximum(counts // self.tail_divisor, 2), counts)
        groups = largest_divisor(dim, self.n_groups)
        books = GranularCodebooks(cardinalities, counts, tail, self.heads(fields), groups)
        return StraightThroughTable(books, dim, self.commitment, self.normalise)

    def heads(self, fields: Fields) -> NDArray[np.bool_]:
        """Which features (N,) are among the most frequent of their field; ties at random."""
        order = by_frequency(fields.frequencies)
        order = order[np.argsort(fields.field_of_feature[order], kind="stable")]
        within = np.arange(len(order)) - fields.offsets[fields.field_of_feature]
        n_heads = np.ceil(self.head_share * np.asarray(fields.cardinalities))
        heads = np.zeros(len(order), dtype=np.bool_)
        heads[order] = within < n_heads[fields.field_of_feature]
        return heads


class StraightThroughTable(CodebookTable):
    """What is trained: the full table, seen through the nearest centroids.

    Its count and its export are those of what will be served. Of a piece e^(s) and a centroid C_k,
    minus the squared distance is linear in z = (‖e^(s)‖², e^(s)): a_k·z − ‖C_k‖² with
    a_k = (−1, 2 C_k). So its mean and variance over features follow from those of z.

    Parameters
    ----------
    books
        Sizes.
    dim
        D.
    commitment
        Weight of the penalty.
    normalise
        Whether distances are batch-normalised.
    """

    choices: Tensor
    """Shape (N,): K_x."""
    first: Tensor
    """Shape (N,): the first centroid of each feature's field."""
    own: Tensor
    """Shape (N,): the centroid of each feature whose field has one for each."""
    quantised: Tensor
    """Shape (N,): whether its field has fewer."""
    mean: Tensor
    """Shape (F, S, w + 1): of z, with w = D / S; a moving average."""
    covariance: Tensor
    """Shape (F, S, w + 1, w + 1): of z."""

    def __init__(
        self, books: GranularCodebooks, dim: int, commitment: float, normalise: bool
    ) -> None:
        super().__init__()
        self.dim = dim
        self.books = books
        self.commitment = commitment
        self.normalise = normalise
        of_feature, groups = books.field_of_feature, books.groups
        every = torch.arange(len(of_feature))
        first_id = torch.from_numpy(starts_of(books.cardinalities))
        first = torch.from_numpy(books.starts[of_feature])
        constants = {
            "choices": torch.from_numpy(books.choices),
            "first": first,
            "own": first + every - first_id[of_feature],
            "quantised": torch.from_numpy(np.isin(of_feature, books.quantised)),
        }
        for name, constant_of_feature in constants.items():
            self.register_buffer(name, constant_of_feature, persistent=False)
        table = xavier_uniform(len(every), dim)
        chosen = [
            start
            + (torch.rand(n, groups).argsort(dim=0) if k < n else torch.arange(n)[:, None])[:k]
            for start, n, k in zip(
                first_id.tolist(), books.cardinalities.tolist(), books.counts.tolist(), strict=True
            )
        ]
        rows = torch.cat([of_field.expand(-1, groups) for of_field in chosen])
        self.table = RowTable(table)
        pieces = table.view(len(every), groups, -1)
        self.centroids = nn.Parameter(pieces[rows, torch.arange(groups)])
        self._penalty: Tensor | None = None
        n_fields, width = len(books.counts), dim // groups + 1
        self.register_buffer("mean", torch.zeros(n_fields, groups, width))
        self.register_buffer("covariance", torch.zeros(n_fields, groups, width, width))
        with torch.no_grad():
            sample = every[:: max(1, len(every) // 10_000)]
            vectors = pieces_of(self.centroids, self.nearest(sample, weight=1.0))
            scale = (2.0 / (len(every) + dim) / vectors.var(correction=0)).sqrt()
            self.table.mul_(scale)
            self.centroids.mul_(scale)
            self.nearest(sample, weight=1.0)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of global ids: (B, F) → (B, F, D)."""
        view = view_of(self.table, ids)
        distinct, inverse = torch.unique(ids, return_inverse=True)
        trains = self.training and torch.is_grad_enabled()
        codes = self.nearest(distinct.long(), _MOMENTUM if trains else 0.0)
        quantised = lookup(pieces_of(self.centroids, codes), inverse)
        self._penalty = None
        if not trains:
            return quantised
        own = lookup(view.table, view.ids)
        pull = (own.detach() - quantised).square() + (own - quantised.detach()).square() / 4
        # The mean over each field's values: a row may have several, or none.
        field = self.first[ids]
        share = self.quantised[ids] / torch.bincount(field.flatten())[field]
        self._penalty = self.commitment * (pull.sum(2) * share).sum()
        # Straight through: the value is the centroids', the gradient also the table's.
        return quantised + (own - own.detach())

    def penalty(self) -> Tensor | None:
        """How far the last batch's vectors are from their centroids, summed over fields."""
        return self._penalty

    @torch.no_grad()
    def nearest(self, ids: Tensor, weight: float = 0.0) -> Tensor:
        """Codes of distinct ids: (M,) → (M, S), rows of ``centroids``.

        The features enter the moving averages with ``weight``.
        """
        books = self.books
        codes = self.own[ids].unsqueeze(1).repeat(1, books.groups)
        for i in books.quantised.tolist():
            start, count, tail = (
                int(sizes[i]) for sizes in (books.starts, books.counts, books.tail_counts)
            )
            members = (self.first[ids] == start).nonzero().squeeze(1)
            for chunk in torch.split(members, max(1, _CHUNK // (count * books.groups))):
                rows = self.table[ids[chunk]]
                pieces = rows.view(len(chunk), books.groups, self.dim // books.groups).transpose(
                    0, 1
                )
                z = torch.cat([pieces.square().sum(-1, keepdim=True), pieces], dim=-1)
                if weight and len(chunk):
                    self._observe(i, z, weight)
                closeness = self._closeness(i, z, self.centroids[start : start + count])
                closeness[:, self.choices[ids[chunk]] < count, tail:] = -torch.inf
                codes[chunk] = start + closeness.argmax(dim=-1).T
        return codes

    def _observe(self, i: int, z: Tensor, weight: float) -> None:
        # Moments of a mixture of the past and z (S, m, w + 1).
        mean = z.mean(dim=1)
        centred, shift = z - mean.unsqueeze(1), (mean - self.mean[i]).unsqueeze(-1)
        covariance = centred.mT @ centred / z.shape[1] + (1 - weight) * shift @ shift.mT
        self.mean[i].lerp_(mean, weight)
        self.covariance[i].lerp_(covariance, weight)

    def _closeness(self, i: int, z: Tensor, centroids: Tensor) -> Tensor:
        """Minus the distances, but for what is the same for all centroids: (S, m, K)."""
        coefficients = torch.cat([torch.full_like(centroids[..., :1], -1.0), 2.0 * centroids], -1)
        coefficients = coefficients.permute(1, 2, 0)
        if not self.normalise:
            return z @ coefficients - centroids.square().sum(-1).T.unsqueeze(1)
        variance = (coefficients * (self.covariance[i] @ coefficients)).sum(1, keepdim=True)
        coefficients = coefficients * variance.clamp_min(_LEAST_VARIANCE).rsqrt()
        return (z - self.mean[i].unsqueeze(1)) @ coefficients

    def all_codes(self) -> Tensor:
        """Codes of every feature: (N, S)."""
        return self.nearest(torch.arange(len(self.table), device=self.table.device))
