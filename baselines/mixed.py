"""Blocks of features, and tables in which each block has a width of its own.

Shared by the methods that end with one width per block (``mde``, and searches over widths).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pepbench.method import (
    Blocks,
    ComposedVectors,
    DirectRows,
    View,
    lookup,
    to_numpy,
    xavier_uniform,
)
from pepbench.tables.layout import Mixed, ranks_in_blocks

from .frequency import by_frequency


def equal_frequency_blocks(frequencies: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Block (N,) of each feature: cuts of equal total frequency, the most frequent first.

    Ties are broken at random.

    >>> equal_frequency_blocks(np.array([1, 4, 1, 2]), 2).tolist()
    [1, 0, 1, 1]
    """
    order = by_frequency(frequencies)
    before = np.cumsum(frequencies[order]) - frequencies[order]
    return _numbered(order, before * count // max(int(frequencies.sum()), 1), count)


def equal_count_blocks(frequencies: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Block (N,) of each feature: cuts of equally many features, the most frequent first.

    Ties are broken at random.

    >>> equal_count_blocks(np.array([1, 4, 1, 2]), 2).tolist()
    [1, 0, 1, 0]
    """
    order = by_frequency(frequencies)
    return _numbered(order, np.arange(len(order)) * count // len(order), count)


def _numbered(order: NDArray[np.intp], cuts: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    blocks = np.empty(len(order), dtype=np.int64)
    # Features never seen come after the last cut; blocks are numbered without gaps.
    blocks[order] = np.unique(np.minimum(cuts, count - 1), return_inverse=True)[1]
    return blocks


def mixed_size(sizes: NDArray[np.int64], widths: NDArray[np.int64], dim: int, project: bool) -> int:
    """Parameters of blocks of ``sizes`` rows: Σ n_k d_k, plus d_k·D for each projection.

    A block as wide as D needs none, nor does one of width 0.
    """
    projections = np.where(widths < dim, widths * dim, 0) if project else np.zeros_like(widths)
    return int((sizes * widths + projections).sum())


class MixedTable(ComposedVectors):
    """Vectors of features that live in blocks of different widths d_k ≤ D.

    A narrower block is brought to D by a linear projection without bias, or by zeros. The values
    start such that every vector has the variance of the uncompressed Xavier table, 2 / (N + D).
    Vectors of a block of width 0 are zero.

    Parameters
    ----------
    block_of_feature
        Shape (N,): the block of each global id.
    widths
        The width of each block.
    dim
        D.
    project
        Whether to project narrower blocks; otherwise they are padded with zeros.
    """

    def __init__(
        self,
        block_of_feature: NDArray[np.int64],
        widths: Sequence[int],
        dim: int,
        project: bool = True,
    ) -> None:
        super().__init__()
        self.dim, self.n_features = dim, len(block_of_feature)
        self.widths = tuple(widths)
        sizes = np.bincount(block_of_feature, minlength=len(self.widths))
        variance = 2.0 / (len(block_of_feature) + dim)
        self.tables = nn.ParameterList()
        self.projections = nn.ParameterDict()
        for block, (size, width) in enumerate(zip(sizes.tolist(), self.widths, strict=True)):
            table_variance = variance
            if project and 0 < width < dim:
                projection = xavier_uniform(width, dim)
                self.projections[str(block)] = nn.Parameter(projection)
                table_variance = variance * (width + dim) / (2.0 * width)
            spread = math.sqrt(3.0 * table_variance)
            values = torch.empty(size, width).uniform_(-spread, spread)
            self.tables.append(nn.Parameter(values, requires_grad=width > 0))
        self.block_of_feature = block_of_feature
        starts = np.cumsum(sizes) - sizes
        self.starts = starts.tolist()
        position = starts[block_of_feature] + ranks_in_blocks(block_of_feature)
        self.in_order = bool((np.diff(position) == 1).all())
        self.position: Tensor
        self.register_buffer("position", torch.from_numpy(position), persistent=False)

    def direct_rows(self) -> DirectRows:
        """Tables and projections, and which of their rows each feature has."""
        projections = tuple(self.projections.get(str(k)) for k in range(len(self.widths)))
        blocks = Blocks(tuple(self.tables), projections, self.dim)
        return DirectRows(blocks, row=None if self.in_order else self.position)

    def as_table(self, ids: Tensor) -> View:
        """The vectors of all features if a batch has as many lookups, else of its own."""
        if torch.compiler.is_compiling() or ids.numel() < self.n_features:
            return super().as_table(ids)
        row = ids if self.in_order else self.position[ids]
        return View(self._widened(tuple(self.tables)), row, None)

    def vectors(self, features: Tensor) -> Tensor:
        """Vectors of distinct features: (M,) → (M, D)."""
        # One sort brings the features of a block together.
        ordered, order = torch.sort(self.position[features])
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        ends = torch.searchsorted(ordered, torch.tensor(self.starts[1:], device=order.device))
        pieces = torch.tensor_split(ordered, ends.cpu())
        narrow = [
            lookup(table, piece - start)
            for table, piece, start in zip(self.tables, pieces, self.starts, strict=True)
        ]
        return lookup(self._widened(narrow), place)

    def export(self) -> Mixed:
        """Tables and projections by block."""
        return Mixed(
            tables=tuple(to_numpy(table) for table in self.tables),
            projections=tuple(
                to_numpy(self.projections[str(block)]) if str(block) in self.projections else None
                for block in range(len(self.widths))
            ),
            block_of_feature=self.block_of_feature,
            dim=self.dim,
        )

    def _widened(self, narrow: Sequence[Tensor]) -> Tensor:
        """Rows of each block (n_k, d_k), brought to D and stacked: (Σ n_k, D)."""
        wide = []
        for block, rows in enumerate(narrow):
            if str(block) in self.projections:
                wide.append(rows @ self.projections[str(block)])
            else:
                wide.append(nn.functional.pad(rows, (0, self.dim - rows.shape[1])))
        return torch.cat(wide)
