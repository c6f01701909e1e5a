"""Times and sizes, read and written."""

import doctest
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pepbench import units
from pepbench.errors import PlanError
from pepbench.units import duration, parse_bytes, parse_seconds

NAMES = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days"}


@given(st.integers(1, 10**6), st.sampled_from(sorted(NAMES)), st.sampled_from(["", " "]))
def test_times_are_what_the_calendar_makes_of_them(number, unit, gap):
    expected = timedelta(**{NAMES[unit]: number}).total_seconds()
    assert parse_seconds(f"{number}{gap}{unit}") == expected


def test_a_number_alone_is_seconds_or_bytes():
    assert (parse_seconds("90"), parse_bytes("90")) == (90.0, 90)


@pytest.mark.parametrize("text", ["", "fast", "m", "-1s", "0m", "10 parsecs", "1e3s", "1.s", "٣s"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(PlanError, match=r"is no time; write, say, 90s, 10m, 1\.5h or 2d"):
        parse_seconds(text)


def test_sizes_are_decimal_or_binary_by_their_unit():
    assert [parse_bytes(text) for text in ("500MB", "4GB", "1.5kB", "1GiB", "3 MiB")] == [
        500_000_000,
        4_000_000_000,
        1500,
        1 << 30,
        3 << 20,
    ]


@pytest.mark.parametrize("text", ["", "much", "0MB", "-4GB", "10 bananas", "4 m"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(PlanError, match="is no size; write, say, 500MB or 4GiB"):
        parse_bytes(text)


@given(st.floats(0, 3.5e6))
def test_written_times_are_short_and_hardly_rounded(seconds):
    text = duration(seconds)
    assert len(text) <= 6 + (seconds >= 359_990)
    parts = text.replace("h", "h ").replace("m", "m ").split()
    read = sum(float(part[:-1]) * units.SECONDS[part[-1]] for part in parts)
    assert abs(read - seconds) <= (0.05 if seconds < 9.95 else 0.5 if seconds < 3600 else 60) + 1e-6


def test_examples_hold():
    assert doctest.testmod(units).failed == 0
