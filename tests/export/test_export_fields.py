"""A user's own data with rare, missing and binned values: served as it was encoded."""

import json

import numpy as np
import pandas as pd
import pytest

from pepbench.catalog import Catalog
from pepbench.data.manage import open_table
from pepbench.data.splits import open_splits
from pepbench.errors import ServeError
from pepbench.export.folder import described_fields
from pepbench.serve.vocabulary import FieldVocabulary, finite_numbers, read_fields


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    n = 400
    return pd.DataFrame(
        {
            "city": rng.choice(["Rome", "Oslo", "Lima", None], n),
            "shop": rng.zipf(1.7, n) % 50,
            "price": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "clicked": rng.integers(0, 2, n),
        }
    )


def test_raw_values_of_own_data_get_the_codes_of_the_split(pepbench, rows, tmp_path, monkeypatch):
    monkeypatch.setenv("PEPBENCH_CACHE", str(tmp_path / "cache"))
    rows.to_parquet(tmp_path / "rows.parquet")
    added = pepbench(
        "data", "add", "mine", "--from", "rows.parquet", "--label=clicked", "--fields=city,shop",
        "--numeric=price", "--bins=5", "--min-count=3",
    )  # fmt: skip
    assert added.code == 0, added.err
    dataset = Catalog().select("dataset", "mine").default()
    splits = open_splits(open_table(dataset), 0)
    fields = read_fields(described_fields(splits, dataset))
    assert [field.name for field in fields] == list(splits.fields.names)
    for column, field in enumerate(fields):
        expected = splits.codes_of_values(column)[splits.table.codes[:, column]]
        np.testing.assert_array_equal(field.codes(rows[field.name].tolist()), expected)
    price = next(field for field in fields if field.name == "price")
    # A number that no row has is binned like its neighbours.
    assert price.codes([-1e9, 1e9, "x"]).tolist() == [1, len(price.edges) + 1, 0]


def test_values_that_were_transformed_are_served_as_they_stand_in_the_file(
    pepbench, tmp_path, monkeypatch
):
    monkeypatch.setenv("PEPBENCH_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    counts = [int(n) for n in rng.integers(-5, 5000, 300)]
    words = [f"https://shop.example/{'ö' * (n % 7)}/{n % 90}" for n in range(300)]
    rows = pd.DataFrame(
        {
            "visits": ["NA" if n % 9 == 0 else str(n) for n in counts],
            "page": [None if n % 11 == 0 else word for n, word in enumerate(words)],
            "tags": [f"{words[n]}| {words[-n]}" if n % 5 else "" for n in range(300)],
            "clicked": rng.integers(0, 2, 300),
        }
    )
    rows.to_csv("rows.csv", index=False)
    added = pepbench(
        "data", "add", "mine", "--from", "rows.csv", "--label=clicked", "--log=visits",
        "--hash=page=20,tags=7", "--fields=page", "--multi=tags:|", "--missing=NA",
    )  # fmt: skip
    assert added.code == 0, added.err
    dataset = Catalog().select("dataset", "mine").default()
    splits = open_splits(open_table(dataset), 0)
    fields = read_fields(json.loads(json.dumps(described_fields(splits, dataset))))
    for number, field in enumerate(fields):
        code_of = np.append(splits.codes_of_values(number), -1)  # The last is for no value.
        table_codes = splits.table.codes[:, splits.table.meta.columns_of(number)]
        served = field.slot_codes(rows[field.name].tolist())
        np.testing.assert_array_equal(served[:, : table_codes.shape[1]], code_of[table_codes])
        assert (served[:, table_codes.shape[1] :] == -1).all()
    visits = next(field for field in fields if field.name == "visits")
    one = visits.codes([1000, 1000.0, "1000", "1000.0", np.float32(1000)])
    assert one[0] > 0
    assert set(one) == {one[0]}
    assert visits.codes(["SP2", "many", 2.5, 2**60, float("inf")]).tolist() == [0] * 5


def test_a_text_that_training_refuses_as_a_number_is_no_number_when_serving(
    pepbench, tmp_path, monkeypatch
):
    monkeypatch.setenv("PEPBENCH_CACHE", str(tmp_path / "cache"))
    odd = ["1_000", " 5", "5 ", "٥", "0x10", "1e1000"]
    refused = ("data", "add", "mine", "--from", "rows.csv", "--label=y", "--numeric=price")
    for word in odd:
        (tmp_path / "rows.csv").write_text("y,shop,price\n" + f"1,a,5\n0,a,{word}\n" * 20)
        assert "expected a" in pepbench(*refused).err
    price = FieldVocabulary("price", 3, (), (3.0,))
    assert price.codes(["5", "+5.0", b"5", 5, *odd]).tolist() == [2] * 4 + [0] * len(odd)
    for word in odd:
        with pytest.raises(ServeError, match="expected a number"):
            finite_numbers("price", [word])
    shop = FieldVocabulary("shop", 3, ("5", "1000"), kind="exact")
    weight = FieldVocabulary("weight", 3, ("5", "1000"), kind="float32")
    for field in (shop, weight):
        assert field.codes(["1000", "1e3", *odd]).tolist() == [2, 2] + [0] * len(odd)
