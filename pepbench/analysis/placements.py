"""How each row is ranked against the other class: the structural components of the AUC.

The *placement* of a positive row is the share of negative rows ranked below it, ties counting one
half; that of a negative row, the share of positive rows ranked above it. The AUC is the mean
placement of either class.

References
----------
DeLong, DeLong & Clarke-Pearson, "Comparing the areas under two or more correlated receiver
operating characteristic curves: a nonparametric approach", Biometrics 44 (1988).
Sun & Xu, "Fast implementation of DeLong's algorithm", IEEE Signal Processing Letters 21 (2014):
placements from one sort.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pepbench.errors import PepbenchError
from pepbench.kernels import compiled

Floats = NDArray[np.float64]

_DIGIT = 11
"""Bits of a radix: its counters (2,048) stay in the first-level cache."""
_PASSES = 3


@dataclass(frozen=True)
class Classes:
    """Which rows are positive.

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


def placed(classes: Classes, scores: NDArray[Any]) -> tuple[float, Floats]:
    """AUC and placements of one score vector, by one sort.

    Single-precision scores take a radix sort, others numpy's.

    Parameters
    ----------
    classes
        Of the labels.
    scores
        (n,) numbers, higher means positive. Only their order matters.

    Returns
    -------
    float, numpy.ndarray
        The AUC, exact up to one rounding, and (n,) placements, positive rows first.

    Raises
    ------
    PepbenchError
        If there is not a score for each label, or one is NaN.

    Examples
    --------
    >>> placed(classes_of([0, 1, 0, 1]), np.array([0.1, 0.4, 0.4, 0.8]))
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
        keys, positions = _radix_sorted(
            np.ascontiguousarray(scores).view(np.uint32), classes.position
        )
    else:
        order = np.argsort(scores)
        keys, positions = scores[order], classes.position[order]
    line = np.empty(len(scores))
    twice = _place(keys, positions, classes.n_positive, line)
    return twice / (2 * classes.n_positive * classes.n_negative), line


@compiled
def _radix_sorted(
    bits: NDArray[np.uint32], payload: NDArray[np.uint32]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Bit patterns of floats in ascending order of the floats, as keys, and their payload."""
    n = len(bits)
    keys, spare_keys = np.empty(n, np.uint32), np.empty(n, np.uint32)
    carried, spare = payload.copy(), np.empty(n, np.uint32)
    counts = np.zeros((_PASSES, 1 << _DIGIT), np.int64)
    mask = np.uint32((1 << _DIGIT) - 1)
    for i in range(n):
        value = bits[i]
        # The two zeros are equal numbers; the order of negative floats is that of flipped bits.
        if value == np.uint32(0x80000000):
            value = np.uint32(0)
        key = ~value if value >> np.uint32(31) else value | np.uint32(0x80000000)
        keys[i] = key
        for turn in range(_PASSES):
            counts[turn, (key >> np.uint32(turn * _DIGIT)) & mask] += 1
    for turn in range(_PASSES):
        total = 0
        for digit in range(1 << _DIGIT):
            count = counts[turn, digit]
            counts[turn, digit] = total
            total += count
        shift = np.uint32(turn * _DIGIT)
        starts = counts[turn]
        for i in range(n):
            key = keys[i]
            digit = (key >> shift) & mask
            place = starts[digit]
            starts[digit] = place + 1
            spare_keys[place] = key
            spare[place] = carried[i]
        keys, spare_keys = spare_keys, keys
        carried, spare = spare, carried
    return keys, carried


@compiled
def _place(keys: NDArray[Any], positions: NDArray[np.uint32], n_positive: int, line: Floats) -> int:
    """Fill placements from rows in ascending order; returns twice the number of ordered pairs.

    ``positions`` below ``n_positive`` are positive rows. Pairs are counted in integers.
    """
    n = len(keys)
    n_negative = n - n_positive
    start, positives, negatives, twice = 0, 0, 0, 0
    while start < n:
        stop, tied = start, 0
        while stop < n and keys[stop] == keys[start]:
            if positions[stop] < n_positive:
                tied += 1
            stop += 1
        tied_negatives = stop - start - tied
        below = (2 * negatives + tied_negatives) / (2 * n_negative)
        above = (2 * (n_positive - positives) - tied) / (2 * n_positive)
        for i in range(start, stop):
            line[positions[i]] = below if positions[i] < n_positive else above
        twice += tied * (2 * negatives + tied_negatives)
        positives += tied
        negatives += tied_negatives
        start = stop
    return twice
