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

from pepbench.data.text import WORD, TextColumn, compiled, hash_bytes, hash_span
from pepbench.errors import DataError
from pepbench.prefetch import prefetch

T = TypeVar("T", bound=np.generic)

SMALLEST_TABLE = 256
MOST_VALUES = 2**31 - 1
SLICE_VALUES = 1 << 16
"""Values that are handed out at a time."""
GROUP = 32
"""Texts looked up at a time."""
TAG = np.uint64(0xFFFFFFFF00000000)
"""Of a slot: the upper half of the hash; the lower half is the code, counted from 1."""
CODE = np.uint64(0xFFFFFFFF)
EMPTY, ONE, EIGHT = np.uint64(0), np.uint64(1), np.uint64(8)


@compiled
def _find(
    wanted: np.uint64,
    data: NDArray[np.uint8],
    start: int,
    length: int,
    slots: NDArray[np.uint64],
    hashes: NDArray[np.uint64],
    ends: NDArray[np.int64],
    arena: NDArray[np.uint8],
) -> int:
    """Code of the text at ``start`` whose hash is ``wanted``; -1 if it is new."""
    mask = np.uint64(len(slots) - 1)
    slot = wanted & mask
    while True:
        entry = slots[slot]
        if entry == EMPTY:
            return -1
        # Most slots of other texts are told by their tag, without a look at further memory.
        if entry & TAG == wanted & TAG:
            code = np.int64(entry & CODE) - 1
            if hashes[code] == wanted and ends[code + 1] - ends[code] == length:
                same = True
                # The hash of a text of at most eight bytes is that of no other of its length.
                if length > WORD:
                    at = ends[code]
                    for k in range(length):
                        if arena[at + k] != data[start + k]:
                            same = False
                            break
                if same:
                    return int(code)
        slot = (slot + ONE) & mask


@compiled
def _add(
    wanted: np.uint64,
    data: NDArray[np.uint8],
    start: int,
    length: int,
    slots: NDArray[np.uint64],
    hashes: NDArray[np.uint64],
    ends: NDArray[np.int64],
    arena: NDArray[np.uint8],
    count: NDArray[np.int64],
) -> int:
    """The code of a new text; there must be room for it."""
    mask = np.uint64(len(slots) - 1)
    slot = wanted & mask
    while slots[slot] != EMPTY:
        slot = (slot + ONE) & mask
    code = count[0]
    slots[slot] = (wanted & TAG) | np.uint64(code + 1)
    hashes[code] = wanted
    at = ends[code]
    for k in range(length):
        arena[at + k] = data[start + k]
    ends[code + 1] = at + length
    count[0] = code + 1
    return int(code)


@compiled
def _encode_indices(
    indices: NDArray[np.int32],
    data: NDArray[np.uint8],
    offsets: NDArray[np.int32],
    slots: NDArray[np.uint64],
    hashes: NDArray[np.uint64],
    ends: NDArray[np.int64],
    arena: NDArray[np.uint8],
    count: NDArray[np.int64],
    codes: NDArray[np.int32],
    out: NDArray[np.int32],
) -> None:
    # By row, not by entry of the dictionary: codes follow the first appearance in a row.
    for row in range(len(out)):
        entry = indices[row]
        if codes[entry] < 0:
            start = offsets[entry]
            length = offsets[entry + 1] - start
            wanted = hash_bytes(data, start, start + length)
            code = _find(wanted, data, start, length, slots, hashes, ends, arena)
            if code < 0:
                code = _add(wanted, data, start, length, slots, hashes, ends, arena, count)
            codes[entry] = code
        out[row] = codes[entry]


@compiled
def _encode_spans(
    data: NDArray[np.uint8],
    starts: NDArray[np.int32],
    stops: NDArray[np.int32],
    slots: NDArray[np.uint64],
    hashes: NDArray[np.uint64],
    ends: NDArray[np.int64],
    arena: NDArray[np.uint8],
    count: NDArray[np.int64],
    out: NDArray[np.int32],
) -> None:
    mask = np.uint64(len(slots) - 1)
    wanted = np.empty(GROUP, dtype=np.uint64)
    for first in range(0, len(out), GROUP):
        n = min(GROUP, len(out) - first)
        # Slots lie scattered over memory: all of a group are asked for before one is needed.
        for k in range(n):
            start = starts[first + k]
            wanted[k] = hash_span(data, start, stops[first + k] - start)
            address = np.uintp(slots.ctypes.data) + EIGHT * (wanted[k] & mask)
            prefetch(address)  # type: ignore[call-arg]
        for k in range(n):
            start = starts[first + k]
            length = stops[first + k] - start
            code = _find(wanted[k], data, start, length, slots, hashes, ends, arena)
            if code < 0:
                code = _add(wanted[k], data, start, length, slots, hashes, ends, arena, count)
            out[first + k] = code


@compiled
def _refill(slots: NDArray[np.uint64], hashes: NDArray[np.uint64], count: int) -> None:
    mask = np.uint64(len(slots) - 1)
    for code in range(count):
        slot = hashes[code] & mask
        while slots[slot] != EMPTY:
            slot = (slot + ONE) & mask
        slots[slot] = (hashes[code] & TAG) | np.uint64(code + 1)


@compiled
def _hash_each(
    data: NDArray[np.uint8], offsets: NDArray[np.int32], out: NDArray[np.uint64]
) -> None:
    for i in range(len(out)):
        out[i] = hash_bytes(data, offsets[i], offsets[i + 1])


def hashed(column: pa.Array, buckets: int) -> pa.DictionaryArray:
    """A column of text hashed into ``buckets`` values ``0`` … as text; what is missing is empty.

    >>> hashed(pa.array(["a", "", "a"]), 1).to_pylist()
    ['0', '', '0']
    """
    if not pa.types.is_dictionary(column.type):
        column = _plain_text(column).dictionary_encode()
    data, offsets = text_buffers(column.dictionary)
    hashes = np.empty(len(column.dictionary), dtype=np.uint64)
    _hash_each(data, offsets, hashes)
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
        self._slots = np.zeros(SMALLEST_TABLE, dtype=np.uint64)
        self._hashes = np.empty(SMALLEST_TABLE // 2, dtype=np.uint64)
        self._ends = np.zeros(SMALLEST_TABLE // 2 + 1, dtype=np.int64)
        self._arena = np.empty(8 * SMALLEST_TABLE, dtype=np.uint8)

    def __len__(self) -> int:
        return int(self._count[0])

    def encode(
        self, column: pa.Array | TextColumn, out: NDArray[np.int32] | None = None
    ) -> NDArray[np.int32]:
        """Codes of a block's values, (n,); new values are added.

        Parameters
        ----------
        column
            Texts, or values of any type that Arrow can write as text; dictionary arrays are read
            by value.
        out
            Where to put the codes, (n,), any stride; a new array if not given.

        Raises
        ------
        DataError
            If there are more than 2³¹ − 1 different values.
        """
        if out is None:
            out = np.empty(len(column), dtype=np.int32)
        if isinstance(column, TextColumn):
            ends = column.ends
            self._reserve(len(column), int((ends - column.starts).sum()))
            _encode_spans(
                column.content,
                column.starts,
                ends,
                self._slots,
                self._hashes,
                self._ends,
                self._arena,
                self._count,
                out,
            )
            return out
        if not pa.types.is_dictionary(column.type) or column.null_count:
            # Arrow's hashing of a block is several times as fast as ours of all rows.
            column = _plain_text(column).dictionary_encode()
        data, offsets = text_buffers(column.dictionary)
        n_entries = len(column.dictionary)
        self._reserve(n_entries, int(offsets[-1] - offsets[0]))
        indices = column.indices.cast(pa.int32()).to_numpy(zero_copy_only=False)
        codes = np.full(n_entries, -1, dtype=np.int32)
        _encode_indices(
            indices,
            data,
            offsets,
            self._slots,
            self._hashes,
            self._ends,
            self._arena,
            self._count,
            codes,
            out,
        )
        return out

    def values(self) -> pa.LargeStringArray:
        """All values, (cardinality,), without a copy: use it before encoding further blocks."""
        return self._slice(0, len(self))

    def slices(self) -> Iterator[pa.LargeStringArray]:
        """The values in order, some at a time."""
        for start in range(0, len(self), SLICE_VALUES):
            yield self._slice(start, min(start + SLICE_VALUES, len(self)))

    def _slice(self, start: int, stop: int) -> pa.LargeStringArray:
        ends = self._ends[start : stop + 1]
        return pa.LargeStringArray.from_buffers(
            stop - start, pa.py_buffer(ends), pa.py_buffer(self._arena)
        )

    def _reserve(self, n_values: int, n_bytes: int) -> None:
        """Make room for so many further values, which may all be new."""
        needed = len(self) + n_values
        if len(self) > MOST_VALUES - n_values:
            raise DataError(
                f"field {self.field!r} has more than 2^31 - 1 different values; hash it into fewer"
            )
        if needed > len(self._hashes):
            size = 1 << int(needed - 1).bit_length()
            self._hashes = _grown(self._hashes, size)
            self._ends = _grown(self._ends, size + 1)
            self._slots = np.zeros(2 * size, dtype=np.uint64)
            _refill(self._slots, self._hashes, len(self))
        used = int(self._ends[len(self)])
        if used + n_bytes > len(self._arena):
            self._arena = _grown(self._arena, max(used + n_bytes, 3 * len(self._arena) // 2))


def text_buffers(column: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """The bytes of a column's values as text, and where each begins: (bytes,), (n + 1,)."""
    column = _plain_text(column)
    _, offsets, data = column.buffers()
    begins = (
        np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
        if offsets is not None and offsets.size
        else np.zeros(1, dtype=np.int32)
    )
    content = np.frombuffer(data, dtype=np.uint8) if data is not None else np.empty(0, np.uint8)
    return content, begins


def _plain_text(column: pa.Array) -> pa.StringArray:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not pa.types.is_string(column.type):
        column = column.cast(pa.string())
    return pc.fill_null(column, "") if column.null_count else column


def _grown(array: NDArray[T], size: int) -> NDArray[T]:
    grown = np.zeros(size, dtype=array.dtype)
    grown[: len(array)] = array
    return grown
