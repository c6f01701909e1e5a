"""How many rows files are likely to hold, and how much room their tables take."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
from pyarrow import CompressedInputStream

from pepbench.data.line_blocks import readable

SAMPLE_BYTES = 1 << 22
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
PARQUET = (".parquet", ".pq")
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def estimated_rows(files: Mapping[str, Path]) -> int:
    """Rows of the largest file: of Parquet as it says, of text by the length of its first lines."""
    path = max(files.values(), key=lambda path: path.stat().st_size)
    with readable(path):
        if path.suffix in PARQUET:
            return int(pq.ParquetFile(path).metadata.num_rows)
        with path.open("rb") as file:
            compression = COMPRESSIONS.get(path.suffix)
            stream = CompressedInputStream(file, compression) if compression else file
            sample = stream.read(SAMPLE_BYTES)
            read = max(1, file.tell())
    lines: int = sample.count(b"\n")
    return max(1, round(lines * path.stat().st_size / read))


def table_bytes(n_rows: int, n_fields: int) -> int:
    """What a table and one split of it take up at most, vocabularies left out.

    >>> table_bytes(45_840_617, 39)
    14393953738
    """
    return n_rows * (2 * (4 * n_fields + 1))


def in_words(n_bytes: float) -> str:
    """Bytes for people.

    >>> in_words(14_393_953_738), in_words(2_500)
    ('14.4 GB', '2.5 kB')
    """
    for unit in ("bytes", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.1f} {unit}" if unit != "bytes" else f"{n_bytes:.0f} bytes"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"
