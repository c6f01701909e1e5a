"""A matrix of runs × rows that may be larger than memory, and the products of its rows."""

from __future__ import annotations

import io
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray
from threadpoolctl import ThreadpoolController

from pepbench.cores import usable_cores

Floats = NDArray[np.float64]

IN_MEMORY = 2**28
"""Matrices of up to this many bytes stay in memory; larger ones go to an unnamed temporary file.
Whole numbers stay exact there; floating ones are stored in single precision, that is rounded by
6e-8, while their sums are not."""

_BLOCK = 2**20
"""Numbers of a block of columns: 8 MiB in double precision, on each thread."""


class ScoreMatrix:
    """One vector for each of R runs, set one by one and in any order, from any thread.

    Parameters
    ----------
    n_runs, length
        R, and the length of a vector. Vectors that were never set are zero.
    kind
        Type of the numbers.
    in_memory
        Bytes above which a temporary file is taken.
    """

    def __init__(
        self,
        n_runs: int,
        length: int,
        kind: DTypeLike = np.float64,
        in_memory: int = IN_MEMORY,
    ) -> None:
        self.shape = n_runs, length
        self._kind: np.dtype[Any] = np.dtype(kind)
        self._file: io.FileIO | None = None
        self._lock = threading.Lock()
        if n_runs * length * self._kind.itemsize <= in_memory:
            self._array = np.zeros(self.shape, self._kind)
        else:
            self._kind = np.dtype(np.float32) if self._kind.kind == "f" else self._kind
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (closed by __exit__)
            self._file.truncate(n_runs * length * self._kind.itemsize)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def put(self, run: int, values: NDArray[Any]) -> None:
        """Set the vector of a run, (length,)."""
        if self._file is None:
            self._array[run] = values
            return
        left = np.ascontiguousarray(values, self._kind).data.cast("B")
        with self._lock:
            self._file.seek(run * self.shape[1] * self._kind.itemsize)
            while left:
                left = left[self._file.write(left) :]

    def products(self, start: int, stop: int, centres: Floats) -> Floats:
        """Sums over the columns from ``start`` to ``stop`` of the products of centred vectors.

        Blocks of columns are multiplied on as many threads as there are cores and added in their
        order, so that the sums do not depend on the number of threads.

        Parameters
        ----------
        start, stop
            Columns.
        centres
            (R,): subtracted from every number of a vector.

        Returns
        -------
        numpy.ndarray
            (R, R): Σ_i (x_ri − c_r)(x_si − c_s), in double precision.
        """
        n_runs = self.shape[0]
        width = max(1, _BLOCK // max(1, n_runs))

        def multiply(begin: int) -> Floats:
            block = self._columns(begin, min(stop, begin + width)) - centres[:, None]
            product: Floats = block @ block.T
            return product

        total = np.zeros((n_runs, n_runs))
        # Threads of the linear algebra library would wait for one another in busy loops.
        with (
            _libraries().limit(limits=1, user_api="blas"),
            ThreadPoolExecutor(usable_cores()) as pool,
        ):
            for product in pool.map(multiply, range(start, stop, width)):
                total += product
        return total

    def _columns(self, begin: int, end: int) -> NDArray[Any]:
        """(R, end − begin)."""
        if self._file is None:
            return self._array[:, begin:end]
        block = np.empty((self.shape[0], end - begin), self._kind)
        for run, values in enumerate(block):
            left = values.data.cast("B")
            with self._lock:
                self._file.seek((run * self.shape[1] + begin) * self._kind.itemsize)
                while left:
                    left = left[self._file.readinto(left) :]
        return block


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()
