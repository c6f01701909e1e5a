"""The rows of a trial's fold, which a worker keeps open for its next trial."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pepbench.data.cache import cache_root, mark_used
from pepbench.data.dataset import Dataset
from pepbench.data.manage import open_table
from pepbench.data.split_schemes import Fold
from pepbench.data.splits import Splits, open_splits
from pepbench.errors import DataError
from pepbench.records import DataSpec


def open_rows(data: DataSpec, dataset: Dataset) -> Splits:
    """Open a fold's rows, unless this process used them last.

    Raises
    ------
    DataError
        If the cache holds other rows, or cannot be read.
    """
    splits = _latest(data, dataset, cache_root())
    if not splits.folder.exists():
        _latest.cache_clear()
        return _latest(data, dataset, cache_root())
    if data.folds > 1:
        mark_used(splits.folder)
    return splits


@lru_cache(1)
def _latest(data: DataSpec, dataset: Dataset, _: Path) -> Splits:
    splits = open_splits(open_table(dataset), data.split_seed, Fold(data.fold, data.folds))
    if splits.fingerprint != data.split_fingerprint:
        raise DataError(
            f"data set {data.spec!r} differs from the plan's: split fingerprint "
            f"{splits.fingerprint}, expected {data.split_fingerprint}; add it again"
        )
    return splits
