"""The form that keeps entries of rows: a masked table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pepbench.serve.forms.form import Form
from pepbench.serve.numbers import Floats, Numbers
from pepbench.serve.packing import ones_in_rows
from pepbench.serve.parts import Parts, require

UNPACKED_SHARE = 2
"""Bytes an entry, over all entries, that the longest rows may take in memory once more.

Rows of two and more entries of a table of a million features whose lengths follow popularity, at
5 %. Halving it makes lookups in that table a tenth slower.
"""

REPEATS_COST = 1.5
"""Mean entries of a row that is not unpacked, from which on making a vector twice costs more than
finding the distinct features of a batch; measured on tables of 1 to 50 % (docs/export.md)."""


class MaskedForm(Form):
    """Entries that are kept, row after row; all others are zero.

    ``kept`` (nnz,) holds them. Their positions are in ``bitmap``, one bit for each of N·D
    entries, the first one in the highest bit; or in ``indptr`` (N + 1,), where each row begins in
    ``kept``, and ``columns`` (nnz,).

    In memory, each feature has one number, its place: 0 if its row is empty; up to H the row of a
    small dense table in which the H longest rows are; beyond H + 1 that of its first entry in
    ``kept``. An entry's column has a flag where its row ends. So popular features, where they have
    the longest rows, cost what they cost in a full table.
    """

    name = "masked"

    def __init__(self, parts: Parts) -> None:
        self.dim = parts.count("dim", 2**16)
        self.n_features = parts.count("rows")
        self._kept = parts.number("kept", 1)
        starts, columns = _rows_of(parts, self.n_features, self.dim, self._kept.size)
        lengths = np.diff(starts)
        require(int(lengths.max(initial=0)) <= self.dim, "a row has more than D entries")
        self._last = columns.dtype.type(1 << (8 * columns.dtype.itemsize - 1))
        columns[starts[1:][lengths > 0] - 1] |= self._last
        self._columns = columns
        longest = _longest_rows(lengths, self.dim, UNPACKED_SHARE * self._kept.size)
        self._unpacked = unpacked_rows(self._kept, columns & ~self._last, starts, longest, self.dim)
        self._first = len(self._unpacked)
        fits = self._first + self._kept.size < 2**32
        self._place: NDArray[np.unsignedinteger]
        self._place = (starts[:-1] + self._first).astype(np.uint32 if fits else np.uint64)
        self._place[lengths == 0] = 0
        self._place[longest] = np.arange(1, self._first)
        n_scattered = self._kept.size - int(lengths[longest].sum())
        self.distinct = n_scattered > REPEATS_COST * self.n_features

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        place = self._place.take(ids)
        scattered = np.flatnonzero(place >= self._first)
        entries = place.take(scattered).astype(np.int64) - self._first
        place[scattered] = 0
        vectors: Floats = self._unpacked.take(place, axis=0)
        flat, origin = vectors.reshape(-1), scattered * self.dim
        while len(entries):
            columns = self._columns.take(entries)
            flat[origin + (columns & ~self._last)] = self._kept.at(entries)
            goes_on = np.flatnonzero(columns < self._last)
            entries, origin = entries.take(goes_on) + 1, origin.take(goes_on)
        return vectors


def _rows_of(
    parts: Parts, n_rows: int, dim: int, nnz: int
) -> tuple[NDArray[np.int64], NDArray[np.unsignedinteger]]:
    """Where rows begin (N + 1,), and the columns of entries (nnz,) with a bit to spare."""
    starts = np.zeros(n_rows + 1, dtype=np.int64)
    if "bitmap" in parts.structure:
        bitmap = parts.octets("bitmap")
        require(len(bitmap) == -(-n_rows * dim // 8), "the bitmap has another length")
        np.cumsum(ones_in_rows(bitmap, n_rows, dim), out=starts[1:])
        columns = columns_of(bitmap, n_rows, dim)
    else:
        indptr, stored = parts.array("indptr"), parts.array("columns")
        rising = len(indptr) == n_rows + 1 and not np.any(indptr[1:] < indptr[:-1])
        require(rising and int(indptr[-1]) == nnz, "rows do not follow each other")
        require(int(stored.max(initial=0)) < dim, "an entry is outside its row")
        starts[:] = indptr
        columns = stored.astype(_column_type(dim))
    require(starts[0] == 0 and starts[-1] == nnz, "rows and entries differ")
    require(len(columns) == nnz, "entries and columns differ")
    return starts, columns


def _longest_rows(lengths: NDArray[np.int64], dim: int, most_bytes: int) -> NDArray[np.int64]:
    """Rows of more than so many entries, as few as keep them within the bytes as 32-bit floats."""
    n_longer = len(lengths) - np.cumsum(np.bincount(lengths, minlength=dim + 1))
    within = np.flatnonzero(n_longer * dim * 4 <= most_bytes)
    return np.flatnonzero(lengths > within[0])


def unpacked_rows(
    kept: Numbers,
    columns: NDArray[np.unsignedinteger],
    starts: NDArray[np.int64],
    rows: NDArray[np.int64],
    dim: int,
) -> Floats:
    """A row of zeros, and chosen rows (H,) as they are looked up: (1 + H, D)."""
    lengths = starts[rows + 1] - starts[rows]
    line = np.repeat(np.arange(1, 1 + len(rows)), lengths)
    entries = np.arange(len(line)) + np.repeat(starts[rows] - np.cumsum(lengths) + lengths, lengths)
    values = kept.at(entries)
    unpacked = np.zeros((1 + len(rows), dim), dtype=values.dtype)
    unpacked[line, columns[entries]] = values
    return unpacked


def columns_of(
    bitmap: NDArray[np.uint8], n_rows: int, width: int, rows_at_a_time: int = 1 << 16
) -> NDArray[np.unsignedinteger]:
    """The column of each bit that is set in a packed bitmap (n_rows, width), in order.

    >>> columns_of(np.packbits(np.array([1, 0, 1, 0, 1, 1])), 2, 3).tolist()
    [0, 2, 1, 2]
    """
    # Parts of a multiple of eight rows begin at whole bytes.
    parts = [np.empty(0, dtype=_column_type(width))]
    for start in range(0, n_rows, rows_at_a_time):
        n_bits = (min(start + rows_at_a_time, n_rows) - start) * width
        octets = bitmap[start * width // 8 : -(-(start * width + n_bits) // 8)]
        places = np.flatnonzero(np.unpackbits(octets, count=n_bits))
        parts.append((places % width).astype(_column_type(width)))
    return np.concatenate(parts)


def _column_type(width: int) -> type[np.unsignedinteger]:
    """The smallest type that holds a column and has its highest bit to spare."""
    return np.uint8 if width <= 2**7 else np.uint16 if width <= 2**15 else np.uint32
