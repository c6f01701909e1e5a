"""The critical-difference diagram, from frames alone."""

import re

import pandas as pd

from pepbench.report.critical import critical_chart
from pepbench.report.style import png_bytes, svg_bytes

METHODS = ("pep", "mde", "uniform", "hash")


def frames():
    ranks = pd.DataFrame(
        [
            (budget, method, rank, 6 if budget == "10%" else 2, budget != "10%")
            for budget in ("10%", "2%")
            for method, rank in zip(METHODS, (1.3, 1.9, 2.9, 3.9), strict=True)
        ],
        columns=["budget", "method", "mean_rank", "blocks", "descriptive"],
    )
    tests = pd.DataFrame([("10%", 0.003, 1.2)], columns=["budget", "p", "critical_difference"])
    cliques = pd.DataFrame(
        [("10%", 1.3, 1.9), ("10%", 1.9, 2.9)], columns=["budget", "from_rank", "to_rank"]
    )
    return ranks, tests, cliques


def test_each_budget_has_its_ranks_and_says_what_was_tested():
    svg = svg_bytes(critical_chart(*frames())).decode()
    assert "6 data sets, Friedman p = 0.003, critical difference 1.20" in svg
    assert "2 data sets: descriptive" in svg
    assert len(re.findall(r'aria-roledescription="point"', svg)) == 8
    for method in METHODS:
        assert f">{method}<" in svg


def test_diagram_is_drawn_from_no_ranks():
    ranks, tests, cliques = (frame.iloc[:0] for frame in frames())
    assert png_bytes(critical_chart(ranks, tests, cliques)).startswith(b"\x89PNG")
