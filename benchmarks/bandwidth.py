"""The machine's memory bandwidth, and the least that a step must move through it.

``python -m benchmarks.bandwidth`` prints the bandwidth alone.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numba
import numpy as np
from numpy.typing import NDArray

from benchmarks.problem import Problem

TRIAD_ELEMENTS = 32 * 2**20
"""Of each of three float64 arrays: 256 MiB each, far above any cache."""
FLOAT = 4
"""Bytes of a value, a moment or a gradient."""


@numba.njit(parallel=True, fastmath=True)
def _triad(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]
) -> None:  # pragma: no cover
    for k in numba.prange(a.shape[0]):
        a[k] = b[k] + 3.0 * c[k]


def triad_bandwidth(threads: int, rounds: int = 5) -> float:
    """Bytes a second of a[k] = b[k] + 3·c[k], median over ``rounds``.

    Counted as STREAM counts: two reads and one write. The read of a line before it is written,
    which the processor adds, is not counted.
    """
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        a, b, c = (np.full(TRIAD_ELEMENTS, value) for value in (0.0, 1.0, 2.0))
        _triad(a, b, c)
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            _triad(a, b, c)
            seconds.append(time.perf_counter() - start)
    finally:
        numba.set_num_threads(before)
    return 3 * a.nbytes / statistics.median(seconds)


def bytes_of_step(problem: Problem, dense: bool) -> float:
    """The least that a step of the factorisation machine must read from and write to memory.

    Of B rows, F fields, N features, of which the batch looks up U, and w = D + 1 numbers a feature
    (its vector and its first-order weight), of 4 bytes each:

    * the batch: B·F ids of 4 bytes and B labels of one, read once;
    * lookup: U·w values read. A feature that rows of the batch share is read once, the rest is the
      caches' business;
    * gradient: U·w numbers written, and read by the optimizer. It cannot go straight into the
      update, since the norm of all of it decides on clipping;
    * Adam by the row: values and both moments of U·w numbers read and written, 6·U·w;
    * dense Adam instead: a gradient of N·w written and read, and 6·N·w for values and moments.

    What we choose to do beyond (indices of distinct rows, the sweep that makes good the decay of
    untouched rows, activations) is not in the bound, and lowers the fraction that we reach.
    """
    size = problem.size
    width = size.dim + 1
    batch = size.batch * (size.fields * FLOAT + 1)
    touched = problem.distinct_features * width * FLOAT
    updated = problem.fields.n_features * width * FLOAT if dense else touched
    return batch + touched + (2 + 6) * updated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    for threads in arguments.threads:
        speed = triad_bandwidth(threads)
        print(f"{threads} thread{'s'[: threads > 1]}: {speed / 1e9:.1f} GB/s")


if __name__ == "__main__":
    main()
