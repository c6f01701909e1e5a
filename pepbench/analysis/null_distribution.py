r"""Null distribution of a mean over rows and seeds: what tests and intervals are computed from.

The variance A of the rows is known well, the seeds' share σ² = Var(ȳ) − A only from an estimate S
with few degrees of freedom ν. Student's t with Satterthwaite's degrees of freedom rejects too often
then: at a level of 0.05, up to 0.126 with two seeds, 0.078 with three, 0.058 with five (computed by
quadrature, for A known). Holm's small levels make it worse. So σ² is integrated out: given σ², the
error is normal with variance A + σ²; and

    σ² has the density ∝ ((A + σ²)/σ²)^b · (σ²)^{−ν/2−1} e^{−νS/(2σ²)},    b = ν²/(ν² + 3/2),

the posterior of a variance after S with the factor ((A + σ²)/σ²)^b in the prior. Without that
factor (b = 0) it is the Behrens–Fisher distribution with one variance known, which rejects too
rarely.
A = 0 gives Student's t with ν degrees of freedom exactly; σ² ≪ A the normal distribution.

Where A is estimated, too, the error given σ² is taken as t with Satterthwaite's degrees of freedom
of A + σ².
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import interpolate, optimize, special

Floats = NDArray[np.float64]

_NODES = 300

_NOTHING = 1e-16
"""Nodes with less than this share of the largest weight are left out."""

_RATIOS = np.geomspace(1e-4, 1e4, 25)
_BISECTIONS = 16
_NORMAL = 1e10
"""Degrees of freedom from which Student's t is the normal distribution to 1e-10."""


@dataclass(frozen=True)
class Mixture:
    """Scaled Student's t of several scales, symmetric about 0.

    Attributes
    ----------
    weights
        (N,), sum 1.
    scales
        (N,), all 0 for a distribution that is sure to be 0.
    freedoms
        (N,) degrees of freedom.
    """

    weights: Floats
    scales: Floats
    freedoms: Floats

    def tail(self, distance: float) -> float:
        """P(X ≥ distance); where X is sure to be 0, that is 0 for a distance above 0, else 1."""
        if not self.scales.any():
            return 0.0 if distance > 0 else 1.0
        return float(self.weights @ special.stdtr(self.freedoms, -distance / self.scales))

    def quantile(self, alpha: float) -> float:
        """The distance that |X| exceeds with probability ``alpha``."""
        if not self.scales.any():
            return 0.0
        bounds = -self.scales * special.stdtrit(self.freedoms, alpha / 2)
        low, high = float(bounds.min()), float(bounds.max())
        if low == high:
            return low
        return float(optimize.brentq(lambda x: 2 * self.tail(x) - alpha, low, high, xtol=1e-14))


def mixture(
    row_variance: float, row_error: float, seed_variance: float, seed_freedom: float
) -> Mixture:
    """The null distribution of an estimate, from the parts of its variance.

    Parameters
    ----------
    row_variance
        A.
    row_error
        Σ_p v_p²/ν_p over the parts of the rows' variance, half the variance of A's estimate.
    seed_variance, seed_freedom
        S and ν; 0 if there is no estimate of the seeds' share.
    """
    if seed_variance <= 0:
        variances, weights = np.array([row_variance]), np.ones(1)
    else:
        log_ratios, weights = _inverse_chi_square(seed_freedom)
        seeds = seed_variance * np.exp(log_ratios)
        variances = row_variance + seeds
        weights = weights * (variances / seeds) ** _prior_power(seed_freedom)
        weights = weights / weights.sum()
    freedoms = np.full(len(variances), _NORMAL)
    if row_error > 0:
        freedoms = np.clip(variances / row_error * variances, 1.0, _NORMAL)
    return Mixture(weights, np.sqrt(variances), freedoms)


def critical_value(
    row_variance: float, row_error: float, seed_variances: Floats, seed_freedom: float, alpha: float
) -> Floats:
    """About ``mixture(…).quantile(alpha)`` for many S at once, for planning.

    It is found once for each ν and level, for A known, and interpolated over S/A (within 0.3 %).
    Uncertainty about A widens it as it widens Student's t against the normal distribution, which is
    up to a tenth too much for A of few degrees of freedom and small levels.

    Parameters
    ----------
    row_variance, row_error, seed_freedom
        As of :func:`mixture`.
    seed_variances
        (N,) values of S.
    alpha
        Probability that |X| exceeds it.

    Returns
    -------
    numpy.ndarray
        (N,).
    """
    totals = row_variance + seed_variances
    if row_variance <= 0:
        ratios = np.full(len(totals), _RATIOS[-1])
    else:
        ratios = np.clip(seed_variances / row_variance, _RATIOS[0], _RATIOS[-1])
    normal = -special.ndtri(alpha / 2)
    relative = np.full(len(totals), normal)
    if seed_freedom > 0:
        relative = _relative(seed_freedom, alpha)(np.log(ratios))
    if row_error > 0:
        freedoms = np.clip(totals / row_error * totals, 1.0, _NORMAL)
        relative = relative * -special.stdtrit(freedoms, alpha / 2) / normal
    values: Floats = relative * np.sqrt(totals)
    return values


@lru_cache(maxsize=1024)
def _relative(freedom: float, alpha: float) -> interpolate.PchipInterpolator:
    """Critical values by √(A + S) as a function of log(S/A), for A known, by bisection."""
    log_ratios, weights = _inverse_chi_square(freedom)
    seeds = _RATIOS[:, None] * np.exp(log_ratios)
    variances = 1.0 + seeds
    mixed = weights * (variances / seeds) ** _prior_power(freedom)
    mixed /= mixed.sum(axis=1, keepdims=True)
    scales = np.sqrt(variances / (1.0 + _RATIOS[:, None]))
    low = np.full(len(_RATIOS), -0.5 * special.ndtri(alpha / 2))
    high = np.full(len(_RATIOS), -1.5 * special.stdtrit(freedom, alpha / 2))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        too_near = 2 * (mixed * special.ndtr(-middle[:, None] / scales)).sum(axis=1) > alpha
        low, high = np.where(too_near, middle, low), np.where(too_near, high, middle)
    return interpolate.PchipInterpolator(np.log(_RATIOS), (low + high) / 2)


def _prior_power(freedom: float) -> float:
    """b, chosen by quadrature: the level 0.05 is held within 0.041 and 0.058 from 2 on, whatever
    the seeds' share, and within 0.026 and 0.065 for 1.
    """
    return freedom**2 / (freedom**2 + 1.5)


@lru_cache(maxsize=256)
def _inverse_chi_square(freedom: float) -> tuple[Floats, Floats]:
    """Nodes log(ν/χ²_ν), (N,), and weights: the trapezoidal rule over log χ²."""
    # Beyond these the density of log χ² is below e⁻⁴⁰ of what matters.
    nodes = np.linspace(-80 / freedom, math.log(freedom + 100 + 20 * math.sqrt(freedom)), _NODES)
    log_density = nodes * freedom / 2 - np.exp(nodes) / 2
    weights = np.exp(log_density - log_density.max())
    counted = weights > _NOTHING
    return math.log(freedom) - nodes[counted], weights[counted] / weights.sum()
