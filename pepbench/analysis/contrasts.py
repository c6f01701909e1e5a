r"""A mean over seeds, or a difference of two, with its variance over rows and seeds.

Let y_k be the figure of seed k on the given rows (an AUC, or a difference of two), K seeds.
Inference is for other rows and other seeds; rows × seeds is a two-way layout with random effects,

    y_k = θ + s_k + ρ + ι_k,

s_k what the seed does on all rows, ρ what the rows do to all seeds, ι_k what this seed and these
rows do jointly. The mean has the variance Var(ȳ) = Var(ρ) + [Var(s) + Var(ι)]/K. For it there are
two estimates that do not overlap:

* The sample variance s² of the y_k has the expectation Var(s) + Var(ι): common rows cancel.
* The covariance over rows between *different* seeds (DeLong's, off the diagonal) has the
  expectation Var(ρ): two seeds share nothing but the rows. Averaged over pairs of seeds,
  A = Σ_{k≠l} M_kl / (K(K−1)).

So V = A + s²/K is unbiased. (The variance over rows of the seed-averaged figure, Σ_kl M_kl/K², has
Var(ρ) + Var(ι)/K: with s²/K on top, ι counts twice.) With K = 1 there is no second seed: V = M₁₁,
which holds for other rows, but for these two trained models only.

Derivation, degrees of freedom and limits: ``docs/statistics.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pepbench.analysis.covariance import RunFigures
from pepbench.analysis.delong import Floats
from pepbench.analysis.null_distribution import Mixture, mixture
from pepbench.errors import PepbenchError

# Products of lines agree with each other to about this share of their size, and AUCs to this; it
# must not become a "significant" difference where the true one and its variance are zero.
_ROUNDING = 1e-13
_FIGURE_ROUNDING = 1e-15


@dataclass(frozen=True)
class Estimate:
    """A mean or mean difference and the parts of its variance.

    Attributes
    ----------
    value
        ȳ.
    row_variance
        A, not negative.
    row_error
        Σ_p v_p²/ν_p over the parts of the variance over rows of the seed-averaged figure: half the
        variance of A's estimate.
    seed_parts
        Pairs of s² and K, two where both methods have seeds of their own; none where no method has
        two seeds.
    seeds
        Least number of seeds of the methods that entered.
    """

    value: float
    row_variance: float
    row_error: float
    seed_parts: tuple[tuple[float, int], ...]
    seeds: int

    @property
    def seed_variance(self) -> float:
        """Σ s²/K."""
        return sum(variance / seeds for variance, seeds in self.seed_parts)

    @property
    def seed_freedom(self) -> float:
        """K − 1 or, of several parts, Satterthwaite's; 0 without parts."""
        if len(self.seed_parts) == 1:
            return self.seed_parts[0][1] - 1.0
        error = sum((variance / seeds) ** 2 / (seeds - 1) for variance, seeds in self.seed_parts)
        return self.seed_variance**2 / error if error else 0.0

    @property
    def variance(self) -> float:
        """V."""
        return self.row_variance + self.seed_variance

    @property
    def standard_error(self) -> float:
        """√V."""
        return math.sqrt(self.variance)

    @property
    def degrees_of_freedom(self) -> float:
        """Satterthwaite's, of V: V² / (Σ_p v_p²/ν_p + (s²/K)²/(K−1))."""
        noise = self.row_error
        if self.seed_variance:
            noise += self.seed_variance**2 / self.seed_freedom
        return self.variance**2 / noise if noise else math.inf

    def distribution(self) -> Mixture:
        """Null distribution of (ȳ − θ)."""
        return mixture(self.row_variance, self.row_error, self.seed_variance, self.seed_freedom)


def mean_estimate(measured: RunFigures, runs: Sequence[int]) -> Estimate:
    """Mean figure of some runs (indices, a run for each seed).

    Raises
    ------
    PepbenchError
        If the rows allow no variance.
    """
    chosen = np.asarray(runs)
    blocks = [part.covariance[np.ix_(chosen, chosen)] for part in measured.parts]
    return _paired(measured, measured.means[chosen], blocks, _size(blocks))


def difference_estimate(
    measured: RunFigures, a: Sequence[int], b: Sequence[int], paired: bool
) -> Estimate:
    """Mean figure of runs ``a`` minus that of runs ``b``.

    Parameters
    ----------
    measured
        Of runs that contain both.
    a, b
        Indices of runs, a run for each seed.
    paired
        Whether run k of both came from the same seed, which may make them alike: then s² is taken
        of K differences. Otherwise the two methods' own variances between seeds are added; where
        one has a single seed, the other's variance stands in for its own.

    Raises
    ------
    PepbenchError
        If the rows allow no variance.
    """
    left, right = np.asarray(a), np.asarray(b)
    own_a, own_b, cross = (
        [part.covariance[np.ix_(rows, columns)] for part in measured.parts]
        for rows, columns in ((left, left), (right, right), (left, right))
    )
    if paired:
        blocks = [x + y - z - z.T for x, y, z in zip(own_a, own_b, cross, strict=True)]
        differences = measured.means[left] - measured.means[right]
        return _paired(measured, differences, blocks, _size(own_a) + _size(own_b))
    return _unpaired(measured, (left, right), (own_a, own_b), cross)


def mean_of_independent(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of independent estimates, with the parts of its variance."""
    share = 1 / len(estimates)
    return Estimate(
        value=share * sum(one.value for one in estimates),
        row_variance=share**2 * sum(one.row_variance for one in estimates),
        row_error=share**4 * sum(one.row_error for one in estimates),
        seed_parts=tuple(
            (share**2 * variance, seeds) for one in estimates for variance, seeds in one.seed_parts
        ),
        seeds=min(one.seeds for one in estimates),
    )


def _paired(
    measured: RunFigures, figures: Floats, blocks: Sequence[Floats], size: float
) -> Estimate:
    """From K figures and the parts of their covariance over rows, (K, K) each."""
    seeds = len(figures)
    return _checked(
        measured,
        size,
        value=float(figures.mean()),
        row_variance=sum(_between(block) if seeds > 1 else float(block[0, 0]) for block in blocks),
        totals=[float(block.mean()) for block in blocks],
        seed_parts=[(float(figures.var(ddof=1)), seeds)] if seeds > 1 else [],
        seeds=seeds,
    )


def _unpaired(
    measured: RunFigures,
    runs: tuple[NDArray[np.intp], NDArray[np.intp]],
    own: tuple[Sequence[Floats], Sequence[Floats]],
    cross: Sequence[Floats],
) -> Estimate:
    """Two methods with seeds of their own; at least one has two."""
    figures = [measured.means[chosen] for chosen in runs]
    row_variance = -2 * sum(float(block.mean()) for block in cross)
    seed_parts = []
    for mine, others, blocks, their_blocks in zip(
        figures, figures[::-1], own, own[::-1], strict=True
    ):
        if len(mine) > 1:
            row_variance += sum(map(_between, blocks))
            seed_parts.append((float(mine.var(ddof=1)), len(mine)))
        else:
            # One run's variance holds its ι: it is taken off as large as the other method's is,
            # since the other's s², which stands in, holds it as well.
            joint = sum(float(block.diagonal().mean()) - _between(block) for block in their_blocks)
            row_variance += sum(float(block[0, 0]) for block in blocks) - joint
            # s² of the other, once more: both parts are multiples of it and have its freedom only.
            seed_parts.append((float(others.var(ddof=1)) * len(others), len(others)))
    if min(map(len, figures)) == 1:
        seed_parts = [(sum(variance for variance, _ in seed_parts), seed_parts[0][1])]
    return _checked(
        measured,
        _size(own[0]) + _size(own[1]),
        value=float(figures[0].mean() - figures[1].mean()),
        row_variance=row_variance,
        totals=[
            float(x.mean() + y.mean() - 2 * z.mean()) for x, y, z in zip(*own, cross, strict=True)
        ],
        seed_parts=seed_parts,
        seeds=min(map(len, figures)),
    )


def _checked(
    measured: RunFigures,
    size: float,
    *,
    value: float,
    row_variance: float,
    totals: Sequence[float],
    seed_parts: Sequence[tuple[float, int]],
    seeds: int,
) -> Estimate:
    if measured.problem:
        raise PepbenchError(measured.problem)
    if max(row_variance, max(totals)) < _ROUNDING * size:
        row_variance, totals = 0.0, [0.0]
    if sum(variance / number for variance, number in seed_parts) < _FIGURE_ROUNDING**2:
        seed_parts = []
    return Estimate(
        value=0.0 if abs(value) < _FIGURE_ROUNDING else value,
        row_variance=max(0.0, row_variance),
        row_error=sum(
            total**2 / part.degrees_of_freedom
            for total, part in zip(totals, measured.parts, strict=False)
        ),
        seed_parts=tuple(seed_parts),
        seeds=seeds,
    )


def _between(block: Floats) -> float:
    """Mean off the diagonal, (K, K): what two different seeds share."""
    seeds = len(block)
    return float((block.sum() - np.trace(block)) / (seeds * (seeds - 1)))


def _size(blocks: Sequence[Floats]) -> float:
    return sum(float(block.diagonal().mean()) for block in blocks)
