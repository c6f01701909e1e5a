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


@dataclass(frozen=True, eq=False)
class TextColumn:
    """One column of a block of text, not copied out: what very large files are encoded from."""

    content: NDArray[np.uint8]
    """The block's bytes."""
    starts: NDArray[np.int32]
    """Shape (n,): where each value begins."""
    stops: NDArray[np.int32]
    """Shape (n,): one past the separator or newline that follows it."""

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def ends(self) -> NDArray[np.int32]:
        """Shape (n,): where each value ends. Made at each use, since many blocks are under way."""
        return self.stops - np.int32(1)

    def filter(self, kept: NDArray[np.bool_]) -> TextColumn:
        """Some of the rows, chosen by ``kept`` (n,)."""
        return TextColumn(self.content, self.starts[kept], self.stops[kept])


Column = pa.Array | TextColumn
"""The values of a field in some consecutive rows."""


@compiled
def _begun(length: int) -> np.uint64:
    return np.uint64(0xCBF29CE484222325) ^ np.uint64(length)


@compiled
def _mixed(state: np.uint64, word: np.uint64) -> np.uint64:
    """The state after eight bytes more."""
    state = (state ^ word) * PRIME
    return state ^ (state >> np.uint64(29))


@compiled
def _ended(state: np.uint64, word: np.uint64) -> np.uint64:
    """The hash, from the state and the fewer than eight bytes that are left."""
    state = (state ^ word) * PRIME
    return _mixed(state ^ (state >> np.uint64(32)), np.uint64(0))


@compiled
def hash_bytes(data: NDArray[np.uint8], start: int, stop: int) -> np.uint64:
    """64-bit hash of ``data[start:stop]``: FNV-1a by words of eight bytes, then a final mix."""
    state = _begun(stop - start)
    at = np.uint64(start)
    left = np.uint64(stop - start)
    while left >= np.uint64(8):
        word = np.uint64(0)
        for k in range(8):
            word |= np.uint64(data[at + np.uint64(k)]) << np.uint64(8 * k)
        state = _mixed(state, word)
        at += np.uint64(8)
        left -= np.uint64(8)
    word = np.uint64(0)
    for k in range(left):
        word |= np.uint64(data[at + np.uint64(k)]) << np.uint64(8 * k)
    return _ended(state, word)


@compiled
def hash_span(data: NDArray[np.uint8], start: int, length: int) -> np.uint64:
    """:func:`hash_bytes` of a text among others: quicker for short ones."""
    if length > WORD or start + WORD > len(data):
        return hash_bytes(data, start, start + length)
    # Always eight bytes: the compiler makes one load of it.
    word = np.uint64(0)
    begin = np.uint64(start)
    for k in range(WORD):
        word |= np.uint64(data[begin + np.uint64(k)]) << np.uint64(8 * k)
    if length == WORD:
        return _ended(_mixed(_begun(length), word), np.uint64(0))
    return _ended(_begun(length), word & ((np.uint64(1) << np.uint64(8 * length)) - np.uint64(1)))
