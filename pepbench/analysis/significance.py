"""Tests of one mean or one difference, and verdicts for a family of them.

Estimates and their variance come from :mod:`pepbench.analysis.contrasts`, the null distribution
from :mod:`pepbench.analysis.null_distribution`.

References
----------
Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics
6 (1979). Schuirmann, "A comparison of the two one-sided tests procedure", Journal of
Pharmacokinetics and Biopharmaceutics 15 (1987).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pepbench.analysis.contrasts import (
    Estimate,
    difference_estimate,
    mean_estimate,
)
from pepbench.analysis.covariance import RunFigures, measure
from pepbench.analysis.folds import FoldFigures
from pepbench.errors import PepbenchError
from pepbench.records import MARGIN

Floats = NDArray[np.float64]

ALPHA = 0.05
"""Level of tests; intervals cover 1 − ALPHA."""

Verdict = Literal["better", "worse", "equivalent", "non-inferior", "undecided"]

NOT_INFERIOR: tuple[Verdict, ...] = ("better", "equivalent", "non-inferior")
"""Verdicts that show a method to be less than the margin below the reference, or above it."""


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its two-sided interval; ``basis`` as in :class:`Comparison`."""

    mean: float
    standard_error: float
    degrees_of_freedom: float
    low: float
    high: float
    seeds: int
    basis: str


@dataclass(frozen=True)
class Comparison:
    """A mean difference, method a minus method b, with its interval and tests.

    Attributes
    ----------
    difference, standard_error, degrees_of_freedom
        The estimate, its standard error and Satterthwaite's degrees of freedom, which say how well
        the standard error is known.
    low, high
        Two-sided interval of level 1 − alpha.
    p
        Two-sided, of the hypothesis of no difference.
    p_noninferior
        One-sided, of the hypothesis that a is worse by the margin or more; NaN without a margin.
    p_equivalent
        Of the two one-sided tests: the hypothesis that they differ by the margin or more.
    seeds_a, seeds_b
        Seeds that entered.
    paired
        Whether seeds were compared pairwise.
    basis
        What the statement holds over: ``folds``, which is other splits, tuning and seeds; or, of a
        single split, ``rows and seeds``, ``users and seeds``, ``rows only`` or ``users only``. With
        a single seed of each it is about these two trained models, not about the methods.
    estimate
        The parts behind it, of a single split.
    folds
        Its value in each fold, of several.
    """

    difference: float
    standard_error: float
    degrees_of_freedom: float
    low: float
    high: float
    p: float
    p_noninferior: float
    p_equivalent: float
    seeds_a: int
    seeds_b: int
    paired: bool
    basis: str
    estimate: Estimate | None = None
    folds: FoldFigures | None = None


def compare(
    labels: ArrayLike,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    alpha: float = ALPHA,
    margin: float = MARGIN,
    paired: bool | None = None,
    users: ArrayLike | None = None,
) -> Comparison:
    """Compare the AUC of two methods trained with several seeds each, scored on the same rows.

    Parameters
    ----------
    labels
        (n,) of 0 and 1, at least two of each.
    scores_a, scores_b
        (K, n) or (n,): a line for each seed; higher means positive. Numbers of seeds may differ.
    alpha
        The interval covers 1 − alpha.
    margin
        Of non-inferiority and equivalence, in AUC.
    paired
        As :func:`~pepbench.analysis.contrasts.difference_estimate`; by default, if the numbers of
        seeds agree.
    users
        (n,): the user of each row, where rows of one user are not independent; None if all rows are
        independent.

    Raises
    ------
    PepbenchError
        If shapes differ, a label is not 0 or 1, a score is NaN, or a class has fewer than two rows.

    Examples
    --------
    >>> result = compare([0, 1, 0, 1], [1, 2, 3, 4], [1, 2, 3, 4])
    >>> result.difference, result.p, result.basis
    (0.0, 1.0, 'rows only')
    """
    a, b = _lines(scores_a), _lines(scores_b)
    measured = _measured_auc(labels, [*a, *b], users)
    runs = range(len(a)), range(len(a), len(a) + len(b))
    return compare_runs(measured, *runs, alpha, margin, paired)


def compare_runs(
    measured: RunFigures,
    a: Sequence[int],
    b: Sequence[int],
    alpha: float = ALPHA,
    margin: float = math.nan,
    paired: bool | None = None,
) -> Comparison:
    """As :func:`compare`, for runs (indices) that are measured already.

    For figures of which less is better, the margin does not apply.
    """
    pairs = len(a) == len(b) if paired is None or len(a) == len(b) == 1 else paired
    estimate = difference_estimate(measured, a, b, pairs)
    basis = basis_of(measured, max(len(a), len(b)))
    return tested(estimate, (len(a), len(b)), pairs, basis, alpha, margin)


def tested(
    estimate: Estimate,
    runs: tuple[int, int],
    paired: bool,
    basis: str,
    alpha: float,
    margin: float,
) -> Comparison:
    """The tests of an estimated difference; see :class:`Comparison` for the arguments."""
    error = estimate.distribution()
    half = error.quantile(alpha)
    below, above = (error.tail(margin + side * estimate.value) for side in (1, -1))
    known = not math.isnan(margin)
    return Comparison(
        difference=estimate.value,
        standard_error=estimate.standard_error,
        degrees_of_freedom=estimate.degrees_of_freedom,
        low=estimate.value - half,
        high=estimate.value + half,
        p=min(1.0, 2 * error.tail(abs(estimate.value))),
        p_noninferior=below if known else math.nan,
        p_equivalent=max(below, above) if known else math.nan,
        seeds_a=runs[0],
        seeds_b=runs[1],
        paired=paired,
        basis=basis,
        estimate=estimate,
    )


def mean_interval(measured: RunFigures, runs: Sequence[int], most: float = 1.0) -> Interval:
    """The mean over runs (indices) of a figure with its interval, cut to [0, most]."""
    return interval_of(
        mean_estimate(measured, runs), len(runs), basis_of(measured, len(runs)), most
    )


def interval_of(estimate: Estimate, runs: int, basis: str, most: float = 1.0) -> Interval:
    """The interval of an estimated mean over ``runs`` runs, cut to [0, most]."""
    half = estimate.distribution().quantile(ALPHA)
    return Interval(
        mean=estimate.value,
        standard_error=estimate.standard_error,
        degrees_of_freedom=estimate.degrees_of_freedom,
        low=max(0.0, estimate.value - half),
        high=min(most, estimate.value + half),
        seeds=runs,
        basis=basis,
    )


def holm(p: ArrayLike) -> Floats:
    """Holm's adjusted p-values of a family; those below alpha are significant.

    Parameters
    ----------
    p
        (n,) p-values of one family; n may be 0.

    Returns
    -------
    numpy.ndarray
        (n,), in the order given.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted


def verdict(
    difference: float, p_holm: float, p_equivalent: float, p_noninferior: float = 1.0
) -> Verdict:
    """The verdict on a difference.

    Equivalence comes first: a difference that is shown to be smaller than the margin is of no
    importance even where it is shown not to be zero (:func:`direction` says so then).

    Parameters
    ----------
    difference
        Method minus reference.
    p_holm, p_equivalent, p_noninferior
        Two-sided, of the two one-sided tests, and one-sided; each adjusted for the family.

    Examples
    --------
    >>> verdict(-0.004, p_holm=0.01, p_equivalent=0.99)
    'worse'
    >>> verdict(-0.0002, p_holm=0.01, p_equivalent=0.01)
    'equivalent'
    """
    if p_equivalent < ALPHA:
        return "equivalent"
    if p_holm < ALPHA:
        return "better" if difference > 0 else "worse"
    return "non-inferior" if p_noninferior < ALPHA else "undecided"


def direction(difference: float, p_holm: float) -> str:
    """``higher`` or ``lower`` where a difference is shown not to be zero, else empty."""
    if p_holm < ALPHA:
        return "higher" if difference > 0 else "lower"
    return ""


def _measured_auc(
    labels: ArrayLike, lines: Sequence[NDArray[np.floating]], users: ArrayLike | None
) -> RunFigures:
    measurements = measure(
        labels, [partial(np.asarray, line) for line in lines], users, log_loss=False
    )
    for problem in measurements.problems:
        if problem:
            raise PepbenchError(problem)
    return measurements.auc


def _lines(scores: ArrayLike) -> list[NDArray[np.floating]]:
    lines = np.atleast_2d(np.asarray(scores))
    if lines.ndim != 2 or not len(lines):
        raise PepbenchError(
            f"scores must be of shape (rows,) or (seeds, rows), got shape {np.shape(scores)}"
        )
    return list(lines)


def basis_of(measured: RunFigures, seeds: int) -> str:
    """What statements from a single split hold over, as :attr:`Comparison.basis`."""
    return f"{measured.unit} and seeds" if seeds > 1 else f"{measured.unit} only"
