"""Rows into batches: shuffled by seed, the same for every method."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pepbench.data.splits import Rows
from pepbench.method import Batch


@dataclass(frozen=True)
class BatchMaker:
    """Makes batches for one device and floating-point type."""

    size: int
    device: torch.device
    dtype: torch.dtype

    def shuffled(self, rows: Rows, seed: tuple[int, ...]) -> Iterator[Batch]:
        """One pass in an order that depends on ``seed`` alone; the last batch may be smaller."""
        order = np.random.default_rng(seed).permutation(len(rows.labels))
        for start in range(0, len(order), self.size):
            chosen = order[start : start + self.size]
            yield self._batch(rows.ids[chosen], rows.labels[chosen])

    def in_order(self, rows: Rows, size: int | None = None) -> Iterator[Batch]:
        """One pass in the order of the rows, in blocks of ``size`` (default: the batch size)."""
        size = size or self.size
        for start in range(0, len(rows.labels), size):
            yield self._batch(rows.ids[start : start + size], rows.labels[start : start + size])

    def _batch(self, ids: NDArray[np.int32], labels: NDArray[np.uint8]) -> Batch:
        # 64-bit ids: torch's index_add_ is five times as slow with 32-bit ones.
        return Batch(
            torch.from_numpy(ids.astype(np.int64)).to(self.device, non_blocking=True),
            torch.from_numpy(labels.copy()).to(self.device, self.dtype, non_blocking=True),
        )
