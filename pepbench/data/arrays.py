"""Arrays on disk that are written block by block, mapped into memory, and checked by digest."""

from __future__ import annotations

import hashlib
import math
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES = 1 << 22
SMALL_BYTES = 1 << 17
"""Blocks that are not worth the hand-over to a thread."""


class ArrayWriter:
    """An ``.npy`` file that grows by blocks of rows; its length is not known beforehand.

    Use it as a context manager: the header is completed on leaving. A thread of its own writes and
    hashes a block while the next one is made; what goes wrong there is raised at the next call.

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
        self._under_way: Future[None] | None = None
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
            self._under_way = self._thread.submit(self._write, content)
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
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

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
    """Rows of a mapped array, read from its file: for passes over all of it.

    Mapped pages would stay in memory, and a pass over a large file would seem to need all of it.
    """
    if not isinstance(array, np.memmap) or array.filename is None:
        return array[start:stop]
    shape = (min(stop, len(array)) - start, *array.shape[1:])
    row_bytes = array.itemsize * math.prod(array.shape[1:])
    offset = array.offset + start * row_bytes
    count = math.prod(shape)
    return np.fromfile(array.filename, array.dtype, count, offset=offset).reshape(shape)


def array_digest(array: NDArray[Any]) -> str:
    """SHA-256 (hex) of an array's rows: :attr:`ArrayWriter.digest` of a whole file."""
    digest = hashlib.sha256()
    for start, stop in row_blocks(len(array), max(1, array[:1].nbytes)):
        digest.update(np.ascontiguousarray(read_rows(array, start, stop)).data)
    return digest.hexdigest()


def row_blocks(n_rows: int, row_bytes: int) -> list[tuple[int, int]]:
    """Bounds of consecutive blocks of a few megabytes: [(0, stop), (stop, …), …]."""
    step = max(1, CHUNK_BYTES // row_bytes)
    return [(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]
