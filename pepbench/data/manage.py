"""Add, open and verify data sets in the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from pepbench.data.build_table import Progress, write_table
from pepbench.data.cache import (
    building,
    cache_root,
    locked,
    table_bytes,
    table_folder,
)
from pepbench.data.dataset import Dataset
from pepbench.data.readers.raw_files import estimated_rows, file_digest
from pepbench.data.row_checks import check_ranges
from pepbench.data.splits import cached_splits, verify_splits
from pepbench.data.table import Table, read_table, verify_table
from pepbench.errors import FULL_DISK, DataError
from pepbench.units import byte_size


def add(
    dataset: Dataset,
    source: Path | None,
    *,
    progress: Progress | None = None,
    check: Callable[[Table], object] | None = None,
) -> Table:
    """Encode a data set into the cache, unless it is there, from the same files.

    Parameters
    ----------
    dataset
        What to add.
    source
        Folder of the raw files; None for generated data sets.
    progress
        Called with the number of rows encoded so far.
    check
        Called with a new table before it is kept, or replaces an earlier one; it may raise.

    Raises
    ------
    DataError
        If files are missing or wrong, ``check`` raises, or the cache cannot be written; it is then
        left as it was.
    """
    if dataset.generated and source is not None:
        raise DataError(f"data set {dataset.name!r} is generated: it takes no folder of files")
    if not dataset.generated and source is None:
        needs = f"a folder with {', '.join(dataset.files)}" if dataset.files else "its file"
        raise DataError(f"data set {dataset.spec!r} needs {needs}: {dataset.how_to_add}")
    folder = table_folder(dataset)
    files = dataset.raw_files(source) if source is not None else {}
    before = _states(files)
    try:
        with locked(folder), ThreadPoolExecutor(1) as pool:
            # Checksums are computed while rows are read: the file is read from disk once.
            digests = pool.submit(lambda: {n: file_digest(path) for n, path in files.items()})
            table = _intact_table(folder)
            if table is not None and table.meta.sources == digests.result():
                return table
            with building(folder) as new:
                write_table(dataset, source, new, sources=digests.result, progress=progress)
                if _states(files) != before:
                    raise DataError(
                        f"{source} was changed while it was read; add it when it is complete"
                    )
                if check is not None:
                    check(read_table(new))
            return read_table(folder)
    except OSError as error:
        if error.errno in FULL_DISK:
            raise DataError(_no_room(dataset, source, files)) from error
        raise DataError(
            f"cannot add data set {dataset.spec!r}: {error}; name a writable folder for "
            "the cache in the environment variable PEPBENCH_CACHE"
        ) from error


def _states(files: Mapping[str, Path]) -> dict[str, tuple[int, int] | None]:
    """Size and time of change of each file; None for one that is gone."""
    states: dict[str, tuple[int, int] | None] = dict.fromkeys(files)
    for name, path in files.items():
        with suppress(FileNotFoundError):
            status = path.stat()
            states[name] = status.st_size, status.st_mtime_ns
    return states


def open_table(dataset: Dataset) -> Table:
    """The table of a data set in the cache. Generated data sets are built on first use.

    Raises
    ------
    DataError
        If the data set has not been added, or its table is damaged; the message says how to add it.
    """
    folder = table_folder(dataset)
    if dataset.generated:
        table = _intact_table(folder)
        return _checked(dataset, table if table is not None else add(dataset, None))
    if not folder.exists():
        raise DataError(
            f"data set {dataset.spec!r} is not in the cache; add it with: {dataset.how_to_add}"
        )
    try:
        table = read_table(folder)
    except DataError as error:
        raise DataError(f"{error}; add it with: {dataset.how_to_add}") from None
    return _checked(dataset, table)


def is_added(dataset: Dataset) -> bool:
    """Whether a data set is in the cache with all its files."""
    return _intact_table(table_folder(dataset)) is not None


def verify(dataset: Dataset) -> list[str]:
    """Recompute the checksums of a data set's table and all its splits.

    Returns
    -------
    One line for each problem.
    """
    folder = table_folder(dataset)
    if not folder.exists():
        return [f"data set {dataset.spec!r} is not in the cache"]
    try:
        table = read_table(folder)
    except DataError as error:
        return [str(error)]
    return verify_table(table) + [
        problem for splits in cached_splits(table) for problem in verify_splits(splits)
    ]


def _checked(dataset: Dataset, table: Table) -> Table:
    again = f"add it with: {dataset.how_to_add}"
    check_ranges(
        table.folder / "codes.npy",
        table.meta.fields,
        table.meta.cardinalities,
        global_ids=False,
        remedy=f"remove {table.folder}" if dataset.generated else again,
        bags=table.meta.bags,
    )
    return table


def _no_room(dataset: Dataset, source: Path | None, files: dict[str, Path]) -> str:
    """The message for a full disk, with an estimate of the room needed from the raw files."""
    message = f"cannot add data set {dataset.spec!r}: no room in {cache_root()}"
    if not files:
        return f"{message}; make room, or name another folder in PEPBENCH_CACHE"
    n_fields = len(next(dataset.blocks(source)).columns)
    needed = byte_size(table_bytes(dataset.sample or estimated_rows(files), n_fields))
    return (
        f"{message}; about {needed} are needed besides the vocabularies: make room, name another "
        "folder in PEPBENCH_CACHE, or take fewer rows"
    )


def _intact_table(folder: Path) -> Table | None:
    try:
        return read_table(folder)
    except DataError:
        return None
