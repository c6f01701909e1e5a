import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pepbench.errors import PlanError
from pepbench.units import Budget

FULL = st.integers(1_000_000, 10**12)


@given(st.decimals("0.01", "100", places=2), FULL)
def test_share_is_exact_and_rounded_down(share: Decimal, full: int):
    assert Budget(f"{share}%").parameters(full) == int(share * full / 100)


@given(st.integers(1, 1_000_000), FULL)
def test_number_is_taken_as_it_stands(number: int, full: int):
    assert Budget(str(number)).parameters(full) == number


@pytest.mark.parametrize("text", ["5", "100", " 0.5", "12.5"])
def test_a_small_number_alone_is_taken_for_a_share_without_its_sign(text):
    meant = f"write {text.strip()}% .* or {float(text) / 1000:g}k if"
    with pytest.raises(PlanError, match=meant) as caught:
        Budget(text).refuse_lost_sign(n_features=101, full=1616)
    share, number = re.search(r"write (\S+) for .* or (\S+) if", str(caught.value)).groups()
    assert Budget(share).parameters(1_000_000) == int(float(text) * 10_000)
    assert Budget(number)._count(1616) == int(float(text))


@pytest.mark.parametrize("text", ["5%", "101", "0.005k", "100kB"])
def test_units_and_larger_numbers_are_no_share_without_its_sign(text):
    Budget(text).refuse_lost_sign(n_features=10**6, full=10**7)
    Budget("64").refuse_lost_sign(n_features=64, full=256)


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("50k", 50_000),
        ("1.5K", 1_500),
        ("2m", 2_000_000),
        ("2MB", 500_000),
        ("1kb", 250),
        ("0.57%", 57_000),
        (".5%", 50_000),
        (" 5% ", 500_000),
        ("100%", 10_000_000),
    ],
)
def test_units(text, parameters):
    assert Budget(text).parameters(10_000_000) == parameters


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "-5",
        "0",
        "0%",
        "0.0MB",
        "100.01%",
        "5 %%",
        "1e3",
        "nan",
        "inf%",
        "5TB",
        "٣%",
        "1/2",
    ],
)
def test_anything_else_is_refused_with_its_text(text):
    with pytest.raises(PlanError, match="budget"):
        Budget(text)


def test_budget_must_fit_the_table():
    with pytest.raises(PlanError, match="above the full table's 10"):
        Budget("11").parameters(10)
    with pytest.raises(PlanError, match="less than one"):
        Budget("1%").parameters(10)
