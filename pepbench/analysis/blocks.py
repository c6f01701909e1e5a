"""The cells of one data set and backbone, measured on their common test rows, or fold by fold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pepbench.analysis.cells import Cell
from pepbench.analysis.covariance import Measurements, measure
from pepbench.analysis.folds import FoldFigures, overlap
from pepbench.analysis.significance import (
    ALPHA,
    Comparison,
    Interval,
    compare_folds,
    compare_runs,
    fold_interval,
    mean_interval,
)
from pepbench.errors import PepbenchError

LoadArray = Callable[[str], NDArray[Any]]
"""From a record's key to its test predictions, or from a split's fingerprint to its labels."""

LoadUsers = Callable[[str], NDArray[Any] | None]
"""From a split's fingerprint to the user of each test row; None where no user is declared."""

Figure = Literal["auc", "log_loss", "gauc", "ndcg10", "calibration"]
"""Figures of test rows, as records name them."""

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
        AUC and log loss of all runs on the rows of a single split; None if no cell has usable runs,
        and where there are several folds.
    folds
        The same cells with the runs of one fold, fold by fold; empty for a single split.
    """

    cells: tuple[Cell, ...]
    runs: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...]
    measured: Measurements | None
    folds: tuple[Block, ...] = ()

    def problem(self, cell: int) -> str:
        """Why nothing can be said about a cell that has runs; else empty."""
        if self.folds:
            return ""
        if self.runs[cell] and self.measured is not None:
            return self.measured.auc.problem
        return self.notes[cell]

    def usable(self, cell: int) -> bool:
        """Whether a cell has runs about which something can be said."""
        if self.folds:
            return self.cells[cell].status == "ok"
        return bool(self.runs[cell]) and not self.problem(cell)

    def interval(self, cell: int, alpha: float = ALPHA) -> Interval | None:
        """Of a usable cell's AUC; else None."""
        if self.folds:
            if not self.usable(cell):
                return None
            return fold_interval(self.fold_figures(cell), len(self.cells[cell].runs), alpha)
        if self.measured is None or not self.usable(cell):
            return None
        return mean_interval(self.measured.auc, self.runs[cell], alpha)

    def compare(
        self, a: int, b: int, alpha: float, margin: float
    ) -> tuple[Comparison, Comparison | None]:
        """Difference of two usable cells in AUC and, where it is known, in log loss."""
        counts = len(self.cells[a].runs), len(self.cells[b].runs)
        if self.folds:
            losses = self.fold_figures(a, b, "log_loss")
            return (
                compare_folds(self.fold_figures(a, b), counts, alpha, margin),
                compare_folds(losses, counts, alpha),
            )
        assert self.measured is not None  # both are usable
        runs = self.runs[a], self.runs[b]
        paired = self.cells[a].seeds == self.cells[b].seeds
        auc = compare_runs(self.measured.auc, *runs, alpha, margin, paired)
        means = self.measured.log_loss.means
        if any(math.isnan(means[run]) for run in chain(*runs)):
            return auc, None
        return auc, compare_runs(self.measured.log_loss, *runs, alpha, paired=paired)

    def mean_auc(self, cell: int) -> float:
        """Of a usable cell, over seeds and folds."""
        if self.folds:
            return self.fold_figures(cell).mean
        assert self.measured is not None  # it is usable
        return float(self.measured.auc.means[list(self.runs[cell])].mean())

    def fold_figures(
        self, cell: int, other: int | None = None, figure: Figure = "auc"
    ) -> FoldFigures:
        """A figure of a usable cell, or its difference from another's, in each fold."""
        members = (cell,) if other is None else (cell, other)
        means = [fold_means(self.cells[member], figure) for member in members]
        values = means[0] if other is None else means[0] - means[1]
        runs = [_runs_in_folds(self.cells[member]) for member in members]
        seeds = np.sum(
            [
                np.array(self.cells[member].seed_variances) / count
                for member, count in zip(members, runs, strict=True)
            ],
            axis=0,
        )
        rows = np.array([fold.row_variance(*members) for fold in self.folds])
        known = figure == "auc"
        unknown = np.full(len(values), math.nan)
        shared = overlap(self.cells[cell].spec.data.folds)
        return FoldFigures(values, rows if known else unknown, seeds if known else unknown, shared)

    def row_variance(self, *cells: int) -> float:
        """Variance over rows of a cell's mean AUC, or of the difference of two; NaN if unknown."""
        if self.measured is None or not all(self.runs[cell] for cell in cells):
            return math.nan
        auc = self.measured.auc
        if auc.problem:
            return math.nan
        weights = np.zeros(len(auc.means))
        for cell, sign in zip(cells, (1.0, -1.0), strict=False):
            weights[list(self.runs[cell])] = sign / len(self.runs[cell])
        return float(sum(weights @ part.covariance @ weights for part in auc.parts))


def fold_means(cell: Cell, figure: Figure = "auc") -> NDArray[np.float64]:
    """Mean of a test figure over the runs of each fold, (J,), from the records alone."""
    values: dict[int, list[float]] = {fold: [] for fold in cell.spec.data.reported_folds}
    for run in cell.runs:
        value = None if run.test is None else getattr(run.test, figure)
        values[run.spec.data.fold].append(math.nan if value is None else value)
    means = (np.mean(of_fold) if of_fold else math.nan for of_fold in values.values())
    return np.array(list(means), np.float64)


def _runs_in_folds(cell: Cell) -> NDArray[np.int64]:
    folds = [run.spec.data.fold for run in cell.runs]
    return np.array([max(1, folds.count(fold)) for fold in cell.spec.data.reported_folds])


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
    for _, grouped in groupby(cells, key=lambda cell: cell.block):
        members = tuple(grouped)
        loaders = load_predictions, load_labels, load_users
        if members[0].folds == 1:
            yield _measured(members, *loaders)
            continue
        folds = tuple(
            _measured(tuple(cell.in_fold(fold) for cell in members), *loaders)
            for fold in members[0].spec.data.reported_folds
        )
        yield Block(members, ((),) * len(members), ("",) * len(members), None, folds)


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
        split = next(cell.runs[0] for cell in cells if cell.runs).spec.data.split_fingerprint
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
