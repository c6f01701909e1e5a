"""Hash functions of feature ids.

The same for arrays and tensors, on any machine, in any process.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Ints = TypeVar("Ints", bound=Any)
"""An int64 array, or a tensor: of any shape."""
Reals = TypeVar("Reals", bound=Any)
"""An array of floats, or a tensor."""

_WORD = 1 << 64
_GOLDEN = 0x9E3779B97F4A7C15
_HASH_BITS = 31
MOST_ROWS = 2**_HASH_BITS
"""Rows that a hash can address."""
CODE_BITS = 24
"""Of a hash code that is the input of a network: as many as a 32-bit float holds."""


def scrambled(keys: Ints) -> Ints:
    """A fixed permutation of the 64-bit words: the output function of SplitMix64.

    Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.

    >>> scrambled(np.array([0])).tolist()
    [-2152535657050944081]
    """
    words: Ints = keys + _signed(_GOLDEN)
    words = (words ^ _shifted(words, 30)) * _signed(0xBF58476D1CE4E5B9)
    words = (words ^ _shifted(words, 27)) * _signed(0x94D049BB133111EB)
    words = words ^ _shifted(words, 31)
    return words


def hashed(keys: Ints, n_rows: int | Ints, seed: int, function: int = 0) -> Ints:
    """Multiply-shift hash of ``keys`` ≥ 0 to [0, n_rows).

    Dietzfelbinger, Hagerup, Katajainen, Penttonen, "A Reliable Randomized Algorithm for the
    Closest-Pair Problem", J. Algorithms 25, 1997: the upper bits of a·x with a random odd a, which
    collide for two keys with at most twice the probability of a random function. Keys are
    scrambled first. It keeps that bound, and two functions of consecutive ids, or one of
    consecutive chunks, are no longer multiples of each other.

    Parameters
    ----------
    keys
        Of any shape.
    n_rows
        Below 2³¹; one for all keys, or one for each.
    seed, function
        Which function: a method draws its functions 0, 1, … from one seed.
    """
    upper = _shifted(scrambled(keys) * multiplier(seed, function), 64 - _HASH_BITS)
    rows: Ints = (upper * n_rows) >> _HASH_BITS
    return rows


def signs(keys: Ints, seed: int, function: int = 0) -> Ints:
    """A hash of ``keys`` to −1 and 1."""
    bits: Any = hashed(keys, 2, seed, function)
    chosen: Ints = 1 - 2 * bits
    return chosen


def permuted(keys: NDArray[np.int64], n: int | NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """A pseudo-random permutation of {0, …, n − 1}, computed for ``keys`` below n.

    Four rounds of a Feistel network (Luby and Rackoff 1988) permute the numbers of so many bits as
    n needs; what falls outside is permuted again until it is inside (cycle walking: Black and
    Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002).

    Parameters
    ----------
    keys
        Of any shape.
    n
        One for all keys, or one for each.
    seed
        Which permutation.

    Examples
    --------
    >>> sorted(permuted(np.arange(5), 5, seed=1).tolist())
    [0, 1, 2, 3, 4]
    """
    n = np.broadcast_to(np.asarray(n, dtype=np.int64), keys.shape)
    # The number of bits of n - 1, halved upwards.
    half = np.maximum((np.frexp(n - 1)[1].astype(np.int64) + 1) // 2, 1)
    found, outside = keys.copy(), np.ones(keys.shape, dtype=np.bool_)
    while outside.any():
        bits = half[outside]
        left, right = found[outside] >> bits, found[outside] & ((1 << bits) - 1)
        for function in range(4):
            left, right = right, left ^ hashed(right, 1 << bits, seed, function)
        found[outside] = (left << bits) | right
        outside = found >= n
    return found


def multiplier(seed: int, function: int) -> int:
    """The odd 64-bit constant, as a signed number, that a hash function multiplies with."""
    mixed: NDArray[np.int64] = scrambled(np.array([seed]))
    word: NDArray[np.int64] = scrambled(mixed + function)
    return int(word[0]) | 1


def odd_multipliers(n_hashes: int, seed: int) -> NDArray[np.int64]:
    """The constants (K,) of K multiply-shift hashes."""
    return np.array([multiplier(seed, j) for j in range(n_hashes)], dtype=np.int64)


def code_words(ids: Ints, multipliers: Ints) -> Ints:
    """Signed codes of :data:`CODE_BITS` bits by multiply-shift hashing: (M,), (K,) → (M, K)."""
    codes: Ints = (scrambled(ids)[:, None] * multipliers) >> (64 - CODE_BITS)
    return codes


def box_muller(codes: Reals, library: Any) -> Reals:
    """Standard normal numbers (M, K) from uniform ones on (−1, 1), by pairs of halves.

    Box and Muller 1958. An odd last one stays uniform, with variance 1. ``library`` is numpy for
    arrays, torch for tensors.
    """
    half = codes.shape[1] // 2
    first, second, odd = codes[:, :half], codes[:, half : 2 * half], codes[:, 2 * half :]
    radius = library.sqrt(-2.0 * library.log((1.0 + first) / 2.0))
    angle = math.pi * second
    pairs = (radius * library.cos(angle), radius * library.sin(angle))
    normal: Reals = library.concatenate([*pairs, odd * math.sqrt(3.0)], axis=1)
    return normal


def _shifted(words: Ints, bits: int) -> Ints:
    # Without the sign, which >> of signed words would copy.
    shifted: Ints = (words >> bits) & ((1 << (64 - bits)) - 1)
    return shifted


def _signed(word: int) -> int:
    return word - _WORD if word >= _WORD // 2 else word
