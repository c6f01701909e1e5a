"""Agreement of learnt widths with planted widths and with training frequencies.

On data with a planted truth every feature has a true width, and the true probabilities bound what
a model can reach. On all data, learnt widths can be compared with training frequencies.

References
----------
Liu et al., "Learnable Embedding Sizes for Recommender Systems" (PEP), ICLR 2021, arXiv 2101.07577:
frequent features get wider vectors.
Spearman, "The proof and measurement of association between two things", American Journal of
Psychology 15 (1904).
Kendall & Gibbons, "Rank Correlation Methods", 5th ed. 1990: ties, partial correlation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from pepbench.analysis.cells import Cell, cells_of
from pepbench.analysis.width_profiles import (
    MOST_FEATURES,
    POINT_COLUMNS,
    PROFILE_COLUMNS,
    profiled,
    sampled,
)
from pepbench.metrics import auc
from pepbench.records import CELL_COLUMNS, Record

RECOVERY_COLUMNS = (
    *CELL_COLUMNS,
    "seeds",
    "ranked_seeds",
    "mean_width",
    "planted_correlation",
    "planted_spread",
    "planted_ceiling",
    "partial_correlation",
    "partial_spread",
    "frequency_correlation",
    "frequency_spread",
    "auc",
    "bayes_auc",
    "bayes_gap",
    "gap_spread",
)
"""Columns of :func:`recover`."""

FEATURE_COLUMNS = ("field", "frequency", "planted_width")
"""What must be known about each feature."""


@dataclass(frozen=True)
class WidthFiles:
    """Functions that load what is stored beside the records; each returns None where it is missing.

    Attributes
    ----------
    widths
        From a record's key to the learnt widths (N,).
    features
        From a split's fingerprint to a frame with a row for each global id: ``field``,
        ``frequency``, and ``planted_width``, NaN where none is planted.
    labels, truth
        From a split's fingerprint to the labels and true probabilities of its test rows.
    """

    widths: Callable[[str], NDArray[Any] | None]
    features: Callable[[str], pd.DataFrame | None]
    labels: Callable[[str], NDArray[Any] | None]
    truth: Callable[[str], NDArray[Any] | None]


@dataclass(frozen=True)
class WidthRecovery:
    """Learnt widths, and the distance of AUCs from the Bayes AUC.

    Attributes
    ----------
    frame
        Columns ``RECOVERY_COLUMNS``: a row for each cell of which a correlation or a gap is known.
    points
        Columns ``POINT_COLUMNS``: features of the first seed, a sample where there are many;
        ``place`` is the rank by frequency among those of the same planted width, in (0, 1).
    profiles
        Columns ``PROFILE_COLUMNS``: mean learnt width, and the 10 % and 90 % quantiles, of all
        features and seeds by planted width (``by`` = ``planted``) and by training frequency
        (``by`` = ``frequency``: ``at`` is the mean over a bin from one power of two to the next).
    """

    frame: pd.DataFrame
    points: pd.DataFrame
    profiles: pd.DataFrame


def rank_correlation(one: ArrayLike, other: ArrayLike) -> float:
    """Spearman's ρ of two variables (n,); equal values share their mean rank.

    NaN if one of the two is constant: then there is no order to agree with.

    >>> round(rank_correlation([1, 2, 3, 4], [10, 20, 40, 30]), 12)
    0.8
    >>> rank_correlation([1, 2, 3], [5, 5, 5])
    nan
    """
    first, second = np.asarray(one), np.asarray(other)
    if len(first) < 2 or (first == first[0]).all() or (second == second[0]).all():
        return math.nan
    return float(spearmanr(first, second).statistic)


def partial_rank_correlation(one: ArrayLike, other: ArrayLike, given: ArrayLike) -> float:
    """Partial rank correlation given a third variable: (ρ₁₂ − ρ₁₃ρ₂₃) / √((1 − ρ₁₃²)(1 − ρ₂₃²)).

    NaN if one of the first two is constant, or says no more than the third. A constant third
    changes nothing.

    >>> round(partial_rank_correlation([1, 2, 3, 4], [1, 2, 4, 3], [7, 7, 7, 7]), 12)
    0.8
    """
    between = rank_correlation(one, other)
    with_one, with_other = rank_correlation(one, given), rank_correlation(other, given)
    if math.isnan(with_one) or math.isnan(with_other):
        return between
    left = (1 - with_one**2) * (1 - with_other**2)
    if left < 1e-12:
        return math.nan
    return (between - with_one * with_other) / math.sqrt(left)


def partial_correlation_within(
    fields: Sequence[NDArray[np.integer]], one: ArrayLike, other: ArrayLike, given: ArrayLike
) -> float:
    """Partial rank correlations within fields, averaged with the fields' numbers of features.

    Fields in which it is not known are left out; NaN if it is in none, so for widths that are the
    same throughout every field.

    Parameters
    ----------
    fields
        For each field, the positions of its features.
    one, other, given
        Shape (n,).
    """
    columns = [np.asarray(values) for values in (one, other, given)]
    known = [
        (len(field), value)
        for field in fields
        if not math.isnan(value := partial_rank_correlation(*(c[field] for c in columns)))
    ]
    if not known:
        return math.nan
    sizes, values = zip(*known, strict=True)
    return float(np.average(values, weights=sizes))


def recover(records: Iterable[Record], files: WidthFiles) -> WidthRecovery:
    """Compare learnt widths with planted widths and frequencies, and AUCs with the Bayes AUC.

    Parameters
    ----------
    records
        In any order.
    files
        Loaders of the files that belong to them.

    Returns
    -------
    WidthRecovery
        Only features that training has seen count. ``planted_correlation`` and
        ``frequency_correlation`` are Spearman's ρ of learnt width with planted width and with
        training frequency. ``partial_correlation`` is that with planted width within fields and
        with frequency held (:func:`partial_correlation_within`), and ``planted_ceiling`` what the
        one with planted width would be if the same widths were assigned in the planted order:
        below 1 where many are equal. All these and
        ``mean_width`` are means over the seeds' runs, ``…_spread`` the standard deviation (n − 1)
        over them. Seeds in which all features have the same width have no correlation and are left
        out of it; ``ranked_seeds`` says how many are left.
        Where there are several folds, these are means over folds of each fold's figures, and points
        and profiles are those of the first. ``bayes_gap`` is ``bayes_auc``, the AUC of the true
        probabilities on the test rows, minus the test AUC. Unknown figures are NaN.
    """
    rows: list[dict[str, object]] = []
    points: list[pd.DataFrame] = []
    profiles: list[pd.DataFrame] = []
    known: dict[str, _Split] = {}
    for cell in cells_of(records):
        of_folds: list[dict[str, Any]] = []
        shown: tuple[_Split, NDArray[Any]] | None = None
        for runs in cell.by_fold():
            split = runs.runs[0].spec.data.split_fingerprint
            if split not in known:
                known[split] = _split_of(split, files)
            learnt = _learnt_widths(runs, known[split], files)
            of_folds.append(_row(runs, known[split], learnt))
            shown = shown or ((known[split], learnt) if learnt.size else None)
        if not of_folds:
            continue
        row = _mean_of_rows(of_folds)
        if not (math.isnan(row["bayes_gap"]) and math.isnan(row["mean_width"])):
            rows.append(cell.name._asdict() | {"seeds": len(cell.runs)} | row)
        if shown is not None:
            seen, learnt = shown[0].seen, shown[1]
            thin = slice(None, None, -(-learnt.shape[1] // MOST_FEATURES))
            features, widths = seen[thin], learnt[:, thin]
            points.append(sampled(features, widths[0]).assign(**cell.name._asdict()))
            profiles.append(profiled(features, widths).assign(**cell.name._asdict()))
    frame = pd.DataFrame(rows, columns=list(RECOVERY_COLUMNS))
    kinds = {
        column: "int64" if column.endswith("seeds") else "float64"
        for column in RECOVERY_COLUMNS[len(CELL_COLUMNS) :]
    }
    return WidthRecovery(
        frame.astype(kinds),
        _joined(points, POINT_COLUMNS),
        _joined(profiles, PROFILE_COLUMNS),
    )


@dataclass(frozen=True)
class _Split:
    """What the cells of a split share."""

    in_training: NDArray[np.bool_]
    """Shape (N,): features that training has seen; empty if nothing is known about them."""
    seen: pd.DataFrame
    """``FEATURE_COLUMNS`` of those."""
    bayes_auc: float


def _split_of(fingerprint: str, files: WidthFiles) -> _Split:
    features = files.features(fingerprint)
    labels, truth = files.labels(fingerprint), files.truth(fingerprint)
    known = labels is not None and truth is not None and len(labels) == len(truth)
    bayes = auc(labels, truth) if known else math.nan  # type: ignore[arg-type]
    if features is None:
        empty = pd.DataFrame({column: [] for column in FEATURE_COLUMNS})
        return _Split(np.zeros(0, dtype=np.bool_), empty, bayes)
    in_training = features["frequency"].to_numpy() > 0
    return _Split(in_training, features[in_training], bayes)


def _learnt_widths(cell: Cell, split: _Split, files: WidthFiles) -> NDArray[Any]:
    """Shape (S, n): learnt widths of the features seen, for each run that has stored them."""
    stored = [files.widths(run.key) for run in cell.runs if run.widths_sha256 is not None]
    fitting = [widths for widths in stored if widths is not None and len(split.in_training)]
    return np.array([widths[split.in_training] for widths in fitting])


def _row(cell: Cell, split: _Split, learnt: NDArray[Any]) -> dict[str, Any]:
    tests = [run.test.auc for run in cell.runs if run.test is not None]
    known = split.seen["planted_width"].notna().to_numpy()
    features = split.seen[known]
    planted, frequency = features["planted_width"], features["frequency"]
    fields = [
        np.asarray(places, dtype=np.int64)
        for places in features.groupby("field", observed=True).indices.values()
    ]
    with_truth = [widths[known] for widths in learnt] if known.any() else []
    figures: dict[str, Any] = {
        "ranked_seeds": sum(len(set(widths.tolist())) > 1 for widths in learnt),
        "mean_width": float(learnt.mean()) if learnt.size else math.nan,
        "planted_ceiling": _mean_and_spread(
            rank_correlation(np.sort(widths), np.sort(planted)) for widths in with_truth
        )[0],
        "auc": _mean_and_spread(tests)[0],
        "bayes_auc": split.bayes_auc,
    }
    by_seed = {
        ("frequency_correlation", "frequency_spread"): [
            rank_correlation(widths, split.seen["frequency"]) for widths in learnt
        ],
        ("planted_correlation", "planted_spread"): [
            rank_correlation(widths, planted) for widths in with_truth
        ],
        ("partial_correlation", "partial_spread"): [
            partial_correlation_within(fields, widths, planted, frequency) for widths in with_truth
        ],
        ("bayes_gap", "gap_spread"): [split.bayes_auc - auc for auc in tests],
    }
    for names, values in by_seed.items():
        figures |= dict(zip(names, _mean_and_spread(values), strict=True))
    return figures


def _mean_of_rows(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Each figure's mean over the folds in which it is known; counts are added."""
    if len(rows) == 1:
        return rows[0]
    means = {name: _mean_and_spread(row[name] for row in rows)[0] for name in rows[0]}
    return means | {"ranked_seeds": sum(row["ranked_seeds"] for row in rows)}


def _mean_and_spread(values: Iterable[float]) -> tuple[float, float]:
    """Mean and standard deviation of the values that are known; NaN where there are too few."""
    known = [value for value in values if not math.isnan(value)]
    mean = float(np.mean(known)) if known else math.nan
    return mean, float(np.std(known, ddof=1)) if len(known) > 1 else math.nan


def _joined(parts: list[pd.DataFrame], columns: tuple[str, ...]) -> pd.DataFrame:
    if not parts:
        return pd.DataFrame(columns=list(columns))
    return pd.concat(parts, ignore_index=True)[list(columns)]
