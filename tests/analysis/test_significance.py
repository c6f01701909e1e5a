from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_factory import auc_interval
from scipy import stats
from sklearn.metrics import roc_auc_score

from pepbench.analysis.covariance import RowPart, RunFigures
from pepbench.analysis.delong import classes_of, counted
from pepbench.analysis.significance import (
    compare,
    compare_runs,
    direction,
    holm,
    verdict,
)
from pepbench.errors import PepbenchError


def auc(labels, scores):
    return counted(classes_of(labels), np.asarray(scores))[0]


def kernel(positive: float, negative: float) -> float:
    return 1.0 if positive > negative else 0.5 if positive == negative else 0.0


def brute_force_components(labels, scores):
    positives = [s for s, y in zip(scores, labels, strict=True) if y]
    negatives = [s for s, y in zip(scores, labels, strict=True) if not y]
    matrix = np.array([[kernel(p, n) for n in negatives] for p in positives])
    return matrix.mean(axis=1), matrix.mean(axis=0)


def brute_force_covariance(labels, vectors):
    """Equations 5 to 7 of DeLong et al. from all pairs: AUCs (R,) and covariance (R, R)."""
    v10, v01 = zip(*(brute_force_components(labels, scores) for scores in vectors), strict=True)
    covariance = np.cov(np.stack(v10)) / len(v10[0]) + np.cov(np.stack(v01)) / len(v01[0])
    return np.array([component.mean() for component in v10]), covariance


@st.composite
def tied_scores(draw, vectors=2):
    """Labels with two rows of each class at least, and scores with many ties."""
    n = draw(st.integers(4, 30))
    labels = [0, 0, 1, 1, *draw(st.lists(st.integers(0, 1), min_size=n - 4, max_size=n - 4))]
    score = st.integers(-3, 3).map(lambda value: value / 4)
    lines = [draw(st.lists(score, min_size=n, max_size=n)) for _ in range(vectors)]
    return np.array(labels), *map(np.array, lines)


@given(tied_scores())
@settings(deadline=None)
def test_one_seed_each_is_delongs_test_by_brute_force_over_all_pairs(sample):
    labels, a, b = sample
    aucs, covariance = brute_force_covariance(labels, [a, b])
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    result = compare(labels, a, b)
    assert result.difference == pytest.approx(aucs[0] - aucs[1], abs=1e-12)
    assert result.standard_error**2 == pytest.approx(variance, abs=1e-12)
    assert result.basis == "rows only"
    if variance > 1e-9:
        t = abs(result.difference) / np.sqrt(variance)
        assert result.p == pytest.approx(2 * stats.t.sf(t, result.degrees_of_freedom), abs=1e-9)


@given(tied_scores(vectors=1), st.booleans())
@settings(deadline=None)
def test_auc_and_placements_equal_independent_answers(sample, single):
    labels, scores = sample
    classes = classes_of(labels)
    _, counts = counted(classes, scores.astype(np.float32) if single else scores)
    np.testing.assert_allclose(
        classes.placements(counts),
        np.concatenate(brute_force_components(labels, scores)),
        atol=1e-12,
    )
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_signed_zeros_are_tied_in_single_precision():
    assert auc([0, 1], np.array([0.0, -0.0], np.float32)) == 0.5
    assert auc([0, 1], np.array([-1e-30, -0.0], np.float32)) == 1.0


def test_auc_of_large_single_precision_scores_equals_sklearn():
    rng = np.random.default_rng(0)
    labels = rng.random(50_000) < 0.1
    scores = rng.normal(size=50_000).astype(np.float32).round(3)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@given(tied_scores(vectors=6))
@settings(max_examples=50, deadline=None)
def test_paired_variance_is_rows_between_seeds_plus_seeds(sample):
    """From DeLong's covariance of all 2K score vectors by brute force."""
    labels, *vectors = sample
    aucs, s = brute_force_covariance(labels, vectors)
    contrasts = np.hstack([np.eye(3), -np.eye(3)])
    block = contrasts @ s @ contrasts.T
    rows = max(0.0, np.mean([block[k, j] for k in range(3) for j in range(3) if k != j]))
    seeds = (contrasts @ aucs).var(ddof=1) / 3
    result = compare(labels, vectors[:3], vectors[3:])
    assert result.difference == pytest.approx((contrasts @ aucs).mean(), abs=1e-12)
    assert result.standard_error**2 == pytest.approx(rows + seeds, abs=1e-12)


def test_identical_scores_differ_by_nothing_for_sure():
    labels, scores = [0, 1, 0, 1, 1], [0.1, 0.4, 0.4, 0.8, 0.3]
    several = compare(labels, [scores] * 3, [np.exp(scores)] * 3)
    assert (several.low, several.high, several.p, several.p_equivalent) == (0, 0, 1, 0)


def test_constant_scores_are_worth_a_half():
    labels = [0, 1, 0, 1]
    assert auc(labels, [0.3] * 4) == 0.5
    perfect = compare(labels, [0, 1, 0, 1], [0.3] * 4)
    assert (perfect.difference, perfect.standard_error, perfect.p) == (0.5, 0.0, 0.0)


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
        compare(labels, scores, scores)


def test_one_row_of_a_class_has_an_auc_but_no_variance():
    assert auc([0, 0, 1], [1, 2, 3]) == 1.0
    with pytest.raises(PepbenchError, match="two rows of each class"):
        compare([0, 0, 1], [1, 2, 3], [1, 3, 2])
    with pytest.raises(PepbenchError, match="two users"):
        compare([0, 0, 1, 1], [1, 2, 3, 4], [1, 3, 2, 4], users=[7, 7, 7, 7])


def noisy(rng, labels, seeds, noise=1.0):
    return labels + noise * rng.normal(size=(seeds, len(labels)))


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def labels():
    return np.arange(400) % 3 == 0


def off_diagonal(block):
    return (block.sum() - np.trace(block)) / (len(block) * (len(block) - 1))


def test_unequal_numbers_of_seeds_add_both_methods_variances(rng, labels):
    a, b = noisy(rng, labels, 5), noisy(rng, labels, 3) + rng.normal(size=400)
    aucs, s = brute_force_covariance(labels, [*a, *b])
    rows = off_diagonal(s[:5, :5]) + off_diagonal(s[5:, 5:]) - 2 * s[:5, 5:].mean()
    parts = [(aucs[:5].var(ddof=1) / 5, 4), (aucs[5:].var(ddof=1) / 3, 2)]
    result = compare(labels, a, b)
    assert not result.paired
    assert (result.seeds_a, result.seeds_b) == (5, 3)
    seeds = sum(variance for variance, _ in parts)
    assert result.standard_error**2 == pytest.approx(rows + seeds)
    assert result.estimate.seed_freedom == pytest.approx(
        seeds**2 / sum(variance**2 / freedom for variance, freedom in parts)
    )


def test_a_single_run_borrows_the_other_methods_spread_between_seeds(rng, labels):
    a, b = noisy(rng, labels, 4), noisy(rng, labels, 1)
    b[0] += rng.normal(size=400)
    aucs, s = brute_force_covariance(labels, [*a, *b])
    joint = s[:4, :4].diagonal().mean() - off_diagonal(s[:4, :4])
    rows = off_diagonal(s[:4, :4]) + s[4, 4] - joint - 2 * s[:4, 4].mean()
    spread = aucs[:4].var(ddof=1)
    expected = rows + spread / 4 + spread
    result = compare(labels, a, b)
    assert result.standard_error**2 == pytest.approx(expected)
    # The seeds' share is five quarters of one sample variance of four figures, so has three.
    assert result.estimate.seed_freedom == pytest.approx(3)


def test_a_single_run_without_noise_of_rows_is_tested_by_students_t():
    """Is one figure from the population of the others? Exact: a two-sample t of sizes 1 and K."""
    figures = np.array([0.712, 0.703, 0.709, 0.731])
    no_noise = (RowPart(np.zeros((4, 4)), 999.0),)
    result = compare_runs(RunFigures(figures, no_noise, "rows", 1000), [3], [0, 1, 2])
    exact = stats.ttest_ind(figures[3:], figures[:3])
    assert result.p == pytest.approx(exact.pvalue, rel=1e-6)
    assert (result.low, result.high) == pytest.approx(tuple(exact.confidence_interval()), rel=1e-6)


def test_degrees_of_freedom_without_seeds_are_welchs(rng, labels):
    """The AUC's variance is a Welch sum over the two classes, so scipy knows the answer."""
    a, b = noisy(rng, labels, 1)[0], noisy(rng, labels, 1)[0]
    classes = classes_of(labels)
    line = np.subtract(*(classes.placements(counted(classes, s)[1]) for s in (a, b)))
    split = classes.n_positive
    welch = stats.ttest_ind(line[:split], line[split:], equal_var=False)
    assert compare(labels, a, b).degrees_of_freedom == pytest.approx(welch.df)


def test_users_of_one_row_each_change_nothing_but_a_factor(rng, labels):
    a, b = noisy(rng, labels, 1), noisy(rng, labels, 1)
    by_row, by_user = compare(labels, a, b), compare(labels, a, b, users=rng.permutation(400))
    assert by_user.standard_error == pytest.approx(by_row.standard_error, rel=0.01)
    assert by_user.basis == "users only"


def obuchowski(labels, users, scores):
    """Variance of one AUC, equations of Obuchowski 1997, section 2, by loops."""
    positive, negative = brute_force_components(labels, scores)
    theta, m, n = positive.mean(), len(positive), len(negative)
    sums = {user: [0.0, 0.0, 0, 0] for user in users}
    components = {True: iter(positive), False: iter(negative)}
    for user, label in zip(users, labels, strict=True):
        sums[user][0 if label else 1] += next(components[bool(label)]) - theta
        sums[user][2 if label else 3] += 1
    of = list(sums.values())
    i10, i01 = sum(u[2] > 0 for u in of), sum(u[3] > 0 for u in of)
    s10 = i10 / ((i10 - 1) * m) * sum(u[0] ** 2 for u in of)
    s01 = i01 / ((i01 - 1) * n) * sum(u[1] ** 2 for u in of)
    s11 = len(of) / (len(of) - 1) * sum(u[0] * u[1] for u in of)
    return s10 / m + s01 / n + 2 * s11 / (m * n)


def test_variance_by_user_is_obuchowskis(rng, labels):
    users = rng.integers(0, 80, 400)
    scores = labels + rng.normal(size=80)[users] + rng.normal(size=400)
    interval = auc_interval(labels, scores, users=users)
    expected = obuchowski(labels, users, scores)
    assert interval.standard_error**2 == pytest.approx(expected, rel=0.02)


def test_repeating_every_row_as_the_same_user_adds_no_information(rng, labels):
    a, b = noisy(rng, labels, 2), noisy(rng, labels, 2)
    once = compare(labels, a, b, users=np.arange(400))
    twice = compare(np.tile(labels, 2), np.tile(a, 2), np.tile(b, 2), users=np.arange(800) % 400)
    assert twice.difference == pytest.approx(once.difference)
    assert twice.standard_error == pytest.approx(once.standard_error, rel=1e-9)


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
    interval = auc_interval(labels, scores)
    assert interval.mean == pytest.approx(np.mean([roc_auc_score(labels, s) for s in scores]))
    assert interval.low < interval.mean < interval.high
    assert interval.mean - interval.low == pytest.approx(interval.high - interval.mean)
    nearly_perfect = auc_interval([0, 0, 0, 1, 1], [1, 2, 4, 3, 5])
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
    ("difference", "p_holm", "p_equivalent", "p_noninferior", "expected"),
    [
        (0.01, 0.01, 0.9, 0.001, "better"),
        (-0.01, 0.01, 0.9, 0.9, "worse"),
        (0.0005, 0.01, 0.01, 0.001, "equivalent"),
        (-1e-6, 0.01, 0.01, 0.01, "equivalent"),
        (0.0005, 0.2, 0.01, 0.001, "equivalent"),
        (0.002, 0.2, 0.3, 0.01, "non-inferior"),
        (0.01, 0.06, 0.9, 0.06, "undecided"),
    ],
)
def test_verdicts(difference, p_holm, p_equivalent, p_noninferior, expected):
    assert verdict(difference, p_holm, p_equivalent, p_noninferior) == expected


def test_a_direction_is_told_beside_equivalence():
    assert direction(-1e-6, 0.01) == "lower"
    assert direction(1e-6, 0.01) == "higher"
    assert direction(0.1, 0.06) == ""


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
