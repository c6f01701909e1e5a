"""The table of budget use: counts by hand, and a row for every method."""

import re
from types import SimpleNamespace

import pytest

from benchmarks.budget_use import PAGE, described, page_with, use_of
from pepbench.catalog import Catalog


@pytest.fixture
def splits(toy):
    return SimpleNamespace(fields=toy.fields)


@pytest.mark.parametrize(
    ("name", "share", "count"),
    [("uniform", 0.5, 4 * 87), ("uniform", 0.31, 2 * 87), ("hash", 0.1, 8 * 8), ("robe", 0.1, 69)],
)
def test_share_is_that_of_the_parameters_allowed(splits, name, share, count):
    use = use_of(Catalog().load("method", name)(), splits, 8, share, search=False)
    assert use.share == pytest.approx(count / int(87 * 8 * share))
    assert bool(use.reason) == (use.share < 0.9)


def test_infeasible_budgets_and_untrained_searches_have_no_share(splits):
    load = Catalog().load
    assert use_of(load("method", "uniform")(), splits, 8, 0.1, search=False) is None
    assert use_of(load("method", "magnitude")(), splits, 8, 0.5, search=False) is None
    assert described([None, None]) == "–"


def test_quantisers_are_counted_untrained(splits):
    use = use_of(Catalog().load("method", "dpq")(), splits, 8, 0.5, search=False)
    assert 0.9 <= use.share <= 1.0


def test_table_of_the_page_has_a_row_for_every_method():
    catalog = Catalog()
    sizes = {
        name for name in catalog.entries("method") if not catalog.load("method", name).fixed_size
    }
    page = PAGE.read_text()
    table = page.split("benchmarks.budget_use: begin")[1]
    assert set(re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)) == sizes, (
        "python -m benchmarks.budget_use --write"
    )
    assert page_with(page, "new").count("| 50%") == 0
