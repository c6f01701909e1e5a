"""The structural components of the AUC: how each row is ranked against the other class.

References
----------
DeLong, DeLong & Clarke-Pearson, "Comparing the areas under two or more correlated receiver
operating characteristic curves: a nonparametric approach", Biometrics 44 (1988).
Sun & Xu, "Fast implementation of DeLong's algorithm", IEEE Signal Processing Letters 21 (2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pepbench.errors import PepbenchError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Placements:
    """The structural components of the mean AUC over K seeds.

    Attributes
    ----------
    aucs
        (K,): the AUC of each seed.
    positive
        (m,): for each positive row, the share of negative rows ranked below it, averaged over
        seeds.
    negative
        (n,): for each negative row, the share of positive rows ranked above it, averaged over
        seeds.
    """

    aucs: Floats
    positive: Floats
    negative: Floats


def placements(labels: ArrayLike, scores: ArrayLike) -> Placements:
    """Structural components of the AUC, by one sort for each score vector.

    Parameters
    ----------
    labels
        (n,) of 0 and 1.
    scores
        (n,) or (K, n): a score for each row, one line for each seed; higher means positive. Only
        their order matters.

    Returns
    -------
    Placements
        Averaged over the K seeds.

    Raises
    ------
    PepbenchError
        If shapes differ, a label is not 0 or 1, a class has no row, or a score is NaN.

    Examples
    --------
    >>> placements([0, 1, 0, 1], [0.1, 0.4, 0.4, 0.8]).positive
    array([0.75, 1.  ])
    """
    positives = _checked_labels(labels)
    lines = np.atleast_2d(np.asarray(scores))
    if lines.ndim != 2 or lines.shape[1] != len(positives) or not len(lines):
        raise PepbenchError(
            f"scores must be of shape (rows,) or (seeds, rows) with a row for each of the "
            f"{len(positives)} labels, got shape {np.shape(scores)}"
        )
    if np.isnan(lines).any():
        raise PepbenchError("scores must be numbers, got NaN")
    total = np.zeros(len(positives))
    aucs = np.empty(len(lines))
    for seed, line in enumerate(lines):
        placed = _placed(positives, line)
        aucs[seed] = placed[positives].mean()
        total += placed
    total /= len(lines)
    return Placements(aucs=aucs, positive=total[positives], negative=total[~positives])


def _checked_labels(labels: ArrayLike) -> NDArray[np.bool_]:
    values = np.asarray(labels)
    if values.ndim != 1:
        raise PepbenchError(f"labels must be of shape (rows,), got shape {values.shape}")
    positives: NDArray[np.bool_] = values == 1
    if not (positives | (values == 0)).all():
        raise PepbenchError("labels must be 0 or 1")
    if not len(positives) or positives.all() or not positives.any():
        which = f"only {int(positives[0])}" if len(positives) else "nothing"
        raise PepbenchError(
            f"the labels hold {which}: an AUC needs rows of both classes in the test split"
        )
    return positives


def _placed(positives: NDArray[np.bool_], scores: NDArray[Any]) -> Floats:
    """Of each row, the share of the other class's rows that it is ranked rightly against."""
    order = np.argsort(scores)
    sorted_scores = scores[order]
    starts = np.flatnonzero(np.r_[True, sorted_scores[1:] != sorted_scores[:-1]])
    lengths = np.diff(np.r_[starts, len(scores)])
    positive_ties = np.add.reduceat(positives[order].astype(np.int64), starts)
    negative_ties = lengths - positive_ties
    negatives_below = np.cumsum(negative_ties) - negative_ties / 2
    positives_above = positive_ties.sum() - np.cumsum(positive_ties) + positive_ties / 2
    placed = np.empty(len(scores))
    placed[order] = np.where(
        positives[order],
        np.repeat(negatives_below / negative_ties.sum(), lengths),
        np.repeat(positives_above / positive_ties.sum(), lengths),
    )
    return placed
