"""Whole numbers straight from text, for columns of counts in very large files.

Both functions give None for text that they do not understand; the general way, which also knows
how to say what is wrong, is then the reader's business.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pepbench.data.encoding import log_squared
from pepbench.data.text import WORD, TextColumn, compiled

MOST_DIGITS = 18
ZERO, NINE, MINUS = ord("0"), ord("9"), ord("-")
ZEROS, SIXES = np.uint64(0x3030303030303030), np.uint64(0x0606060606060606)
HIGH = np.uint64(0xF0F0F0F0F0F0F0F0)
"""The upper half of each byte: 3 in all digits, and still after adding 6."""
BYTE = np.uint64(0xFF)
PAIRS = np.uint64(0x000000FF000000FF)
TEN, HUNDRED, TEN_THOUSAND, MILLION = (np.uint64(10**n) for n in (1, 2, 4, 6))
EIGHT, SIXTEEN, HALF = (np.uint64(n) for n in (8, 16, 32))
LOWEST, LARGEST = -1024, 2**40
"""Counts that are bucketed here; others are rare, or wrong."""
LOOKED_UP = 1024
"""Counts below are bucketed by a table."""


class _Buckets(NamedTuple):
    """Every bucket that counts from LOWEST to LARGEST can have."""

    texts: pa.StringArray
    """Of a blank, of LOWEST to 2, then ⌊(ln v)²⌋ from 0."""
    table: NDArray[np.int32]
    """Which text belongs to a blank, then to each count from LOWEST to LOOKED_UP."""
    begins: NDArray[np.int64]
    """The first count v with ⌊(ln v)²⌋ = b, for b = 0, 1, …; the last one is above LARGEST."""


def whole_numbers_of(column: TextColumn) -> NDArray[np.int64] | None:
    """The numbers of a column, (n,); None if a text is not ``-?[0-9]{1,18}``."""
    numbers = np.empty(len(column), dtype=np.int64)
    legal = _numbers(column.content, column.starts, column.stops, column.keys, numbers)
    return numbers if legal else None


def bucketed_counts(column: TextColumn, low: int, high: int) -> pa.DictionaryArray | None:
    """:func:`~pepbench.data.encoding.log_squared` of a column's numbers, (n,); blanks stay blank.

    None if a text is neither blank nor a number from ``low`` to ``high``, or is a number outside
    :data:`LOWEST` to :data:`LARGEST`.
    """
    buckets = _buckets()
    indices = np.empty(len(column), dtype=np.int32)
    legal = _bucketed(
        column.content,
        column.starts,
        column.stops,
        column.keys,
        max(low, LOWEST),
        min(high, LARGEST),
        buckets.table,
        buckets.begins,
        indices,
    )
    if not legal:
        return None
    return pa.DictionaryArray.from_arrays(pa.array(indices), buckets.texts, safe=False)


@cache
def _buckets() -> _Buckets:
    small = log_squared(np.arange(LOWEST, 3))
    numbers = np.arange(3, LOOKED_UP)
    first = 1 + len(small)
    of_numbers = first + np.array(log_squared(numbers).cast(pa.int64()))
    table = np.concatenate([np.arange(first), of_numbers]).astype(np.int32)
    last = math.floor(math.log(LARGEST) ** 2) + 1
    wanted = np.arange(last + 1)
    # Rounding may put the root on the wrong side of a whole number: those around it are asked.
    around = np.floor(np.exp(np.sqrt(wanted))).astype(np.int64) + np.arange(-1, 3)[:, None]
    around = np.maximum(around, 1)
    reached = np.floor(np.log(around) ** 2) >= wanted
    begins = np.where(reached, around, np.iinfo(np.int64).max).min(axis=0)
    texts = pa.array(["", *small.to_pylist(), *map(str, range(last))])
    return _Buckets(texts, table, begins)


@compiled
def _few_digits(key: np.uint64, length: int) -> tuple[np.int64, bool]:
    """A text of at most eight bytes, from its key, as a number, and whether it is one.

    Without a branch, since lengths are hard to foresee: the text is moved to the right end of eight
    digits, which are added in pairs, then pairs of pairs. A blank is 0.
    """
    bits = np.uint64(8 * min(max(length, 1), WORD))
    digits = (key << (np.uint64(64) - bits)) | (ZEROS >> (bits - EIGHT) >> EIGHT)
    digits |= ZEROS * np.uint64(length == 0)
    legal = (digits & HIGH == ZEROS) & ((digits + SIXES) & HIGH == ZEROS)
    digits -= ZEROS
    pairs = digits * TEN + (digits >> EIGHT)
    upper = (pairs & PAIRS) * (HUNDRED + (MILLION << HALF))
    lower = (pairs >> SIXTEEN & PAIRS) * (np.uint64(1) + (TEN_THOUSAND << HALF))
    return np.int64((upper + lower) >> HALF), legal


@compiled
def _number(content: NDArray[np.uint8], start: int, length: int) -> tuple[np.int64, bool]:
    """A text that is long or may have a sign, as a number, and whether it is one."""
    if length == 0:
        return np.int64(0), False
    negative = content[start] == MINUS
    begin = start + 1 if negative else start
    end = start + length
    if begin == end or end - begin > MOST_DIGITS:
        return np.int64(0), False
    number = np.int64(0)
    for at in range(begin, end):
        byte = content[at]
        if byte < ZERO or byte > NINE:
            return np.int64(0), False
        number = number * 10 + np.int64(byte - ZERO)
    return -number if negative else number, True


@compiled
def _numbers(
    content: NDArray[np.uint8],
    starts: NDArray[np.int32],
    stops: NDArray[np.int32],
    keys: NDArray[np.uint64],
    out: NDArray[np.int64],
) -> bool:
    all_legal = True
    for row in range(len(out)):
        length = stops[row] - 1 - starts[row]
        if length <= WORD and keys[row] & BYTE != MINUS:
            out[row], legal = _few_digits(keys[row], length)
            legal &= length > 0
        else:
            out[row], legal = _number(content, starts[row], length)
        all_legal &= legal
    return all_legal


@compiled
def _bucketed(
    content: NDArray[np.uint8],
    starts: NDArray[np.int32],
    stops: NDArray[np.int32],
    keys: NDArray[np.uint64],
    low: int,
    high: int,
    table: NDArray[np.int32],
    begins: NDArray[np.int64],
    out: NDArray[np.int32],
) -> bool:
    first = 4 - LOWEST
    for row in range(len(out)):
        length = stops[row] - 1 - starts[row]
        if length <= WORD and keys[row] & BYTE != MINUS:
            number, legal = _few_digits(keys[row], length)
        else:
            number, legal = _number(content, starts[row], length)
        given = length > 0
        if not legal or (given and (number < low or number > high)):
            return False
        if number < LOOKED_UP:
            out[row] = table[(number - LOWEST + 1) * given]
            continue
        bucket = int(math.log(number) ** 2)
        while begins[bucket + 1] <= number:
            bucket += 1
        while begins[bucket] > number:
            bucket -= 1
        out[row] = first + bucket
    return True
