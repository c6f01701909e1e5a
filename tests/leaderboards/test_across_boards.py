"""Primary contrasts of several boards beside each other: order, counts, figures, picture."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from record_factory import record, spec

from pepbench.analysis.folds import FOLDS
from pepbench.leaderboards.across_boards import (
    best_methods,
    contrasts_section,
    primary_contrasts,
    sentences_across,
)
from pepbench.leaderboards.board_results import BoardResults
from pepbench.leaderboards.overall_page import parity_section
from pepbench.report.charts.contrasts import contrasts_chart
from pepbench.report.verdict_sentences import best_sentence


def board(dataset: str, rows: dict[int, int], found: list[tuple], basis: str = FOLDS):
    """A board with training rows by fold, and contrasts of a minus b."""
    contrasts = pd.DataFrame(
        {
            "dataset": dataset,
            "backbone": "fm",
            "budget": budget,
            "method": "a",
            "other": "b",
            "primary": primary,
            "difference": difference,
            "low": difference - 0.002,
            "high": difference + 0.002,
            "verdict": verdict,
            "basis": basis,
        }
        for budget, difference, verdict, primary in found
    )
    records = []
    for fold, count in rows.items():
        made = spec()
        data = made.data.model_copy(
            update={"spec": dataset, "fold": fold, "folds": len(rows), "training_rows": count}
        )
        records += [record(made.model_copy(update={"data": data}))] * (fold + 1)
    empty = pd.DataFrame()
    return BoardResults(tuple(records), leaderboard(dataset), empty, empty, (), 0.001, contrasts)


def leaderboard(dataset: str) -> pd.DataFrame:
    """As boards have it: the full table, then at each budget the best first.

    On ``drawn`` the best could not be compared with the full table.
    """
    cells = [
        ("100%", "full", "ok", "reference", float("nan")),
        *[("20%", "untested", "ok", "", float("nan"))] * (dataset == "drawn"),
        ("20%", "c", "ok", "undecided", 0.001),
        ("20%", "a", "ok", "worse", -0.004),
        ("5%", "c", "infeasible", "", float("nan")),
    ]
    columns = ["budget", "method", "status", "verdict", "delta_auc"]
    frame = pd.DataFrame(cells, columns=columns).assign(dataset=dataset, backbone="fm")
    return frame.assign(delta_low=frame["delta_auc"] - 0.002, delta_high=frame["delta_auc"] + 0.002)


@pytest.fixture
def boards():
    listed = [
        board("many", {0: 9000, 1: 11_000}, [("20%", -0.004, "worse", True)]),
        board(
            "few",
            {0: 1000},
            [
                ("5%", -0.01, "worse", True),
                ("20%", -0.003, "worse", True),
                ("5%", 1, "better", False),
            ],
        ),
        board(
            "drawn",
            {0: 0},
            [
                ("20%", -0.02, "worse", True),
                ("5%", float("nan"), "", True),
                ("1%", float("nan"), "", True),
            ],
        ),
        board("single", {0: 10}, [("20%", 0.5, "better", True)], basis="rows and seeds"),
    ]
    return {made.records[0].spec.data.spec: made for made in listed}


def test_few_rows_a_feature_come_first_and_only_primary_contrasts_over_folds_count(boards):
    found = primary_contrasts(boards, {"many": "one", "few": "two"})
    assert list(dict.fromkeys(found["dataset"])) == ["few", "many", "drawn"]
    features = spec().full_parameters / spec().dim
    means = found.groupby("dataset")["rows_per_feature"].first()
    assert means["few"] == pytest.approx(1000 / features)
    assert means["many"] == pytest.approx(10_000 / features)  # Of folds, however many records.
    assert len(found) == 6


@pytest.mark.parametrize(("source", "counted"), [("two", "worse: 2"), ("one", "worse: 1")])
def test_table_has_budgets_from_large_to_small_and_counts_sources(boards, source, counted):
    found = primary_contrasts(boards, {"many": "one", "few": source})
    text, table, nowhere = contrasts_section(found, best_methods(boards, found))
    assert "hint" in text
    assert nowhere == "Could be compared on no leaderboard: `a` − `b` at 1%."
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    linked = [f"[{name} · fm]({name}/README.md)" for name in ("few", "many", "drawn")]
    assert rows[0] == ["contrast", "budget", *linked, "shown"]
    assert [row[1] for row in rows[3:]] == ["20%", "20%", "5%"]
    best = ["c +0.0010 undecided"] * 2 + ["untested not compared"]
    assert rows[3] == ["highest AUC − full", "20%", *best, ""]
    assert rows[4][2:] == ["-0.0030 worse", "-0.0040 worse", "-0.0200 worse", counted]
    assert rows[5][2:] == ["-0.0100 worse", "", "not compared", "worse: 1"]


def test_sentences_count_the_sources_that_show_a_verdict(boards):
    found = primary_contrasts(boards, {"many": "one", "few": "two"})
    assert list(sentences_across(found, "0.001")) == [
        "Shown on two sources or more to be worse than `b`: `a` (2 of 2) at 20%.",
        "Shown on a single source, so a hint, to be worse than `b`: `a` (1 of 1) at 5%.",
    ]
    same = primary_contrasts(boards, {"many": "one", "few": "one"})
    assert not any("two sources" in sentence for sentence in sentences_across(same, "0.001"))
    found["verdict"] = "undecided"
    assert list(sentences_across(found, "0.001")) == [
        "Undecided on all: `a` − `b` at 20%; `a` − `b` at 5%."
    ]
    found.loc[found["dataset"] == "few", "backbone"] = "mlp"
    assert [sentence[:8] for sentence in sentences_across(found, "0.001")] == [
        "With mlp",
        "With fm,",
    ]


@pytest.mark.parametrize(
    ("verdict", "words"), [("better", "better than"), ("equivalent", "within 0.001 of")]
)
def test_better_and_equivalent_count_as_non_inferior(boards, verdict, words):
    found = primary_contrasts(boards, {"many": "one", "few": "two"})
    found["verdict"] = found["dataset"].map({"many": verdict, "few": "non-inferior", "drawn": ""})
    hint = "Shown on a single source, so a hint, to be"
    assert list(sentences_across(found, "0.001")) == [
        "Shown on two sources or more to be no more than 0.001 below `b`: `a` (2 of 2) at 20%.",
        f"{hint} {words} `b`: `a` (1 of 2) at 20%.",
        f"{hint} no more than 0.001 below `b`: `a` (1 of 1) at 5%.",
    ]
    _, table, _ = contrasts_section(found, best_methods(boards, found))
    assert f"{verdict}: 1, non-inferior: 2 |" in table
    # Where no source is non-inferior alone, the stronger verdict says it all.
    found.loc[found["dataset"] == "few", "verdict"] = verdict
    assert "below" not in "".join(sentences_across(found, "0.001"))


def test_picture_draws_each_known_difference_with_its_interval(boards):
    chart = contrasts_chart(primary_contrasts(boards, {}))
    (panel,) = chart.panels.values()
    drawn = json.loads(panel.to_json())["datasets"]
    points = [row for rows in drawn.values() for row in rows if "difference" in row]
    assert sorted(row["difference"] for row in points) == [-0.02, -0.01, -0.004, -0.003]
    assert all(row["low"] < row["difference"] < row["high"] for row in points)


def test_picture_has_the_band_of_the_boards_margin_if_they_have_one(boards):
    boards["many"] = replace(boards["many"], margin=0.002)
    for names, words, half in (
        (("many",), " Band: ±0.002.", 0.002),
        (boards, "better or worse.", 0.0),
    ):
        chosen = {name: boards[name] for name in names}
        chart = contrasts_chart(primary_contrasts(chosen, {}))
        assert chart.lines[0].endswith(words)
        assert chart.lines[0].startswith(
            "Circles 20%, squares 5%." if half == 0 else "Circles 20%."
        )
        (panel,) = chart.panels.values()
        drawn = json.loads(panel.to_json())["datasets"].values()
        (band,) = [row for rows in drawn for row in rows if "zero" in row]
        assert (band["low"], band["high"]) == (-half, half)


def test_without_boards_over_folds_there_is_no_section(boards):
    nothing = primary_contrasts({"single": boards["single"]}, {})
    assert nothing.empty
    assert list(contrasts_section(nothing, nothing)) == []


def test_best_method_is_told_with_its_difference_to_the_full_table():
    said = (
        "The highest AUC at each budget (chosen on the same test rows, which flatters it), minus "
        "the full table's: "
    )
    few, drawn = leaderboard("few"), leaderboard("drawn")
    assert best_sentence(few) == f"{said}`c` at 20% (+0.0010, undecided)."
    # The table of the best cells names the same method.
    assert best_sentence(drawn) == f"{said}`untested` at 20% (not compared)."
    assert best_sentence(few.head(1)) == ""


def test_compression_at_parity_has_rows_where_any_is_shown():
    nan = float("nan")
    cells = [("fm", "a", "one", 5.0), ("fm", "a", "two", nan), ("fm", "b", "one", nan)]
    columns = ["backbone", "method", "dataset", "compression"]
    parity = pd.DataFrame([*cells, ("mlp", "a", "one", nan)], columns=columns)
    _, first, table, _, second, none = parity_section(parity, "0.001")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert (first, rows[0], rows[2:]) == ("**fm**", ["method", "one", "two"], [["a", "5.0x", "–"]])
    assert (second, none) == ("**mlp**", "Shown for no method on any data set.")
