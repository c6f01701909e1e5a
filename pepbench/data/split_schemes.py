"""Split schemes: which rows go to training (part 0), validation (1) and test (2).

One function for each scheme. A plan may have several folds: then the test parts of the folds are
disjoint, and at random and by user they cover all rows. Memory is one byte a row, and for splits by
user some more for each user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pepbench.data.arrays import read_rows
from pepbench.data.table import Table
from pepbench.errors import DataError
from pepbench.records import MOST_FOLDS

PARTS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST, LEFT_OUT = range(4)
SPLIT_STREAM = 0x73706C6974
"""Separates the split's random numbers from all others drawn with the same seed."""
HELD_OUT = 10
"""One in this many rows goes to validation, and as many to test."""
CHUNK_ROWS = 1 << 20
RADIX_BITS = 16

Chunks = Callable[[], Iterator[NDArray[np.uint64]]]
"""Starts a new pass over the same numbers, chunk by chunk."""


class Fold(NamedTuple):
    """One of several folds of a table.

    >>> str(Fold(2, 5))
    'fold 3/5'
    """

    number: int
    """From 0."""
    of: int

    def __str__(self) -> str:
        """As progress messages show it."""
        return f"fold {self.number + 1}/{self.of}"


SINGLE = Fold(0, 1)
"""The only split of a table that is not split into folds."""


def part_of_rows(n_rows: int, seed: int) -> NDArray[np.uint8]:
    """Assign rows at random: 80 % to part 0 (train), 10 % each to 1 (validation) and 2 (test).

    Rows are ranked by raw 64-bit draws of a seeded PCG64, since numpy guarantees that stream, but
    not the one of ``Generator.permutation``. The lowest tenth is for validation, the next for test.

    Returns
    -------
    Shape (n_rows,): the part of each row.

    Examples
    --------
    >>> np.bincount(part_of_rows(25, seed=0)).tolist()
    [21, 2, 2]
    """
    held_out = n_rows // HELD_OUT
    chunks = _draws(n_rows, seed, SPLIT_STREAM)
    parts = np.zeros(n_rows, dtype=np.uint8)
    parts[smallest(chunks, n_rows, 2 * held_out)] = TEST
    parts[smallest(chunks, n_rows, held_out)] = VALIDATION
    return parts


def fold_of_rows(n_rows: int, seed: int, fold: Fold) -> NDArray[np.uint8]:
    """Assign rows at random to the parts of one of several folds.

    Rows are ranked by the draws of :func:`part_of_rows`, the same for all folds of a seed; fold j
    of J tests the j-th of J equal shares of the ranks. Of the other rows a tenth of all rows, at
    least one, drawn for this fold alone, is for validation.

    Returns
    -------
    Shape (n_rows,): the part of each row.

    Examples
    --------
    >>> folds = np.array([fold_of_rows(25, 0, Fold(j, 5)) for j in range(5)])
    >>> bool(((folds == TEST).sum(0) == 1).all()), np.bincount(folds[0]).tolist()
    (True, [18, 2, 5])
    """
    begin, end = ((fold.number + k) * n_rows // fold.of for k in (0, 1))
    ranks = _draws(n_rows, seed, SPLIT_STREAM)
    test = smallest(ranks, n_rows, end) & ~smallest(ranks, n_rows, begin)
    others = np.flatnonzero(~test)
    draws = _draws(len(others), seed, SPLIT_STREAM + 2, fold.of, fold.number)
    parts = np.zeros(n_rows, dtype=np.uint8)
    parts[test] = TEST
    parts[others[smallest(draws, len(others), max(1, n_rows // HELD_OUT))]] = VALIDATION
    return parts


def sample_of_rows(n_rows: int, wanted: int, seed: int) -> NDArray[np.bool_]:
    """Choose ``wanted`` of the rows at random: shape (n_rows,), true for the chosen ones.

    >>> sample_of_rows(10, 4, seed=0).sum()
    np.int64(4)
    """
    return smallest(_draws(n_rows, seed, SPLIT_STREAM + 1), n_rows, min(wanted, n_rows))


def part_by_time(times: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Assign the earliest 80 % to training, the next 10 % to validation, the latest to test.

    Rows of the same time stay together, in the later part.

    Parameters
    ----------
    times
        Shape (rows,).

    Raises
    ------
    DataError
        If a part would have no rows.

    Examples
    --------
    >>> part_by_time(np.array([5, 0, 1, 2, 3, 4, 6, 7, 8, 9])).tolist()
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 2]
    """
    n_rows = len(times)
    held_out = n_rows // HELD_OUT
    chunks = _as_unsigned(times)
    begins = [_order_statistic(chunks, n_rows - k * held_out)[0] for k in (2, 1)]
    parts = np.zeros(n_rows, dtype=np.uint8)
    at = 0
    for chunk in chunks():
        part = (chunk >= begins[0]).astype(np.uint8) + (chunk >= begins[1])
        parts[at : at + len(chunk)] = part
        at += len(chunk)
    _refuse_empty(parts, "too many rows have the same time to split by it; split at random")
    return parts


def fold_by_time(times: NDArray[np.int64], fold: Fold) -> NDArray[np.uint8]:
    """Assign rows to the parts of one of several folds with rolling origins.

    The latest half of the rows is cut into J windows of equal size. Fold j tests the j-th window;
    as many rows just before it are for validation, the rows before those for training, and later
    rows are left out (part ``LEFT_OUT``). Rows of the same time stay together, in the later part.

    Raises
    ------
    DataError
        If a part would have no rows.

    Examples
    --------
    >>> fold_by_time(np.arange(12), Fold(0, 3)).tolist()
    [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 3]
    """
    n_rows = len(times)
    window = n_rows // (2 * fold.of)
    if window == 0:
        raise DataError(f"{n_rows} rows are too few for {fold.of} folds")
    first = n_rows - (fold.of - fold.number) * window
    chunks = _as_unsigned(times)
    ranks = (first - window, first, first + window)
    begins = [_order_statistic(chunks, rank)[0] for rank in ranks if rank < n_rows]
    parts = np.zeros(n_rows, dtype=np.uint8)
    at = 0
    for chunk in chunks():
        for begin in begins:
            parts[at : at + len(chunk)] += chunk >= begin
        at += len(chunk)
    _refuse_empty(parts, "too many rows have the same time to split by it; take fewer folds")
    return parts


def part_by_group(groups: NDArray[np.int64], seed: int, fold: Fold = SINGLE) -> NDArray[np.uint8]:
    """Assign whole groups, such as all rows of a user: 80 % of them to training.

    Parameters
    ----------
    groups
        Shape (rows,): numbers of the groups, from 0 without gaps.
    seed, fold
        Decide which part a group goes to.

    Examples
    --------
    >>> parts = part_by_group(np.arange(30) // 2, seed=0)
    >>> bool((parts[::2] == parts[1::2]).all())
    True
    """
    parts = part_at_random(int(groups.max()) + 1, seed, fold)[groups]
    _refuse_empty(parts, "too few groups to split by; at least 10 are needed")
    return parts


def part_at_random(n_rows: int, seed: int, fold: Fold) -> NDArray[np.uint8]:
    """The part of each of ``n_rows`` rows or groups, in one of the folds or the only split."""
    if fold.of == 1:
        return part_of_rows(n_rows, seed)
    return fold_of_rows(n_rows, seed, fold)


def part_by_file(given: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The parts that the file itself names: (rows,) of 0, 1, 2.

    Raises
    ------
    DataError
        For other numbers, and if a part has no rows.
    """
    wrong = np.flatnonzero((given < 0) | (given > 2))
    if len(wrong):
        raise DataError(
            f"row {wrong[0] + 1}: part {given[wrong[0]]} to split by, expected 0, 1 or 2"
        )
    parts = given.astype(np.uint8)
    _refuse_empty(parts, "the file's own split lacks training, validation or test rows")
    return parts


def parts_of(table: Table, seed: int, fold: Fold = SINGLE) -> NDArray[np.uint8]:
    """The part of each row of a table, (rows,), by its split scheme.

    The seed makes no difference to splits by time and by the file. Folds by time leave later rows
    out: part ``LEFT_OUT``.

    Raises
    ------
    DataError
        If a part would have no rows, or the table allows fewer folds.
    """
    n_rows = table.meta.n_rows
    schemes: dict[str, Callable[[], NDArray[np.uint8]]] = {
        "random": lambda: part_at_random(n_rows, seed, fold),
        "time": lambda: (
            part_by_time(table.split_keys) if fold.of == 1 else fold_by_time(table.split_keys, fold)
        ),
        "group": lambda: part_by_group(table.split_keys, seed, fold),
        "file": lambda: part_by_file(table.split_keys),
    }
    try:
        _refuse_folds(table, fold.of)
        return schemes[table.meta.split_scheme]()
    except DataError as error:
        raise DataError(f"data set {table.meta.spec!r}: {error}") from None


def most_folds(table: Table) -> int:
    """How many folds a table allows: each tests at least two rows, or users."""
    scheme = table.meta.split_scheme
    if scheme == "file":
        return 1
    units = table.meta.n_rows // (2 if scheme == "time" else 1)
    if scheme == "group":
        units = int(table.split_keys.max()) + 1
    return max(1, min(MOST_FOLDS, units // 2))


def _refuse_folds(table: Table, folds: int) -> None:
    most = most_folds(table)
    if folds <= most:
        return
    if table.meta.split_scheme == "file":
        raise DataError(
            f"its file says which rows are for training and test, which is one fold, not {folds}; "
            "write folds = 1, or add it with another split"
        )
    units = "users" if table.meta.split_scheme == "group" else "rows"
    raise DataError(f"its {units} allow {most} folds at most, not {folds}")


def smallest(chunks: Chunks, n: int, count: int) -> NDArray[np.bool_]:
    """Which of ``n`` numbers are the ``count`` smallest, the first ones among equals: (n,)."""
    chosen = np.zeros(n, dtype=np.bool_)
    if count == 0:
        return chosen
    bound, equals = _order_statistic(chunks, count - 1)
    at = 0
    for chunk in chunks():
        ties = np.flatnonzero(chunk == bound)[: equals + 1]
        equals -= len(ties)
        chosen[at : at + len(chunk)] = chunk < bound
        chosen[at + ties] = True
        at += len(chunk)
    return chosen


def _order_statistic(chunks: Chunks, rank: int) -> tuple[np.uint64, int]:
    """The number at a rank, from 0, and its rank among equal ones: radix selection, in passes."""
    prefix = 0
    for shift in range(64 - RADIX_BITS, -1, -RADIX_BITS):
        counts = np.zeros(1 << RADIX_BITS, dtype=np.int64)
        above = np.uint64(shift + RADIX_BITS)
        for chunk in chunks():
            if shift + RADIX_BITS < 64:
                chunk = chunk[(chunk >> above) == np.uint64(prefix)]
            digits = (chunk >> np.uint64(shift)) & np.uint64((1 << RADIX_BITS) - 1)
            counts += np.bincount(digits.astype(np.int64), minlength=len(counts))
        ends = np.cumsum(counts)
        digit = int(np.searchsorted(ends, rank, side="right"))
        rank -= int(ends[digit] - counts[digit])
        prefix = prefix << RADIX_BITS | digit
    return np.uint64(prefix), rank


def _draws(n: int, seed: int, stream: int, *further: int) -> Chunks:
    def chunks() -> Iterator[NDArray[np.uint64]]:
        generator = np.random.PCG64(np.random.SeedSequence([stream, seed, *further]))
        for start in range(0, n, CHUNK_ROWS):
            yield generator.random_raw(min(CHUNK_ROWS, n - start))

    return chunks


def _as_unsigned(values: NDArray[np.int64]) -> Chunks:
    """64-bit whole numbers, shifted so that they sort as unsigned ones."""

    def chunks() -> Iterator[NDArray[np.uint64]]:
        for start in range(0, len(values), CHUNK_ROWS):
            part = np.ascontiguousarray(read_rows(values, start, start + CHUNK_ROWS))
            yield part.view(np.uint64) ^ np.uint64(1 << 63)

    return chunks


def _refuse_empty(parts: NDArray[np.uint8], reason: str) -> None:
    if (np.bincount(parts, minlength=3)[:3] == 0).any():
        raise DataError(reason)
