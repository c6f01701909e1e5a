"""Build a table: from blocks of raw rows to an encoded table in its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import pepbench
from pepbench.data.arrays import ArrayWriter, write_array
from pepbench.data.bags import BagWriter, kind_of_values, write_slots
from pepbench.data.cache import file_sizes
from pepbench.data.dataset import Block, Dataset, SplitScheme, Truth
from pepbench.data.encoding import FieldEncoding
from pepbench.data.pipeline import prefetched, usable_threads
from pepbench.data.row_checks import check_block, check_types, mark_checked
from pepbench.data.split_schemes import sample_of_rows
from pepbench.data.table import TableMeta, table_fingerprint, vocabulary_digest
from pepbench.data.values import Kind
from pepbench.data.vocabulary import Vocabulary
from pepbench.errors import DataError
from pepbench.records import write_atomically

SAMPLE_SEED = 0
"""Fixed, so that everybody who asks for ``rows=…`` gets the same rows."""
Progress = Callable[[int], None]
"""Called with the number of rows written so far."""


def write_table(
    dataset: Dataset,
    source: Path | None,
    folder: Path,
    *,
    sources: Callable[[], dict[str, str]] = dict,
    progress: Progress | None = None,
) -> None:
    """Encode all rows of a data set into an empty folder.

    Memory is bounded by the vocabularies and one block.

    Parameters
    ----------
    dataset
        The data set.
    source
        Folder of raw files, None for generated data sets.
    folder
        Where to write.
    sources
        Returns the SHA-256 of the raw files; called at the end.
    progress
        Called after each block.

    Raises
    ------
    DataError
        If a label is not 0 or 1, all labels are equal, there are no rows, or blocks do not fit
        together.
    """
    vocabularies: dict[str, Vocabulary] = {}
    kinds: dict[str, Kind | None] = {}
    scheme = dataset.split_scheme(source)
    groups = Vocabulary("group")
    n_positive = 0
    bags: dict[int, BagWriter] = {}
    with ExitStack() as files, ThreadPoolExecutor(usable_threads()) as pool:
        labels = files.enter_context(ArrayWriter(folder / "labels.npy", "|u1"))
        codes: ArrayWriter | None = None
        keys: ArrayWriter | None = None
        dense: ArrayWriter | None = None
        names: tuple[str, ...] = ()
        if scheme != "random":
            keys = files.enter_context(ArrayWriter(folder / "split.npy", "<i8"))
        for block in files.enter_context(closing(prefetched(sampled_blocks(dataset, source)))):
            check_types(dataset, block)
            if codes is None:
                vocabularies = {name: Vocabulary(name) for name in block.columns}
                for field, name in enumerate(vocabularies):
                    if (options := dataset.bag(name)) is not None:
                        bags[field] = BagWriter(options, folder / f"values-{field}.npy")
                        files.enter_context(bags[field].writer)
                kinds = {name: kind_of_values(c.type) for name, c in block.columns.items()}
                kinds |= block.kinds
                names = tuple(block.dense)
                if names:
                    dense_path = folder / "dense.npy"
                    dense = files.enter_context(ArrayWriter(dense_path, "<f8", (len(names),)))
                shape = (len(vocabularies),)
                path = folder / ("counted.npy" if bags else "codes.npy")
                codes = files.enter_context(ArrayWriter(path, "<i4", shape))
            check_block(dataset, block, list(vocabularies), labels.n_rows, names)
            if dense is not None:
                dense.append(np.stack([block.dense[name] for name in names], axis=1))
            codes.append(_encode(block, list(vocabularies.values()), bags, pool))
            if keys is not None:
                keys.append(_split_keys(dataset, block, scheme, groups, labels.n_rows))
            labels.append(block.labels)
            n_positive += int(np.count_nonzero(block.labels))
            if progress is not None:
                progress(labels.n_rows)
    n_rows = labels.n_rows
    if codes is None or n_rows == 0:
        raise DataError(f"data set {dataset.spec!r} has no rows")
    if n_positive in (0, n_rows):
        raise DataError(
            f"data set {dataset.spec!r}: all {n_rows} labels are {int(n_positive > 0)}; "
            "there is nothing to learn; take other rows, or another --label or --positive"
        )

    _write_vocabularies(folder / "vocabularies.parquet", vocabularies)
    digests = {
        "codes": write_slots(path, bags, folder / "codes.npy") if bags else codes.digest,
        "labels": labels.digest,
        "vocabularies": vocabulary_digest(v.slices() for v in vocabularies.values()),
    }
    if dense is not None:
        digests["dense"] = dense.digest
    transforms = {name: dataset.dense_transform(name) for name in names}
    fields = tuple(vocabularies)
    of_bags = {fields[field]: bag.meta() for field, bag in bags.items()}
    fingerprint = table_fingerprint(fields, digests, of_bags, transforms)
    truth = dataset.truth()
    if truth is not None:
        digests["widths"] = write_array(folder / "widths.npy", _planted_widths(truth, vocabularies))
    if keys is not None:
        digests["split"] = keys.digest
    encodings = {name: dataset.encoding(name) for name in fields}
    meta = TableMeta(
        name=dataset.name,
        spec=dataset.spec,
        options=dataset.options(),
        version=dataset.version,
        licence=dataset.licence,
        versions={
            "pepbench": pepbench.__version__,
            "numpy": np.__version__,
            "pyarrow": pa.__version__,
        },
        fields=fields,
        cardinalities=tuple(map(len, vocabularies.values())),
        n_rows=n_rows,
        n_positive=n_positive,
        fingerprint=fingerprint,
        digests=digests,
        sources=sources(),
        sizes=file_sizes(folder),
        bayes_auc=truth.bayes_auc if truth is not None else None,
        split_scheme=scheme,
        kinds={name: kind for name, kind in kinds.items() if kind not in (None, "text")},
        encodings={name: e for name, e in encodings.items() if e != FieldEncoding()},
        bags=of_bags,
        dense=transforms,
    )
    write_atomically(folder / "meta.json", meta.model_dump_json(indent=1).encode() + b"\n")
    mark_checked(folder / "codes.npy")


def sampled_blocks(dataset: Dataset, source: Path | None) -> Iterator[Block]:
    """Yield the blocks of a data set; where it has a ``sample``, only so many rows, at random.

    The rows are then read twice, since their number must be known to choose among them. The choice
    does not depend on how rows are cut into blocks.

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
            f"data set {dataset.spec!r} has {n_rows:,} rows, "
            f"fewer than the {dataset.sample:,} asked for"
        )
    chosen = sample_of_rows(n_rows, dataset.sample, SAMPLE_SEED)
    at = 0
    for block in dataset.blocks(source):
        of_block = chosen[at : at + len(block.labels)]
        at += len(of_block)
        mask = pa.array(of_block)
        columns = {name: column.filter(mask) for name, column in block.columns.items()}
        key = block.split_key.filter(mask) if block.split_key is not None else None
        dense = {name: numbers[of_block] for name, numbers in block.dense.items()}
        yield Block(columns, block.labels[of_block], key, dense, block.kinds)


def _encode(
    block: Block,
    vocabularies: list[Vocabulary],
    bags: dict[int, BagWriter],
    pool: ThreadPoolExecutor,
) -> NDArray[np.int32]:
    """Codes of a block's rows, (n, F), numbers of values for bags; one thread encodes a field."""
    columns = list(block.columns.values())
    # Field by field first: threads that write to the same cache lines slow each other down.
    by_field = np.empty((len(columns), len(block.labels)), dtype=np.int32)

    fields = iter(range(len(columns)))

    def encode_some(_: int) -> None:
        for field in fields:
            if field in bags:
                bags[field].encode(columns[field], vocabularies[field], by_field[field])
            else:
                vocabularies[field].encode(columns[field], by_field[field])

    list(pool.map(encode_some, range(usable_threads())))
    return by_field.T


def _split_keys(
    dataset: Dataset, block: Block, scheme: SplitScheme, groups: Vocabulary, first_row: int
) -> NDArray[np.int64]:
    """The keys to split a block's rows by, (n,); users are numbered by first appearance."""
    column = block.split_key
    where = f"data set {dataset.spec!r}"
    if column is None or len(column) != len(block.labels):
        raise DataError(f"{where}: a block lacks the key to split rows by")
    if scheme == "group":
        return groups.encode(column).astype(np.int64)
    if column.null_count:
        row = first_row + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(f"{where}, row {row + 1}: no {scheme} to split by; drop such rows")
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.int64)


def _write_vocabularies(path: Path, vocabularies: dict[str, Vocabulary]) -> None:
    schema = pa.schema({"field": pa.string(), "value": pa.string()})
    with pq.ParquetWriter(path, schema) as writer:
        for name, vocabulary in vocabularies.items():
            for part in vocabulary.slices():
                fields = pa.repeat(pa.scalar(name), len(part))
                writer.write_table(pa.table([fields, part.cast(pa.string())], schema=schema))


def _planted_widths(truth: Truth, vocabularies: dict[str, Vocabulary]) -> NDArray[np.int32]:
    widths = [
        truth.widths[name][value]
        for name, vocabulary in vocabularies.items()
        for part in vocabulary.slices()
        for value in part.to_pylist()
    ]
    return np.array(widths, dtype=np.int32)
