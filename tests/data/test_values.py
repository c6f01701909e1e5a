"""A value has one text: in any column, whatever stands beside it, and when serving."""

import datetime
import math
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pepbench.data.columns import as_text, kind_of_type
from pepbench.data.values import KINDS, MISSING, number, text

SECONDS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def whole(bits, lowest=0):
    return st.integers(lowest, 2**bits + lowest - 1)


def floats(bits):
    return st.floats(width=bits).map(np.dtype(f"f{bits // 8}").type)


def decimals(digits, scale):
    return st.integers(-(10**digits) + 1, 10**digits - 1).map(
        lambda n: Decimal((int(n < 0), [int(digit) for digit in str(abs(n))], -scale))
    )


def moments(unit):
    """Counts of a unit between the years 1700 and 2200."""
    return st.integers(-8_500_000_000 * SECONDS[unit], 7_200_000_000 * SECONDS[unit])


TYPES = [
    *(
        (pa.from_numpy_dtype(f"int{bits}"), whole(bits, -(2 ** (bits - 1))))
        for bits in (8, 16, 32, 64)
    ),
    *((pa.from_numpy_dtype(f"uint{bits}"), whole(bits)) for bits in (8, 16, 32, 64)),
    *((pa.from_numpy_dtype(f"float{bits}"), floats(bits)) for bits in (16, 32, 64)),
    (pa.float64(), st.integers(-(2**53), 2**53).map(float)),
    (pa.decimal128(20, 4), decimals(20, 4)),
    (pa.decimal256(60, 30), decimals(60, 30)),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text(max_size=8)),
    (pa.large_string(), st.text(max_size=8)),
    (pa.binary(), st.binary(max_size=8)),
    (pa.binary(4), st.binary(min_size=4, max_size=4)),
    (pa.date32(), st.dates()),
    (pa.date64(), st.dates()),
    *((pa.timestamp(unit), moments(unit)) for unit in SECONDS),
    *((pa.timestamp(unit, "Mars/Phobos"), moments(unit)) for unit in SECONDS),
    (pa.time32("s"), st.integers(0, 86_399)),
    (pa.time32("ms"), st.integers(0, 86_399_999)),
    (pa.time64("us"), st.integers(0, 86_400 * 10**6 - 1)),
    (pa.time64("ns"), st.integers(0, 86_400 * 10**9 - 1)),
    *((pa.duration(unit), st.integers(-(10**13), 10**13)) for unit in SECONDS),
]


def served(array):
    """Each value as it may be given when serving: as Python has it, as numpy has it."""
    kind = array.type
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        name = "datetime64" if pa.types.is_timestamp(kind) else "timedelta64"
        counts = array.view(pa.int64()).to_numpy()
        yield list(counts.view(f"{name}[{kind.unit}]"))
        if kind.unit != "ns":
            plain = array.cast(pa.timestamp(kind.unit)) if pa.types.is_timestamp(kind) else array
            zone = datetime.UTC if getattr(kind, "tz", None) else None
            yield (
                [
                    value.replace(tzinfo=zone) if zone else value
                    for value in plain.view(plain.type).to_pylist()
                ]
                if pa.types.is_timestamp(kind)
                else plain.to_pylist()
            )
        return
    if pa.types.is_time(kind):
        width = pa.int32() if kind.bit_width == 32 else pa.int64()
        yield [np.timedelta64(n, kind.unit) for n in array.view(width).to_pylist()]
        if kind.unit != "ns":
            yield array.to_pylist()
        return
    yield array.to_pylist()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        yield list(array.to_numpy(zero_copy_only=False))
        yield [value.item() for value in array.to_numpy(zero_copy_only=False)]
    if pa.types.is_date(kind):
        yield [np.datetime64(value, "D") for value in array.to_pylist()]


@pytest.mark.parametrize(("kind", "values"), TYPES, ids=lambda value: str(value)[:30])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_text_at_serving_is_the_text_at_training(kind, values, data):
    drawn = data.draw(st.lists(values, min_size=1, max_size=6))
    array = pa.array(drawn, kind)
    trained = as_text(array).to_pylist()
    word = kind_of_type(kind)
    for given_values in served(array):
        assert [text(value, word) for value in given_values] == trained
    assert [text(written, word) for written in trained] == trained


@pytest.mark.parametrize(("kind", "values"), TYPES, ids=lambda value: str(value)[:30])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_neighbours_blocks_and_nulls_change_no_text(kind, values, data):
    drawn = data.draw(st.lists(values, min_size=1, max_size=6))
    together = as_text(pa.array([*drawn, None], kind)).to_pylist()
    assert together[-1] == MISSING
    assert together[:-1] == [as_text(pa.array([value], kind)).to_pylist()[0] for value in drawn]
    assert as_text(pa.array([None, *drawn], kind).slice(1)).to_pylist() == together[:-1]
    if kind not in (pa.float16(),):
        coded = pa.array([*drawn, None], kind).dictionary_encode()
        assert as_text(coded).to_pylist() == together


@given(st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=5))
def test_whole_numbers_are_one_value_however_they_are_stored(numbers):
    expected = [str(n) for n in numbers]
    for kind in (pa.int64(), pa.float64(), pa.decimal128(25, 3)):
        array = pa.array([Decimal(n) for n in numbers], pa.decimal128(25, 3)).cast(kind)
        assert as_text(array).to_pylist() == expected
        for stored in (int, float, Decimal, np.int64, np.float64):
            assert [text(stored(n), kind_of_type(kind)) for n in numbers] == expected


@given(st.integers(-(10**9), 10**9))
def test_an_instant_is_one_value_in_any_unit_and_zone(second):
    found = {
        as_text(pa.array([second * SECONDS[unit]], pa.timestamp(unit, zone))).to_pylist()[0]
        for unit in SECONDS
        for zone in ("UTC", "Europe/Rome", "+05:30", "Mars/Phobos")
    }
    here = datetime.datetime.fromtimestamp(second, datetime.timezone(datetime.timedelta(hours=-7)))
    assert found == {text(here, "instant")} == {text(str(here), "instant")}
    assert found == {text(pd.Timestamp(here), "instant")}


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (12345678901.0, "float64", "12345678901"),
        ("1.2345678901e+10", "float64", "12345678901"),
        (-0.0, "float64", "0"),
        (2.0**63, "float64", "9223372036854775808"),
        (1e300, "float64", "1e+300"),
        (math.inf, "float64", "inf"),
        (5e-324, "float64", "5e-324"),
        (0.1, "float32", "0.1"),
        (1e300, "float32", "inf"),
        (Decimal("1.500"), "exact", "1.5"),
        ("1e9999999", "exact", "1e9999999"),
        (pd.Timestamp(10**18 + 1), "timestamp", "2001-09-09T01:46:40.000000001"),
        ("2024-02-29 12:00:00", "timestamp", "2024-02-29T12:00:00"),
        ("2024-02-29T12:00:00+02:00", "instant", "2024-02-29T10:00:00Z"),
        ("2024-02-29 12:00:00.1234567899", "timestamp", "2024-02-29T12:00:00.123456789"),
        ("2024-02-29 12:00:00.100000000000Z", "instant", "2024-02-29T12:00:00.1Z"),
        ("9999-12-31 00:00:00.000000001", "timestamp", "9999-12-31T00:00:00.000000001"),
        (datetime.time(1, 2, 3, 400_000), "time", "01:02:03.4"),
        (datetime.timedelta(seconds=90.5), "duration", "PT90.5S"),
        (b"\xff\x00", "binary", "0xff00"),
        ("0xff00", "binary", "0xff00"),
        (b"0xff00", "binary", "0x307866663030"),
        ("Köln".encode(), "binary", "Köln"),
        (uuid.UUID(int=5), "uuid", "00000000-0000-0000-0000-000000000005"),
        (uuid.UUID(int=5).bytes, "uuid", "00000000-0000-0000-0000-000000000005"),
        ("True", "boolean", "true"),
    ],
)
def test_texts_are_these(value, kind, expected):
    assert text(value, kind) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [None, pd.NA, ""])
def test_missing_is_one_value(kind, value):
    assert text(value, kind) == MISSING


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ([math.nan, np.float32("nan"), Decimal("NaN")], "text exact float64 float32 float16"),
        ([pd.NaT, np.datetime64("NaT")], "text date timestamp instant"),
        ([pd.NaT, np.timedelta64("NaT")], "text time duration"),
    ],
)
def test_not_a_number_and_not_a_time_are_missing(values, kinds):
    assert {text(value, kind) for value in values for kind in kinds.split()} == {MISSING}


def test_huge_whole_numbers_have_a_short_text():
    assert text(10**5000, "exact") == hex(10**5000)


ANYTHING = st.one_of(
    st.text(), st.integers(), st.floats(), st.binary(), st.datetimes(), st.booleans(), st.none()
)


@given(ANYTHING, st.sampled_from(KINDS))
def test_any_object_has_a_text_in_any_kind(value, kind):
    written = text(value, kind)
    assert type(written) is str
    assert text(written, kind) == written


@given(st.one_of(st.integers(), st.floats(allow_nan=False)))
def test_numbers_are_the_same_from_their_text(value):
    assert number(value) == number(str(value)) or math.isnan(number(str(value)))


def test_lists_have_no_text():
    assert kind_of_type(pa.list_(pa.int8())) is None
    assert kind_of_type(pa.struct({"a": pa.int8()})) is None
