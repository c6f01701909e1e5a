"""Segments: many finished records in one Parquet file, found by key.

One file for each record is the safest against power failures, but a million files take minutes to
open. A segment holds the same JSON texts, sorted by key, and their figures as columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pepbench.errors import RecordError
from pepbench.records.files import parquet_bytes

ROWS_AT_ONCE = 250
"""Records in a row group; few, since a resumed run reads records in random order."""

GROUPS_KEPT = 48
"""Row groups of a segment that stay in memory, some 35 MB: a resumed run of 10,000 trials reads
each of them once."""

COLUMNS = pa.schema(
    [
        ("key", pa.string()),
        ("dataset", pa.string()),
        ("backbone", pa.string()),
        ("method", pa.string()),
        ("budget", pa.string()),
        ("fold", pa.int64()),
        ("role", pa.string()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("n_parameters", pa.int64()),
        ("n_bytes", pa.int64()),
        ("validation_auc", pa.float64()),
        ("test_auc", pa.float64()),
        ("seconds", pa.float64()),
        ("record", pa.binary()),
    ]
)
"""Columns of a segment; ``record`` is the JSON text, ``seconds`` the wall time of all phases."""

FIGURES = [name for name in COLUMNS.names if name != "record"]
"""All columns but the text."""


def segment_bytes(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """The content of a segment.

    Parameters
    ----------
    rows
        A value for each of :data:`COLUMNS`, in any order.
    """
    ordered = sorted(rows, key=lambda row: row["key"])
    return parquet_bytes(
        pa.Table.from_pylist(ordered, COLUMNS),
        compression="zstd",
        row_group_size=ROWS_AT_ONCE,
        write_page_checksum=True,
    )


class Segment:
    """A segment opened for reading.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    RecordError
        If the file is truncated or not a segment.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
            missing = set(COLUMNS.names) - set(self._file.schema_arrow.names)
            if missing:
                raise RecordError(f"{path}: is no segment of records")
            keys = self._file.read(["key"]).column("key").to_numpy(zero_copy_only=False)
        except (pa.ArrowException, OSError) as error:
            raise RecordError(f"{path}: {' '.join(str(error).split())}") from None
        self.keys: NDArray[np.bytes_] = keys.astype("S64")
        """(n,), ascending."""
        self._group = lru_cache(GROUPS_KEPT)(self._read_group)

    def text(self, key: str) -> bytes | None:
        """The JSON text of the record of ``key``; None if it is not in the segment.

        Raises
        ------
        RecordError
            If it cannot be read.
        """
        sought = np.bytes_(key.encode())
        position = int(np.searchsorted(self.keys, sought))
        if position == len(self.keys) or self.keys[position] != sought:
            return None
        group, row = divmod(position, ROWS_AT_ONCE)
        text: bytes = self._group(group)[row].as_py()
        return text

    def _read_group(self, group: int) -> pa.ChunkedArray:
        try:
            return self._file.read_row_group(group, ["record"]).column("record")
        except (pa.ArrowException, OSError) as error:
            raise RecordError(f"{self.path}: {' '.join(str(error).split())}") from None

    def texts(self) -> Iterator[bytes]:
        """The JSON texts of all records, by key.

        Raises
        ------
        RecordError
            If one cannot be read.
        """
        for key in self.keys.tolist():
            text = self.text(key.decode())
            assert text is not None
            yield text

    def figures(self) -> pa.Table:
        """All columns but the text."""
        return self._file.read(FIGURES)
