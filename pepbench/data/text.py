"""Columns of text as it lies in its file, and hashes of texts."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

compiled = numba.njit(cache=True, nogil=True)

WORD = 8
"""Bytes of text that one load takes; texts of no more are their own key."""
PRIME = np.uint64(0x9FB21C651E98DF25)
"""By which hashes multiply."""
ONE = np.uint64(1)


@dataclass(frozen=True, eq=False)
class TextColumn:
    """One column of a block of text, not copied out: what very large files are encoded from."""

    content: NDArray[np.uint8]
    """The block's bytes."""
    starts: NDArray[np.int32]
    """Shape (n,): where each value begins."""
    stops: NDArray[np.int32]
    """Shape (n,): one past the separator or newline that follows it."""
    keys: NDArray[np.uint64]
    """Shape (n,): :func:`key_of` each value."""

    def __len__(self) -> int:
        return len(self.starts)

    def text(self, index: int) -> str:
        """The value of one row."""
        return self.content[self.starts[index] : self.stops[index] - 1].tobytes().decode()

    def filter(self, kept: NDArray[np.bool_]) -> TextColumn:
        """Some of the rows, chosen by ``kept`` (n,)."""
        return TextColumn(self.content, self.starts[kept], self.stops[kept], self.keys[kept])


Column = pa.Array | TextColumn
"""The values of a field in some consecutive rows."""


@compiled
def _mixed(state: np.uint64, word: np.uint64) -> np.uint64:
    """The state after eight bytes more."""
    state = (state ^ word) * PRIME
    return state ^ (state >> np.uint64(29))


@compiled
def _word(data: NDArray[np.uint8], start: int, length: int) -> np.uint64:
    """Up to eight bytes as a number, the first one lowest."""
    word = np.uint64(0)
    begin = np.uint64(start)
    for k in range(length):
        word |= np.uint64(data[begin + np.uint64(k)]) << np.uint64(8 * k)
    return word


@compiled
def hash_bytes(data: NDArray[np.uint8], start: int, stop: int) -> np.uint64:
    """64-bit hash of ``data[start:stop]``: FNV-1a by words of eight bytes, then a final mix."""
    state = np.uint64(0xCBF29CE484222325) ^ np.uint64(stop - start)
    whole = stop - (stop - start) % WORD
    for at in range(start, whole, WORD):
        state = _mixed(state, _word(data, at, WORD))
    state = (state ^ _word(data, whole, stop - whole)) * PRIME
    return _mixed(state ^ (state >> np.uint64(32)), np.uint64(0))


@compiled
def short_key(data: NDArray[np.uint8], start: int, length: int) -> np.uint64:
    """:func:`key_of` a text of at most eight bytes that eight bytes of ``data`` begin with.

    By itself, without a call or a branch: so the compiler puts it into its callers, which halves
    the time of finding values.
    """
    word = np.uint64(0)
    begin = np.uint64(start)
    for k in range(WORD):
        word |= np.uint64(data[begin + np.uint64(k)]) << np.uint64(8 * k)
    half = np.uint64(4 * length)
    return word & ((ONE << half << half) - ONE)


@compiled
def key_of(data: NDArray[np.uint8], start: int, length: int) -> np.uint64:
    """A number for a text: its own bytes where they are at most eight, else their hash.

    Two texts of the same length, at most :data:`WORD`, are equal exactly if their keys are.
    """
    if length > WORD:
        return hash_bytes(data, start, start + length)
    if start + WORD > len(data):
        return _word(data, start, length)
    return short_key(data, start, length)


@compiled
def scattered(key: np.uint64, length: int) -> np.uint64:
    """32 bits, evenly spread, to look for a text by its key and length."""
    mixed = key ^ np.uint64(length)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * PRIME
    return mixed >> np.uint64(32)
