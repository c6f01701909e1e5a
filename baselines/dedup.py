"""Merging similar blocks of a trained table."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pepbench.method import (
    Fitted,
    Layout,
    Method,
    Model,
    OneOf,
    PlainTable,
    RowTable,
    TableEmbedding,
    Task,
    View,
    to_numpy,
    view_of,
)
from pepbench.serve.addresses import BlockRows, block_codes, block_lengths, starts_of
from pepbench.serve.hashing import odd_multipliers, scrambled
from pepbench.serve.packing import bits_needed, packed
from pepbench.tables.layout import Floats, part, trained

from .hashing import drawn_seed

N_HASHES = 8
"""Hash tables for one radius: two blocks meet if they agree in one of them."""
N_CONCATENATED = 4
"""Hashes whose values make one key."""
GROWTH = 1.5
"""Factor by which the radius grows when no two blocks within it are left."""


@dataclass(frozen=True)
class Deduplication(Method):
    """Train the full table, merge its most similar blocks until B is met, train those on.

    Zhou, Chen, Das, Min, Yu, Zhao, Zou, "Serving Deep Learning Models with Deduplication from
    Relational Databases", PVLDB 15(10), 2022, arXiv 2201.10442, adapted to embedding tables by
    Zhang, Zhao, Miao, Shao, Liu, Yang, Cui, "Experimental Analysis of Large-scale Learnable Vector
    Storage Compression", PVLDB 17(4), 2023, arXiv 2311.15578. A block is ``block`` rows of
    a field. Blocks are visited by the third quartile of their entries, the
    smallest first. A locality-sensitive hash for the Euclidean distance (Datar, Immorlica, Indyk,
    Mirrokni, SCG 2004), ⌊⟨a, e⟩ / w + u⌋ with Gaussian a and uniform u, finds similar blocks; a
    block that is similar to one before it takes over its rows. The knob is the number of blocks
    that are merged, the fewest after which the rows fit into B.

    Serving needs the rows that are left, which are the parameters, and the first row of each
    block, which are bytes: longer blocks have fewer of them. Training needs the full table, N D
    numbers that are **not counted**. Infeasible below one block of each length.

    Where we differ: the papers call blocks similar if a share of their entries differ by less than
    a threshold, and may find too few for a small budget. Here they are similar if their distance is
    at most r; r starts at a tenth of the root mean square norm of the blocks, and grows by half
    whenever no two such blocks are found. Blocks of the whole table are merged, if they
    have the same length. Which features make a block is drawn at random, anew by each seed, so that
    nothing depends on how features are numbered.
    """

    name = "dedup"
    family = "hashing"
    year = 2022
    version = 2

    block: Annotated[
        int, OneOf(1, 2, 4, 8), "rows in a block; the last of a field may have fewer"
    ] = 1

    def most_steps(self, steps_per_epoch: int, epochs: int) -> int:
        """Two trainings."""
        return 2 * steps_per_epoch * epochs

    def fit(self, task: Task, budget: int) -> Fitted:
        """Train, merge, train."""
        self.refuse_too_little(task, budget)
        return self.merged(task, *self.pretrained(task), budget)

    @property
    def shares_search(self) -> bool:
        """The first training does not depend on the budget."""
        return True

    def fit_many(self, task: Task, budgets: Sequence[int]) -> Iterator[Fitted]:
        """Train once; merge and train for each budget."""
        trained, backbone = self.pretrained(task)
        for budget in budgets:
            self.refuse_too_little(task, budget)
            with task.aside():
                yield self.merged(task, trained, copy.deepcopy(backbone), budget)

    def refuse_too_little(self, task: Task, budget: int) -> None:
        """Raise :class:`~pepbench.errors.Infeasible` below one block of each length."""
        lengths = np.unique(block_lengths(np.asarray(task.fields.cardinalities), self.block))
        self.refuse_below(int(lengths.sum()) * task.dim, budget, "a block of each length")

    def pretrained(self, task: Task) -> tuple[Tensor, nn.Module]:
        """The trained full table (N, D), and the backbone trained with it."""
        table = PlainTable(task.fields.n_features, task.dim)
        dense = task.model(table)
        task.train(
            dense,
            phase="pretrain",
            after_epoch=lambda epoch: task.report_size(
                epoch * task.steps_per_epoch, lambda: table.table.numel()
            ),
        )
        return table.table.detach(), dense.backbone

    def merged(self, task: Task, trained: Tensor, backbone: nn.Module, budget: int) -> Fitted:
        """Merge blocks of the ``trained`` table, and train what is left and ``backbone``."""
        cardinalities = np.asarray(task.fields.cardinalities)
        lengths = block_lengths(cardinalities, self.block)
        with task.phase("merge"):
            ids, seed = np.arange(len(trained)), drawn_seed(-1)
            codes = block_codes(ids, cardinalities, self.block, seed)
            order = np.argsort(np.repeat(starts_of(cardinalities), cardinalities) + codes)
            table = to_numpy(trained)[order]
            holder, radius = merged_blocks(table, lengths, budget // task.dim, task.rng)
            is_kept = holder == np.arange(len(holder))
            first = starts_of(np.where(is_kept, lengths, 0))[holder]
            kept = table[np.repeat(is_kept, lengths)]
        rows = BlockRows(cardinalities, first, self.block, seed)
        embedding = DeduplicatedTable(kept, rows).to(trained.device)
        fitted = task.train(Model(embedding, backbone))
        return fitted.with_notes(
            blocks=len(holder), kept=int(is_kept.sum()), radius=radius
        ).with_budget_note(task, budget)


def merged_blocks(
    table: Floats, lengths: NDArray[np.int64], n_rows: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], float]:
    """Which block holds the rows of each block, (K,), so that at most ``n_rows`` rows are left.

    Blocks have ``lengths`` (K,) rows of ``table`` (N, D) one after the other; one that is kept
    holds its own. Also returned is the largest radius of a merge: of each pair that was
    merged, not of all blocks that came to share rows by several of them.
    """
    blocks = np.full((len(lengths), int(lengths.max()) * table.shape[1]), np.nan, table.dtype)
    blocks[np.arange(blocks.shape[1]) < lengths[:, None] * table.shape[1]] = table.ravel()
    order = np.argsort(np.nanpercentile(blocks, 75, axis=1), kind="stable")
    blocks, sizes = np.nan_to_num(blocks[order]), lengths[order]
    holder = np.arange(len(lengths))
    excess = int(lengths.sum()) - n_rows
    radius = max(0.1 * float(np.sqrt(np.square(blocks).sum(axis=1).mean())), 1e-12)
    while excess > 0:
        before = excess
        for _ in range(N_HASHES):
            alive = np.flatnonzero(holder == np.arange(len(holder)))
            keys = locality_keys(blocks[alive], radius, rng) ^ sizes[alive]
            _, first, bucket = np.unique(keys, return_index=True, return_inverse=True)
            target = alive[first[bucket]]
            near = np.linalg.norm(blocks[alive] - blocks[target], axis=1) <= radius
            same = (alive != target) & near & (sizes[alive] == sizes[target])
            merged, target = alive[same], target[same]
            count = np.searchsorted(np.cumsum(sizes[merged]), excess) + 1
            holder[merged[:count]] = target[:count]
            excess -= int(sizes[merged[:count]].sum())
            if excess <= 0:
                break
        if excess == before:
            radius *= GROWTH
    while not np.array_equal(holder, holder[holder]):
        holder = holder[holder]
    kept = np.empty_like(holder)
    kept[order] = order[holder]
    return kept, radius


def locality_keys(blocks: Floats, radius: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Keys (K,) that blocks (K, w) share with a probability that falls with their distance.

    Four hashes of bucket width 4 · ``radius``, mixed into one number: at the radius, 0.8⁴ = 0.4.
    """
    width = 4.0 * radius
    projected = blocks @ rng.standard_normal((blocks.shape[1], N_CONCATENATED))
    cells = np.floor(projected / width + rng.random(N_CONCATENATED)).astype(np.int64)
    return scrambled(cells @ odd_multipliers(N_CONCATENATED, seed=0))


class DeduplicatedTable(TableEmbedding):
    """The rows of the blocks that are left.

    Parameters
    ----------
    table
        Shape (R, D): their trained values.
    rows
        Where each feature's row is among them.
    """

    row: Tensor
    """Shape (N,): the row of each feature."""
    unused_budget = "blocks are kept or merged whole"

    def __init__(self, table: Floats, rows: BlockRows) -> None:
        super().__init__()
        self.dim = table.shape[1]
        self.rows = rows
        row = torch.from_numpy(rows.rows_of(np.arange(int(rows.cardinalities.sum()))))
        self.register_buffer("row", row, persistent=False)
        self.table = RowTable(torch.from_numpy(table))

    def as_table(self, ids: Tensor) -> View:
        """The rows, and which of them each feature has."""
        return view_of(self.table, self.row[ids])

    def export(self) -> DeduplicatedLayout:
        """The rows, and where those of each block are."""
        return DeduplicatedLayout(to_numpy(self.table), self.rows)


@dataclass(frozen=True, eq=False)
class DeduplicatedLayout(Layout):
    """Rows of blocks, and the first row of each block."""

    form = "block-rows"

    table: Floats = field(metadata=trained())
    """Shape (R, D)."""
    rows: BlockRows = field(metadata=part())

    def structure(self) -> Mapping[str, NDArray[np.generic]]:
        """First rows in as few bits as R needs, and cardinalities."""
        first = self.rows.first
        bits = np.full(len(first), bits_needed(np.array([len(self.table)]))[0])
        return {"first": packed(first, bits), **super().structure()}
