"""Vocabularies: the raw values of a field as text, numbered in order of first appearance.

A hash table over the bytes of Arrow strings, compiled, because a Python dictionary of the tens of
millions of values that a field may have is slow to fill and takes ten times the memory. Equality
is by all bytes, so codes do not depend on the hash function.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pepbench.data.columns import as_text
from pepbench.data.encoding import MOST_VALUES
from pepbench.data.hash_table import encode_indices, hash_each, refill
from pepbench.errors import DataError

T = TypeVar("T", bound=np.generic)

SMALLEST_TABLE = 256
SLICE_VALUES = 1 << 16
"""Values per slice."""


def hashed(column: pa.Array, buckets: int) -> pa.DictionaryArray:
    """A column of text hashed into the values ``0`` … ``buckets - 1``; missing values stay empty.

    >>> hashed(pa.array(["a", "", "a"]), 1).to_pylist()
    ['0', '', '0']
    """
    column = _coded_text(column)
    data, offsets = text_buffers(column.dictionary)
    hashes = np.empty(len(column.dictionary), dtype=np.uint64)
    hash_each(data, offsets, hashes)
    names = pa.array(hashes % np.uint64(buckets)).cast(pa.string())
    missing = pa.array(np.diff(offsets) == 0)
    return pa.DictionaryArray.from_arrays(column.indices, pc.if_else(missing, "", names))


class Vocabulary:
    """Raw values of one field in order of first appearance; null is the empty text.

    Examples
    --------
    >>> vocabulary = Vocabulary("letter")
    >>> vocabulary.encode(pa.array(["z", "a", None, "z"])).tolist()
    [0, 1, 2, 0]
    >>> vocabulary.values().to_pylist()
    ['z', 'a', '']
    """

    def __init__(self, field: str) -> None:
        self.field = field
        self._count = np.zeros(1, dtype=np.int64)
        self._slots = np.zeros((SMALLEST_TABLE, 2), dtype=np.uint64)
        self._ends = np.zeros(_room(SMALLEST_TABLE) + 1, dtype=np.int64)
        self._arena = np.empty(8 * SMALLEST_TABLE, dtype=np.uint8)

    def __len__(self) -> int:
        return int(self._count[0])

    def encode(self, column: pa.Array, out: NDArray[np.int32] | None = None) -> NDArray[np.int32]:
        """Encode a block of values, (n,); new values are added.

        Parameters
        ----------
        column
            Text, or any type that Arrow can cast to text. A dictionary array counts by its values.
        out
            Array for the codes, (n,), of any stride; a new one if not given.

        Raises
        ------
        DataError
            If there are more than 2³¹ − 1 different values.
        """
        if out is None:
            out = np.empty(len(column), dtype=np.int32)
        column = _coded_text(column)
        data, offsets = text_buffers(column.dictionary)
        indices = column.indices.cast(pa.int32()).to_numpy(zero_copy_only=False)
        codes = np.full(len(column.dictionary), -1, dtype=np.int32)
        done = 0
        while True:
            done = encode_indices(
                indices,
                data,
                offsets,
                self._slots,
                self._ends,
                self._arena,
                self._count,
                codes,
                done,
                out,
            )
            if done == len(out):
                return out
            self._make_room(int(offsets[indices[done] + 1] - offsets[indices[done]]))

    def values(self) -> pa.LargeStringArray:
        """All values, (cardinality,), without a copy: valid until further blocks are encoded."""
        return self._slice(0, len(self))

    def slices(self) -> Iterator[pa.LargeStringArray]:
        """The values in order, in slices."""
        for start in range(0, len(self), SLICE_VALUES):
            yield self._slice(start, min(start + SLICE_VALUES, len(self)))

    def _slice(self, start: int, stop: int) -> pa.LargeStringArray:
        ends = self._ends[start : stop + 1]
        return pa.LargeStringArray.from_buffers(
            stop - start, pa.py_buffer(ends), pa.py_buffer(self._arena)
        )

    def _make_room(self, n_bytes: int) -> None:
        """Make room for a text of this many bytes, and many more."""
        if len(self) == _room(len(self._slots)):
            if len(self) == MOST_VALUES:
                raise DataError(
                    f"field {self.field!r} has more than 2^31 - 1 different values; "
                    "hash it into fewer"
                )
            old, self._slots = self._slots, np.zeros((2 * len(self._slots), 2), dtype=np.uint64)
            refill(self._slots, old)
            self._ends = _grown(self._ends, _room(len(self._slots)) + 1)
        used = int(self._ends[len(self)])
        if used + n_bytes > len(self._arena):
            self._arena = _grown(self._arena, max(used + n_bytes, 3 * len(self._arena) // 2))


def text_buffers(column: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """The bytes of a column's values as text, and their offsets: (bytes,), (n + 1,)."""
    _, offsets, data = column.buffers()
    begins = (
        np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
        if offsets is not None and offsets.size
        else np.zeros(1, dtype=np.int32)
    )
    content = np.frombuffer(data, dtype=np.uint8) if data is not None else np.empty(0, np.uint8)
    return content, begins


def _room(n_slots: int) -> int:
    """Number of values in a table before it grows: three in four slots keep searches short."""
    return min(n_slots // 4 * 3, MOST_VALUES)


def _coded_text(column: pa.Array) -> pa.DictionaryArray:
    """A column as text; Arrow finds a block's different values faster than our table all rows'."""
    column = as_text(column)
    return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()


def _grown(array: NDArray[T], size: int) -> NDArray[T]:
    grown = np.zeros(size, dtype=array.dtype)
    grown[: len(array)] = array
    return grown
