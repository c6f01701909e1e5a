from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from pepbench.analysis.delong import delong_test
from pepbench.analysis.significance import compare
from pepbench.errors import PepbenchError

# Albumin, total protein, K-G score and whether surgery helped 43 patients: DeLong et al. (1988).
PATIENTS = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0
1.6 5.6 5 1  3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1
4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1
3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1
3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1
3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1
3.6 6.6 5 1
"""


def over_all_pairs(labels, a, b):
    """Difference and variance by DeLong et al.'s sums over every positive and negative row."""
    kernels = []
    for scores in (np.asarray(a), np.asarray(b)):
        gaps = scores[labels == 1][:, None] - scores[labels == 0]
        kernels.append((np.sign(gaps) + 1) / 2)
    v10, v01 = ([kernel.mean(axis=axis) for kernel in kernels] for axis in (1, 0))
    covariance = np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])
    contrast = np.array([1, -1])
    return kernels[0].mean() - kernels[1].mean(), contrast @ covariance @ contrast


@st.composite
def two_classifiers(draw):
    """Labels with two rows of each class at least, and two score vectors with many ties."""
    n = draw(st.integers(4, 30))
    labels = [0, 0, 1, 1, *draw(st.lists(st.integers(0, 1), min_size=n - 4, max_size=n - 4))]
    scores = st.lists(st.integers(-3, 3), min_size=n, max_size=n)
    return np.array(labels), np.array(draw(scores)), np.array(draw(scores))


@given(two_classifiers())
@settings(deadline=None)
def test_test_equals_the_sums_over_all_pairs(sample):
    labels, a, b = sample
    difference, variance = over_all_pairs(labels, a, b)
    test = delong_test(labels, a, b)
    assert test.difference == pytest.approx(difference, abs=1e-12)
    assert test.variance == pytest.approx(variance, abs=1e-12)
    if variance > 1e-9:
        error = math.sqrt(variance)
        assert test.p == pytest.approx(2 * stats.norm.sf(abs(difference) / error), abs=1e-9)
        interval = stats.norm.interval(0.95, difference, error)
        assert (test.low, test.high) == pytest.approx(interval, abs=1e-9)


@given(two_classifiers())
@settings(deadline=None)
def test_exchanging_the_two_changes_the_sign_alone(sample):
    labels, a, b = sample
    one, other = delong_test(labels, a, b), delong_test(labels, b, a)
    assert (one.difference, one.low, one.high) == (-other.difference, -other.high, -other.low)
    assert (one.variance, one.p) == (other.variance, other.p)


@given(two_classifiers())
@settings(deadline=None)
def test_monotone_transformations_and_the_order_of_rows_change_nothing(sample):
    labels, a, b = sample
    shuffled = np.random.default_rng(0).permutation(len(labels))
    test = delong_test(labels, a, b)
    assert delong_test(labels, np.exp(a), 3.0 * b + 7) == test
    again = delong_test(labels[shuffled], a[shuffled], b[shuffled])
    assert vars(again) == pytest.approx(vars(test), abs=1e-12)


@given(two_classifiers())
@settings(deadline=None)
def test_test_agrees_with_the_comparison_of_one_seed_each(sample):
    labels, a, b = sample
    test, compared = delong_test(labels, a, b), compare(labels, a, b)
    assume(compared.standard_error > 0)
    assert test.difference == pytest.approx(compared.difference, abs=1e-12)
    assert test.variance == pytest.approx(compared.standard_error**2, abs=1e-12)


def test_published_example_of_delong_and_others():
    """Areas, differences and the chi-square of both that SAS's documentation prints for it."""
    albumin, protein, score, labels = np.array(PATIENTS.split(), np.float64).reshape(-1, 4).T
    pairs = [delong_test(labels, scores, 10 - score) for scores in (albumin, protein)]
    assert [round(test.difference, 4) for test in pairs] == [0.0108, -0.0780]
    assert [round(math.sqrt(test.variance), 4) for test in pairs] == [0.0953, 0.1046]
    assert [round(test.p, 4) for test in pairs] == [0.9102, 0.4561]
    between = delong_test(labels, albumin, protein)
    shared = (pairs[0].variance + pairs[1].variance - between.variance) / 2
    covariance = [[pairs[0].variance, shared], [shared, pairs[1].variance]]
    differences = np.array([test.difference for test in pairs])
    assert differences @ np.linalg.solve(covariance, differences) == pytest.approx(2.5340, abs=5e-5)


def test_identical_orders_have_no_variance_and_p_one():
    labels, scores = [0, 1, 0, 1, 1], np.array([0.1, 0.4, 0.4, 0.8, 0.3])
    test = delong_test(labels, scores, np.exp(scores))
    assert (test.difference, test.variance, test.p, test.low, test.high) == (0, 0, 1, 0, 0)


def test_perfect_order_against_none_has_no_variance_and_p_zero():
    test = delong_test([0, 1, 0, 1], [0, 1, 0, 1], [0.3] * 4)
    assert (test.difference, test.variance, test.p) == (0.5, 0.0, 0.0)


def test_a_million_rows_take_a_moment_in_single_precision():
    rng = np.random.default_rng(0)
    labels = rng.random(1_000_000) < 0.2
    a, b = (rng.normal(size=len(labels)).astype(np.float32) + labels for _ in range(2))
    assert delong_test(labels, a, b).p > 1e-4


@pytest.mark.parametrize(
    ("labels", "a", "b", "message"),
    [
        ([0, 1, 0, 1], [1, 2, 3, 4], [1, 2, 3], "a row for each of the 4 labels"),
        ([0, 1, 0, 1], [1, 2, 3, math.nan], [1, 2, 3, 4], "got NaN"),
        ([1, 1, 1, 1], [1, 2, 3, 4], [1, 2, 3, 4], "only 1"),
        ([0, 1, 1, 1], [1, 2, 3, 4], [1, 2, 3, 4], "two rows of each class"),
        ([0, 1, 2, 1], [1, 2, 3, 4], [1, 2, 3, 4], "0 or 1"),
        ([], [], [], "nothing"),
    ],
)
def test_unfit_input_is_refused_in_one_line(labels, a, b, message):
    with pytest.raises(PepbenchError, match=message):
        delong_test(labels, a, b)


def test_alpha_widens_the_interval():
    labels, a, b = [0, 0, 1, 1, 0, 1], [1, 2, 3, 4, 5, 6], [2, 1, 4, 3, 6, 5]
    wide, narrow = (delong_test(labels, a, b, alpha) for alpha in (0.01, 0.2))
    assert wide.high - wide.low > narrow.high - narrow.low
    with pytest.raises(PepbenchError, match="alpha"):
        delong_test(labels, a, b, 1.0)
