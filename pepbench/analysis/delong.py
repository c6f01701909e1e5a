"""DeLong's test of two AUCs, and the placements that it is computed from.

The *placement* of a positive row is the share of negative rows ranked below it, ties counting one
half; that of a negative row, the share of positive rows ranked above it. The AUC is the mean
placement of either class, and its variance follows from the variances of the placements.

:func:`delong_test` compares two score vectors. :mod:`pepbench.analysis.covariance` computes the
covariance of many runs at once, :func:`pepbench.analysis.significance.compare` tests over several
seeds.

References
----------
DeLong, DeLong & Clarke-Pearson, "Comparing the areas under two or more correlated receiver
operating characteristic curves: a nonparametric approach", Biometrics 44 (1988).
Sun & Xu, "Fast implementation of DeLong's algorithm", IEEE Signal Processing Letters 21 (2014):
placements from one sort.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from pepbench.errors import PepbenchError
from pepbench.tables.kernels import compiled

Floats = NDArray[np.float64]
Counts = NDArray[np.uint32]

_DIGIT = 11
"""Most bits of a radix: as many rows are written to at once as there are digits, 2 to this power,
and more of them than the caches have lines make a pass slower than two short ones."""


@dataclass(frozen=True)
class DeLongTest:
    """Result of :func:`delong_test`.

    Attributes
    ----------
    difference
        AUC of a minus AUC of b.
    variance
        DeLong's variance of the difference.
    p
        Two-sided, of the hypothesis that the two AUCs are equal.
    low, high
        Interval of level 1 − alpha.
    """

    difference: float
    variance: float
    p: float
    low: float
    high: float


def delong_test(
    labels: ArrayLike, scores_a: ArrayLike, scores_b: ArrayLike, alpha: float = 0.05
) -> DeLongTest:
    """Compare the AUCs of two score vectors on the same rows, in O(n log n).

    The difference divided by its standard error is compared with the normal distribution. The
    result holds for other rows and these two trained models; methods trained with several seeds are
    compared by :func:`pepbench.analysis.significance.compare`.

    Parameters
    ----------
    labels
        (n,) of 0 and 1, at least two of each.
    scores_a, scores_b
        (n,) each; higher means positive. Only their order matters; ties count one half.
    alpha
        The interval covers 1 − alpha.

    Returns
    -------
    DeLongTest
        Where the variance is 0, ``p`` is 1 if the AUCs are equal, else 0.

    Raises
    ------
    PepbenchError
        If shapes differ, a label is not 0 or 1, a class has fewer than two rows, a score is NaN, or
        alpha is not between 0 and 1.

    References
    ----------
    DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988), equations 4 to 8.

    Examples
    --------
    >>> labels = [0, 0, 0, 1, 1, 1]
    >>> test = delong_test(labels, [0.1, 0.4, 0.3, 0.8, 0.9, 0.6], [0.2, 0.6, 0.3, 0.5, 0.9, 0.1])
    >>> round(test.difference, 4), round(test.variance, 4), round(test.p, 4)
    (0.4444, 0.0988, 0.1573)
    """
    if not 0 < alpha < 1:
        raise PepbenchError(f"alpha must be between 0 and 1, got {alpha:g}")
    classes = classes_of(labels)
    if min(classes.n_positive, classes.n_negative) < 2:
        raise PepbenchError("DeLong's variance needs two rows of each class")
    (auc_a, counts_a), (auc_b, counts_b) = (
        counted(classes, np.asarray(scores)) for scores in (scores_a, scores_b)
    )
    # Counts are whole numbers, so that equal orders have a variance of exactly 0.
    gaps = classes.placements(counts_a) - classes.placements(counts_b)
    variance = sum(
        float(part.var(ddof=1)) / len(part) for part in np.split(gaps, [classes.n_positive])
    )
    difference, error = auc_a - auc_b, math.sqrt(variance)
    half = -float(special.ndtri(alpha / 2)) * error
    if error > 0:
        p = 2 * float(special.ndtr(-abs(difference) / error))
    else:
        p = 1.0 if difference == 0 else 0.0
    return DeLongTest(difference, variance, p, difference - half, difference + half)


@dataclass(frozen=True)
class Classes:
    """The rows of each class.

    Attributes
    ----------
    position
        (n,): place of each row once all positive rows are put before all negative ones, either
        class in its own order.
    n_positive, n_negative
        Rows of each class, at least one.
    """

    position: NDArray[np.uint32]
    n_positive: int
    n_negative: int

    def placements(self, counts: Counts) -> Floats:
        """Counts of :func:`counted` as shares of the other class, (n,), positive rows first."""
        shares = counts.astype(np.float64)
        shares[: self.n_positive] /= 2 * self.n_negative
        shares[self.n_positive :] /= 2 * self.n_positive
        return shares


def classes_of(labels: ArrayLike) -> Classes:
    """Check labels, (n,) of 0 and 1.

    Raises
    ------
    PepbenchError
        If the shape differs, a label is not 0 or 1, or a class has no row.
    """
    values = np.asarray(labels)
    if values.ndim != 1:
        raise PepbenchError(f"labels must be of shape (rows,), got shape {values.shape}")
    positives: NDArray[np.bool_] = values == 1
    if not (positives | (values == 0)).all():
        raise PepbenchError("labels must be 0 or 1")
    n_positive = int(positives.sum())
    if n_positive in (0, len(values)):
        which = f"only {int(positives[0])}" if len(positives) else "nothing"
        raise PepbenchError(
            f"the labels hold {which}: an AUC needs rows of both classes in the test split"
        )
    before = np.cumsum(positives)
    position = np.where(positives, before - 1, n_positive + np.arange(len(values)) - before)
    return Classes(position.astype(np.uint32), n_positive, len(values) - n_positive)


def counted(
    classes: Classes, scores: NDArray[Any], scratch: NDArray[np.uint64] | None = None
) -> tuple[float, Counts]:
    """AUC and placements of one score vector as whole numbers, by one sort.

    Single-precision scores take a radix sort, others numpy's.

    Parameters
    ----------
    classes
        Of the labels.
    scores
        (n,) numbers, higher means positive. Only their order matters.
    scratch
        (2, n) to sort single-precision scores in: for long vectors, half of the time would go to
        asking the system for memory. The counts may lie in it, and hold until its next use.

    Returns
    -------
    float, numpy.ndarray
        The AUC, exact up to one rounding, and (n,) of twice the number of rows of the other class
        that are ranked below a positive row, above a negative row; positive rows first.

    Raises
    ------
    PepbenchError
        If there is not a score for each label, or one is NaN.

    Examples
    --------
    >>> classes = classes_of([0, 1, 0, 1])
    >>> auc, counts = counted(classes, np.array([0.1, 0.4, 0.4, 0.8]))
    >>> auc, classes.placements(counts)
    (0.875, array([0.75, 1.  , 1.  , 0.75]))
    """
    if np.shape(scores) != np.shape(classes.position):
        raise PepbenchError(
            f"scores must be of shape (rows,) with a row for each of the "
            f"{len(classes.position)} labels, got shape {np.shape(scores)}"
        )
    if np.isnan(np.min(scores)):
        raise PepbenchError("scores must be numbers, got NaN")
    if scores.dtype == np.float32:
        if scratch is None:
            scratch = np.empty((2, len(scores)), np.uint64)
        rows, spare = _sorted_singles(classes, scores, scratch)
        counts = spare.view(np.uint32)[: len(scores)]
    else:
        rows, counts = _sorted(classes, scores), np.empty(len(scores), np.uint32)
    twice = _count(rows, classes.n_positive, counts)
    return twice / (2 * classes.n_positive * classes.n_negative), counts


def _sorted(classes: Classes, scores: NDArray[Any]) -> NDArray[np.uint64]:
    """Rows in ascending order: a number that ties share in the high half, the position in the low.

    One word holds both, so that a sort moves each row once.
    """
    order = np.argsort(scores)
    ordered = scores[order]
    ranks = np.zeros(len(scores), np.uint64)
    np.cumsum(ordered[1:] != ordered[:-1], out=ranks[1:])
    return (ranks << np.uint64(32)) | classes.position[order]


def _sorted_singles(
    classes: Classes, scores: NDArray[np.float32], scratch: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The same for single precision, in linear time; and the half of ``scratch`` that is free."""
    bits = np.ascontiguousarray(scores).view(np.uint32)
    n_bits = int(_join(bits, classes.position, scratch[0])).bit_length()
    n_passes = -(-n_bits // _DIGIT)
    digit = -(-n_bits // max(1, n_passes))
    return _radix_sorted(scratch[0], scratch[1], digit, n_passes)


@compiled
def _ordered(bits: np.uint32) -> np.uint32:
    """A number whose order is that of the float with these bits; the two zeros are equal."""
    if bits == np.uint32(0x80000000):
        bits = np.uint32(0)
    return ~bits if bits >> np.uint32(31) else bits | np.uint32(0x80000000)


@compiled
def _join(bits: NDArray[np.uint32], position: Counts, rows: NDArray[np.uint64]) -> int:
    """Fill ``rows`` with keys (high) and positions (low); returns the largest key.

    Keys are in the order of the floats whose bit patterns are given, and start at zero.
    """
    least, largest = np.uint32(0xFFFFFFFF), np.uint32(0)
    for i in range(len(bits)):
        key = _ordered(bits[i])
        least, largest = min(least, key), max(largest, key)
    for i in range(len(bits)):
        key = _ordered(bits[i]) - least
        rows[i] = (np.uint64(key) << np.uint64(32)) | np.uint64(position[i])
    return int(largest - least)


@compiled
def _radix_sorted(
    rows: NDArray[np.uint64], spare: NDArray[np.uint64], digit: int, n_passes: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Put ``rows`` in the order of their keys, by ``n_passes`` digits of ``digit`` bits.

    Returns whichever array holds them, and the other one.
    """
    mask = np.uint64((1 << digit) - 1)
    starts = np.zeros((n_passes, 1 << digit), np.int64)
    for i in range(len(rows)):
        for turn in range(n_passes):
            starts[turn, (rows[i] >> np.uint64(32 + turn * digit)) & mask] += 1
    for turn in range(n_passes):
        total = 0
        for value in range(1 << digit):
            count = starts[turn, value]
            starts[turn, value] = total
            total += count
        shift = np.uint64(32 + turn * digit)
        places = starts[turn]
        for i in range(len(rows)):
            row = rows[i]
            value = (row >> shift) & mask
            spare[places[value]] = row
            places[value] += 1
        rows, spare = spare, rows
    return rows, spare


@compiled
def _count(rows: NDArray[np.uint64], n_positive: int, counts: Counts) -> int:
    """Fill ``counts`` from rows in ascending order; returns twice the number of ordered pairs.

    Positions below ``n_positive`` are positive rows.
    """
    n = len(rows)
    start, positives, twice = 0, 0, 0
    while start < n:
        key = rows[start] >> np.uint64(32)
        stop, tied = start, 0
        while stop < n and rows[stop] >> np.uint64(32) == key:
            tied += int(np.uint32(rows[stop]) < n_positive)
            stop += 1
        tied_negatives = stop - start - tied
        below = 2 * (start - positives) + tied_negatives
        above = 2 * (n_positive - positives) - tied
        for i in range(start, stop):
            position = np.uint32(rows[i])
            counts[position] = below if position < n_positive else above
        twice += tied * below
        positives += tied
        start = stop
    return twice
