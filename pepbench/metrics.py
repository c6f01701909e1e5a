"""Figures of predictions over a whole part of a split: AUC, log loss, and others beside them."""

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


def calibration(labels: NDArray[np.integer], probabilities: Numbers) -> float:
    """Predicted over observed clicks: Σ probabilities (n,) / Σ labels (n,); 1 is right on average.

    >>> calibration(np.array([1, 0, 0, 1]), np.array([0.5, 0.25, 0.25, 0.5]))
    0.75
    """
    return float(probabilities.astype(np.float64).sum() / labels.sum())


def gauc(labels: NDArray[np.integer], scores: Numbers, users: NDArray[np.integer]) -> float:
    """AUC within each user who has both labels, averaged by their numbers of rows.

    Zhu et al., "Optimized cost per click in Taobao display advertising", KDD 2017.

    Parameters
    ----------
    labels, scores, users
        Shape (n,): 0 or 1; higher means more likely positive; a number for each user.

    Returns
    -------
    float
        nan if no user has both labels.

    Examples
    --------
    >>> gauc(np.array([1, 0, 1, 0, 0]), np.array([2, 1, 1, 3, 2]), np.array([7, 7, 8, 8, 8]))
    0.4
    """
    return _weighted(*user_aucs(labels, scores, users))


def user_aucs(
    labels: NDArray[np.integer], scores: Numbers, users: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUC of each of U users in order, (U,), and their weights in :func:`gauc`, (U,).

    Both 0 for a user without both labels.
    """
    _, codes, sizes = np.unique(users, return_inverse=True, return_counts=True)
    positives = np.bincount(codes, labels, len(sizes))
    pairs = positives * (sizes - positives)
    ranks = _midranks_within(codes, sizes, scores)
    sums = np.bincount(codes, ranks * labels, len(sizes)) - positives * (positives + 1) / 2
    mixed = pairs > 0
    return sums * mixed / np.maximum(pairs, 1), sizes * mixed.astype(np.float64)


def ndcg(
    labels: NDArray[np.integer], scores: Numbers, users: NDArray[np.integer], k: int = 10
) -> float:
    """NDCG@k within each user who has a positive row, averaged over users.

    Järvelin & Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 20 (2002), with
    gains of 0 and 1 and discounts 1/log₂(1 + rank). Rows of equal score share the mean of their
    discounts, as in McSherry & Najork, "Computing information retrieval performance measures
    efficiently in the presence of tied scores", ECIR 2008.

    Parameters
    ----------
    labels, scores, users
        As of :func:`gauc`.
    k
        Rows beyond this rank count nothing.

    Examples
    --------
    >>> round(ndcg(np.array([0, 1, 1]), np.array([3.0, 2.0, 1.0]), np.zeros(3, int)), 4)
    0.6934
    """
    return _weighted(*user_ndcgs(labels, scores, users, k))


def user_ndcgs(
    labels: NDArray[np.integer], scores: Numbers, users: NDArray[np.integer], k: int = 10
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """NDCG@k of each of U users in order, (U,), and their weights in :func:`ndcg`, (U,).

    Both 0 for a user without a positive row.
    """
    _, codes, sizes = np.unique(users, return_inverse=True, return_counts=True)
    order = np.lexsort((-scores, codes))
    starts = np.cumsum(sizes) - sizes
    rank = np.arange(len(order)) - np.repeat(starts, sizes)
    discount = np.where(rank < k, 1.0 / np.log2(rank + 2.0), 0.0)
    # The mean discount of each run of equal scores of a user.
    ordered, owner = scores[order], codes[order]
    new = np.concatenate([[True], (ordered[1:] != ordered[:-1]) | (owner[1:] != owner[:-1])])
    run = np.cumsum(new) - 1
    shared = (np.bincount(run, discount) / np.bincount(run))[run]
    gains = np.bincount(owner, shared * labels[order], len(sizes))
    positives = np.bincount(codes, labels, len(sizes)).astype(np.int64)
    ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))])
    known = positives > 0
    return gains / ideal[np.clip(positives, 1, k)], known.astype(np.float64)


def _weighted(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    known = weights > 0
    return float(np.average(values[known], weights=weights[known])) if known.any() else float("nan")


def _midranks_within(
    codes: NDArray[np.integer], sizes: NDArray[np.integer], scores: Numbers
) -> NDArray[np.float64]:
    """Rank of each row among the rows of its user, from 1; equal scores share the mean, (n,)."""
    order = np.lexsort((scores, codes))
    ordered, owner = scores[order], codes[order]
    new = np.concatenate([[True], (ordered[1:] != ordered[:-1]) | (owner[1:] != owner[:-1])])
    run = np.cumsum(new) - 1
    lengths = np.bincount(run)
    firsts = np.cumsum(lengths) - lengths
    midranks = firsts + (lengths + 1) / 2.0
    starts = np.cumsum(sizes) - sizes
    ranks = np.empty(len(order))
    ranks[order] = midranks[run] - starts[owner]
    return ranks
