"""Comparisons and intervals from several folds, or from too few of them.

From enough folds, statements rest on how figures vary between folds, see
:mod:`pepbench.analysis.folds`. From fewer, they are means of what each split says by itself, over
rows and seeds: test parts are disjoint and runs are each fold's own, so that the folds' estimates
are independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pepbench.analysis.contrasts import mean_estimate, mean_of_independent
from pepbench.analysis.covariance import RunFigures
from pepbench.analysis.folds import FoldFigures
from pepbench.analysis.significance import (
    ALPHA,
    Comparison,
    Interval,
    basis_of,
    interval_of,
    tested,
)


def compare_folds(
    figures: FoldFigures, runs: tuple[int, int], margin: float = math.nan
) -> Comparison:
    """A comparison over folds, of the differences in ``figures``.

    Parameters
    ----------
    figures
        Differences of two methods, fold by fold.
    runs
        How many runs of each method entered.
    margin
        As of :func:`~pepbench.analysis.significance.compare`.
    """
    difference, half = figures.mean, figures.quantile(ALPHA)
    below, above = (figures.tail(margin + side * difference) for side in (1, -1))
    known = not math.isnan(margin)
    return Comparison(
        difference=difference,
        standard_error=figures.standard_error,
        degrees_of_freedom=figures.freedom,
        low=difference - half,
        high=difference + half,
        p=min(1.0, 2 * figures.tail(abs(difference))),
        p_noninferior=below if known else math.nan,
        p_equivalent=max(below, above) if known else math.nan,
        seeds_a=runs[0],
        seeds_b=runs[1],
        paired=True,
        basis=figures.basis,
        folds=figures,
    )


def fold_interval(figures: FoldFigures, runs: int, most: float = 1.0) -> Interval:
    """The mean over folds of a figure with its interval, cut to [0, most]."""
    half = figures.quantile(ALPHA)
    return Interval(
        mean=figures.mean,
        standard_error=figures.standard_error,
        degrees_of_freedom=figures.freedom,
        low=max(0.0, figures.mean - half),
        high=min(most, figures.mean + half),
        seeds=runs,
        basis=figures.basis,
    )


def compare_pooled(parts: Sequence[Comparison], margin: float = math.nan) -> Comparison:
    """The mean of comparisons of two methods on disjoint test rows, each with runs of its own.

    ``parts`` have estimates; ``margin`` is as of :func:`~pepbench.analysis.significance.compare`.
    """
    estimate = mean_of_independent([part.estimate for part in parts if part.estimate is not None])
    counts = sum(part.seeds_a for part in parts), sum(part.seeds_b for part in parts)
    return tested(estimate, counts, parts[0].paired, parts[0].basis, ALPHA, margin)


def pooled_interval(
    parts: Sequence[tuple[RunFigures, Sequence[int]]], most: float = 1.0
) -> Interval:
    """The mean figure of runs (indices) on disjoint test rows, measured fold by fold."""
    estimate = mean_of_independent([mean_estimate(measured, runs) for measured, runs in parts])
    basis = basis_of(parts[0][0], len(parts[0][1]))
    return interval_of(estimate, sum(len(runs) for _, runs in parts), basis, most)
