"""Many long vectors of one length, and the sums of their products, in bounded memory."""

from __future__ import annotations

import io
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray
from threadpoolctl import ThreadpoolController

from pepbench.cores import usable_cores

Floats = NDArray[np.float64]

IN_MEMORY = 2**28
"""Up to this many bytes of lines stay in memory; larger sets go to an unnamed temporary file. Whole
numbers stay exact there; floating ones are kept in single precision, that is rounded by 6e-8, while
their sums are not."""

_BLOCK = 2**20
"""Numbers of a block of columns: 8 MiB in double precision, on each thread."""


class Lines:
    """R vectors of one length, set one by one and in any order, from any thread.

    Parameters
    ----------
    n_lines, length
        R and the length. Lines that were never set are zero.
    kind
        Type of the numbers.
    in_memory
        Bytes above which a temporary file is taken.
    """

    def __init__(
        self,
        n_lines: int,
        length: int,
        kind: DTypeLike = np.float64,
        in_memory: int = IN_MEMORY,
    ) -> None:
        self.shape = n_lines, length
        self._kind: np.dtype[Any] = np.dtype(kind)
        self._file: io.FileIO | None = None
        self._turn = threading.Lock()
        if n_lines * length * self._kind.itemsize <= in_memory:
            self._array = np.zeros(self.shape, self._kind)
        else:
            self._kind = np.dtype(np.float32) if self._kind.kind == "f" else self._kind
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (closed by __exit__)
            self._file.truncate(n_lines * length * self._kind.itemsize)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def put(self, line: int, values: NDArray[Any]) -> None:
        """Set one line, (length,)."""
        if self._file is None:
            self._array[line] = values
            return
        left = np.ascontiguousarray(values, self._kind).data.cast("B")
        with self._turn:
            self._file.seek(line * self.shape[1] * self._kind.itemsize)
            while left:
                left = left[self._file.write(left) :]

    def products(self, start: int, stop: int, centres: Floats) -> Floats:
        """Sums over the columns from ``start`` to ``stop`` of the products of centred lines.

        Blocks of columns are multiplied on as many threads as there are processors and added in
        their order, so that the sums do not depend on the number of threads.

        Parameters
        ----------
        start, stop
            Columns.
        centres
            (R,): taken from every number of a line.

        Returns
        -------
        numpy.ndarray
            (R, R): Σ_i (x_ri − c_r)(x_si − c_s), in double precision.
        """
        n_lines = self.shape[0]
        width = max(1, _BLOCK // max(1, n_lines))

        def multiply(begin: int) -> Floats:
            block = self._columns(begin, min(stop, begin + width)) - centres[:, None]
            product: Floats = block @ block.T
            return product

        total = np.zeros((n_lines, n_lines))
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
        for line, values in enumerate(block):
            left = values.data.cast("B")
            with self._turn:
                self._file.seek((line * self.shape[1] + begin) * self._kind.itemsize)
                while left:
                    left = left[self._file.readinto(left) :]
        return block


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()
