"""Differences of AUC with intervals that hold over test rows and over seeds.

Two things would change if a comparison were repeated: the rows of the test split and the seeds of
training. For K seeds evaluated on common rows, the mean difference D of the K AUCs has the variance

    Var(D) ≈ v₁/m + v₀/n + s²/K

* v₁ and v₀ are the sample variances, over the m positive and the n negative rows, of the
  seed-averaged difference of *placements*. The placement of a positive row is the share of negative
  rows that it outranks (ties count ½), that of a negative row the share of positive rows that
  outrank it. The mean of K AUCs on common rows is the mean of the averaged placements, so this is
  DeLong's variance, exactly, with no covariances to estimate pair by pair.
* s² is the sample variance of the K differences between seeds.

The statistic D / √Var(D) is referred to Student's t with Welch–Satterthwaite degrees of freedom,
which combine m − 1, n − 1 and K − 1.

**Conservative.** What seeds and rows do jointly (one seed happens to suit these rows) is in both
the row term, divided by K, and s². It is counted twice, so the variance is on average too large by
that share, never too small: intervals cover at least their level. The excess is small where the
methods differ in which rows they rank well, and largest (a factor of up to two in the variance)
where a method is compared with itself under other seeds.

References
----------
DeLong, DeLong & Clarke-Pearson, "Comparing the areas under two or more correlated receiver
operating characteristic curves: a nonparametric approach", Biometrics 44 (1988).
Sun & Xu, "Fast implementation of DeLong's algorithm", IEEE Signal Processing Letters 21 (2014).
Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics
Bulletin 2 (1946). Holm, "A simple sequentially rejective multiple test procedure", Scandinavian
Journal of Statistics 6 (1979). Schuirmann, "A comparison of the two one-sided tests procedure",
Journal of Pharmacokinetics and Biopharmaceutics 15 (1987).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from pepbench.analysis.placements import Floats, Placements, placements
from pepbench.errors import PepbenchError

__all__ = [
    "ALPHA",
    "MARGIN",
    "AucInterval",
    "Comparison",
    "DeLong",
    "Placements",
    "Verdict",
    "compare",
    "compare_placements",
    "delong_test",
    "holm",
    "mean_auc_interval",
    "placements",
    "placements_interval",
    "verdict",
]

ALPHA = 0.05
"""Level of tests; intervals cover 1 − ALPHA."""

MARGIN = 0.001
"""Differences of AUC below this are of no practical importance."""

Verdict = Literal["better", "worse", "equivalent", "undecided"]

# An AUC is a multiple of 1/(2·m·n). Sums of placements are rounded at about 1e-16, which must not
# become a "significant" difference where the true one and its variance are zero.
_ROUNDING = 1e-15


@dataclass(frozen=True)
class DeLong:
    """Outcome of DeLong's test: AUC(a) − AUC(b), its variance, and the two-sided p."""

    difference: float
    variance: float
    p: float


@dataclass(frozen=True)
class AucInterval:
    """A mean AUC over seeds with its interval."""

    auc: float
    standard_error: float
    degrees_of_freedom: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class Comparison:
    """A mean difference of AUC, method a minus method b, and what is shown about it.

    Attributes
    ----------
    difference, standard_error, degrees_of_freedom
        The estimate, its standard error and Satterthwaite's degrees of freedom.
    low, high
        Two-sided interval of level 1 − alpha.
    p
        Two-sided, of the hypothesis of no difference.
    p_noninferior
        One-sided, of the hypothesis that a is worse by the margin or more.
    p_equivalent
        Of the two one-sided tests: the hypothesis that they differ by the margin or more.
    seeds_a, seeds_b
        Seeds that entered. With one of each the statement is about rows only: about these two
        trained models, not about the methods.
    paired
        Whether seeds were compared pairwise.
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


@dataclass(frozen=True)
class _Part:
    """A component of a variance with its degrees of freedom."""

    variance: float
    degrees_of_freedom: float


def delong_test(labels: ArrayLike, scores_a: ArrayLike, scores_b: ArrayLike) -> DeLong:
    """DeLong's test of two score vectors on the same rows, in O(n log n).

    Parameters
    ----------
    labels
        (n,) of 0 and 1, at least two of each.
    scores_a, scores_b
        (n,); higher means positive.

    Returns
    -------
    DeLong
        ``difference`` is AUC(a) − AUC(b). With variance zero, p is 1 if the AUCs are equal, else 0.

    Raises
    ------
    PepbenchError
        As :func:`placements`, or if a class has fewer than two rows.

    Examples
    --------
    >>> delong_test([0, 1, 0, 1], [1, 2, 3, 4], [1, 2, 3, 4])
    DeLong(difference=0.0, variance=0.0, p=1.0)
    """
    a, b = placements(labels, scores_a), placements(labels, scores_b)
    difference = _mean_difference(a, b)
    variance = _total(_row_parts(a.positive - b.positive, a.negative - b.negative))
    p = min(1.0, 2 * _tail(abs(difference), math.sqrt(variance), math.inf))
    return DeLong(difference, variance, p)


def compare(
    labels: ArrayLike,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    alpha: float = ALPHA,
    margin: float = MARGIN,
    paired: bool | None = None,
) -> Comparison:
    """Compare two methods trained with several seeds each and scored on the same rows.

    See the module's text for the formula.

    Parameters
    ----------
    labels
        (n,) of 0 and 1, at least two of each.
    scores_a, scores_b
        (K, n) or (n,): a line for each seed. The numbers of seeds may differ.
    alpha
        The interval covers 1 − alpha.
    margin
        Of non-inferiority and equivalence, in AUC.
    paired
        Whether line k of both came from the same seed, so that s² is taken of K differences.
        Otherwise the two methods' own variances between seeds are added; where one of them has a
        single seed, the other's variance stands in for its own. By default, paired if the numbers
        of seeds agree.

    Raises
    ------
    PepbenchError
        As :func:`placements`, or if a class has fewer than two rows.
    """
    return compare_placements(
        placements(labels, scores_a), placements(labels, scores_b), alpha, margin, paired
    )


def compare_placements(
    a: Placements,
    b: Placements,
    alpha: float = ALPHA,
    margin: float = MARGIN,
    paired: bool | None = None,
) -> Comparison:
    """As :func:`compare`, from placements on the same rows.

    Where many methods meet one reference, each is sorted once.
    """
    if paired is None:
        paired = len(a.aucs) == len(b.aucs)
    difference = _mean_difference(a, b)
    parts = _row_parts(a.positive - b.positive, a.negative - b.negative)
    parts += _seed_parts([a.aucs - b.aucs] if paired else [a.aucs, b.aucs])
    error, freedom = math.sqrt(_total(parts)), _satterthwaite(parts)
    half = _quantile(alpha, freedom) * error
    below, above = (_tail(margin + side * difference, error, freedom) for side in (1, -1))
    return Comparison(
        difference=difference,
        standard_error=error,
        degrees_of_freedom=freedom,
        low=difference - half,
        high=difference + half,
        p=min(1.0, 2 * _tail(abs(difference), error, freedom)),
        p_noninferior=below,
        p_equivalent=max(below, above),
        seeds_a=len(a.aucs),
        seeds_b=len(b.aucs),
        paired=paired,
    )


def mean_auc_interval(labels: ArrayLike, scores: ArrayLike, alpha: float = ALPHA) -> AucInterval:
    """The mean AUC over seeds with an interval over rows and seeds, cut to [0, 1].

    Parameters
    ----------
    labels
        (n,) of 0 and 1, at least two of each.
    scores
        (K, n) or (n,): a line for each seed.
    alpha
        The interval covers 1 − alpha.

    Raises
    ------
    PepbenchError
        As :func:`placements`, or if a class has fewer than two rows.
    """
    return placements_interval(placements(labels, scores), alpha)


def placements_interval(placed: Placements, alpha: float = ALPHA) -> AucInterval:
    """As :func:`mean_auc_interval`, from placements."""
    parts = _row_parts(placed.positive, placed.negative) + _seed_parts([placed.aucs])
    mean = float(placed.aucs.mean())
    error, freedom = math.sqrt(_total(parts)), _satterthwaite(parts)
    half = _quantile(alpha, freedom) * error
    return AucInterval(
        auc=mean,
        standard_error=error,
        degrees_of_freedom=freedom,
        low=max(0.0, mean - half),
        high=min(1.0, mean + half),
        seeds=len(placed.aucs),
    )


def holm(p: ArrayLike) -> Floats:
    """Holm's adjusted p-values: a family is judged by comparing them with alpha.

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


def verdict(difference: float, p_holm: float, p_equivalent: float, alpha: float = ALPHA) -> Verdict:
    """What is shown about a difference.

    Parameters
    ----------
    difference
        Method minus reference.
    p_holm
        Two-sided p, adjusted for the family.
    p_equivalent
        Of the two one-sided tests, adjusted likewise where claims of equivalence are to hold for
        the whole family.
    alpha
        Level.

    Returns
    -------
    str
        A significant difference comes first, however small: ``better`` or ``worse``; then
        ``equivalent``; else ``undecided``.

    Examples
    --------
    >>> verdict(-0.004, p_holm=0.01, p_equivalent=0.99)
    'worse'
    >>> verdict(0.0002, p_holm=0.4, p_equivalent=0.03)
    'equivalent'
    """
    if p_holm < alpha:
        return "better" if difference > 0 else "worse"
    return "equivalent" if p_equivalent < alpha else "undecided"


def _mean_difference(a: Placements, b: Placements) -> float:
    difference = float(a.aucs.mean() - b.aucs.mean())
    return 0.0 if abs(difference) < _ROUNDING else difference


def _row_parts(positive: Floats, negative: Floats) -> list[_Part]:
    if min(len(positive), len(negative)) < 2:
        raise PepbenchError(
            f"a variance over test rows needs two rows of each class, got {len(positive)} "
            f"positive and {len(negative)} negative"
        )
    return [
        _Part(float(values.var(ddof=1)) / len(values), len(values) - 1)
        for values in (positive, negative)
    ]


def _seed_parts(samples: Sequence[Floats]) -> list[_Part]:
    """Between-seed variances of the means of ``samples``; a single run borrows from the rest."""
    repeated = [values for values in samples if len(values) > 1]
    parts = []
    for values in repeated:
        spread, borrowers = float(values.var(ddof=1)), len(samples) - len(repeated)
        parts.append(_Part(spread * (1 / len(values) + borrowers), len(values) - 1))
    return parts


def _total(parts: Sequence[_Part]) -> float:
    total = sum(part.variance for part in parts)
    return 0.0 if total < _ROUNDING**2 else total


def _satterthwaite(parts: Sequence[_Part]) -> float:
    total = _total(parts)
    if total == 0:
        return math.inf
    # Relative shares: squares of tiny variances would underflow.
    return 1 / sum((part.variance / total) ** 2 / part.degrees_of_freedom for part in parts)


def _quantile(alpha: float, freedom: float) -> float:
    return float(stats.t.isf(alpha / 2, freedom))


def _tail(distance: float, error: float, freedom: float) -> float:
    """P(T ≥ distance / error): one-sided p of a value that lies ``distance`` from its bound."""
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(stats.t.sf(distance / error, freedom))
