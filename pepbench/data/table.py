"""Tables: a data set's rows as integers, with the vocabularies that tell what they mean.

A table's folder holds

* ``codes.npy`` (rows, F) int32: for each field the position of the raw value in its vocabulary;
* ``labels.npy`` (rows,) uint8: 0 or 1;
* ``vocabularies.parquet``: the raw values of all fields in order of first appearance;
* ``widths.npy``, only where a truth is planted: the true width of each of those values;
* ``meta.json``: everything else (:class:`TableMeta`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

import pepbench
from pepbench.component import Value
from pepbench.data.arrays import ArrayWriter, array_digest, map_array, write_array
from pepbench.data.cache import file_sizes, wrong_sizes
from pepbench.data.dataset import Block, Dataset, Truth
from pepbench.errors import DataError
from pepbench.records import write_atomically

Progress = Callable[[int], None]
"""Called with the number of rows written so far."""


class TableMeta(BaseModel):
    """What ``meta.json`` says about a table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: Literal[1] = 1
    name: str
    """Of the data set."""
    spec: str
    options: dict[str, Value]
    version: int
    licence: str
    versions: dict[str, str]
    """Of the programs that built the table."""
    fields: tuple[str, ...]
    """Names of the F fields."""
    cardinalities: tuple[int, ...]
    """How many raw values each field has over all rows."""
    n_rows: int
    n_positive: int
    fingerprint: str
    """First 16 hex digits of the SHA-256 over field names and ``digests``."""
    digests: dict[str, str]
    """SHA-256 of the content of codes, labels, vocabularies, and widths where there are any."""
    sources: dict[str, str]
    """SHA-256 of the raw files."""
    sizes: dict[str, int]
    """Bytes of the files beside this one."""
    bayes_auc: float | None = None
    """AUC of the planted probabilities."""


@dataclass(frozen=True, eq=False)
class Table:
    """An encoded data set in its folder. Arrays are opened when asked for."""

    folder: Path
    meta: TableMeta

    @property
    def fingerprint(self) -> str:
        """The same for two tables exactly if names, values, codes and labels are the same."""
        return self.meta.fingerprint

    @cached_property
    def codes(self) -> NDArray[np.int32]:
        """Shape (rows, F): positions in the vocabularies; memory-mapped."""
        return map_array(self.folder / "codes.npy")

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """Shape (rows,): 0 or 1; memory-mapped."""
        return map_array(self.folder / "labels.npy")

    @cached_property
    def vocabularies(self) -> tuple[list[str], ...]:
        """For each field its raw values as text, in order of first appearance."""
        values = pq.read_table(self.folder / "vocabularies.parquet")["value"].to_pylist()
        ends = np.cumsum(self.meta.cardinalities).tolist()
        return tuple(values[start:end] for start, end in zip([0, *ends], ends, strict=False))

    @cached_property
    def widths(self) -> NDArray[np.int32] | None:
        """Shape (Σ raw cardinalities,): true width of each raw value, field after field.

        None where no truth is planted.
        """
        path = self.folder / "widths.npy"
        return map_array(path) if path.name in self.meta.sizes else None

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Shape (F,): where each field's raw values begin when all are put in a row."""
        sizes = np.asarray(self.meta.cardinalities, dtype=np.int64)
        return np.cumsum(sizes) - sizes


class _Vocabulary:
    """Raw values of one field in order of first appearance."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}

    def encode(self, column: pa.Array) -> NDArray[np.int32]:
        """Codes of a block's values, (n,); new values are added."""
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        encoded = column.dictionary_encode(null_encoding="encode")
        values = pc.fill_null(encoded.dictionary.cast(pa.string()), "").to_pylist()
        known = self.codes
        codes = np.array([known.setdefault(value, len(known)) for value in values], dtype=np.int32)
        block: NDArray[np.int32] = codes[encoded.indices.to_numpy(zero_copy_only=False)]
        return block


def write_table(
    dataset: Dataset,
    source: Path | None,
    folder: Path,
    *,
    sources: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> None:
    """Encode all rows of a data set into an empty folder.

    Memory is bounded by the vocabularies and one block.

    Parameters
    ----------
    dataset
        Yields the rows.
    source
        Folder of raw files, None for generated data sets.
    folder
        Where to write.
    sources
        SHA-256 of the raw files, to be noted.
    progress
        Called after each block.

    Raises
    ------
    DataError
        If a label is not 0 or 1, all labels are equal, there are no rows, or blocks do not fit
        together.
    """
    vocabularies: dict[str, _Vocabulary] = {}
    n_positive = 0
    with ExitStack() as files:
        labels = files.enter_context(ArrayWriter(folder / "labels.npy", "|u1"))
        codes: ArrayWriter | None = None
        for block in dataset.blocks(source):
            if codes is None:
                vocabularies = {name: _Vocabulary() for name in block.columns}
                shape = (len(vocabularies),)
                codes = files.enter_context(ArrayWriter(folder / "codes.npy", "<i4", shape))
            _check_block(dataset, block, list(vocabularies), labels.n_rows)
            encoded = [vocabularies[name].encode(col) for name, col in block.columns.items()]
            codes.append(np.column_stack(encoded))
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
            "there is nothing to learn"
        )

    values = {name: list(vocabulary.codes) for name, vocabulary in vocabularies.items()}
    _write_vocabularies(folder / "vocabularies.parquet", values)
    digests = {
        "codes": codes.digest,
        "labels": labels.digest,
        "vocabularies": vocabulary_digest(values.values()),
    }
    fingerprint = table_fingerprint(tuple(values), digests)
    truth = dataset.truth()
    if truth is not None:
        digests["widths"] = write_array(folder / "widths.npy", _planted_widths(truth, values))
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
        fields=tuple(values),
        cardinalities=tuple(len(of_field) for of_field in values.values()),
        n_rows=n_rows,
        n_positive=n_positive,
        fingerprint=fingerprint,
        digests=digests,
        sources=sources or {},
        sizes=file_sizes(folder),
        bayes_auc=truth.bayes_auc if truth is not None else None,
    )
    write_atomically(folder / "meta.json", meta.model_dump_json(indent=1).encode() + b"\n")


def read_table(folder: Path) -> Table:
    """Open a table; looks at the presence and size of its files, not at their content.

    Raises
    ------
    DataError
        If a file is missing or damaged.
    """
    path = folder / "meta.json"
    try:
        meta = TableMeta.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError:
        raise DataError(f"{path} is damaged") from None
    problems = wrong_sizes(folder, meta.sizes)
    if problems:
        raise DataError(f"{folder} is damaged: {', '.join(problems)}")
    return Table(folder, meta)


def verify_table(table: Table) -> list[str]:
    """Recompute all checksums of a table; one line for each that differs."""
    digests = {}
    try:
        digests = {
            "codes": array_digest(table.codes),
            "labels": array_digest(table.labels),
            "vocabularies": vocabulary_digest(table.vocabularies),
        }
        if table.widths is not None:
            digests["widths"] = array_digest(table.widths)
    except (ValueError, KeyError, pa.ArrowException) as error:
        return [f"{table.folder} cannot be read: {error}"]
    problems = [
        f"{table.folder}: the content of {name} does not match its checksum"
        for name, digest in table.meta.digests.items()
        if digests.get(name) != digest
    ]
    if table_fingerprint(table.meta.fields, table.meta.digests) != table.fingerprint:
        problems.append(f"{table.folder / 'meta.json'}: the fingerprint does not match")
    return problems


def table_fingerprint(fields: tuple[str, ...], digests: dict[str, str]) -> str:
    """16 hex digits of SHA-256 over field names, codes, labels and vocabularies."""
    content = [fields, digests["codes"], digests["labels"], digests["vocabularies"]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def vocabulary_digest(vocabularies: Iterable[list[str]]) -> str:
    """SHA-256 (hex) of the fields' values in order."""
    digest = hashlib.sha256()
    for values in vocabularies:
        digest.update(json.dumps(values).encode() + b"\n")
    return digest.hexdigest()


def _write_vocabularies(path: Path, vocabularies: dict[str, list[str]]) -> None:
    names = np.repeat(list(vocabularies), [len(values) for values in vocabularies.values()])
    values = [value for of_field in vocabularies.values() for value in of_field]
    table = pa.table(
        {"field": pa.array(names, pa.string()), "value": pa.array(values, pa.string())}
    )
    pq.write_table(table, path)


def _planted_widths(truth: Truth, vocabularies: dict[str, list[str]]) -> NDArray[np.int32]:
    widths = [
        truth.widths[name][value] for name, values in vocabularies.items() for value in values
    ]
    return np.array(widths, dtype=np.int32)


def _check_block(dataset: Dataset, block: Block, fields: list[str], first_row: int) -> None:
    """Refuse a block that does not continue the table; rows are counted from 1."""
    where = f"data set {dataset.spec!r}"
    if not fields or list(block.columns) != fields:
        raise DataError(f"{where}: block with fields {list(block.columns)}, expected {fields}")
    lengths = {len(column) for column in block.columns.values()} | {len(block.labels)}
    if len(lengths) != 1:
        raise DataError(f"{where}: columns and labels of a block differ in length: {lengths}")
    wrong = np.flatnonzero((block.labels != 0) & (block.labels != 1))
    if len(wrong):
        value = block.labels[wrong[0]].item()
        raise DataError(
            f"{where}, row {first_row + int(wrong[0]) + 1}: label is {value!r}, expected 0 or 1"
        )
