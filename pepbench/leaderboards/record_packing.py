"""Stores all records of a leaderboard in one Parquet file, without loss.

Figures have columns of their own, so that other programs can read them; curves are lists of
numbers, which are much smaller than text; everything else is the record's JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pepbench.errors import RecordError
from pepbench.records import Record, figures_of, parse_record
from pepbench.records.files import parquet_bytes
from pepbench.records.segments import COLUMNS, FIGURES

RECORDS_FILE = "records.parquet"

EXTRACT_FILE = "extract.parquet"
"""What of the records comparisons over folds need; installed packages have this one only."""

MOST_RECORDS, MOST_BYTES = 1_000_000, 2 * 10**9
"""Limits of a file that is read, before compression: a small file can hold more than fits in
memory."""

_POINT = pa.struct(
    [
        ("epoch", pa.int64()),
        ("train_loss", pa.float64()),
        ("auc", pa.float64()),
        ("log_loss", pa.float64()),
        ("gauc", pa.float64()),
    ]
)
_KEPT = pa.struct([("step", pa.int64()), ("parameters", pa.int64())])
SCHEMA = pa.schema(
    [
        *(COLUMNS.field(name) for name in FIGURES),
        ("test_log_loss", pa.float64()),
        ("predictions_sha256", pa.string()),
        ("curve", pa.list_(_POINT)),
        ("kept", pa.list_(_KEPT)),
        ("record", pa.string()),
    ]
)
"""Columns of the file. ``predictions_sha256`` is the checksum of the ``.npy`` file of test
probabilities, ``record`` the record's JSON without its curves."""


def packed(records: Iterable[Record], plan: str = "") -> bytes:
    """The content of the file: one row for each record, sorted by key.

    ``plan`` is the TOML of the plan that made the records; :func:`plan_of` reads it.
    """
    rows = [_row(record) for record in sorted(records, key=lambda record: record.key)]
    table = pa.Table.from_pylist(rows, SCHEMA.with_metadata({"plan": plan}) if plan else SCHEMA)
    return parquet_bytes(table, compression="zstd", compression_level=12)


def plan_of(path: Path) -> bytes | None:
    """The TOML of the plan that made a file's records; None if the file does not say."""
    with reading(path, "is no whole file of records"):
        return (pq.read_schema(path).metadata or {}).get(b"plan")


def unpacked(path: Path) -> list[Record]:
    """Read the records of a file.

    Raises
    ------
    RecordError
        If the file is missing, damaged, of another kind, or holds records of another version.
    """
    with reading(path, "is no whole file of records"):
        # Older files lack ``kept``; missing columns are skipped.
        file = pq.ParquetFile(path)
        groups = (file.metadata.row_group(n) for n in range(file.metadata.num_row_groups))
        held = sum(group.total_byte_size for group in groups)
        if file.metadata.num_rows > MOST_RECORDS or held > MOST_BYTES:
            raise RecordError(
                f"{path}: holds {file.metadata.num_rows:,} records in {held:,} bytes, and "
                f"{MOST_RECORDS:,} in {MOST_BYTES:,} at most are read"
            )
        table = file.read(columns=["key", "curve", "kept", "record"])
        records = [_record(row, path) for row in table.to_pylist()]
    return records


@contextmanager
def reading(path: Path, damaged: str) -> Iterator[None]:
    """Turn errors of reading a published Parquet file into :class:`RecordError` with the remedy."""
    try:
        yield
    except FileNotFoundError:
        raise RecordError(
            f"{path}: no such file; run: pepbench leaderboard {path.parent.name}"
        ) from None
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        first_line = str(error).strip().split("\n")[0]
        raise RecordError(
            f"{path}: {damaged} ({first_line}); restore it from the repository"
        ) from None


def _row(record: Record) -> dict[str, Any]:
    return figures_of(record) | {
        "test_log_loss": None if record.test is None else record.test.log_loss,
        "predictions_sha256": record.predictions_sha256,
        "curve": [point.model_dump() for point in record.curve],
        "kept": [point.model_dump() for point in record.kept],
        "record": record.model_dump_json(exclude={"curve", "kept"}),
    }


def _record(row: dict[str, Any], path: Path) -> Record:
    curves = json.dumps({"curve": row["curve"], "kept": row.get("kept", [])})
    # One object of two, as text: parsing the larger one here takes longer than all else.
    record = parse_record(f"{row['record'].rstrip()[:-1]},{curves[1:]}".encode(), path)
    if not record.key == record.spec.key() == row["key"]:
        raise RecordError(
            f"{path}: record {row['key'][:12]} is not what its key says; restore the file from "
            "the repository"
        )
    return record
