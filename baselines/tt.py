"""Tensor-train factorisation of the whole table."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from pepbench.method import (
    ComposedVectors,
    Embedding,
    Fields,
    Layout,
    Method,
    lookup,
    to_numpy,
)
from pepbench.serve.addresses import Positions
from pepbench.tables.layout import Floats, constant, part, trained

from .hashing import HashSeed, drawn_seed


@dataclass(frozen=True)
class TensorTrain(Method):
    """The table as a train of three small tensors (TT-Rec).

    Yin, Acun, Wu, Liu, "TT-Rec: Tensor Train Compression for Deep Learning Recommendation
    Models", MLSys 2021, arXiv 2101.11714. With N ≤ n₁n₂n₃ and D = d₁d₂d₃, a global id x is written
    as (i₁, i₂, i₃) and a dimension as (j₁, j₂, j₃), in mixed radix, and::

        v(x)[j₁ j₂ j₃] = G₁[i₁, j₁, :] · G₂[i₂, :, j₂, :] · G₃[i₃, :, j₃]

    a product of matrices 1 × R₁, R₁ × R₂ and R₂ × 1. The count is exactly that of the cores,
    n₁d₁R₁ + R₁n₂d₂R₂ + R₂n₃d₃. The knob is the rank R = R₁ = R₂, the largest within B; one of the
    two is larger where that still fits, up to 2R. The N × D table never exists: a batch multiplies
    G₁ and G₂ once for each pair (i₁, i₂) that it holds, and with G₃ once for each of its distinct
    ids.

    Initial values: the paper draws cores from a Gaussian without its values near zero, because
    products of plain Gaussians pile up there. So do we: only |z| > 2 is kept, as in FBTT, so that
    no entry of a core is below 2 / √5.746 = 0.834 of their root mean square. The cores are then
    scaled such that the mean square over the whole table is exactly 2 / (N + D), Xavier's.
    FBTT scales each core by (3N)^(−1/6), whose entries have a mean square of 63 R₁R₂ / N.

    Where we differ: one train for the ids of all fields instead of one for each large field, so
    that a single rank meets the budget. Fields are in random order in it, and features in random
    order within their field, another for each seed, so that nothing depends on how they are
    numbered. No cache of uncompressed rows for frequent features.
    """

    name = "tt"
    family = "factored"
    year = 2021
    version = 2

    hash_seed: HashSeed = -1

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """Cores of the largest rank within ``budget``; infeasible below rank 1."""
        rows, columns = row_factors(fields.n_features), column_factors(dim)
        smallest = train_size(rows, columns, (1, 1))
        self.refuse_below(smallest, budget, "rank 1")
        ranks = largest_ranks(rows, columns, budget)
        seed = drawn_seed(self.hash_seed)
        positions = Positions(np.asarray(fields.cardinalities), seed)
        return TrainTable(positions, rows, columns, ranks)


Three = tuple[int, int, int]


def row_factors(n_features: int) -> Three:
    """n₁, n₂, n₃ near the cube root of N, with a product of at least N and little above.

    >>> row_factors(1000), row_factors(87)
    ((10, 10, 10), (5, 4, 5))
    """
    second = max(1, math.floor(n_features ** (1 / 3) + 1e-9))
    first = math.ceil(math.sqrt(n_features / second))
    return first, second, math.ceil(n_features / (first * second))


def column_factors(dim: int) -> Three:
    """d₁, d₂, d₃ with product D, as even as D allows; the smallest is in the middle.

    The middle core is the one that grows with the square of the rank.

    >>> column_factors(16), column_factors(64), column_factors(7)
    ((4, 2, 2), (4, 4, 4), (7, 1, 1))
    """
    triples = [
        (dim // (second * third), second, third)
        for second in range(1, dim + 1)
        for third in range(second, dim // second + 1)
        if dim % (second * third) == 0 and dim // (second * third) >= third
    ]
    return min(triples, key=lambda triple: triple[0] - triple[1])


def train_size(rows: Three, columns: Three, ranks: tuple[int, int]) -> int:
    """Entries of the three cores."""
    ends = rows[0] * columns[0] * ranks[0] + rows[2] * columns[2] * ranks[1]
    return ends + ranks[0] * rows[1] * columns[1] * ranks[1]


def largest_ranks(rows: Three, columns: Three, budget: int) -> tuple[int, int]:
    """The largest equal ranks within ``budget``, one raised where it fits, at most doubled."""
    rank = bisect_right(
        range(1, budget + 1), budget, key=lambda rank: train_size(rows, columns, (rank, rank))
    )
    raised = range(rank, 2 * rank + 1)
    candidates = [pair for more in raised for pair in ((more, rank), (rank, more))]
    fitting = [ranks for ranks in candidates if train_size(rows, columns, ranks) <= budget]
    return max(fitting, key=lambda ranks: train_size(rows, columns, ranks))


class TrainTable(ComposedVectors):
    """Three cores; vectors are products of their slices.

    Parameters
    ----------
    positions
        The order of the features.
    rows, columns, ranks
        (n₁, n₂, n₃), (d₁, d₂, d₃) and (R₁, R₂).
    """

    position: Tensor
    """Shape (N,): the place of each feature in the train."""
    unused_budget = "ranks are whole numbers"

    def __init__(
        self, positions: Positions, rows: Three, columns: Three, ranks: tuple[int, int]
    ) -> None:
        super().__init__()
        self.positions = positions
        self.dim, self.n_features = math.prod(columns), positions.n_features
        position = torch.from_numpy(positions.of(np.arange(self.n_features)))
        self.register_buffer("position", position, persistent=False)
        (n1, n2, n3), (d1, d2, d3), (r1, r2) = rows, columns, ranks
        shapes = ((n1, d1, r1), (n2, r1, d2 * r2), (n3, r2, d3))
        cores = [gaussian_without_centre(shape) for shape in shapes]
        entries = math.prod(rows) * self.dim
        mean_square = sum_of_squares(cores[0], cores[1].view(n2, r1, d2, r2), cores[2]) / entries
        scale = (2.0 / (self.n_features + self.dim) / mean_square) ** (1 / 6)
        self.first, self.middle, self.last = (nn.Parameter(core * scale) for core in cores)

    def vectors(self, features: Tensor) -> Tensor:
        """Vectors of distinct features: (M,) → (M, D)."""
        n1, n2, n3 = len(self.first), len(self.middle), len(self.last)
        places = self.position[features]
        heads, i3 = places // n3, places % n3
        # Ordered by i₂, so that each slice of the middle core is multiplied once, not copied.
        keys, head_of_id = torch.unique(heads % n2 * n1 + heads // n2, return_inverse=True)
        counts = torch.bincount(keys // n1, minlength=n2).tolist()
        firsts = lookup(self.first.flatten(1), keys % n1).view(-1, *self.first.shape[1:])
        slices = zip(torch.split(firsts, counts), self.middle.unbind(), strict=True)
        products = torch.cat([first @ middle for first, middle in slices])
        # (pairs, d₁, d₂·R₂) → (ids, d₁·d₂, R₂)
        lefts = lookup(products.flatten(1), head_of_id)
        rights = lookup(self.last.flatten(1), i3).view(-1, *self.last.shape[1:])
        _, r2, d3 = self.last.shape
        vectors = lefts.view(len(features), self.dim // d3, r2) @ rights
        return vectors.flatten(1)

    def export(self) -> TrainLayout:
        """The cores, a slice to a row."""
        (_, d1, r1), (_, r2, d3) = self.first.shape, self.last.shape
        first, middle, last = (
            to_numpy(core.flatten(1)) for core in (self.first, self.middle, self.last)
        )
        sizes = d1, self.dim // (d1 * d3), d3, r1, r2
        return TrainLayout(first, middle, last, *sizes, self.positions)


def gaussian_without_centre(shape: tuple[int, ...], cut: float = 2.0) -> Tensor:
    """Standard normal values of which only those beyond ±``cut`` are kept."""
    below = 0.5 * math.erfc(-cut / math.sqrt(2.0))
    uniform = torch.empty(shape).uniform_(below, 1.0).clamp_(max=1.0 - 1e-6)
    magnitudes = torch.special.ndtri(uniform)
    return torch.where(torch.rand(shape) < 0.5, -magnitudes, magnitudes)


def sum_of_squares(first: Tensor, middle: Tensor, last: Tensor) -> float:
    """Σ v² over all entries of the table, by Gram matrices of the cores, without the table."""
    gram = torch.einsum("ijr,ijs->rs", first, first)
    gram = torch.einsum("rs,irja,isjb->ab", gram, middle, middle)
    return float(torch.einsum("ab,iaj,ibj->", gram, last, last))


@dataclass(frozen=True, eq=False)
class TrainLayout(Layout):
    """The three cores, a slice to a row: the few numbers of an axis are no rows to quantise."""

    form = "tensor-train"

    first: Floats = field(metadata=trained())
    """Shape (n₁, d₁·R₁)."""
    middle: Floats = field(metadata=trained())
    """Shape (n₂, R₁·d₂·R₂)."""
    last: Floats = field(metadata=trained())
    """Shape (n₃, R₂·d₃)."""
    d1: int = field(metadata=constant())
    d2: int = field(metadata=constant())
    d3: int = field(metadata=constant())
    r1: int = field(metadata=constant())
    r2: int = field(metadata=constant())
    positions: Positions = field(metadata=part())
