"""Some rows of a data set, chosen at random whatever the blocks they come in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pepbench.data.dataset import Block, Dataset
from pepbench.data.split_schemes import sample_of_rows
from pepbench.errors import DataError

SAMPLE_SEED = 0
"""Part of what ``rows=…`` means: the same rows for everybody."""


def sampled_blocks(dataset: Dataset, source: Path | None) -> Iterator[Block]:
    """Yield the blocks of a data set, cut down to the rows that its ``sample`` asks for.

    The rows are read twice: how many there are must be known to choose among them fairly.

    Raises
    ------
    DataError
        If there are fewer rows than asked for.
    """
    if dataset.sample is None:
        yield from dataset.blocks(source)
        return
    n_rows = sum(len(block.labels) for block in dataset.blocks(source))
    if dataset.sample > n_rows:
        raise DataError(
            f"data set {dataset.name!r} has {n_rows:,} rows, "
            f"fewer than the {dataset.sample:,} asked for"
        )
    chosen = sample_of_rows(n_rows, dataset.sample, SAMPLE_SEED)
    at = 0
    for block in dataset.blocks(source):
        kept = chosen[at : at + len(block.labels)]
        at += len(kept)
        mask = pa.array(kept)
        columns = {name: column.filter(mask) for name, column in block.columns.items()}
        key = block.split_key.filter(mask) if block.split_key is not None else None
        yield Block(columns, block.labels[kept], key)
