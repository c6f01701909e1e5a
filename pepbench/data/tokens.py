"""Plain separated text, without quotes, into dictionary arrays: compiled, for very large files.

Arrow's reader does the same, and is used for all other text; this one takes two thirds of its time
where most values are short and occur often, as in logs of clicks.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pepbench.data.text import WORD, TextColumn, compiled, hash_span

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
    # No row is shorter than its separators and its newline. The remainder keeps the columns' ends
    # out of one another's cache lines; memory that no row needs is never touched.
    most_rows = (len(block) // n_columns // 1024 + 1) * 1024 + 16
    bounds = np.empty((n_columns + 1, most_rows), dtype=np.int32)
    n_rows, found = _find_bounds(content, separator, bounds)
    if found != n_columns:
        return n_rows, found
    # Copied, or blocks under way would hold on to the memory that no row needed.
    bounds = bounds[:, :n_rows].copy()
    return [TextColumn(content, bounds[j], bounds[j + 1]) for j in range(n_columns)]


def dictionary_column(column: TextColumn) -> pa.DictionaryArray:
    """A column as an array, its dictionary in order of first appearance: (n,).

    Raises
    ------
    pyarrow.ArrowInvalid
        If a value is not UTF-8.
    """
    n_rows = len(column)
    slots = np.full(1 << max(4, (2 * n_rows - 1).bit_length()), -1, dtype=np.int32)
    hashes = np.empty(n_rows, dtype=np.uint64)
    firsts, indices = np.empty(n_rows, dtype=np.int32), np.empty(n_rows, dtype=np.int32)
    ends = column.ends
    n_values = _distinct(column.content, column.starts, ends, slots, hashes, firsts, indices)
    starts = column.starts[firsts[:n_values]]
    offsets = np.zeros(n_values + 1, dtype=np.int32)
    np.cumsum(ends[firsts[:n_values]] - starts, out=offsets[1:])
    data = np.empty(offsets[-1], dtype=np.uint8)
    _copy_values(column.content, starts, offsets, data)
    values = pa.StringArray.from_buffers(n_values, pa.py_buffer(offsets), pa.py_buffer(data))
    values.validate(full=True)
    return pa.DictionaryArray.from_arrays(pa.array(indices), values)


@compiled
def _find_bounds(
    content: NDArray[np.uint8], separator: int, bounds: NDArray[np.int32]
) -> tuple[int, int]:
    """Where each value begins, one past where the one before it ends; returns rows and columns.

    Stops at the first row with another number of values, and returns its index and that number.
    """
    n_columns = bounds.shape[0] - 1
    row, found = 0, 0
    bounds[0, 0] = 0
    for at in range(len(content)):
        byte = content[at]
        if byte == separator:
            found += 1
            if found < n_columns:
                bounds[found, row] = at + 1
        elif byte == NEWLINE:
            if found != n_columns - 1:
                return row, found + 1
            # The column's end, not the line's: a carriage return belongs to the newline.
            bounds[n_columns, row] = at + (0 if at > 0 and content[at - 1] == RETURN else 1)
            row += 1
            found = 0
            bounds[0, row] = at + 1
    return row, n_columns


@compiled
def _distinct(
    content: NDArray[np.uint8],
    starts: NDArray[np.int32],
    ends: NDArray[np.int32],
    slots: NDArray[np.int32],
    hashes: NDArray[np.uint64],
    firsts: NDArray[np.int32],
    indices: NDArray[np.int32],
) -> int:
    """Number the values of a column by first appearance; returns how many there are."""
    mask = np.uint64(len(slots) - 1)
    count = 0
    for row in range(len(indices)):
        start = starts[row]
        length = ends[row] - start
        wanted = hash_span(content, start, length)
        slot = wanted & mask
        while True:
            value = slots[slot]
            if value < 0:
                slots[slot] = count
                hashes[count] = wanted
                firsts[count] = row
                indices[row] = count
                count += 1
                break
            first = starts[firsts[value]]
            if hashes[value] == wanted and ends[firsts[value]] - first == length:
                same = True
                # The hash of a text of at most eight bytes is that of no other of its length.
                if length > WORD:
                    for k in range(length):
                        if content[first + k] != content[start + k]:
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
