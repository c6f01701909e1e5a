"""Planning: chances of a decision as simulation finds them, and the fewest seeds that give one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from pepbench.analysis.contrasts import Estimate
from pepbench.analysis.null_distribution import critical_value, mixture
from pepbench.analysis.power import decision_power, seeds_to_decide, with_seeds

REPETITIONS = 800


def estimate(value, rows, seeds_variance, seeds=5, row_error=0.0):
    return Estimate(value, rows, row_error, ((seeds_variance, seeds),), seeds)


@pytest.mark.parametrize("seeds", [2, 3, 10])
@pytest.mark.parametrize(
    ("value", "rows", "share", "margin"),
    [(4.0, 1.0, 1.0, 1e-9), (6.0, 0.1, 3.0, 1e-9), (0.0, 1.0, 0.5, 4.5), (0.5, 0.0, 1.0, 4.0)],
)
def test_power_is_what_the_tests_themselves_show_in_simulation(seeds, value, rows, share, margin):
    rng = np.random.default_rng(seeds)
    freedom = seeds - 1
    drawn = share * rng.chisquare(freedom, REPETITIONS) / freedom
    values = rng.normal(value, math.sqrt(rows + share), REPETITIONS)
    decided = 0
    for seed_variance, found in zip(drawn, values, strict=True):
        error = mixture(rows, 0.0, seed_variance, freedom)
        differs = 2 * error.tail(abs(found)) < 0.05
        decided += differs or max(error.tail(margin + found), error.tail(margin - found)) < 0.05
    truth = Estimate(value, rows, 0.0, ((share * seeds, seeds),), seeds)
    planned = decision_power(truth, margin, 0.05)
    chance = math.sqrt(planned * (1 - planned) / REPETITIONS)
    assert decided / REPETITIONS == pytest.approx(planned, abs=3.5 * chance + 0.005)


def test_power_without_seeds_is_that_of_a_normal_test():
    truth = Estimate(2.0, 1.0, 0.0, (), 1)
    critical = -special.ndtri(0.025)
    expected = special.ndtr(2.0 - critical) + special.ndtr(-2.0 - critical)
    assert decision_power(truth, 1e-9, 0.05) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("freedom", [1, 2, 4, 30, 999])
@pytest.mark.parametrize("alpha", [0.1, 0.05, 0.005])
def test_critical_values_are_quantiles_of_the_reference(freedom, alpha):
    seeds = np.array([1e-3, 0.1, 0.7, 1.0, 5.0, 1e3])
    found = critical_value(1.0, 0.0, seeds, freedom, alpha)
    exact = [mixture(1.0, 0.0, one, freedom).quantile(alpha) for one in seeds]
    assert found == pytest.approx(exact, rel=0.004)
    wider = critical_value(1.0, 1 / 30, seeds, freedom, alpha)
    assert (wider > found * 0.9999).all()


def test_the_number_of_seeds_is_the_smallest_with_the_power():
    plan = estimate(0.002, 1e-7, 4e-6)
    needed = int(seeds_to_decide(plan, 0.001))

    def power(seeds):
        return decision_power(Estimate(0.002, 1e-7, 0.0, ((4e-6, seeds),), seeds), 1e-3, 0.05)

    assert power(needed) >= 0.8 > power(needed - 1)


def test_more_seeds_share_the_same_variance():
    plan = with_seeds(estimate(0.002, 1e-7, 4e-6, row_error=1e-18), 8)
    assert plan.seed_variance == pytest.approx(4e-6 / 8)
    assert (plan.seed_freedom, plan.seeds, plan.row_error) == (7, 8, 1e-18)


def test_a_larger_family_needs_more_seeds():
    plan = estimate(0.002, 1e-7, 4e-6)
    assert seeds_to_decide(plan, 0.001, 10) > seeds_to_decide(plan, 0.001)


def test_where_rows_are_too_few_no_number_of_seeds_helps():
    assert seeds_to_decide(estimate(0.0009, 1e-5, 1e-6), 0.001) == math.inf


def test_one_seed_does_not_say_how_many_are_needed():
    assert math.isnan(seeds_to_decide(Estimate(0.1, 1e-4, 0.0, (), 1), 0.001))


def test_methods_with_different_seeds_are_planned_with_the_same_number():
    """As if both had that many: half of either's variance would be too little."""
    unequal = Estimate(0.002, 1e-7, 0.0, ((3e-6, 5), (1e-6, 2)), 2)
    equal = Estimate(0.002, 1e-7, 0.0, ((3e-6, 4), (1e-6, 4)), 4)
    plan = with_seeds(unequal, 4)
    assert plan == equal
    assert plan.seed_variance == pytest.approx(4e-6 / 4)
    assert plan.seed_freedom == pytest.approx(3 * (3 + 1) ** 2 / (3**2 + 1**2))
    assert seeds_to_decide(unequal, 0.001) == seeds_to_decide(equal, 0.001)
