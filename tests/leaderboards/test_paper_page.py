"""The page on PEP's paper: rows are the differences of the records, words follow from verdicts."""

import dataclasses
import re

import pandas as pd
import pytest
from made_board import PLAN, publish_board, records_of, test_aucs, write_board

from pepbench.leaderboards.board_results import load_results
from pepbench.leaderboards.paper_page import GRANULARITY, claims_summary
from pepbench.plan import Plan

METHODS = ["full", "magnitude", "pep", "uniform"]


@pytest.fixture
def results(tmp_path):
    plan = PLAN.replace('["uniform", "random-mask", "full"]', str(METHODS)).split("[[except]]")[0]
    (tmp_path / "plan.toml").write_text(plan)
    folder = tmp_path / "results" / "made"
    write_board(folder, records_of(Plan.load(tmp_path / "plan.toml", {})), plan)
    publish_board(folder, [("pep", "full", "50%")])
    return load_results(folder)


def sections(page):
    return dict(re.findall(r"^### (.*?)\n(.*?)(?=^###|\Z)", page, re.M | re.S))


def rows(section):
    lines = [line for line in section.splitlines() if " · fm " in line]
    return [[cell.strip() for cell in line.strip("|").split("|")][1:] for line in lines]


def test_rows_are_differences_of_the_records_pep_first(results):
    found = sections(claims_summary({"made": results}))
    full, against, beside = (
        rows(text) for heading, text in found.items() if heading[:3] in ("(a)", "(b)", "Lef")
    )
    expected = {
        other: {budget: test_aucs("pep", budget) - test_aucs(other, at) for budget, at in budgets}
        for other, budgets in {
            "full": (("50%", "100%"), ("40%", "100%")),
            "uniform": (("50%", "50%"), ("40%", "40%")),
            "magnitude": (("50%", "50%"), ("40%", "40%")),
        }.items()
    }
    for other, table in (("full", full), ("uniform", against), ("magnitude", beside)):
        assert [row[0] for row in table] == [f"pep − {other}"] * 2
        # Of full only the larger budget is a primary contrast; all others are exploratory.
        assert [row[1] for row in table] == ["50%" if other == "full" else "50% †", "40% †"]
        for row, difference in zip(table, expected[other].values(), strict=True):
            value, low, high = (float(text) for text in re.findall(r"[+-][\d.]+", row[2]))
            assert value == pytest.approx(difference.mean(), abs=6e-5)
            assert low < value < high


@pytest.mark.parametrize(
    ("verdict", "no_worse", "better", "reverse"),
    [
        ("better", "confirmed here", "confirmed here", "worse"),
        ("equivalent", "confirmed here", "refuted here", "equivalent"),
        ("non-inferior", "confirmed here", "undecided", "not better"),
        ("worse", "refuted here", "refuted here", "better"),
        ("undecided", "undecided", "undecided", "undecided"),
    ],
)
def test_what_a_verdict_says_of_a_claim(results, verdict, no_worse, better, reverse):
    for frame in (results.contrasts, results.comparisons):
        frame["verdict"] = frame["verdict"].where(frame["difference"].isna(), verdict)
    page = claims_summary({"made": results, GRANULARITY: results})
    found = {heading[:3]: rows(text) for heading, text in sections(page).items()}
    assert {tuple(row[3:]) for row in found["(a)"]} == {(verdict, no_worse)}
    assert {tuple(row[3:]) for row in found["(b)"]} == {(verdict, better)}
    assert {tuple(row[3:]) for row in found["(d)"]} == {(verdict, better)}
    assert {row[3] for row in found["Lef"]} == {reverse}  # stored as magnitude − pep
    outcome = next(line for line in page.splitlines() if line.startswith("| (a)"))
    assert f"50%: {no_worse} in 1 of 1; 40%: {no_worse} in 1 of 1" in outcome


def test_boards_about_the_paper_count_for_their_own_claim_alone(results):
    page = claims_summary({"made": results})
    assert "Not run yet." in sections(page)["(d) Finer thresholds are better"]
    assert claims_summary({GRANULARITY: results}).startswith("No leaderboard is published yet")


def test_correlations_with_frequency_have_a_column_for_each_budget(results):
    cells = [("pep", "5%", 0.25), ("pep", "20%", 0.5), ("magnitude", "5%", 0.125)]
    found = pd.DataFrame(
        [*cells, ("uniform", "20%", 0.75)], columns=["method", "budget", "frequency_correlation"]
    )
    widths = found.assign(dataset="toy", backbone="fm")
    page = claims_summary({"made": dataclasses.replace(results, widths=widths)})
    section = sections(page)["(f) Frequent features become wider"]
    assert "|   20% |   5% |" in section
    assert rows(section) == [["magnitude", "", "0.12"], ["pep", "0.50", "0.25"]]
