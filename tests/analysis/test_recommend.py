"""Recommendations from small leaderboards whose right answer is known."""

import math

import pandas as pd
import pytest
from scipy import stats

from pepbench.analysis.recommend import losing_at_most, within_budget
from pepbench.errors import PlanError

FULL = 10_000


def leaderboard(*cells, folds=1):
    """Rows of (method, budget in parameters, AUC, CPU seconds); intervals of half width 0.002."""
    rows = [
        {
            "dataset": "data",
            "backbone": "fm",
            "method": method,
            "budget": f"{100 * size // FULL}%",
            "status": "ok",
            "parameters": size,
            "full_parameters": FULL,
            "folds": folds,
            "seeds": 5,
            "auc": auc,
            "delta_auc": auc - 0.8,
            "delta_low": auc - 0.802,
            "delta_high": auc - 0.798,
            "verdict": "undecided",
            "cpu_seconds": seconds,
        }
        for method, size, auc, seconds in (("full", FULL, 0.8, 1.0), *cells)
    ]
    return pd.DataFrame(rows)


def against_full(frame, basis="rows and seeds", error=0.001, freedom=4):
    compressed = frame[frame["method"] != "full"]
    return compressed.assign(
        difference=compressed["delta_auc"],
        low=compressed["delta_low"],
        standard_error=error,
        degrees_of_freedom=freedom,
        basis=basis,
    )


def pairs(*rows):
    names = ["method", "other", "verdict", "budget"]
    return pd.DataFrame([dict(zip(names, row, strict=True)) for row in rows]).assign(
        dataset="data", backbone="fm"
    )


def test_cheapest_of_those_as_good_as_the_best_is_taken():
    frame = leaderboard(("a", 500, 0.7990, 9.0), ("b", 500, 0.7985, 2.0), ("c", 500, 0.7980, 1.0))
    known = pairs(("a", "b", "undecided", "5%"), ("a", "c", "undecided", "5%"))
    (found,) = within_budget(frame, known, "5%", margin=0.0007)
    assert found.choice.method == "b"
    assert [choice.method for choice in found.alike] == ["a"]
    assert found.undecided == ("c",)
    assert "least CPU time of the 2 methods" in found.reason


@pytest.mark.parametrize("row", [("a", "b", "better", "5%"), ("b", "a", "worse", "5%")])
def test_method_that_is_shown_to_be_worse_is_not_taken(row):
    frame = leaderboard(("a", 500, 0.7990, 9.0), ("b", 500, 0.7985, 2.0))
    (found,) = within_budget(frame, pairs(row), "5%", margin=0.001)
    assert (found.choice.method, found.alike, found.undecided) == ("a", (), ())


def test_without_pairs_methods_are_apart_where_their_intervals_are():
    frame = leaderboard(("a", 500, 0.7990, 9.0), ("b", 500, 0.7955, 2.0), ("c", 500, 0.7945, 1.0))
    (found,) = within_budget(frame, None, "5%", margin=0.001)
    assert (found.choice.method, found.undecided) == ("a", ("b",))


def test_budget_may_be_written_otherwise_and_must_have_been_run():
    frame = leaderboard(("a", 500, 0.799, 1.0), ("a", 1000, 0.800, 1.0))
    for text in ("5%", "5.0%", "500", "0.5k"):
        assert within_budget(frame, None, text, 0.001)[0].choice.parameters == 500
    with pytest.raises(PlanError, match="at a budget of 7%; there are 100%, 10%, 5%"):
        within_budget(frame, None, "7%", 0.001)


def test_block_without_the_budget_says_which_it_has():
    other = leaderboard(("a", 1000, 0.799, 1.0)).assign(backbone="deepfm")
    frame = pd.concat([leaderboard(("a", 500, 0.799, 1.0)), other])
    fm, deepfm = within_budget(frame, None, "5%", 0.001)
    assert (fm.choice.budget, deepfm.choice) == ("5%", None)
    assert "finished: 10%" in deepfm.reason


def test_what_one_split_leaves_open_is_said():
    cell = ("a", 500, 0.799, 1.0)
    (single,) = within_budget(leaderboard(cell), None, "5%", 0.001)
    (folds,) = within_budget(leaderboard(cell, folds=5), None, "5%", 0.001)
    assert any("one split, and 5 seeds" in line for line in single.unknown)
    assert any("over 5 folds" in line for line in folds.unknown)
    assert any(line.startswith("Whether it loses anything") for line in single.unknown)


def test_smallest_size_that_holds_the_bound_is_taken_and_the_cheapest_of_that_size():
    frame = leaderboard(
        ("a", 1000, 0.7995, 1.0),
        ("a", 500, 0.7993, 5.0),
        ("b", 500, 0.7992, 2.0),
        ("c", 200, 0.7900, 1.0),
    )
    (found,) = losing_at_most(frame, against_full(frame), 0.003)
    assert (found.choice.method, found.choice.budget) == ("b", "5%")
    assert [choice.method for choice in found.alike] == ["a"]


def test_budgets_below_one_that_does_not_hold_the_bound_do_not_count():
    frame = leaderboard(("a", 1000, 0.7900, 1.0), ("a", 500, 0.7999, 1.0))
    (found,) = losing_at_most(frame, against_full(frame), 0.003)
    assert found.choice is None
    assert (found.best.budget, found.best.difference) == ("5%", pytest.approx(-0.0001))
    assert "no method is shown to lose less than 0.003 AUC" in found.reason


@pytest.mark.parametrize("methods", [1, 4])
def test_over_folds_the_level_is_shared_by_the_methods(methods):
    frame = leaderboard(*((f"m{k}", 500, 0.799, 1.0) for k in range(methods)), folds=5)
    compared = against_full(frame, basis="folds")
    bound = 0.001 + 0.001 * stats.t.isf(0.05 / methods, 4)
    (narrow,) = losing_at_most(frame, compared, bound * 0.999)
    (wide,) = losing_at_most(frame, compared, bound * 1.001)
    assert narrow.choice is None
    assert wide.choice.parameters == 500


@pytest.mark.parametrize(("auc", "told"), [(0.8, True), (0.7985, True), (0.7975, False)])
def test_a_model_without_vectors_that_is_as_good_is_told(auc, told):
    frame = leaderboard(("a", 500, 0.799, 1.0), ("none", 0, auc, 1.0))
    frame = frame.replace({"budget": {"0%": "100%"}})
    (found,) = within_budget(frame, None, "5%", margin=0.001)
    assert found.choice.method == "a"
    assert (found.no_table is not None) == told
    if told:
        assert (found.no_table.method, found.no_table.auc) == ("none", auc)


@pytest.mark.parametrize("bound", [0.0, -0.001, 0.5, math.nan])
def test_bound_that_is_none_is_refused(bound):
    frame = leaderboard(("a", 500, 0.799, 1.0))
    with pytest.raises(PlanError, match="is not above 0"):
        losing_at_most(frame, against_full(frame), bound)
