"""What ``pepbench data`` does, and how the harness gets at a data set's rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pepbench.data.cache import building, locked, table_folder
from pepbench.data.dataset import Dataset
from pepbench.data.sources import check_folder
from pepbench.data.splits import kept_splits, open_splits, verify_splits
from pepbench.data.table import Progress, Table, read_table, verify_table, write_table
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
    try:
        sources = check_folder(source, dataset.files) if source is not None else {}
        with locked(folder):
            table = _intact_table(folder)
            if table is not None and table.meta.sources == sources:
                return table
            with building(folder) as new:
                write_table(dataset, source, new, sources=sources, progress=progress)
            return read_table(folder)
    except OSError as error:
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
        return table if table is not None else add(dataset, None)
    if not folder.exists():
        raise DataError(f"data set {dataset.name!r} is not in the cache; {_how_to_add(dataset)}")
    try:
        return read_table(folder)
    except DataError as error:
        raise DataError(f"{error}; {_how_to_add(dataset)}") from None


def is_added(dataset: Dataset) -> bool:
    """Whether a data set is in the cache with all its files."""
    return _intact_table(table_folder(dataset)) is not None


def describe(dataset: Dataset, split_seed: int = 0) -> dict[str, Any]:
    """What there is to know about a data set in the cache, ready for JSON.

    Cardinalities and features are those of the split's training rows, "unseen" included;
    ``bayes_auc`` is there only where the truth is planted.

    Raises
    ------
    DataError
        If the data set has not been added.
    """
    table = open_table(dataset)
    splits = open_splits(table, split_seed)
    meta = splits.meta
    described: dict[str, Any] = {
        "name": dataset.name,
        "spec": dataset.spec,
        "title": dataset.title,
        "licence": dataset.licence,
        "citation": dataset.citation,
        "url": dataset.url,
        "rows": table.meta.n_rows,
        "positive_share": table.meta.n_positive / table.meta.n_rows,
        "fields": dict(zip(meta.fields, meta.cardinalities, strict=True)),
        "features": sum(meta.cardinalities),
        "split_seed": split_seed,
        "split_rows": meta.n_rows,
        "unseen_share": {
            part: meta.n_unseen[part] / (meta.n_rows[part] * len(meta.fields))
            for part in ("validation", "test")
        },
        "bytes": sum(path.stat().st_size for path in table.folder.rglob("*") if path.is_file()),
        "table_fingerprint": table.fingerprint,
        "split_fingerprint": splits.fingerprint,
    }
    if table.meta.bayes_auc is not None:
        described["bayes_auc"] = table.meta.bayes_auc
    return described


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


def _intact_table(folder: Path) -> Table | None:
    try:
        return read_table(folder)
    except DataError:
        return None


def _how_to_add(dataset: Dataset) -> str:
    return f"add it with: pepbench data add {dataset.spec} --from FOLDER"
