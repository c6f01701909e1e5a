"""The cells of one data set and backbone, measured on their common test rows, or fold by fold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pepbench.analysis.cells import Cell
from pepbench.analysis.covariance import Measurements, RunFigures, Within, measure
from pepbench.analysis.folds import FoldFigures, overlap
from pepbench.analysis.metrics import METRICS, Figure, Metric
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
from pepbench.metrics import user_aucs, user_ndcgs

LoadArray = Callable[[str], NDArray[Any]]
"""From a record's key to its test predictions, or from a split's fingerprint to its labels."""

LoadUsers = Callable[[str], NDArray[Any] | None]
"""From a split's fingerprint to the user of each test row; None where no user is declared."""

_WITHIN: dict[Figure, Within] = {"gauc": user_aucs, "ndcg10": user_ndcgs}

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
        Figures of all runs on the rows of a single split; None if no cell has usable runs, and
        where there are several folds.
    folds
        The same cells with the runs of one fold, fold by fold; empty for a single split.
    metric
        What comparisons are about.
    """

    cells: tuple[Cell, ...]
    runs: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...]
    measured: Measurements | None
    folds: tuple[Block, ...] = ()
    metric: Metric = "auc"

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

    def interval(self, cell: int, alpha: float = ALPHA, figure: Figure = "auc") -> Interval | None:
        """Of a figure of a usable cell; else, and where it is not known, None."""
        if not self.usable(cell):
            return None
        most = 1.0 if figure in ("auc", "gauc", "ndcg10") else math.inf
        if self.folds:
            figures = self.fold_figures(cell, figure=figure)
            if np.isnan(figures.values).any():
                return None
            return fold_interval(figures, len(self.cells[cell].runs), alpha, most)
        measured = self.figures(figure)
        if measured is None or any(math.isnan(measured.means[run]) for run in self.runs[cell]):
            return None
        return mean_interval(measured, self.runs[cell], alpha, most)

    def compare(
        self, a: int, b: int, alpha: float, margin: float
    ) -> tuple[Comparison, Comparison | None]:
        """Difference of two usable cells in the metric and, where it is known, in log loss.

        That in the metric is positive where ``a`` is better.

        Raises
        ------
        PepbenchError
            If the metric is not known of both.
        """
        counts = len(self.cells[a].runs), len(self.cells[b].runs)
        card = METRICS[self.metric]
        unknown = PepbenchError(f"the {card.figure} of its predictions is not known")
        if self.folds:
            main = self.fold_figures(a, b, card.figure)
            if np.isnan(main.values).any():
                raise unknown
            losses = self.fold_figures(a, b, "log_loss")
            return (
                compare_folds(replace(main, values=card.sign * main.values), counts, alpha, margin),
                compare_folds(losses, counts, alpha),
            )
        assert self.measured is not None  # both are usable
        runs = self.runs[a], self.runs[b]
        paired = self.cells[a].seeds == self.cells[b].seeds
        figures = self.figures(card.figure)
        if figures is None or any(math.isnan(figures.means[run]) for run in chain(*runs)):
            raise unknown
        main_of_runs = replace(figures, means=card.sign * figures.means)
        found = compare_runs(main_of_runs, *runs, alpha, margin, paired)
        means = self.measured.log_loss.means
        if any(math.isnan(means[run]) for run in chain(*runs)):
            return found, None
        return found, compare_runs(self.measured.log_loss, *runs, alpha, paired=paired)

    def figures(self, figure: Figure) -> RunFigures | None:
        """A figure of all runs of a single split; None where it was not measured."""
        if self.measured is None or figure == "calibration":
            return None
        if figure in ("auc", "log_loss"):
            return self.measured.auc if figure == "auc" else self.measured.log_loss
        return self.measured.within if figure == METRICS[self.metric].figure else None

    def mean_auc(self, cell: int) -> float:
        """Of a usable cell, over seeds and folds."""
        if self.folds:
            return self.fold_figures(cell).mean
        assert self.measured is not None  # it is usable
        return float(self.measured.auc.means[list(self.runs[cell])].mean())

    def fold_figures(
        self, cell: int, other: int | None = None, figure: Figure = "auc"
    ) -> FoldFigures:
        """A figure of a usable cell, or its difference from another's, in each fold.

        What its variance is due to is known of the metric only.
        """
        members = (cell,) if other is None else (cell, other)
        means = [fold_means(self.cells[member], figure) for member in members]
        values = means[0] if other is None else means[0] - means[1]
        if figure != METRICS[self.metric].figure:
            unknown = np.full(len(values), math.nan)
            return FoldFigures(values, unknown, unknown, overlap(len(values)))
        runs = [_runs_in_folds(self.cells[member]) for member in members]
        seeds = np.sum(
            [
                self.cells[member].seed_variances(figure) / count
                for member, count in zip(members, runs, strict=True)
            ],
            axis=0,
        )
        rows = np.array([fold.row_variance(*members, figure=figure) for fold in self.folds])
        return FoldFigures(values, rows, seeds, overlap(len(values)))

    def row_variance(self, *cells: int, figure: Figure = "auc") -> float:
        """Variance over rows of a cell's mean, or of the difference of two; NaN if unknown."""
        measured = self.figures(figure)
        if measured is None or measured.problem or not all(self.runs[cell] for cell in cells):
            return math.nan
        weights = np.zeros(len(measured.means))
        for cell, sign in zip(cells, (1.0, -1.0), strict=False):
            weights[list(self.runs[cell])] = sign / len(self.runs[cell])
        return float(sum(weights @ part.covariance @ weights for part in measured.parts))


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
    metric: Metric = "auc",
) -> Iterator[Block]:
    """Measure data set by data set, backbone by backbone, as they follow each other.

    Each score vector is loaded and sorted once. A file that cannot be loaded costs the cells that
    need it, nothing else.
    """
    for _, grouped in groupby(cells, key=lambda cell: cell.block):
        members = tuple(grouped)
        loaders = load_predictions, load_labels, load_users
        if members[0].folds == 1:
            yield _measured(members, *loaders, metric)
            continue
        folds = tuple(
            _measured(tuple(cell.in_fold(fold) for cell in members), *loaders, metric)
            for fold in range(members[0].folds)
        )
        yield Block(members, ((),) * len(members), ("",) * len(members), None, folds, metric)


def _measured(
    cells: tuple[Cell, ...],
    load_predictions: LoadArray,
    load_labels: LoadArray,
    load_users: LoadUsers,
    metric: Metric,
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
            loaders = [_loader(key, load_predictions) for key in keys]
            within = _WITHIN.get(METRICS[metric].figure)
            measured = measure(labels, loaders, users, within=within)
            problems = list(measured.problems)
        except PepbenchError as error:
            problems = [str(error)] * len(keys)
    notes = tuple(next((problems[run] for run in mine if problems[run]), "") for mine in runs)
    usable = tuple(() if note else mine for mine, note in zip(runs, notes, strict=True))
    return Block(cells, usable, notes, measured, metric=metric)


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
