"""Mixed-dimension embeddings: popular blocks of features get wider rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from pepbench.method import Between, Embedding, Fields, Infeasible, Method, OneOf

from .mixed import MixedTable, equal_frequency_blocks, mixed_size


@dataclass(frozen=True)
class MDE(Method):
    """Widths d_k ∝ p_k^α by a block's popularity p_k, each projected to D.

    Ginart, Naumov, Mudigere, Yang, Zou, "Mixed Dimension Embeddings with Application to
    Memory-Efficient Recommendation Systems", 2019, arXiv 1909.11810, by their power rule for widths
    (``md_solver`` in their code, DLRM). Blocks are the fields, with p_k = 1 / n_k (a row's average
    popularity if the field is looked up once a row), or cuts of equal total frequency through the
    features sorted by training frequency. The scale λ in d_k = λ p_k^α is the largest that the
    budget admits.

    Where we differ: widths are rounded to whole numbers (the paper's powers of two are
    ``rounding="power2"``), and the tables start such that projected vectors have the variance of
    the uncompressed table.
    """

    name = "mde"
    family = "mixed"
    year = 2019
    version = 2

    alpha: Annotated[
        float,
        Between(0.0, 0.6, allow=(0.0, 2.0)),
        "how strongly width follows popularity; 0 makes all blocks equally wide",
    ] = 0.3
    blocks: Annotated[str, OneOf("fields", "popularity", tuned=False), "what shares one width"] = (
        "fields"
    )
    n_blocks: Annotated[
        int, Between(2, 256, tuned=False), "number of blocks with blocks=popularity"
    ] = 8
    rounding: Annotated[
        str, OneOf("nearest", "power2", tuned=False), "how widths become whole numbers"
    ] = "nearest"
    project: Annotated[
        bool, OneOf(True, False, tuned=False), "project narrow blocks to D, or pad with zeros"
    ] = True

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """A mixed table as large as the power rule can make it within ``budget``."""
        if self.blocks == "fields":
            block_of_feature = fields.field_of_feature
            popularity = 1.0 / np.asarray(fields.cardinalities)
        else:
            block_of_feature = equal_frequency_blocks(fields.frequencies, self.n_blocks)
            totals = np.bincount(block_of_feature, weights=fields.frequencies)
            popularity = np.maximum(totals, 1.0) / np.bincount(block_of_feature)
        sizes = np.bincount(block_of_feature)
        widths = self.widths(sizes, popularity, dim, budget)
        table = MixedTable(block_of_feature, widths.tolist(), dim, self.project)
        table.unused_budget = "widths are whole numbers, the same in a block"
        return table

    def widths(
        self, sizes: NDArray[np.int64], popularity: NDArray[np.float64], dim: int, budget: int
    ) -> NDArray[np.int64]:
        """Widths (K,) by the power rule that use most of ``budget`` without exceeding it.

        Every λ at which one of the widths changes is tried, so the answer is exact. The size is
        not monotone in λ: a block that reaches D loses its projection.
        """
        shares = popularity**self.alpha
        whole = np.arange(1, dim) + 0.5
        edges = whole if self.rounding == "nearest" else 2.0 ** (np.arange(dim.bit_length()) + 0.5)
        scales = np.unique(np.concatenate([[0.0], (edges / shares[:, None]).ravel()]))
        best, best_size, smallest = None, -1, None
        for scale in scales * (1.0 + 1e-12):
            candidate = self._rounded(scale * shares, dim)
            size = mixed_size(sizes, candidate, dim, self.project)
            smallest = size if smallest is None else min(smallest, size)
            if best_size < size <= budget:
                best, best_size = candidate, size
        if best is None:
            raise Infeasible(
                f"mde: smallest possible is {smallest} parameters (width 1, "
                f"projections included), {budget} allowed"
            )
        return best

    def _rounded(self, ideal: NDArray[np.floating], dim: int) -> NDArray[np.int64]:
        if self.rounding == "power2":
            ideal = 2.0 ** np.round(np.log2(np.maximum(ideal, 1.0)))
        rounded: NDArray[np.int64] = np.floor(ideal + 0.5).astype(np.int64)
        return np.clip(rounded, 1, dim)
