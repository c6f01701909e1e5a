"""Number of seeds with which an undecided comparison would probably be decided."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
from scipy import special

from pepbench.analysis.contrasts import Estimate
from pepbench.analysis.delong import Floats
from pepbench.analysis.null_distribution import critical_value
from pepbench.analysis.significance import ALPHA

POWER = 0.8
"""Chance of a decision that the number of seeds is chosen for."""

MOST_SEEDS = 1000
"""Beyond this many, seeds are no remedy."""

_NODES = 64


def seeds_to_decide(estimate: Estimate, margin: float, family: int = 1) -> float:
    """Fewest seeds of each method with which a decision is likely.

    A decision is a two-sided rejection of no difference, or equivalence. The estimated difference
    and variances are taken to be the true ones; the level is ALPHA / family, Holm's hardest step.
    It is a plan for another experiment and says nothing about this one.

    Parameters
    ----------
    estimate
        Of the comparison, with two seeds or more: else the share of the seeds is not known.
    margin
        Of equivalence.
    family
        Number of comparisons in the family.

    Returns
    -------
    float
        A whole number, at least two; infinite if more than ``MOST_SEEDS`` would be needed, where
        only more rows help; NaN where the share of seeds is not known.
    """
    if estimate.seeds < 2:
        return math.nan
    level = ALPHA / family

    def decides(seeds: int) -> bool:
        return decision_power(with_seeds(estimate, seeds), margin, level) >= POWER

    if not decides(MOST_SEEDS):
        return math.inf
    low, high = 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return float(high)


def with_seeds(estimate: Estimate, seeds: int) -> Estimate:
    """The same comparison made with another number of seeds of each method, two at least."""
    parts = tuple((variance, seeds) for variance, _ in estimate.seed_parts)
    return replace(estimate, seed_parts=parts, seeds=seeds)


def decision_power(truth: Estimate, margin: float, alpha: float) -> float:
    """Chance that the two-sided test rejects no difference, or that equivalence is shown.

    The estimated difference is normal around the true one with the variance A + σ², σ² the seeds'
    share. The tests do not know σ²: they estimate it by S ~ σ² χ²_ν/ν, independent of the
    difference, and refer the difference to the distribution that S gives. So the chance is computed
    for each S, with that distribution's critical values, and averaged over S (64 equally likely
    values, the middles of as many parts of its distribution).

    Parameters
    ----------
    truth
        Difference and variances that are taken to be the true ones.
    margin
        Of equivalence.
    alpha
        Level of each of the two.

    Examples
    --------
    >>> rows_only = Estimate(2.8, 1.0, 0.0, (), 1)
    >>> round(decision_power(rows_only, 1e-9, 0.05), 2)
    0.8
    """
    error = truth.standard_error
    if error == 0:
        return 1.0
    seeds = truth.seed_variance * _chi_square(truth.seed_freedom)
    parts = truth.row_variance, truth.row_error, seeds, truth.seed_freedom
    beyond = critical_value(*parts, alpha) / error
    within = np.maximum(margin - critical_value(*parts, 2 * alpha), 0.0) / error
    shift = abs(truth.value) / error
    # Where both can be shown at once, one decision is as good as two.
    either = special.ndtr(-beyond - shift) + special.ndtr(shift - beyond)
    either += _between(np.minimum(within, beyond), shift)
    return float(either.mean())


def _between(bound: Floats, shift: float) -> Floats:
    """P(|Z + shift| < bound)."""
    inside: Floats = special.ndtr(bound - shift) - special.ndtr(-bound - shift)
    return inside


@lru_cache(maxsize=1024)
def _chi_square(freedom: float) -> Floats:
    """Equally likely values of χ²_ν/ν; a single one where there is nothing to estimate."""
    if freedom <= 0:
        return np.ones(1)
    shares = (np.arange(_NODES) + 0.5) / _NODES
    values: Floats = special.chdtri(freedom, 1 - shares) / freedom
    return values
