"""Raw values, as pandas or Python hold those of a file, are served as training read the file."""

import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pepbench.datasets.frappe import FIELDS

from pepbench.catalog import Catalog
from pepbench.data.dataset import Block
from pepbench.data.manage import open_table
from pepbench.data.row_checks import check_block
from pepbench.data.splits import open_splits
from pepbench.errors import DataError
from pepbench.export.folder import described_fields, write_export
from pepbench.harness.planted_facts import users_of_rows
from pepbench.serve import load
from pepbench.serve.vocabulary import FieldVocabulary, finite_numbers, read_fields
from pepbench.tables.embedding import PlainTable

N = 60
LABELS = np.arange(N) % 2
EVERY_FOURTH = np.arange(N) % 4 == 0


@pytest.fixture
def add(pepbench, tmp_path, monkeypatch):
    """Add a file under the name ``mine``; gives its splits and the fields that serve it."""
    monkeypatch.setenv("PEPBENCH_CACHE", str(tmp_path / "cache"))

    def add(table, *options):
        if isinstance(table, pa.Table):
            pq.write_table(table, "rows.parquet")
        else:
            table.to_csv("rows.csv", index=False)
        path = "rows.parquet" if isinstance(table, pa.Table) else "rows.csv"
        ran = pepbench("data", "add", "mine", "--from", path, "--label=y", *options)
        assert ran.code == 0, ran.err
        dataset = Catalog().select("dataset", "mine").default()
        splits = open_splits(open_table(dataset), 0)
        fields = read_fields(json.loads(json.dumps(described_fields(splits, dataset))))
        return splits, {field.name: field for field in fields}

    return add


def trained(splits, name):
    """(rows, slots): the codes of a field that models are trained with, −1 for no value."""
    field = splits.fields.names.index(name)
    code_of = np.append(splits.codes_of_values(field), -1)
    return code_of[splits.table.codes[:, splits.table.meta.columns_of(field)]]


def assert_served(splits, field, values):
    codes = field.slot_codes(values)
    expected = trained(splits, field.name)
    np.testing.assert_array_equal(codes[:, : expected.shape[1]], expected)
    assert (codes[:, expected.shape[1] :] == -1).all()


@pytest.mark.parametrize("word", ["-999", "-999.0", "-9.99e2"])
@pytest.mark.parametrize("parquet", [True, False])
def test_a_number_that_is_declared_missing_is_so_however_it_is_written(add, word, parquet):
    price = np.where(EVERY_FOURTH, -999.0, np.arange(N) / 2)
    rows = pd.DataFrame({"price": price, "cost": price, "a": np.arange(N) % 3, "y": LABELS})
    table = pa.Table.from_pandas(rows) if parquet else rows
    splits, fields = add(
        table, "--fields=a", "--numeric=price", "--dense=cost", f"--missing={word}"
    )
    np.testing.assert_array_equal(np.isnan(splits.table.dense[:, 0]), EVERY_FOURTH)
    words = frozenset([word])
    for values in (price.tolist(), [str(value) for value in price], price.astype(np.float32)):
        assert_served(splits, fields["price"], values)
        served = finite_numbers("cost", values, words)
        np.testing.assert_array_equal(served, splits.table.dense[:, 0])


def test_what_pandas_reads_as_another_type_is_still_the_text_of_the_file(add):
    rows = pd.DataFrame(
        {
            "premium": np.where(EVERY_FOURTH, True, np.arange(N) % 3 == 0),
            "rooms": np.where(EVERY_FOURTH, np.nan, np.arange(N) % 5),
            "y": LABELS,
        }
    )
    splits, fields = add(rows, "--fields=premium,rooms")
    again = pd.read_csv("rows.csv")
    assert [str(kind) for kind in again.dtypes] == ["bool", "float64", "int64"]
    for name in ("premium", "rooms"):
        assert trained(splits, name).min() > 0
        for values in (again[name], again[name].tolist(), again[name].to_numpy()):
            assert_served(splits, fields[name], values)


HASHED = {
    "float32": pa.array(np.linspace(0.1, 0.9, N).astype(np.float32)),
    "int64": pa.array(np.arange(N) % 7),
    "timestamp": pa.array(pd.date_range("2024-01-01", periods=N)),
    "binary": pa.array([b"\x00\xff" if n % 2 else b"Rome" for n in range(N)]),
    "sentinel": pa.array(np.where(EVERY_FOURTH, -999.0, np.arange(N))),
}


@pytest.mark.parametrize("kind", HASHED)
def test_hashes_are_of_the_text_that_the_columns_kind_has(add, kind):
    table = pa.table({"h": HASHED[kind], "y": LABELS})
    splits, fields = add(table, "--fields=h", "--hash=h=1000", "--missing=-999.0")
    assert_served(splits, fields["h"], table["h"].to_pylist())
    assert_served(splits, fields["h"], table["h"].to_pandas())
    if kind == "int64":
        assert_served(splits, fields["h"], [f"{value}.0" for value in table["h"].to_pylist()])


def test_users_are_those_that_rows_were_split_by_not_their_hashes(add):
    users = np.arange(N) % 20
    table = pa.table({"uid": users, "a": np.arange(N) % 3, "y": np.arange(N) // 20 % 2})
    splits, _ = add(table, "--fields=uid,a", "--hash=uid=3", "--split-by=user:uid")
    dataset = Catalog().select("dataset", "mine").default()
    test = splits.parts() == 2
    found = users_of_rows(dataset, splits, "test")
    same = found[:, None] == found
    np.testing.assert_array_equal(same, users[test][:, None] == users[test])


def test_what_is_missing_is_never_the_text_of_its_python_name():
    field = FieldVocabulary("city", 5, ("None", "nan", "<NA>", "NaT"))
    assert field.codes([None, float("nan"), pd.NA, pd.NaT]).tolist() == [0] * 4
    assert field.codes(["None", "nan", "<NA>", "NaT"]).tolist() == [1, 2, 3, 4]


def test_a_row_given_as_a_list_does_not_depend_on_its_neighbours(add, tmp_path):
    city = np.where(EVERY_FOURTH, "true", np.where(LABELS, "Rome", ""))
    rows = pd.DataFrame({"city": city, "shop": np.arange(N) % 3, "y": LABELS})
    _, fields = add(rows, "--fields=city,shop")
    names, sizes = tuple(fields), tuple(field.cardinality for field in fields.values())
    table = PlainTable(sum(sizes), 2)
    entries = [
        {"name": name, "cardinality": field.cardinality, "values": list(field.values)}
        for name, field in fields.items()
    ]
    write_export(tmp_path / "out", table.export(), entries, 2, {})
    served = load(tmp_path / "out")
    for given in ([["Rome", 1.0], [float("nan"), 2.0]], [[True, 1], ["Rome", 2]]):
        by_name = dict(zip(names, zip(*given, strict=True), strict=True))
        np.testing.assert_array_equal(served.codes(given), served.codes(by_name))
        assert (served.codes(given) > 0).all()


def test_a_word_for_missing_may_hold_the_separator(add):
    genres = np.where(EVERY_FOURTH, "N/A", np.where(LABELS, "a/b", "c"))
    splits, fields = add(pd.DataFrame({"g": genres, "y": LABELS}), "--multi=g:/", "--missing=N/A")
    assert (trained(splits, "g")[EVERY_FOURTH] == -1).all()
    assert_served(splits, fields["g"], genres.tolist())


def test_binary_texts_are_taken_apart_as_texts_are(add):
    genres = [b"a|b" if n % 2 else b"c" for n in range(N)]
    splits, fields = add(pa.table({"g": genres, "y": LABELS}), "--multi=g:|")
    assert_served(splits, fields["g"], genres)


VIEWS = {
    "string_view": pa.array(["a", "b", "NA"] * 20).cast(pa.string_view()),
    "binary_view": pa.array([b"a", b"b", b"NA"] * 20).cast(pa.binary_view()),
    "decimal32": pa.array([Decimal(n % 5) / 4 for n in range(N)], pa.decimal32(9, 2)),
    "decimal64": pa.array([Decimal(n % 5) / 4 for n in range(N)], pa.decimal64(9, 2)),
}


@pytest.mark.parametrize("kind", VIEWS)
def test_parquet_types_for_which_arrow_lacks_functions_are_read(add, kind):
    table = pa.table({"v": VIEWS[kind], "y": LABELS})
    splits, fields = add(table, "--fields=v", "--missing=NA", "--rows=50")
    assert splits.table.meta.n_rows == 50
    assert (fields["v"].codes(VIEWS[kind].to_pylist()) > 0).all()


@pytest.mark.parametrize("outer", [pa.list_, pa.large_list])
@pytest.mark.parametrize("kind", [pa.string_view(), pa.binary_view(), pa.decimal32(4, 1)])
def test_lists_of_such_types_are_read(add, outer, kind):
    one = {"string_view": "a", "binary_view": b"a"}.get(str(kind), Decimal("1.5"))
    lists = pa.array([[one], [one, one]] * (N // 2), outer(kind))
    splits, fields = add(
        pa.table({"g": lists, "y": LABELS}), "--multi=g", "--rows=50", "--missing=NA"
    )
    assert splits.table.meta.n_rows == 50
    assert (fields["g"].slot_codes([[one]])[0] > 0).sum() == 1


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_file_that_lacks_a_column_is_refused_in_one_line(add, pepbench, suffix):
    rows = pd.DataFrame({"a": np.arange(N) % 3, "b": 1, "y": LABELS})
    add(rows if suffix == "csv" else pa.Table.from_pandas(rows), "--fields=a,b")
    less = rows.drop(columns="b")
    less.to_csv("less.csv", index=False)
    less.to_parquet("less.parquet")
    ran = pepbench("data", "add", "mine", "--from", f"less.{suffix}")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert f"less.{suffix}" in ran.err
    assert "'b'" in ran.err


def test_the_positive_label_may_be_the_columns_name(pepbench, tmp_path, monkeypatch):
    monkeypatch.setenv("PEPBENCH_CACHE", str(tmp_path / "cache"))
    label = np.where(LABELS, "spam", "ham")
    pd.DataFrame({"word": np.arange(N) % 3, "spam": label}).to_csv("rows.csv", index=False)
    ran = pepbench(
        "data", "add", "mine", "--from=rows.csv", "--label=spam", "--positive=spam"
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "'ham': 0" in ran.err


@pytest.mark.parametrize(
    ("name", "file", "columns"),
    [
        ("ml-1m", "ratings.parquet", ("user_id", "movie_id", "rating", "timestamp")),
        ("frappe-log", "frappe-log.parquet", FIELDS),
    ],
)
def test_a_known_data_set_without_rows_is_told_so(pepbench, tmp_path, name, file, columns):
    (tmp_path / "raw").mkdir()
    empty = pa.table({column: pa.array([], pa.int64()) for column in columns})
    pq.write_table(empty, tmp_path / "raw" / file)
    for other in ("users.dat", "movies.dat"):
        (tmp_path / "raw" / other).write_text("")
    ran = pepbench("data", "add", name, "--from", "raw")
    assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err


def test_labels_of_python_objects_are_refused_by_name():
    block = Block({"a": pa.array(["x", "y"])}, np.array([1, None], dtype=object))
    dataset = Catalog().select("dataset", "uci-adult").default()
    with pytest.raises(DataError, match="row 2: label is None, expected 0 or 1"):
        check_block(dataset, block, ["a"], 0)


def test_a_file_without_rows_is_told_so(pepbench):
    pq.write_table(pa.table({"a": ["x"], "y": ["p"]}).slice(0, 0), "rows.parquet")
    ran = pepbench("data", "add", "mine", "--from=rows.parquet", "--label=y", "--positive=p")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "has no rows" in ran.err
