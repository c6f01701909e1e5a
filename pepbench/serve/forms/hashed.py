"""Forms that find rows by hashing: whole rows, scaled rows, sums of rows, pieces of an array.

Everywhere ``cardinalities`` (F,) are the features n_i of each field and ``rows`` (F,) the hashed
rows m_i; field i has its rows behind those of the fields before it. The hash functions are those of
:mod:`pepbench.serve.hashing`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pepbench.serve.addresses import (
    ChunkAddresses,
    FieldRows,
    OwnOrHashedRows,
    OwnOrSharedRows,
    PoolHashes,
)
from pepbench.serve.forms.form import Form
from pepbench.serve.hashing import MOST_ROWS
from pepbench.serve.numbers import Floats
from pepbench.serve.packing import Flags
from pepbench.serve.parts import Parts, require


class HashedRowsForm(Form):
    """``table`` (Σ m_i, D), ``cardinalities``, ``rows``, ``seed`` (1,).

    Constant: ``function``, ``universal`` or ``modulo``. Vector x is one hashed row.
    """

    name = "hashed-rows"

    def __init__(self, parts: Parts) -> None:
        (seed,) = parts.integers("seed", 1)
        self._rows = FieldRows.read(parts, seed, parts.word("function", "universal", "modulo"))
        self._table = parts.number("table")
        self.n_features, self.dim = self._rows.n_features, self._table.shape[1]
        require(self._table.shape[0] == self._rows.n_rows, "the table has another number of rows")

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        return self._table.rows(self._rows.rows_of(ids))


class ScaledRowsForm(HashedRowsForm):
    """As ``hashed-rows``, and ``own`` (N, 1 or 2): a weight for the row, and perhaps a bias.

    Vector x is weight · row + bias.
    """

    name = "scaled-rows"

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._own = parts.number("own")
        require(self._own.shape[0] == self.n_features, "a feature has no number of its own")
        require(self._own.shape[1] in (1, 2), "features have more than two numbers of their own")

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        own = self._own.rows(ids)
        scaled = super().vectors(ids) * own[:, :1]
        return scaled if own.shape[1] == 1 else scaled + own[:, 1:]


class _OwnRowsForm(Form):
    """Rows of their own for some features; the others find theirs behind these."""

    def __init__(self, parts: Parts, rows: OwnOrSharedRows | OwnOrHashedRows) -> None:
        self._rows, self._table = rows, parts.number("table")
        self.n_features, self.dim = rows.n_features, self._table.shape[1]
        require(len(rows.owns) == -(-rows.n_features // 8), "features and flags differ")
        require(self._table.shape[0] == rows.n_rows, "the table has another number of rows")


class SharedRowsForm(_OwnRowsForm):
    """``table`` (R, D), ``owns`` (a bit a feature), ``cardinalities``.

    Own rows come first, by id; then one row for each field that has features without their own.
    """

    name = "shared-rows"

    def __init__(self, parts: Parts) -> None:
        cardinalities = parts.array("cardinalities").astype(np.int64)
        super().__init__(parts, OwnOrSharedRows(parts.octets("owns"), cardinalities))

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        return self._table.rows(self._rows.rows_of(ids))


class DoubleHashedForm(_OwnRowsForm):
    """``table`` (R, D), ``owns`` (a bit a feature), ``cardinalities``, ``rows``, ``seed`` (1,).

    Own rows come first, by id; then the hashed ones by field. A feature without its own has two,
    by the hash functions 0 and 1; constant ``combine`` says whether they are added (``sum``), give
    the first and second half of the columns (``concat``), or only the first counts (``first``).
    """

    name = "double-hashed"

    def __init__(self, parts: Parts) -> None:
        (seed,) = parts.integers("seed", 1)
        rows = FieldRows.read(parts, seed)
        super().__init__(parts, OwnOrHashedRows(parts.octets("owns"), rows))
        self._combine = parts.word("combine", "sum", "concat", "first")

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        rows = self._rows.rows_of(ids)
        first = self._table.rows(rows[:, 0])
        if self._combine == "first":
            return first
        second = self._table.rows(rows[:, 1])
        if self._combine == "concat":
            half = self.dim // 2
            return np.concatenate([first[:, :half], second[:, half:]], axis=1)
        return np.where(self._rows.flags.at(ids)[:, None], first, first + second)


class HotRowsForm(Form):
    """``table`` (hot + Σ m_i, D), ``cardinalities``, ``rows``, ``constants`` (seed, hot rows).

    Features that own a row are in ``hot``, their rising ids, or in ``hot_bitmap``, a bit per
    feature; their rows come first, by id. All others have a hashed row each behind those.
    """

    name = "hot-rows"

    def __init__(self, parts: Parts) -> None:
        seed, self._n_hot = parts.integers("constants", 2)
        self._rows, self._table = FieldRows.read(parts, seed), parts.number("table")
        self.n_features, self.dim = self._rows.n_features, self._table.shape[1]
        self._hot: NDArray[np.integer] | Flags
        if "hot" in parts.structure:
            self._hot = parts.array("hot")
            require(bool(np.all(np.diff(self._hot.astype(np.int64)) > 0)), "hot ids do not rise")
            n_owned = len(self._hot)
        else:
            self._hot = Flags(parts.octets("hot_bitmap"))
            bits = len(parts.octets("hot_bitmap"))
            require(bits == -(-self.n_features // 8), "features and flags differ")
            n_owned = self._hot.count
        n_rows = self._n_hot + self._rows.n_rows
        require(n_owned <= self._n_hot, "there are more hot features than rows for them")
        require(self._table.shape[0] == n_rows, "the table has another number of rows")

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        if isinstance(self._hot, Flags):
            is_hot, position = self._hot.at(ids), self._hot.before(ids)
        else:
            position = np.searchsorted(self._hot, ids)
            inside = np.minimum(position, max(len(self._hot) - 1, 0))
            found = self._hot[inside] if len(self._hot) else np.full(len(ids), -1)
            is_hot = found == ids
        shared = self._n_hot + self._rows.rows_of(ids)
        return self._table.rows(np.where(is_hot, position, shared))


class PooledRowsForm(Form):
    """``pool`` (m, D), ``importance`` (K, k), ``constants`` (N, seed).

    Vector x is Σ_j p_j · pool[h_j(x)] for j = 1 … k, p the row h_0(x) of ``importance``, or row x
    where K = N.
    """

    name = "pooled-rows"

    def __init__(self, parts: Parts) -> None:
        self._pool, self._importance = parts.number("pool"), parts.number("importance")
        self.n_features, seed = parts.integers("constants", 2)
        n_pool, self.dim = self._pool.shape
        require(0 < n_pool < MOST_ROWS, "the pool is too large or empty")
        n_weights, n_hashes = self._importance.shape
        require(0 < n_weights < MOST_ROWS, "importances are too many or none")
        self._hashes = PoolHashes(self.n_features, seed, n_pool, n_weights, n_hashes)

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        weights = self._importance.rows(self._hashes.weights_of(ids))
        rows = self._pool.rows(self._hashes.rows_of(ids))
        vectors: Floats = (weights[:, :, None] * rows).sum(axis=1)
        return vectors


class MultiplexedRowsForm(Form):
    """``table`` (m, D/c), ``constants`` (N, seed), and the constant ``lookups`` (c).

    Piece j of vector x, for j = 1 … c, is row h_j(x).
    """

    name = "multiplexed-rows"

    def __init__(self, parts: Parts) -> None:
        self._table, lookups = parts.number("table"), parts.count("lookups", 2**16)
        self.n_features, seed = parts.integers("constants", 2)
        n_rows, width = self._table.shape
        require(0 < n_rows < MOST_ROWS, "the table is too large or empty")
        require(lookups > 0, "vectors have no pieces")
        self.dim = lookups * width
        self._hashes = PoolHashes(self.n_features, seed, n_rows, 0, lookups)

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        return self._table.rows(self._hashes.rows_of(ids).ravel()).reshape(len(ids), self.dim)


class CircularArrayForm(Form):
    """``array`` (M,), ``constants`` (Z, D, seed): pieces of one array, some of them negated.

    Entry i of vector x is g(x, c) · array[(h(x, c) + i mod Z) mod M], c = ⌊i / Z⌋, where h and g
    are hash and sign, by the functions 0 and 1, of x·⌈D/Z⌉ + c.
    """

    name = "circular-array"

    def __init__(self, parts: Parts) -> None:
        self._array = parts.number("array", 1)
        chunk, self.dim, seed = parts.integers("constants", 3)
        require(0 < self._array.size < MOST_ROWS, "the array is too large or empty")
        require(chunk > 0, "chunks are empty")
        self._addresses = ChunkAddresses(self._array.size, chunk, self.dim, seed)

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        addresses, signs = self._addresses.of(ids, np.arange)
        floats = self._array.at(addresses)
        of_entry = np.repeat(signs.astype(floats.dtype), self._addresses.chunk, axis=1)
        vectors: Floats = floats * of_entry[:, : self.dim]
        return vectors
