"""Export a data set's rows to a Parquet file: raw values, labels, and the part of each row."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pepbench.data.bags import lists_of
from pepbench.data.readers.raw_files import PARQUET_SUFFIXES
from pepbench.data.split_schemes import LEFT_OUT, PARTS
from pepbench.data.splits import Splits
from pepbench.errors import DataError

ROWS_AT_A_TIME = 1 << 17
FIRST_COLUMNS = ("row", "split", "label")
"""Columns of every export, before those of the fields."""


def export(splits: Splits, path: Path) -> int:
    """Write all rows of a table, in its order.

    Columns are ``row`` (from 1), ``split`` (train, validation, test; null in a fold by time for
    later rows), ``label``, and the raw value
    of each field as text, or a list of texts for multi-valued fields, and the numbers of dense
    fields. The file is written completely or not at all.

    Returns
    -------
    The number of rows.

    Raises
    ------
    DataError
        If a field has the name of one of the other columns, or the file cannot be written, or
        holds something else, such as the rows that were added.
    """
    if path.suffix.lower() not in PARQUET_SUFFIXES:
        raise DataError(f"{path}: the export is a Parquet file; name it {path.stem}.parquet")
    if path.exists() and not _is_export(path):
        raise DataError(f"{path} exists and is no such export; remove it, or name another file")
    table = splits.table
    taken = {*FIRST_COLUMNS} & {*table.meta.fields, *table.meta.dense}
    if taken:
        raise DataError(f"field {min(taken)!r} has the name of a column of the export; rename it")
    parts = splits.parts()
    vocabularies = [pa.array(values, pa.string()) for values in table.vocabularies]
    named = list(zip(table.meta.fields, vocabularies, strict=True))
    names = pa.array(PARTS)
    kind = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema(
        dict(zip(FIRST_COLUMNS, (pa.int64(), kind, pa.uint8()), strict=True))
        | {n: pa.list_(kind) if n in table.meta.bags else kind for n in table.meta.fields}
        | dict.fromkeys(table.meta.dense, pa.float64())
    )
    try:
        with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
            unfinished = Path(folder) / path.name
            with pq.ParquetWriter(unfinished, schema) as writer:
                for start in range(0, table.meta.n_rows, ROWS_AT_A_TIME):
                    block = slice(start, min(start + ROWS_AT_A_TIME, table.meta.n_rows))
                    codes = table.codes[block]
                    columns = [
                        pa.array(np.arange(block.start, block.stop) + 1),
                        pa.DictionaryArray.from_arrays(
                            parts[block].astype(np.int32), names, mask=parts[block] == LEFT_OUT
                        ),
                        pa.array(table.labels[block]),
                        *(
                            _raw_values(
                                codes[:, table.meta.columns_of(field)],
                                values,
                                is_bag=name in table.meta.bags,
                            )
                            for field, (name, values) in enumerate(named)
                        ),
                        *(
                            pa.array(table.dense[block, k], from_pandas=True)
                            for k in range(len(table.meta.dense))
                        ),
                    ]
                    writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            unfinished.replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}") from None
    return table.meta.n_rows


def _is_export(path: Path) -> bool:
    """Whether a file is an earlier export, which may be replaced."""
    with suppress(OSError, pa.ArrowException):
        return tuple(pq.read_schema(path).names[:3]) == FIRST_COLUMNS
    return False


def _raw_values(codes: NDArray[np.int32], values: pa.Array, *, is_bag: bool) -> pa.Array:
    """The raw values of one field's codes (n, slots): text (n,), or lists of texts."""
    given = codes >= 0
    flat = np.ascontiguousarray(codes[given])
    texts = pa.DictionaryArray.from_arrays(flat, values)
    return lists_of(given.sum(axis=1), texts) if is_bag else texts
