"""The rule of thumb for widths, against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pepbench.baselines.quarter_power import QuarterPower, quarter_power_widths

from pepbench.errors import Infeasible
from pepbench.tables.fields import Fields


def cost(n, width, dim):
    return n * dim if width == dim else n * width + width * dim


def by_rule(n, scale, dim):
    """The width of the rule, or D if that is no more numbers."""
    width = min(dim, int(np.ceil(scale * 6 * n**0.25 - 1e-9)))
    return dim if cost(n, width, dim) >= n * dim else width


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=5),
    dim=st.integers(1, 40),
    scale=st.floats(0.01, 3.0),
)
def test_a_budget_that_the_scaled_rule_needs_gives_its_widths(sizes, dim, scale):
    widths = [by_rule(n, scale, dim) for n in sizes]
    budget = sum(cost(n, width, dim) for n, width in zip(sizes, widths, strict=True))
    found = quarter_power_widths(np.array(sizes), dim, budget).tolist()
    # A field may be wider, at no cost: never narrower.
    assert sum(cost(n, width, dim) for n, width in zip(sizes, found, strict=True)) == budget
    assert found == widths


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=5),
    dim=st.integers(1, 16),
    share=st.floats(0.0, 1.0),
)
def test_no_further_column_of_a_field_fits(sizes, dim, share):
    budget = int(share * sum(sizes) * dim)
    frequencies = np.zeros(sum(sizes), np.int64)
    fields = Fields(tuple(f"f{i}" for i in range(len(sizes))), tuple(sizes), frequencies)
    least = sum(cost(n, by_rule(n, 1e-9, dim), dim) for n in sizes)
    if budget < least:
        with pytest.raises(Infeasible, match=f"smallest possible is {least} parameters"):
            QuarterPower().embedding(fields, dim, budget)
        return
    embedding = QuarterPower().embedding(fields, dim, budget)
    widths = dict(zip(sizes, embedding.widths, strict=True))
    size = sum(cost(n, widths[n], dim) for n in sizes)
    assert size == embedding.n_parameters() <= budget
    for n, width in widths.items():
        if width < dim:
            wider = next(
                w for w in range(width + 1, dim + 1) if w == dim or cost(n, w, dim) < n * dim
            )
            more = sizes.count(n) * (cost(n, wider, dim) - cost(n, width, dim))
            assert size + more > budget


def test_order_of_fields_does_not_matter():
    sizes = np.array([50, 900, 50, 7])
    found = quarter_power_widths(sizes, 16, 6000)
    np.testing.assert_array_equal(quarter_power_widths(sizes[::-1], 16, 6000)[::-1], found)
    assert found[0] == found[2]
