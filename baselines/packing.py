"""Whole numbers in as few bits as they need: how assignments and codes are stored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def bits_needed(counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """Bits that tell that many values apart, none for a single one.

    >>> bits_needed(np.array([1, 2, 3, 256, 257])).tolist()
    [0, 1, 2, 8, 9]
    """
    # frexp gives the length of a whole number in bits, without the rounding of a logarithm.
    lengths = np.frexp(np.maximum(counts, 1) - 1.0)[1]
    return np.asarray(lengths, dtype=np.int64)


def packed(codes: NDArray[np.integer], bits: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Numbers (n,) one after the other, the lowest bit first, each in its own ``bits`` (n,).

    >>> packed(np.array([5, 1]), np.array([3, 1])).tolist()
    [13]
    """
    flags = np.zeros(int(bits.sum()), dtype=np.bool_)
    starts = np.cumsum(bits) - bits
    for bit in range(int(bits.max(initial=0))):
        has = bits > bit
        flags[starts[has] + bit] = (codes[has] >> bit) & 1
    return np.packbits(flags, bitorder="little")


def unpacked(octets: NDArray[np.uint8], bits: NDArray[np.integer]) -> NDArray[np.int64]:
    """The numbers (n,) that :func:`packed` stored in ``bits`` (n,).

    >>> unpacked(np.array([13], dtype=np.uint8), np.array([3, 1])).tolist()
    [5, 1]
    """
    flags = np.unpackbits(octets, bitorder="little").astype(np.int64)
    starts = np.cumsum(bits) - bits
    codes = np.zeros(len(bits), dtype=np.int64)
    for bit in range(int(bits.max(initial=0))):
        has = bits > bit
        codes[has] |= flags[starts[has] + bit] << bit
    return codes
