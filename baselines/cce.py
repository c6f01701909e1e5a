"""Hashed codebooks; k-means on the learnt vectors replaces the hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor, nn

from pepbench.method import (
    Between,
    ComposedVectors,
    Fields,
    Fitted,
    Layout,
    Method,
    OneOf,
    Task,
    lookup,
    to_numpy,
    xavier_uniform,
)
from pepbench.serve.addresses import Codebooks, fields_of
from pepbench.serve.packing import bits_needed, packed
from pepbench.tables.layout import Floats, part, trained

from .hashing import HashSeed, capped_rows, drawn_seed, largest_divisor


@dataclass(frozen=True)
class ClusteredCompositional(Method):
    """Clustered compositional embeddings (CCE): between epochs, k-means re-assigns the rows.

    Tsang, Ahle, "Clustering the Sketch: Dynamic Compression for Embedding Tables", NeurIPS 2023,
    arXiv 2210.05974. The D columns are cut into c pieces. A piece of x's vector is the sum of two
    code rows, one assigned and one hashed (the helper)::

        v_p(x) = M_p[a_p(x)] + M'_p[h_p(x)],   p = 1, …, c,   M_p, M'_p of k rows of width D / c

    At first a_p is random. After an epoch, the vectors v_p(x) of all features are clustered by
    k-means: M_p becomes the centroids, a_p the nearest one, h_p a new hash, and M'_p = 0, or with
    ``helpers="residual"`` the mean of what the new centroids lack of the vectors of the features
    that share the row. Features that have become similar share a row from then on, and helpers let
    them differ again. It stops
    after ``clusterings`` epochs, and the rest of the training is undisturbed. The count is 2 k D in
    all; the a_p of all features cost ⌈log₂ k⌉ bits each. The knob is k.

    Where we differ: every field has k_i rows of both kinds and is clustered by itself, as each
    table is in the paper. 2 k_i = min(n_i, c), and a field of at most c features has a row for each
    instead. A field of two or three rows has no helpers and is not clustered: one row of each kind
    would give all its features one vector. Features share its rows evenly, others in each piece.
    k-means takes ``iterations`` of Lloyd from random vectors as centroids; a cluster that
    runs empty keeps its centroid. The released code leaves k-means to faiss, 100 iterations on 200
    features for each centroid; its helpers restart at residuals, which are our default, too. Adam's
    moments of a row survive its new meaning. A clustering reads
    the vectors of one piece of one field at a time: n_i D / c numbers, once an epoch. It is the
    expensive part and timed as a phase of its own: about 6 s for 100,000 features and 60 s for a
    million, at a tenth of D = 16.
    """

    name = "cce"
    family = "hashing"
    own_training = "clusters features anew between epochs"
    year = 2023
    version = 4

    n_pieces: Annotated[
        int, Between(1, 64, tuned=False), "c, at most; the largest divisor of D not above it"
    ] = 4
    clusterings: Annotated[
        int, Between(1, 10, allow=(0, 1000)), "epochs after which k-means re-assigns"
    ] = 6
    iterations: Annotated[
        int, Between(1, 1000, tuned=False), "of Lloyd's algorithm, in each k-means"
    ] = 10
    helpers: Annotated[
        str,
        OneOf("residual", "zero", tuned=False),
        "where helper rows restart after a clustering: at the mean residual (code), at 0 (paper)",
    ] = "residual"
    hash_seed: HashSeed = -1

    def embedding(self, fields: Fields, dim: int, budget: int) -> ClusteredTable:
        """Codebooks within ``budget``; infeasible below two rows per field."""
        cardinalities = np.asarray(fields.cardinalities)
        least = int(np.minimum(cardinalities, 2).sum()) * dim
        self.refuse_below(least, budget, "two rows a field")
        pieces = largest_divisor(dim, self.n_pieces)
        seed = drawn_seed(self.hash_seed)
        assigned, helpers = code_rows(cardinalities, budget // dim, seed)
        codebooks = Codebooks(cardinalities, assigned, helpers, pieces, seed)
        return ClusteredTable(codebooks, dim)

    def fit(self, task: Task, budget: int) -> Fitted:
        """Train, and re-assign after each of the first epochs."""
        embedding = self.embedding(task.fields, task.dim, budget)

        def after_epoch(epoch: int) -> None:
            if epoch <= self.clusterings:
                with task.phase("clustering"):
                    embedding.cluster(task.rng, self.iterations, self.helpers == "residual")

        fitted = task.train(task.model(embedding), after_epoch=after_epoch)
        fitted = fitted.with_notes(clusterings=int(embedding.round))
        return fitted.with_budget_note(task, budget)


def code_rows(
    cardinalities: NDArray[np.integer], n_rows: int, tie_seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Assigned and helper rows of each field, ``n_rows`` in all at most.

    A field that could have as many rows as features has one for each, and no helpers; nor has a
    field of less than four rows.

    >>> code_rows(np.array([40, 10, 1]), 15, 0)
    (array([4, 3, 1]), array([4, 3, 0]))
    >>> code_rows(np.array([40, 10, 1]), 6, 0)
    (array([3, 2, 1]), array([0, 0, 0]))
    """
    rows = capped_rows(cardinalities, n_rows, tie_seed, step=2)
    alone = (rows == cardinalities) | (rows < 4)
    return np.where(alone, rows, rows // 2), np.where(alone, 0, rows // 2)


def random_rows(books: Codebooks) -> NDArray[np.int64]:
    """Assigned rows of all features before any clustering: (N, c)."""
    ids = np.arange(int(books.cardinalities.sum()))
    of_id = fields_of(ids, books.cardinalities)
    alone = (books.helpers[of_id] == 0)[:, None]
    rows = np.where(alone, books.rows_without_helpers(ids), books.hashes(ids, books.assigned, 1))
    return np.asarray(books.starts[of_id, None] + rows)


class ClusteredTable(ComposedVectors):
    """Assigned and helper rows in one table, by field; see :class:`ClusteredCompositional`.

    Parameters
    ----------
    codebooks
        Sizes, and hashes.
    dim
        D.
    """

    rows: Tensor
    """Shape (N, 2, c): assigned and helper row of each piece."""
    has_helper: Tensor
    """Shape (N, 1): 1 or 0."""
    round: Tensor
    """How many clusterings there were: which hash is in use."""
    unused_budget = "assigned and helper rows come in pairs"

    def __init__(self, codebooks: Codebooks, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.codebooks = codebooks
        self.n_features = n_features = int(codebooks.cardinalities.sum())
        ids = np.arange(n_features)
        rows = np.stack([random_rows(codebooks), codebooks.helper_rows(ids, 0)], axis=1)
        has_helper = np.repeat(codebooks.helpers > 0, codebooks.cardinalities)
        self.register_buffer("rows", torch.from_numpy(rows))
        self.register_buffer("round", torch.tensor(0))
        self.register_buffer(
            "has_helper",
            torch.from_numpy(has_helper[:, None]).to(torch.get_default_dtype()),
            persistent=False,
        )
        n_rows = codebooks.assigned + codebooks.helpers
        table = xavier_uniform(int(n_rows.sum()), dim, fan=n_features)
        # Two rows are summed where there are helpers.
        row_has_partner = np.repeat(codebooks.helpers > 0, n_rows)
        table[torch.from_numpy(row_has_partner)] *= 0.5**0.5
        # Not a row table: clusterings write rows, which a lazy optimizer would not know of.
        self.table = nn.Parameter(table.view(-1, codebooks.pieces, dim // codebooks.pieces))

    def vectors(self, features: Tensor) -> Tensor:
        """Vectors of distinct features: (M,) → (M, D)."""
        pieces = self.codebooks.pieces
        rows = self.rows[features] * pieces + torch.arange(pieces, device=features.device)
        codes = lookup(self.table.flatten(0, 1), rows.flatten(-2)).view(-1, 2, self.dim)
        return codes[:, 0] + codes[:, 1] * self.has_helper[features]

    @torch.no_grad()
    def cluster(self, rng: np.random.Generator, iterations: int, residual: bool) -> None:
        """Re-assign all features of fields with helpers by k-means on their vectors.

        Helper rows restart at mean residuals, or at 0.
        """
        books = self.codebooks
        self.round += 1
        helper_rows = books.helper_rows(np.arange(len(self.rows)), int(self.round))
        table, rows = to_numpy(self.table), self.rows.cpu().numpy().copy()
        ends = np.cumsum(books.cardinalities)
        for i in np.flatnonzero(books.helpers):
            ids = slice(int(ends[i] - books.cardinalities[i]), int(ends[i]))
            start = int(books.starts[i])
            helper = start + int(books.assigned[i])
            for piece in range(books.pieces):
                vectors = table[rows[ids, 0, piece], piece] + table[rows[ids, 1, piece], piece]
                first = rng.choice(len(vectors), helper - start, replace=False)
                centroids, nearest = lloyd(vectors, vectors[np.sort(first)], iterations)
                table[start:helper, piece] = centroids
                rows[ids, 0, piece] = start + nearest
                n_helpers, of_feature = int(books.helpers[i]), helper_rows[ids, piece] - helper
                lacking = (vectors - centroids[nearest]) * residual
                table[helper : helper + n_helpers, piece] = means(lacking, of_feature, n_helpers)[0]
        rows[:, 1] = helper_rows
        self.table.copy_(torch.from_numpy(table))
        self.rows.copy_(torch.from_numpy(rows))

    def export(self) -> ClusteredLayout:
        """Codebooks, assignments, and the hash of the helpers."""
        return ClusteredLayout(
            table=to_numpy(self.table.flatten(1)),
            assigned=to_numpy(self.rows)[:, 0],
            round=int(self.round),
            codebooks=self.codebooks,
        )


def lloyd(
    vectors: Floats, centroids: Floats, iterations: int
) -> tuple[Floats, NDArray[np.integer]]:
    """K-means from given centroids: the last centroids (k, w), and the nearest of each vector.

    Parameters
    ----------
    vectors
        Shape (n, w).
    centroids
        Shape (k, w). A centroid with an empty cluster does not move.
    iterations
        At most; it stops when assignments do.
    """
    nearest = nearest_centroids(vectors, centroids)
    for _ in range(iterations):
        moved, counts = means(vectors, nearest, len(centroids))
        centroids = np.where(counts[:, None] > 0, moved, centroids).astype(vectors.dtype)
        before, nearest = nearest, nearest_centroids(vectors, centroids)
        if np.array_equal(before, nearest):
            break
    return centroids, nearest


def means(
    vectors: Floats, groups: NDArray[np.integer], n_groups: int
) -> tuple[Floats, NDArray[np.integer]]:
    """Means (n_groups, w) of the vectors (n, w) of each group, 0 of none; and their numbers."""
    counts = np.bincount(groups, minlength=n_groups)
    sums = [np.bincount(groups, column, minlength=n_groups) for column in vectors.T]
    return np.stack(sums, axis=1) / np.maximum(counts, 1)[:, None], counts


def nearest_centroids(vectors: Floats, centroids: Floats) -> NDArray[np.integer]:
    """The index (n,) of the nearest centroid (k, w) of each vector (n, w).

    By a tree, since k grows with n: pieces are a few columns wide.
    """
    nearest: NDArray[np.integer] = cKDTree(centroids).query(vectors)[1]
    return nearest


@dataclass(frozen=True, eq=False)
class ClusteredLayout(Layout):
    """Codebooks and packed assignments; helper rows are found by hashing."""

    form = "clustered"

    table: Floats = field(metadata=trained())
    """Shape (R, D): c pieces of D / c columns."""
    assigned: NDArray[np.integer]
    """Shape (N, c): rows of ``table``."""
    round: int
    """How many clusterings there were: which hash the helpers use."""
    codebooks: Codebooks = field(metadata=part())

    def structure(self) -> Mapping[str, NDArray[np.generic]]:
        """Assignments in as few bits as their fields need, sizes, and the seed."""
        books = self.codebooks
        of_feature = np.repeat(np.arange(len(books.helpers)), books.cardinalities)
        clustered = np.flatnonzero(books.helpers[of_feature] > 0)
        codes = self.assigned[clustered] - books.starts[of_feature[clustered], None]
        bits = np.repeat(bits_needed(books.assigned)[of_feature[clustered]], books.pieces)
        return {
            "assigned": packed(codes.ravel(), bits),
            "constants": np.array([books.seed, self.round], dtype=np.uint32),
            **super().structure(),
        }
