"""The cells of one data set and backbone, measured on their common test rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pepbench.analysis.cells import Cell
from pepbench.analysis.covariance import Measurements, measure
from pepbench.analysis.significance import ALPHA, Interval, mean_interval
from pepbench.errors import PepbenchError

LoadArray = Callable[[str], NDArray[Any]]
"""From a record's key to its test predictions, or from a split's fingerprint to its labels."""

LoadUsers = Callable[[str], NDArray[Any] | None]
"""From a split's fingerprint to the user of each test row; None where no user is declared."""

_UNREADABLE = (OSError, ValueError, KeyError, PepbenchError)


def no_users(_split: str) -> None:
    """Take the rows of every split as independent."""


@dataclass(frozen=True)
class Block:
    """Cells that share test rows, and what was measured on these.

    Attributes
    ----------
    cells
        In the order given.
    runs
        For each cell the indices of its runs in ``measured``; empty if it has none or they cannot
        be used.
    notes
        For each cell, why it has no usable runs although it has runs; else empty.
    measured
        AUC and log loss of all runs; None if no cell has usable runs.
    """

    cells: tuple[Cell, ...]
    runs: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...]
    measured: Measurements | None

    def problem(self, cell: int) -> str:
        """Why nothing can be said about a cell that has runs; else empty."""
        if self.runs[cell] and self.measured is not None:
            return self.measured.auc.problem
        return self.notes[cell]

    def usable(self, cell: int) -> bool:
        """Whether a cell has runs about which something can be said."""
        return bool(self.runs[cell]) and not self.problem(cell)

    def interval(self, cell: int, alpha: float = ALPHA) -> Interval | None:
        """Of a usable cell's AUC; else None."""
        if self.measured is None or not self.usable(cell):
            return None
        return mean_interval(self.measured.auc, self.runs[cell], alpha)


def blocks_of(
    cells: Sequence[Cell],
    load_predictions: LoadArray,
    load_labels: LoadArray,
    load_users: LoadUsers = no_users,
) -> Iterator[Block]:
    """Measure data set by data set, backbone by backbone, as they follow each other.

    Each score vector is loaded and sorted once. A file that cannot be loaded costs the cells that
    need it, nothing else.
    """
    for _, members in groupby(cells, key=lambda cell: cell.block):
        yield _measured(tuple(members), load_predictions, load_labels, load_users)


def _measured(
    cells: tuple[Cell, ...],
    load_predictions: LoadArray,
    load_labels: LoadArray,
    load_users: LoadUsers,
) -> Block:
    keys = [run.key for cell in cells for run in cell.runs]
    ends = np.cumsum([len(cell.runs) for cell in cells])
    runs = [
        tuple(range(end - len(cell.runs), end))
        for cell, end in zip(cells, ends.tolist(), strict=True)
    ]
    measured, problems = None, [""] * len(keys)
    if keys:
        split = cells[0].spec.data.split_fingerprint
        try:
            labels, users = _facts(split, load_labels, load_users)
            measured = measure(labels, [_loader(key, load_predictions) for key in keys], users)
            problems = list(measured.problems)
        except PepbenchError as error:
            problems = [str(error)] * len(keys)
    notes = tuple(next((problems[run] for run in mine if problems[run]), "") for mine in runs)
    usable = tuple(() if note else mine for mine, note in zip(runs, notes, strict=True))
    return Block(cells, usable, notes, measured)


def _facts(
    split: str, load_labels: LoadArray, load_users: LoadUsers
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    try:
        labels = load_labels(split)
    except _UNREADABLE:
        raise PepbenchError("the test labels are missing or damaged") from None
    try:
        return labels, load_users(split)
    except _UNREADABLE:
        raise PepbenchError("the users of the test rows are damaged") from None


def _loader(key: str, load_predictions: LoadArray) -> Callable[[], NDArray[Any]]:
    def load() -> NDArray[Any]:
        try:
            return load_predictions(key)
        except _UNREADABLE:
            message = f"the predictions of run {key[:12]} are missing or damaged"
            raise PepbenchError(message) from None

    return load
