from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from pepbench.analysis.significance import (
    compare,
    delong_test,
    holm,
    mean_auc_interval,
    placements,
    verdict,
)
from pepbench.errors import PepbenchError


def auc(labels, scores):
    return float(placements(labels, scores).aucs[0])


def kernel(positive: float, negative: float) -> float:
    return 1.0 if positive > negative else 0.5 if positive == negative else 0.0


def brute_force_components(labels, scores):
    positives = [s for s, y in zip(scores, labels, strict=True) if y]
    negatives = [s for s, y in zip(scores, labels, strict=True) if not y]
    matrix = np.array([[kernel(p, n) for n in negatives] for p in positives])
    return matrix.mean(axis=1), matrix.mean(axis=0)


def brute_force_delong(labels, a, b):
    """Equations 5 to 7 of DeLong et al., by covariance matrices of all pairs."""
    v10, v01 = zip(*(brute_force_components(labels, scores) for scores in (a, b)), strict=True)
    s10, s01 = np.cov(np.stack(v10)), np.cov(np.stack(v01))
    s = s10 / len(v10[0]) + s01 / len(v01[0])
    return v10[0].mean() - v10[1].mean(), s[0, 0] + s[1, 1] - 2 * s[0, 1]


@st.composite
def tied_scores(draw, vectors=2):
    """Labels with two rows of each class at least, and scores with many ties."""
    n = draw(st.integers(4, 30))
    labels = [0, 0, 1, 1, *draw(st.lists(st.integers(0, 1), min_size=n - 4, max_size=n - 4))]
    score = st.integers(-3, 3).map(lambda value: value / 4)
    lines = [draw(st.lists(score, min_size=n, max_size=n)) for _ in range(vectors)]
    return np.array(labels), *map(np.array, lines)


@given(tied_scores())
def test_delong_equals_brute_force_over_all_pairs(sample):
    labels, a, b = sample
    result = delong_test(labels, a, b)
    difference, variance = brute_force_delong(labels, a, b)
    assert result.difference == pytest.approx(difference, abs=1e-12)
    assert result.variance == pytest.approx(variance, abs=1e-12)
    if variance > 1e-9:
        z = abs(difference) / np.sqrt(variance)
        assert result.p == pytest.approx(2 * stats.norm.sf(z), abs=1e-9)


@given(tied_scores(vectors=1))
def test_auc_and_placements_equal_independent_answers(sample):
    labels, scores = sample
    placed = placements(labels, scores)
    positive, negative = brute_force_components(labels, scores)
    np.testing.assert_allclose(placed.positive, positive, atol=1e-12)
    np.testing.assert_allclose(placed.negative, negative, atol=1e-12)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_auc_of_large_single_precision_scores_equals_sklearn():
    rng = np.random.default_rng(0)
    labels = rng.random(50_000) < 0.1
    scores = rng.random(50_000).astype(np.float32).round(3)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@given(tied_scores(vectors=6))
@settings(max_examples=50)
def test_row_variance_of_averaged_seeds_equals_the_full_covariance_matrix(sample):
    """The mean of K differences has variance c' S c with DeLong's S of all 2K score vectors."""
    labels, *vectors = sample
    v10, v01 = zip(*(brute_force_components(labels, scores) for scores in vectors), strict=True)
    s = np.cov(np.stack(v10)) / len(v10[0]) + np.cov(np.stack(v01)) / len(v01[0])
    contrast = np.array([1, 1, 1, -1, -1, -1]) / 3
    aucs = np.array([component.mean() for component in v10])
    seeds = (aucs[:3] - aucs[3:]).var(ddof=1) / 3
    result = compare(labels, vectors[:3], vectors[3:])
    assert result.difference == pytest.approx(contrast @ aucs, abs=1e-12)
    assert result.standard_error**2 == pytest.approx(contrast @ s @ contrast + seeds, abs=1e-12)


def test_identical_scores_differ_by_nothing_for_sure():
    labels, scores = [0, 1, 0, 1, 1], [0.1, 0.4, 0.4, 0.8, 0.3]
    result = delong_test(labels, scores, np.exp(scores))
    assert (result.difference, result.variance, result.p) == (0.0, 0.0, 1.0)
    several = compare(labels, [scores] * 3, [scores] * 3)
    assert (several.low, several.high, several.p, several.p_equivalent) == (0, 0, 1, 0)


def test_constant_scores_are_worth_a_half():
    labels = [0, 1, 0, 1]
    assert auc(labels, [0.3] * 4) == 0.5
    perfect = delong_test(labels, [0, 1, 0, 1], [0.3] * 4)
    assert (perfect.difference, perfect.variance, perfect.p) == (0.5, 0.0, 0.0)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 1, 1], [1, 2, 3], "only 1"),
        ([0, 0], [1, 2], "only 0"),
        ([], [], "nothing"),
        ([0, 1, 2], [1, 2, 3], "0 or 1"),
        ([0, 1], [1, 2, 3], "2 labels"),
        ([0, 1], [1, np.nan], "NaN"),
        ([[0, 1]], [1, 2], r"\(1, 2\)"),
    ],
)
def test_unusable_input_is_refused_with_the_reason(labels, scores, message):
    with pytest.raises(PepbenchError, match=message):
        delong_test(labels, scores, scores)


def test_one_row_of_a_class_has_an_auc_but_no_variance():
    assert auc([0, 0, 1], [1, 2, 3]) == 1.0
    with pytest.raises(PepbenchError, match="two rows of each class"):
        delong_test([0, 0, 1], [1, 2, 3], [1, 3, 2])


def noisy(rng, labels, seeds, noise=1.0):
    return labels + noise * rng.normal(size=(seeds, len(labels)))


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def labels():
    return np.arange(400) % 3 == 0


def test_one_seed_each_is_delongs_test_up_to_t(rng, labels):
    a, b = noisy(rng, labels, 1), noisy(rng, labels, 1, 1.4)
    result, delong = compare(labels, a, b), delong_test(labels, a[0], b[0])
    assert result.difference == pytest.approx(delong.difference)
    assert result.standard_error**2 == pytest.approx(delong.variance)
    assert result.p == pytest.approx(delong.p, rel=0.1)
    assert result.degrees_of_freedom > 100


def test_unequal_numbers_of_seeds_add_both_methods_variances(rng, labels):
    a, b = noisy(rng, labels, 5), noisy(rng, labels, 3)
    result = compare(labels, a, b)
    rows_only = compare(labels, a.mean(axis=0), b.mean(axis=0))
    seeds = sum(
        np.var([auc(labels, line) for line in scores], ddof=1) / len(scores) for scores in (a, b)
    )
    assert not result.paired
    assert (result.seeds_a, result.seeds_b) == (5, 3)
    assert result.standard_error**2 > seeds
    assert result.degrees_of_freedom < rows_only.degrees_of_freedom


def test_a_single_run_borrows_the_other_methods_spread_between_seeds(rng, labels):
    a, b = noisy(rng, labels, 4), noisy(rng, labels, 1)
    spread = np.var([auc(labels, line) for line in a], ddof=1)
    placed_a, placed_b = placements(labels, a), placements(labels, b)
    rows = sum(
        np.var(x - y, ddof=1) / len(x)
        for x, y in (
            (placed_a.positive, placed_b.positive),
            (placed_a.negative, placed_b.negative),
        )
    )
    assert compare(labels, a, b).standard_error ** 2 == pytest.approx(rows + spread / 4 + spread)


def test_degrees_of_freedom_without_seeds_are_welchs(rng, labels):
    """The AUC's variance is a Welch sum over the two classes, so scipy knows the answer."""
    a, b = noisy(rng, labels, 1), noisy(rng, labels, 1)
    x, y = placements(labels, a), placements(labels, b)
    welch = stats.ttest_ind(x.positive - y.positive, x.negative - y.negative, equal_var=False)
    assert compare(labels, a, b).degrees_of_freedom == pytest.approx(welch.df)


def test_interval_p_and_equivalence_agree(rng, labels):
    a, b = noisy(rng, labels, 3, 0.5), noisy(rng, labels, 3, 0.6)
    wide = compare(labels, a, b, alpha=0.10)
    at_the_edge = max(abs(wide.low), abs(wide.high))
    assert compare(labels, a, b, margin=at_the_edge).p_equivalent == pytest.approx(0.05)
    if wide.low < 0:
        assert compare(labels, a, b, margin=-wide.low).p_noninferior == pytest.approx(0.05)
    exact = compare(labels, a, b, alpha=compare(labels, a, b).p)
    assert min(abs(exact.low), abs(exact.high)) == pytest.approx(0, abs=1e-9)


def test_swapping_the_methods_mirrors_the_comparison(rng, labels):
    a, b = noisy(rng, labels, 3), noisy(rng, labels, 3)
    one, other = compare(labels, a, b), compare(labels, b, a)
    assert one.difference == -other.difference
    assert (one.low, one.p, one.p_equivalent) == pytest.approx(
        (-other.high, other.p, other.p_equivalent)
    )


def test_mean_auc_interval_is_centred_and_stays_in_range(rng, labels):
    scores = noisy(rng, labels, 3)
    interval = mean_auc_interval(labels, scores)
    assert interval.auc == pytest.approx(np.mean([roc_auc_score(labels, s) for s in scores]))
    assert interval.low < interval.auc < interval.high
    assert interval.auc - interval.low == pytest.approx(interval.high - interval.auc)
    nearly_perfect = mean_auc_interval([0, 0, 0, 1, 1], [1, 2, 4, 3, 5])
    assert nearly_perfect.high == 1.0


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_the_step_down_definition(p):
    adjusted = holm(p)
    for i, value in enumerate(p):
        earlier = [q for q in p if q <= value]
        candidates = [(len(p) - sum(r < q for r in p)) * q for q in earlier]
        # Among equal p-values the first has the largest factor.
        assert adjusted[i] == pytest.approx(min(1.0, max(candidates)))


@pytest.mark.parametrize(
    ("difference", "p_holm", "p_equivalent", "expected"),
    [
        (0.01, 0.01, 0.9, "better"),
        (-0.01, 0.01, 0.9, "worse"),
        (0.0005, 0.01, 0.01, "better"),
        (0.0005, 0.2, 0.01, "equivalent"),
        (0.01, 0.06, 0.9, "undecided"),
    ],
)
def test_verdicts(difference, p_holm, p_equivalent, expected):
    assert verdict(difference, p_holm, p_equivalent) == expected


@pytest.mark.slow
def test_false_positives_are_at_the_nominal_level_under_row_and_seed_noise():
    rng = np.random.default_rng(1)
    labels = np.arange(1500) < 450
    repetitions, rejected = 500, 0
    for _ in range(repetitions):
        signal = labels + 0.6 * rng.normal(size=1500)
        a, b = (
            np.stack(
                [row + 0.3 * np.exp(0.35 * rng.normal()) * rng.normal(size=1500) for _ in range(4)]
            )
            for row in (signal + 0.5 * rng.normal(size=(2, 1500)))
        )
        rejected += compare(labels, a, b).p < 0.05
    # Three Monte-Carlo standard errors around 0.05.
    assert 0.02 <= rejected / repetitions <= 0.08
