"""Forms that keep rows: dense, mixed widths, sums of two masked ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pepbench.serve.addresses import BlockRows, Positions, TwoRows, block_lengths
from pepbench.serve.forms.form import Form
from pepbench.serve.forms.masked import MaskedForm
from pepbench.serve.numbers import Floats
from pepbench.serve.packing import bits_needed, unpacked
from pepbench.serve.parts import Parts, require


class DenseForm(Form):
    """``table`` (N, D): vector x is row x."""

    name = "dense"
    distinct = False

    def __init__(self, parts: Parts) -> None:
        self._table = parts.number("table")
        self.n_features, self.dim = self._table.shape

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        return self._table.rows(ids)


class MixedForm(Form):
    """Blocks of features, each with rows of a width of its own.

    ``table_k`` (n_k, d_k) holds the rows of block k in the order of their features' ids,
    ``projection_k`` (d_k, D) brings them to width D; without one they are filled up with zeros.
    ``block_sizes`` (K,) says that blocks follow each other; otherwise ``block_of_feature`` (N,) has
    the block of each feature, or ``block_codes`` has it in ⌈log₂ K⌉ bits a feature.
    """

    name = "mixed"

    def __init__(self, parts: Parts) -> None:
        self.dim = parts.count("dim", 2**16)
        self._tables = parts.numbered("table")
        n_blocks = len(self._tables)
        self._projections = [
            parts.numbers[name].whole() if (name := f"projection_{k}") in parts.numbers else None
            for k in range(n_blocks)
        ]
        require(n_blocks > 0, "it has no blocks")
        for table, projection in zip(self._tables, self._projections, strict=True):
            require(len(table.shape) == 2 and table.shape[1] <= self.dim, "a block is too wide")
            fits = projection is None or projection.shape == (table.shape[1], self.dim)
            require(fits, "a projection has another shape")
        sizes = np.array([table.shape[0] for table in self._tables])
        self.n_features: int = int(sizes.sum())
        self._starts = np.cumsum(sizes) - sizes
        self._block: NDArray[np.integer] | None = None
        self._row: NDArray[np.integer] | None = None
        if "block_sizes" in parts.structure:
            require(np.array_equal(parts.array("block_sizes"), sizes), "block sizes differ")
        else:
            self._block = self._blocks_of(parts, n_blocks)
            counts = np.bincount(self._block, minlength=n_blocks)
            require(np.array_equal(counts, sizes), "blocks have other sizes")
            self._row = ranks_in_blocks(self._block)

    def _blocks_of(self, parts: Parts, n_blocks: int) -> NDArray[np.integer]:
        """The block of each feature: (N,)."""
        if "block_codes" not in parts.structure:
            return parts.array("block_of_feature")
        octets = parts.octets("block_codes")
        bits = np.broadcast_to(bits_needed(np.array([n_blocks])), self.n_features)
        require(
            len(octets) == -(-int(bits.sum()) // 8), "the numbers of blocks have another length"
        )
        return unpacked(octets, bits).astype(np.min_scalar_type(n_blocks))

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        if self._block is None or self._row is None:
            block = np.searchsorted(self._starts, ids, side="right") - 1
            rows = ids - self._starts[block]
        else:
            block, rows = self._block[ids].astype(np.int64), self._row[ids].astype(np.int64)
        pieces = []
        for k, (table, projection) in enumerate(zip(self._tables, self._projections, strict=True)):
            here = slice(None) if len(self._tables) == 1 else np.flatnonzero(block == k)
            narrow = table.rows(rows[here])
            pieces.append((here, narrow if projection is None else narrow @ projection))
        vectors = np.zeros((len(ids), self.dim), dtype=pieces[0][1].dtype)
        for here, wide in pieces:
            vectors[here, : wide.shape[1]] = wide
        return vectors


def ranks_in_blocks(block_of_feature: NDArray[np.integer]) -> NDArray[np.uint32]:
    """The rank of each feature among those of its block, by id: (N,) → (N,).

    >>> ranks_in_blocks(np.array([0, 1, 0, 1])).tolist()
    [0, 0, 1, 1]
    """
    order = np.argsort(block_of_feature, kind="stable")
    sizes = np.bincount(block_of_feature)
    ranks = np.empty(len(order), dtype=np.uint32)
    ranks[order] = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return ranks


class SummedForm(Form):
    """Two masked tables: the vector at place y is row y mod b of P plus row ⌊y / ⌈N/b⌉⌋ of Q.

    All parts of P have names that begin with ``p_``, those of Q with ``q_``. ``cardinalities`` (F,)
    and ``seed`` give places (:class:`pepbench.serve.addresses.Positions`). Constant: ``buckets``
    (b).
    """

    name = "summed"

    def __init__(self, parts: Parts) -> None:
        cardinalities = parts.array("cardinalities").astype(np.int64)
        (seed,) = parts.integers("seed", 1)
        self._rows = TwoRows(Positions(cardinalities, seed), parts.count("buckets"))
        self.n_features = self._rows.positions.n_features
        self._p, self._q = MaskedForm(parts.below("p_")), MaskedForm(parts.below("q_"))
        self.dim = self._p.dim
        require(self._rows.buckets > 0 and self.n_features > 0, "it has no rows")
        sizes = self._p.n_features, self._q.n_features
        require(sizes == self._rows.n_rows, "P or Q has another number of rows")

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        in_p, in_q = self._rows.rows_of(ids).T
        vectors = self._p.vectors(in_p)
        vectors += self._q.vectors(in_q)
        return vectors


class BlockRowsForm(Form):
    """``table`` (R, D), ``cardinalities``, ``first`` (packed), ``seed``: blocks, some the same.

    Constant ``block``: so many features of a field are a block, the last of a field may have fewer.
    They are neighbours in a random order, that of the codes permuted by ``seed``; blocks of one
    feature are in the order of codes. ``first`` has the row of a block's first feature in ⌈log₂ R⌉
    bits, the lowest first; those of the others follow it.
    """

    name = "block-rows"

    def __init__(self, parts: Parts) -> None:
        self._table, block = parts.number("table"), parts.count("block", 2**32)
        cardinalities = parts.array("cardinalities").astype(np.int64)
        self.n_features, (n_rows, self.dim) = int(cardinalities.sum()), self._table.shape
        require(block > 0, "blocks are empty")
        (seed,) = parts.integers("seed", 1)
        lengths, octets = block_lengths(cardinalities, block), parts.octets("first")
        bits = np.full(len(lengths), bits_needed(np.array([n_rows]))[0])
        require(len(octets) == -(-int(bits.sum()) // 8), "first rows are missing")
        first = unpacked(octets, bits).astype(np.uint32)
        require(bool(np.all(first + lengths <= n_rows)), "a block has no rows")
        self._rows = BlockRows(cardinalities, first, block, seed)

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        return self._table.rows(self._rows.rows_of(ids))
