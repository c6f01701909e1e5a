"""How many seeds would decide what is undecided."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from pepbench.analysis.contrasts import Estimate

POWER = 0.8
"""Chance of a decision that the number of seeds is chosen for."""

MOST_SEEDS = 1000
"""Beyond this many, seeds are no remedy."""


@dataclass(frozen=True)
class _Design:
    """Variance and degrees of freedom of a comparison with other numbers of seeds."""

    estimate: Estimate

    def error(self, seeds: int) -> tuple[float, float]:
        """Standard error and Satterthwaite's degrees of freedom with ``seeds`` of each."""
        share = self.estimate.seed_variance * self.estimate.seeds / seeds
        variance = self.estimate.row_variance + share
        noise = self.estimate.row_error + share**2 / (seeds - 1)
        return math.sqrt(variance), variance**2 / noise if noise else math.inf


def seeds_to_decide(
    estimate: Estimate, margin: float, alpha: float, family: int = 1, power: float = POWER
) -> float:
    """Fewest seeds of each method with which a decision is likely.

    A decision is a two-sided rejection of no difference, or equivalence. The estimated difference
    and variances are taken to be the true ones; the level is alpha / family, Holm's hardest step.
    It is a plan for another experiment and says nothing about this one.

    Parameters
    ----------
    estimate
        Of the comparison, with two seeds or more: else the share of the seeds is not known.
    margin
        Of equivalence.
    alpha, family
        Level, and number of comparisons in the family.
    power
        Chance of a decision that is asked for.

    Returns
    -------
    float
        A whole number, at least two; infinite if more than ``MOST_SEEDS`` would be needed, where
        only more rows help; NaN where the share of seeds is not known.
    """
    if estimate.seeds < 2:
        return math.nan
    design, level = _Design(estimate), alpha / family

    def decides(seeds: int) -> bool:
        return decision_power(*design.error(seeds), estimate.value, margin, level) >= power

    if not decides(MOST_SEEDS):
        return math.inf
    low, high = 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return float(high)


def decision_power(
    error: float, freedom: float, difference: float, margin: float, alpha: float
) -> float:
    """Chance that the two-sided test rejects, or the two one-sided tests do, whichever is larger.

    The estimate is taken as normal around ``difference`` with a standard error that is known to be
    ``error``; critical values are Student's.
    """
    if error == 0:
        return 1.0
    shift, critical = abs(difference) / error, stats.t.isf(alpha / 2, freedom)
    differs = stats.norm.sf(critical - shift) + stats.norm.cdf(-critical - shift)
    bound = margin / error - stats.t.isf(alpha, freedom)
    equal = stats.norm.cdf(bound - shift) - stats.norm.cdf(-bound - shift)
    return float(max(differs, equal if bound > 0 else 0.0))
