"""Packed integers, each in as few bits as it needs, and bit flags with a running count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ONES = np.array([bin(octet).count("1") for octet in range(256)], dtype=np.uint8)


def bits_needed(counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """Bits that encode so many values, none for a single one.

    >>> bits_needed(np.array([1, 2, 3, 256, 257])).tolist()
    [0, 1, 2, 8, 9]
    """
    # frexp gives the length of an integer in bits, without the rounding of a logarithm.
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
    return unpacked_at(octets, np.cumsum(bits) - bits, bits)


def unpacked_at(
    octets: NDArray[np.uint8], starts: NDArray[np.integer], bits: NDArray[np.integer]
) -> NDArray[np.int64]:
    """The numbers that begin at bit ``starts`` and take ``bits`` each, 56 at most: (…) → (…).

    >>> unpacked_at(np.array([13], dtype=np.uint8), np.array([3]), np.array([1])).tolist()
    [1]
    """
    words = np.zeros(np.shape(starts), dtype=np.int64)
    if not len(octets):
        return words
    first = np.asarray(starts, dtype=np.int64) >> 3
    last = len(octets) - 1
    for k in range((int(np.max(bits, initial=0)) + 14) // 8):
        # What lies beyond the end belongs to no number: its bits are cut off below.
        words |= octets[np.minimum(first + k, last)].astype(np.int64) << (8 * k)
    mask = (np.int64(1) << np.asarray(bits, dtype=np.int64)) - 1
    return (words >> (np.asarray(starts, dtype=np.int64) & 7)) & mask


class Flags:
    """One bit a feature, as ``numpy.packbits`` stores them, with their running count.

    Parameters
    ----------
    octets
        Shape (⌈N/8⌉,): the flags of N features, the first one in the highest bit.

    Examples
    --------
    >>> flags = Flags(np.packbits(np.array([True, False, True])))
    >>> flags.at(np.array([0, 1, 2])).tolist(), flags.before(np.array([0, 1, 2])).tolist()
    ([True, False, True], [0, 1, 1])
    """

    def __init__(self, octets: NDArray[np.uint8]) -> None:
        self._octets = octets
        # Counts of four bytes wherever they suffice: this is memory that serving pays for.
        count_type = np.uint32 if 8 * len(octets) < 2**32 else np.uint64
        self._before = np.zeros(len(octets) + 1, dtype=count_type)
        np.cumsum(_ONES[octets], out=self._before[1:])

    @property
    def count(self) -> int:
        """How many are set."""
        return int(self._before[-1])

    def at(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the flags of features are set: (…) → (…)."""
        bits = (self._octets[ids >> 3] >> (7 - (ids & 7)).astype(np.uint8)) & 1
        return np.asarray(bits, dtype=np.bool_)

    def before(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many features of a lower id are set: (…) → (…)."""
        octet = ids >> 3
        left = self._octets[octet].astype(np.uint16) >> (8 - (ids & 7)).astype(np.uint16)
        counts: NDArray[np.int64] = self._before[octet].astype(np.int64) + _ONES[left]
        return counts


def ones_in_rows(octets: NDArray[np.uint8], n_rows: int, width: int) -> NDArray[np.int64]:
    """How many bits are set in each row of a packed bitmap (n_rows, width): (n_rows,).

    >>> ones_in_rows(np.packbits(np.array([1, 0, 1, 1, 1, 0])), 2, 3).tolist()
    [2, 2]
    """
    flags = Flags(octets)
    bounds = np.arange(n_rows + 1, dtype=np.int64) * width
    ends = np.full(n_rows + 1, flags.count, dtype=np.int64)
    inside = bounds < 8 * len(octets)
    ends[inside] = flags.before(bounds[inside])
    return np.diff(ends)
