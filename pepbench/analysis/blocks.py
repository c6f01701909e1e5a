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
from pepbench.analysis.contrasts import difference_estimate
from pepbench.analysis.covariance import Measurements, RunFigures, Within, measure
from pepbench.analysis.fold_comparisons import (
    compare_folds,
    compare_pooled,
    fold_interval,
    pooled_interval,
)
from pepbench.analysis.folds import FOLDS, WINDOWS, FoldFigures
from pepbench.analysis.metrics import METRICS, Figure, Metric, largest
from pepbench.analysis.significance import (
    ALPHA,
    Comparison,
    Interval,
    compare_runs,
    mean_interval,
)
from pepbench.errors import PepbenchError
from pepbench.metrics import user_aucs, user_ndcgs
from pepbench.records import FEWEST_FOLDS

LoadArray = Callable[[str], NDArray[Any]]
"""From a record's key to its test predictions, or from a split's fingerprint to its labels."""

LoadUsers = Callable[[str], NDArray[Any] | None]
"""From a split's fingerprint to the user of each test row; None where no user is declared."""

_WITHIN: dict[Figure, Within] = {"gauc": user_aucs, "ndcg10": user_ndcgs}

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
        Figures of all runs; None if no cell has usable runs.
    metric
        What comparisons are about.
    """

    cells: tuple[Cell, ...]
    runs: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...]
    measured: Measurements | None
    metric: Metric = "auc"

    def problem(self, cell: int) -> str:
        """Why nothing can be said about a cell that has runs; else empty."""
        if self.runs[cell] and self.measured is not None:
            return self.measured.auc.problem
        return self.notes[cell]

    def usable(self, cell: int) -> bool:
        """Whether a cell has runs about which something can be said."""
        return bool(self.runs[cell]) and not self.problem(cell)

    def interval(self, cell: int, figure: Figure = "auc") -> Interval | None:
        """Of a figure of a usable cell; else, and where it is not known, None."""
        figures = self.figures(figure, cell) if self.usable(cell) else None
        if figures is None or figures.problem:
            return None
        return mean_interval(figures, self.runs[cell], largest(figure))

    def compare(self, a: int, b: int, margin: float) -> tuple[Comparison, Comparison | None]:
        """Difference of two usable cells in the metric and, where it is known, in log loss.

        That in the metric is positive where ``a`` is better.

        Raises
        ------
        PepbenchError
            If the metric is not known of both.
        """
        runs, paired = (self.runs[a], self.runs[b]), self.cells[a].seeds == self.cells[b].seeds
        card = METRICS[self.metric]
        figures, losses = (self.figures(figure, a, b) for figure in (card.figure, "log_loss"))
        if figures is None:
            raise _unknown(self.metric)
        signed = replace(figures, means=card.sign * figures.means)
        main = compare_runs(signed, *runs, ALPHA, margin, paired)
        if losses is None:
            return main, None
        return main, compare_runs(losses, *runs, paired=paired)

    def figures(self, figure: Figure, *cells: int) -> RunFigures | None:
        """A figure of all runs; None where it was not measured, or not of all of these cells."""
        if self.measured is None:
            return None
        within = self.measured.within if figure == METRICS[self.metric].figure else None
        known = {"auc": self.measured.auc, "log_loss": self.measured.log_loss}
        found = known.get(figure, within)
        runs = list(chain.from_iterable(self.runs[cell] for cell in cells))
        return None if found is None or np.isnan(found.means[runs]).any() else found

    def row_variance(self, a: int, b: int) -> float:
        """Variance over rows of the difference of two cells in the metric; NaN if unknown.

        With several seeds it is what rows do to all of them alike: what rows and seeds do jointly
        is in the variance between seeds.
        """
        figures = self.figures(METRICS[self.metric].figure, a, b)
        if figures is None or figures.problem or not (self.usable(a) and self.usable(b)):
            return math.nan
        paired = self.cells[a].seeds == self.cells[b].seeds or len(self.runs[a] + self.runs[b]) == 2
        return difference_estimate(figures, self.runs[a], self.runs[b], paired).row_variance


@dataclass(frozen=True)
class FoldBlock:
    """Cells with several folds: statements come from the figures of each fold, in the records.

    Attributes
    ----------
    cells
        In the order given.
    folds
        The same cells with the runs of one fold, fold by fold.
    metric
        What comparisons are about.
    """

    cells: tuple[Cell, ...]
    folds: tuple[SplitBlock, ...]
    metric: Metric = "auc"

    def problem(self, cell: int) -> str:
        """Why nothing can be said about a cell; else empty."""
        return self.cells[cell].trouble

    def usable(self, cell: int) -> bool:
        """Whether something can be said about a cell."""
        return not self.problem(cell)

    def interval(self, cell: int, figure: Figure = "auc") -> Interval | None:
        """Of a figure of a usable cell; else, and where it is not known, None."""
        if not self.usable(cell):
            return None
        figures = self.figures(figure, cell)
        if np.isnan(figures.values).any():
            return None
        return fold_interval(figures, len(self.cells[cell].runs), largest(figure))

    def compare(self, a: int, b: int, margin: float) -> tuple[Comparison, Comparison | None]:
        """As of :class:`SplitBlock`, over folds."""
        counts = len(self.cells[a].runs), len(self.cells[b].runs)
        difference = self.difference(a, b)
        if np.isnan(difference.values).any():
            raise _unknown(self.metric)
        losses = self.figures("log_loss", a, b)
        return compare_folds(difference, counts, margin), compare_folds(losses, counts)

    def figures(self, figure: Figure, cell: int, other: int | None = None) -> FoldFigures:
        """A figure of a usable cell, or its difference from another's, in each fold."""
        values = fold_means(self.cells[cell], figure)
        if other is not None:
            values = values - fold_means(self.cells[other], figure)
        unknown = np.full(len(values), math.nan)
        in_time = self.cells[cell].spec.data.split_scheme == "time"
        return FoldFigures(values, unknown, unknown, WINDOWS if in_time else FOLDS)

    def difference(self, a: int, b: int) -> FoldFigures:
        """Difference of two usable cells in the metric in each fold, with its variances.

        Positive where ``a`` is better.
        """
        card = METRICS[self.metric]
        found = self.figures(card.figure, a, b)
        seeds = [
            cell.seed_variances(card.figure) / _runs_in_folds(cell)
            for cell in (self.cells[a], self.cells[b])
        ]
        return replace(
            found,
            values=card.sign * found.values,
            row_variances=np.array([fold.row_variance(a, b) for fold in self.folds]),
            seed_variances=seeds[0] + seeds[1],
        )


class FewFoldsBlock(FoldBlock):
    """Cells with too few folds to tell how folds vary: means of what each split says by itself.

    Test parts are disjoint, so that the folds' estimates are independent over rows and seeds; like
    those of a single split, statements do not hold over other splits and tuning draws.
    """

    def problem(self, cell: int) -> str:
        """Why nothing can be said about a cell; else empty."""
        problems = (fold.problem(cell) for fold in self.folds)
        return super().problem(cell) or next(filter(None, problems), "")

    def interval(self, cell: int, figure: Figure = "auc") -> Interval | None:
        """Of a figure of a usable cell; else, and where it is not known, None."""
        if not self.usable(cell):
            return None
        parts = [(fold.figures(figure, cell), fold.runs[cell]) for fold in self.folds]
        known = [(one, runs) for one, runs in parts if one is not None and not one.problem]
        return pooled_interval(known, largest(figure)) if len(known) == len(parts) else None

    def compare(self, a: int, b: int, margin: float) -> tuple[Comparison, Comparison | None]:
        """As of :class:`SplitBlock`, the mean over folds."""
        found, losses = zip(*(one.compare(a, b, margin) for one in self.folds), strict=True)
        known = [loss for loss in losses if loss is not None]
        whole = len(known) == len(losses)
        main = compare_pooled(found, margin)
        return main, compare_pooled(known) if whole else None


Block = SplitBlock | FoldBlock
"""The cells of one data set and backbone."""


def _unknown(metric: Metric) -> PepbenchError:
    return PepbenchError(f"the {METRICS[metric].figure} of its predictions is not known")


def fold_means(cell: Cell, figure: Figure = "auc") -> NDArray[np.float64]:
    """Mean of a test figure over the runs of each fold, (J,), from the records alone."""
    parts = [cell.in_fold(fold).runs for fold in cell.spec.data.reported_folds]
    values = [[getattr(run.test, figure, None) for run in runs] for runs in parts]
    # Of None, which stands for what is not known, numpy makes NaN.
    means = (np.mean(np.array(of_fold, np.float64)) if of_fold else math.nan for of_fold in values)
    return np.array(list(means), np.float64)


def _runs_in_folds(cell: Cell) -> NDArray[np.int64]:
    folds = cell.spec.data.reported_folds
    return np.array([max(1, len(cell.in_fold(fold).runs)) for fold in folds])


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
            for fold in members[0].spec.data.reported_folds
        )
        few = len(folds) < FEWEST_FOLDS
        yield (FewFoldsBlock if few else FoldBlock)(members, folds, metric)


def _measured(
    cells: tuple[Cell, ...],
    load_predictions: LoadArray,
    load_labels: LoadArray,
    load_users: LoadUsers,
    metric: Metric,
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
            loaders = [_loader(key, load_predictions) for key in keys]
            within = _WITHIN.get(METRICS[metric].figure)
            measured = measure(labels, loaders, users, within=within)
            problems = list(measured.problems)
        except PepbenchError as error:
            problems = [str(error)] * len(keys)
    notes = tuple(next((problems[run] for run in mine if problems[run]), "") for mine in runs)
    usable = tuple(() if note else mine for mine, note in zip(runs, notes, strict=True))
    return SplitBlock(cells, usable, notes, measured, metric)


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
