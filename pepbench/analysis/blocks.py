"""The cells of one data set and backbone, measured on their common test rows, or fold by fold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pepbench.analysis.cells import Cell
from pepbench.analysis.covariance import Measurements, measure
from pepbench.analysis.fold_comparisons import (
    compare_folds,
    compare_pooled,
    fold_interval,
    pooled_interval,
)
from pepbench.analysis.folds import FoldFigures, overlap
from pepbench.analysis.significance import (
    ALPHA,
    Comparison,
    Interval,
    compare_runs,
    mean_interval,
)
from pepbench.errors import PepbenchError
from pepbench.records import FEWEST_FOLDS

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
class SplitBlock:
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

    def compare(
        self, a: int, b: int, alpha: float, margin: float
    ) -> tuple[Comparison, Comparison | None]:
        """Difference of two usable cells in AUC and, where it is known, in log loss."""
        assert self.measured is not None  # both are usable
        runs = self.runs[a], self.runs[b]
        paired = self.cells[a].seeds == self.cells[b].seeds
        auc = compare_runs(self.measured.auc, *runs, alpha, margin, paired)
        means = self.measured.log_loss.means
        if any(math.isnan(means[run]) for run in chain(*runs)):
            return auc, None
        return auc, compare_runs(self.measured.log_loss, *runs, alpha, paired=paired)

    def row_variance(self, a: int, b: int) -> float:
        """Variance over rows of the difference of two mean AUCs; NaN if unknown."""
        if not (self.usable(a) and self.usable(b)):
            return math.nan
        assert self.measured is not None  # both are usable
        runs = [*self.runs[a], *self.runs[b]]
        weights = np.repeat(
            [1 / len(self.runs[a]), -1 / len(self.runs[b])], [len(self.runs[a]), len(self.runs[b])]
        )
        parts = (part.covariance[np.ix_(runs, runs)] for part in self.measured.auc.parts)
        return float(sum(weights @ part @ weights for part in parts))


@dataclass(frozen=True)
class FoldBlock:
    """Cells with several folds: statements come from the figures of each fold, in the records.

    Attributes
    ----------
    cells
        In the order given.
    folds
        The same cells with the runs of one fold, fold by fold.
    """

    cells: tuple[Cell, ...]
    folds: tuple[SplitBlock, ...]

    def problem(self, cell: int) -> str:
        """Why nothing can be said about a cell; else empty."""
        one = self.cells[cell]
        return "" if one.status == "ok" else f"{one.method} is {one.status}: {one.reason}"

    def usable(self, cell: int) -> bool:
        """Whether something can be said about a cell."""
        return not self.problem(cell)

    def interval(self, cell: int, alpha: float = ALPHA) -> Interval | None:
        """Of a usable cell's AUC; else None."""
        if not self.usable(cell):
            return None
        return fold_interval(self.figures(cell), len(self.cells[cell].runs), alpha)

    def compare(
        self, a: int, b: int, alpha: float, margin: float
    ) -> tuple[Comparison, Comparison | None]:
        """Difference of two usable cells in AUC and in log loss."""
        counts = len(self.cells[a].runs), len(self.cells[b].runs)
        losses = self.figures(a, b, "log_loss")
        return (
            compare_folds(self.difference(a, b), counts, alpha, margin),
            compare_folds(losses, counts, alpha),
        )

    def figures(self, cell: int, other: int | None = None, figure: Figure = "auc") -> FoldFigures:
        """A figure of a usable cell, or its difference from another's, in each fold."""
        values = fold_means(self.cells[cell], figure)
        if other is not None:
            values = values - fold_means(self.cells[other], figure)
        unknown = np.full(len(values), math.nan)
        return FoldFigures(values, unknown, unknown, overlap(len(values)))

    def difference(self, a: int, b: int) -> FoldFigures:
        """Difference of two usable cells in AUC in each fold, with its variances."""
        seeds = [
            np.array(cell.seed_variances) / _runs_in_folds(cell)
            for cell in (self.cells[a], self.cells[b])
        ]
        rows = np.array([fold.row_variance(a, b) for fold in self.folds])
        return replace(self.figures(a, b), row_variances=rows, seed_variances=seeds[0] + seeds[1])


class FewFoldsBlock(FoldBlock):
    """Cells with too few folds to tell how folds vary: means of what each split says by itself.

    Test parts are disjoint, so that the folds' estimates are independent over rows and seeds; like
    those of a single split, statements do not hold over other splits and tuning draws.
    """

    def problem(self, cell: int) -> str:
        """Why nothing can be said about a cell; else empty."""
        problems = (fold.problem(cell) for fold in self.folds)
        return super().problem(cell) or next(filter(None, problems), "")

    def interval(self, cell: int, alpha: float = ALPHA) -> Interval | None:
        """Of a usable cell's AUC; else None."""
        if not self.usable(cell):
            return None
        parts = [(fold.measured, fold.runs[cell]) for fold in self.folds]
        return pooled_interval([(one.auc, runs) for one, runs in parts if one is not None], alpha)

    def compare(
        self, a: int, b: int, alpha: float, margin: float
    ) -> tuple[Comparison, Comparison | None]:
        """Difference of two usable cells in AUC and, where it is known, in log loss."""
        aucs, losses = zip(*(one.compare(a, b, alpha, margin) for one in self.folds), strict=True)
        known = [loss for loss in losses if loss is not None]
        whole = len(known) == len(losses)
        auc = compare_pooled(aucs, alpha, margin)
        return auc, compare_pooled(known, alpha) if whole else None


Block = SplitBlock | FoldBlock
"""The cells of one data set and backbone."""


def fold_means(cell: Cell, figure: Figure = "auc") -> NDArray[np.float64]:
    """Mean of a test figure over the runs of each fold, (J,), from the records alone."""
    values: list[list[float]] = [[] for _ in range(cell.folds)]
    for run in cell.runs:
        value = None if run.test is None else getattr(run.test, figure)
        values[run.spec.data.fold].append(math.nan if value is None else value)
    return np.array([np.mean(of_fold) if of_fold else math.nan for of_fold in values])


def _runs_in_folds(cell: Cell) -> NDArray[np.int64]:
    folds = [run.spec.data.fold for run in cell.runs]
    return np.maximum(np.bincount(folds, minlength=cell.folds), 1)


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
            for fold in range(members[0].folds)
        )
        few = len(folds) < FEWEST_FOLDS
        yield (FewFoldsBlock if few else FoldBlock)(members, folds)


def _measured(
    cells: tuple[Cell, ...],
    load_predictions: LoadArray,
    load_labels: LoadArray,
    load_users: LoadUsers,
) -> SplitBlock:
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
    return SplitBlock(cells, usable, notes, measured)


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
