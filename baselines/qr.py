"""Vectors composed of one row for the quotient of an id and one for its remainder."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pepbench.method import (
    Between,
    ComposedVectors,
    Embedding,
    Fields,
    Infeasible,
    Layout,
    Method,
    OneOf,
    RowTable,
    lookup_rows,
    to_numpy,
)
from pepbench.serve.addresses import Partition
from pepbench.tables.layout import Floats, part, trained

from .hashing import HashSeed, drawn_seed


@dataclass(frozen=True)
class QR(Method):
    """Quotient and remainder tables: their rows are multiplied, added or concatenated.

    Shi, Mudigere, Naumov, Yang, "Compositional Embeddings Using Complementary Partitions for
    Memory-Efficient Recommendation Systems", KDD 2020, arXiv 1909.02107. The code x of a feature
    within its field of n features has two rows (algorithm 2; eqs. 5 and 6)::

        v(x) = R[x mod m] ∘ Q[⌊x / m⌋],   ∘ ∈ {⊙, +, concatenation of D/2 each}

    of m + ⌈n/m⌉ rows. The two partitions are complementary: no two features have the same pair.
    ``partitions`` k > 2 writes ⌊x / m⌋ in a mixed radix of k − 1 near-equal digits, one table for
    each (the paper's generalised quotient and remainder partitions, §3.1).

    The knob is m_i, as large as a size c admits that is the same for all fields, the largest
    within the budget; but no less than where the field's tables are smallest, about √n_i. What is
    left over goes to the largest fields. A field whose full table has at most c numbers stays
    uncompressed, and any field up to ``threshold`` features.

    Where we differ: m follows from the budget; the paper fixes the features per remainder row,
    n/m, instead. The released code (DLRM) draws the entries of all tables from U(1/√n, 1), whose
    products have a mean of 0.27 at n = 1,000 where the uncompressed table has one of 0
    (``start="dlrm"``). Here quotient factors start about 1 (``start="ones"``), or all with the k-th
    root of the variance (``start="root"``), so that vectors start as those of the uncompressed
    table. Codes are permuted at random first, a permutation for each seed, so that nothing depends
    on how features are numbered.
    """

    name = "qr"
    family = "hashing"
    year = 2020
    version = 2

    combine: Annotated[
        str, OneOf("mult", "add", "concat", tuned=False), "how the rows become one vector"
    ] = "mult"
    partitions: Annotated[
        int, Between(2, 6, tuned=False), "k, complementary partitions (rows that are combined)"
    ] = 2
    threshold: Annotated[
        int,
        Between(0, 10**9, tuned=False),
        "fields of up to so many features are never compressed",
    ] = 0
    start: Annotated[
        str,
        OneOf("ones", "root", "dlrm", tuned=False),
        "initial factors with combine=mult: all but one about 1, or all alike; or DLRM's, for all",
    ] = "ones"
    hash_seed: HashSeed = -1

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """Tables as large as ``budget`` admits; infeasible below those of about √n_i rows."""
        if self.combine == "concat" and dim < 2:
            raise Infeasible("qr: vectors of one number have no pieces; take combine=mult or add")
        count = min(self.partitions, dim) if self.combine == "concat" else self.partitions
        widths = [dim] * count
        if self.combine == "concat":
            widths = [dim // count + (j < dim % count) for j in range(count)]
        choices = [
            FieldChoices.of(n, widths, dim, n <= self.threshold) for n in fields.cardinalities
        ]
        smallest = sum(choice.smallest for choice in choices)
        self.refuse_below(
            smallest,
            budget,
            "about √n rows a table; more partitions or a lower threshold may need less",
        )
        remainders = solve(choices, budget)
        radices = np.stack(
            [
                mixed_radix(choice.n, np.array([m]), count)[0]
                for choice, m in zip(choices, remainders, strict=True)
            ]
        )
        partition = Partition(
            np.asarray(fields.cardinalities), drawn_seed(self.hash_seed), radices, self.combine
        )
        return ComposedRows(partition, widths, dim, self.start)


def mixed_radix(n: int, remainders: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Radices (len(remainders), count) with a product of at least n, the first as given.

    The others are as equal as whole numbers allow.

    >>> mixed_radix(100, np.array([10, 5]), 3).tolist()
    [[10, 4, 3], [5, 5, 4]]
    """
    radices = [remainders]
    quotient = -(-n // remainders)
    for left in range(count - 1, 0, -1):
        root = np.ceil(quotient ** (1.0 / left) - 1e-6).astype(np.int64)
        root += root**left < quotient
        radices.append(root)
        quotient = -(-quotient // root)
    return np.stack(radices, axis=1)


@dataclass(frozen=True, eq=False)
class FieldChoices:
    """The sizes that the tables of a field of n features can have."""

    n: int
    remainders: NDArray[np.int64]
    """Rising m; n, the last, stands for the uncompressed table."""
    sizes: NDArray[np.int64]
    """Parameters for each."""

    @classmethod
    def of(cls, n: int, widths: list[int], dim: int, whole: bool) -> FieldChoices:
        """All m from where the tables are smallest to where they would save nothing."""
        compressed = np.zeros(0, dtype=np.int64) if whole else np.arange(1, n)
        sizes = (mixed_radix(n, compressed, len(widths)) * widths).sum(1)
        first = int(np.argmin(sizes)) if len(sizes) else 0
        useful = np.arange(len(sizes)) >= first
        useful &= sizes < n * dim
        return cls(n, np.append(compressed[useful], n), np.append(sizes[useful], n * dim))

    @property
    def smallest(self) -> int:
        """Parameters of the smallest tables."""
        return int(self.sizes.min())

    def within(self, allowed: int) -> int:
        """The last choice of at most ``allowed`` parameters, else the smallest."""
        return int(np.flatnonzero(self.sizes <= max(allowed, self.smallest))[-1])


def solve(choices: list[FieldChoices], budget: int) -> list[int]:
    """Choose m for each field: the largest of at most c parameters, with the largest c that fits.

    What is left over goes to the largest fields; those of equal size come in random order.
    """

    def size(cap: int) -> int:
        return sum(int(choice.sizes[choice.within(cap)]) for choice in choices)

    cap = bisect_right(range(budget + 1), budget, key=size) - 1
    best = [choice.within(cap) for choice in choices]
    left = budget - size(cap)
    sizes = np.array([choice.n for choice in choices])
    for i in np.lexsort((torch.rand(len(sizes)).numpy(), -sizes)).tolist():
        now = int(choices[i].sizes[best[i]])
        larger = choices[i].within(now + left)
        left -= int(choices[i].sizes[larger]) - now
        best[i] = larger
    return [int(c.remainders[pick]) for c, pick in zip(choices, best, strict=True)]


class ComposedRows(ComposedVectors):
    """Products, sums or concatenations of one row from each of k tables.

    Parameters
    ----------
    partition
        Which rows.
    widths
        The width of each table.
    dim
        D.
    start
        With ``combine="mult"``: ``"ones"`` or ``"root"``; else it matters only if ``"dlrm"``.
    """

    rows: Tensor
    """Shape (N, k): the rows of each feature."""
    composed: Tensor
    """Shape (N,): whether its field is compressed."""

    def __init__(self, partition: Partition, widths: list[int], dim: int, start: str) -> None:
        super().__init__()
        self.dim = dim
        self.partition = partition
        self.combine = combine = partition.combine
        self.n_features = n_features = int(partition.cardinalities.sum())
        rows = partition.rows_of(np.arange(n_features))
        composed = np.repeat(~partition.whole, partition.cardinalities)
        self.register_buffer("rows", torch.from_numpy(rows), persistent=False)
        self.register_buffer("composed", torch.from_numpy(composed), persistent=False)
        variance = 2.0 / (n_features + dim)
        whole = (-((3.0 * variance) ** 0.5), (3.0 * variance) ** 0.5)
        self.tables = nn.ParameterList()
        for j, width in enumerate(widths):
            ranges = [
                whole if is_whole else initial_range(combine, start, variance, len(widths), j, n)
                for is_whole, n in zip(
                    partition.whole.tolist(), partition.cardinalities.tolist(), strict=True
                )
            ]
            of_row = torch.tensor(ranges).repeat_interleave(
                torch.from_numpy(partition.n_rows[:, j]), dim=0
            )
            low, high = of_row[:, :1], of_row[:, 1:]
            table = low + (high - low) * torch.rand(len(of_row), width)
            if len(table):
                self.tables.append(RowTable(table))

    def vectors(self, features: Tensor) -> Tensor:
        """Vectors of some features: (M,) → (M, D)."""
        pieces = [
            lookup_rows(table, rows[features])
            for table, rows in zip(self.tables, self.rows.unbind(-1), strict=False)
        ]
        if self.combine == "concat":
            return torch.cat(pieces, dim=-1)
        vectors = pieces[0]
        composed = self.composed[features].unsqueeze(-1)
        for piece in pieces[1:]:
            other = vectors * piece if self.combine == "mult" else vectors + piece
            vectors = torch.where(composed, other, vectors)
        return vectors

    def export(self) -> QRLayout:
        """The tables and the radices."""
        return QRLayout(tuple(to_numpy(table) for table in self.tables), self.partition)


def initial_range(
    combine: str, start: str, variance: float, count: int, j: int, n: int
) -> tuple[float, float]:
    """Bounds of the uniform entries of table j of ``count``, for a field of n features.

    Composed vectors get ``variance``, but with ``start="dlrm"``.
    """
    if start == "dlrm":
        return n**-0.5, 1.0
    if combine == "mult" and start == "ones" and j > 0:
        # U(½, 1½), with a mean square of 1.
        scale = (1.0 + 1.0 / 12.0) ** -0.5
        return 0.5 * scale, 1.5 * scale
    if combine == "mult" and start == "root":
        variance = variance ** (1.0 / count)
    if combine == "add":
        variance /= count
    bound = (3.0 * variance) ** 0.5
    return -bound, bound


@dataclass(frozen=True, eq=False)
class QRLayout(Layout):
    """One table for each partition, and the radices that find the rows."""

    form = "composed-rows"

    tables: tuple[Floats, ...] = field(metadata=trained("table"))
    """One array (R_j, d_j) for each partition."""
    partition: Partition = field(metadata=part())
