r"""Inference over folds: for another data set of this size from the same source, tuned anew.

Let d_j be the difference of two methods on fold j, the mean over the fold's seeds, J folds. Test
parts are disjoint, and everything else is drawn anew in each fold: tuning trials, finalists, seeds.
So the d_j vary by rows, by seeds, and by tuning and split. Their mean is taken to have the
variance s²/J, with s² their sample variance; divided by its root it is referred to Student's t with
J − 1 degrees of freedom. Any two folds share most of their training rows, for which Nadeau & Bengio
add s² n_test/n_train. A calibration of the whole pipeline finds that to be too much, and that s²/J
holds the level (``docs/statistics.md``, "Over folds").

References
----------
Nadeau & Bengio, "Inference for the generalization error", Machine Learning 52 (2003). Bouthillier
et al., "Accounting for variance in machine learning benchmarks", MLSys 2021.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

# AUCs agree with each other to about this much; it must not become a "significant" difference.
_ROUNDING = 1e-15

FOLDS, WINDOWS = BASES = "folds", "windows"
"""What statements from several folds hold over, as reports name it: folds drawn at random, or
windows of a split by time, which no one can draw anew."""


@dataclass(frozen=True)
class FoldFigures:
    """A figure of one cell, or a difference of two, in each of J folds.

    Attributes
    ----------
    values
        (J,): means over the fold's seeds.
    row_variances
        (J,): variance over test rows of each; NaN where predictions are not at hand.
    seed_variances
        (J,): variance between seeds of each mean; NaN where it is not known.
    basis
        One of ``BASES``.
    """

    values: Floats
    row_variances: Floats
    seed_variances: Floats
    basis: str = FOLDS

    @property
    def mean(self) -> float:
        """Mean over folds; 0 where it is no larger than rounding."""
        mean = float(self.values.mean())
        return 0.0 if abs(mean) < _ROUNDING else mean

    @property
    def spread(self) -> float:
        """s, the standard deviation between folds."""
        spread = float(self.values.std(ddof=1))
        return 0.0 if spread < _ROUNDING else spread

    @property
    def freedom(self) -> int:
        """Degrees of freedom, J − 1."""
        return len(self.values) - 1

    @property
    def standard_error(self) -> float:
        """s/√J."""
        return self.spread / math.sqrt(len(self.values))

    def quantile(self, alpha: float) -> float:
        """Half the width of the two-sided interval of level 1 − alpha."""
        return float(stats.t.isf(alpha / 2, self.freedom)) * self.standard_error

    def tail(self, distance: float) -> float:
        """P(mean − true mean ≥ distance)."""
        if self.standard_error == 0:
            return 0.0 if distance > 0 else 1.0
        return float(stats.t.sf(distance / self.standard_error, self.freedom))

    @property
    def won(self) -> float:
        """Folds with a value above 0; zeros count half."""
        return float((self.values > 0).sum() + 0.5 * (self.values == 0).sum())

    def won_interval(self, alpha: float) -> tuple[float, float]:
        """Clopper and Pearson's interval of the share of folds that are won, as if independent.

        Its limits are quantiles of beta distributions, which half a fold does not disturb.
        """
        won, folds = self.won, len(self.values)
        low = stats.beta.ppf(alpha / 2, won, folds - won + 1) if won else 0.0
        high = stats.beta.isf(alpha / 2, won + 1, folds - won) if won < folds else 1.0
        return float(low), float(high)

    @property
    def chance_of_improvement(self) -> float:
        """Predictive probability that the value of a further fold is above 0."""
        if self.spread == 0:
            return 0.5 if self.mean == 0 else float(self.mean > 0)
        scale = self.spread * math.sqrt(1 + 1 / len(self.values))
        return float(stats.t.cdf(self.mean / scale, self.freedom))

    @property
    def shares(self) -> tuple[float, float, float]:
        """Shares of s² that are due to test rows, to seeds, and to tuning and split.

        Rows and seeds are estimated by themselves, from the folds in which they are known, and what
        they leave is the third; so each is an estimate with much noise where folds are few. NaN
        where they are known in no fold.
        """
        total = self.spread**2
        if total == 0:
            return (math.nan,) * 3
        # numpy's minimum, unlike min, keeps NaN.
        rows = float(np.minimum(1.0, _mean_of_known(self.row_variances) / total))
        seeds = float(np.minimum(1.0 - rows, _mean_of_known(self.seed_variances) / total))
        return rows, seeds, 1.0 - rows - seeds


def _mean_of_known(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def width_factor(some: int, folds: int) -> float:
    """How many times as wide intervals over some of the folds are, if folds vary alike.

    >>> round(width_factor(3, 10), 1)
    3.5
    """
    widths = [stats.t.isf(0.025, n - 1) / math.sqrt(n) for n in (some, folds)]
    return float(widths[0] / widths[1])
