from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from pepbench.analysis.null_distribution import mixture

ALPHA = 0.05


def test_seeds_alone_are_students_t():
    for freedom in (1, 2, 4, 30):
        error = mixture(0.0, 0.0, 4.0, freedom)
        for distance in (0.5, 3.0, 40.0):
            expected = stats.t.sf(distance / 2, freedom)
            assert error.tail(distance) == pytest.approx(expected, rel=1e-6)
        assert error.quantile(ALPHA) == pytest.approx(2 * stats.t.isf(ALPHA / 2, freedom), rel=1e-6)


def test_rows_alone_are_welchs_t():
    error = mixture(4.0, 16 / 7, 0.0, 0.0)
    assert error.tail(3.0) == pytest.approx(stats.t.sf(1.5, 7))
    assert mixture(4.0, 0.0, 0.0, 0.0).tail(3.0) == pytest.approx(stats.norm.sf(1.5))


def test_the_mixture_is_the_integral_that_it_stands_for():
    rows, seeds, freedom = 2.0, 0.7, 3
    b = freedom**2 / (freedom**2 + 1.5)

    def density(variance):
        prior = ((rows + variance) / variance) ** b
        return prior * variance ** (-freedom / 2 - 1) * math.exp(-freedom * seeds / variance / 2)

    def weighted(variance):
        return density(variance) * stats.norm.sf(2.5 / math.sqrt(rows + variance))

    total = integrate.quad(density, 0, np.inf)[0]
    expected = integrate.quad(weighted, 0, np.inf)[0] / total
    assert mixture(rows, 0.0, seeds, freedom).tail(2.5) == pytest.approx(expected, rel=1e-5)


def test_an_error_that_is_surely_zero_decides_by_itself():
    error = mixture(0.0, 0.0, 0.0, 0.0)
    assert (error.tail(0.1), error.tail(0.0), error.quantile(ALPHA)) == (0.0, 1.0, 0.0)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_level_is_held_whatever_the_share_of_the_seeds(seeds):
    """By quadrature over s², with the variance of the rows known; Satterthwaite's has 0.078."""
    freedom = seeds - 1
    estimates = stats.chi2.ppf((np.arange(60) + 0.5) / 60, freedom) / freedom
    for rows in (0.02, 0.1, 0.3, 0.6, 0.9):
        bounds = [
            mixture(rows, 0.0, (1 - rows) * estimate, freedom).quantile(ALPHA)
            for estimate in estimates
        ]
        assert 0.04 <= np.mean(2 * stats.norm.sf(bounds)) <= 0.06
