"""How figures of many runs vary together, over the rows of a test split: AUC, log loss and others.

All runs of a data set and backbone are scored on the same rows, so one covariance matrix
serves every comparison between them: a comparison is a contrast of it.

* **AUC.** The covariance of DeLong et al., between all pairs of runs at once:
  S₁/m + S₀/n, where S₁ and S₀ are the sample covariances of the runs' placements over the m
  positive and n negative rows.
* **Log loss.** The sample covariance of the rows' losses, divided by the number of rows.
* **By user.** Where rows come from users, rows of one user are not independent. The sums over each
  user's rows are, and take the place of rows (Obuchowski 1997 for the AUC; cluster sums for means):
  with ψ_u = Σ_{i∈u,+} (P_i − θ)/m + Σ_{j∈u,−} (N_j − θ)/n, the covariance is
  U/(U−1) · Σ_u ψ_u ψ_u'.
  For a mean over users of a figure of each, such as gAUC, ψ_u = w_u (f_u − θ)/Σw.
  Obuchowski has the factor I/(I−1) apart for users with positive rows, with negative rows, and with
  both; the one factor keeps the matrix a covariance, and differs by O(1/U).

References
----------
DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988). Obuchowski, "Nonparametric analysis of
clustered ROC curve data", Biometrics 53 (1997). Kish, "Survey Sampling" (1965), §8.2: the effective
number of users.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pepbench.analysis.delong import Classes, Counts, Floats, classes_of, counted
from pepbench.analysis.score_matrix import IN_MEMORY, ScoreMatrix
from pepbench.cores import usable_cores
from pepbench.errors import PepbenchError

Unit = Literal["rows", "users"]

CLIP = 1e-7
"""Probabilities are kept within [CLIP, 1 − CLIP] for the log loss: in single precision they may be
0 or 1, whose loss would be infinite."""


@dataclass(frozen=True)
class RowPart:
    """A part of the covariance matrix, (R, R), with the degrees of freedom of its estimate."""

    covariance: Floats
    degrees_of_freedom: float


@dataclass(frozen=True)
class RunFigures:
    """A figure of R runs on common rows, with its covariance.

    Attributes
    ----------
    means
        (R,): the figure of each run; NaN where it could not be computed.
    parts
        Independent parts whose sum is the figures' covariance over rows: AUC by rows has one for
        each class, all else a single one. Empty where a class has fewer than two rows, or where
        there are fewer than two users.
    unit
        The independent units: rows, or users.
    units
        Number of them.
    """

    means: Floats
    parts: tuple[RowPart, ...]
    unit: Unit
    units: int

    @property
    def problem(self) -> str:
        """Why the rows allow no variance; else empty."""
        if self.parts:
            return ""
        if self.unit == "users":
            return f"a variance by user needs two users, there is {self.units}"
        return "a variance over test rows needs two rows of each class"


@dataclass(frozen=True)
class Measurements:
    """Figures of R runs.

    Attributes
    ----------
    auc, log_loss
        Over all rows.
    problems
        For each run why it has none, else empty.
    within
        The figure within users that was asked for; else None.
    """

    auc: RunFigures
    log_loss: RunFigures
    problems: tuple[str, ...]
    within: RunFigures | None = None


LoadScores = Callable[[], NDArray[Any]]
Within = Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], tuple[Floats, Floats]]
"""From labels, scores and users of all rows to a figure of each user and its weights, (U,) each."""


def measure(
    labels: ArrayLike,
    runs: Sequence[LoadScores],
    users: ArrayLike | None = None,
    in_memory: int = IN_MEMORY,
    log_loss: bool = True,
    within: Within | None = None,
) -> Measurements:
    """Measure figures of runs on common rows: one sort each, then one pass over all.

    Runs are loaded and sorted on as many threads as there are cores. Besides the two matrices, each
    thread holds one run and 16 bytes a row to sort it in.

    Parameters
    ----------
    labels
        (n,) of 0 and 1.
    runs
        Each loads the scores of one run, (n,). If it raises :class:`PepbenchError`, or the scores
        are unfit, the run is left out, with the reason in ``problems``.
    users
        (n,): a number for each row, the same for rows of one user. None if rows are independent.
    in_memory
        As :class:`~pepbench.analysis.score_matrix.ScoreMatrix`.
    log_loss
        Whether to measure it, too.
    within
        A figure of each user to measure, too; left out without ``users``.

    Returns
    -------
    Measurements
        Log loss is NaN for scores outside [0, 1], and where it was not asked for.

    Raises
    ------
    PepbenchError
        If labels are unfit, or there is not a user for each.
    """
    classes, grouping = classes_of(labels), _grouping(users, np.asarray(labels))
    positives = np.asarray(labels) == 1
    of_user = None if grouping is None else within
    length = len(positives) if grouping is None else grouping.n_users
    aucs, losses, means = (np.full(len(runs), np.nan) for _ in range(3))
    weights = np.zeros(length if of_user else 0)
    with ExitStack() as stack:
        ranks, costs, members = (
            stack.enter_context(ScoreMatrix(len(runs), columns, kind, in_memory))
            for columns, kind in (
                (length, np.uint32 if grouping is None else np.float64),
                (length if log_loss else 0, np.float64),
                (len(weights), np.float64),
            )
        )

        # As many as threads, so that there is always one to pop.
        free = [np.empty((2, len(positives)), np.uint64) for _ in range(usable_cores())]

        def measure_run(run: int) -> str:
            scratch = free.pop()
            try:
                scores = np.asarray(runs[run]())
                aucs[run], counts = counted(classes, scores, scratch)
                ranks.put(
                    run, grouping.auc_sums(counts, aucs[run], classes) if grouping else counts
                )
            except PepbenchError as error:
                return str(error)
            finally:
                free.append(scratch)
            if of_user is not None and grouping is not None:
                values, weights[:] = of_user(positives.astype(np.int64), scores, grouping.codes)
                if weights.any():
                    means[run] = np.average(values, weights=weights)
                    members.put(run, weights * (values - means[run]) / weights.sum())
            if log_loss and scores.min() >= 0 and scores.max() <= 1:
                cost = row_losses(positives, scores)
                losses[run] = cost.mean()
                costs.put(run, cost if grouping is None else grouping.mean_sums(cost))
            return ""

        with ThreadPoolExecutor(len(free)) as pool:
            problems = tuple(pool.map(measure_run, range(len(runs))))
        auc_parts = _delong_parts(ranks, aucs, classes, grouping)
        loss_parts = _loss_parts(costs, losses, grouping)
        user_parts = _user_part(members, weights) if of_user else ()
    unit: Unit = "rows" if grouping is None else "users"
    return Measurements(
        RunFigures(aucs, auc_parts, unit, length),
        RunFigures(losses, loss_parts, unit, length),
        problems,
        RunFigures(means, user_parts, "users", int((weights > 0).sum())) if of_user else None,
    )


def row_losses(positives: NDArray[np.bool_], probabilities: NDArray[Any]) -> Floats:
    """Binary cross-entropy of each row in nats, (n,), of probabilities clipped by ``CLIP``."""
    wide = np.clip(probabilities.astype(np.float64), CLIP, 1 - CLIP)
    return -np.log(np.where(positives, wide, 1 - wide))


@dataclass(frozen=True)
class _Grouping:
    """Rows of users: ``codes`` (n,) in test order, ``placed`` the same with positive rows first."""

    codes: NDArray[np.int64]
    placed: NDArray[np.int64]
    n_users: int
    sizes: Floats

    def auc_sums(self, counts: Counts, auc: float, classes: Classes) -> Floats:
        """ψ_u of each user, (U,)."""
        shares = classes.placements(counts) - auc
        shares[: classes.n_positive] /= classes.n_positive
        shares[classes.n_positive :] /= classes.n_negative
        sums: Floats = np.bincount(self.placed, shares, self.n_users).astype(np.float64)
        return sums

    def mean_sums(self, values: Floats) -> Floats:
        """Σ_{i∈u} (x_i − x̄)/n of each user, (U,)."""
        shares = (values - values.mean()) / len(values)
        sums: Floats = np.bincount(self.codes, shares, self.n_users).astype(np.float64)
        return sums


def _grouping(users: ArrayLike | None, labels: NDArray[Any]) -> _Grouping | None:
    if users is None:
        return None
    if np.shape(users) != np.shape(labels):
        raise PepbenchError(
            f"users must be of shape {np.shape(labels)}, one for each label, got shape "
            f"{np.shape(users)}"
        )
    _, codes, sizes = np.unique(users, return_inverse=True, return_counts=True)
    positives = labels == 1
    return _Grouping(
        codes=codes.astype(np.int64),
        placed=np.concatenate([codes[positives], codes[~positives]]).astype(np.int64),
        n_users=len(sizes),
        sizes=sizes.astype(np.float64),
    )


def _delong_parts(
    matrix: ScoreMatrix, aucs: Floats, classes: Classes, grouping: _Grouping | None
) -> tuple[RowPart, ...]:
    """DeLong's S₁/m and S₀/n; or Obuchowski's covariance by user."""
    if grouping is not None:
        return _user_part(matrix, grouping.sizes)
    if min(classes.n_positive, classes.n_negative) < 2:
        return ()
    centres = np.nan_to_num(aucs)
    m, n = classes.n_positive, classes.n_negative
    return tuple(
        RowPart(
            matrix.products(start, start + size, centres * most) / (most**2 * size * (size - 1)),
            size - 1,
        )
        for start, size, most in ((0, m, 2.0 * n), (m, n, 2.0 * m))
    )


def _loss_parts(
    matrix: ScoreMatrix, losses: Floats, grouping: _Grouping | None
) -> tuple[RowPart, ...]:
    if grouping is not None:
        return _user_part(matrix, grouping.sizes)
    n = matrix.shape[1]
    if n < 2:
        return ()
    products = matrix.products(0, n, np.nan_to_num(losses))
    return (RowPart(products / (n * (n - 1)), n - 1),)


def _user_part(matrix: ScoreMatrix, weights: Floats) -> tuple[RowPart, ...]:
    n_users = int((weights > 0).sum())
    if n_users < 2:
        return ()
    products = matrix.products(0, matrix.shape[1], np.zeros(matrix.shape[0]))
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    return (RowPart(products * n_users / (n_users - 1), max(1.0, effective - 1)),)
