"""Plain separated text, without quotes, into dictionary arrays: compiled, for very large files.

Arrow's reader does the same, and is used for all other text; this one takes two thirds of its time
where most values are short and occur often, as in logs of clicks.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pepbench.data.bytemask import MASK_BYTES, lowest_bit, where_equal
from pepbench.data.text import WORD, TextColumn, compiled, key_of, scattered, short_key

NEWLINE, RETURN = 10, 13


def tokenise(block: bytes, separator: int, n_columns: int) -> list[TextColumn] | tuple[int, int]:
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
    The columns; or, if a row has another number of values, its index and how many it has.
    """
    content = np.frombuffer(block, dtype=np.uint8)
    most_rows = _count(content, NEWLINE)
    # The remainder keeps the columns' ends out of one another's cache lines.
    shape = (n_columns + 1, (most_rows // 1024 + 1) * 1024 + 16)
    bounds, keys = np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.uint64)
    n_rows, found = _find_values(content, separator, bounds, keys)
    if found != n_columns:
        return n_rows, found
    bounds, keys = bounds[:, :n_rows], keys[:, :n_rows]
    return [TextColumn(content, bounds[j], bounds[j + 1], keys[j]) for j in range(n_columns)]


def dictionary_column(column: TextColumn) -> pa.DictionaryArray:
    """A column as an array, its dictionary in order of first appearance: (n,).

    Raises
    ------
    pyarrow.ArrowInvalid
        If a value is not UTF-8.
    """
    n_rows = len(column)
    slots = np.full(1 << max(4, (2 * n_rows - 1).bit_length()), -1, dtype=np.int32)
    firsts, indices = np.empty(n_rows, dtype=np.int32), np.empty(n_rows, dtype=np.int32)
    n_values = _distinct(
        column.content, column.starts, column.stops, column.keys, slots, firsts, indices
    )
    starts = column.starts[firsts[:n_values]]
    offsets = np.zeros(n_values + 1, dtype=np.int32)
    np.cumsum(column.stops[firsts[:n_values]] - starts - 1, out=offsets[1:])
    data = np.empty(offsets[-1], dtype=np.uint8)
    _copy_values(column.content, starts, offsets, data)
    values = pa.StringArray.from_buffers(n_values, pa.py_buffer(offsets), pa.py_buffer(data))
    values.validate(full=True)
    return pa.DictionaryArray.from_arrays(pa.array(indices), values)


@compiled
def _find_values(
    content: NDArray[np.uint8],
    separator: int,
    bounds: NDArray[np.int32],
    keys: NDArray[np.uint64],
) -> tuple[int, int]:
    """Where each value begins, one past where the one before it ends, and its key.

    Returns rows and columns; at the first row with another number of values it stops, and returns
    its index and that number.
    """
    n_columns = bounds.shape[0] - 1
    row, found = 0, 0
    # Of one row; columns lie far apart.
    begins = np.zeros(n_columns + 1, dtype=np.int32)
    for begin in range(0, len(content), MASK_BYTES):
        newlines = _where(content, begin, NEWLINE)
        marks = newlines | _where(content, begin, separator)
        while marks != 0:
            bit: np.uint64 = lowest_bit(marks)  # type: ignore[call-arg]
            marks &= marks - np.uint64(1)
            at = begin + np.int64(bit)
            found += 1
            if (newlines >> bit) & np.uint64(1) == 0:
                begins[min(found, n_columns)] = at + 1
                continue
            if found != n_columns:
                return row, found
            # The column's end, not the line's: a carriage return belongs to the newline.
            begins[n_columns] = at + (0 if at > 0 and content[at - 1] == RETURN else 1)
            for column in range(n_columns):
                start = begins[column]
                length = begins[column + 1] - 1 - start
                bounds[column, row] = start
                if length <= WORD and start + WORD <= len(content):
                    keys[column, row] = short_key(content, start, length)
                else:
                    keys[column, row] = key_of(content, start, length)
            bounds[n_columns, row] = begins[n_columns]
            begins[0] = at + 1
            row += 1
            found = 0
    return row, n_columns


@compiled
def _count(content: NDArray[np.uint8], byte: int) -> int:
    """How often a byte occurs."""
    count = 0
    for begin in range(0, len(content), MASK_BYTES):
        mask = _where(content, begin, byte)
        while mask != 0:
            mask &= mask - np.uint64(1)
            count += 1
    return count


@compiled
def _where(content: NDArray[np.uint8], begin: int, byte: int) -> np.uint64:
    """One bit for each of the bytes from ``begin`` on that is ``byte``, the first one lowest."""
    if begin + MASK_BYTES <= len(content):
        address = np.uintp(content.ctypes.data) + np.uintp(begin)
        return where_equal(address, np.uint8(byte))  # type: ignore[call-arg, arg-type]
    mask = np.uint64(0)
    for k in range(len(content) - begin):
        if content[begin + k] == byte:
            mask |= np.uint64(1) << np.uint64(k)
    return mask


@compiled
def _distinct(
    content: NDArray[np.uint8],
    starts: NDArray[np.int32],
    stops: NDArray[np.int32],
    keys: NDArray[np.uint64],
    slots: NDArray[np.int32],
    firsts: NDArray[np.int32],
    indices: NDArray[np.int32],
) -> int:
    """Number the values of a column by first appearance; returns how many there are."""
    mask = np.uint64(len(slots) - 1)
    count = 0
    for row in range(len(indices)):
        start = starts[row]
        length = stops[row] - 1 - start
        slot = scattered(keys[row], length) & mask
        while True:
            value = slots[slot]
            if value < 0:
                slots[slot] = count
                firsts[count] = row
                indices[row] = count
                count += 1
                break
            first = firsts[value]
            if keys[first] == keys[row] and stops[first] - 1 - starts[first] == length:
                same = True
                if length > WORD:
                    for k in range(length):
                        if content[starts[first] + k] != content[start + k]:
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
