"""Forms that compose a vector: from quotients and codes, tensor trains, or a network."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pepbench.serve.addresses import Codebooks, Partition, Positions, fields_of, starts_of
from pepbench.serve.forms.form import Form
from pepbench.serve.hashing import CODE_BITS, box_muller, code_words, odd_multipliers
from pepbench.serve.numbers import Floats
from pepbench.serve.packing import Flags, bits_needed, unpacked_at
from pepbench.serve.parts import Parts, require


class ComposedRowsForm(Form):
    """``table_j`` (R_j, d_j), ``cardinalities`` (F,), ``radices`` (F, k), ``seed``.

    The code within the field, permuted by ``seed`` (:func:`pepbench.serve.hashing.permuted`) and
    then written in mixed radix, gives one row of each table; field i has its rows
    behind those of the fields before it. Constant ``combine`` says how they are combined: ``mult``,
    ``add`` or ``concat``. A field whose first radix is n_i has whole vectors in table 0, or with
    ``concat`` a piece in each.
    """

    name = "composed-rows"

    def __init__(self, parts: Parts) -> None:
        self._tables = parts.numbered("table")
        self._combine = parts.word("combine", "mult", "add", "concat")
        cardinalities = parts.array("cardinalities").astype(np.int64)
        radices = parts.array("radices").astype(np.int64)
        self.n_features = int(cardinalities.sum())
        require(radices.ndim == 2 and len(radices) == len(cardinalities), "radices differ")
        require(bool(np.all(radices > 0)), "a radix is 0")
        require(all(len(table.shape) == 2 for table in self._tables), "a table has no rows")
        require(0 < len(self._tables) <= radices.shape[1], "tables and radices differ")
        (seed,) = parts.integers("seed", 1)
        self._partition = Partition(cardinalities, seed, radices, self._combine)
        sizes = self._partition.n_rows.sum(axis=0)[: len(self._tables)].tolist()
        require([t.shape[0] for t in self._tables] == sizes, "a table has another number of rows")
        widths = [table.shape[1] for table in self._tables]
        self.dim = sum(widths) if self._combine == "concat" else widths[0]
        same = self._combine == "concat" or len(set(widths)) == 1
        require(same, "tables have different widths")

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        rows = self._partition.rows_of(ids).T
        pieces = [table.rows(of_table) for table, of_table in zip(self._tables, rows, strict=False)]
        if self._combine == "concat":
            return np.concatenate(pieces, axis=1)
        vectors = pieces[0]
        whole = self._partition.whole[fields_of(ids, self._partition.cardinalities)]
        for piece in pieces[1:]:
            other = vectors * piece if self._combine == "mult" else vectors + piece
            vectors = np.where(whole[:, None], vectors, other)
        return vectors


class CodedForm(Form):
    """``centroids`` (Σ K_i, D), ``codes`` (packed), ``heads`` (a bit a feature), ``sizes`` (3, F).

    The rows of ``sizes`` are n_i, K_i, and the number of centroids that tail features choose from.
    Constant ``groups`` (S): a vector has S pieces of D/S columns, each from the centroid that its
    code names among those of its field. Codes stand feature after feature, piece after piece, in as
    few bits as the feature's choices need, the lowest bit first. A field with K_i = n_i has none:
    its codes are its features, in order. ``heads`` is empty where the last two rows agree.
    """

    name = "coded"

    def __init__(self, parts: Parts) -> None:
        self._centroids = parts.number("centroids")
        self._codes, heads = parts.octets("codes"), parts.octets("heads")
        sizes = parts.array("sizes").astype(np.int64)
        require(sizes.ndim == 2 and len(sizes) == 3, "sizes have another shape")
        self._cardinalities, counts, tails = sizes
        self._groups, self.dim = parts.count("groups", 2**16), self._centroids.shape[1]
        self.n_features = int(self._cardinalities.sum())
        require(self._groups > 0 and self.dim % self._groups == 0, "pieces do not fill a vector")
        require(self._centroids.shape[0] == counts.sum(), "centroids are missing")
        octets = -(-self.n_features // 8)
        if not len(heads) and (counts == tails).all():
            heads = np.zeros(octets, np.uint8)
        require(len(heads) == octets, "features and flags differ")
        self._heads = Flags(heads)
        self._first_row, self._whole = starts_of(counts), counts == self._cardinalities
        self._head_bits, self._tail_bits = (
            np.where(self._whole, 0, bits_needed(choices)) for choices in (counts, tails)
        )
        self._first_id = starts_of(self._cardinalities)
        # A field without features, which has no flag to look at, has no heads before it to count.
        inside = np.minimum(self._first_id, max(self.n_features - 1, 0))
        self._heads_before = self._heads.before(inside)
        of_field = np.diff(np.append(self._heads_before, self._heads.count))
        bits = of_field * self._head_bits + (self._cardinalities - of_field) * self._tail_bits
        bits *= self._groups
        self._first_bit = starts_of(bits)
        require(len(self._codes) == -(-int(bits.sum()) // 8), "codes are missing")

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        field = fields_of(ids, self._cardinalities)
        heads = self._heads.before(ids) - self._heads_before[field]
        tails = ids - self._first_id[field] - heads
        head_bits, tail_bits = self._head_bits[field], self._tail_bits[field]
        bits = np.where(self._heads.at(ids), head_bits, tail_bits)[:, None]
        pieces = np.arange(self._groups)
        before = (heads * head_bits + tails * tail_bits) * self._groups
        starts = np.add(self._first_bit[field], before)[:, None] + pieces * bits
        within = (ids - self._first_id[field])[:, None]
        codes = np.where(self._whole[field, None], within, unpacked_at(self._codes, starts, bits))
        return self._centroids.pieces(self._first_row[field, None] + codes)


class ClusteredForm(Form):
    """``table`` (R, D), ``assigned`` (packed), ``cardinalities`` (F,), ``rows`` (2, F).

    ``constants`` holds the seed and t, the number of clusterings. The rows of ``rows`` are a
    field's assigned rows k_i and helpers, 0 or k_i; in ``table`` they stand field after field, the
    assigned ones first. Constant ``pieces`` (c): a vector has c pieces of D/c columns. In a field
    with helpers, piece j is that of the row that its code names, plus that of helper row h(x), by
    hash function 2·t·c + j; its codes stand feature after feature, in as few bits as k_i needs. In
    a field without helpers, a feature has a row of its own if k_i = n_i; else piece j is that of
    row p mod k_i, where p is its code permuted by the seed plus j.
    """

    name = "clustered"

    def __init__(self, parts: Parts) -> None:
        self._table, self._assigned = parts.number("table"), parts.octets("assigned")
        cardinalities = parts.array("cardinalities").astype(np.int64)
        rows, pieces = parts.array("rows").astype(np.int64), parts.count("pieces", 2**16)
        seed, self._n_clusterings = parts.integers("constants", 2)
        self.n_features, self.dim = int(cardinalities.sum()), self._table.shape[1]
        require(rows.shape == (2, len(cardinalities)), "sizes have another shape")
        require(pieces > 0 and self.dim % pieces == 0, "pieces do not fill a vector")
        require(self._table.shape[0] == rows.sum(), "rows are missing")
        assigned, helpers = rows
        self._books = Codebooks(cardinalities, assigned, helpers, pieces, seed)
        has_helpers = helpers > 0
        require(bool(((assigned > 0) | (cardinalities == 0)).all()), "a field has no rows")
        self._first_id = starts_of(cardinalities)
        self._bits = np.where(has_helpers, bits_needed(assigned), 0)
        bits = cardinalities * self._bits * pieces
        self._first_bit = starts_of(bits)
        require(len(self._assigned) == -(-int(bits.sum()) // 8), "assignments are missing")

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        books = self._books
        field, pieces = fields_of(ids, books.cardinalities), np.arange(books.pieces)
        within, bits = ids - self._first_id[field], self._bits[field, None]
        starts = self._first_bit[field, None] + (within[:, None] * books.pieces + pieces) * bits
        has_helper = (books.helpers[field] > 0)[:, None]
        alone = books.rows_without_helpers(ids)
        codes = np.where(has_helper, unpacked_at(self._assigned, starts, bits), alone)
        own = self._table.pieces(books.starts[field, None] + codes)
        helping = self._table.pieces(books.helper_rows(ids, self._n_clusterings))
        vectors: Floats = own + helping * has_helper.astype(own.dtype)
        return vectors


class TensorTrainForm(Form):
    """``first`` (n₁, d₁·R₁), ``middle`` (n₂, R₁·d₂·R₂), ``last`` (n₃, R₂·d₃).

    Constants: ``d1``, ``d2``, ``d3``, ``r1``, ``r2``. ``cardinalities`` (F,) and ``seed`` give each
    id a place x (:class:`pepbench.serve.addresses.Positions`). With x = (i₁·n₂ + i₂)·n₃ + i₃, its
    vector is the product first[i₁] (d₁ × R₁) · middle[i₂] (R₁ × d₂R₂), read as (d₁d₂ × R₂), times
    last[i₃] (R₂ × d₃).
    """

    name = "tensor-train"

    def __init__(self, parts: Parts) -> None:
        self._first, self._middle = parts.number("first"), parts.number("middle")
        self._last = parts.number("last")
        names = ("d1", "d2", "d3", "r1", "r2")
        self._sizes = d1, d2, d3, r1, r2 = tuple(parts.count(name, 2**16) for name in names)
        self.dim = math.prod((d1, d2, d3))
        cores = (self._first, self._middle, self._last)
        widths = [core.shape[1] for core in cores]
        require(widths == [d1 * r1, r1 * d2 * r2, r2 * d3], "a core has another shape")
        (seed,) = parts.integers("seed", 1)
        self._positions = Positions(parts.array("cardinalities").astype(np.int64), seed)
        places = math.prod(core.shape[0] for core in cores)
        require(self._positions.n_features <= places, "features are missing")

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        d1, d2, d3, r1, r2 = self._sizes
        heads, i3 = np.divmod(self._positions.of(ids), self._last.shape[0])
        # One product for each pair (i₁, i₂), with slices of the middle core multiplied once each.
        pairs, pair_of_id = np.unique(heads, return_inverse=True)
        i1, i2 = np.divmod(pairs, self._middle.shape[0])
        firsts = self._first.rows(i1).reshape(-1, d1, r1)
        lefts = np.empty((len(pairs), d1, d2 * r2), dtype=firsts.dtype)
        order = np.argsort(i2, kind="stable")
        slices, begins = np.unique(i2[order], return_index=True)
        middles = self._middle.rows(slices).reshape(-1, r1, d2 * r2)
        for middle, here in zip(middles, np.split(order, begins[1:]), strict=True):
            lefts[here] = (firsts[here].reshape(-1, r1) @ middle).reshape(-1, d1, d2 * r2)
        lasts = self._last.rows(i3).reshape(-1, r2, d3)
        vectors = lefts.reshape(-1, d1 * d2, r2)[pair_of_id] @ lasts
        return vectors.reshape(len(ids), self.dim)


class HashNetworkForm(Form):
    """``weight_l`` and ``bias_l``, ``constants`` (seed, 1 for Gaussian codes or 0 for uniform).

    The K codes of x are the upper 24 bits, as signed whole numbers, of scrambled(x) · a_j, plus ½,
    over 2²³; Gaussian ones are made of them by Box and Muller's transform, of pairs (first half,
    second half), an odd last one times √3. Then h ← mish(W h + b) for all layers, but the last one
    without mish.
    """

    name = "hash-network"

    def __init__(self, parts: Parts) -> None:
        self._weights = [numbers.whole() for numbers in parts.numbered("weight")]
        self._biases = [numbers.whole() for numbers in parts.numbered("bias")]
        seed, gaussian = parts.integers("constants", 2)
        require(len(self._weights) > 0, "it has no layers")
        sizes = [bias.shape for bias in self._biases]
        require(sizes == [weight.shape[:1] for weight in self._weights], "layers do not fit")
        inputs = [weight.shape[1:] for weight in self._weights[1:]]
        require(inputs == sizes[:-1], "layers do not fit together")
        self.dim = len(self._biases[-1])
        self._gaussian = bool(gaussian)
        self._multipliers = odd_multipliers(self._weights[0].shape[1], seed)

    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""
        hidden = hash_codes(ids, self._multipliers, self._gaussian, self._weights[0].dtype)
        for weight, bias in zip(self._weights[:-1], self._biases[:-1], strict=True):
            hidden = mish(hidden @ weight.T + bias)
        vectors: Floats = hidden @ self._weights[-1].T + self._biases[-1]
        return vectors


def hash_codes(
    ids: NDArray[np.int64],
    multipliers: NDArray[np.int64],
    gaussian: bool,
    dtype: np.dtype[np.floating],
) -> Floats:
    """Codes of ids, uniform on (−1, 1) or standard normal: (M,) → (M, K)."""
    # The upper bits with their sign: whole numbers from −2²³ to 2²³ − 1.
    words = code_words(ids, multipliers)
    codes: Floats = (words.astype(dtype) + dtype.type(0.5)) / dtype.type(2 ** (CODE_BITS - 1))
    return box_muller(codes, np) if gaussian else codes


def mish(x: Floats) -> Floats:
    """Of Misra 2019: x · tanh(log(1 + eˣ))."""
    activated: Floats = x * np.tanh(np.logaddexp(x, x.dtype.type(0)))
    return activated
