"""Tables of centroids and codes, as product quantisation serves them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pepbench.method import (
    Embedding,
    Fields,
    Fitted,
    Layout,
    Method,
    Model,
    Task,
    lookup,
    to_numpy,
)
from pepbench.serve.addresses import starts_of
from pepbench.serve.packing import bits_needed, packed
from pepbench.tables.layout import Floats, StoredFields, constant, index, part, trained

from .hashing import capped_rows, drawn_seed


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

    @property
    def quantised(self) -> NDArray[np.intp]:
        """Fields with fewer centroids than features."""
        return np.flatnonzero(self.counts < self.cardinalities)

    def use_of(self, codes: NDArray[np.integer]) -> float:
        """Share of the centroids of quantised fields that ``codes`` (N, S) name; 1 without such."""
        named = [np.unique(column) for column in codes.T]
        field = np.repeat(np.arange(len(self.counts)), self.counts)
        used = sum(int(np.isin(field[rows], self.quantised).sum()) for rows in named)
        there = int(self.counts[self.quantised].sum()) * self.groups
        return used / there if there else 1.0


def counts_within(
    method: Method, fields: Fields, dim: int, budget: int, most: int
) -> NDArray[np.int64]:
    """K_i (F,) = min(n_i, ``most``, c), with the largest c that ``budget`` admits.

    Raises
    ------
    Infeasible
        Below two centroids a field.
    """
    cardinalities = np.asarray(fields.cardinalities)
    least = int(np.minimum(cardinalities, 2).sum()) * dim
    method.refuse_below(least, budget, "two centroids a field")
    return capped_rows(np.minimum(cardinalities, most), budget // dim, drawn_seed(-1))


class CodebookTable(Embedding):
    """What is trained, with the count and the export of what will be served."""

    books: GranularCodebooks
    centroids: nn.Parameter
    """Shape (Σ K_i, S, D / S)."""
    unused_budget = "n_centroids is the most that a field may have"

    @abstractmethod
    def all_codes(self) -> Tensor:
        """Codes of every feature: (N, S), rows of ``centroids``."""

    def n_parameters(self) -> int:
        """Numbers in the centroids."""
        return self.centroids.numel()

    def export(self) -> CodedLayout:
        """Centroids and codes."""
        return CodedLayout(
            to_numpy(self.centroids.flatten(1)), to_numpy(self.all_codes()), self.books
        )


def fit_served(task: Task, table: CodebookTable, budget: int) -> Fitted:
    """Train a table, then keep its centroids and codes."""
    fitted = task.train(task.model(table))
    codes = table.all_codes()
    served = CodedTable(table.books, table.centroids.detach(), codes)
    served.unused_budget = table.unused_budget
    fitted = replace(fitted, model=Model(served, fitted.model.backbone)).with_notes(
        centroids_used=table.books.use_of(to_numpy(codes))
    )
    return fitted.with_budget_note(task, budget)


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
        """Codes in as few bits as their features need, flags of the heads, and sizes.

        A field with a centroid for each feature needs no codes: these are its features, in order.
        Without features that have fewer choices than the heads, there are no flags.
        """
        books, of_feature = self.books, self.books.field_of_feature
        within = self.codes - books.starts[of_feature, None]
        whole = (books.counts == books.cardinalities)[of_feature]
        bits = np.repeat(np.where(whole, 0, bits_needed(books.choices)), books.groups)
        stored = {"codes": packed(within.ravel(), bits), **super().structure()}
        if (books.counts == books.tail_counts).all():
            stored["heads"] = np.zeros(0, np.uint8)
        return stored
