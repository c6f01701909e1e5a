from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_factory import SPLIT, record, spec

from pepbench.analysis.width_profiles import profiled, sampled
from pepbench.analysis.width_recovery import (
    RECOVERY_COLUMNS,
    WidthFiles,
    partial_correlation_within,
    partial_rank_correlation,
    rank_correlation,
    recover,
)
from pepbench.records import ScoresRecord

N = 600
rng = np.random.default_rng(5)
PLANTED = rng.choice([0, 1, 2, 4, 8, 16], N)
FREQUENCY = np.r_[0, rng.zipf(1.3, N - 1).clip(max=10**6)]
FIELD = np.repeat([0, 1, 2], N // 3)
FEATURES = pd.DataFrame({"field": FIELD, "frequency": FREQUENCY, "planted_width": PLANTED})
LABELS = np.array([0, 1, 0, 1, 1])
TRUTH = np.array([0.1, 0.4, 0.5, 0.6, 0.9])
BAYES = 5 / 6
"""Of LABELS and TRUTH: of six pairs only (0.4, 0.5) is in the wrong order."""

small = st.lists(st.integers(0, 4), min_size=3, max_size=30)


def final(seed, auc=0.7, widths=True, **cell):
    scores = ScoresRecord(auc=auc, log_loss=0.5)
    digest = "some" if widths else None
    return record(spec(seed=seed, **cell), test=scores, widths_sha256=digest)


def recovered(widths_of, features=FEATURES, labels=LABELS, truth=TRUTH, aucs=(0.7, 0.7, 0.7)):
    """The recovery of a cell whose runs learnt ``widths_of(seed)``."""
    tuning = record(spec(role="tuning", seed=99))
    finals = [final(seed, auc) for seed, auc in enumerate(aucs)]
    by_key = {run.key: widths_of(run.spec.seed) for run in finals}
    files = WidthFiles(by_key.get, lambda _: features, lambda _: labels, lambda _: truth)
    return recover([tuning, *finals], files)


def only_row(recovery):
    (row,) = recovery.frame.to_dict("records")
    return row


def mean_ranks(values):
    """By counting: how many are smaller, and half of the equal ones."""
    return [sum(v < w for v in values) + (values.count(w) + 1) / 2 for w in values]


@given(small, small)
def test_rank_correlation_is_pearsons_of_mean_ranks(one, other):
    n = min(len(one), len(other))
    one, other = one[:n], other[:n]
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert math.isnan(rank_correlation(one, other))
        return
    expected = np.corrcoef(mean_ranks(one), mean_ranks(other))[0, 1]
    assert rank_correlation(one, other) == pytest.approx(expected, abs=1e-12)


def test_partial_correlation_is_that_of_residuals_of_ranks():
    one, other, third = rng.integers(0, 9, (3, 200))
    other = other + third
    ranks = [np.array(mean_ranks(x.tolist())) for x in (one, other, third)]
    basis = np.column_stack([np.ones(200), ranks[2]])
    left = [r - basis @ np.linalg.lstsq(basis, r, rcond=None)[0] for r in ranks[:2]]
    expected = np.corrcoef(*left)[0, 1]
    assert partial_rank_correlation(one, other, third) == pytest.approx(expected, abs=1e-12)


def test_nothing_is_left_where_a_variable_only_repeats_the_one_held():
    assert math.isnan(partial_rank_correlation([1, 2, 3], [2, 1, 3], [10, 20, 30]))


def test_fields_weigh_by_their_features_and_constant_ones_are_left_out():
    fields = [np.arange(4), np.arange(4, 10), np.arange(10, 13)]
    one = np.array([1, 2, 3, 4, 6, 5, 4, 3, 2, 1, 7, 7, 7])
    other = np.r_[1:5, 1:7, 1:4]
    held = np.zeros(13)
    assert partial_correlation_within(fields, one, other, held) == pytest.approx((4 - 6) / 10)
    assert math.isnan(partial_correlation_within(fields[2:], one, other, held))


def test_a_method_that_knows_the_truth_is_told_so():
    row = only_row(recovered(lambda _: PLANTED.astype(np.uint8)))
    for figure in ("planted_correlation", "planted_ceiling", "partial_correlation"):
        assert row[figure] == pytest.approx(1.0)
    assert row["planted_spread"] == pytest.approx(0.0)
    assert (row["seeds"], row["ranked_seeds"]) == (3, 3)
    assert row["mean_width"] == pytest.approx(PLANTED[1:].mean())


def test_random_widths_agree_with_nothing():
    row = only_row(recovered(lambda seed: np.random.default_rng(seed).integers(0, 9, N)))
    for figure in ("planted_correlation", "partial_correlation", "frequency_correlation"):
        assert abs(row[figure]) < 3 / math.sqrt(3 * N)
    assert 0 < row["planted_spread"] < 0.1


def test_widths_that_follow_frequency_alone_have_no_partial_correlation():
    popularity, one, other = np.random.default_rng(1).normal(size=(3, N))
    features = FEATURES.assign(
        frequency=np.exp(popularity + 9).astype(int),
        planted_width=(10 * (popularity + other)).astype(int) + 100,
    )
    learnt = (10 * (popularity + one)).astype(int) + 100
    row = only_row(recovered(lambda _: learnt, features))
    assert row["planted_correlation"] == pytest.approx(0.5, abs=0.1)
    assert abs(row["partial_correlation"]) < 3 / math.sqrt(N)


def test_features_that_training_has_not_seen_do_not_count():
    learnt = np.where(FREQUENCY == 0, 255, PLANTED)
    assert only_row(recovered(lambda _: learnt))["planted_correlation"] == pytest.approx(1.0)


def test_ceiling_is_the_best_that_the_same_widths_can_do():
    features = FEATURES[:7].assign(frequency=1, planted_width=[0, 0, 1, 2, 2, 4, 8])
    learnt = np.array([1, 0, 0, 1, 0, 0, 0])
    row = only_row(recovered(lambda _: learnt, features))
    shuffles = [np.random.default_rng(i).permutation(learnt) for i in range(300)]
    best = max(rank_correlation(s, features["planted_width"]) for s in shuffles)
    assert row["planted_ceiling"] == pytest.approx(best)


def test_seeds_with_one_width_for_all_have_no_correlation():
    row = only_row(recovered(lambda seed: PLANTED if seed else np.full(N, 3)))
    assert (row["seeds"], row["ranked_seeds"]) == (3, 2)
    assert row["planted_correlation"] == pytest.approx(1.0)
    row = only_row(recovered(lambda _: np.full(N, 3)))
    assert row["ranked_seeds"] == 0
    assert math.isnan(row["planted_correlation"])
    assert row["mean_width"] == 3


def test_gap_is_bayes_auc_on_the_test_rows_minus_test_auc():
    row = only_row(recovered(lambda _: PLANTED, aucs=(0.7, 0.8)))
    assert row["bayes_auc"] == pytest.approx(BAYES)
    assert row["bayes_gap"] == pytest.approx(BAYES - 0.75)
    assert row["gap_spread"] == pytest.approx(math.sqrt(0.005))


def test_without_planted_truth_widths_are_held_against_frequency_alone():
    features = FEATURES.assign(planted_width=np.nan)
    recovery = recovered(lambda _: FREQUENCY, features, truth=None)
    row = only_row(recovery)
    assert row["frequency_correlation"] == pytest.approx(1.0)
    for figure in ("planted_correlation", "partial_correlation", "bayes_gap"):
        assert math.isnan(row[figure])
    assert set(recovery.profiles["by"]) == {"frequency"}


def test_methods_without_widths_are_listed_for_their_gap_only_where_there_is_one():
    runs = [record(spec(role="tuning", seed=99)), final(0, widths=False)]
    files = WidthFiles(lambda _: None, lambda _: FEATURES, lambda _: LABELS, lambda _: TRUTH)
    recovery = recover(runs, files)
    assert only_row(recovery)["bayes_gap"] == pytest.approx(BAYES - 0.7)
    assert recovery.profiles.empty
    nothing = WidthFiles(*[lambda _: None] * 4)
    assert recover(runs, nothing).frame.empty
    assert tuple(recover([], nothing).frame.columns) == RECOVERY_COLUMNS


def test_widths_without_known_features_are_passed_over():
    recovery = recovered(lambda _: PLANTED, features=None, truth=None)
    assert recovery.frame.empty
    assert recovery.points.empty


def test_splits_are_not_mixed_up():
    other = "0ther" * 4
    runs = [
        run
        for split in (SPLIT, other)
        for run in (record(spec(role="tuning", seed=99, split=split)), final(0, split=split))
    ]
    files = WidthFiles(
        lambda _: np.array([1, 2, 3]),
        lambda split: pd.DataFrame(
            {
                "field": 0,
                "frequency": [1, 2, 3],
                "planted_width": [1, 2, 3] if split == SPLIT else [3, 2, 1],
            }
        ),
        lambda _: None,
        lambda _: None,
    )
    assert sorted(recover(runs, files).frame["planted_correlation"]) == pytest.approx([-1, 1])


def test_sample_keeps_rare_and_frequent_features_of_every_planted_width():
    sample = sampled(FEATURES, PLANTED, most=5)
    assert len(sample) == 5 * 6
    for level, group in sample.groupby("planted"):
        frequencies = FREQUENCY[level == PLANTED]
        assert (group["frequency"].min(), group["frequency"].max()) == (
            frequencies.min(),
            frequencies.max(),
        )
        assert group.sort_values("place")["frequency"].is_monotonic_increasing
    assert sample["place"].between(0, 1).all()
    assert (sample["learnt"] == sample["planted"]).all()


def test_profile_is_mean_and_quantiles_of_each_level_and_octave():
    features = pd.DataFrame({"frequency": [1, 2, 3, 4, 900], "planted_width": [0, 0, 4, 4, 4]})
    profile = profiled(features, np.array([[0, 1, 2, 3, 9], [2, 1, 2, 3, 9]]))
    planted = profile[profile["by"] == "planted"]
    assert planted["at"].tolist() == [0, 4]
    assert planted["mean"].tolist() == pytest.approx([1, 28 / 6])
    assert planted["high"].tolist() == pytest.approx([1.7, 9])
    frequency = profile[profile["by"] == "frequency"]
    assert frequency["at"].tolist() == [1, 2.5, 4, 900]
    assert frequency["mean"].tolist() == [1, 1.5, 3, 9]
