"""Arrays on disk: written block by block, memory-mapped, and verified by digest."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES = 1 << 22
SMALL_BYTES = 1 << 17
"""Smaller blocks are written without a thread, which would cost more than it saves."""


class ArrayWriter:
    """An ``.npy`` file that grows by blocks of rows; its length need not be known in advance.

    A context manager: the header is completed at its end. A thread writes and hashes a block while
    the next one is computed; its exceptions are raised at the next call.

    Parameters
    ----------
    path
        The file to create.
    dtype
        Type of the entries; blocks are converted to it.
    row_shape
        Shape of one row: ``(F,)`` for an array (n, F), ``()`` for an array (n,).
    """

    def __init__(self, path: Path, dtype: str, row_shape: tuple[int, ...] = ()) -> None:
        self.dtype = np.dtype(dtype)
        self.row_shape = row_shape
        self.n_rows = 0
        self._digest = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None
        self._file = path.open("wb")
        self._write_header()
        self._header_bytes = self._file.tell()

    def append(self, block: NDArray[Any]) -> None:
        """Write further rows, (n, *row_shape), which must not be changed afterwards."""
        content = np.ascontiguousarray(block, dtype=self.dtype).reshape(-1, *self.row_shape)
        self._wait()
        if content.nbytes < SMALL_BYTES:
            self._write(content)
        else:
            self._pending = self._thread.submit(self._write, content)
        self.n_rows += len(content)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the rows so far, whatever blocks they came in."""
        self._wait()
        return self._digest.hexdigest()

    def _write(self, content: NDArray[Any]) -> None:
        self._file.write(content.data)
        self._digest.update(content.data)

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._thread.shutdown()
            # On a full disk, closing fails as well, for what has not been written yet.
            with suppress(OSError):
                self._file.close()
            return
        with self._file, self._thread:
            self._wait()
            self._file.seek(0)
            self._write_header()
            # numpy leaves room in the header for the first axis to grow.
            assert self._file.tell() == self._header_bytes

    def _write_header(self) -> None:
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self.dtype),
                "fortran_order": False,
                "shape": (self.n_rows, *self.row_shape),
            },
        )


def write_array(path: Path, array: NDArray[Any]) -> str:
    """Write a whole array; returns the SHA-256 of its rows."""
    with ArrayWriter(path, array.dtype.str, array.shape[1:]) as writer:
        writer.append(array)
    return writer.digest


def map_array(path: Path) -> NDArray[Any]:
    """Map an ``.npy`` file into memory, read-only."""
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def read_rows(array: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
    """A copy of some rows of an array, for passes over all of it.

    A mapped array is mapped anew: pages stay in memory until their mapping is closed, so that a
    pass through the array's own mapping would end with the whole file in memory.
    """
    if isinstance(array, np.memmap) and array.filename is not None:
        array = map_array(Path(array.filename))
    return np.array(array[start:stop])


def array_digest(array: NDArray[Any]) -> str:
    """SHA-256 (hex) of an array's rows: the :attr:`ArrayWriter.digest` of a finished file."""
    digest = hashlib.sha256()
    for start, stop in row_blocks(len(array), max(1, array[:1].nbytes)):
        digest.update(np.ascontiguousarray(read_rows(array, start, stop)).data)
    return digest.hexdigest()


def row_blocks(n_rows: int, row_bytes: int) -> list[tuple[int, int]]:
    """Bounds of consecutive blocks of a few megabytes: [(0, stop), (stop, …), …]."""
    step = max(1, CHUNK_BYTES // row_bytes)
    return [(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def json_digest(content: object, length: int = 16) -> str:
    """The first hex digits of the SHA-256 of a value, written as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:length]
