import math

import numpy as np
import pytest
from record_factory import auc_interval, record, run_of, spec
from scipy import stats

from pepbench.analysis.blocks import blocks_of
from pepbench.analysis.cells import cells_of
from pepbench.analysis.covariance import measure
from pepbench.analysis.fold_comparisons import compare_folds, compare_pooled, pooled_interval
from pepbench.analysis.folds import FoldFigures
from pepbench.analysis.leaderboard import analyse
from pepbench.analysis.primary import CONTRAST_COLUMNS, contrast_rows, primaries
from pepbench.analysis.significance import compare
from pepbench.records import MARGIN, ScoresRecord
from pepbench.report.table_rows import contrast_table, not_compared

UNKNOWN = np.full(5, math.nan)


def figures(values, rows=None, seeds=None):
    values = np.asarray(values, float)
    unknown = np.full(len(values), math.nan)
    return FoldFigures(
        values, unknown if rows is None else rows, unknown if seeds is None else seeds
    )


def test_it_is_the_one_sample_t_test():
    values = np.random.default_rng(0).normal(0.01, 0.02, 8)
    found = compare_folds(figures(values), (8, 8), margin=0.001)
    expected = stats.ttest_1samp(values, 0.0)
    assert found.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    below = stats.ttest_1samp(values, -0.001, alternative="greater").pvalue
    above = stats.ttest_1samp(values, 0.001, alternative="less").pvalue
    assert found.p_noninferior == pytest.approx(below)
    assert found.p_equivalent == pytest.approx(max(below, above))
    assert found.basis == "folds"


def test_equal_folds_leave_no_doubt_and_no_division_by_zero():
    same = compare_folds(figures([0.0] * 5), (5, 5), margin=0.001)
    assert (same.p, same.p_equivalent, same.low, same.high) == (1.0, 0.0, 0.0, 0.0)
    shifted = compare_folds(figures([0.01] * 5), (5, 5), margin=0.001)
    assert shifted.p == 0.0


def test_folds_won_count_ties_half():
    found = figures([0.01, -0.02, 0.0, 0.03])
    assert found.won == 2.5
    low, high = figures([1, 1, 1, -1]).won_interval(0.05)
    exact = stats.binomtest(3, 4).proportion_ci()
    assert (low, high) == pytest.approx((exact.low, exact.high))


def test_chance_of_improvement_is_the_predictive_t_probability():
    values = np.array([0.01, 0.02, -0.01, 0.03])
    scale = values.std(ddof=1) * math.sqrt(1 + 1 / 4)
    expected = stats.t.cdf(values.mean() / scale, 3)
    assert figures(values).chance_of_improvement == pytest.approx(expected)


def test_shares_of_the_variance_add_up_to_one_and_recover_what_was_drawn():
    rng = np.random.default_rng(1)
    rows, seeds, rest = 4.0, 1.0, 5.0
    folds = 4000
    parts = rng.normal(0, np.sqrt([rows, seeds, rest]), (folds, 3))
    found = figures(parts.sum(1), rows=np.full(folds, rows), seeds=np.full(folds, seeds))
    assert sum(found.shares) == pytest.approx(1.0)
    assert found.shares == pytest.approx((0.4, 0.1, 0.5), abs=0.03)


def test_shares_are_never_negative_or_above_one():
    found = figures([0.0, 1e-3], rows=np.ones(2), seeds=np.ones(2))
    assert found.shares == (1.0, 0.0, 0.0)
    assert all(math.isnan(share) for share in figures([1.0, 1.0]).shares)


@pytest.mark.parametrize("seeds", [1, 3])
def test_two_folds_give_the_mean_of_two_independent_estimates(seeds):
    rng, parts, intervals, measured = np.random.default_rng(4), [], [], []
    for _ in range(2):
        labels = rng.random(300) < 0.4
        a, b = (labels + rng.normal(size=(seeds, 300)) for _ in "ab")
        parts.append(compare(labels, a, b))
        intervals.append(auc_interval(labels, a))
        runs = [lambda line=line: line for line in a]
        measured.append((measure(labels, runs, log_loss=False).auc, range(seeds)))
    found, mean = compare_pooled(parts, margin=0.01), pooled_interval(measured)
    for one, of_folds, value in (
        (found, parts, found.difference),
        (mean, intervals, mean.mean),
    ):
        values = [getattr(x, "difference", getattr(x, "mean", None)) for x in of_folds]
        assert value == pytest.approx(np.mean(values))
        expected = math.hypot(*(x.standard_error for x in of_folds)) / 2
        assert one.standard_error == pytest.approx(expected)
        assert one.basis == ("rows and seeds" if seeds > 1 else "rows only")
    assert (found.seeds_a, mean.seeds) == (2 * seeds, 2 * seeds)
    assert found.folds is None
    if seeds == 1:
        z = found.difference / found.standard_error
        assert found.p == pytest.approx(2 * stats.norm.sf(abs(z)), rel=0.05)


def test_two_folds_need_the_predictions_of_both():
    run, labels = run_of(200), {}
    for fold in range(2):
        split = f"{fold}" * 16
        labels[split] = run.labels
        for method, budget in (("full", "100%"), ("pep", "10%")):
            for role in ("tuning", "final"):
                made = spec(method=method, budget=budget, role=role, split=split, seed=fold)
                data = made.data.model_copy(update={"fold": fold, "folds": 2})
                trial = made.model_copy(update={"data": data})
                test = ScoresRecord(auc=0.6, log_loss=0.6) if role == "final" else None
                run.records.append(record(trial, test=test))
                run.predictions[trial.key()] = np.linspace(0, 1, 200)[::-1].astype(np.float32)
    whole = analyse(run.records, run.load_predictions, labels.__getitem__).comparisons
    assert whole[["difference", "basis", "note"]].to_numpy().tolist() == [[0.0, "rows only", ""]]
    lost = next(r.key for r in run.records if r.spec.role == "final" and r.spec.data.fold == 1)
    del run.predictions[lost]
    (note,) = analyse(run.records, run.load_predictions, labels.__getitem__).comparisons["note"]
    assert f"the predictions of run {lost[:12]} are missing" in note


def test_no_figure_is_told_over_fewer_folds_than_there_are():
    run, names = run_of(50), ("auc", "log_loss", "calibration", "gauc", "ndcg10")
    for fold in range(3):
        for role in ("tuning", "final"):
            made = spec(role=role, split=f"{fold}" * 16, seed=fold)
            data = made.data.model_copy(update={"fold": fold, "folds": 3})
            known = ScoresRecord(**dict.fromkeys(names, 0.5 + fold / 10))
            test = known if role == "final" else None
            run.records.append(record(made.model_copy(update={"data": data}), test=test))
    for records, expected in ((run.records, [0.6] * 5), (run.records[:-1], [math.nan] * 5)):
        frame = analyse(records, run.load_predictions, run.load_labels).frame
        assert frame["folds"].tolist() == [3]
        assert frame[list(names)].iloc[0].tolist() == pytest.approx(expected, nan_ok=True)


def test_rounding_is_no_difference():
    found = compare_folds(figures([1.2e-16, 0.0, 0.0, 0.0, 0.0]), (5, 5), margin=0.001)
    assert (found.difference, found.p, found.p_equivalent) == (0.0, 1.0, 0.0)


def test_folds_won_by_one_are_those_lost_by_the_other():
    values = np.array([0.02, 0.01, 0.0, 0.03, 0.01])
    low, high = figures(values).won_interval(0.05)
    assert (1 - high, 1 - low) == pytest.approx(figures(-values).won_interval(0.05))
    assert low < 0.9 < high
    for won in range(6):
        whole = np.where(np.arange(5) < won, 1.0, -1.0)
        exact = stats.binomtest(won, 5).proportion_ci()
        assert figures(whole).won_interval(0.05) == pytest.approx((exact.low, exact.high))


def test_rows_of_several_seeds_are_what_these_share():
    """DeLong's covariance between seeds, by placements in full; the rest is the seeds'."""
    run = run_of(120)
    run.add(0.0, method="full", budget="10%", seeds=2)
    run.add(3.0, method="pep", seeds=2)
    cells = cells_of(run.records)
    (block,) = blocks_of(cells, run.load_predictions, run.load_labels)
    positive = run.labels == 1
    parts = []
    for seed in range(2):
        placed = []
        for cell in cells:
            scores = run.predictions[cell.runs[seed].key].astype(float)
            above = np.sign(scores[positive][:, None] - scores[~positive]) / 2
            placed.append((above.mean(1), above.mean(0)))
        parts.append([one - other for one, other in zip(*placed, strict=True)])
    expected = sum(
        np.cov(*of_class)[0, 1] / len(of_class[0]) for of_class in zip(*parts, strict=True)
    )
    assert block.row_variance(0, 1) == pytest.approx(max(0.0, expected), abs=1e-9)
    assert expected > 0


def test_cells_that_are_named_twice_are_one_contrast():
    run = run_of(60)
    for noise, method in enumerate(("full", "pep", "mde")):
        run.add(noise / 2, method=method, seeds=1)
    (block,) = blocks_of(cells_of(run.records), run.load_predictions, run.load_labels)
    named = [("pep", "mde", "10%"), ("mde", "pep", "10%")]
    rows = list(contrast_rows(block, primaries(block, named, MARGIN), MARGIN))
    assert [(row["method"], row["primary"]) for row in rows] == [
        ("pep", True),
        ("full", False),
        ("full", False),
    ]
    assert rows[0]["p_holm"] == rows[0]["p"]


def test_the_leaderboard_gives_a_primary_contrast_its_own_verdict():
    run = run_of(400)
    run.add(0.0, method="full", budget="100%")
    for method, noise in (("pep", 1.0), ("mde", 2.0), ("qr", 0.3)):
        run.add(noise, method=method)
    loaders = run.load_predictions, run.load_labels
    named = [("pep", "full", "10%"), ("mde", "full", "10%")]
    alone, found = (analyse(run.records, *loaders, contrasts=c) for c in ((), named))
    primary = found.contrasts[found.contrasts["primary"]].set_index("method")
    assert len(primary) == 2
    for frame in (found.frame, found.comparisons):
        rows = frame.set_index("method")
        for method in primary.index:
            assert rows.loc[method, "p_holm"] == primary.loc[method, "p_holm"]
            assert rows.loc[method, "verdict"] == primary.loc[method, "verdict"]
    # The family of two is smaller than that of three; the third stays in the latter.
    before, after = (one.comparisons.set_index("method")["p_holm"] for one in (alone, found))
    assert (after[["pep", "mde"]] < before[["pep", "mde"]]).all()
    assert after["qr"] == before["qr"]


def test_a_contrast_says_which_of_its_methods_has_not_run():
    run = run_of(60)
    run.add(0.0, method="full", budget="100%", seeds=1)
    run.add(0.5, method="pep", seeds=1)
    lost = [("lost", "pep", "10%"), ("pep", "lost", "10%"), ("lost", "gone", "10%")]
    contrasts = [*lost, ("pep", "full", "10%")]
    loaders = run.load_predictions, run.load_labels
    frame = analyse(run.records, *loaders, contrasts=contrasts).contrasts
    assert list(frame) == list(CONTRAST_COLUMNS)
    shown = frame[["method", "other", "budget", "verdict", "note", "folds"]]
    assert shown.iloc[0].tolist() == ["lost", "pep", "10%", "", "lost has not run", 1]
    assert frame["difference"].isna().tolist() == [True, False]
    assert frame["p_holm"].iloc[1] == frame["p"].iloc[1]
    assert not_compared(frame) == "Not compared: lost − pep at 10% (lost has not run)."
    assert contrast_table(frame)[0]["verdict"] == "not compared"


def test_a_contrast_of_a_single_split_says_why_its_first_method_has_no_result():
    run = run_of(60)
    run.add(0.5, method="pep", seeds=1)
    too_small = spec(method="mde", role="tuning")
    run.records.append(record(too_small, status="infeasible", reason="800 is the least"))
    loaders = run.load_predictions, run.load_labels
    frame = analyse(run.records, *loaders, contrasts=[("mde", "pep", "10%")]).contrasts
    assert not_compared(frame) == (
        "Not compared: mde − pep at 10% (mde is infeasible: 800 is the least)."
    )


def test_a_cell_at_another_budget_does_not_stand_in_for_one_that_is_missing():
    run = run_of(60)
    for method, budgets in (("full", ["100%"]), ("pep", ["100%", "10%"]), ("mde", ["100%"])):
        for budget in budgets:
            run.add(0.5, method=method, budget=budget, seeds=1)
    (block,) = blocks_of(cells_of(run.records), run.load_predictions, run.load_labels)
    named = [("pep", other, "10%") for other in ("full", "mde")]
    rows = list(contrast_rows(block, primaries(block, named, MARGIN), MARGIN))[:2]
    assert [(row["other"], row["note"]) for row in rows] == [
        ("full", ""),
        ("mde", "mde has not run"),
    ]


def test_a_second_method_that_is_infeasible_is_called_by_its_name():
    run = run_of(60)
    run.add(0.5, method="pep", seeds=1)
    run.records.append(record(spec(method="mde", role="tuning"), "infeasible", reason="too small"))
    (block,) = blocks_of(cells_of(run.records), run.load_predictions, run.load_labels)
    (row,) = contrast_rows(block, primaries(block, [("pep", "mde", "10%")], MARGIN), MARGIN)
    assert row["note"] == "mde is infeasible: too small"
