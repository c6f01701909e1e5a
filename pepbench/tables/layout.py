"""How a trained table is stored for serving: numpy arrays, their lookup, and their count.

A layout needs no torch. The marks on its fields say what is stored:
:func:`~pepbench.serve.parts.trained` numbers are counted as parameters, an
:func:`~pepbench.serve.parts.index` costs bytes only, a :func:`~pepbench.serve.parts.constant` goes
into the header. The lookup is that of the storage form that serving uses
(:mod:`pepbench.serve.forms`), so that the vectors which the harness compares with the trained ones
are those that will be served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pepbench.serve.forms import FORMS, Form
from pepbench.serve.forms.tables import ranks_in_blocks
from pepbench.serve.numbers import Floats, Numbers, plain
from pepbench.serve.parts import Constant, Parts, StoredFields, constant, index, part, trained

__all__ = [
    "Constant",
    "Dense",
    "Floats",
    "Layout",
    "Masked",
    "Mixed",
    "StoredFields",
    "constant",
    "index",
    "part",
    "ranks_in_blocks",
    "trained",
]


class Layout(StoredFields):
    """A table as stored: arrays, and the name of the form that knows how to look up in them."""

    @property
    def form(self) -> str | None:
        """Name of the storage form in :data:`pepbench.serve.forms.FORMS`.

        None for a user's own layout, which has its own :meth:`lookup` and cannot be exported.
        """
        return None

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
        """Width of each feature's row, (N,), at most D; None where all are equally wide by design.

        Overridden by layouts whose features differ in width. Analyses read it; no result depends
        on it.
        """
        return None

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

    table: Floats = field(metadata=trained())


@dataclass(frozen=True, eq=False)
class Masked(Layout):
    """A table of which only some entries are kept, the rest exactly zero.

    The kept entries are stored row after row. Their positions are stored in the cheaper of two
    structures: a bitmap over all N·D entries (N·D/8 bytes), or compressed sparse rows (a start
    per row and a column per entry).
    """

    form = "masked"

    kept: Floats = field(metadata=trained())
    """Shape (nnz,): the kept entries in row-major order."""
    indptr: NDArray[np.integer] = field(metadata=index())
    """Shape (N + 1,): where each row begins in ``kept``."""
    columns: NDArray[np.unsignedinteger] = field(metadata=index())
    """Shape (nnz,): the dimension of each kept entry."""
    dim: int = field(metadata=constant())

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

    @property
    def n_rows(self) -> int:
        """N."""
        return len(self.indptr) - 1

    def structure(self) -> Mapping[str, NDArray[np.generic]]:
        """The cheaper of bitmap and compressed sparse rows."""
        sparse = super().structure()
        if (self.n_rows * self.dim + 7) // 8 < sum(array.nbytes for array in sparse.values()):
            return {"bitmap": np.packbits(self.mask())}
        return sparse

    def constants(self) -> Mapping[str, Constant]:
        """N and D."""
        return {"rows": self.n_rows, **super().constants()}

    def widths(self) -> NDArray[np.integer]:
        """How many entries each row keeps: (N,)."""
        ends = self.indptr.astype(np.int64)
        return np.asarray(ends[1:] - ends[:-1])

    def mask(self) -> NDArray[np.bool_]:
        """Shape (N, D): which entries are kept."""
        mask = np.zeros((self.n_rows, self.dim), dtype=np.bool_)
        mask[np.repeat(np.arange(self.n_rows), self.widths()), self.columns] = True
        return mask


@dataclass(frozen=True, eq=False)
class Mixed(Layout):
    """Blocks of features, each with a width of its own, projected to a common one.

    Within a block the rows follow the order of the global ids.
    """

    form = "mixed"

    tables: tuple[Floats, ...] = field(metadata=trained("table"))
    """One array (n_k, d_k) for each block."""
    projections: tuple[Floats | None, ...] = field(metadata=trained("projection"))
    """One array (d_k, D) for each block; None pads with zeros instead."""
    block_of_feature: NDArray[np.integer]
    """Shape (N,): the block of each global id."""
    dim: int = field(metadata=constant())

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
