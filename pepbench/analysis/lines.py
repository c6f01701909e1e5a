"""Many long vectors of one length, and the sums of their products, in bounded memory."""

from __future__ import annotations

import tempfile
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

IN_MEMORY = 2**28
"""Up to this many bytes of lines stay in memory, in double precision; larger sets go to an unnamed
temporary file, in single precision: what is stored is rounded by 6e-8, sums are not."""

_BLOCK = 2**22
"""Numbers of a block of columns: 32 MiB in double precision."""


class Lines:
    """R vectors of one length, set one by one and in any order, from any thread.

    Parameters
    ----------
    n_lines, length
        R and the length. Lines that were never set are zero.
    in_memory
        Bytes above which a temporary file is taken.
    """

    def __init__(self, n_lines: int, length: int, in_memory: int = IN_MEMORY) -> None:
        self.shape = n_lines, length
        self._file: IO[bytes] | None = None
        self._array = np.zeros(self.shape if 8 * n_lines * length <= in_memory else (0, 0))
        if not self._array.size and n_lines * length:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
            self._file.truncate(4 * n_lines * length)

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

    def put(self, line: int, values: Floats) -> None:
        """Set one line, (length,)."""
        self._numbers()[line] = values

    def products(self, start: int, stop: int, centres: Floats) -> Floats:
        """Sums over the columns from ``start`` to ``stop`` of the products of centred lines.

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
        total = np.zeros((n_lines, n_lines))
        width = max(1, _BLOCK // max(1, n_lines))
        for begin in range(start, stop, width):
            end = min(stop, begin + width)
            block = self._numbers()[:, begin:end] - centres[:, None]
            total += block @ block.T
        return total

    def _numbers(self) -> NDArray[np.floating]:
        """The lines; a file is mapped anew each time, so that touched pages are let go."""
        if self._file is None:
            return self._array
        return np.memmap(self._file, np.float32, "r+", shape=self.shape)
