"""What ``pepbench data`` does, and how the harness gets at a data set's rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from pepbench.data.build import Progress, write_table
from pepbench.data.cache import building, cache_root, locked, table_folder
from pepbench.data.dataset import Dataset
from pepbench.data.leakage import known_share, user_column
from pepbench.data.ranges import check_ranges
from pepbench.data.size_estimate import FULL_DISK, estimated_rows, in_words, table_bytes
from pepbench.data.sources import digests_of
from pepbench.data.splits import kept_splits, open_splits, verify_splits
from pepbench.data.statistics import SHARES, coverage, curve, gini, zipf_exponent
from pepbench.data.table import Table, read_table, verify_table
from pepbench.errors import DataError


def add(dataset: Dataset, source: Path | None, *, progress: Progress | None = None) -> Table:
    """Encode a data set into the cache, unless the same files are there already.

    Parameters
    ----------
    dataset
        What to add.
    source
        Folder of the raw files; None for generated data sets.
    progress
        Called with the number of rows encoded so far.

    Raises
    ------
    DataError
        If files are missing or wrong, or the cache cannot be written. The cache is then as it was.
    """
    if dataset.generated and source is not None:
        raise DataError(f"data set {dataset.name!r} is generated: it takes no folder of files")
    if not dataset.generated and source is None:
        raise DataError(
            f"data set {dataset.name!r} needs a folder with {', '.join(dataset.files)}; "
            f"{_how_to_add(dataset)}"
        )
    folder = table_folder(dataset)
    files = dataset.raw_files(source) if source is not None else {}
    try:
        with locked(folder), ThreadPoolExecutor(1) as pool:
            # Checksums are taken while the rows are read: both find the file in memory.
            digests = pool.submit(digests_of, files)
            table = _intact_table(folder)
            if table is not None and table.meta.sources == digests.result():
                return table
            with building(folder) as new:
                write_table(dataset, source, new, sources=digests.result, progress=progress)
            return read_table(folder)
    except OSError as error:
        if error.errno in FULL_DISK:
            raise DataError(_no_room(dataset, source, files)) from error
        raise DataError(f"cannot add data set {dataset.name!r}: {error}") from error


def open_table(dataset: Dataset) -> Table:
    """The table of a data set in the cache. Generated ones are built when first asked for.

    Raises
    ------
    DataError
        If the data set has not been added, or its table is damaged: says how to add it.
    """
    folder = table_folder(dataset)
    if dataset.generated:
        table = _intact_table(folder)
        return _checked(dataset, table if table is not None else add(dataset, None))
    if not folder.exists():
        raise DataError(f"data set {dataset.name!r} is not in the cache; {_how_to_add(dataset)}")
    try:
        table = read_table(folder)
    except DataError as error:
        raise DataError(f"{error}; {_how_to_add(dataset)}") from None
    return _checked(dataset, table)


def is_added(dataset: Dataset) -> bool:
    """Whether a data set is in the cache with all its files."""
    return _intact_table(table_folder(dataset)) is not None


def describe(dataset: Dataset, split_seed: int = 0) -> dict[str, Any]:
    """What there is to know about a data set in the cache, ready for JSON.

    Cardinalities and features are those of the split's training rows, "unseen" included. Coverage
    (the share of all values in training rows that the most frequent features make up), Gini
    coefficient and Zipf exponent are over all features that training has seen.
    ``bayes_auc`` is there only where the truth is planted.

    Raises
    ------
    DataError
        If the data set has not been added.
    """
    table = open_table(dataset)
    splits = open_splits(table, split_seed)
    meta = splits.meta
    frequencies = np.delete(splits.fields.frequencies, splits.fields.offsets)
    described: dict[str, Any] = {
        "name": dataset.name,
        "spec": dataset.spec,
        "title": dataset.title,
        "source": dataset.source or dataset.name,
        "licence": dataset.licence,
        "citation": dataset.citation,
        "url": dataset.url,
        "rows": table.meta.n_rows,
        "positive_share": table.meta.n_positive / table.meta.n_rows,
        "fields": dict(zip(meta.fields, meta.cardinalities, strict=True)),
        "features": sum(meta.cardinalities),
        "split_by": table.meta.split_scheme,
        "split_seed": split_seed,
        "split_rows": meta.n_rows,
        "unseen_share": {
            part: meta.n_unseen[part] / (meta.n_rows[part] * len(meta.fields))
            for part in ("validation", "test")
        },
        "coverage": {
            f"top {share:.1%}".replace(".0%", "%"): coverage(frequencies, share) for share in SHARES
        },
        "gini": gini(frequencies),
        "zipf_exponent": zipf_exponent(frequencies),
        "bytes": sum(path.stat().st_size for path in table.folder.rglob("*") if path.is_file()),
        "table_fingerprint": table.fingerprint,
        "split_fingerprint": splits.fingerprint,
    }
    users = user_column(dataset, meta.fields)
    if users is not None:
        described["test_rows_of_known_users"] = known_share(table, users, split_seed)
    if table.meta.bayes_auc is not None:
        described["bayes_auc"] = table.meta.bayes_auc
    return described


def frequency_curve(dataset: Dataset, split_seed: int = 0) -> list[tuple[int, int]]:
    """Ranks of features, evenly spaced on a logarithmic scale, and training frequencies there."""
    fields = open_splits(open_table(dataset), split_seed).fields
    return curve(np.delete(fields.frequencies, fields.offsets))


def warnings_of(table: Table) -> list[str]:
    """What is legal in a table but hardly meant: fields of one value, or of one value a row."""
    warnings = []
    for name, size in zip(table.meta.fields, table.meta.cardinalities, strict=True):
        if size == 1:
            warnings.append(f"field {name!r} has the same value in all rows; it cannot help")
        if size == table.meta.n_rows and table.meta.encoding(name).bins is None:
            warnings.append(f"field {name!r} has another value in every row; it cannot be learnt")
    return warnings


def verify(dataset: Dataset) -> list[str]:
    """Recompute the checksums of a data set's table and all its splits.

    Returns
    -------
    One line for each problem; none if all is well.
    """
    folder = table_folder(dataset)
    if not folder.exists():
        return [f"data set {dataset.name!r} is not in the cache"]
    try:
        table = read_table(folder)
    except DataError as error:
        return [str(error)]
    return verify_table(table) + [
        problem for splits in kept_splits(table) for problem in verify_splits(splits)
    ]


def _checked(dataset: Dataset, table: Table) -> Table:
    check_ranges(
        table.folder / "codes.npy",
        table.meta.fields,
        table.meta.cardinalities,
        global_ids=False,
        remedy=f"remove {table.folder}" if dataset.generated else _how_to_add(dataset),
    )
    return table


def _no_room(dataset: Dataset, source: Path | None, files: dict[str, Path]) -> str:
    """What a full disk comes to: how much room is needed, as far as the raw files tell."""
    message = f"cannot add data set {dataset.name!r}: no room in {cache_root()}"
    if not files:
        return f"{message}; make room, or name another folder in PEPBENCH_CACHE"
    n_fields = len(next(dataset.blocks(source)).columns)
    needed = in_words(table_bytes(dataset.sample or estimated_rows(files), n_fields))
    return (
        f"{message}; about {needed} are needed beside the vocabularies: make room, name another "
        "folder in PEPBENCH_CACHE, or take fewer rows"
    )


def _intact_table(folder: Path) -> Table | None:
    try:
        return read_table(folder)
    except DataError:
        return None


def _how_to_add(dataset: Dataset) -> str:
    return f"add it with: pepbench data add {dataset.spec} --from FOLDER"
