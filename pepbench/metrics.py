"""AUC and log loss over a whole split."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating]


def auc(labels: NDArray[np.integer], scores: Numbers) -> float:
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order.

    Ties count one half. Exact over all rows, not a mean over batches.

    Parameters
    ----------
    labels
        Shape (n,): 0 or 1.
    scores
        Shape (n,): higher means more likely positive.

    Returns
    -------
    float
        Within [0, 1]; nan if only one class is present.

    Examples
    --------
    >>> auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    order = np.argsort(scores)
    ordered = scores[order]
    positive = labels[order].astype(bool)
    # First and last rank of each run of equal scores, averaged: the midrank.
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    lengths = np.diff(np.concatenate([starts, [len(ordered)]]))
    midranks = starts + (lengths + 1) / 2.0
    positives_in_run = np.add.reduceat(positive, starts, dtype=np.int64)
    n_positive = int(positives_in_run.sum())
    n_negative = len(ordered) - n_positive
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    rank_sum = float(midranks @ positives_in_run)
    return (rank_sum - n_positive * (n_positive + 1) / 2.0) / (n_positive * n_negative)


def log_loss(labels: NDArray[np.integer], logits: Numbers) -> float:
    """Mean binary cross-entropy of logits (n,) against labels (n,), in nats.

    >>> round(log_loss(np.array([1, 0]), np.array([0.0, 0.0])), 6)
    0.693147
    """
    wide = logits.astype(np.float64)
    losses = np.logaddexp(0.0, wide) - labels * wide
    return float(losses.mean())
