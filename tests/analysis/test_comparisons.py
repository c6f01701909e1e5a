from __future__ import annotations

import math

import numpy as np
import pytest
from record_factory import run_of, typical_run
from sklearn.metrics import log_loss

from pepbench.analysis.frames import COMPARISON_COLUMNS, PAIR_COLUMNS
from pepbench.analysis.leaderboard import analyse
from pepbench.analysis.significance import compare, holm


def analysis_of(run, **options):
    return analyse(run.records, run.load_predictions, run.load_labels, **options)


def scores_of(run, method, budget):
    return [
        run.predictions[record.key]
        for record in run.records
        if record.spec.role == "final"
        and (record.spec.method.spec, record.spec.budget) == (method, budget)
    ]


@pytest.fixture(scope="module")
def three():
    run = run_of(1200)
    run.add(0.0, method="full", budget="100%", seeds=4)
    for noise, method in ((0.02, "pep"), (0.5, "mde"), (3.0, "hash")):
        run.add(noise, method=method, budget="10%", seeds=4)
    return run


def test_frames_have_their_columns_even_without_rows():
    empty = analyse([], {}.get, {}.get)
    assert list(empty.comparisons.columns) == list(COMPARISON_COLUMNS)
    assert list(empty.pairs.columns) == list(PAIR_COLUMNS)
    assert empty.fronts.points.empty
    assert empty.ranks.ranks.empty


def test_all_pairs_of_a_budget_are_one_family(three):
    pairs = analysis_of(three).pairs
    assert len(pairs) == 3
    expected = [
        compare(three.labels, scores_of(three, a, "10%"), scores_of(three, b, "10%"))
        for a, b in zip(pairs["method"], pairs["other"], strict=True)
    ]
    np.testing.assert_allclose(pairs["difference"], [c.difference for c in expected])
    np.testing.assert_allclose(pairs["p_holm"], holm([c.p for c in expected]), rtol=1e-6)
    np.testing.assert_allclose(
        pairs["p_equivalent_holm"], holm([c.p_equivalent for c in expected]), rtol=1e-6
    )


def test_log_losses_are_compared_on_the_same_rows(three):
    row = analysis_of(three).comparisons.query("method == 'hash'").iloc[0]
    losses = {
        method: np.mean(
            [
                log_loss(three.labels, line.astype(float))
                for line in scores_of(three, method, budget)
            ]
        )
        for method, budget in (("hash", "10%"), ("full", "100%"))
    }
    assert row["log_loss_difference"] == pytest.approx(losses["hash"] - losses["full"], rel=1e-5)
    assert row["log_loss_low"] < row["log_loss_difference"] < row["log_loss_high"]


def test_what_is_undecided_says_how_many_seeds_would_decide(three):
    comparisons = analysis_of(three).comparisons
    undecided = comparisons["verdict"] == "undecided"
    assert comparisons["seeds_to_decide"].notna().equals(undecided)
    assert (comparisons.loc[undecided, "seeds_to_decide"] >= 2).all()


def test_a_wide_margin_makes_a_significant_loss_equivalent_with_its_direction(three):
    row = analysis_of(three, margin=0.4).comparisons.query("method == 'hash'").iloc[0]
    assert (row["verdict"], row["direction"]) == ("equivalent", "lower")
    assert row["p_holm"] < 0.05


def test_one_seed_is_labelled_rows_only():
    run = run_of(300)
    run.add(0.0, method="full", budget="100%", seeds=1)
    run.add(0.5, method="pep", budget="10%", seeds=1)
    row = analysis_of(run).comparisons.iloc[0]
    assert row["basis"] == "rows only"
    assert math.isnan(row["seeds_to_decide"])


def test_declared_users_take_the_place_of_rows(three):
    users = np.arange(1200) // 6
    analysis = analysis_of(three, load_users=lambda _split: users)
    row = analysis.comparisons.query("method == 'mde'").iloc[0]
    expected = compare(
        three.labels, scores_of(three, "mde", "10%"), scores_of(three, "full", "100%"), users=users
    )
    assert row["basis"] == "users and seeds"
    assert row["standard_error"] == pytest.approx(expected.standard_error)


def test_damaged_users_cost_comparisons_and_are_named():
    run = typical_run()

    def damaged(_split):
        raise ValueError("not an array")

    comparisons = analysis_of(run, load_users=damaged).comparisons
    assert comparisons["difference"].isna().all()
    assert set(comparisons["note"]) == {"the users of the test rows are damaged"}
