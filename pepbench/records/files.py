"""Atomic writing of files, and the bytes of ``.npy`` files."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file completely or not at all, even if the power fails; errors name the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):  # Of a full disk it has no name, else that of the new file.
            error.filename, error.filename2 = str(path), None
        raise


def write_if_new(path: Path, content: bytes) -> None:
    """Write a file unless it already has this content."""
    if not path.exists() or path.read_bytes() != content:
        write_atomically(path, content)


def npy_bytes(array: NDArray[Any]) -> bytes:
    """The content of an ``.npy`` file of ``array``."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def parquet_bytes(table: pa.Table, **options: Any) -> bytes:
    """The content of a Parquet file of ``table``; ``options`` are those of ``write_table``."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def load_npy(path: Path) -> NDArray[Any]:
    """The array of an ``.npy`` file."""
    array: NDArray[Any] = np.load(path, allow_pickle=False)
    return array


def npy_sha256(array: NDArray[Any]) -> str:
    """SHA-256 (hex) of the ``.npy`` file of ``array``."""
    return hashlib.sha256(npy_bytes(array)).hexdigest()
