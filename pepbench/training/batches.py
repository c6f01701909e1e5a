"""Batches of rows, shuffled by a seed so that every method sees the same order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from operator import call

import numpy as np
import torch
from numpy.typing import NDArray

from pepbench.data.kernels import chosen_rows
from pepbench.data.pipeline import ordered_map
from pepbench.data.splits import Rows
from pepbench.method import Batch
from pepbench.tables.bags import bags_of
from pepbench.tables.fields import Fields

WINDOW = 1 << 22
"""Rows that are shuffled at once. Up to this number an epoch is one permutation of all rows. Beyond
it, blocks are permuted, then the rows of as many blocks as fill a window, so that memory does not
grow with the number of rows and files are read in pieces."""

BLOCK = 1 << 12
"""Neighbouring rows that stay in the same window."""


@dataclass(frozen=True)
class BatchMaker:
    """Makes batches for one device and floating-point type."""

    size: int
    device: torch.device
    dtype: torch.dtype
    fields: Fields | None = None
    """Needed for multi-valued and dense fields only."""

    def shuffled(self, rows: Rows, seed: tuple[int, ...]) -> Iterator[Batch]:
        """One pass in an order that only ``seed`` decides; the last batch may be smaller."""
        orders = batch_orders(len(rows.labels), self.size, seed)
        batches = (partial(self._chosen, rows, order) for order in orders)
        # A step on few rows takes less time than the hand-over from a thread.
        if len(rows.labels) <= WINDOW and self.device.type == "cpu":
            return (make() for make in batches)
        return ordered_map(call, batches, threads=1)

    def in_order(self, rows: Rows, size: int | None = None) -> Iterator[Batch]:
        """One pass in the order of the rows, in blocks of ``size`` (default: the batch size)."""
        size = size or self.size
        for start in range(0, len(rows.labels), size):
            of_batch = slice(start, start + size)
            if self._has_bags:
                yield self._chosen(rows, np.arange(start, min(start + size, len(rows.labels))))
                continue
            yield self._batch(rows.ids[of_batch].astype(np.int64), rows.labels[of_batch].copy())

    @property
    def _has_bags(self) -> bool:
        return self.fields is not None and bool(self.fields.bags or self.fields.dense)

    def _chosen(self, rows: Rows, order: NDArray[np.int64]) -> Batch:
        if self.fields is not None and self._has_bags:
            bags = bags_of(np.asarray(rows.ids), self.fields, order, rows.dense)
            labels = torch.from_numpy(rows.labels[order]).to(self.device, self.dtype)
            return Batch(bags.to(self.device, self.dtype), labels)
        ids = np.empty((len(order), rows.ids.shape[1]), dtype=np.int64)
        chosen_rows(np.asarray(rows.ids), order, ids)
        return self._batch(ids, rows.labels[order])

    def _batch(self, ids: NDArray[np.int64], labels: NDArray[np.uint8]) -> Batch:
        # 64-bit ids: torch's index_add_ is five times as slow with 32-bit ones.
        on_host = torch.from_numpy(ids), torch.from_numpy(labels)
        if self.device.type != "cpu":
            # From pinned memory a transfer overlaps with the work of the device.
            on_host = on_host[0].pin_memory(), on_host[1].pin_memory()
        return Batch(
            on_host[0].to(self.device, non_blocking=True),
            on_host[1].to(self.device, self.dtype, non_blocking=True),
        )


def batch_orders(n_rows: int, size: int, seed: tuple[int, ...]) -> Iterator[NDArray[np.int64]]:
    """Row numbers of each batch of one shuffled pass over ``n_rows`` rows.

    Every row comes once; all batches but the last have ``size`` rows.
    """
    rng = np.random.default_rng(seed)
    left = np.empty(0, np.int64)
    for window in _windows(n_rows, rng):
        order = np.concatenate([left, window]) if len(left) else window
        whole = len(order) // size * size
        yield from order[:whole].reshape(-1, size)
        left = order[whole:]
    if len(left):
        yield left


def _windows(n_rows: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    if n_rows <= WINDOW:
        yield rng.permutation(n_rows)
        return
    blocks = rng.permutation(-(-n_rows // BLOCK))
    at_once = WINDOW // BLOCK
    for start in range(0, len(blocks), at_once):
        rows = (blocks[start : start + at_once, None] * BLOCK + np.arange(BLOCK)).ravel()
        yield rng.permutation(rows[rows < n_rows])
