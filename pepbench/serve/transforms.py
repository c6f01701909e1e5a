"""Transforms: what raw values of a column become before they are looked up.

Needs numpy only: training and :mod:`pepbench.serve` transform alike.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

ValueTransform = Literal["log"] | int
"""``log``: whole numbers become buckets, see :func:`bucket`. A number: values are hashed into so
many, see :func:`text_hash`."""

LARGEST_COUNT = 2**53
"""Largest number in a column of counts, in size."""
_PRIME, _WORD = 0x9FB21C651E98DF25, 2**64 - 1


def bucket(count: int) -> str:
    """⌊(ln v)²⌋ of a count v > 2, else v itself after ``SP``.

    >>> bucket(-2), bucket(2), bucket(3)
    ('SP-2', 'SP2', '1')
    """
    return f"SP{count}" if count <= 2 else str(squared_logs(np.array([count]))[0])


def squared_logs(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """⌊(ln v)²⌋ of counts v, those below 1 as 1: (n,) → (n,)."""
    logs: NDArray[np.float64] = np.log(np.maximum(counts, 1))
    return np.floor(logs**2).astype(np.int64)


def text_hash(content: bytes) -> int:
    """64-bit hash of a text in UTF-8: FNV-1a by words of eight bytes, then a final mix.

    >>> text_hash("Köln".encode()) % 1000
    453
    """
    state = 0xCBF29CE484222325 ^ len(content)
    whole = len(content) - len(content) % 8
    for start in range(0, whole, 8):
        state = _mixed(state ^ int.from_bytes(content[start : start + 8], "little"), 29)
    state = _mixed(state ^ int.from_bytes(content[whole:], "little"), 32)
    return _mixed(state, 29)


def _mixed(state: int, shift: int) -> int:
    state = state * _PRIME & _WORD
    return state ^ state >> shift
