"""The table of budget use: counts by hand, and a row for every method."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from run_helpers import CHEAP_OPTIONS

from benchmarks.budget_use import PAGE, described, page_with, use_of
from pepbench.catalog import Catalog
from pepbench.errors import Infeasible
from pepbench.method import Method
from pepbench.tables.fields import Fields

SIZED = [
    kind()
    for name in sorted(Catalog().entries("method"))
    if not (kind := Catalog().load("method", name)).fixed_size
]
SEARCHES = [m for m in SIZED if type(m).embedding is Method.embedding]
UNTRAINED = [m for m in SIZED if m not in SEARCHES or hasattr(m, "training_table")]


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


@pytest.mark.parametrize("method", UNTRAINED, ids=lambda method: method.name)
@settings(max_examples=20, deadline=None)
@given(
    cardinalities=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    dim=st.sampled_from([3, 8, 16]),
    share=st.floats(0.01, 1.0),
)
def test_less_than_nine_tenths_of_a_budget_have_a_reason(method, cardinalities, dim, share):
    assume(int(sum(cardinalities) * dim * share))
    fields = Fields(
        tuple(f"f{i}" for i in range(len(cardinalities))),
        tuple(cardinalities),
        np.arange(sum(cardinalities)) % 7,
    )
    use = use_of(method, SimpleNamespace(fields=fields), dim, share, search=False)
    assert use is None or (use.share < 0.9) == bool(use.reason)


@pytest.mark.parametrize("method", SEARCHES, ids=lambda method: method.name)
@pytest.mark.parametrize("budget", [79, 131])
def test_fits_of_searches_note_why_they_use_less_than_nine_tenths(method, budget, toy):
    method = type(method).from_options(CHEAP_OPTIONS.get(method.name, {}))
    try:
        fitted = method.fit(toy.task(epochs=1, patience=1), budget)
    except Infeasible:
        return
    is_used = fitted.model.embedding.n_parameters() >= 0.9 * budget
    assert is_used != bool(fitted.notes.get("unused_budget"))


@pytest.mark.parametrize("name", ["dpq", "mgqe"])
@pytest.mark.parametrize(
    ("most", "budget", "reason"),
    [
        (4096, 143, "less than a row is left"),
        (2, 300, "n_centroids is the most that a field may have"),
    ],
)
def test_reasons_of_codes_are_the_cause(name, most, budget, reason, splits):
    # Two centroids a field are 128 numbers.
    method = Catalog().load("method", name)(n_centroids=most)
    use = use_of(method, splits, 16, (budget + 0.5) / (87 * 16), search=False)
    assert use.reason == reason


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
