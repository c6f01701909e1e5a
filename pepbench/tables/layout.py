"""How a trained table is stored for serving: numpy arrays, a lookup, and an honest count.

A layout is what is left of an embedding when training is over. It needs no torch. Its arrays are
all that must be stored, so the number of parameters and bytes can be read off it:
trained floating-point numbers count as parameters, index structures cost bytes only. The lookup is
that of the storage form which serving uses (:mod:`pepbench.serve.forms`): what the harness compares
with the trained vectors is what will be served.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pepbench.serve.forms import FORMS, Form, Parts
from pepbench.serve.forms.form import Constant as Constant
from pepbench.serve.numbers import Floats as Floats
from pepbench.serve.numbers import Numbers, plain


class Layout(ABC):
    """A table as stored: arrays, and the name of the form that knows how to look up in them."""

    @property
    def form(self) -> str | None:
        """Name of the storage form in :data:`pepbench.serve.forms.FORMS`.

        None for a layout of a user's own with its own :meth:`lookup`: it cannot be exported.
        """
        return None

    @abstractmethod
    def values(self) -> Mapping[str, Floats]:
        """Trained floating-point arrays; every number in them is a parameter."""

    def structure(self) -> Mapping[str, NDArray[np.generic]]:
        """Index arrays that tell where the values belong; they cost bytes, not parameters."""
        return {}

    def constants(self) -> Mapping[str, Constant]:
        """Single numbers and words that the form needs; the file's header has room for them."""
        return {}

    def numbers(self) -> Mapping[str, Numbers]:
        """The trained numbers in the way that they are stored."""
        return {name: plain(array) for name, array in self.values().items()}

    def lookup(self, ids: NDArray[np.integer]) -> Floats:
        """Vectors of global ids: (B, F) → (B, F, D)."""
        return self._reader.lookup(ids)

    @cached_property
    def _reader(self) -> Form:
        if self.form is None:
            raise NotImplementedError(f"{type(self).__name__} has neither form nor lookup()")
        return FORMS[self.form](Parts(self.numbers(), self.structure(), self.constants()))

    def widths(self) -> NDArray[np.integer] | None:
        """How wide each feature's row is, (N,), at most D; None where all are alike by design.

        Layouts whose features have widths of their own override it. It is what an analysis may
        read off a trained table; it decides no result.
        """
        return None

    def with_values(self, values: Mapping[str, Floats]) -> Layout:
        """The same layout with other numbers, of the same names and shapes.

        Layouts whose values are not fields of their own names override it.
        """
        return dataclasses.replace(self, **values)  # type: ignore[type-var]

    @property
    def n_parameters(self) -> int:
        """Trained floating-point numbers needed at serving time."""
        return sum(array.size for array in self.values().values())

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays that must be stored to serve the table."""
        arrays = [*self.values().values(), *self.structure().values()]
        return sum(array.nbytes for array in arrays)


@dataclass(frozen=True, eq=False)
class Dense(Layout):
    """A table of shape (N, D), every entry a parameter."""

    form = "dense"

    table: Floats

    def values(self) -> Mapping[str, Floats]:
        """The table."""
        return {"table": self.table}


@dataclass(frozen=True, eq=False)
class Masked(Layout):
    """A table of which only some entries are kept, the rest exactly zero.

    The kept entries are stored row after row. Where they belong is told by the cheaper of two
    structures: a bitmap over all N·D entries (N·D/8 bytes), or compressed sparse rows (a start
    per row and a column per entry).
    """

    form = "masked"

    kept: Floats
    """Shape (nnz,): the kept entries in row-major order."""
    indptr: NDArray[np.integer]
    """Shape (N + 1,): where each row begins in ``kept``."""
    columns: NDArray[np.unsignedinteger]
    """Shape (nnz,): the dimension of each kept entry."""
    dim: int

    @classmethod
    def from_table(cls, table: Floats, mask: NDArray[np.bool_]) -> Masked:
        """Store the entries of ``table`` (N, D) where ``mask`` (N, D) is true."""
        counts = mask.sum(axis=1)
        nnz = int(counts.sum())
        starts = np.concatenate([[0], np.cumsum(counts)])
        column_type = np.uint8 if table.shape[1] <= 256 else np.uint16
        return cls(
            kept=table[mask],
            indptr=starts.astype(np.uint32 if nnz < 2**32 else np.uint64),
            columns=np.nonzero(mask)[1].astype(column_type),
            dim=table.shape[1],
        )

    def values(self) -> Mapping[str, Floats]:
        """The kept entries."""
        return {"kept": self.kept}

    def structure(self) -> Mapping[str, NDArray[np.generic]]:
        """The cheaper of bitmap and compressed sparse rows."""
        n_entries = (len(self.indptr) - 1) * self.dim
        if (n_entries + 7) // 8 < self.indptr.nbytes + self.columns.nbytes:
            return {"bitmap": np.packbits(self.mask())}
        return {"indptr": self.indptr, "columns": self.columns}

    def widths(self) -> NDArray[np.integer]:
        """How many entries each row keeps: (N,)."""
        ends = self.indptr.astype(np.int64)
        return np.asarray(ends[1:] - ends[:-1])

    def mask(self) -> NDArray[np.bool_]:
        """Shape (N, D): which entries are kept."""
        n_rows = len(self.indptr) - 1
        ends = self.indptr.astype(np.int64)
        rows = np.repeat(np.arange(n_rows), ends[1:] - ends[:-1])
        mask = np.zeros((n_rows, self.dim), dtype=np.bool_)
        mask[rows, self.columns] = True
        return mask

    def constants(self) -> Mapping[str, Constant]:
        """N and D."""
        return {"rows": len(self.indptr) - 1, "dim": self.dim}


@dataclass(frozen=True, eq=False)
class Mixed(Layout):
    """Blocks of features, each with a width of its own, projected to a common one.

    Within a block the rows follow the order of the global ids.
    """

    form = "mixed"

    tables: tuple[Floats, ...]
    """One array (n_k, d_k) for each block."""
    projections: tuple[Floats | None, ...]
    """One array (d_k, D) for each block; None pads with zeros instead."""
    block_of_feature: NDArray[np.integer]
    """Shape (N,): which block holds each global id."""
    dim: int

    def values(self) -> Mapping[str, Floats]:
        """Tables and projections, numbered by block."""
        named = {f"table_{k}": table for k, table in enumerate(self.tables)}
        named |= {f"projection_{k}": p for k, p in enumerate(self.projections) if p is not None}
        return named

    def with_values(self, values: Mapping[str, Floats]) -> Mixed:
        """The same blocks with other tables and projections."""
        return dataclasses.replace(
            self,
            tables=tuple(values[f"table_{k}"] for k in range(len(self.tables))),
            projections=tuple(
                None if projection is None else values[f"projection_{k}"]
                for k, projection in enumerate(self.projections)
            ),
        )

    def structure(self) -> Mapping[str, NDArray[np.generic]]:
        """Sizes of the blocks where they follow the ids, else the block of each feature."""
        if np.all(np.diff(self.block_of_feature) >= 0):
            sizes = np.array([len(table) for table in self.tables], dtype=np.uint32)
            return {"block_sizes": sizes}
        small = np.uint8 if len(self.tables) <= 256 else np.uint32
        return {"block_of_feature": self.block_of_feature.astype(small)}

    def widths(self) -> NDArray[np.integer] | None:
        """Width d_k of each feature's block, (N,); None if all features share one block."""
        if len(self.tables) == 1:
            return None
        widths = np.array([table.shape[1] for table in self.tables], dtype=np.int64)
        return np.asarray(widths[self.block_of_feature])

    def constants(self) -> Mapping[str, Constant]:
        """D."""
        return {"dim": self.dim}


def rows_within_blocks(block_of_feature: NDArray[np.integer]) -> NDArray[np.int64]:
    """The rank of each feature among those of its block: (N,) → (N,).

    >>> rows_within_blocks(np.array([0, 1, 0, 1])).tolist()
    [0, 0, 1, 1]
    """
    order = np.argsort(block_of_feature, kind="stable")
    sizes = np.bincount(block_of_feature)
    ranks = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rows = np.empty(len(order), dtype=np.int64)
    rows[order] = ranks
    return rows
