"""Hash functions of feature ids, and how rows are shared out among fields.

Shared by every method that hashes. Functions take whole numbers as int64 arrays or tensors of any
shape, and give the same numbers for both, on any machine, in any process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ints = TypeVar("Ints", Tensor, NDArray[np.int64])

_WORD = 1 << 64
_GOLDEN = 0x9E3779B97F4A7C15
_HASH_BITS = 31


def scrambled(keys: Ints) -> Ints:
    """A fixed permutation of the 64-bit words: the output function of SplitMix64.

    Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.

    >>> scrambled(np.array([0])).tolist()
    [-2152535657050944081]
    """
    words = keys + _signed(_GOLDEN)
    words = (words ^ _shifted(words, 30)) * _signed(0xBF58476D1CE4E5B9)
    words = (words ^ _shifted(words, 27)) * _signed(0x94D049BB133111EB)
    return words ^ _shifted(words, 31)


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
    return (upper * n_rows) >> _HASH_BITS


def signs(keys: Ints, seed: int, function: int = 0) -> Ints:
    """A hash of ``keys`` to −1 and 1."""
    return 1 - 2 * hashed(keys, 2, seed, function)


def multiplier(seed: int, function: int) -> int:
    """The odd 64-bit constant, as a signed number, that a hash function multiplies with."""
    word = scrambled(scrambled(np.array([seed])) + function)
    return int(word[0]) | 1


def fields_of(ids: NDArray[np.integer], cardinalities: NDArray[np.integer]) -> NDArray[np.int64]:
    """The field of each global id.

    >>> fields_of(np.array([0, 2, 3]), np.array([3, 2])).tolist()
    [0, 0, 1]
    """
    found: NDArray[np.int64] = np.searchsorted(np.cumsum(cardinalities), ids, side="right")
    return found.astype(np.int64)


def rows_of(
    ids: NDArray[np.integer],
    cardinalities: NDArray[np.integer],
    rows: NDArray[np.integer],
    seed: int,
    function: int = 0,
    modulo: bool = False,
) -> NDArray[np.int64]:
    """The row of each global id in one table for all fields, field i in rows of its own.

    A field with a row for each feature is not hashed.

    Parameters
    ----------
    ids
        Global ids of any shape.
    cardinalities, rows
        Shape (F,): features n_i and rows m_i ≤ n_i of each field.
    seed, function
        Which hash function.
    modulo
        The remainder of the global id by m_i instead of a hash.
    """
    field = fields_of(ids, cardinalities)
    n_rows = rows.astype(np.int64)
    starts = np.cumsum(n_rows) - n_rows
    plain = np.asarray(ids, dtype=np.int64)
    within = plain % n_rows[field]
    if not modulo:
        whole = (n_rows == cardinalities)[field]
        within = np.where(whole, within, hashed(plain, n_rows[field], seed, function))
    result: NDArray[np.int64] = starts[field] + within
    return result


def proportional_rows(sizes: NDArray[np.integer], total: int) -> NDArray[np.int64]:
    """Rows m_i ∝ ``sizes`` that sum to ``total``, each between 1 and its size.

    Where the size is 0 there are none. ``total`` is at least the number of positive sizes; what
    exceeds the sum of the sizes is left over.

    >>> proportional_rows(np.array([100, 10, 1]), 12).tolist()
    [10, 1, 1]
    """
    least = np.minimum(sizes, 1)
    total = min(total, int(sizes.sum()))

    def rows_at(share: float) -> NDArray[np.int64]:
        rows: NDArray[np.int64] = np.maximum(np.floor(sizes * share).astype(np.int64), least)
        return rows

    low, high = 0.0, 1.0
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (middle, high) if rows_at(middle).sum() <= total else (low, middle)
    rows = rows_at(high) if rows_at(high).sum() <= total else rows_at(low)
    # At most one row a field is missing: to those whose next row is nearest.
    while (missing := total - int(rows.sum())) > 0:
        remainders = np.where(rows < sizes, sizes * high - rows, -np.inf)
        rows[np.argsort(-remainders, kind="stable")[:missing]] += 1
        rows = np.minimum(rows, sizes)
    return rows.astype(np.int64)


def distinct_features(ids: Tensor, n_features: int) -> tuple[Tensor, Tensor]:
    """The distinct ids of a batch (M,), and the batch in terms of them (B, F).

    Vectors that take work to compose are composed once for each feature of a batch. With 20,480
    lookups of 2,500 features that makes a step two to four times as fast.
    """
    if ids.device.type != "cpu":
        unique, local = torch.unique(ids, return_inverse=True)
        return unique, local
    flat = ids.reshape(-1).numpy()
    places = np.arange(len(flat))
    # Each feature's last place stands for it: no sorting, and no table to clear.
    last_place = np.empty(n_features, dtype=np.int64)
    last_place[flat] = places
    last = last_place[flat]
    is_last = last == places
    numbers = (np.cumsum(is_last) - 1)[last]
    return torch.from_numpy(flat[is_last]), torch.from_numpy(numbers).view(ids.shape)


def _shifted(words: Ints, bits: int) -> Ints:
    # Without the sign, which >> of signed words would copy.
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    return word - _WORD if word >= _WORD // 2 else word


@dataclass(frozen=True, eq=False)
class HashConstants:
    """All that must be known to find the row of a feature."""

    cardinalities: NDArray[np.integer]
    """Shape (F,)."""
    rows: NDArray[np.integer]
    """Shape (F,): m_i."""
    seed: int
    modulo: bool

    def rows_of(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """Rows of global ids of any shape."""
        return rows_of(ids, self.cardinalities, self.rows, self.seed, modulo=self.modulo)
