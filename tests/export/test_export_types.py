"""A value of any type has one code: in training, and when serving as an object, numpy or text."""

import datetime
import json
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pepbench.catalog import Catalog
from pepbench.data.manage import open_table
from pepbench.data.splits import open_splits
from pepbench.export.folder import described_fields
from pepbench.serve.vocabulary import finite_numbers, read_fields

N = 240
NAN = float("nan")


def moments(kind):
    width = pa.int32() if kind.bit_width == 32 else pa.int64()
    largest = {"s": 86_399, "ms": 86_399_999}.get(kind.unit, 86_399_999_999)
    return pa.array([0, None, 1, 60, 3_600, largest] * (N // 6), width).view(kind)


def repeated(values, kind):
    return pa.array(values * (N // len(values)), kind)


COLUMNS = {
    # A NaN in a later row group, as pandas writes ids with gaps.
    "ids": pa.array([12345678901.0, 1e10, 3.0] * (N // 3 - 1) + [NAN, 12345678901.0, 1e22]),
    "float64": repeated([0.1, -0.0, NAN, 1e300, 5e-324, float("inf"), None, 2.0**63], pa.float64()),
    "float32": repeated([0.1, 16777216.0, NAN, 1e30, -0.0, 1e-40], pa.float32()),
    "float16": pa.array(np.resize(np.array([0.1, 65504.0, np.nan, -0.0], np.float16), N)),
    "int8": repeated([-1, 0, None, 5], pa.int8()),
    "uint64": repeated([2**64 - 1, 2**63, 0], pa.uint64()),
    "decimal": repeated([Decimal("1.50"), Decimal("2.00"), None, Decimal("-0.00")],
                        pa.decimal128(20, 2)),
    "bool": repeated([True, None, False], pa.bool_()),
    "text": repeated(["Köln", "01", "1.0", "", None, "NaN"], pa.string()),
    "category": repeated(["a", None, "b"], pa.string()).dictionary_encode(),
    "binary": repeated([b"\xff\x00", b"Rome", b"", None, b"0xff00"], pa.binary()),
    "uuid": pa.ExtensionArray.from_storage(
        pa.uuid(), repeated([uuid.UUID(int=i).bytes for i in range(4)], pa.binary(16))
    ),
    "date32": repeated([datetime.date(2024, 2, 29), None, datetime.date(1, 1, 1)], pa.date32()),
    "date64": repeated([datetime.date(2024, 2, 29), None], pa.date64()),
    **{f"timestamp {unit}": moments(pa.timestamp(unit)) for unit in ("ms", "us", "ns")},
    **{f"instant {unit}": moments(pa.timestamp(unit, "Europe/Rome")) for unit in ("ms", "us")},
    "nowhere": moments(pa.timestamp("ns", "Mars/Phobos")),
    "time32": moments(pa.time32("ms")),
    "time64": moments(pa.time64("us")),
    **{f"duration {unit}": moments(pa.duration(unit)) for unit in ("ms", "us", "ns")},
    "null": pa.nulls(N),
}  # fmt: skip


def mine():
    return Catalog().select("dataset", "mine").default()


@pytest.fixture
def splits(pepbench, tmp_path, monkeypatch):
    monkeypatch.setenv("PEPBENCH_CACHE", str(tmp_path / "cache"))
    rows = {"y": repeated([0, 1, 1, 0, 1], pa.int8()), **COLUMNS}
    pq.write_table(pa.table(rows), "rows.parquet", row_group_size=50)
    added = pepbench("data", "add", "mine", "--from", "rows.parquet", "--label=y")
    assert added.code == 0, added.err
    return open_splits(open_table(mine()), 0)


def forms(column):
    """The column's values as pyarrow, numpy, pandas and text hand them over."""
    kind = column.type
    stored = column.storage if isinstance(kind, pa.UuidType) else column
    is_moment = pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time(kind)
    if is_moment:
        name = "datetime64" if pa.types.is_timestamp(kind) else "timedelta64"
        counts = stored.view(pa.int32() if kind.bit_width == 32 else pa.int64())
        values = counts.cast(pa.int64()).fill_null(0).to_numpy().view(f"{name}[{kind.unit}]")
        values = values.copy()
        values[counts.is_null().to_numpy(zero_copy_only=False)] = np.array("NaT", values.dtype)
        yield values
        yield list(values)
        if not pa.types.is_time(kind):
            yield list(pd.Series(values))
        zone = getattr(kind, "tz", None)
        plain = stored.view(pa.int64()).view(pa.timestamp(kind.unit)) if zone else stored
        if kind.unit != "ns":
            yield [
                v.replace(tzinfo=datetime.UTC) if zone and v is not None else v
                for v in plain.to_pylist()
            ]
        return
    yield column.to_pylist()
    if pa.types.is_floating(kind):
        values = stored.to_numpy(zero_copy_only=False)
        yield values
        yield list(values)
        yield list(pd.Series(values))
    if pa.types.is_integer(kind):
        yield [None if v is None else kind.to_pandas_dtype()(v) for v in column.to_pylist()]
        yield list(pd.Series(column.to_pylist(), dtype="UInt64" if "u" in str(kind) else "Int64"))
    if pa.types.is_date(kind):
        yield list(pd.Series(column.to_pylist(), dtype="datetime64[us]"))


@pytest.mark.filterwarnings("error")
def test_codes_at_serving_are_the_codes_of_the_split(splits):
    described = json.loads(json.dumps(described_fields(splits, mine())))
    fields = {field.name: field for field in read_fields(described)}
    assert fields.keys() == COLUMNS.keys()
    for number, name in enumerate(splits.fields.names):
        expected = splits.codes_of_values(number)[splits.table.codes[:, number]]
        texts = [splits.table.values_of(number)[code] for code in splits.table.codes[:, number]]
        field = fields[name]
        for values in (texts, *forms(COLUMNS[name])):
            np.testing.assert_array_equal(field.codes(values), expected, err_msg=name)


def test_ids_with_gaps_are_whole_numbers_on_both_sides(splits):
    (ids,) = (
        field for field in read_fields(described_fields(splits, mine())) if field.name == "ids"
    )
    assert {"12345678901", "10000000000", "3"} <= set(ids.values)
    one = ids.codes([12345678901, 12345678901.0, "12345678901", np.float64(12345678901)])
    assert len(set(one.tolist())) == 1
    assert one[0] > 0


def test_declared_missing_words_are_missing_in_training_and_when_serving(
    pepbench, tmp_path, monkeypatch
):
    monkeypatch.setenv("PEPBENCH_CACHE", str(tmp_path / "cache"))
    lines = ["NA,1.5,0", r"\N,NULL,1", "Rome,2.5,0", ",NA,1", "Oslo,,1"] * 40
    (tmp_path / "rows.txt").write_text("city,price,y\n" + "\n".join(lines) + "\n")
    added = pepbench(
        "data", "add", "mine", "--from", "rows.txt", "--format=csv", "--label=y", "--fields=city",
        "--numeric=price", r"--missing=NA,NULL,\N", "--bins=8",
    )  # fmt: skip
    assert added.code == 0, added.err
    splits = open_splits(open_table(mine()), 0)
    assert splits.table.vocabularies == (["", "Rome", "Oslo"], ["1.5", "", "2.5"])
    city, price = read_fields(json.loads(json.dumps(described_fields(splits, mine()))))
    assert city.codes(["NA", "NULL", r"\N", "", None, NAN, "Rome"]).tolist() == [1] * 6 + [2]
    assert price.codes(["NA", None, "", NAN, "1.5", 2.5]).tolist() == [3, 3, 3, 3, 1, 2]


def test_a_number_that_stands_for_a_missing_one_may_be_written_in_any_way(
    pepbench, tmp_path, monkeypatch
):
    monkeypatch.setenv("PEPBENCH_CACHE", str(tmp_path / "cache"))
    numbers = [-999.0, 1.5, 2.5, -999.0] * 40
    rows = pa.table({"y": [0, 1, 1, 1] * 40, "city": ["a", "b"] * 80, "price": numbers})
    pq.write_table(rows, "rows.parquet")
    added = pepbench(
        "data", "add", "mine", "--from", "rows.parquet", "--label=y", "--numeric=price",
        "--missing=-999.0,NA",
    )  # fmt: skip
    assert added.code == 0, added.err
    splits = open_splits(open_table(mine()), 0)
    price = read_fields(described_fields(splits, mine()))[1]
    assert splits.table.vocabularies[1] == ["", "1.5", "2.5"]
    given = [-999.0, -999, np.float32(-999), "-999.0", "NA", None, 1.5]
    assert price.codes(given).tolist() == [3] * 6 + [1]
    words = frozenset(price.missing_words)
    assert np.isnan(finite_numbers("price", given, words)).tolist() == [True] * 6 + [False]
