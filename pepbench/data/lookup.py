"""A hash table from texts to codes, as compiled loops over plain arrays.

``slots`` (S, 2) uint64, S a power of two, holds for each code the text's key and, in one number,
its length (upper half) and the code counted from 1 (lower half); 0 is an empty slot. So most texts
are told from one another by one line of memory. ``arena`` holds all texts in the order of their
codes, ``ends`` (most codes + 1,) where each begins, ``count`` (1,) how many there are. Where there
is no room for a text, work stops, and the caller makes some.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pepbench.data.text import WORD, compiled, key_of, scattered
from pepbench.tables.prefetch import prefetch

GROUP = 32
"""Texts looked up at a time."""
SLOT_BYTES = np.uintp(16)
LENGTH = np.uint64(32)
"""Where the length begins."""
CODE = np.uint64(0xFFFFFFFF)
EMPTY, ONE = np.uint64(0), np.uint64(1)


@compiled
def _find(
    key: np.uint64,
    data: NDArray[np.uint8],
    start: int,
    length: int,
    slots: NDArray[np.uint64],
    ends: NDArray[np.int64],
    arena: NDArray[np.uint8],
) -> int:
    """Code of the text at ``start`` whose key is ``key``; -1 if it is new."""
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


@compiled
def _put(slots: NDArray[np.uint64], key: np.uint64, entry: np.uint64) -> None:
    """Take the first empty slot."""
    mask = np.uint64(len(slots) - 1)
    slot = scattered(key, int(entry >> LENGTH)) & mask
    while slots[slot, 1] != EMPTY:
        slot = (slot + ONE) & mask
    slots[slot, 0] = key
    slots[slot, 1] = entry


@compiled
def _add(
    key: np.uint64,
    data: NDArray[np.uint8],
    start: int,
    length: int,
    slots: NDArray[np.uint64],
    ends: NDArray[np.int64],
    arena: NDArray[np.uint8],
    count: NDArray[np.int64],
) -> int:
    """The code of a new text."""
    code = count[0]
    _put(slots, key, np.uint64(length) << LENGTH | np.uint64(code + 1))
    at = ends[code]
    for k in range(length):
        arena[at + k] = data[start + k]
    ends[code + 1] = at + length
    count[0] = code + 1
    return int(code)


@compiled
def _is_room(
    length: int,
    ends: NDArray[np.int64],
    arena: NDArray[np.uint8],
    count: NDArray[np.int64],
) -> bool:
    return bool(count[0] + 1 < len(ends) and ends[count[0]] + length <= len(arena))


@compiled
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
                if not _is_room(length, ends, arena, count):
                    return row
                code = _add(key, data, start, length, slots, ends, arena, count)
            codes[entry] = code
        out[row] = codes[entry]
    return len(out)


@compiled
def encode_spans(
    data: NDArray[np.uint8],
    starts: NDArray[np.int32],
    stops: NDArray[np.int32],
    keys: NDArray[np.uint64],
    slots: NDArray[np.uint64],
    ends: NDArray[np.int64],
    arena: NDArray[np.uint8],
    count: NDArray[np.int64],
    done: int,
    out: NDArray[np.int32],
) -> int:
    """Codes of the texts from ``starts`` to one before ``stops``, (n,), from row ``done`` on.

    Returns the first row that there is no room for, else n.
    """
    mask = np.uint64(len(slots) - 1)
    for first in range(done, len(out), GROUP):
        after = min(first + GROUP, len(out))
        # Slots lie scattered over memory: all of a group are asked for before one is needed.
        for row in range(first, after):
            slot = np.uintp(scattered(keys[row], stops[row] - 1 - starts[row]) & mask)
            prefetch(np.uintp(slots.ctypes.data) + SLOT_BYTES * slot)  # type: ignore[call-arg]
        for row in range(first, after):
            key, start = keys[row], starts[row]
            length = stops[row] - 1 - start
            code = _find(key, data, start, length, slots, ends, arena)
            if code < 0:
                if not _is_room(length, ends, arena, count):
                    return row
                code = _add(key, data, start, length, slots, ends, arena, count)
            out[row] = code
    return len(out)


@compiled
def refill(slots: NDArray[np.uint64], old: NDArray[np.uint64]) -> None:
    """Put all entries of ``old`` into empty, larger ``slots``."""
    for slot in range(len(old)):
        if old[slot, 1] != EMPTY:
            _put(slots, old[slot, 0], old[slot, 1])
