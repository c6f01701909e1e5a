"""Where the rows of a feature are: the addresses that training and serving compute alike.

Global ids are (…) or (M,); F is the number of fields, N that of features. Marked fields are what a
file stores (:mod:`pepbench.serve.parts`). Long because every address has its one definition here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pepbench.serve.hashing import MOST_ROWS, Ints, hashed, permuted, signs
from pepbench.serve.packing import Flags
from pepbench.serve.parts import Parts, StoredFields, constant, index, part, require


def fields_of(ids: NDArray[np.integer], cardinalities: NDArray[np.integer]) -> NDArray[np.int64]:
    """The field of each global id.

    >>> fields_of(np.array([0, 2, 3]), np.array([3, 2])).tolist()
    [0, 0, 1]
    """
    found: NDArray[np.int64] = np.searchsorted(np.cumsum(cardinalities), ids, side="right")
    return found.astype(np.int64)


def starts_of(sizes: NDArray[np.integer]) -> NDArray[np.int64]:
    """The first of each run of ``sizes`` (n,), one behind the other: (n,).

    >>> starts_of(np.array([3, 2, 4])).tolist()
    [0, 3, 5]
    """
    wide = sizes.astype(np.int64)
    starts: NDArray[np.int64] = np.cumsum(wide, axis=0) - wide
    return starts


@dataclass(frozen=True, eq=False)
class FieldRows(StoredFields):
    """One hashed row for each feature, in one table for all fields.

    Field i has its m_i rows behind those of the fields before it. A field with as many rows as
    features is not hashed.
    """

    cardinalities: NDArray[np.integer] = field(metadata=index())
    """Shape (F,): features n_i of each field."""
    rows: NDArray[np.integer] = field(metadata=index())
    """Shape (F,): its rows m_i ≤ n_i."""
    seed: int = field(metadata=index())
    function: str = "universal"
    """``"universal"``, or ``"modulo"``: the remainder of the global id by m_i."""

    @classmethod
    def read(cls, parts: Parts, seed: int, function: str = "universal") -> FieldRows:
        """The rows that a file describes, checked."""
        cardinalities = parts.array("cardinalities").astype(np.int64)
        found = cls(cardinalities, parts.array("rows").astype(np.int64), seed, function)
        require(len(found.cardinalities) == len(found.rows), "fields and their rows differ")
        require(found.n_rows < MOST_ROWS, "it has more rows than hashes tell apart")
        return found

    @property
    def n_features(self) -> int:
        """N."""
        return int(self.cardinalities.sum())

    @property
    def n_rows(self) -> int:
        """Σ m_i."""
        return int(self.rows.sum())

    def rows_of(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """Rows of global ids of any shape."""
        of_id, keys = fields_of(ids, self.cardinalities), np.asarray(ids, dtype=np.int64)
        n_rows = self.rows.astype(np.int64)[of_id]
        within = keys % n_rows
        if self.function == "universal":
            is_whole = (self.rows == self.cardinalities)[of_id]
            within = np.where(is_whole, within, hashed(keys, n_rows, self.seed))
        return np.asarray(starts_of(self.rows)[of_id] + within)


@dataclass(frozen=True, eq=False)
class OwnRows(StoredFields):
    """A row of its own for some features; these rows come first, by id."""

    owns: NDArray[np.uint8] = field(metadata=index())
    """Shape (⌈N/8⌉,): a packed bit for each feature, set where it has its own row."""

    @cached_property
    def flags(self) -> Flags:
        """Which features have a row of their own."""
        return Flags(self.owns)


@dataclass(frozen=True, eq=False)
class OwnOrHashedRows(OwnRows):
    """Own rows for some features, and behind them two hashed rows for each other feature."""

    hashed: FieldRows = field(metadata=part())

    @property
    def n_features(self) -> int:
        """N."""
        return self.hashed.n_features

    @property
    def n_rows(self) -> int:
        """Own and hashed ones."""
        return self.flags.count + self.hashed.n_rows

    def rows_of(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """Two rows of each global id, by the hash functions 0 and 1: (…) → (…, 2).

        Twice the same for a feature with its own.
        """
        keys, fields = np.asarray(ids, dtype=np.int64), self.hashed
        owns, own = self.flags.at(keys), self.flags.before(keys)
        of_id = fields_of(keys, fields.cardinalities)
        # In a field without rows all features own one.
        n_rows = np.maximum(fields.rows, 1).astype(np.int64)[of_id]
        start = self.flags.count + starts_of(fields.rows)[of_id]
        columns = [
            np.where(owns, own, start + hashed(keys, n_rows, fields.seed, j)) for j in range(2)
        ]
        return np.stack(columns, axis=-1)


@dataclass(frozen=True, eq=False)
class OwnOrSharedRows(OwnRows):
    """Own rows for some features, and behind them one row for the others of each field."""

    cardinalities: NDArray[np.integer] = field(metadata=index())
    """Shape (F,)."""

    @property
    def n_features(self) -> int:
        """N."""
        return int(self.cardinalities.sum())

    @cached_property
    def _n_shared(self) -> NDArray[np.int64]:
        """Shape (F + 1,): shared rows of the fields before each, and of all."""
        ends = np.cumsum(np.append(0, self.cardinalities), dtype=np.int64)
        owned = np.zeros(len(ends), dtype=np.int64)
        last = ends[ends > 0] - 1
        owned[ends > 0] = self.flags.before(last) + self.flags.at(last)
        return np.cumsum(np.append(0, np.diff(owned) < self.cardinalities), dtype=np.int64)

    @property
    def n_rows(self) -> int:
        """Own and shared ones."""
        return self.flags.count + int(self._n_shared[-1])

    def rows_of(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """The row of each global id: (…) → (…).

        >>> rows = OwnOrSharedRows(np.packbits([False, True, False, True]), np.array([3, 1]))
        >>> rows.rows_of(np.arange(4)).tolist()
        [2, 0, 2, 1]
        """
        keys = np.asarray(ids, dtype=np.int64)
        shared = self.flags.count + self._n_shared[fields_of(keys, self.cardinalities)]
        return np.where(self.flags.at(keys), self.flags.before(keys), shared)


def block_lengths(cardinalities: NDArray[np.integer], block: int) -> NDArray[np.int64]:
    """Features in each block, ``block`` but in the last of a field: (F,) → (Σ ⌈n_i / block⌉,).

    >>> block_lengths(np.array([5, 2]), 2).tolist()
    [2, 2, 1, 2]
    """
    n_blocks = -(-cardinalities.astype(np.int64) // block)
    before = np.arange(int(n_blocks.sum())) - np.repeat(starts_of(n_blocks), n_blocks)
    return np.minimum(block, np.repeat(cardinalities, n_blocks) - block * before)


def block_codes(
    ids: NDArray[np.integer], cardinalities: NDArray[np.integer], block: int, seed: int
) -> NDArray[np.int64]:
    """Codes of global ids within their fields: (…) → (…); permuted where they decide on blocks."""
    if block > 1:
        return permuted_codes(ids, cardinalities, seed)
    return np.asarray(ids - starts_of(cardinalities)[fields_of(ids, cardinalities)])


@dataclass(frozen=True, eq=False)
class BlockRows(StoredFields):
    """The row of each feature where blocks of features have theirs, some the same."""

    cardinalities: NDArray[np.integer] = field(metadata=index())
    """Shape (F,)."""
    first: NDArray[np.integer]
    """Shape (Σ ⌈n_i / block⌉,): the first row of each block."""
    block: int = field(metadata=constant())
    """Features of a field in a block; the last of a field may have fewer."""
    seed: int = field(metadata=index())
    """Of a random order of each field's features, in which neighbours are in a block."""

    def rows_of(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """The row of each global id: (…) → (…).

        >>> rows = BlockRows(np.array([3, 2]), np.array([0, 1, 0, 2, 0]), 1, seed=3)
        >>> rows.rows_of(np.arange(5)).tolist()
        [0, 1, 0, 2, 0]
        """
        of_id = fields_of(ids, self.cardinalities)
        code = block_codes(ids, self.cardinalities, self.block, self.seed)
        blocks = starts_of(-(-self.cardinalities.astype(np.int64) // self.block))[of_id]
        return np.asarray(self.first[blocks + code // self.block] + code % self.block)


@dataclass(frozen=True, eq=False)
class PoolHashes(StoredFields):
    """k hashed rows of one pool, and one row of importances, for each of N features."""

    n_features: int = field(metadata=index("constants"))
    """N."""
    seed: int = field(metadata=index("constants"))
    n_pool: int
    """m."""
    n_weights: int
    """K; with K = N each feature has its own row of importances."""
    n_hashes: int
    """k."""

    def weights_of(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """h_0: the row of importances of each global id, of any shape."""
        keys = np.asarray(ids, dtype=np.int64)
        own = self.n_weights == self.n_features
        return keys if own else hashed(keys, self.n_weights, self.seed)

    def rows_of(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """h_1, …, h_k: the rows of the pool of each global id, (…) → (…, k)."""
        keys = np.asarray(ids, dtype=np.int64)
        functions = range(1, self.n_hashes + 1)
        return np.stack([hashed(keys, self.n_pool, self.seed, j) for j in functions], axis=-1)


@dataclass(frozen=True, eq=False)
class ChunkAddresses(StoredFields):
    """Where the chunks of a vector are in a circular array, and their signs."""

    n_floats: int
    """M."""
    chunk: int = field(metadata=index("constants"))
    """Z."""
    dim: int = field(metadata=index("constants"))
    """D."""
    seed: int = field(metadata=index("constants"))

    def of(self, ids: Ints, arange: Callable[[int], Ints]) -> tuple[Ints, Ints]:
        """Addresses of entries and signs of chunks of global ids: (M,) → (M, D), (M, ⌈D/Z⌉).

        Chunk c of feature x starts where x·⌈D/Z⌉ + c is hashed to by function 0, and has its sign
        by function 1; entry i is in chunk ⌊i / Z⌋. ``arange`` is numpy's, or torch's.
        """
        n_chunks = -(-self.dim // self.chunk)
        chunks = ids[:, None] * n_chunks + arange(n_chunks)
        starts = hashed(chunks, self.n_floats, self.seed, 0)
        addresses = (starts[:, :, None] + arange(self.chunk)) % self.n_floats
        # The last chunk may be too long.
        entries: Ints = addresses.reshape(len(ids), n_chunks * self.chunk)[:, : self.dim]
        return entries, signs(chunks, self.seed, 1)


@dataclass(frozen=True, eq=False)
class Positions(StoredFields):
    """A place for each feature among all, in random order but field by field."""

    cardinalities: NDArray[np.integer] = field(metadata=index())
    """Shape (F,)."""
    seed: int = field(metadata=index())

    @property
    def n_features(self) -> int:
        """N."""
        return int(self.cardinalities.sum())

    def of(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """Places of global ids, a permutation of {0, …, N − 1}: (…) → (…)."""
        order = np.argsort(permuted(np.arange(len(self.cardinalities)), MOST_ROWS, self.seed))
        starts = np.empty(len(order), dtype=np.int64)
        starts[order] = starts_of(self.cardinalities[order])
        of_id = fields_of(ids, self.cardinalities)
        return np.asarray(starts[of_id] + permuted_codes(ids, self.cardinalities, self.seed))


@dataclass(frozen=True, eq=False)
class TwoRows(StoredFields):
    """A row in each of two tables P and Q, by the place y of a feature; no two have the same pair.

    >>> rows = TwoRows(Positions(np.array([6, 4]), seed=0), buckets=4)
    >>> len(np.unique(rows.rows_of(np.arange(10)), axis=0)), rows.n_rows
    (10, (4, 4))
    """

    positions: Positions = field(metadata=part())
    buckets: int = field(metadata=constant())
    """b: the rows of P; at least √N."""

    @property
    def run(self) -> int:
        """⌈N/b⌉: how many features with neighbouring places share a row of Q; at most b."""
        return -(-self.positions.n_features // self.buckets)

    @property
    def n_rows(self) -> tuple[int, int]:
        """Rows of P and of Q that features use."""
        return self.buckets, -(-self.positions.n_features // self.run)

    def rows_of(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """Rows y mod b of P and ⌊y / ⌈N/b⌉⌋ of Q: (…) → (…, 2)."""
        places = self.positions.of(ids)
        return np.stack([places % self.buckets, places // self.run], axis=-1)


def permuted_codes(
    ids: NDArray[np.integer], cardinalities: NDArray[np.integer], seed: int
) -> NDArray[np.int64]:
    """Codes of global ids within their fields, in a random order: (…) → (…)."""
    of_id = fields_of(ids, cardinalities)
    codes = np.asarray(ids, dtype=np.int64) - starts_of(cardinalities)[of_id]
    return permuted(codes, cardinalities.astype(np.int64)[of_id], seed)


@dataclass(frozen=True, eq=False)
class Partition(StoredFields):
    """k rows for each feature, one in each of k tables: the digits of its code in mixed radix.

    Codes are permuted first, so that nothing depends on how features are numbered.
    """

    cardinalities: NDArray[np.integer] = field(metadata=index())
    """Shape (F,)."""
    seed: int = field(metadata=index())
    """Of the permutation."""
    radices: NDArray[np.integer] = field(metadata=index())
    """Shape (F, k): m_i, then those of the quotient; m_i = n_i where nothing is compressed."""
    combine: str = field(metadata=constant())
    """What becomes of the rows. With ``"concat"``, uncompressed fields have a piece of their
    vectors in each table, else all in the first."""

    @cached_property
    def whole(self) -> NDArray[np.bool_]:
        """Shape (F,): which fields are not compressed."""
        return np.asarray(self.radices[:, 0] == self.cardinalities)

    @cached_property
    def n_rows(self) -> NDArray[np.int64]:
        """Shape (F, k): rows of each field in each table."""
        rows = self.radices.astype(np.int64)
        pieces = self.cardinalities[self.whole, None] if self.combine == "concat" else 0
        rows[self.whole, 1:] = pieces
        return rows

    def rows_of(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """Rows in the k tables: (…) → (…, k); 0 where a table holds nothing of the feature."""
        of_id = fields_of(ids, self.cardinalities)
        code = permuted_codes(ids, self.cardinalities, self.seed)
        whole, starts = self.whole[of_id], starts_of(self.n_rows)[of_id]
        rest, columns = code, []
        for j, radix in enumerate(self.radices.astype(np.int64).T):
            rest, digit = np.divmod(rest, radix[of_id])
            row = starts[..., j] + digit
            if j:
                of_whole = starts[..., j] + code if self.combine == "concat" else 0
                row = np.where(whole, of_whole, row)
            columns.append(row)
        return np.stack(columns, axis=-1)


@dataclass(frozen=True, eq=False)
class Codebooks(StoredFields):
    """Assigned rows of each field, and its helper rows, which are hashed; behind each other."""

    cardinalities: NDArray[np.integer] = field(metadata=index())
    """Shape (F,)."""
    assigned: NDArray[np.int64] = field(metadata=index("rows"))
    """Shape (F,): k_i."""
    helpers: NDArray[np.int64] = field(metadata=index("rows"))
    """Shape (F,): k_i, or 0 for a field without, which is not clustered."""
    pieces: int = field(metadata=constant())
    """c: a vector is composed of so many pieces."""
    seed: int

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Shape (F,): a field's first assigned row; its helpers follow them."""
        return starts_of(self.assigned + self.helpers)

    def helper_rows(self, ids: NDArray[np.integer], n_clusterings: int) -> NDArray[np.int64]:
        """Helper rows of global ids after so many clusterings: (M,) → (M, c)."""
        # Where there are none, row 0 stands in, and is multiplied by zero.
        firsts = np.where(self.helpers > 0, self.starts + self.assigned, 0)
        first = firsts[fields_of(ids, self.cardinalities)]
        return np.asarray(first[:, None] + self.hashes(ids, self.helpers, 2 * n_clusterings))

    def rows_without_helpers(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """Assigned rows of features of fields without helpers, from 0 in each: (M,) → (M, c).

        A feature has a row of its own. Where there are fewer, features share them evenly, others in
        each piece.
        """
        of_id, keys = fields_of(ids, self.cardinalities), np.asarray(ids, dtype=np.int64)
        codes = keys - starts_of(self.cardinalities)[of_id]
        rows = np.repeat(codes[:, None], self.pieces, axis=1)
        share = np.flatnonzero(((self.helpers == 0) & (self.assigned < self.cardinalities))[of_id])
        for piece in range(self.pieces):
            permuted_code = permuted_codes(keys[share], self.cardinalities, self.seed + piece)
            rows[share, piece] = permuted_code % self.assigned[of_id[share]]
        return rows

    def hashes(
        self, ids: NDArray[np.integer], sizes: NDArray[np.int64], function: int
    ) -> NDArray[np.int64]:
        """C hashes of global ids to the ``sizes`` (F,) of their fields: (M,) → (M, c).

        The c functions are those from ``function`` · c.
        """
        size, keys = sizes[fields_of(ids, self.cardinalities)], np.asarray(ids, dtype=np.int64)
        functions = (function * self.pieces + piece for piece in range(self.pieces))
        return np.stack([hashed(keys, size, self.seed, j) for j in functions], axis=1)
