"""A hash table from texts to codes, as compiled loops over plain arrays.

``slots`` (S, 2) uint64, S a power of two, holds for each code the text's key and, in one number,
its length (upper half) and the code counted from 1 (lower half); 0 is an empty slot. So most texts
are compared within one line of memory. ``arena`` holds all texts in the order of their codes,
``ends`` (most codes + 1,) where each begins, ``count`` (1,) how many there are. When there is no
room for a text, the loop stops, and the caller makes room.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pepbench.compiling import compiled

WORD = 8
"""Bytes of text in a key; texts of no more are their own key."""
PRIME = np.uint64(0x9FB21C651E98DF25)
"""Multiplier of the hashes."""
LENGTH = np.uint64(32)
"""Position of the length in a slot."""
CODE = np.uint64(0xFFFFFFFF)
EMPTY, ONE = np.uint64(0), np.uint64(1)


@compiled()
def _mixed(state: np.uint64, word: np.uint64) -> np.uint64:
    """The state after eight bytes more."""
    state = (state ^ word) * PRIME
    return state ^ (state >> np.uint64(29))


@compiled()
def _word(data: NDArray[np.uint8], start: int, length: int) -> np.uint64:
    """Up to eight bytes as a number, the first one lowest."""
    word = np.uint64(0)
    begin = np.uint64(start)
    for k in range(length):
        word |= np.uint64(data[begin + np.uint64(k)]) << np.uint64(8 * k)
    return word


@compiled()
def hash_bytes(data: NDArray[np.uint8], start: int, stop: int) -> np.uint64:
    """64-bit hash of ``data[start:stop]``: FNV-1a by words of eight bytes, then a final mix."""
    state = np.uint64(0xCBF29CE484222325) ^ np.uint64(stop - start)
    whole = stop - (stop - start) % WORD
    for at in range(start, whole, WORD):
        state = _mixed(state, _word(data, at, WORD))
    state = (state ^ _word(data, whole, stop - whole)) * PRIME
    return _mixed(state ^ (state >> np.uint64(32)), np.uint64(0))


@compiled()
def hash_each(data: NDArray[np.uint8], offsets: NDArray[np.int32], out: NDArray[np.uint64]) -> None:
    """:func:`hash_bytes` of the texts that begin at ``offsets`` (n + 1,), into ``out`` (n,)."""
    for i in range(len(out)):
        out[i] = hash_bytes(data, offsets[i], offsets[i + 1])


@compiled()
def key_of(data: NDArray[np.uint8], start: int, length: int) -> np.uint64:
    """A number for a text: its own bytes where they are at most eight, else their hash.

    Two texts of the same length, at most :data:`WORD`, are equal exactly if their keys are.
    """
    if length > WORD:
        return hash_bytes(data, start, start + length)
    return _word(data, start, length)


@compiled()
def scattered(key: np.uint64, length: int) -> np.uint64:
    """32 bits, evenly spread, from which the search for a text's slot starts."""
    mixed = key ^ np.uint64(length)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * PRIME
    return mixed >> np.uint64(32)


@compiled()
def _find(
    key: np.uint64,
    data: NDArray[np.uint8],
    start: int,
    length: int,
    slots: NDArray[np.uint64],
    ends: NDArray[np.int64],
    arena: NDArray[np.uint8],
) -> int:
    """Code of the text at ``start`` with this key; -1 if it is new."""
    mask = np.uint64(len(slots) - 1)
    slot = scattered(key, length) & mask
    while True:
        entry = slots[slot, 1]
        if entry == EMPTY:
            return -1
        if slots[slot, 0] == key and entry >> LENGTH == np.uint64(length):
            code = np.int64(entry & CODE) - 1
            same = True
            if length > WORD:
                at = ends[code]
                for k in range(length):
                    if arena[at + k] != data[start + k]:
                        same = False
                        break
            if same:
                return int(code)
        slot = (slot + ONE) & mask


@compiled()
def _put(slots: NDArray[np.uint64], key: np.uint64, entry: np.uint64) -> None:
    """Take the first empty slot."""
    mask = np.uint64(len(slots) - 1)
    slot = scattered(key, int(entry >> LENGTH)) & mask
    while slots[slot, 1] != EMPTY:
        slot = (slot + ONE) & mask
    slots[slot, 0] = key
    slots[slot, 1] = entry


@compiled()
def encode_indices(
    indices: NDArray[np.int32],
    data: NDArray[np.uint8],
    offsets: NDArray[np.int32],
    slots: NDArray[np.uint64],
    ends: NDArray[np.int64],
    arena: NDArray[np.uint8],
    count: NDArray[np.int64],
    codes: NDArray[np.int32],
    done: int,
    out: NDArray[np.int32],
) -> int:
    """Codes of a dictionary array's rows, (n,), from row ``done`` on.

    ``codes`` (entries,) begins as -1 everywhere. Returns the first row that there is no room for,
    else n.
    """
    # By row, not by entry of the dictionary: codes follow the first appearance in a row.
    for row in range(done, len(out)):
        entry = indices[row]
        if codes[entry] < 0:
            start = offsets[entry]
            length = offsets[entry + 1] - start
            key = key_of(data, start, length)
            code = _find(key, data, start, length, slots, ends, arena)
            if code < 0:
                code = count[0]
                at = ends[code]
                if code + 1 >= len(ends) or at + length > len(arena):
                    return row
                _put(slots, key, np.uint64(length) << LENGTH | np.uint64(code + 1))
                for k in range(length):
                    arena[at + k] = data[start + k]
                ends[code + 1] = at + length
                count[0] = code + 1
            codes[entry] = code
        out[row] = codes[entry]
    return len(out)


@compiled()
def refill(slots: NDArray[np.uint64], old: NDArray[np.uint64]) -> None:
    """Put all entries of ``old`` into empty, larger ``slots``."""
    for slot in range(len(old)):
        if old[slot, 1] != EMPTY:
            _put(slots, old[slot, 0], old[slot, 1])
