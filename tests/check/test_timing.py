from itertools import combinations

import numpy as np
import pytest
from check_helpers import a_metric
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pepbench.check.timing import (
    judge_times,
    p_not_slower,
    p_slower,
    repetitions_needed,
    spread,
)

QUIET = np.array([1.0, 1.01, 0.99, 1.02, 0.98, 1.03, 0.97])


@settings(deadline=None)
@given(st.permutations(range(1, 9)), st.integers(3, 5))
def test_p_is_the_share_of_deals_that_are_as_extreme(order, n_old):
    """Brute force over all deals of the pooled values, of which no two are equal."""
    old, new = [float(v) for v in order[:n_old]], [float(v) for v in order[n_old:]]

    def wins(chosen):
        return sum(a > b for a in chosen for b in set(range(1, 9)) - set(chosen))

    deals = list(combinations(range(1, 9), len(new)))
    share = np.mean([wins(deal) >= wins([int(v) for v in new]) for deal in deals])
    assert p_slower(old, new, margin=0.0) == pytest.approx(share)


def judged(new, old=QUIET, margin=0.1, **changes):
    (slowdown,) = judge_times([(a_metric(old), a_metric(new, **changes))], margin, 0.05)
    return slowdown


def test_a_fifth_more_time_is_shown_and_measured():
    slowdown = judged(QUIET * 1.2)
    assert slowdown.verdict == "slower"
    assert slowdown.change == pytest.approx(0.2)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.09])
def test_changes_up_to_the_margin_pass(factor):
    assert judged(QUIET * factor).verdict == "within the margin"


def test_the_margin_is_the_users():
    assert judged(QUIET * 1.2, margin=0.3).verdict == "within the margin"
    assert judged(QUIET * 1.2, margin=0.02).verdict == "slower"


def test_one_disturbed_process_decides_nothing():
    assert judged([*QUIET[:-1], 50.0]).verdict == "within the margin"
    assert judged([*(QUIET * 1.2)[:-1], 0.1]).verdict == "slower"


def test_memory_is_larger_rather_than_slower():
    assert judged(QUIET * 2, kind="memory").verdict == "larger"


def test_figures_are_one_family():
    pairs = [(a_metric(QUIET), a_metric(QUIET * factor)) for factor in (1.2, 1.0, 1.0)]
    slowdowns = judge_times(pairs, 0.1, 0.05)
    assert slowdowns[0].p == pytest.approx(3 * judged(QUIET * 1.2).p)
    assert [s.verdict for s in slowdowns] == ["slower", *["within the margin"] * 2]


def test_no_growth_is_the_mirror_of_growth():
    """Swapping the groups and the direction is the same comparison."""
    assert p_not_slower(QUIET, QUIET * 1.1, 0.2) == pytest.approx(
        p_slower(QUIET * 1.1, QUIET * 1.2, 0.0)
    )


def test_what_scatters_too_much_is_undecided():
    wild = np.exp(np.linspace(-0.5, 0.5, 7))
    slowdown = judged(wild * 1.1, old=wild)
    assert slowdown.verdict == "undecided"
    assert 0.3 < slowdown.spread < 0.5


def test_spread_is_that_within_the_groups():
    rng = np.random.default_rng(0)
    old, new = np.exp(0.05 * rng.standard_normal((2, 4000)))
    assert spread(old, 3 * new) == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize("share", [0.02, 0.04, 0.08])
def test_the_advised_repetitions_find_twice_the_margin_and_fewer_do_not(share):
    """Simulated: log-normal figures, ten in a check."""
    rng = np.random.default_rng(0)

    def found(repetitions, draws=2000):
        old = share * rng.standard_normal((draws, 2 * repetitions)) + np.log(1.1)
        new = share * rng.standard_normal((draws, repetitions)) + np.log(1.2)
        test = stats.mannwhitneyu(new, old, axis=1, alternative="greater", method="exact")
        return np.mean(test.pvalue < 0.05 / 10)

    needed = repetitions_needed(share, 0.1, 10, 0.05)
    assert found(needed) > 0.935
    assert needed == 5 or found(needed - 2) < 0.95


def test_no_number_is_advised_where_none_would_do():
    assert repetitions_needed(0.5, 0.1, 10, 0.05) is None
    assert repetitions_needed(0.0, 0.1, 10, 0.05) == 5
