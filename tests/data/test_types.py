"""Every Arrow type in every use of a column: the right values, or one line; never a traceback."""

import datetime
import uuid
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

N = 40
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
        rows = {"y": cycle([0, 1, 1]), "z": cycle(["a", "b", "c", "d"]), "x": column}
        pq.write_table(pa.table(rows), tmp_path / "rows.parquet", row_group_size=7)
        return command("data", "add", "mine", "--from", tmp_path / "rows.parquet", *options)

    return call


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", COLUMNS)
def test_any_type_in_any_use_is_taken_or_refused_in_one_line(add, name, role):
    ran = add(COLUMNS[name], *ROLES[role])
    last = ran.err.strip().splitlines()[-1]
    assert ran.code in (0, 2), ran
    assert "Traceback" not in ran.err
    assert "Warning" not in ran.err
    if ran.code == 2:
        assert last.startswith("pepbench: ")
        print("REFUSED", name, role, last)
    else:
        print("OK", name, role)
