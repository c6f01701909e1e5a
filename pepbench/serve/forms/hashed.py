"""Forms that find rows by hashing: whole rows, scaled rows, sums of rows, pieces of an array.

Everywhere ``cardinalities`` (F,) are the features n_i of each field and ``rows`` (F,) the hashed
rows m_i; field i has its rows behind those of the fields before it. The hash functions are those of
:mod:`pepbench.serve.hashing`.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from pepbench.serve.forms.form import Form, Parts, require
from pepbench.serve.hashing import fields_of, hashed, rows_of, signs
from pepbench.serve.numbers import Floats
from pepbench.serve.packing import Flags

MOST_ROWS = 2**31
"""Hashes have 31 bits."""


class _FieldRows:
    """Which hashed row a feature has, field i in rows of its own."""

    def __init__(self, parts: Parts, seed: int, modulo: bool = False) -> None:
        self.cardinalities = parts.array("cardinalities").astype(np.int64)
        self.rows = parts.array("rows").astype(np.int64)
        self.seed, self.modulo = seed, modulo
        require(len(self.cardinalities) == len(self.rows), "fields and their rows differ")
        require(self.n_rows < MOST_ROWS, "it has more rows than hashes tell apart")

    @property
    def n_features(self) -> int:
        return int(self.cardinalities.sum())

    @property
    def n_rows(self) -> int:
        return int(self.rows.sum())

    def of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return rows_of(ids, self.cardinalities, self.rows, self.seed, modulo=self.modulo)


def _hash_of(parts: Parts) -> _FieldRows:
    (seed,) = _constants(parts, "seed", 1)
    return _FieldRows(parts, seed, parts.word("function", "universal", "modulo") == "modulo")


def _constants(parts: Parts, name: str, count: int) -> list[int]:
    array = parts.array(name)
    require(len(array) == count, f"{name} has another length")
    return cast(list[int], array.tolist())


class HashedRowsForm(Form):
    """``table`` (Σ m_i, D), ``cardinalities``, ``rows``, ``seed`` (1,).

    Constant: ``function``, ``universal`` or ``modulo``. Vector x is one hashed row.
    """

    name = "hashed-rows"

    def __init__(self, parts: Parts) -> None:
        self._rows, self._table = _hash_of(parts), parts.number("table")
        self.n_features, self.dim = self._rows.n_features, self._table.shape[1]
        require(self._table.shape[0] == self._rows.n_rows, "the table has another number of rows")

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        return self._table.rows(self._rows.of(ids))


class ScaledRowsForm(Form):
    """As ``hashed-rows``, and ``own`` (N, 1 or 2): a weight for the row, and perhaps a bias.

    Vector x is weight · row + bias.
    """

    name = "scaled-rows"

    def __init__(self, parts: Parts) -> None:
        self._rows, self._table = _hash_of(parts), parts.number("table")
        self._own = parts.number("own")
        self.n_features, self.dim = self._rows.n_features, self._table.shape[1]
        require(self._table.shape[0] == self._rows.n_rows, "the table has another number of rows")
        require(self._own.shape[0] == self.n_features, "a feature has no number of its own")
        require(self._own.shape[1] in (1, 2), "features have more than two numbers of their own")

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        own = self._own.rows(ids)
        scaled = self._table.rows(self._rows.of(ids)) * own[:, :1]
        return scaled if own.shape[1] == 1 else scaled + own[:, 1:]


class SharedRowsForm(Form):
    """``table`` (R, D), ``owns`` (a bit a feature), ``cardinalities``.

    Own rows come first, by id; then one row for each field that has features without their own.
    """

    name = "shared-rows"

    def __init__(self, parts: Parts) -> None:
        self._table = parts.number("table")
        self._owns = Flags(parts.octets("owns"))
        self._cardinalities = parts.array("cardinalities").astype(np.int64)
        self.n_features, self.dim = int(self._cardinalities.sum()), self._table.shape[1]
        require(len(parts.octets("owns")) == -(-self.n_features // 8), "features and flags differ")
        ends = np.cumsum(self._cardinalities)
        owned = _set_before(self._owns, ends) - _set_before(self._owns, ends - self._cardinalities)
        shares = owned < self._cardinalities
        self._shared = self._owns.count + np.cumsum(shares) - shares
        n_rows = self._owns.count + int(shares.sum())
        require(self._table.shape[0] == n_rows, "the table has another number of rows")

    @property
    def index_bytes(self) -> int:
        """Memory of the running count of flags."""
        return self._owns.nbytes

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        shared = self._shared[fields_of(ids, self._cardinalities)]
        return self._table.rows(np.where(self._owns.at(ids), self._owns.before(ids), shared))


def _set_before(flags: Flags, bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Flags set before each bound, which may be the end: (n,) → (n,)."""
    counts = np.zeros(len(bounds), dtype=np.int64)
    counts[bounds > 0] = flags.before(bounds[bounds > 0] - 1) + flags.at(bounds[bounds > 0] - 1)
    return counts


class DoubleHashedForm(Form):
    """``table`` (R, D), ``owns`` (a bit a feature), ``cardinalities``, ``rows``, ``seed`` (1,).

    Own rows come first, by id; then the hashed ones by field. A feature without its own has two,
    by the hash functions 0 and 1; constant ``combine`` says whether they are added (``sum``) or
    give the first and second half of the columns (``concat``).
    """

    name = "double-hashed"

    def __init__(self, parts: Parts) -> None:
        self._table = parts.number("table")
        self._owns = Flags(parts.octets("owns"))
        (self._seed,) = _constants(parts, "seed", 1)
        self._rows = _FieldRows(parts, self._seed)
        self._concat = parts.word("combine", "sum", "concat") == "concat"
        self.n_features, self.dim = self._rows.n_features, self._table.shape[1]
        require(len(parts.octets("owns")) == -(-self.n_features // 8), "features and flags differ")
        n_rows = self._owns.count + self._rows.n_rows
        require(self._table.shape[0] == n_rows, "the table has another number of rows")
        self._starts = self._owns.count + np.cumsum(self._rows.rows) - self._rows.rows

    @property
    def index_bytes(self) -> int:
        """Memory of the running count of flags."""
        return self._owns.nbytes

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        field = fields_of(ids, self._rows.cardinalities)
        n_rows, starts = np.maximum(self._rows.rows, 1)[field], self._starts[field]
        owns, own = self._owns.at(ids), self._owns.before(ids)
        first, second = (
            self._table.rows(np.where(owns, own, starts + hashed(ids, n_rows, self._seed, j)))
            for j in range(2)
        )
        if self._concat:
            half = self.dim // 2
            return np.concatenate([first[:, :half], second[:, half:]], axis=1)
        return np.where(owns[:, None], first, first + second)


class HotRowsForm(Form):
    """``table`` (hot + Σ m_i, D), ``cardinalities``, ``rows``, ``constants`` (seed, hot rows).

    Features that own a row are told by ``hot``, their rising ids, or ``hot_bitmap``, a bit a
    feature; their rows come first, by id. All others have a hashed row each behind those.
    """

    name = "hot-rows"

    def __init__(self, parts: Parts) -> None:
        seed, self._n_hot = _constants(parts, "constants", 2)
        self._rows, self._table = _FieldRows(parts, seed), parts.number("table")
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

    @property
    def index_bytes(self) -> int:
        """Memory of the running count of flags."""
        return self._hot.nbytes if isinstance(self._hot, Flags) else 0

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        if isinstance(self._hot, Flags):
            is_hot, position = self._hot.at(ids), self._hot.before(ids)
        else:
            position = np.searchsorted(self._hot, ids)
            inside = np.minimum(position, max(len(self._hot) - 1, 0))
            found = self._hot[inside] if len(self._hot) else np.full(len(ids), -1)
            is_hot = found == ids
        shared = self._n_hot + self._rows.of(ids)
        return self._table.rows(np.where(is_hot, position, shared))


class PooledRowsForm(Form):
    """``pool`` (m, D), ``importance`` (K, k), ``constants`` (N, seed).

    Vector x is Σ_j p_j · pool[h_j(x)] for j = 1 … k, p the row h_0(x) of ``importance``, or row x
    where K = N.
    """

    name = "pooled-rows"

    def __init__(self, parts: Parts) -> None:
        self._pool, self._importance = parts.number("pool"), parts.number("importance")
        self.n_features, self._seed = _constants(parts, "constants", 2)
        self.dim = self._pool.shape[1]
        require(0 < self._pool.shape[0] < MOST_ROWS, "the pool is too large or empty")
        require(0 < self._importance.shape[0] < MOST_ROWS, "importances are too many or none")

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        n_weights, n_hashes = self._importance.shape
        own = n_weights == self.n_features
        weights = self._importance.rows(ids if own else hashed(ids, n_weights, self._seed))
        functions = range(1, n_hashes + 1)
        size = self._pool.shape[0]
        rows = np.stack([hashed(ids, size, self._seed, j) for j in functions], axis=1)
        vectors: Floats = (weights[:, :, None] * self._pool.rows(rows)).sum(axis=1)
        return vectors


class CircularArrayForm(Form):
    """``array`` (M,), ``constants`` (Z, D, seed): pieces of one array, some of them negated.

    Entry i of vector x is g(x, c) · array[(h(x, c) + i mod Z) mod M], c = ⌊i / Z⌋, where h and g
    are hash and sign, by the functions 0 and 1, of x·⌈D/Z⌉ + c.
    """

    name = "circular-array"

    def __init__(self, parts: Parts) -> None:
        self._array = parts.number("array", 1)
        self._chunk, self.dim, self._seed = _constants(parts, "constants", 3)
        require(0 < self._array.size < MOST_ROWS, "the array is too large or empty")
        require(self._chunk > 0, "chunks are empty")

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        size, n_chunks = self._array.size, -(-self.dim // self._chunk)
        chunks = ids[:, None] * n_chunks + np.arange(n_chunks)
        starts, factors = hashed(chunks, size, self._seed, 0), signs(chunks, self._seed, 1)
        # A column for each dimension: hashes are per chunk, of which the last may be cut off.
        chunk = np.arange(self.dim) // self._chunk
        floats = self._array.at((starts[:, chunk] + np.arange(self.dim) % self._chunk) % size)
        vectors: Floats = floats * factors[:, chunk].astype(floats.dtype)
        return vectors
