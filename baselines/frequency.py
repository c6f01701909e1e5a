"""Own rows for frequent features only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pepbench.method import (
    Embedding,
    Fields,
    Infeasible,
    Layout,
    Method,
    RowTable,
    View,
    lookup,
    to_numpy,
    view_of,
    xavier_uniform,
)
from pepbench.tables.layout import Floats


@dataclass(frozen=True)
class Frequency(Method):
    """The k most frequent features keep a row each; the others of a field share one.

    The industry's default: rare values become "other". Frequencies are those of the training
    split, ties go to the lowest id. The knob is k, the largest for which k rows and one for each
    field with others fit into B; a field whose features all have a row needs no shared one.
    """

    name = "frequency"
    family = "controls"

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """A table of ⌊budget / D⌋ rows, or N; infeasible under one row a field."""
        if budget < fields.n_fields * dim:
            raise Infeasible(
                f"frequency: smallest possible is {fields.n_fields * dim} parameters "
                f"(one row a field), {budget} allowed"
            )
        owns = most_frequent(fields, budget // dim)
        return SharedRows(owns, fields.field_of_feature, dim)


def most_frequent(fields: Fields, n_rows: int) -> NDArray[np.bool_]:
    """Which features (N,) have a row of their own, if there are at most ``n_rows`` in all."""
    order = np.argsort(-fields.frequencies, kind="stable")
    # A field is closed, and its shared row saved, with the last of its features.
    lasts = np.zeros(fields.n_fields, dtype=np.int64)
    np.maximum.at(lasts, fields.field_of_feature[order], np.arange(len(order)))
    closed = np.concatenate([[0], np.cumsum(np.bincount(lasts, minlength=len(order)))])
    rows_needed = np.arange(len(order) + 1) + fields.n_fields - closed
    k = int(np.searchsorted(rows_needed, n_rows, side="right")) - 1
    owns = np.zeros(len(order), dtype=np.bool_)
    owns[order[:k]] = True
    return owns


def row_of_feature(
    owns: NDArray[np.bool_], field_of_feature: NDArray[np.integer]
) -> NDArray[np.int64]:
    """The row (N,) of each feature: own rows by id, then the shared ones by field.

    >>> row_of_feature(np.array([False, True, False, True]), np.array([0, 0, 0, 1])).tolist()
    [2, 0, 2, 1]
    """
    rows = np.cumsum(owns) - 1
    _, shared = np.unique(field_of_feature[~owns], return_inverse=True)
    rows[~owns] = int(owns.sum()) + shared
    result: NDArray[np.int64] = rows.astype(np.int64)
    return result


class SharedRows(Embedding):
    """A table with own rows for some features, and one for the others of each field.

    Parameters
    ----------
    owns
        Shape (N,): which features have a row of their own.
    field_of_feature
        Shape (N,): the field of each.
    dim
        D.
    """

    row: Tensor
    """Shape (N,): the row of each feature."""

    def __init__(
        self, owns: NDArray[np.bool_], field_of_feature: NDArray[np.integer], dim: int
    ) -> None:
        super().__init__()
        self.dim = dim
        self.owns, self.field_of_feature = owns, field_of_feature
        rows = row_of_feature(owns, field_of_feature)
        self.register_buffer("row", torch.from_numpy(rows), persistent=False)
        self.table = RowTable(xavier_uniform(int(rows.max()) + 1, dim, fan=len(owns)))

    def as_table(self, ids: Tensor) -> View:
        """The rows, and which of them each feature has."""
        return view_of(self.table, self.row[ids])

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of global ids: (B, F) → (B, F, D)."""
        view = self.as_table(ids)
        return lookup(view.table, view.ids)

    def export(self) -> FrequencyLayout:
        """The rows, and which features own one."""
        return FrequencyLayout(to_numpy(self.table), self.owns, self.field_of_feature)


@dataclass(frozen=True, eq=False)
class FrequencyLayout(Layout):
    """Own rows by id, shared rows by field; one bit a feature tells which."""

    form = "shared-rows"

    table: Floats
    """Shape (R, D)."""
    owns: NDArray[np.bool_]
    """Shape (N,): which features have a row of their own."""
    field_of_feature: NDArray[np.integer]
    """Shape (N,), rising: the field of each feature."""

    def values(self) -> Mapping[str, Floats]:
        """The rows."""
        return {"table": self.table}

    def structure(self) -> Mapping[str, NDArray[np.generic]]:
        """A bit a feature, and the sizes of the fields."""
        sizes = np.bincount(self.field_of_feature).astype(np.uint32)
        return {"owns": np.packbits(self.owns), "cardinalities": sizes}
