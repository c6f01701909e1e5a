from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pepbench.analysis.contrasts import Estimate
from pepbench.analysis.power import decision_power, seeds_to_decide


def estimate(value, rows, seeds_variance, seeds=5):
    return Estimate(value, rows, 0.0, seeds_variance / seeds, seeds - 1, seeds)


def test_power_equals_simulation():
    rng = np.random.default_rng(0)
    drawn = rng.normal(2.0, 1.0, 200_000)
    rejected = np.abs(drawn) > stats.norm.isf(0.025)
    assert decision_power(1.0, math.inf, 2.0, 1e-9, 0.05) == pytest.approx(
        rejected.mean(), abs=0.005
    )
    within = np.abs(rng.normal(0.5, 1.0, 200_000)) < 4 - stats.norm.isf(0.05)
    assert decision_power(1.0, math.inf, 0.5, 4.0, 0.05) == pytest.approx(within.mean(), abs=0.005)


def test_the_number_of_seeds_is_the_smallest_with_the_power():
    plan = estimate(0.002, 1e-7, 4e-6)
    needed = int(seeds_to_decide(plan, 0.001, 0.05))

    def power(seeds):
        share = 4e-6 / seeds
        error = math.sqrt(1e-7 + share)
        return decision_power(error, error**4 * (seeds - 1) / share**2, 0.002, 0.001, 0.05)

    assert power(needed) >= 0.8 > power(needed - 1)


def test_a_larger_family_needs_more_seeds():
    plan = estimate(0.002, 1e-7, 4e-6)
    assert seeds_to_decide(plan, 0.001, 0.05, 10) > seeds_to_decide(plan, 0.001, 0.05)


def test_where_rows_are_too_few_no_number_of_seeds_helps():
    assert seeds_to_decide(estimate(0.0009, 1e-5, 1e-6), 0.001, 0.05) == math.inf


def test_one_seed_does_not_say_how_many_are_needed():
    assert math.isnan(seeds_to_decide(Estimate(0.1, 1e-4, 0.0, 0.0, 0.0, 1), 0.001, 0.05))
