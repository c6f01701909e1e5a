"""Tables: a data set's rows as integers, and the vocabularies that map them to raw values.

A table's folder holds

* ``codes.npy`` (rows, Σ slots) int32: for each field the position of the raw value in its
  vocabulary. A field has one column, a multi-valued one several *slots*, which hold −1 behind the
  row's last value;
* ``labels.npy`` (rows,) uint8: 0 or 1;
* ``dense.npy`` (rows, dense fields) float64, only if there are any: numbers, NaN where missing;
* ``vocabularies.parquet``: the raw values of all fields in order of first appearance;
* ``split.npy`` (rows,) int64, only where rows are not split at random: time, number of the group,
  or part of each row;
* ``widths.npy``, only for generated rows with a known truth: the true width of each raw value;
* ``meta.json``: everything else (:class:`TableMeta`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from pepbench.component import Value
from pepbench.data.arrays import array_digest, json_digest, map_array
from pepbench.data.bags import BagMeta
from pepbench.data.cache import wrong_sizes
from pepbench.data.dataset import SplitScheme
from pepbench.data.encoding import FieldEncoding
from pepbench.data.values import Kind
from pepbench.errors import DataError
from pepbench.serve.dense import Transform


class TableMeta(BaseModel):
    """Content of a table's ``meta.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: Literal[1] = 1
    name: str
    """Name of the data set."""
    spec: str
    options: dict[str, Value]
    version: int
    licence: str
    versions: dict[str, str]
    """Versions of the packages that built the table."""
    fields: tuple[str, ...]
    """Names of the F fields."""
    cardinalities: tuple[int, ...]
    """Number of raw values of each field over all rows."""
    n_rows: int
    n_positive: int
    fingerprint: str
    """First 16 hex digits of the SHA-256 over field names and ``digests``."""
    digests: dict[str, str]
    """SHA-256 of the content of codes, labels and vocabularies, and of widths and split if any."""
    sources: dict[str, str]
    """SHA-256 of the raw files."""
    sizes: dict[str, int]
    """Bytes of the other files in the folder."""
    bayes_auc: float | None = None
    """AUC of the true probabilities, where the rows were generated from them."""
    split_scheme: SplitScheme = "random"
    kinds: dict[str, Kind] = {}
    """Kinds of the fields' values, where they are not text."""
    encodings: dict[str, FieldEncoding] = {}
    """Encodings of fields, where features are not simply all values of the training rows."""

    bags: dict[str, BagMeta] = {}
    """The multi-valued fields."""
    dense: dict[str, Transform] = {}
    """How the numbers of each dense field are scaled."""

    @property
    def slots(self) -> tuple[int, ...]:
        """Columns of codes that each field takes."""
        return tuple(self.bags[name].slots if name in self.bags else 1 for name in self.fields)

    @property
    def slot_fields(self) -> NDArray[np.int64]:
        """Shape (Σ slots,): the field of each column of codes."""
        return np.repeat(np.arange(len(self.fields)), self.slots)

    def columns_of(self, field: int) -> slice:
        """The columns of codes that a field takes."""
        start = sum(self.slots[:field])
        return slice(start, start + self.slots[field])

    def kind(self, field: str) -> Kind:
        """What a field's raw values are, before they become text."""
        return self.kinds.get(field, "text")

    def encoding(self, field: str) -> FieldEncoding:
        """How the raw values of a field become features."""
        return self.encodings.get(field, FieldEncoding())


@dataclass(frozen=True, eq=False)
class Table:
    """An encoded data set in its folder. Arrays are opened on first use."""

    folder: Path
    meta: TableMeta

    @property
    def fingerprint(self) -> str:
        """Equal for two tables exactly if names, values, codes and labels are equal."""
        return self.meta.fingerprint

    @cached_property
    def codes(self) -> NDArray[np.int32]:
        """Shape (rows, Σ slots): positions in the vocabularies; memory-mapped."""
        return map_array(self.folder / "codes.npy")

    @cached_property
    def dense(self) -> NDArray[np.float64]:
        """Shape (rows, dense fields): numbers, NaN where missing; memory-mapped."""
        return map_array(self.folder / "dense.npy")

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """Shape (rows,): 0 or 1; memory-mapped."""
        return map_array(self.folder / "labels.npy")

    @cached_property
    def vocabularies(self) -> tuple[list[str], ...]:
        """For each field its raw values as text, in order of first appearance."""
        return tuple(self.values_of(field) for field in range(len(self.meta.fields)))

    @cached_property
    def widths(self) -> NDArray[np.int32] | None:
        """Shape (Σ raw cardinalities,): true width of each raw value, field after field.

        None where it is not known.
        """
        path = self.folder / "widths.npy"
        return map_array(path) if path.name in self.meta.sizes else None

    @cached_property
    def split_keys(self) -> NDArray[np.int64]:
        """Shape (rows,): what the rows are split by; absent where rows are split at random."""
        return map_array(self.folder / "split.npy")

    def values_of(self, field: int) -> list[str]:
        """Raw values of one field, in order of first appearance."""
        values: list[str] = self.values_array(field).to_pylist()
        return values

    def values_array(self, field: int) -> pa.ChunkedArray:
        """As :meth:`values_of`, in Arrow."""
        return self._values[self.slice_of(field)]

    def slice_of(self, field: int) -> slice:
        """Where a field's raw values are when those of all fields are concatenated."""
        start = int(self.offsets[field])
        return slice(start, start + self.meta.cardinalities[field])

    @cached_property
    def _values(self) -> pa.ChunkedArray:
        return pq.read_table(self.folder / "vocabularies.parquet")["value"]

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Shape (F,): start of each field's raw values among those of all fields."""
        sizes = np.asarray(self.meta.cardinalities, dtype=np.int64)
        return np.cumsum(sizes) - sizes


def read_table(folder: Path) -> Table:
    """Open a table; checks that its files exist and have the recorded size, not their content.

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
            "vocabularies": vocabulary_digest(
                table.values_array(field).chunks for field in range(len(table.meta.fields))
            ),
        }
        if "split" in table.meta.digests:
            digests["split"] = array_digest(table.split_keys)
        if table.meta.dense:
            digests["dense"] = array_digest(table.dense)
        if table.widths is not None:
            digests["widths"] = array_digest(table.widths)
    except (ValueError, KeyError, pa.ArrowException) as error:
        return [f"{table.folder} cannot be read: {error}"]
    problems = [
        f"{table.folder}: the content of {name} does not match its checksum"
        for name, digest in table.meta.digests.items()
        if digests.get(name) != digest
    ]
    meta = table.meta
    if table_fingerprint(meta.fields, meta.digests, meta.bags, meta.dense) != table.fingerprint:
        problems.append(f"{table.folder / 'meta.json'}: the fingerprint does not match")
    return problems


def table_fingerprint(
    fields: tuple[str, ...],
    digests: dict[str, str],
    bags: Mapping[str, BagMeta],
    dense: Mapping[str, Transform],
) -> str:
    """16 hex digits of SHA-256 over fields, codes, labels, vocabularies, bags and numbers."""
    content: list[object] = [fields, digests["codes"], digests["labels"], digests["vocabularies"]]
    if bags:
        content.append({name: (bag.slots, bag.pool) for name, bag in bags.items()})
    if dense:
        content += [list(dense.items()), digests["dense"]]
    return json_digest(content)


def vocabulary_digest(fields: Iterable[Iterable[pa.Array]]) -> str:
    """SHA-256 (hex) of the fields' values in order: each field as a JSON list and a newline.

    Each field is an iterable of parts, arrays of text.
    """
    digest = hashlib.sha256()
    for parts in fields:
        opening = b"["
        for part in filter(len, parts):
            digest.update(opening + json.dumps(part.to_pylist())[1:-1].encode())
            opening = b", "
        digest.update(b"]\n" if opening != b"[" else b"[]\n")
    return digest.hexdigest()
