"""Leads from adjusted pairs, notes of verdicts, and the Markdown of comparisons and fronts."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from record_factory import run_of, typical_run

from pepbench.analysis.leaderboard import analyse, compression_at_parity
from pepbench.analysis.leaders import leads
from pepbench.analysis.significance import compare
from pepbench.report.markdown import detail_markdown
from pepbench.report.phrases import leading_sentence, verdict_note
from pepbench.report.table_rows import chance, size_rows

METHODS = {"pep": 0.0, "mde": 0.25, "hash": 0.3, "uniform": 0.8}


@pytest.fixture(scope="module")
def run():
    made = run_of()
    made.add(0.0, dataset="toy", method="full", budget="100%")
    for method, noise in METHODS.items():
        made.add(noise, dataset="toy", method=method, budget="10%")
    return made


def analysed(run):
    return analyse(run.records, run.load_predictions, run.load_labels)


def found_leads(analysis):
    return leads(analysis.frame, analysis.pairs, analysis.comparisons)


def scores(run, method):
    return np.stack(
        [
            run.predictions[made.key]
            for made in run.records
            if made.spec.method.name == method and made.key in run.predictions
        ]
    )


def test_a_lead_is_adjusted_over_all_pairs_of_its_budget(run):
    analysis = analysed(run)
    (lead,) = found_leads(analysis)
    pairs = list(itertools.combinations(METHODS, 2))
    p = {
        frozenset(pair): compare(run.labels, *(scores(run, one) for one in pair)).p
        for pair in pairs
    }
    # Holm's procedure as he states it: reject the smallest p-values until one is too large.
    rejected = set()
    for place, (pair, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        if value >= 0.05 / (len(p) - place):
            break
        rejected.add(pair)
    direct = compare(run.labels, scores(run, lead.first), scores(run, lead.second))
    assert lead.difference == pytest.approx(direct.difference, abs=1e-9)
    assert (lead.low, lead.high) == pytest.approx((direct.low, direct.high), abs=1e-9)
    assert (lead.verdict == "better") == (frozenset((lead.first, lead.second)) in rejected)


def test_a_pair_is_turned_so_that_the_leader_comes_first(run):
    analysis = analysed(run)
    (lead,) = found_leads(analysis)
    pairs = analysis.pairs
    turned = pairs.assign(
        method=pairs["other"],
        other=pairs["method"],
        difference=-pairs["difference"],
        low=-pairs["high"],
        high=-pairs["low"],
        verdict=pairs["verdict"]
        .map({"better": "worse", "worse": "better"})
        .fillna(pairs["verdict"]),
    )
    (again,) = leads(analysis.frame, turned, analysis.comparisons)
    assert again == lead or math.isnan(lead.seeds_to_decide)
    assert (again.difference, again.low, again.high) == (lead.difference, lead.low, lead.high)
    assert (again.verdict, again.first) == (lead.verdict, lead.first)
    assert lead.difference > 0
    assert lead.low < lead.high


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("better", "its lead over mde is shown (+0.0020 ± 0.0010)"),
        ("equivalent", "mde is equivalent to it, within 0.001 (+0.0020 ± 0.0010)"),
        ("non-inferior", "but mde is shown not to be worse by 0.001 or more"),
        ("undecided", "undecided (+0.0020 ± 0.0010; about 7 seeds of each would decide)"),
    ],
)
def test_a_leads_sentence_says_what_is_shown(run, verdict, words):
    (lead,) = found_leads(analysed(run))
    changed = type(lead)(
        **{
            **vars(lead),
            "second": "mde",
            "difference": 0.002,
            "low": 0.001,
            "high": 0.003,
            "verdict": verdict,
            "noninferior": "mde" if verdict == "non-inferior" else "",
            "seeds_to_decide": 7.0 if verdict == "undecided" else math.nan,
        }
    )
    assert words in leading_sentence(changed)


def test_one_seed_is_said_to_be_about_rows_only():
    run = run_of()
    run.add(0.0, 1, method="full", budget="100%")
    run.add(0.6, 1, method="pep", budget="10%")
    (row,) = analysed(run).comparisons.to_dict("records")
    note = verdict_note(row["verdict"], row["direction"], row["seeds_to_decide"], row["basis"])
    assert note == "one seed: rows only"


@pytest.mark.parametrize("share", [0.0, 0.0049, 0.005, 0.5, 0.995, 0.9951, 1.0])
def test_only_certain_chances_are_whole(share):
    assert (chance(share) in ("0%", "100%")) == (share in (0.0, 1.0))
    assert chance(math.nan) == ""


def test_markdown_has_comparisons_fronts_and_ranks_without_a_test():
    analysis = analysed(typical_run())
    parity = compression_at_parity(analysis.comparisons)
    page = detail_markdown(analysis.comparisons, analysis.fronts, analysis.ranks, parity)
    for words in (
        "## Comparisons with the full table",
        "**toy · fm**, over rows and seeds",
        "## Fronts and their uncertainty",
        "Hypervolume of the front: ",
        "parity estimated to",
        "Descriptive: too few data sets or methods for a test.",
    ):
        assert words in page
    assert "critical-difference" not in page
    rows = {row["method"]: row for row in size_rows(analysis.fronts, parity, ("toy", "fm"))}
    assert rows["pep"]["parity shown to"] == "2.0x"
    assert rows["pep"]["parity estimated to"].endswith("x)")
    assert "at 20.0%" in rows["pep"]


def test_nothing_to_say_is_said_in_no_words():
    run = run_of(200)
    analysis = analyse(run.records, run.load_predictions, run.load_labels)
    parity = compression_at_parity(analysis.comparisons)
    assert detail_markdown(analysis.comparisons, analysis.fronts, analysis.ranks, parity) == ""
