"""Plain separated text, without quotes, into dictionary arrays: compiled, for very large files.

Arrow's reader does the same, and is used for all other text; this one takes two thirds of its time
where most values are short and occur often, as in logs of clicks.
"""

from __future__ import annotations

import numba
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pepbench.data.vocabulary import hash_bytes

compiled = numba.njit(cache=True, nogil=True)

NEWLINE, RETURN = 10, 13
WORD = 8
"""Bytes that are compared at once; texts of no more are their own key."""


def tokenise(
    block: bytes, separator: int, n_columns: int
) -> tuple[NDArray[np.uint8], NDArray[np.int32]] | tuple[int, int]:
    """Find the values of a block of whole lines.

    Parameters
    ----------
    block
        Lines, each ended by a newline.
    separator
        The byte between values.
    n_columns
        How many values each line must have.

    Returns
    -------
    The bytes, padded, and where each value begins and ends, (rows, columns + 1): value j of a row
    begins at entry j and ends one before entry j + 1. Or, if a row has another number of values,
    its index and how many it has.
    """
    content = np.frombuffer(block + bytes(WORD), dtype=np.uint8)
    bounds = np.empty((block.count(b"\n"), n_columns + 1), dtype=np.int32)
    row, found = _find_bounds(content, len(block), separator, bounds)
    return (row, found) if row < len(bounds) else (content, bounds)


def dictionary_column(
    content: NDArray[np.uint8], bounds: NDArray[np.int32], column: int
) -> pa.DictionaryArray:
    """One column of a tokenised block, its dictionary in order of first appearance: (rows,).

    Raises
    ------
    pyarrow.ArrowInvalid
        If a value is not UTF-8.
    """
    n_rows, n_columns = bounds.shape[0], bounds.shape[1] - 1
    slots = np.full(1 << max(4, (2 * n_rows - 1).bit_length()), -1, dtype=np.int32)
    keys = np.empty(n_rows, dtype=np.uint64)
    starts, lengths = np.empty(n_rows, dtype=np.int32), np.empty(n_rows, dtype=np.int32)
    indices = np.empty(n_rows, dtype=np.int32)
    is_last = column == n_columns - 1
    n_values = _distinct(content, bounds, column, is_last, slots, keys, starts, lengths, indices)
    offsets = np.zeros(n_values + 1, dtype=np.int32)
    np.cumsum(lengths[:n_values], out=offsets[1:])
    data = np.empty(offsets[-1], dtype=np.uint8)
    _copy_values(content, starts, offsets, data)
    values = pa.StringArray.from_buffers(n_values, pa.py_buffer(offsets), pa.py_buffer(data))
    values.validate(full=True)
    return pa.DictionaryArray.from_arrays(pa.array(indices), values)


@compiled
def _find_bounds(
    content: NDArray[np.uint8], size: int, separator: int, bounds: NDArray[np.int32]
) -> tuple[int, int]:
    """Fill in the bounds; returns the first row with another number of values, and that number."""
    n_columns = bounds.shape[1] - 1
    row, found = 0, 0
    if size:
        bounds[0, 0] = 0
    for at in range(size):
        byte = content[at]
        if byte == separator:
            found += 1
            if found < n_columns:
                bounds[row, found] = at + 1
        elif byte == NEWLINE:
            if found != n_columns - 1:
                return row, found + 1
            bounds[row, n_columns] = at + 1
            row += 1
            found = 0
            if row < bounds.shape[0]:
                bounds[row, 0] = at + 1
    return row, n_columns


@compiled
def _distinct(
    content: NDArray[np.uint8],
    bounds: NDArray[np.int32],
    column: int,
    is_last: bool,
    slots: NDArray[np.int32],
    keys: NDArray[np.uint64],
    starts: NDArray[np.int32],
    lengths: NDArray[np.int32],
    indices: NDArray[np.int32],
) -> int:
    """Number the values of a column by first appearance; returns how many there are."""
    mask = np.uint64(len(slots) - 1)
    count = 0
    for row in range(len(indices)):
        start = bounds[row, column]
        length = bounds[row, column + 1] - 1 - start
        if is_last and length > 0 and content[np.uint64(start + length - 1)] == RETURN:
            length -= 1
        # Always eight bytes, there is padding: the compiler makes one load of it.
        key = np.uint64(0)
        begin = np.uint64(start)
        for k in range(WORD):
            key |= np.uint64(content[begin + np.uint64(k)]) << np.uint64(8 * k)
        if length < WORD:
            key &= (np.uint64(1) << np.uint64(8 * length)) - np.uint64(1)
        elif length > WORD:
            key = hash_bytes(content, start, start + length)
        mixed = (key ^ np.uint64(length)) * np.uint64(0x9FB21C651E98DF25)
        slot = (mixed ^ (mixed >> np.uint64(32))) & mask
        while True:
            value = slots[slot]
            if value < 0:
                slots[slot] = count
                keys[count] = key
                starts[count] = start
                lengths[count] = length
                indices[row] = count
                count += 1
                break
            if keys[value] == key and lengths[value] == length:
                same = True
                if length > WORD:
                    for k in range(length):
                        if content[starts[value] + k] != content[start + k]:
                            same = False
                            break
                if same:
                    indices[row] = value
                    break
            slot = (slot + np.uint64(1)) & mask
    return count


@compiled
def _copy_values(
    content: NDArray[np.uint8],
    starts: NDArray[np.int32],
    offsets: NDArray[np.int32],
    data: NDArray[np.uint8],
) -> None:
    for value in range(len(offsets) - 1):
        start = starts[value]
        at = offsets[value]
        for k in range(offsets[value + 1] - at):
            data[at + k] = content[start + k]
