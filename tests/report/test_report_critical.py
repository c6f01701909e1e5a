"""The critical-difference diagram, from frames alone."""

import re

import numpy as np
import pandas as pd
import pytest

from pepbench.analysis.ranks import RankTables, rank_tables
from pepbench.report.charts.critical_difference import critical_difference_chart
from pepbench.report.charts.panels import png_bytes, svg_bytes
from pepbench.report.charts.style import marks
from pepbench.report.table_rows import rank_pair_rows, rank_rows

METHODS = ("pep", "mde", "uniform", "hash")
MARKS = marks(METHODS)


@pytest.fixture(scope="module")
def ranks():
    """Six data sets at 10%, where pep is always best; at 2% only two of them."""
    rng = np.random.default_rng(5)
    rows = [
        (f"data-{number}", "fm", method, budget, "ok", 0.8 - place / 50 + noise)
        for budget, count in (("10%", 6), ("2%", 2))
        for number in range(count)
        for place, (method, noise) in enumerate(
            zip(METHODS, rng.normal(scale=0.004, size=4), strict=True)
        )
    ]
    columns = ["dataset", "backbone", "method", "budget", "status", "auc"]
    frame = pd.DataFrame(rows, columns=columns)
    return rank_tables(frame, {name: name for name in frame["dataset"]})


def test_tested_budgets_are_drawn_and_say_what_was_tested(ranks):
    svg = svg_bytes(critical_difference_chart(ranks, MARKS).picture()).decode()
    # Four methods on six data sets (Demsar's formula): 2.569 * sqrt(4 * 5 / (6 * 6)).
    assert re.search(r"6 data sets, Friedman p = [\d.e-]+, critical difference 1\.91", svg)
    assert "at 2%" not in svg
    assert len(re.findall(r'aria-roledescription="point"', svg)) == len(METHODS)
    for method in METHODS:
        assert f">{method}<" in svg


def test_ranks_are_listed_apart_by_whether_they_were_tested(ranks):
    tested, descriptive = rank_rows(ranks, False), rank_rows(ranks, True)
    assert {row["budget"] for row in tested} == {"10%"}
    assert {row["budget"] for row in descriptive} == {"2%"}
    assert tested[0] == {
        "budget": "10%",
        "method": "pep",
        "mean rank": "1.00",
        "mean AUC": f"{ranks.ranks['mean_auc'].iloc[0]:.4f}",
        "data sets": "6",
    }
    assert len(rank_pair_rows(ranks)) == 6


def test_diagram_is_drawn_from_no_ranks(ranks):
    empty = RankTables(*(frame.iloc[:0] for frame in vars(ranks).values()))
    assert png_bytes(critical_difference_chart(empty, MARKS).picture()).startswith(b"\x89PNG")
