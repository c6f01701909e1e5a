"""Own rows for frequent features only."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pepbench.method import (
    DirectRows,
    Embedding,
    Fields,
    Layout,
    Method,
    RowTable,
    View,
    lookup,
    to_numpy,
    view_of,
    xavier_uniform,
)
from pepbench.serve.addresses import OwnOrSharedRows
from pepbench.tables.layout import Floats, part, trained


@dataclass(frozen=True)
class Frequency(Method):
    """The k most frequent features keep a row each; the others of a field share one.

    The industry's default: rare values become "other". Frequencies are those of the training
    split, ties are broken at random. The knob is k, the largest for which k rows and one for each
    field with others fit into B; a field in which all features have a row needs no shared one.
    """

    name = "frequency"
    family = "controls"
    version = 2

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """A table of ⌊budget / D⌋ rows, or N; infeasible below one row per field."""
        self.refuse_below(fields.n_fields * dim, budget, "one row a field")
        owns = most_frequent(fields, budget // dim)
        return SharedRows(OwnOrSharedRows(np.packbits(owns), np.asarray(fields.cardinalities)), dim)


def by_frequency(frequencies: NDArray[np.integer]) -> NDArray[np.intp]:
    """Features (N,), the most frequent first; ties in random order, by torch's global generator.

    Most features of sparse data occur once: in the order of their ids, a cut among them would
    favour the first fields.

    >>> by_frequency(np.array([1, 4, 2])).tolist()
    [1, 2, 0]
    """
    draws = torch.rand(len(frequencies), dtype=torch.float64).numpy()
    return np.lexsort((draws, -frequencies))


def most_frequent(fields: Fields, n_rows: int) -> NDArray[np.bool_]:
    """Which features (N,) have a row of their own, with at most ``n_rows`` rows in all."""
    order = by_frequency(fields.frequencies)
    # A field is closed, and its shared row saved, with the last of its features.
    lasts = np.zeros(fields.n_fields, dtype=np.int64)
    np.maximum.at(lasts, fields.field_of_feature[order], np.arange(len(order)))
    closed = np.concatenate([[0], np.cumsum(np.bincount(lasts, minlength=len(order)))])
    rows_needed = np.arange(len(order) + 1) + fields.n_fields - closed
    k = int(np.searchsorted(rows_needed, n_rows, side="right")) - 1
    owns = np.zeros(len(order), dtype=np.bool_)
    owns[order[:k]] = True
    return owns


class SharedRows(Embedding):
    """A table with own rows for some features, and one for the others of each field.

    Parameters
    ----------
    rows
        The row of each feature.
    dim
        D.
    """

    row: Tensor
    """Shape (N,): the row of each feature."""

    def __init__(self, rows: OwnOrSharedRows, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.rows = rows
        row = torch.from_numpy(rows.rows_of(np.arange(rows.n_features)))
        self.register_buffer("row", row, persistent=False)
        self.table = RowTable(xavier_uniform(rows.n_rows, dim, fan=rows.n_features))

    def as_table(self, ids: Tensor) -> View:
        """The rows, and which of them each feature has."""
        return view_of(self.table, self.row[ids])

    def direct_rows(self) -> DirectRows:
        """The rows, and which of them each feature has."""
        return DirectRows(self.table, row=self.row)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of global ids: (B, F) → (B, F, D)."""
        view = self.as_table(ids)
        return lookup(view.table, view.ids)

    def export(self) -> FrequencyLayout:
        """The rows, and which features own one."""
        return FrequencyLayout(to_numpy(self.table), self.rows)


@dataclass(frozen=True, eq=False)
class FrequencyLayout(Layout):
    """Own rows by id, shared rows by field, and one bit per feature for which it has."""

    form = "shared-rows"

    table: Floats = field(metadata=trained())
    """Shape (R, D)."""
    rows: OwnOrSharedRows = field(metadata=part())
