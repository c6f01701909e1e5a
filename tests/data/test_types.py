"""Every Arrow type in every use of a column: the right values, or one line; never a traceback."""

import datetime
import re
import uuid
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pepbench.catalog import Catalog
from pepbench.data.encoding import numbers_of
from pepbench.data.manage import open_table

pytestmark = pytest.mark.filterwarnings("error")

N = 200
DAY = datetime.datetime(2024, 2, 28)


def cycle(values, kind=None):
    """A column of N rows that repeats some values."""
    return pa.array([values[i % len(values)] for i in range(N)], kind)


def counts(kind, step=10**9, first=0):
    """A column of a type that is stored as whole numbers."""
    width = pa.int32() if kind.bit_width == 32 else pa.int64()
    return cycle([first + i * step for i in range(8)], width).view(kind)


COLUMNS = {
    **{
        str(kind): cycle([0, 1, 2, 3, 5, 8, 13], kind)
        for kind in (
            *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
            *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        )
    },
    "large uint64": cycle([2**64 - 1, 2**63, 1], pa.uint64()),
    "float16": pa.array(np.resize([0.5, 1.0, 2.0, 65504.0], N).astype(np.float16)),
    "float32": cycle([0.1, 1.0, 1e30, 3.5], pa.float32()),
    "float64": cycle([0.1, 12345678901.0, -0.0, 3.5], pa.float64()),
    "whole float64": cycle([1.0, 12345678901.0, 3.0], pa.float64()),
    "huge floats": cycle([1e300, -1e308, 5e-324, 1.0], pa.float64()),
    "infinite": cycle([float("inf"), float("-inf"), 1.0], pa.float64()),
    "all NaN": cycle([float("nan")], pa.float64()),
    "decimal128": cycle([Decimal("1.50"), Decimal("2.00"), None], pa.decimal128(10, 2)),
    "decimal256": cycle([Decimal(10) ** 40, Decimal(3)], pa.decimal256(60, 5)),
    "bool": cycle([True, False, True], pa.bool_()),
    "string": cycle(["Rome", "Köln", "", None], pa.string()),
    "large_string": cycle(["Rome", "Köln"], pa.large_string()),
    "numbers as text": cycle(["1", "2.5", "", "1e400", "inf", "nan"], pa.string()),
    "dictionary": cycle(["a", "b", None], pa.string()).dictionary_encode(),
    "dictionary of integers": cycle([3, 1, 4], pa.int64()).dictionary_encode(),
    "binary": cycle([b"\xff\x00", b"Rome", None], pa.binary()),
    "large_binary": cycle([b"\xff\x00", b"Rome"], pa.large_binary()),
    "fixed binary": cycle([b"\xff\x00\x01\x02", b"Rome"], pa.binary(4)),
    "uuid": pa.ExtensionArray.from_storage(
        pa.uuid(), cycle([uuid.UUID(int=i).bytes for i in range(4)], pa.binary(16))
    ),
    "date32": cycle([DAY.date(), datetime.date(1, 1, 1), None], pa.date32()),
    "date64": cycle([DAY.date(), datetime.date(9999, 12, 31)], pa.date64()),
    **{f"timestamp {unit}": counts(pa.timestamp(unit), 10**6) for unit in ("s", "ms", "us", "ns")},
    "far timestamp": counts(pa.timestamp("s"), 10**15),
    "timestamp in Rome": counts(pa.timestamp("us", "Europe/Rome")),
    "unknown zone": counts(pa.timestamp("ns", "Mars/Phobos")),
    "time32": counts(pa.time32("s"), 1000),
    "time64": counts(pa.time64("ns"), 10**12),
    **{f"duration {unit}": counts(pa.duration(unit), 10**6) for unit in ("s", "ms", "us", "ns")},
    "null": pa.nulls(N),
    "list": cycle([["a"], ["b", "c"], []], pa.list_(pa.string())),
    "list of lists": cycle([[["a"]], [["b"], []]], pa.list_(pa.list_(pa.string()))),
    "fixed list": cycle([[1, 2], [3, 4]], pa.list_(pa.int8(), 2)),
    "struct": cycle([{"a": 1}, {"a": 2}], pa.struct({"a": pa.int8()})),
    "map": cycle([[("k", 1)], []], pa.map_(pa.string(), pa.int8())),
}

ROLES = {
    "field": ("--label=y", "--fields=x,z"),
    "numeric": ("--label=y", "--fields=z", "--numeric=x"),
    "log": ("--label=y", "--fields=z", "--log=x"),
    "label": ("--label=x", "--fields=z"),
    "positive": ("--label=x", "--fields=z", "--positive=1"),
    "time": ("--label=y", "--fields=z", "--split-by=time:x"),
    "user": ("--label=y", "--fields=z", "--split-by=user:x"),
    "part": ("--label=y", "--fields=z", "--split-by=file:x"),
    "hashed": ("--label=y", "--fields=x,z", "--hash=x=7"),
}


@pytest.fixture
def add(command, tmp_path):
    """Add a Parquet file with a label ``y``, a field ``z`` and a column ``x``."""

    def call(column, *options):
        rows = {"y": cycle([0, 1, 1, 0, 1]), "z": cycle(["a", "b", "c", "d"]), "x": column}
        pq.write_table(pa.table(rows), tmp_path / "rows.parquet", row_group_size=7)
        return command("data", "add", "mine", "--from", tmp_path / "rows.parquet", *options)

    return call


INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
NUMBERS = (*INTEGERS, "large uint64", "float16", "float32", "float64", "whole float64")
STAMPS = ("timestamp s", "timestamp ms", "timestamp us", "timestamp ns", "far timestamp")
NESTED = ("list", "list of lists", "fixed list", "struct", "map")
EMPTY = ("null", "all NaN")

WHOLE = ["0", "1", "2", "3", "5", "8", "13"]
TEXTS = {
    **dict.fromkeys(INTEGERS, WHOLE),
    "large uint64": ["18446744073709551615", "9223372036854775808", "1"],
    "float16": ["0.5", "1", "2", "65504"],
    "float32": ["0.1", "1", "1e+30", "3.5"],
    "float64": ["0.1", "12345678901", "0", "3.5"],
    "whole float64": ["1", "12345678901", "3"],
    "huge floats": ["1e+300", "-1e+308", "5e-324", "1"],
    "infinite": ["inf", "-inf", "1"],
    "all NaN": [""],
    "decimal128": ["1.5", "2", ""],
    "decimal256": ["1" + "0" * 40, "3"],
    "bool": ["true", "false"],
    "string": ["Rome", "Köln", ""],
    "large_string": ["Rome", "Köln"],
    "numbers as text": ["1", "2.5", "", "1e400", "inf", "nan"],
    "dictionary": ["a", "b", ""],
    "dictionary of integers": ["3", "1", "4"],
    "binary": ["0xff00", "Rome", ""],
    "large_binary": ["0xff00", "Rome"],
    "fixed binary": ["0xff000102", "Rome"],
    "uuid": [f"00000000-0000-0000-0000-00000000000{i}" for i in range(4)],
    "date32": ["2024-02-28", "0001-01-01", ""],
    "date64": ["2024-02-28", "9999-12-31"],
    "timestamp s": [str(np.datetime64(i * 10**6, "s")) for i in range(8)],
    "timestamp ms": [f"1970-01-01T{i * 1000 // 3600:02}:{i * 1000 // 60 % 60:02}:{i * 1000 % 60:02}"
                     for i in range(8)],
    "timestamp us": [f"1970-01-01T00:00:0{i}" for i in range(8)],
    "timestamp ns": ["1970-01-01T00:00:00", *(f"1970-01-01T00:00:00.00{i}" for i in range(1, 8))],
    "far timestamp": [str(np.datetime64(i * 10**15, "s")) for i in range(8)],
    "timestamp in Rome": [f"{np.datetime64(i * 1000, 's')}Z" for i in range(8)],
    "unknown zone": [f"1970-01-01T00:00:0{i}Z" for i in range(8)],
    "time32": [f"{i * 1000 // 3600:02}:{i * 1000 // 60 % 60:02}:{i * 1000 % 60:02}"
               for i in range(8)],
    "time64": [f"{i * 1000 // 3600:02}:{i * 1000 // 60 % 60:02}:{i * 1000 % 60:02}"
               for i in range(8)],
    "duration s": [f"PT{i * 10**6}S" for i in range(8)],
    "duration ms": [f"PT{i * 1000}S" for i in range(8)],
    "duration us": [f"PT{i}S" for i in range(8)],
    "duration ns": ["PT0S", *(f"PT0.00{i}S" for i in range(1, 8))],
    "null": [""],
}  # fmt: skip
ACCEPTED = {
    "field": set(COLUMNS) - set(NESTED),
    "hashed": set(COLUMNS) - set(NESTED),
    "numeric": {
        *NUMBERS, *EMPTY, "huge floats", "decimal128", "decimal256", "dictionary of integers",
    },
    "log": {*INTEGERS, *EMPTY, "whole float64", "dictionary of integers"},
    "label": {"bool"},
    "positive": {
        *(set(NUMBERS) - {"float64"}), "huge floats", "infinite", "bool", "dictionary of integers",
    },
    "time": {*INTEGERS, *STAMPS, "timestamp in Rome", "unknown zone"},
    "user": set(),
    "part": set(),
}  # fmt: skip
REFUSALS = {
    "field": "expected one value a row",
    "hashed": "expected one value a row",
    "numeric": r"expected a (finite )?number, or nothing|one value a row",
    "log": "expected a whole number from|one value a row",
    "label": "expected (0 or 1|a label)|one value a row",
    "positive": "expected a label|all 200 labels are 0|one value a row",
    "time": r"expected a (time|(whole )?number)|no time to split by|the same time|one value a row",
    "user": "too few groups|one value a row",
    "part": "expected train, validation or test|one value a row",
}


def own_table():
    return open_table(Catalog().select("dataset", "own:data=mine").default())


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.slow
def test_any_type_in_any_use_is_taken_or_refused_in_one_line(add, name, role):
    if role in ("field", "hashed") and name.endswith("list"):
        pytest.skip("lists as fields have tests of their own")
    ran = add(COLUMNS[name], *ROLES[role])
    assert "Traceback" not in ran.err
    assert ran.code == (0 if name in ACCEPTED[role] else 2), ran.err
    if ran.code == 2:
        last = ran.err.strip().splitlines()[-1]
        assert last.startswith("pepbench: ")
        assert re.search(REFUSALS[role], last)
        return
    table = own_table()
    if role == "label":
        assert table.labels.tolist() == [i % 3 != 1 for i in range(N)]
    if role == "positive":
        expected = [TEXTS[name][i % len(TEXTS[name])] in ("1", "true") for i in range(N)]
        assert table.meta.n_positive == (133 if name == "bool" else sum(expected))
    if role == "time":
        shown = np.arange(N) % len(TEXTS[name])  # They are listed in order.
        order = np.argsort(np.argsort(shown, kind="stable"), kind="stable")
        keys = np.argsort(np.argsort(table.split_keys, kind="stable"), kind="stable")
        assert order.tolist() == keys.tolist()
    if role in ("label", "positive", "time"):
        return
    found = table.values_of(table.meta.fields.index("x"))
    if role == "field":
        assert found == TEXTS[name]
    elif role == "hashed":
        assert set(found) <= {*map(str, range(7)), ""}
        assert ("" in found) == ("" in TEXTS[name])
        assert len(found) <= len(TEXTS[name])
    elif role == "numeric":
        expected = [float(text) if text else np.nan for text in TEXTS[name]]
        np.testing.assert_allclose(numbers_of(found), expected, rtol=1.6e-5, atol=1e-300)
    else:
        buckets = {"0": "SP0", "1": "SP1", "2": "SP2", "3": "1", "4": "1", "5": "2", "8": "4"}
        buckets |= {"13": "6", "12345678901": "539", "": ""}
        assert found == list(dict.fromkeys(buckets[text] for text in TEXTS[name]))


@pytest.mark.parametrize(
    "column",
    [
        pa.array(range(N)),
        pa.array(np.arange(N) + 0.5),
        pa.array([f"u{i}" for i in range(N)]),
        pa.array([f"u{i}" for i in range(N)]).dictionary_encode(),
        pa.array([bytes([255, i]) for i in range(N)]),
        pa.array(range(N), pa.int32()).view(pa.date32()),
        pa.array(range(N), pa.int64()).view(pa.timestamp("ns", "Mars/Phobos")),
        pa.array([Decimal(i) / 4 for i in range(N)], pa.decimal128(9, 2)),
    ],
    ids=lambda column: str(column.type)[:20],
)
def test_users_of_any_type_are_told_apart(add, column):
    ran = add(column, "--label=y", "--fields=z", "--split-by=user:x")
    assert ran.code == 0, ran.err
    assert own_table().split_keys.tolist() == list(range(N))


@pytest.mark.parametrize(
    "values",
    [[0, 1, 2], [0.0, 1.0, 2.0], [Decimal(0), Decimal(1), Decimal(2)], ["train", "val", "test"],
     ["Training", "valid", "TEST"], ["0", "1", "2"]],
)  # fmt: skip
def test_parts_of_any_type_are_read(add, values):
    ran = add(cycle(values), "--label=y", "--fields=z", "--split-by=file:x")
    assert ran.code == 0, ran.err
    assert own_table().split_keys.tolist() == [i % 3 for i in range(N)]


def test_unsigned_times_above_63_bits_are_refused(add):
    ran = add(COLUMNS["large uint64"], *ROLES["time"])
    assert ran.code == 2
    assert "row 1: x is 18446744073709551615, expected a number below 2^63" in ran.err


def test_nanoseconds_since_1970_may_be_text(add):
    counts = [17 * 10**17 + (i * 77) % 1009 for i in range(N)]
    assert add(pa.array(map(str, counts)), *ROLES["time"]).code == 0
    assert own_table().split_keys.tolist() == counts


@pytest.mark.parametrize("moment", ["2023-02-29", "2024-01-31 24:00:00"])
def test_a_day_or_a_time_that_does_not_exist_is_named(add, moment):
    texts = [f"2024-01-{1 + i % 31:02}" for i in range(N)]
    ran = add(pa.array([*texts[:70], moment, *texts[71:]]), *ROLES["time"])
    assert ran.code == 2
    assert f"row 71: x is '{moment}', expected a day and a time that exist" in ran.err


def test_times_of_two_forms_in_one_column_are_refused_wherever_they_stand(add):
    texts = [f"2024-01-01 00:00:{i % 60:02}" for i in range(N)]
    assert add(pa.array(texts), *ROLES["time"]).code == 0
    ran = add(pa.array([*texts[:-1], "20240101"]), *ROLES["time"])
    assert ran.code == 2
    assert "row 200: x is '20240101', expected 2024-12-31 23:59:59" in ran.err


def test_times_with_zones_as_text_are_one_order(add):
    stamps = [f"2024-01-01T{12 + i % 3:02}:{i % 60:02}:00+0{i % 3}:00" for i in range(N)]
    assert add(pa.array(stamps), *ROLES["time"]).code == 0
    minutes = (own_table().split_keys - own_table().split_keys[0]) // 60_000_000_000
    assert minutes.tolist() == [i % 60 for i in range(N)]


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_times_of_nanoseconds_are_those_of_parquet(add, zone):
    counts = [10**18 + (i * 77) % 1009 for i in range(N)]
    add(pa.array(counts).view(pa.timestamp("ns", zone)), *ROLES["time"])
    expected = own_table().split_keys.tolist()
    ends = ["", "00", "999999"] if zone is None else ["Z", "00Z", "999+00:00"]
    texts = [f"2001-09-09 01:46:40.{c - 10**18:09}{ends[c % 3]}" for c in counts]
    assert add(pa.array(texts), *ROLES["time"]).code == 0
    assert own_table().split_keys.tolist() == expected == counts


def test_times_of_any_year_are_in_order(add):
    texts = [f"{1 + 50 * i:04}-12-31 23:59:59.{i % 3}" for i in range(N)]
    assert add(pa.array(texts), *ROLES["time"]).code == 0
    keys = own_table().split_keys
    assert (np.diff(keys) > 0).all()
    assert keys[40] == np.datetime64(texts[40], "ns").astype(int)
